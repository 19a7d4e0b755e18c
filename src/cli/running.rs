//! A gateway in the foreground: its addresses, and the signals that it heeds.

use std::io::Write;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::runtime::reload::Shrinking;
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

/// Serves until TERM or INT, then ends in order or at once. HUP reloads.
///
/// # Errors
/// The signals cannot be listened to.
pub fn until_told(running: Running) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the signals cannot be listened to")?;
    runtime.block_on(heed_signals(&running))?;
    running.end();
    Ok(())
}

async fn heed_signals(running: &Running) -> anyhow::Result<()> {
    let listen = |kind| signal(kind).context("a signal cannot be listened to");
    let mut hangup = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                // Its result has been logged and counted.
                let _ = running.reload(Shrinking::Guarded);
            }
            _ = terminate.recv() => {
                tracing::info!("told to end: draining");
                running.drain(either(&mut terminate, &mut interrupt)).await;
                return Ok(());
            }
            _ = interrupt.recv() => {
                tracing::info!("told to end at once");
                return Ok(());
            }
        }
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
