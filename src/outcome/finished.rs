//! The end of a request, as metrics and the access log tell it.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::UnixTime;
use crate::ids::KeyId;
use crate::llm::usage::Tokens;

/// How a request ended: the `outcome` label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered by an upstream.
    Forwarded,
    /// Answered from an entry with an equal key.
    ExactHit,
    /// Answered from an entry with a similar prompt.
    SemanticHit,
    /// Answered by an upstream call that another request began.
    Collapsed,
    /// An answer was put into the store.
    Stored,
    /// No valid key.
    Unauthorized,
    /// The key may not do this.
    Forbidden,
    /// The key's bucket, or the address's failures, ran over.
    RateLimited,
    /// No room here or upstream.
    Overloaded,
    /// The request could not be understood.
    Invalid,
    /// Nothing there.
    NotFound,
    /// The upstream failed.
    UpstreamError,
    /// The client left before its answer.
    ClientClosed,
    /// The gateway failed, or ended before the request had.
    InternalError,
}

impl Outcome {
    /// Every outcome, in the order of the contract.
    pub const ALL: [Self; 14] = [
        Self::Forwarded,
        Self::ExactHit,
        Self::SemanticHit,
        Self::Collapsed,
        Self::Stored,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RateLimited,
        Self::Overloaded,
        Self::Invalid,
        Self::NotFound,
        Self::UpstreamError,
        Self::ClientClosed,
        Self::InternalError,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::ExactHit => "exact_hit",
            Self::SemanticHit => "semantic_hit",
            Self::Collapsed => "collapsed",
            Self::Stored => "stored",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::UpstreamError => "upstream_error",
            Self::ClientClosed => "client_closed",
            Self::InternalError => "internal_error",
        }
    }
}

/// All that is recorded of a request. Never a prompt, never a key.
#[derive(Clone, Debug)]
pub struct Finished {
    /// When its head had been read.
    pub at: UnixTime,
    /// `X-Request-Id`.
    pub request_id: Box<str>,
    /// The key's id, once it is known.
    pub key: Option<KeyId>,
    /// The route's label, once it is known.
    pub route: Option<Arc<str>>,
    /// The request's method; one that is not registered reads `other`.
    pub method: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// The status sent; 0 if none was.
    pub status: u16,
    /// From the head's last byte to the answer's last.
    pub duration: Duration,
    /// From the upstream request's last byte to the answer's first.
    pub upstream_first_byte: Option<Duration>,
    /// Body bytes read from the client.
    pub bytes_received: u64,
    /// Body bytes sent to the client.
    pub bytes_sent: u64,
    /// Token counts, where the answer told them or was a stream.
    pub tokens: Option<Tokens>,
}
