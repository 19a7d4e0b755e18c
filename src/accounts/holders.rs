//! Accounts, and what they may. One is known because the store has it, or because keys of the list name it, or both.

use std::cmp::Ordering;

use crate::accounts::draft::{account_id, key_name};
use crate::accounts::keys::MOST_A_PAGE;
use crate::accounts::refused::Refused;
use crate::accounts::{Accounts, FIRST_PLAN, Standing};
use crate::auth::key_ring::listed::ListedAccount;
use crate::clock::UnixTime;
use crate::config::key_rules::GENERATED_ACCOUNT;
use crate::ids::{AccountId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::{AuditOf, AuditRow};
use crate::store::directory::edit::{Author, Denial, Edit};

/// The most accounts that are counted by their plans: it takes some ten milliseconds.
pub const MOST_COUNTED: u32 = 100_000;

/// An account, wherever it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub id: AccountId,
    /// What people call it; of one that the list alone names: its id.
    pub name: Box<str>,
    /// The plan of its keys in the store that have none of their own; of one that the list alone names: what that would be.
    pub plan: PlanName,
    /// When it was made in the store, to the millisecond; `None`: the list alone names it.
    pub created_at: Option<UnixTime>,
    /// Since when all its keys are refused; `None`: they are not.
    pub suspended_at: Option<UnixTime>,
    /// Its keys in the store that are neither revoked nor deleted.
    pub keys: u64,
    /// Its keys in the list, in whatever state.
    pub listed_keys: u64,
    /// Where it is named.
    pub origin: Origin,
}

/// Where an account is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By keys of the list alone.
    List,
    /// In the store alone.
    Store,
    /// In both.
    Both,
}

impl Origin {
    /// Its name where people and programs see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Store => "store",
            Self::Both => "both",
        }
    }
}

impl Holder {
    fn of_store(account: Account, listed: Option<&ListedAccount>) -> Self {
        let Account { id, name, plan, created_at, suspended_at, keys } = account;
        Self {
            id,
            name,
            plan,
            created_at: Some(created_at),
            suspended_at,
            keys,
            listed_keys: listed.map_or(0, |listed| listed.keys.into()),
            origin: if listed.is_some() { Origin::Both } else { Origin::Store },
        }
    }

    fn of_list(listed: &ListedAccount) -> Self {
        Self {
            id: listed.id.clone(),
            name: listed.id.as_str().into(),
            plan: PlanName::new(FIRST_PLAN),
            created_at: None,
            suspended_at: None,
            keys: 0,
            listed_keys: listed.keys.into(),
            origin: Origin::List,
        }
    }
}

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
    ) -> Result<Holder, Refused> {
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

    /// Gives an account another name or plan. A plan is live for all its keys when this returns. One that the list alone
    /// names is in the store from then on.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn change_account(
        &self,
        author: Author,
        id: &AccountId,
        (name, plan): (Option<String>, Option<String>),
    ) -> Result<(Holder, Standing), Refused> {
        let name = name.map(key_name).transpose()?;
        let plan = plan.map(|plan| self.plan_name(&plan)).transpose()?;
        if name.is_none() && plan.is_none() {
            return Err(Refused::wrong("name", "nothing is to be changed: give a name, or a plan"));
        }
        let new_account = self.plan_if_listed(id)?;
        let edit = Edit::ChangeAccount { id: id.clone(), name, plan, new_account };
        let (_, standing) = self.edit(author, edit).await?;
        Ok((self.account(id).await?, standing))
    }

    /// Has all keys of an account refused, those of the list too, until it is resumed. One that the list alone names is in
    /// the store from then on.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn suspend_account(
        &self,
        author: Author,
        id: &AccountId,
    ) -> Result<(Holder, Standing), Refused> {
        let new_account = self.plan_if_listed(id)?;
        let edit = Edit::SuspendAccount { id: id.clone(), new_account };
        let (_, standing) = self.edit(author, edit).await?;
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
    ) -> Result<(Holder, Standing), Refused> {
        let standing = match self.edit(author, Edit::ResumeAccount(id.clone())).await {
            Ok((_, standing)) => standing,
            // One that the store does not have is not suspended, if there is one.
            Err(Refused::Denied(Denial::NoAccount)) => Standing::Live,
            Err(refused) => return Err(refused),
        };
        Ok((self.account(id).await?, standing))
    }

    /// The plan that an account gets when it is made for a change of it; `None`: the list does not name it, so it is not.
    fn plan_if_listed(&self, id: &AccountId) -> Result<Option<PlanName>, Refused> {
        let is_listed = (self.0.listed)().get(id.as_str()).is_some();
        is_listed.then(|| self.plan_name(FIRST_PLAN)).transpose()
    }

    /// An account, of the store or of the list.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn account(&self, id: &AccountId) -> Result<Holder, Refused> {
        let stored = self.0.directory.account(id).await?;
        let listed = (self.0.listed)();
        match (stored, listed.get(id.as_str())) {
            (Some(account), listed) => Ok(Holder::of_store(account, listed)),
            (None, Some(listed)) => Ok(Holder::of_list(listed)),
            (None, None) => Err(Denial::NoAccount.into()),
        }
    }

    /// At most `limit` accounts behind `after`, those of the store and those of the list in one order of their ids.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Holder>, Refused> {
        let limit = limit.min(MOST_A_PAGE);
        let stored = self.0.directory.accounts(after, limit).await?;
        let listed = (self.0.listed)();
        // Of each as many as the page holds: more of either is not on it.
        let page = merged(stored, listed.after(after).iter().take(limit as usize));
        Ok(page.take(limit as usize).collect())
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

/// Both in one order of ids, in which both are; an account that is in both comes once.
fn merged<'a>(
    stored: Vec<Account>,
    listed: impl Iterator<Item = &'a ListedAccount>,
) -> impl Iterator<Item = Holder> {
    let (mut stored, mut listed) = (stored.into_iter().peekable(), listed.peekable());
    std::iter::from_fn(move || {
        let order = match (stored.peek(), listed.peek()) {
            (Some(stored), Some(listed)) => stored.id.cmp(&listed.id),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        match order {
            Ordering::Less => stored.next().map(|account| Holder::of_store(account, None)),
            Ordering::Equal => {
                let listed = listed.next();
                stored.next().map(|account| Holder::of_store(account, listed))
            }
            Ordering::Greater => listed.next().map(Holder::of_list),
        }
    })
}
