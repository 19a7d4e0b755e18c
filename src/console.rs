//! The console: the pages on the admin listener by which people look after their account.
//!
//! - `GET /` -- what there is, and what to do next; without a session: on to the log-in.
//! - `GET, POST /sign-up` -- makes an account and its owner, if `admin.sign_up` is open; else it is not there.
//! - `GET, POST /log-in`, `POST /log-out` -- begins and ends a session.
//! - `GET, POST /link/{token}` -- a one-time link: lets somebody in, or sets their password.
//! - `GET, POST /keys` -- the account's keys; a new one. `POST /keys/change` renames, rotates, revokes and deletes.
//! - `GET /cache` -- what is kept for the account, to be searched. `POST /cache/forget` forgets an entry, or all.
//! - `GET /usage` -- what was asked, by time, model and key.
//! - `GET /playground` -- a question to a model; `POST /playground/ask` passes it to the data listener, and the answer back.
//! - `GET /settings` -- one's password and sessions; the account's people and links. `POST /settings/…` changes them.
//! - `GET /assets/…` -- style and script, embedded.
//!
//! `asked` is what is read of a request; `overview`, `entering`, `keys`, `cache`, `usage`, `playground` and `settings` are the
//! pages, made of `reports`, `figures`, `charts`, `ranges` and `numbers`; `answers` is what they are put into, `relay` asks the
//! data listener, and `guard` is what holds for all of them: a page is never kept, framed, or fed from elsewhere, and nothing is changed for a
//! request that another site has made. What somebody may do is not decided here but in `accounts::people`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::config::SignUp;
use crate::console::relay::{Door, Relay};
use crate::store::Store;
use crate::store::failure::StoreError;
use crate::store::proxied;
use crate::store::usage::Settle;

mod answers;
mod asked;
mod assets;
mod cache;
mod charts;
mod entering;
mod figures;
mod guard;
mod keys;
mod members;
mod numbers;
mod overview;
mod playground;
mod ranges;
pub mod relay;
mod reports;
mod settings;
mod usage;

/// What the console shows and works on.
pub struct Console {
    /// Who may log in, and what each may do.
    pub people: Arc<PeopleService>,
    /// Their accounts' keys.
    pub accounts: Arc<Accounts>,
    /// Who may make an account, by the configuration of the moment.
    pub sign_up: Box<dyn Fn() -> SignUp + Send + Sync>,
    /// What is kept: cached answers and usage.
    pub store: Arc<dyn Store>,
    /// Has usage written that was counted before.
    pub settle: Settle,
    /// Forgets cached answers.
    pub purge: Purge,
    /// Where the data listener is asked.
    pub door: Box<dyn Fn() -> Option<Door> + Send + Sync>,
    /// Asks it.
    pub relay: Relay,
    /// How browsers reach it.
    pub transport: Transport,
}

/// Forgets cached answers; how many there were, or why those on the disk are still there.
pub type Purge = Box<dyn Fn(proxied::Purge) -> BoxFuture<'static, Result<u64, StoreError>> + Send + Sync>;

/// How browsers reach the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear: on this machine, or through somebody who brings TLS.
    Plain,
    /// Over TLS of our own.
    Tls,
}

/// The other end of a connection to the admin listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The routes of the console. They want [`Peer`] to be told.
pub fn router(console: Console) -> Router {
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/sign-up", get(entering::show_sign_up).post(entering::sign_up))
        .route("/log-in", get(entering::show_log_in).post(entering::log_in))
        .route("/log-out", post(entering::log_out))
        .route("/link/{token}", get(entering::show_link).post(entering::use_link))
        .route("/keys", get(keys::show).post(keys::create))
        .route("/keys/change", post(keys::change))
        .route("/cache", get(cache::show))
        .route("/cache/forget", post(cache::forget))
        .route("/usage", get(usage::show))
        .route("/playground", get(playground::show))
        .route("/settings", get(settings::show))
        .route("/settings/password", post(settings::change_password))
        .route("/settings/sessions", post(settings::end_sessions))
        .route("/settings/people", post(members::deal))
        .route("/settings/links", post(members::make_link))
        .route("/settings/links/end", post(members::end_link))
        .route("/assets/{name}", get(assets::show))
        .layer(from_fn(guard::in_time));
    // Takes as long as a model takes, within bounds of its own.
    let asking = Router::new().route("/playground/ask", post(playground::ask));
    pages
        .merge(asking)
        .method_not_allowed_fallback(async || {
            answers::told(StatusCode::METHOD_NOT_ALLOWED, "This page is not asked for in this way.")
        })
        .layer(from_fn(guard::guard))
        .with_state(Arc::new(console))
}
