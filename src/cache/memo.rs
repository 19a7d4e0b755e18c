//! Bodies that were read before: one that comes again is neither parsed nor digested again.
//!
//! A body is known again by all of its bytes, so that nothing rests on a hash, and only to the account that sent it:
//! how fast an answer comes tells nobody what others have asked. What is remembered is bounded in bytes.

use std::num::NonZeroUsize;
use std::sync::Arc;

use ahash::RandomState;
use moka::sync::Cache;

use crate::cache::entries::SpreadKeys;
use crate::cache::key::ScannedBody;
use crate::cache::policy::RoutePolicy;
use crate::ids::AccountId;
use crate::llm::request::Api;

/// Longer bodies are not remembered, in bytes: comparing and keeping them would cost more than it spares.
const LONGEST: usize = 16 * 1024;

/// Bytes of all that is remembered.
const CAPACITY: u64 = 16 * 1024 * 1024;

/// Bytes of all that one of many memos remembers, at least.
const LEAST: u64 = 1024 * 1024;

/// Bytes counted for a body beside its own and the texts that were read in it.
const OVERHEAD: usize = 512;

/// Bodies read before. Clones share them.
#[derive(Clone, Debug)]
pub struct BodyMemo {
    bodies: Cache<u64, Arc<Known>, SpreadKeys>,
    hasher: RandomState,
}

/// A body, and all that decides what is read in it.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// Who sent it.
    pub account: &'a AccountId,
    /// What it is a request of.
    pub api: Api,
    /// What is left out of its digest.
    pub policy: &'a Arc<RoutePolicy>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A body that was read.
#[derive(Debug)]
pub struct Known {
    account: AccountId,
    api: Api,
    policy: Arc<RoutePolicy>,
    bytes: Box<[u8]>,
    scanned: ScannedBody,
}

impl Default for BodyMemo {
    fn default() -> Self {
        Self::one_of(NonZeroUsize::MIN)
    }
}

impl BodyMemo {
    /// One of so many that share the room there is, each with some of its own.
    pub fn one_of(count: NonZeroUsize) -> Self {
        let capacity = (CAPACITY / count.get() as u64).max(LEAST);
        let weigh = |_: &u64, known: &Arc<Known>| u32::try_from(known.size()).unwrap_or(u32::MAX);
        let bodies = Cache::builder().max_capacity(capacity).weigher(weigh).build_with_hasher(SpreadKeys);
        Self { bodies, hasher: RandomState::new() }
    }

    /// What was read in `body`, if it is remembered.
    pub fn find(&self, body: &Body<'_>) -> Option<Arc<Known>> {
        if body.bytes.len() > LONGEST {
            return None;
        }
        self.bodies.get(&self.place(body)).filter(|known| known.is(body))
    }

    /// Remembers what was read in `body`, in place of another that shares its hash. Longer ones than 16 KiB are not
    /// remembered.
    pub fn remember(&self, body: &Body<'_>, scanned: ScannedBody) {
        if body.bytes.len() > LONGEST {
            return;
        }
        let known = Known {
            account: body.account.clone(),
            api: body.api,
            policy: Arc::clone(body.policy),
            bytes: body.bytes.into(),
            scanned,
        };
        self.bodies.insert(self.place(body), Arc::new(known));
    }

    /// Bytes that everything remembered is counted as, brought up to date first.
    pub fn size(&self) -> u64 {
        self.bodies.run_pending_tasks();
        self.bodies.weighted_size()
    }

    fn place(&self, body: &Body<'_>) -> u64 {
        self.hasher.hash_one((body.account, body.bytes))
    }
}

impl Known {
    /// What was read.
    pub fn scanned(&self) -> &ScannedBody {
        &self.scanned
    }

    /// Bytes that it is counted as. A text that was read is a second copy of a part of the body, or of all of it.
    fn size(&self) -> usize {
        let fields = &self.scanned.fields;
        let texts = [fields.model.as_deref(), fields.service_tier.as_deref()];
        texts.into_iter().flatten().map(str::len).sum::<usize>() + self.bytes.len() + OVERHEAD
    }

