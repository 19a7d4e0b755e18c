//! The console: the pages on the admin listener by which people look after their account.
//!
//! - `GET /` -- what there is, and what to do next; without a session: on to the log-in.
//! - `GET, POST /sign-up` -- makes an account and its owner, if `admin.sign_up` is open; else it is not there.
//! - `GET, POST /log-in`, `POST /log-out` -- begins and ends a session.
//! - `GET, POST /link/{token}` -- a one-time link: lets somebody in, or sets their password.
//! - `GET, POST /keys` -- the account's keys; a new one. `POST /keys/change` renames, rotates, revokes and deletes.
//! - `GET, POST /accounts` -- for operators: all accounts; a new one. `POST /accounts/change` names them, puts them on
//!   plans, suspends and resumes them. `GET /accounts/audit` -- who changed what.
//! - `GET /plans` -- for operators: what each plan allows.
//! - `GET /config`, `POST /config/reload` -- for operators: the policy that is in force; reads it anew (`operated`).
//! - `GET /settings` -- one's password and sessions; the account's people and links. `POST /settings/…` changes them.
//! - `GET /assets/…` -- style and script, embedded.
//!
//! `asked` is what is read of a request, `entering`, `keys`, `settings`, `accounts`, `trail`, `plans` and `config` are the
//! pages, `answers` what they are put into, and `guard` what holds for all of them: a page is never kept, framed, or fed from elsewhere, and nothing is changed for a
//! request that another site has made. What somebody may do is not decided here but in `accounts::people`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use tokio::net::TcpListener;

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::config::SignUp;
use crate::console::operated::Operated;

mod accounts;
mod address;
mod answers;
mod asked;
mod assets;
mod config;
mod entering;
mod guard;
mod keys;
mod measures;
mod members;
mod new_key;
pub mod operated;
mod plans;
mod refusals;
mod settings;
mod trail;

/// What the console shows and works on.
pub struct Console {
    /// Who may log in, and what each may do.
    pub people: Arc<PeopleService>,
    /// Their accounts' keys.
    pub accounts: Arc<Accounts>,
    /// Who may make an account, by the configuration of the moment.
    pub sign_up: Box<dyn Fn() -> SignUp + Send + Sync>,
    /// The gateway itself.
    pub operated: Box<dyn Operated>,
    /// How browsers reach it.
    pub transport: Transport,
}

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
    Router::new()
        .route("/", get(entering::overview))
        .route("/sign-up", get(entering::show_sign_up).post(entering::sign_up))
        .route("/log-in", get(entering::show_log_in).post(entering::log_in))
        .route("/log-out", post(entering::log_out))
        .route("/link/{token}", get(entering::show_link).post(entering::use_link))
        .route("/keys", get(keys::show).post(keys::create))
        .route("/keys/change", post(keys::change))
        .route("/accounts", get(accounts::show).post(accounts::create))
        .route("/accounts/change", post(accounts::change))
        .route("/accounts/audit", get(trail::show))
        .route("/plans", get(plans::show))
        .route("/config", get(config::show))
        .route("/config/reload", post(config::reload))
        .route("/settings", get(settings::show))
        .route("/settings/password", post(settings::change_password))
        .route("/settings/sessions", post(settings::end_sessions))
        .route("/settings/people", post(members::deal))
        .route("/settings/links", post(members::make_link))
        .route("/settings/links/end", post(members::end_link))
        .route("/assets/console.css", get(assets::style))
        .route("/assets/console.js", get(assets::script))
        .method_not_allowed_fallback(async || {
            answers::told(StatusCode::METHOD_NOT_ALLOWED, "This page is not asked for in this way.")
        })
        .layer(from_fn(guard::guard))
        .with_state(Arc::new(console))
}
