//! People and their pages: the console on the admin listener, and the first operator's way in.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;

use crate::accounts::people::PeopleService;
use crate::accounts::people::refusal::{Broken, Refusal};
use crate::auth::token::digest;
use crate::config::from_here;
use crate::console::relay::{Door, Relay};
use crate::console::reports::Reading;
use crate::console::{self, Allows, Console, Transport};
use crate::server::Running;
use crate::server::doors::Helm;
use crate::server::doors::purge;
use crate::store::people::person::Membership;
use crate::store::usage::Settle;

/// Between two times that sessions and links are forgotten whose end has come.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Forgets what has ended, again and again.
pub(super) async fn forget(people: Arc<PeopleService>) {
    loop {
        if let Err(error) = people.forget_ended().await {
            tracing::warn!(%error, "sessions and links that have ended are not forgotten yet");
        }
        tokio::time::sleep(FORGET_EVERY).await;
    }
}

impl Running {
    /// The console.
    pub(super) fn console(&self, settle: Settle) -> Router {
        let shared = Arc::clone(&self.shared);
        let operated = Helm {
            shared: Arc::clone(&shared),
            reloader: Arc::clone(&self.reloader),
            since: shared.clock().unix(),
        };
        let is_tls = shared.policy().snapshot.config.admin.listen.tls.is_some();
        console::router(Console {
            people: Arc::clone(&self.people),
            accounts: Arc::clone(&self.accounts),
            sign_up: Box::new(move || shared.policy().snapshot.config.admin.sign_up),
            store: self.lasting.store(),
            settle,
            purge: purge(Arc::clone(&self.shelf)),
            door: self.door(),
            relay: Relay::default(),
            allows: self.allows(),
            reading: Reading::default(),
            operated: Box::new(operated),
            transport: if is_tls { Transport::Tls } else { Transport::Plain },
        })
    }

    /// Whether a key is bound to addresses of which this is none; a key that nobody has is bound to none.
    fn allows(&self) -> Allows {
        let shared = Arc::clone(&self.shared);
        Box::new(move |key, address| {
            let policy = shared.policy();
            let found = policy.snapshot.ring.find(&digest(key.expose().trim().as_bytes()));
            let bound = found.and_then(|record| record.options()).map(|options| &options.allowed_ips);
            bound.is_none_or(|nets| nets.is_empty() || nets.iter().any(|net| net.contains(&address)))
        })
    }

    /// Where the data port is asked from this machine: without TLS if there is such a listener.
    fn door(&self) -> Box<dyn Fn() -> Option<Door> + Send + Sync> {
        let (shared, addresses) = (Arc::clone(&self.shared), self.data_addresses.clone());
        Box::new(move || {
            let config = Arc::clone(&shared.policy().snapshot.config);
            let doors = config.listen.iter().zip(&addresses).map(|(listener, address)| Door {
                address: from_here(*address),
                certificate: listener
                    .tls
                    .as_ref()
                    .and_then(|identity| identity.pair.chain().first().cloned()),
            });
            doors.min_by_key(|door| door.certificate.is_some())
        })
    }

    /// Where the first operator comes in, once and within a day, as an operator and with a place in an account; `None`:
    /// there is one. What was told before is good for nothing from now on. To be shown to whoever starts the gateway, and
    /// to nobody else.
    ///
    /// # Errors
    /// The store cannot be used.
    pub fn first_operator_url(&self, place: Option<Membership>) -> anyhow::Result<Option<String>> {
        let people = Arc::clone(&self.people);
        let made = self.control.wait_for(async move { people.first_operator(place).await });
        let made = made.context("the control runtime ended early")?;
        let token = made.map_err(|refusal| match refusal {
            Refusal::Broken(Broken::Store(error)) => anyhow!(error),
            refusal => anyhow!(refusal),
        })?;
        Ok(token.map(|token| format!("{}/link/{}", self.admin_url(), token.expose())))
    }
}
