//! Accounts, and what they may.

use crate::accounts::draft::{account_id, key_name};
use crate::accounts::keys::MOST_A_PAGE;
use crate::accounts::refused::Refused;
use crate::accounts::{Accounts, FIRST_PLAN, Standing};
use crate::config::key_rules::GENERATED_ACCOUNT;
use crate::ids::{AccountId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::edit::{Author, Denial, Edit};

/// The most accounts that are counted by their plans: it takes some ten milliseconds.
pub const MOST_COUNTED: u32 = 100_000;

impl Accounts {
    /// Makes an account of that id; its name is the id unless another is given, its plan [`FIRST_PLAN`].
    ///
    /// # Errors
    /// It is not made.
    pub async fn create_account(
        &self,
        author: Author,
        id: &str,
        (name, plan): (Option<String>, Option<String>),
    ) -> Result<Account, Refused> {
        if id.starts_with(GENERATED_ACCOUNT) {
            return Err(Refused::wrong(
                "id",
                format!("ids that begin with {GENERATED_ACCOUNT} are made by the gateway"),
            ));
        }
        let id = account_id(id)?;
        let name = key_name(name.unwrap_or_else(|| id.to_string()))?;
        let plan = self.plan_name(plan.as_deref().unwrap_or(FIRST_PLAN))?;
        self.edit(author, Edit::CreateAccount { id: id.clone(), name, plan }).await?;
        self.account(&id).await
    }

    /// Gives an account another name or plan. A plan is live for all its keys when this returns.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn change_account(
        &self,
        author: Author,
        id: &AccountId,
        (name, plan): (Option<String>, Option<String>),
    ) -> Result<(Account, Standing), Refused> {
        let name = name.map(key_name).transpose()?;
        let plan = plan.map(|plan| self.plan_name(&plan)).transpose()?;
        if name.is_none() && plan.is_none() {
            return Err(Refused::wrong("name", "nothing is to be changed: give a name, or a plan"));
        }
        let (_, standing) = self.edit(author, Edit::ChangeAccount { id: id.clone(), name, plan }).await?;
        Ok((self.account(id).await?, standing))
    }

    /// Has all keys of an account refused, until it is resumed.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn suspend_account(
        &self,
        author: Author,
        id: &AccountId,
    ) -> Result<(Account, Standing), Refused> {
        let (_, standing) = self.edit(author, Edit::SuspendAccount(id.clone())).await?;
        Ok((self.account(id).await?, standing))
    }

    /// Ends that.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn resume_account(
        &self,
        author: Author,
        id: &AccountId,
    ) -> Result<(Account, Standing), Refused> {
        let (_, standing) = self.edit(author, Edit::ResumeAccount(id.clone())).await?;
        Ok((self.account(id).await?, standing))
    }

    /// An account.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn account(&self, id: &AccountId) -> Result<Account, Refused> {
        Ok(self.0.directory.account(id).await?.ok_or(Denial::NoAccount)?)
    }

    /// At most `limit` accounts behind `after`, in the order of their ids.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, Refused> {
        Ok(self.0.directory.accounts(after, limit.min(MOST_A_PAGE)).await?)
    }

    /// How many accounts of the store are on each plan that has any, in no order; `None`: there are more than
    /// [`MOST_COUNTED`], which are not counted.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn count_by_plan(&self) -> Result<Option<Vec<(PlanName, u64)>>, Refused> {
        let counts = self.0.directory.count_by_plan(MOST_COUNTED + 1).await?;
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        Ok((all <= u64::from(MOST_COUNTED)).then_some(counts))
    }

    /// The trail of changes, the newest first.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn audit(&self, of: AuditOf) -> Result<Vec<AuditRow>, Refused> {
        let of = AuditOf { limit: of.limit.min(MOST_A_PAGE), ..of };
        Ok(self.0.directory.audit(of).await?)
    }
}
