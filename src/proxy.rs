//! The data port: pingora around the pure rules.
//!
//! - `guard` accepts connections within bounds, `table` counts them by address, `crew` says which worker serves one; `connection` is one of them, `client`
//!   what requests see of it, `head_state` where it is between two requests, `patience` its account of slow reading,
//!   `http2` what holds the requests of one over HTTP/2 together, `frames` what comes beside those. `handshakes` is what its TLS listeners say, `leaving` the eye on
//!   a client that waits, `cut` how all requests end at once.
//! - `gateway` takes a connection's requests one after another from head to access line; `ctx` is a request's own
//!   state, `derived` what all requests of a snapshot share, `shared` what outlives it.
//! - `framing`, `client_address`, `query`, `admit`, `auth_failures`, `body`: from a head to an admitted request.
//! - `answer` looks up and leads; `fetch` calls the upstream and writes the recording, `reading` reads it on its way;
//!   `send` follows it, `tail` how it ends.
//! - `attempts` says which server is asked and when once more; `exchange` is one request and its answer on a connection
//!   to a server, `link` that connection, `bound` how long it is waited for; `outgoing` writes the request, `incoming`
//!   reads the answer, its `chunks` among it; `upload` is a body on its way, `tunnel` what a WebSocket becomes.
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
mod call;
pub mod checks;
mod chunks;
mod client;
mod client_address;
pub mod connection;
pub mod crew;
pub mod ctx;
pub mod cut;
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
pub mod head_state;
mod headers;
mod http2;
mod idle;
mod incoming;
mod leaving;
mod link;
mod outgoing;
pub mod patience;
mod places;
mod query;
mod reading;
mod reject;
pub mod resolver;
mod respond;
mod send;
pub mod shared;
pub mod successor;
pub mod table;
mod tail;
mod tunnel;
mod upload;
pub mod upstreams;
