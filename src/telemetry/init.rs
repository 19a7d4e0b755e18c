//! Logging, set up once.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Begins to log to stderr: one line an event, at `filter`'s levels (`info` if it is empty or unreadable).
/// pingora's own lines go to another facade and nowhere: some hold whole heads, keys included; what it meets is told by
/// access lines, metrics and our own events. The HTTP/2 library warns of odd frames, and a client may send any number of
/// them: it is heard of them only if `filter` names it, as is the library of the databases, which warns of each connection
/// that is lost where we tell once that none is left. Logging that was begun before goes on as it was.
pub fn logging(filter: &str) {
    let given = EnvFilter::try_new(filter).ok().filter(|_| !filter.is_empty());
    let mut levels = given.unwrap_or_else(|| EnvFilter::new("info"));
    for library in ["h2", "sqlx"] {
        if !filter.contains(&format!("{library}="))
            && let Ok(quiet) = format!("{library}=error").parse()
        {
            levels = levels.add_directive(quiet);
        }
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    // An error means that a test in the same process has begun it.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
