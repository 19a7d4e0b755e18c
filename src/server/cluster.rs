//! What a gateway that is one of several has beside the rest: the way to Redis, who else is there, and whose the limits are.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::cluster::answers::RedisAnswers;
use crate::cluster::leases::{self, Leases};
use crate::cluster::link::Link;
use crate::cluster::names::Names;
use crate::cluster::roll::{BEAT_EVERY, GONE_AFTER, RedisRoll, Roll, RollCall};
use crate::cluster::room::Room;
use crate::config::cluster::Cluster;
use crate::dice;
use crate::ids::ReplicaId;
use crate::limits::limiter::Limiter;
use crate::limits::link::{Link as Standing, WhenDown};
use crate::server::lasting::Lasting;
use crate::server::threads::Threads;
use crate::shelf::shared::SharedAnswers;
use crate::store::postgres::PostgresStore;
use crate::telemetry::metrics::Metrics;

/// How many questions in a row one who reads an answer asks.
const QUESTIONS: u32 = 2;

/// How long a gateway that ends may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is shared, and who keeps it so.
pub(super) struct Clustered {
    limiter: Limiter,
    leases: Option<Arc<Leases>>,
    redis: Option<(Arc<Link>, Roll)>,
    room: Arc<Room>,
    postgres: Option<(Arc<PostgresRoll>, Roll)>,
    without_redis: WhenDown,
    end: watch::Sender<bool>,
    rolls: Vec<JoinHandle<()>>,
}

impl Clustered {
    /// A gateway that is alone.
    fn alone() -> Self {
        Self {
            limiter: Limiter::new(),
            leases: None,
            redis: None,
            room: Room::new(),
            postgres: None,
            without_redis: WhenDown::Share,
            end: watch::channel(false).0,
            rolls: Vec::new(),
        }
    }

    /// Begins what `cluster` asks for, by tasks of `runtime`. Redis is waited for as long as told with the clock.
    ///
    /// # Errors
    /// The URL of Redis cannot be used.
    pub(super) fn begin(
        cluster: Option<&Cluster>,
        (lasting, metrics): (&Lasting, &Arc<Metrics>),
        (clock, wait): (&Clock, Duration),
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let mut clustered = Self::alone();
        let Some(cluster) = cluster else { return Ok(clustered) };
        clustered.without_redis = cluster.without_redis;
        let replica = ReplicaId::new(&format!("gw_{}", dice::uuid_v7(clock.unix()).simple()));
        if let Some(store) = lasting.postgres() {
            let call = Arc::new(PostgresRoll::new(Arc::clone(store)));
            let roll = clustered.keep_roll(cluster.replicas, Arc::clone(&call) as _, &replica, runtime);
            if cluster.redis.is_none() {
                clustered.divide(&roll, runtime);
            }
            clustered.postgres = Some((call, roll));
        }
        if let Some(url) = &cluster.redis {
            let names = Names::new(lasting.postgres().map(|store| store.installation()));
            let link = Link::new(url, names, clock.clone(), wait).map_err(|why| anyhow!(why))?;
            runtime.spawn(Arc::clone(&link).keep());
            let call = Arc::new(RedisRoll::new(Arc::clone(&link)));
            let roll = clustered.keep_roll(cluster.replicas, call, &replica, runtime);
            let leases = Leases::new(leases::Parts {
                link: Arc::clone(&link),
                roll: roll.clone(),
                policy: cluster.without_redis,
                clock: clock.clone(),
                metrics: Arc::clone(metrics),
            });
            runtime.spawn(Arc::clone(&leases).keep());
            runtime.spawn(Arc::clone(&clustered.room).keep(Arc::clone(&link), roll.clone()));
            clustered.limiter = leases.limiter().clone();
            clustered.leases = Some(leases);
            clustered.redis = Some((link, roll));
        }
        Ok(clustered)
    }

    /// Keeps a roll of at least so many gateways.
    fn keep_roll(
        &mut self,
        least: NonZeroU32,
        call: Arc<dyn RollCall>,
        replica: &ReplicaId,
        runtime: &Handle,
    ) -> Roll {
        let roll = Roll::new(least);
        self.rolls.push(runtime.spawn(roll.clone().keep(call, replica.clone(), self.end.subscribe())));
        roll
    }

