//! Changes of accounts.

use sqlx::sqlite::SqliteConnection;

use crate::clock::UnixTime;
use crate::ids::{AccountId, PlanName};
use crate::store::directory::edit::{Denial, new_account};
use crate::store::number::kept_time;
use crate::store::sqlite::directory::edits::{About, Effect, Signed, Verdict, touch_all};

impl Signed {
    pub(super) async fn create_account(
        &self,
        (id, name, plan): (&AccountId, &str, &PlanName),
        connection: &mut SqliteConnection,
    ) -> Verdict<About> {
        match insert((id, name, plan), self.now, connection).await? {
            Inserted::Yes => Ok(Ok(About::account(id, Effect::Changed(0)))),
            Inserted::WasThere => Ok(Err(Denial::AccountExists)),
        }
    }

    /// Makes the account, on the plan `new`, if it is not there; that is a change with a row of its own.
    pub(super) async fn provide_account(
        &self,
        id: &AccountId,
        new: Option<&PlanName>,
        connection: &mut SqliteConnection,
    ) -> Verdict<()> {
        let Some(plan) = new else {
            let find = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1)");
            let is_there: bool = find.bind(id.as_str()).fetch_one(connection).await?;
            return Ok(if is_there { Ok(()) } else { Err(Denial::NoAccount) });
        };
        if insert((id, id.as_str(), plan), self.now, connection).await? == Inserted::Yes {
            let detail = Some(new_account(id.as_str(), plan));
            self.trail("account.create", (id, id.as_str()), detail, connection).await?;
        }
        Ok(Ok(()))
    }
}

/// Whether an account was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::store::sqlite) enum Inserted {
    /// It was.
    Yes,
    /// There is one with this id.
    WasThere,
}

/// Makes an account.
pub(in crate::store::sqlite) async fn insert(
    (id, name, plan): (&AccountId, &str, &PlanName),
    now: UnixTime,
    connection: &mut SqliteConnection,
) -> Result<Inserted, sqlx::Error> {
    let insert = "INSERT INTO accounts (id, name, plan, created_at) VALUES (?1, ?2, ?3, ?4) \
                  ON CONFLICT (id) DO NOTHING";
    let insert = sqlx::query(insert).bind(id.as_str()).bind(name).bind(plan.as_str()).bind(kept_time(now));
    Ok(if insert.execute(connection).await?.rows_affected() > 0 { Inserted::Yes } else { Inserted::WasThere })
}

/// Gives an account, which is there, another name or plan.
pub(super) async fn change(
    id: &AccountId,
    (name, plan): (Option<&str>, Option<&PlanName>),
    connection: &mut SqliteConnection,
) -> Result<About, sqlx::Error> {
    let find = sqlx::query_as::<_, (String, String)>("SELECT name, plan FROM accounts WHERE id = ?1");
    let (old_name, old_plan) = find.bind(id.as_str()).fetch_one(&mut *connection).await?;
    let name = name.filter(|name| *name != old_name);
    let plan = plan.map(PlanName::as_str).filter(|plan| *plan != old_plan);
    if name.is_none() && plan.is_none() {
        return Ok(About::account(id, Effect::Nothing));
    }
    let change = "UPDATE accounts SET name = coalesce(?2, name), plan = coalesce(?3, plan) WHERE id = ?1";
    let change = sqlx::query(change).bind(id.as_str()).bind(name).bind(plan);
    change.execute(&mut *connection).await?;
    let revision = if plan.is_some() { touch_all(id, connection).await? } else { 0 };
    Ok(About::account(id, Effect::Changed(revision)))
}

/// Since when an account, which is there, is suspended; `None`: not any more.
pub(super) async fn suspend(
    id: &AccountId,
    since: Option<UnixTime>,
    connection: &mut SqliteConnection,
) -> Result<About, sqlx::Error> {
    let suspend = "UPDATE accounts SET suspended_at = ?2 \
                   WHERE id = ?1 AND (suspended_at IS NULL) = (?2 IS NOT NULL)";
    let suspend = sqlx::query(suspend).bind(id.as_str()).bind(since.map(kept_time));
    if suspend.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(About::account(id, Effect::Nothing));
    }
    let count = sqlx::query("UPDATE revisions SET revision = revision + 1 WHERE of = 'suspended'");
    count.execute(&mut *connection).await?;
    let revision = touch_all(id, connection).await?;
    Ok(About::account(id, Effect::Changed(revision)))
}
