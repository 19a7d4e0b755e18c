//! The engines that several gateways share.

use std::num::NonZeroU32;

use crate::config::build::Builder;
use crate::config::cluster::{Cluster, Engine, EngineUrl};
use crate::config::node::Place;
use crate::config::raw::{RawCluster, RawWithoutRedis};
use crate::config::scalar::{Count, Slot, Text};
use crate::limits::link::WhenDown;

/// More than any engine could serve; a slip of the finger.
const MOST_REPLICAS: u32 = 10_000;

impl Builder<'_> {
    /// What is shared, if anything is.
    pub(super) fn cluster(&self, slot: Slot<RawCluster>) -> Option<Cluster> {
        let root = Place::Root;
        let place = root.key("cluster");
        let raw = slot.given()?;
        if matches!((&raw.postgres, &raw.redis), (Slot::Absent, Slot::Absent)) {
            let hint = "`postgres` for what must last, `redis` for limits and answers, or both; a gateway that is alone \
                        needs no `cluster`";
            self.scene.refuse(&place, "names no engine", hint);
        }
        let without_redis_at = place.key("without_redis");
        if matches!((&raw.redis, &raw.without_redis), (Slot::Absent, Slot::Given(_))) {
            let hint = "with PostgreSQL alone each gateway keeps to its part of each limit";
            self.scene.refuse(&without_redis_at, "there is no `cluster.redis`", hint);
        }
        let replicas_at = place.key("replicas");
        let replicas = self.required(raw.replicas, &replicas_at, "3, how many gateways there are at least");
        Some(Cluster {
            postgres: self.engine(Engine::Postgres, raw.postgres, &place.key("postgres")),
            redis: self.engine(Engine::Redis, raw.redis, &place.key("redis")),
            replicas: self.replicas(replicas, &replicas_at),
            without_redis: match raw.without_redis.or(RawWithoutRedis::Share) {
                RawWithoutRedis::Share => WhenDown::Share,
                RawWithoutRedis::Open => WhenDown::Open,
                RawWithoutRedis::Closed => WhenDown::Closed,
            },
        })
    }

    fn replicas(&self, count: Option<Count>, place: &Place<'_>) -> NonZeroU32 {
        let replicas = count.map_or(NonZeroU32::MIN.get(), |count| count.0);
        match NonZeroU32::new(replicas).filter(|replicas| replicas.get() <= MOST_REPLICAS) {
            Some(replicas) => replicas,
            None => {
                let hint = "how many gateways there are at least, such as 3";
                self.scene.refuse(place, format!("must be 1 to {MOST_REPLICAS}"), hint);
                NonZeroU32::MIN
            }
        }
    }

    fn engine(&self, engine: Engine, slot: Slot<Text>, place: &Place<'_>) -> Option<EngineUrl> {
        let Text(text) = slot.given()?;
        match EngineUrl::parse(engine, &text) {
            Ok(url) => Some(url),
            Err(error) => {
                self.scene.refuse(place, error.to_string(), engine.hint());
                None
            }
        }
    }
}
