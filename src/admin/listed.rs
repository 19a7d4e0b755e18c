//! Accounts, keys and the trail of changes, as the operator's API lists them.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::Standing;
use crate::accounts::holders::Holder;
use crate::accounts::keys::{Listed, Made};
use crate::auth::key::Environment;
use crate::clock::UnixTime;
use crate::limits::plan::{Per, Plan};
use crate::store::directory::audit::AuditRow;
use crate::store::directory::key::KeySecret;

/// A key: everything but the key itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub struct KeyView {
    /// `key_` and the public id of its first secret; rotation does not change it.
    pub id: String,
    /// Whose it is.
    pub account: String,
    /// What people call it.
    #[schema(required = true)]
    pub name: Option<String>,
    /// `development`, `staging` or `production`.
    #[schema(required = true)]
    pub environment: Option<&'static str>,
    /// The plan that it has: its own, or else its account's.
    pub plan: String,
    /// Whether requests with it pass.
    #[schema(value_type = KeyState)]
    pub state: &'static str,
    /// When it was made: ISO 8601, UTC, as all times here.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From then on it is refused.
    #[schema(required = true, format = DateTime)]
    pub expires_at: Option<String>,
    /// Since when it is refused for good.
    #[schema(required = true, format = DateTime)]
    pub revoked_at: Option<String>,
    /// Its last use, to the minute.
    #[schema(required = true, format = DateTime)]
    pub last_used_at: Option<String>,
    /// Networks that may use it; empty: all.
    pub allowed_ips: Vec<String>,
    /// Globs of the models that it may ask for; empty: all.
    pub allowed_models: Vec<String>,
    /// Its secrets, the newest first.
    pub secrets: Vec<SecretView>,
}

/// What can be said of a key's requests.
// For the description alone: `accounts::keys::State` names them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// They pass.
    Active,
    /// They are refused until the account is resumed.
    Suspended,
    /// They are refused: the key's time has come.
    Expired,
    /// They are refused for good.
    Revoked,
}

/// One secret of a key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeySecret)]
pub struct SecretView {
    /// What stands behind `sk-sc-` in it.
    pub public_id: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// From then on it is refused; null: as long as the key is not.
    #[schema(required = true, format = DateTime)]
    pub ends_at: Option<String>,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyList {
    /// In the order of their ids; of those in a state or of an environment there may be few, and a next page all the same.
    pub items: Vec<KeyView>,
    /// `after` of the next page, which may be empty; null: there is none.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// A key with a secret that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct MadeKey {
    /// The whole key: this is the only time that it is shown. Null if the same request was answered before.
    #[schema(required = true)]
    pub secret: Option<String>,
    /// Whether it can be used already; if not, it can be in a moment.
    pub live: bool,
    /// The key.
    pub key: KeyView,
}

/// A key that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedKey {
    /// Whether the change is in force already; if not, it is in a moment.
    pub live: bool,
    /// As it is now; null: it is deleted.
    #[schema(required = true)]
    pub key: Option<KeyView>,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountView {
    /// Its id.
    pub id: String,
    /// Where it is named.
    #[schema(value_type = AccountOrigin)]
    pub origin: &'static str,
    /// What people call it.
    pub name: String,
    /// The plan of its keys in the store that have none of their own; those of the list name theirs.
    pub plan: String,
    /// When it was made in the store; null: the key list alone names it.
    #[schema(required = true, format = DateTime)]
    pub created_at: Option<String>,
    /// Since when all its keys are refused, those of the list too.
    #[schema(required = true, format = DateTime)]
    pub suspended_at: Option<String>,
    /// Its keys in the store that are not revoked.
    pub keys: u64,
    /// Its keys in the key list, in whatever state.
    pub listed_keys: u64,
}

/// Where an account is named.
// For the description alone: `accounts::holders::Origin` names them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccountOrigin {
    /// By keys of the key list alone. The first change of it, such as to suspend it, makes it in the store as well.
    List,
    /// In the store alone.
    Store,
    /// In both.
    Both,
}

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountList {
    /// In the order of their ids.
    pub items: Vec<AccountView>,
    /// `after` of the next page, which may be empty; null: there is none.
    #[schema(required = true)]
    pub next: Option<String>,
}

/// An account that was changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangedAccount {
    /// Whether the change is in force already; if not, it is in a moment.
    pub live: bool,
    /// As it is now.
    pub account: AccountView,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its number: later ones are larger.
    pub id: u64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Who.
    pub actor: String,
    /// What, such as `key.revoke`.
    pub action: String,
    /// Whose account it was about.
    #[schema(required = true)]
    pub account: Option<String>,
    /// What it was done to.
    #[schema(required = true)]
    pub subject: Option<String>,
    /// More of it, for people.
    #[schema(required = true)]
    pub detail: Option<String>,
}

