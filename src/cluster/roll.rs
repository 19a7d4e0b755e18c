//! How many gateways there are: each says every two seconds that it is there, and is told who else did lately.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use redis::Script;
use tokio::sync::watch;

use crate::cluster::link::Link;
use crate::ids::ReplicaId;

/// Between two times that a gateway says that it is there.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);

/// Who has not said so for this long is not there.
pub const GONE_AFTER: Duration = Duration::from_secs(10);

/// Where gateways say that they are there.
#[async_trait]
pub trait RollCall: Send + Sync {
    /// Says that `replica` is there; how many have said so within [`GONE_AFTER`], by the engine's clock. `None`: the engine
    /// cannot be asked.
    async fn beat(&self, replica: &ReplicaId) -> Option<u32>;

    /// `replica` is there no more.
    async fn leave(&self, replica: &ReplicaId);
}

/// How many gateways there are, as this one knows. Clones share it.
#[derive(Clone, Debug)]
pub struct Roll(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    least: NonZeroU32,
    seen: AtomicU32,
}

impl Roll {
    /// A roll of at least so many.
    pub fn new(least: NonZeroU32) -> Self {
        Self(Arc::new(Counted { least, seen: AtomicU32::new(0) }))
    }

    /// How many gateways there are: as many as were seen last, and at least as many as are configured.
    pub fn replicas(&self) -> NonZeroU32 {
        let seen = NonZeroU32::new(self.0.seen.load(Ordering::Relaxed));
        seen.map_or(self.0.least, |seen| seen.max(self.0.least))
    }

    /// How many were seen last; 0: none yet.
    pub fn seen(&self) -> u32 {
        self.0.seen.load(Ordering::Relaxed)
    }

    /// Keeps it, until `ended` says so.
    pub async fn keep(self, call: Arc<dyn RollCall>, replica: ReplicaId, mut ended: watch::Receiver<bool>) {
        loop {
            if let Some(seen) = call.beat(&replica).await {
                self.0.seen.store(seen, Ordering::Relaxed);
            }
            // It is said, or nobody is left who could say so.
            let ending = async { drop(ended.wait_for(|is_over| *is_over).await) };
            if tokio::time::timeout(BEAT_EVERY, ending).await.is_ok() {
                return call.leave(&replica).await;
            }
        }
    }
}

/// The roll at Redis: a set of replicas by when they were last there.
pub struct RedisRoll {
    link: Arc<Link>,
    beat: Script,
}

/// By the server's clock: who was there, and how many have been lately.
const BEAT: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
";

impl RedisRoll {
    /// The roll at the other end of `link`.
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, beat: Script::new(BEAT) }
    }
}

#[async_trait]
impl RollCall for RedisRoll {
    async fn beat(&self, replica: &ReplicaId) -> Option<u32> {
        let mut call = self.beat.key(self.link.names().replicas());
        call.arg(replica.as_str()).arg(GONE_AFTER.as_millis() as u64);
        self.link.run(&call).await.ok()
    }

    async fn leave(&self, replica: &ReplicaId) {
        let mut command = redis::cmd("ZREM");
        command.arg(self.link.names().replicas()).arg(replica.as_str());
        // Who cannot say so is missed soon enough.
        let _ = self.link.ask::<u32>(&command).await;
    }
}
