//! What a replica asks of a bucket in Redis, and what it is answered.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::limits::bucket::Rate;

/// What comes of wanting to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// This is to be sent.
    Mine(Question),
    /// A question is on its way: wait until it has ended, and take again. Whoever waits has to begin to listen before it
    /// asks.
    Theirs,
    /// There is nothing to ask any more: take again.
    Again,
}

/// What is to be done with a lease that may hold something that belongs in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing, until it is used again.
    Nothing,
    /// Nothing yet.
    Later,
    /// This is to be sent.
    Send(Question),
}

/// What a replica asks of a bucket in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The rate at which the bucket is to run.
    pub rate: Rate,
    /// Replicas that share it.
    pub replicas: NonZeroU32,
    /// The epoch of the last answer; 0: there was none.
    pub epoch: u64,
    /// The number of that answer in its epoch.
    pub sequence: u64,
    /// The bucket's debt as that answer told it, less the time since.
    pub known: Duration,
    /// Unspent tokens that go back.
    pub returned: u32,
    /// Tokens that were spent without Redis.
    pub charged: u32,
    /// Tokens asked for at most; none: 0.
    pub want: u32,
}

/// What Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bucket's epoch: another one than before if it has lost something.
    pub epoch: u64,
    /// The number of this answer in it.
    pub sequence: u64,
    /// Tokens that are the asker's now.
    pub granted: u32,
    /// The bucket's debt, after them.
    pub debt: Duration,
    /// The time until one token is there; zero if one is.
    pub wait: Duration,
}

/// Why there is no answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was heard: neither whether it was carried out, nor whether the next one will be.
    Unheard,
    /// It was heard and refused, as the next one will be.
    Refused,
}

/// What an answer tells of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Well,
    /// It has lost what this lease was told: others will have been too, and are to [tell](crate::limits::lease::Lease::tell) it.
    Loss,
}
