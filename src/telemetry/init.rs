//! Logging, set up once.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins to log to stderr: one line an event, at `filter`'s levels (`info` if it is empty or unreadable).
/// pingora's own lines go to another facade and nowhere: some hold whole heads, keys included; what it meets is told by
/// access lines, metrics and our own events. Logging that was begun before goes on as it was.
pub fn logging(filter: &str) {
    let filter = EnvFilter::try_new(filter).ok().filter(|_| !filter.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // An error means that a test in the same process has begun it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
