//! A gateway in the foreground: its addresses, and the signals that it heeds.

use std::io::Write;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::server::Running;
use crate::store::people::person::Membership;

/// Prints where `running` listens, one line each: `gateway: URL`, `admin: URL`.
///
/// # Errors
/// `out` is closed.
pub fn print_addresses(running: &Running, out: &mut dyn Write) -> std::io::Result<()> {
    for url in running.data_urls() {
        writeln!(out, "gateway: {url}")?;
    }
    writeln!(out, "admin: {}", running.admin_url())?;
    out.flush()
}

/// Prints where the first operator comes in, if there is none yet: one line, shown this once. A store that cannot take it
/// down is no reason not to serve.
///
/// # Errors
/// `out` is closed.
pub fn print_way_in(
    running: &Running,
    place: Option<Membership>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    match running.first_operator_url(place) {
        Ok(Some(url)) => {
            writeln!(out, "console: {url} makes the first operator (once, within 24 hours)")?;
            out.flush()
        }
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::warn!("nobody can become the first operator before the next start: {error:#}");
            Ok(())
        }
    }
}

/// The signals that a gateway heeds, caught from the moment on in which this is made: one that comes while the gateway
/// starts is heeded once it serves.
pub struct Signals {
    runtime: Runtime,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Begins to catch them.
    ///
    /// # Errors
    /// They cannot be listened to.
    pub fn catch() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the signals cannot be listened to")?;
        let listen = |kind| {
            let _entered = runtime.enter();
            signal(kind).context("a signal cannot be listened to")
        };
        let hangup = listen(SignalKind::hangup())?;
        let terminate = listen(SignalKind::terminate())?;
        let interrupt = listen(SignalKind::interrupt())?;
        let quit = listen(SignalKind::quit())?;
        Ok(Self { runtime, hangup, terminate, interrupt, quit })
    }

    /// Serves until TERM or INT, then ends in order or at once; or until QUIT and a process that takes over. HUP reloads.
    /// Reload and hand-over happen elsewhere, so that the other signals are heard meanwhile; any number of one signal
    /// while it is obeyed are one more after it.
    pub fn heed(self, running: Running) {
        let Self { runtime, mut hangup, mut terminate, mut interrupt, mut quit } = self;
        runtime.block_on(async {
            let mut reloading: Option<JoinHandle<()>> = None;
            let mut handing: Option<JoinHandle<anyhow::Result<()>>> = None;
            loop {
                tokio::select! {
                    _ = hangup.recv(), if reloading.is_none() => reloading = Some(running.begin_reload()),
                    _ = over(&mut reloading), if reloading.is_some() => reloading = None,
                    _ = quit.recv(), if handing.is_none() => handing = Some(running.begin_hand_over()),
                    handed = over(&mut handing), if handing.is_some() => {
                        handing = None;
                        match handed {
                            Some(Ok(())) => {
                                return running.leave(insisted(&mut terminate, &mut interrupt)).await;
                            }
                            Some(Err(error)) => tracing::warn!("not handed over: {error:#}"),
                            None => tracing::warn!("not handed over: it broke off"),
                        }
                    }
                    _ = terminate.recv() => {
                        // Nobody is to take over from one that ends, unless that has begun.
                        handing.iter().for_each(JoinHandle::abort);
                        tracing::info!("told to end: draining");
                        return running.drain(either(&mut terminate, &mut interrupt)).await;
                    }
                    _ = interrupt.recv() => {
                        tracing::info!("told to end at once");
                        return;
                    }
                }
            }
        });
        running.end();
    }
}

/// Waits for what is under way; `None` if it panicked.
async fn over<T>(under_way: &mut Option<JoinHandle<T>>) -> Option<T> {
    under_way.as_mut()?.await.ok()
}

/// As [`either`], for who drains already: a first TERM asks for what is being done.
async fn insisted(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::info!("told to end: draining already"),
        _ = interrupt.recv() => return,
    }
    either(terminate, interrupt).await;
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
