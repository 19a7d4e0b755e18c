//! The keys of the store on their way into the ring, and which accounts are suspended: all of it when the gateway starts,
//! and from then on what changes.
//!
//! Whoever changes a key says so and waits until it is live. What another process has changed, as the other one of a
//! hand-over or another gateway may, is seen as soon as the store tells of it, and within [`Directory::look_every`] when
//! it does not.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::accounts::{Late, Publish};
use crate::auth::key::StoredKey;
use crate::auth::key_ring::KeyRing;
use crate::clock::{Clock, Monotonic, Now, UnixTime};
use crate::ids::KeyId;
use crate::limits::plan::Plan;
use crate::runtime::journal::Refusal;
use crate::runtime::reload::Reloader;
use crate::store::directory::{Cursor, Directory, Revisions};
use crate::store::failure::{StoreError, Trouble};

/// How long whoever has changed a key waits until it is live.
const PATIENCE: Duration = Duration::from_secs(2);

/// Before the store is asked again that could not be.
const AGAIN: Duration = Duration::from_millis(250);

/// Keys that are read at once.
const PAGE: u32 = 10_000;

/// How long the trail of changes is kept.
const TRAIL: Duration = Duration::from_secs(400 * 24 * 3600);

/// Between two times that something is forgotten, by the clock that nobody sets.
const FORGET_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The first time, after the start: a gateway that starts again and again forgets nothing.
const FORGET_FIRST: Duration = Duration::from_secs(3600);

/// Who follows the keys of `directory`, and how far it has come.
pub(super) struct Follower {
    directory: Arc<dyn Directory>,
    clock: Clock,
    cursor: Cursor,
    /// What the ring has all of.
    seen: Revisions,
    /// Keys that cannot be in the ring, as the configuration is: they are tried again with every other one.
    refused: HashMap<KeyId, StoredKey>,
    /// The policy that they could not be in.
    refused_by: u64,
    /// When something is forgotten next.
    forgets_at: Monotonic,
}

impl Follower {
    /// Begins to follow: all keys as they are now, under `plans`.
    ///
    /// # Errors
    /// They cannot be read, or one of them cannot be in a ring.
    pub(super) async fn begin(
        directory: Arc<dyn Directory>,
        clock: Clock,
        plans: Vec<Arc<Plan>>,
    ) -> anyhow::Result<(Self, KeyRing)> {
        let mut follower = Self {
            directory,
            forgets_at: clock.monotonic().saturating_add(FORGET_FIRST),
            clock,
            cursor: Cursor::default(),
            seen: Revisions::default(),
            refused: HashMap::new(),
            refused_by: 0,
        };
        follower.seen = follower.directory.revisions().await?;
        let mut ring = KeyRing::default();
        loop {
            let page = follower.next().await?;
            if page.is_empty() {
                let suspended = follower.directory.suspended().await?;
                return Ok((follower, ring.with_suspended(suspended)));
            }
            let (next, problems) = ring.with_stored(page, &plans);
            if !problems.is_empty() {
                return Err(anyhow::Error::new(Refusal::Ring(problems)).context(
                    "the configuration lacks what keys of the store need: put it back, or revoke them with `safecache \
                     keys revoke`",
                ));
            }
            ring = next;
        }
    }

    /// Some of the keys that have changed since; none: that was all.
    async fn next(&mut self) -> Result<Vec<StoredKey>, StoreError> {
        let followed = self.directory.follow(&self.cursor, PAGE, self.clock.unix()).await?;
        self.cursor = followed.cursor;
        Ok(followed.keys)
    }

    /// Puts what changes into the ring from here on, by a task of `runtime`. How to have that done at once.
    pub(super) fn follow<D: Send + Sync + 'static>(
        self,
        reloader: Arc<Reloader<D>>,
        runtime: &Handle,
    ) -> Publish {
        let wake = Arc::new(Notify::new());
        let (live, seen) = watch::channel(self.seen.keys);
        runtime.spawn(self.run(reloader, Arc::clone(&wake), live));
        Box::new(move |revision| {
            let (wake, mut seen) = (Arc::clone(&wake), seen.clone());
            Box::pin(async move {
                wake.notify_one();
                let reached = seen.wait_for(|live| revision <= *live);
                match tokio::time::timeout(PATIENCE, reached).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(Late),
                }
            })
        })
    }

    async fn run<D: Send + Sync + 'static>(
        mut self,
        reloader: Arc<Reloader<D>>,
        wake: Arc<Notify>,
        live: watch::Sender<u64>,
    ) {
        let mut fails = false;
        loop {
            let look_every = self.directory.look_every();
            let look_every = if fails { look_every.min(AGAIN) } else { look_every };
            tokio::select! {
                () = wake.notified() => {}
                () = self.directory.changed() => {}
                () = tokio::time::sleep(look_every) => {}
            }
            match self.take_all(&reloader).await {
                Ok(()) => {
                    if std::mem::take(&mut fails) {
                        tracing::info!("the keys of the store are followed again");
                    }
                    live.send_replace(self.seen.keys);
                    self.shorten().await;
                }
                // The gateway is ending, and this with it.
                Err(StoreError { trouble: Trouble::Closed, .. }) => return,
                Err(error) => {
                    if !std::mem::replace(&mut fails, true) {
                        tracing::error!(%error, "what changes of the keys of the store is not seen");
                    }
                }
            }
        }
    }

    /// Forgets once a day what nobody has to learn of any more.
    async fn shorten(&mut self) {
        let Now { monotonic, unix } = self.clock.now();
        if monotonic < self.forgets_at {
            return;
        }
        self.forgets_at = monotonic.saturating_add(FORGET_EVERY);
        let first = UnixTime::from_secs(unix.as_secs().saturating_sub(TRAIL.as_secs()));
        match self.directory.forget(first, unix).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "what was deleted long ago is forgotten, and changes of before"),
            Err(error) => tracing::warn!(
                %error,
                "deleted keys and old changes were not forgotten; tomorrow they are tried again"
            ),
        }
    }

    async fn take_all<D: Send + Sync + 'static>(
        &mut self,
        reloader: &Arc<Reloader<D>>,
    ) -> Result<(), StoreError> {
        // What is asked twice a second: when nothing has changed, nothing else is read.
        let revisions = self.directory.revisions().await?;
        let is_new = revisions != self.seen;
        let mut suspended = match revisions.suspended == self.seen.suspended {
            true => None,
            false => Some(self.directory.suspended().await?),
        };
        loop {
            let changed = if is_new { self.next().await? } else { Vec::new() };
            let is_other_policy = reloader.policy().snapshot.generation != self.refused_by;
            let is_due = !self.refused.is_empty() && is_other_policy;
            if changed.is_empty() && suspended.is_none() && !is_due {
                self.seen = revisions;
                return Ok(());
            }
            let mut keys = std::mem::take(&mut self.refused);
            keys.extend(changed.into_iter().map(|key| (key.id.clone(), key)));
            let (reloader, taken) = (Arc::clone(reloader), keys.values().cloned().collect());
            let accounts = suspended.take();
            let taking =
                move || (reloader.take_stored(taken, accounts), reloader.policy().snapshot.generation);
            match tokio::task::spawn_blocking(taking).await {
                Ok((refused, generation)) => {
                    keys.retain(|id, _| refused.contains(id));
                    (self.refused, self.refused_by) = (keys, generation);
                }
                Err(error) => {
                    tracing::error!(%error, "a change of the keys of the store broke off; it is tried again");
                    (self.refused, self.refused_by) = (keys, 0);
                    return Ok(());
                }
            }
        }
    }
}
