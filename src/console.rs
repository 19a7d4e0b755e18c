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
//! - `GET, POST /accounts` -- for operators: all accounts; a new one. `POST /accounts/change` names them, puts them on
//!   plans, suspends and resumes them. `GET /accounts/audit` -- who changed what.
//! - `GET /plans` -- for operators: what each plan allows.
//! - `GET /config`, `POST /config/reload` -- for operators: the policy that is in force; reads it anew (`operated`).
//! - `GET /settings` -- one's password and sessions; the account's people and links. `POST /settings/…` changes them.
//! - `GET /assets/…` -- style and scripts, embedded.
//!
//! `asked` is what is read of a request, and `answers` what pages are put into. The pages are `overview`, `entering`, `keys`,
//! `cache`, `usage`, `playground` and `settings`, and for operators `accounts`, `trail`, `plans` and `config`; they are made of
//! `reports`, `figures`, `charts` and `measures`. `relay` asks the data listener. `guard` is what holds for all of them: a page
//! is never kept, framed, or fed from elsewhere, and nothing is changed for a
//! request that another site has made. What somebody may do is not decided here but in `accounts::people`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::future::BoxFuture;

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::config::SignUp;
use crate::console::operated::Operated;
use crate::console::relay::{Door, Relay};
use crate::console::reports::Reading;
use crate::secret::Secret;
use crate::store::Store;
use crate::store::failure::StoreError;
use crate::store::proxied;
use crate::store::usage::Settle;

mod accounts;
mod address;
mod answers;
mod asked;
mod assets;
mod cache;
mod charts;
mod config;
mod entering;
mod figures;
mod guard;
mod keys;
mod measures;
mod members;
mod new_key;
pub mod operated;
mod overview;
mod plans;
mod playground;
mod ranges;
mod refusals;
pub mod relay;
pub mod reports;
mod settings;
mod trail;
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
    /// Whether a key may be used from an address, as far as it is bound to some.
    pub allows: Allows,
    /// Reads what was used.
    pub reading: Reading,
    /// The gateway itself.
    pub operated: Box<dyn Operated>,
    /// How browsers reach it.
    pub transport: Transport,
}

/// Forgets cached answers; how many there were, or why those on the disk are still there.
pub type Purge = Box<dyn Fn(proxied::Purge) -> BoxFuture<'static, Result<u64, StoreError>> + Send + Sync>;

/// Whether a key may be used from an address.
pub type Allows = Box<dyn Fn(&Secret, IpAddr) -> bool + Send + Sync>;

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

/// For who opens the address of a form.
async fn back_to_keys() -> Response {
    answers::see_other("/keys")
}

/// The same.
async fn back_to_cache() -> Response {
    answers::see_other("/cache")
}

/// The same.
async fn back_to_settings() -> Response {
    answers::see_other("/settings")
}

/// The routes of the console. They want [`Peer`] to be told as connection info.
pub fn router(console: Console) -> Router {
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/sign-up", get(entering::show_sign_up).post(entering::sign_up))
        .route("/log-in", get(entering::show_log_in).post(entering::log_in))
        .route("/log-out", post(entering::log_out))
        .route("/link/{token}", get(entering::show_link).post(entering::use_link))
        .route("/keys", get(keys::show).post(keys::create))
        .route("/keys/change", post(keys::change).get(back_to_keys))
        .route("/cache", get(cache::show))
        .route("/cache/forget", post(cache::forget).get(back_to_cache))
        .route("/usage", get(usage::show))
        .route("/playground", get(playground::show))
        .route("/accounts", get(accounts::show).post(accounts::create))
        .route("/accounts/change", post(accounts::change))
        .route("/accounts/audit", get(trail::show))
        .route("/plans", get(plans::show))
        .route("/config", get(config::show))
        .route("/config/reload", post(config::reload))
        .route("/settings", get(settings::show))
        .route("/settings/password", post(settings::change_password).get(back_to_settings))
        .route("/settings/sessions", post(settings::end_sessions).get(back_to_settings))
        .route("/settings/people", post(members::deal).get(back_to_settings))
        .route("/settings/links", post(members::make_link).get(back_to_settings))
        .route("/settings/links/end", post(members::end_link).get(back_to_settings))
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
