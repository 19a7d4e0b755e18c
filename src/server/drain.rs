//! How a gateway ends: in order when it is told to, quietly when another has taken its place, at once when it must.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use crate::proxy::guard::Closing;
use crate::server::Running;

/// Between two looks at what is still in flight while draining.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// How long connections may take to send their last bytes and to end, once all requests have been answered.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// How long requests may take to come to their access lines when everything ends.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a connection that waits for its next request is kept after a hand-over. What it asks is answered as ever,
/// and its client told to come back on another; one that is ended just as it asks could lose a request.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Tells listeners and connections that they are to close.
#[derive(Debug)]
pub(super) struct Ending {
    listeners: watch::Sender<bool>,
    idle: watch::Sender<bool>,
    admin: watch::Sender<bool>,
}

impl Default for Ending {
    fn default() -> Self {
        let told = || watch::channel(false).0;
        Self { listeners: told(), idle: told(), admin: told() }
    }
}

impl Ending {
    /// What a listener for clients, and its connections, are told by.
    pub(super) fn of_data(&self) -> Closing {
        Closing { listener: self.listeners.subscribe(), idle: self.idle.subscribe() }
    }

    /// The admin listener is to close. It outlives a drain, so that the drain can be watched, but not a hand-over.
    pub(super) async fn of_admin(mut told: watch::Receiver<bool>) {
        if told.wait_for(|told| *told).await.is_err() {
            // Its runtime ends it.
            std::future::pending::<()>().await;
        }
    }

    /// For [`Ending::of_admin`].
    pub(super) fn subscribe_admin(&self) -> watch::Receiver<bool> {
        self.admin.subscribe()
    }
}

impl Running {
    /// Ends in order (contract §7): not ready, served on for `shutdown.delay`, listeners closed, answers in flight run
    /// to their end within `shutdown.timeout`. `hurry` cuts every wait short.
    pub async fn drain(&self, hurry: impl Future<Output = ()>) {
        let shutdown = self.shared.policy().snapshot.config.shutdown;
        self.ready.store(false, Ordering::Relaxed);
        self.shared.cut().drain();
        let in_order = async {
            tokio::time::sleep(shutdown.delay).await;
            self.close_listeners();
            self.ending.idle.send_replace(true);
            self.run_out(shutdown.timeout).await;
        };
        tokio::select! {
            () = in_order => {}
            () = hurry => tracing::warn!("told to end at once"),
        }
    }

    /// Ends in order after a hand-over: the listeners are the other process's. Answers in flight run to their end within
    /// `shutdown.timeout`; a connection may send one more request meanwhile. `hurry` cuts every wait short.
    pub async fn leave(&self, hurry: impl Future<Output = ()>) {
        let timeout = self.shared.policy().snapshot.config.shutdown.timeout;
        self.shared.cut().drain();
        self.close_listeners();
        self.ending.admin.send_replace(true);
        let all_gone = async {
            // Who has not asked by then is not waited for.
            let _ = tokio::time::timeout(LAST_REQUESTS.min(timeout), self.connections_closed()).await;
            self.ending.idle.send_replace(true);
            let rest = timeout.saturating_sub(LAST_REQUESTS);
            let gone = async { tokio::join!(self.connections_closed(), self.ward_gone()) };
            if tokio::time::timeout(rest, gone).await.is_err() {
                tracing::warn!("answers still in flight after shutdown.timeout were cut");
            }
        };
        tokio::select! {
            () = all_gone => {}
            () = hurry => tracing::warn!("told to end at once"),
        }
    }

    /// Ends every request that is still under way, stops every task and writes out what waits, all of it within
    /// seconds. Call it last.
    pub fn end(mut self) {
        self.close_listeners();
        self.ending.idle.send_replace(true);
        self.cut();
        self.data.stop();
        if let Some(bookkeeper) = self.bookkeeper.take() {
            // Nothing comes back from a runtime that has ended; then there is nothing to write any more.
            let _ = self.lasting.threads().wait_for(bookkeeper.close());
        }
        self.lasting.close();
        self.clustered.close(&self.control);
        self.control.stop();
        if let Some(access) = self.access.take() {
            access.close();
        }
    }

    fn close_listeners(&self) {
        self.sockets.close();
        self.ending.listeners.send_replace(true);
    }

    /// Waits until the answers in flight have come to their end, and their connections.
    async fn run_out(&self, timeout: Duration) {
        let answered = async {
            while self.shared.cut().open_requests() > 0 || self.shared.in_flight() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        if tokio::time::timeout(timeout, answered).await.is_err() {
            tracing::warn!("answers still in flight after shutdown.timeout were cut");
            return;
        }
        // Those that carry nothing any more are not worth a wait: a client may never read that they end.
        let _ = tokio::time::timeout(LAST_BYTES, self.connections_closed()).await;
    }

    async fn connections_closed(&self) {
        while self.metrics.connections.get() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Waits until the process before this one, whose requests are charged here, is gone.
    async fn ward_gone(&self) {
        while self.ward.as_ref().is_some_and(|ward| !ward.is_finished()) {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    }

    /// Cuts the requests that are still under way, and waits until each has been told.
    fn cut(&self) {
        let shared = Arc::clone(&self.shared);
        shared.cut().tell();
        let told = async move {
            while shared.cut().open_requests() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        let told = self.control.wait_for(async { tokio::time::timeout(LAST_LINES, told).await.is_ok() });
        if told != Some(true) {
            let requests = self.shared.cut().open_requests();
            tracing::warn!(requests, "requests ended without an access line");
        }
    }
}
