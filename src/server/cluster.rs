//! What a gateway shares with others over Redis, as it is begun and left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::cluster::answers::RedisAnswers;
use crate::cluster::link::Link;
use crate::cluster::roll::{RedisRoll, Roll};
use crate::config::Config;
use crate::dice;
use crate::ids::ReplicaId;
use crate::server::threads::Threads;
use crate::shelf::shared::SharedAnswers;

/// How many questions in a row one who reads an answer asks.
const QUESTIONS: u32 = 2;

/// What is shared.
pub(super) struct Clustered {
    link: Arc<Link>,
    wait: Duration,
    ended: watch::Sender<bool>,
    /// Says that this gateway is there.
    keeping: JoinHandle<()>,
}

impl Clustered {
    /// Begins to share what is configured to be, each answer waited for as long as `wait`; `None`: nothing is.
    pub(super) fn begin(
        config: &Config,
        (clock, wait): (&Clock, Duration),
        control: &Threads,
    ) -> anyhow::Result<Option<Self>> {
        let Some(cluster) = &config.cluster else { return Ok(None) };
        let Some(url) = &cluster.redis else { return Ok(None) };
        let link = Link::waiting(url, clock.clone(), wait).map_err(|why| anyhow!("{why}"))?;
        control.handle().spawn(Arc::clone(&link).keep());
        let replica = ReplicaId::new(&format!("gw_{}", dice::uuid_v7(clock.unix()).simple()));
        let (ended, told) = watch::channel(false);
        let call = Arc::new(RedisRoll::new(Arc::clone(&link)));
        let roll = Roll::new(cluster.replicas);
        let keeping = control.handle().spawn(roll.keep(call, replica, told));
        Ok(Some(Self { link, wait, ended, keeping }))
    }

    /// The answers that are shared.
    pub(super) fn answers(&self) -> Arc<dyn SharedAnswers> {
        Arc::new(RedisAnswers::new(Arc::clone(&self.link)))
    }

    /// How long it takes at most to read one of them.
    pub(super) fn longest_read(&self) -> Duration {
        self.wait * QUESTIONS
    }

    /// Says that this gateway is there no more.
    pub(super) fn leave(self, control: &Threads) {
        self.ended.send_replace(true);
        // Nothing comes back from a runtime that has ended; who is not told sees that nobody is there.
        let _ = control.wait_for(self.keeping);
    }
}
