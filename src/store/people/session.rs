//! What is kept of somebody who is logged in.

use std::net::IpAddr;

use crate::clock::UnixTime;
use crate::store::people::TokenDigest;
use crate::store::people::person::Person;

/// A session, as its person may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, `sess_…`, which lets nobody in.
    pub id: Box<str>,
    /// When it began, to the millisecond.
    pub created_at: UnixTime,
    /// When it was used last, to the minute.
    pub seen_at: UnixTime,
    /// When it ends unless it is used again.
    pub ends_at: UnixTime,
    /// Where it began.
    pub address: IpAddr,
    /// What the browser said of itself then, or the beginning of it.
    pub agent: Option<Box<str>>,
}

/// A session that begins.
#[derive(Clone, PartialEq, Eq)]
pub struct NewSession {
    /// What it is recognised by.
    pub digest: TokenDigest,
    /// Its id.
    pub id: Box<str>,
    /// When it ends unless it is used.
    pub ends_at: UnixTime,
    /// Where it begins.
    pub address: IpAddr,
    /// What the browser says of itself.
    pub agent: Option<Box<str>>,
}

/// Without the digest.
impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewSession({})", self.id)
    }
}

/// Somebody who is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// By this session.
    pub session: Session,
    /// Who they are now.
    pub person: Person,
}