    fn is(&self, body: &Body<'_>) -> bool {
        *self.bytes == *body.bytes
            && self.account == *body.account
            && self.api == body.api
            && Arc::ptr_eq(&self.policy, body.policy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Body, BodyMemo, CAPACITY, LONGEST};
    use crate::cache::key::ScannedBody;
    use crate::cache::policy::{OnDisconnect, RoutePolicy, Scope};
    use crate::ids::AccountId;
    use crate::llm::request::Api;

    fn policy() -> Arc<RoutePolicy> {
        Arc::new(RoutePolicy {
            ttl: std::time::Duration::from_secs(60),
            paths: Box::default(),
            ignore: Box::default(),
            vary: Box::default(),
            keep_headers: Box::default(),
            max_temperature: 2.0,
            on_disconnect: OnDisconnect::Stop,
            scope: Scope::Account,
        })
    }

    fn scanned(bytes: &[u8]) -> ScannedBody {
        ScannedBody::read(bytes, Api::ChatCompletions, &[]).unwrap()
    }

    #[test]
    fn a_body_is_known_again_only_where_all_that_decides_is_equal() {
        let memo = BodyMemo::default();
        let (account, policy) = (AccountId::new("acme"), policy());
        let bytes = br#"{"model":"m","messages":[]}"#;
        let body = Body { account: &account, api: Api::ChatCompletions, policy: &policy, bytes };
        assert!(memo.find(&body).is_none());
        memo.remember(&body, scanned(bytes));
        assert_eq!(memo.find(&body).unwrap().scanned(), &scanned(bytes));

        let (other, reloaded) = (AccountId::new("other"), self::policy());
        assert!(memo.find(&Body { account: &other, ..body }).is_none());
        assert!(memo.find(&Body { api: Api::Messages, ..body }).is_none());
        assert!(memo.find(&Body { policy: &reloaded, ..body }).is_none());
        assert!(memo.find(&Body { bytes: br#"{"model":"m","messages":[ ]}"#, ..body }).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded_in_bytes() {
        let memo = BodyMemo::default();
        let (account, policy) = (AccountId::new("acme"), policy());
        let number = CAPACITY / 8192 * 2;
        for index in 0..number {
            let bytes = format!("{{\"prompt\":\"{index}{}\"}}", "x".repeat(8192)).into_bytes();
            let body = Body { account: &account, api: Api::ChatCompletions, policy: &policy, bytes: &bytes };
            memo.remember(&body, scanned(&bytes));
        }
        assert!((1..=CAPACITY).contains(&memo.size()), "{}", memo.size());
    }

    #[test]
    fn what_was_read_counts_beside_the_body() {
        let size = |member: &str| {
            let memo = BodyMemo::default();
            let (account, policy) = (AccountId::new("acme"), policy());
            let bytes = format!("{{\"{member}\":\"{}\"}}", "x".repeat(8000)).into_bytes();
            let body = Body { account: &account, api: Api::ChatCompletions, policy: &policy, bytes: &bytes };
            memo.remember(&body, scanned(&bytes));
            memo.size()
        };
        assert_eq!((size("model"), size("other")), (size("input") + 8000, size("input")));
    }

    #[test]
    fn a_long_body_is_not_remembered() {
        let memo = BodyMemo::default();
        let (account, policy) = (AccountId::new("acme"), policy());
        for (padding, is_kept) in [(LONGEST - 13, true), (LONGEST - 12, false)] {
            let bytes = format!("{{\"prompt\":\"{}\"}}", "x".repeat(padding)).into_bytes();
            let body = Body { account: &account, api: Api::ChatCompletions, policy: &policy, bytes: &bytes };
            memo.remember(&body, scanned(&bytes));
            assert_eq!(memo.find(&body).is_some(), is_kept, "{} bytes", bytes.len());
        }
    }
}
