//! A gateway in the foreground: its addresses, and the signals that it heeds.

use std::io::Write;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::server::Running;

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

/// The signals that a gateway heeds, caught from the moment on in which this is made: one that comes while the gateway
/// starts is heeded once it serves.
pub struct Signals {
    runtime: Runtime,
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
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
        Ok(Self { runtime, hangup, terminate, interrupt })
    }

    /// Serves until TERM or INT, then ends in order or at once. HUP reloads, elsewhere, so that the others are heard
    /// meanwhile; any number of HUPs during a reload are one more after it.
    pub fn heed(self, running: Running) {
        let Self { runtime, mut hangup, mut terminate, mut interrupt } = self;
        runtime.block_on(async {
            let mut reloading: Option<JoinHandle<()>> = None;
            loop {
                tokio::select! {
                    _ = hangup.recv(), if reloading.is_none() => reloading = Some(running.begin_reload()),
                    () = over(&mut reloading), if reloading.is_some() => reloading = None,
                    _ = terminate.recv() => {
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

/// Waits for the reload that is under way.
async fn over(reloading: &mut Option<JoinHandle<()>>) {
    if let Some(reload) = reloading {
        // A reload that panicked has changed nothing.
        let _ = reload.await;
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
