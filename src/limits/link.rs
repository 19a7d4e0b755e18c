//! Whether there is a Redis that answers, as leases see it.
//!
//! What `since` says of a Redis that is lost is the time from which on it has granted nothing: not before its first question
//! that failed and was followed by none that did not. Shares begin to fill then.

use std::num::NonZeroU32;

use crate::clock::Monotonic;

/// Whether there is a Redis that answers, and how many replicas share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Up {
        /// Replicas that live.
        replicas: NonZeroU32,
    },
    /// It does not.
    Down {
        /// The time at which it was given up.
        since: Monotonic,
        /// Replicas that lived when it was last heard of.
        replicas: NonZeroU32,
        /// What passes meanwhile.
        policy: WhenDown,
    },
    /// There is none: each replica has its share of every bucket, which begins full.
    Absent {
        /// Replicas that live.
        replicas: NonZeroU32,
    },
}

/// What passes while Redis does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// What is leased, then the replica's share.
    Share,
    /// Everything, and none of it is charged.
    Open,
    /// Nothing.
    Closed,
}

impl WhenDown {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Link {
    /// Whether what is leased may be spent.
    pub(super) fn spends(self) -> bool {
        !matches!(self, Self::Down { policy: WhenDown::Open | WhenDown::Closed, .. })
    }

    /// Replicas that live, as far as is known.
    pub fn replicas(self) -> NonZeroU32 {
        match self {
            Self::Up { replicas } | Self::Down { replicas, .. } | Self::Absent { replicas } => replicas,
        }
    }

    /// The same for whoever was not answered since `since`, and waits no longer.
    pub(super) fn alone(self, since: Monotonic, policy: WhenDown) -> Self {
        match self {
            Self::Up { replicas } => Self::Down { since, replicas, policy },
            Self::Down { .. } | Self::Absent { .. } => self,
        }
    }
}
