//! What two processes say to each other during a hand-over, as JSON.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::clock::nanos;
use crate::ids::{AccountId, KeyId};
use crate::limits::bucket::{Decision, Rate};
use crate::limits::levels::Level;
use crate::limits::limiter::Owner;

/// The form of these messages. A process that speaks another cannot take over.
pub(super) const VERSION: u32 = 1;

/// From the old process to the new one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromOld {
    /// What is handed over. One handle follows for each socket, in this order, and then that of the folder's lock.
    Offer { version: u32, sockets: Vec<SocketTold> },
    /// Some of the levels.
    Levels(Vec<LevelTold>),
    /// There are no more levels.
    LevelsEnd,
    /// The new process serves from here on.
    Yours,
    /// Requests that came to the old process, one after another.
    Charges(Vec<ChargeTold>),
}

/// From the new process to the old one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromNew {
    /// Everything is prepared but the levels.
    Ready,
    /// The levels are in place.
    Loaded,
    /// What became of as many charges, in their order.
    Decisions(Vec<DecisionTold>),
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct SocketTold {
    /// Whose connections it takes.
    pub(in crate::server) port: Port,
    /// The address as it is configured; its port may be 0.
    pub(in crate::server) wanted: SocketAddr,
}

/// The gateway's two kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) enum Port {
    /// The clients'.
    Data,
    /// The operators'.
    Admin,
}

/// Whose bucket it is.
#[derive(Debug, Serialize, Deserialize)]
enum OwnerTold {
    Key(String),
    Account(String),
}

/// A bucket's rate, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct RateTold {
    interval: u64,
    fill_time: u64,
}

/// A bucket's level, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LevelTold {
    owner: OwnerTold,
    rate: RateTold,
    debt: u64,
}

/// One request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChargeTold {
    owner: OwnerTold,
    rate: RateTold,
}

/// What became of a charge, in nanoseconds; without a `debt` nobody could be charged.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DecisionTold {
    debt: Option<u64>,
    wait: Option<u64>,
}

impl OwnerTold {
    fn of(owner: &Owner) -> Self {
        match owner {
            Owner::Key(id) => Self::Key(id.as_str().to_owned()),
            Owner::Account(id) => Self::Account(id.as_str().to_owned()),
        }
    }

    fn owner(&self) -> Owner {
        match self {
            Self::Key(id) => Owner::Key(KeyId::new(id)),
            Self::Account(id) => Owner::Account(AccountId::new(id)),
        }
    }
}

impl RateTold {
    fn of(rate: Rate) -> Self {
        Self { interval: nanos(rate.interval()), fill_time: nanos(rate.fill_time()) }
    }

    fn rate(self) -> anyhow::Result<Rate> {
        Rate::of_spans(Duration::from_nanos(self.interval), Duration::from_nanos(self.fill_time))
            .context("a rate that cannot be")
    }
}

impl LevelTold {
    pub(super) fn of(level: &Level) -> Self {
        Self { owner: OwnerTold::of(&level.owner), rate: RateTold::of(level.rate), debt: nanos(level.debt) }
    }

    pub(super) fn level(&self) -> anyhow::Result<Level> {
        let debt = Duration::from_nanos(self.debt);
        Ok(Level { owner: self.owner.owner(), rate: self.rate.rate()?, debt })
    }
}

impl ChargeTold {
    pub(super) fn of(owner: &Owner, rate: Rate) -> Self {
        Self { owner: OwnerTold::of(owner), rate: RateTold::of(rate) }
    }

    pub(super) fn charge(&self) -> anyhow::Result<(Owner, Rate)> {
        Ok((self.owner.owner(), self.rate.rate()?))
    }
}

impl DecisionTold {
    pub(super) fn of(decision: &Decision) -> Self {
        Self { debt: Some(nanos(decision.time_to_full())), wait: decision.wait().map(nanos) }
    }

    pub(super) fn decision(&self, rate: Rate) -> Option<Decision> {
        Some(Decision::told(rate, Duration::from_nanos(self.debt?), self.wait.map(Duration::from_nanos)))
    }
}
