//! A key's life: made, renamed, rotated, revoked, deleted.

use std::time::Duration;

use crate::accounts::draft::{KeyDraft, account_id, key_name};
use crate::accounts::refused::Refused;
use crate::accounts::{Accounts, FIRST_PLAN, Standing, request};
use crate::auth::token;
use crate::clock::UnixTime;
use crate::config::key_rules::GENERATED_ACCOUNT;
use crate::dice;
use crate::ids::KeyId;
use crate::secret::Secret;
use crate::store::directory::edit::{Author, Denial, Edit, NewKey, Which};
use crate::store::directory::key::{Key, KeyPage, KeysOf, NewSecret, State};

/// The longest that the old secret of a key stays valid beside a new one.
pub const MOST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 3600);

/// The most keys of a page.
pub const MOST_A_PAGE: u32 = 100;

/// What every id of a key in the store begins with; its public id follows.
pub const KEY_PREFIX: &str = "key_";

/// A key to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub account: String,
    /// What it is to be.
    pub draft: KeyDraft,
    /// A name for this request, by which it makes no second key if its author sends it again.
    pub request: Option<String>,
    /// What becomes of an account that is not there.
    pub absent: Absent,
}

/// What becomes of an account that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absent {
    /// It is made, on the plan [`FIRST_PLAN`].
    Made,
    /// The key is refused.
    #[default]
    Refused,
}

/// How a key is to be rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// How long the secret before stays valid.
    pub overlap: Duration,
    /// A name for this request, by which it makes no second secret if its author sends it again.
    pub request: Option<String>,
}

/// A key with a secret that was just made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The key.
    pub key: Listed,
    /// The whole of it, for its owner's eyes; `None` if the same request has made it before.
    pub secret: Option<Secret>,
    /// Whether it can be used already.
    pub standing: Standing,
}

/// A key, and when it was used.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Its last use, to the minute.
    pub last_used_at: Option<UnixTime>,
}

impl Listed {
    /// Its state at `now`.
    pub fn state(&self, now: UnixTime) -> State {
        self.key.state(now)
    }
}

/// A key that was changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// As it is now; `None`: it is deleted.
    pub key: Option<Listed>,
    /// Whether the change is in force already.
    pub standing: Standing,
}

impl Accounts {
    /// Makes a key.
    ///
    /// # Errors
    /// It is not made.
    pub async fn create_key(&self, author: Author, wanted: Wanted) -> Result<Made, Refused> {
        let request = request::of_creation(&wanted)?;
        let Wanted { account, draft, request: _, absent } = wanted;
        let account = account_id(&account)?;
        let terms = self.terms(draft)?;
        let known = self.0.directory.account(&account).await?;
        if known.is_none() && account.as_str().starts_with(GENERATED_ACCOUNT) {
            return Err(Refused::Denied(Denial::NoAccount));
        }
        let plan = known.as_ref().map_or(FIRST_PLAN, |account| account.plan.as_str());
        let most = self.plan(plan)?.max_keys().get();
        let new_account = match absent {
            Absent::Made => Some(self.plan_name(FIRST_PLAN)?),
            Absent::Refused => None,
        };
        let (public_id, secret, new_secret) = new_secret()?;
        let new = NewKey {
            id: KeyId::new(&format!("{KEY_PREFIX}{public_id}")),
            account,
            terms,
            secret: new_secret,
            request,
            most,
            new_account,
        };
        let (edited, standing) = self.edit(author, Edit::CreateKey(new)).await?;
        let id = edited.key.ok_or(Denial::NoKey)?;
        let key = self.key(Which { id, within: None }).await?;
        Ok(Made { key, secret: edited.is_new.then_some(secret), standing })
    }

