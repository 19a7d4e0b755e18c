//! A bucket that all replicas share, in Redis: what they ask of it, and what it answers.
//!
//! One script, `bucket.lua`, is the whole of it: a GCRA as in [`crate::limits::bucket`], in Redis' own time, so that no
//! replica's clock counts. A call returns tokens, charges tokens that were spent without Redis, and is granted some, in
//! this order. **Every token is deducted before it is used**: the debt is never below what was deducted net of what came
//! back, less the time that has passed, and nothing is granted beyond `tau`. So what is admitted from any instant on
//! is at most `burst + rate * time` and the leases that were outstanding at that instant; from the first request on, at
//! which there are none, it is `burst + rate * time`.
//!
//! **What Redis has lost** (it came back empty, or a replica of it that lagged took its place) its callers know in part:
//! each says in which epoch it was answered last, as the how-manieth, and what the debt would be by now. A bucket notices
//! by a server that is not the one which wrote it (each has its interpreter at another address), by a caller who is further
//! on in its epoch than it is itself, or by not being there. It then begins a new epoch at the highest debt that it
//! has been told, its *seed*. Who comes later from another epoch and knows of a higher one raises the seed; what has
//! been charged since stays charged on top, as the bucket keeps apart what was charged since the seeding (`net`). So once
//! the replica that was answered last before the loss has asked again nothing is missing but what nobody who lives was
//! told, and a debt that ran out in the meantime: at most the rate times that time. An epoch is named by the microsecond
//! at which it began, so that servers that know nothing of each other never give two the same name.
//!
//! Until that replica has asked, others may be granted what it knows to be gone: at most what was missing, once a loss.
//! [`Lease::tell`](crate::limits::lease::Lease::tell) is for that: whoever is told of a loss tells everything it knows.
//!
//! The value is one string, fields apart by blanks: form (1), epoch, sequence, `tat` in seconds and nanoseconds, `net`,
//! `tau`, server. Later builds of form 1 may add fields behind them, which are dropped here: none goes stale. A higher
//! form is an error (`NEWERBUCKET`).
//!
//! Spans are exact in doubles. A change of rate multiplies and divides: the result is within 1/16 ns of the true
//! ratio, then rounded up.

use std::time::Duration;

use crate::clock::nanos;
use crate::cluster::names::Names;
use crate::limits::limiter::Owner;
use crate::limits::question::{Answer, Question};

/// The script. Its commands are Redis 7.0's.
pub const SCRIPT: &str = include_str!("bucket.lua");

/// The first word of the error that says that a bucket was written in a form that this build does not know.
pub const NEWER_BUCKET: &str = "NEWERBUCKET";

/// The form of values and replies.
const FORM: i64 = 1;

/// One call of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `KEYS[1]`.
    pub key: String,
    /// `ARGV`.
    pub arguments: [u64; 9],
}

/// The script's reply is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bucket's reply is malformed")]
pub struct MalformedReply;

/// The call that asks `question` of the bucket of `owner`. In a Redis Cluster all that is one owner's lies together.
pub fn call(names: &Names, owner: &Owner, question: &Question) -> Call {
    let arguments = [
        nanos(question.rate.interval()),
        nanos(question.rate.fill_time()),
        u64::from(question.replicas.get()),
        question.epoch,
        question.sequence,
        nanos(question.known),
        u64::from(question.returned),
        u64::from(question.charged),
        u64::from(question.want),
    ];
    Call { key: names.bucket(owner), arguments }
}

/// What the script's `reply` says. Fields that are added at its end are not looked at.
///
/// # Errors
/// [`MalformedReply`] if it is not of the form that the script has.
pub fn answer(reply: &[i64]) -> Result<Answer, MalformedReply> {
    let &[FORM, epoch, sequence, granted, debt, wait, ..] = reply else { return Err(MalformedReply) };
    let whole = |number: i64| u64::try_from(number).map_err(|_| MalformedReply);
    Ok(Answer {
        epoch: whole(epoch)?,
        sequence: whole(sequence)?,
        granted: u32::try_from(granted).map_err(|_| MalformedReply)?,
        debt: Duration::from_nanos(whole(debt)?),
        wait: Duration::from_nanos(whole(wait)?),
    })
}