/// A page of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditTrail {
    /// The newest first.
    pub items: Vec<AuditEntry>,
    /// `before` of the next page, which may be empty; null: there is none.
    #[schema(required = true)]
    pub next: Option<u64>,
}

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plan)]
pub struct PlanView {
    /// Its name.
    pub name: String,
    /// Once its burst is spent.
    pub requests_per_minute: u32,
    /// What a rested key may ask at once.
    pub burst: u32,
    /// Whose bucket it is: `key`, or `account`.
    #[schema(value_type = BucketOwner)]
    pub per: &'static str,
    /// Keys that an account may have in the store.
    pub max_keys: u32,
    /// What the answers may take that an account stores, in bytes.
    pub stored_bytes: u64,
}

/// Whose a bucket is.
// For the description alone: `PlanView::of` names them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BucketOwner {
    /// Every key has its own.
    Key,
    /// All keys of an account share one.
    Account,
}

/// The plans.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanList {
    /// In the order of their names.
    pub items: Vec<PlanView>,
}

impl PlanList {
    pub(super) fn of(plans: &[Arc<Plan>]) -> Self {
        Self { items: plans.iter().map(|plan| PlanView::of(plan)).collect() }
    }
}

impl PlanView {
    fn of(plan: &Plan) -> Self {
        Self {
            name: plan.name().to_string(),
            requests_per_minute: plan.requests_per_minute().get(),
            burst: plan.burst().get(),
            per: if plan.per() == Per::Key { "key" } else { "account" },
            max_keys: plan.max_keys().get(),
            stored_bytes: plan.stored_bytes().as_u64(),
        }
    }
}

impl KeyView {
    pub(super) fn of(listed: Listed, now: UnixTime) -> Self {
        let state = listed.state(now).as_str();
        let Listed { key, last_used_at } = listed;
        let time = |at: UnixTime| at.rfc3339();
        Self {
            id: key.id.to_string(),
            account: key.account.to_string(),
            name: key.terms.name.map(String::from),
            environment: key.terms.environment.map(Environment::as_str),
            plan: key.plan.to_string(),
            state,
            created_at: time(key.created_at),
            expires_at: key.terms.expires_at.map(time),
            revoked_at: key.revoked_at.map(time),
            last_used_at: last_used_at.map(time),
            allowed_ips: key.terms.allowed_ips.iter().map(ToString::to_string).collect(),
            allowed_models: key.terms.allowed_models.iter().map(ToString::to_string).collect(),
            secrets: key.secrets.into_iter().map(SecretView::of).collect(),
        }
    }
}

impl SecretView {
    fn of(secret: KeySecret) -> Self {
        Self {
            public_id: secret.public_id.into(),
            created_at: secret.created_at.rfc3339(),
            ends_at: secret.ends_at.map(|at| at.rfc3339()),
        }
    }
}

impl KeyList {
    pub(super) fn of((keys, next): (Vec<Listed>, Option<Box<str>>), now: UnixTime) -> Self {
        let items = keys.into_iter().map(|key| KeyView::of(key, now)).collect();
        Self { items, next: next.map(String::from) }
    }
}

impl MadeKey {
    pub(super) fn of(made: Made, now: UnixTime) -> Self {
        Self {
            secret: made.secret.map(|secret| secret.expose().to_owned()),
            live: is_live(made.standing),
            key: KeyView::of(made.key, now),
        }
    }
}

impl AccountView {
    pub(super) fn of(holder: Holder) -> Self {
        Self {
            id: holder.id.to_string(),
            origin: holder.origin.as_str(),
            name: holder.name.into(),
            plan: holder.plan.to_string(),
            created_at: holder.created_at.map(|at| at.rfc3339()),
            suspended_at: holder.suspended_at.map(|at| at.rfc3339()),
            keys: holder.keys,
            listed_keys: holder.listed_keys,
        }
    }
}

impl AccountList {
    pub(super) fn of(accounts: Vec<Holder>, limit: u32) -> Self {
        let items: Vec<AccountView> = accounts.into_iter().map(AccountView::of).collect();
        let next = items.last().filter(|_| is_full(items.len(), limit)).map(|last| last.id.clone());
        Self { items, next }
    }
}

impl AuditTrail {
    pub(super) fn of(rows: Vec<AuditRow>, limit: u32) -> Self {
        let next = rows.last().filter(|_| is_full(rows.len(), limit)).map(|last| last.id);
        let entry = |row: AuditRow| AuditEntry {
            id: row.id,
            at: row.at.rfc3339(),
            actor: row.actor.into(),
            action: row.action.into(),
            account: row.account.map(|account| account.to_string()),
            subject: row.subject.map(String::from),
            detail: row.detail.map(String::from),
        };
        Self { items: rows.into_iter().map(entry).collect(), next }
    }
}

/// True if more may follow a page of `count`.
pub(super) fn is_full(count: usize, limit: u32) -> bool {
    count >= limit as usize
}

pub(super) fn is_live(standing: Standing) -> bool {
    standing == Standing::Live
}