    /// Gives a key a new secret; the one before it stays valid for a while.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn rotate_key(
        &self,
        author: Author,
        which: Which,
        rotation: Rotation,
    ) -> Result<Made, Refused> {
        let request = request::of_rotation(&which.id, &rotation)?;
        let Rotation { overlap, request: _ } = rotation;
        if overlap > MOST_OVERLAP {
            return Err(Refused::wrong("overlap", "the old secret can stay valid for 30 days at most"));
        }
        let ends_at = self.0.clock.unix().saturating_add(overlap);
        let (_, secret, new) = new_secret()?;
        let edit = Edit::RotateKey { which: which.clone(), secret: new, ends_at, request };
        let (edited, standing) = self.edit(author, edit).await?;
        Ok(Made { key: self.key(which).await?, secret: edited.is_new.then_some(secret), standing })
    }

    /// Ends all secrets of a key but the newest.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn end_overlap(&self, author: Author, which: Which) -> Result<Changed, Refused> {
        self.change_key(author, Edit::EndOverlap(which.clone()), which).await
    }

    /// Gives a key another name; `None`: none.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn rename_key(
        &self,
        author: Author,
        which: Which,
        name: Option<String>,
    ) -> Result<Changed, Refused> {
        let name = name.map(key_name).transpose()?;
        self.change_key(author, Edit::RenameKey { which: which.clone(), name }, which).await
    }

    /// Has a key refused from now on, for good. One that is so already stays so.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn revoke_key(&self, author: Author, which: Which) -> Result<Changed, Refused> {
        self.change_key(author, Edit::RevokeKey(which.clone()), which).await
    }

    /// The same, and lists it no more.
    ///
    /// # Errors
    /// It is as it was.
    pub async fn delete_key(&self, author: Author, which: Which) -> Result<Changed, Refused> {
        let (_, standing) = self.edit(author, Edit::DeleteKey(which)).await?;
        Ok(Changed { key: None, standing })
    }

    async fn change_key(&self, author: Author, edit: Edit, which: Which) -> Result<Changed, Refused> {
        let (_, standing) = self.edit(author, edit).await?;
        Ok(Changed { key: Some(self.key(which).await?), standing })
    }

    /// A key.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub async fn key(&self, which: Which) -> Result<Listed, Refused> {
        let found = self.0.directory.key(&which.id).await?;
        let is_theirs = |key: &Key| which.within.as_ref().is_none_or(|account| key.account == *account);
        let key = found.filter(is_theirs).ok_or(Denial::NoKey)?;
        let mut listed = self.with_last_use(vec![key]).await?;
        listed.pop().ok_or(Refused::Denied(Denial::NoKey))
    }

    /// A page of keys, in the order of their ids.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn keys(&self, of: KeysOf) -> Result<Vec<Listed>, Refused> {
        self.page_of_keys(of).await.map(|(keys, _)| keys)
    }

    /// The same, and what the next page is behind; `None`: there is none. A page of some alone may have few, or none, and a
    /// next one all the same.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn page_of_keys(&self, of: KeysOf) -> Result<(Vec<Listed>, Option<Box<str>>), Refused> {
        let of = KeysOf { limit: of.limit.min(MOST_A_PAGE), ..of };
        let KeyPage { keys, next } = self.0.directory.keys(of).await?;
        Ok((self.with_last_use(keys).await?, next))
    }

    async fn with_last_use(&self, keys: Vec<Key>) -> Result<Vec<Listed>, Refused> {
        let ids = keys.iter().map(|key| (key.account.clone(), key.id.clone())).collect();
        let uses = self.0.store.last_uses(ids).await?;
        let listed = keys.into_iter().zip(uses).map(|(key, used)| {
            let to_the_minute = |at: UnixTime| UnixTime::from_secs(at.as_secs() / 60 * 60);
            Listed { key, last_used_at: used.map(to_the_minute) }
        });
        Ok(listed.collect())
    }
}

/// Public id, whole secret, and what is kept of it.
fn new_secret() -> Result<(Box<str>, Secret, NewSecret), Refused> {
    let made = token::generate(dice::fill).map_err(|_| Refused::NoRandomness)?;
    let kept = NewSecret { public_id: made.public_id.clone(), digest: made.digest };
    Ok((made.public_id, made.secret, kept))
}
