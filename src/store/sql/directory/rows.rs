//! What the rows of accounts, keys and the trail mean.

use crate::auth::key::{Digest, Environment, KeyEntry, KeyOptions, StoredKey};
use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId, PlanName};
use crate::store::directory::account::Account;
use crate::store::directory::audit::AuditRow;
use crate::store::directory::key::{Key, KeyPage, KeySecret, KeyTerms};
use crate::store::directory::{Cursor, Followed};
use crate::store::number::{read, read_time};
use crate::store::sql::columns::{Columns, unknown};

/// Behind all ids, which are of visible ASCII characters.
pub(in crate::store) const BEHIND_ALL: &str = "\u{7f}";

/// An account: `id, name, plan, created_at, suspended_at, keys`.
pub(in crate::store) fn account_of(row: &impl Columns) -> Result<Account, sqlx::Error> {
    Ok(Account {
        id: AccountId::new(&row.text("id")?),
        name: row.text("name")?.into(),
        plan: PlanName::new(&row.text("plan")?),
        created_at: read_time(row.number("created_at")?),
        suspended_at: row.maybe_number("suspended_at")?.map(read_time),
        keys: read(row.number("keys")?),
    })
}

/// A page of keys, of which `limit` were wanted, of those up to `horizon`; `None`: of all.
pub(in crate::store) fn page_of(
    rows: &[impl Columns],
    limit: u32,
    horizon: Option<Box<str>>,
) -> Result<KeyPage, sqlx::Error> {
    let keys = rows.iter().map(key_of).collect::<Result<Vec<Key>, _>>()?;
    let is_full = keys.len() >= limit as usize;
    let last = keys.last().filter(|_| is_full).map(|last| last.id.as_str().into());
    Ok(KeyPage { keys, next: last.or(horizon) })
}

/// A key: its columns, and `has_plan, is_suspended, is_deleted, secrets`, the last as lines of
/// `digest,public id,made,ends`.
pub(in crate::store) fn key_of(row: &impl Columns) -> Result<Key, sqlx::Error> {
    let mut secrets: Vec<KeySecret> = secrets_of(row)?.into_iter().map(|(_, secret)| secret).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse((secret.ends_at.is_none(), secret.created_at)));
    Ok(Key {
        id: KeyId::new(&row.text("id")?),
        account: AccountId::new(&row.text("account")?),
        terms: terms_of(row)?,
        plan: PlanName::new(&row.text("has_plan")?),
        created_at: read_time(row.number("created_at")?),
        revoked_at: row.maybe_number("revoked_at")?.map(read_time),
        is_suspended: row.flag("is_suspended")?,
        secrets,
    })
}

fn terms_of(row: &impl Columns) -> Result<KeyTerms, sqlx::Error> {
    let environment =
        row.maybe_text("environment")?.map(|name| Environment::of_name(&name).ok_or(unknown(&name)));
    let (ips, models) = (of_list(&row.text("allowed_ips")?)?, of_list(&row.text("allowed_models")?)?);
    Ok(KeyTerms {
        name: row.maybe_text("name")?.map(Into::into),
        environment: environment.transpose()?,
        plan: row.maybe_text("plan")?.as_deref().map(PlanName::new),
        expires_at: row.maybe_number("expires_at")?.map(read_time),
        allowed_ips: ips.iter().map(|ip| ip.parse().map_err(|_| unknown(ip))).collect::<Result<_, _>>()?,
        allowed_models: models
            .iter()
            .map(|glob| ModelGlob::new(glob).ok_or_else(|| unknown(glob)))
            .collect::<Result<_, _>>()?,
    })
}

/// A list as it is kept: the texts of `items` in JSON.
pub(in crate::store) fn list_of<T: ToString>(items: &[T]) -> Result<String, sqlx::Error> {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    serde_json::to_string(&texts).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn of_list(text: &str) -> Result<Vec<String>, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn secrets_of(row: &impl Columns) -> Result<Vec<(Digest, KeySecret)>, sqlx::Error> {
    let lines = row.maybe_text("secrets")?.unwrap_or_default();
    let secret = |line: &str| {
        let mut parts = line.split(',');
        let (digest, public_id, made, ends) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let digest = data_encoding::HEXUPPER.decode(digest.as_bytes()).ok()?.try_into().ok()?;
        let ends_at = if ends.is_empty() { None } else { Some(read_time(ends.parse().ok()?)) };
        let (public_id, created_at) = (public_id.into(), read_time(made.parse().ok()?));
        Some((digest, KeySecret { public_id, created_at, ends_at }))
    };
    let lines = lines.split(';').filter(|line| !line.is_empty());
    lines.map(|line| secret(line).ok_or_else(|| unknown("a key's secret"))).collect()
}

/// Keys that have changed behind `cursor`, in the order in which they did: their columns as for [`key_of`], and `revision`.
pub(in crate::store) fn followed_of(
    rows: &[impl Columns],
    cursor: &Cursor,
    now: UnixTime,
) -> Result<Followed, sqlx::Error> {
    let keys = rows.iter().map(|row| followed(row, now)).collect::<Result<_, _>>()?;
    let cursor = match rows.last() {
        Some(row) => Cursor { revision: read(row.number("revision")?), key: row.text("id")?.into() },
        None => cursor.clone(),
    };
    Ok(Followed { keys, cursor })
}

/// A key as the ring takes it: a secret that is to end is a key that expires then. One that is refused for good is in the
/// ring as well, so that nobody brings it back under another name.
fn followed(row: &impl Columns, now: UnixTime) -> Result<StoredKey, sqlx::Error> {
    let id = KeyId::new(&row.text("id")?);
    let terms = terms_of(row).inspect_err(|error| {
        tracing::error!(%error, key = %id, "a key of the store is refused: what is kept of it is not understood");
    });
    let terms = terms.ok();
    let is_refused = row.maybe_number("revoked_at")?.is_some() || terms.is_none();
    let is_suspended = row.flag("is_suspended")?;
    let KeyTerms { name, environment, expires_at, allowed_ips, allowed_models, .. } =
        terms.unwrap_or_default();
    let options =
        KeyOptions { name, environment, expires_at, allowed_ips, allowed_models, disabled: is_suspended };
    let is_deleted = row.flag("is_deleted")?;
    let (account, plan) = (AccountId::new(&row.text("account")?), PlanName::new(&row.text("has_plan")?));
    let (mut entries, mut ended) = (Vec::new(), Vec::new());
    for (digest, secret) in secrets_of(row)? {
        if is_deleted {
            ended.push(digest);
            continue;
        }
        let has_ended = is_refused || secret.ends_at.is_some_and(|ends_at| ends_at <= now);
        let expires_at = options.expires_at.into_iter().chain(secret.ends_at).min();
        let options = KeyOptions { expires_at, disabled: is_suspended || has_ended, ..options.clone() };
        let (id, account, plan) = (id.clone(), account.clone(), plan.clone());
        entries.push(KeyEntry { id, account, plan, digest, options });
    }
    Ok(StoredKey { id, entries, ended })
}

/// A row of the trail: `id, at, actor, action, account, subject, detail`.
pub(in crate::store) fn audit_of(row: &impl Columns) -> Result<AuditRow, sqlx::Error> {
    Ok(AuditRow {
        id: read(row.number("id")?),
        at: read_time(row.number("at")?),
        actor: row.text("actor")?.into(),
        action: row.text("action")?.into(),
        account: row.maybe_text("account")?.as_deref().map(AccountId::new),
        subject: row.maybe_text("subject")?.map(Into::into),
        detail: row.maybe_text("detail")?.map(Into::into),
    })
}
