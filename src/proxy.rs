//! The data port: pingora around the pure rules.
//!
//! - `guard` accepts connections within bounds, `table` counts them by address, `crew` says which worker serves one,
//!   `handshakes` is what the TLS listeners say. `connection` is one over HTTP/1.1, `next_head` the wait for its next request,
//!   `request_head` how that is read (`copied` what it is kept in), `http1` the request's body and its answer, whose head is a `response_head`.
//!   `http2_stream` is one over HTTP/2, `http2` what holds its requests together, `frames` what comes beside them. `session`
//!   is a request over either; `line` carries bytes, `patience` is the account of slow readers, `cut` how all requests end at
//!   once, `revocation` how those of a revoked key do.
//! - `gateway` takes a connection's requests one after another from head to access line; `ctx` is a request's own
//!   state, `derived` what all requests of a snapshot share, `shared` what outlives it.
//! - `framing`, `query`, `admit`, `auth_failures`, `body`: from a head to an admitted request.
//! - `answer` looks up and leads; `fetch` calls the upstream and writes the recording, `reading` reads it on its way;
//!   `send` follows it, `tail` how it ends.
//! - `attempts` says which server is asked and when once more; `exchange` is one request and its answer on a connection
//!   to a server, `link` that connection, `bound` how long it is waited for; `outgoing` writes the request, `incoming`
//!   reads the answer, its `chunks` among it; `upload` is a body on its way, `tunnel` what a WebSocket becomes.
//! - `cache_api` are the gateway's own calls, whose answers come from elsewhere.
//! - `forward` passes on everything that is not cached; `headers` rewrites heads for both,
//!   `answer_framing` is what an answer's head says of its framing.
//! - `upstreams` are where requests go, `addresses` where each server is, `resolver` what their names mean, `places` how
//!   many at once.
//! - `respond` builds the heads of answers over `fields`; `reject` tells a client no; `finish` records the end.

mod addresses;
mod admit;
mod answer;
mod answer_framing;
mod attempts;
pub mod auth_failures;
mod body;
mod bound;
mod cache_api;
mod call;
pub mod checks;
mod chunks;
pub mod connection;
mod copied;
pub mod crew;
pub mod ctx;
pub mod cut;
mod date;
pub mod derived;
mod exchange;
mod fetch;
mod fields;
mod finish;
mod forms;
mod forward;
pub mod frames;
mod framing;
pub mod gateway;
pub mod guard;
pub mod handshakes;
mod headers;
mod http1;
mod http2;
mod http2_stream;
mod idle;
mod incoming;
pub mod line;
mod link;
mod next_head;
mod outgoing;
pub mod patience;
mod places;
mod query;
mod reading;
mod reject;
mod remainder;
mod request_head;
pub mod resolver;
mod respond;
mod response_head;
mod revocation;
mod send;
mod session;
pub mod shared;
pub mod successor;
pub mod table;
mod tail;
mod tunnel;
mod upload;
pub mod upstreams;