    /// Each gateway has its part of each limit, by how many there are.
    fn divide(&mut self, roll: &Roll, runtime: &Handle) {
        let standing = |roll: &Roll| Standing::Absent { replicas: roll.replicas() };
        self.limiter = Limiter::leasing(standing(roll), WhenDown::Share, || {});
        let (roll, limiter) = (roll.clone(), self.limiter.clone());
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(BEAT_EVERY).await;
                limiter.set_link(standing(&roll));
            }
        });
    }

    /// Whom requests are charged with.
    pub(super) fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Who asks Redis for them.
    pub(super) fn leases(&self) -> Option<&Arc<Leases>> {
        self.leases.as_ref()
    }

    /// The answers that are shared.
    pub(super) fn answers(&self) -> Option<Arc<dyn SharedAnswers>> {
        let (link, _) = self.redis.as_ref()?;
        Some(Arc::new(RedisAnswers::new(Arc::clone(link), Arc::clone(&self.room))))
    }

    /// How long it takes at most to read one of them.
    pub(super) fn longest_read(&self) -> Option<Duration> {
        self.redis.as_ref().map(|(link, _)| link.wait() * QUESTIONS)
    }

    /// Says that this gateway is there no more, and gives back what it has leased. To be called when no request is left.
    pub(super) fn close(self, threads: &Threads) {
        self.end.send_replace(true);
        let ending = async {
            if let Some(leases) = self.leases {
                leases.close().await;
            }
            for roll in self.rolls {
                // It fails only where it was ended already.
                let _ = roll.await;
            }
        };
        // Who cannot say so is missed soon enough.
        let _ = threads.wait_for(async { tokio::time::timeout(LAST_WORDS, ending).await.is_ok() });
    }

    /// What there is to say of what is shared, for people and for gauges.
    pub(super) fn standings(&self) -> Standings {
        Standings {
            redis: self.redis.clone(),
            postgres: self.postgres.clone(),
            without_redis: self.without_redis,
        }
    }
}

/// How the engines stand.
#[derive(Clone)]
pub(super) struct Standings {
    redis: Option<(Arc<Link>, Roll)>,
    postgres: Option<(Arc<PostgresRoll>, Roll)>,
    without_redis: WhenDown,
}

impl Standings {
    /// A line for each engine.
    pub(super) fn lines(&self) -> String {
        let mut lines = String::new();
        if let Some((call, roll)) = &self.postgres {
            lines += &match call.is_up() {
                true => format!("postgres: ok, {} gateways\n", roll.replicas()),
                false => "postgres: cannot be asked; keys are those that are known, usage and changes wait\n"
                    .into(),
            };
        }
        if let Some((link, roll)) = &self.redis {
            let replicas = roll.replicas();
            lines += &match (link.is_up(), self.without_redis) {
                (true, _) => format!("redis: ok, {replicas} gateways\n"),
                (false, WhenDown::Share) => {
                    format!(
                        "redis: cannot be asked; each limit is a part of {replicas}, answers are not shared\n"
                    )
                }
                (false, WhenDown::Open) => {
                    "redis: cannot be asked; NOTHING IS LIMITED, answers are not shared\n".into()
                }
                (false, WhenDown::Closed) => {
                    "redis: cannot be asked; nothing passes but what was leased, answers are not shared\n"
                        .into()
                }
            };
        }
        lines
    }

    /// Brings the gauges up to date.
    pub(super) fn show(&self, metrics: &Metrics) {
        let cluster = &metrics.cluster;
        let is_up = self.redis.as_ref().is_some_and(|(link, _)| link.is_up());
        cluster.redis_up.set(i64::from(is_up));
        let is_up = self.postgres.as_ref().is_some_and(|(call, _)| call.is_up());
        cluster.postgres_up.set(i64::from(is_up));
        let redis = self.redis.as_ref().map(|(_, roll)| roll);
        let roll = redis.or(self.postgres.as_ref().map(|(_, roll)| roll));
        cluster.replicas.set(i64::from(roll.map_or(0, |roll| roll.replicas().get())));
    }
}

/// The roll in PostgreSQL, which tells as well whether that can be asked.
pub(super) struct PostgresRoll {
    store: Arc<PostgresStore>,
    is_up: AtomicBool,
}

impl PostgresRoll {
    /// The roll of an open store.
    fn new(store: Arc<PostgresStore>) -> Self {
        Self { store, is_up: AtomicBool::new(true) }
    }

    fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl RollCall for PostgresRoll {
    async fn beat(&self, replica: &ReplicaId) -> Option<u32> {
        let seen = self.store.beat(replica, GONE_AFTER).await;
        let was_up = self.is_up.swap(seen.is_ok(), Ordering::Relaxed);
        match &seen {
            Ok(_) if !was_up => tracing::info!("PostgreSQL can be asked again"),
            Err(error) if was_up => {
                tracing::error!(%error, "PostgreSQL cannot be asked; requests go on by what is known")
            }
            _ => {}
        }
        seen.ok()
    }

    async fn leave(&self, replica: &ReplicaId) {
        // Who cannot say so is missed soon enough.
        let _ = self.store.leave(replica).await;
    }
}
