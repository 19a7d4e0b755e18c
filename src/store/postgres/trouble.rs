//! What PostgreSQL's errors mean, and which of them pass when the work is done again.

use std::borrow::Cow;

use crate::store::failure::Trouble;

/// How far a piece of work had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It had no connection yet.
    Connecting,
    /// It had committed nothing.
    Working,
    /// It had asked for its commit.
    Committing,
}

/// Whether it may be done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It met other work, and was undone: that has gone on meanwhile.
    Met,
    /// Its connection was lost, and with it all that it had done.
    Lost,
    /// It would fail again, or may have been done.
    Final,
}

/// Whether work that failed at this stage may be done again.
pub(super) fn of(error: &sqlx::Error, stage: Stage) -> Failure {
    let code = code(error);
    match code.as_deref() {
        // Serialisation failure, deadlock, and a row that somebody else has made meanwhile.
        Some("40001" | "40P01" | "23505") => Failure::Met,
        _ if stage == Stage::Working && is_fatal(error) && !is_silence(error) => Failure::Lost,
        _ => Failure::Final,
    }
}

/// True if nothing can be done over the connection any more.
pub(super) fn is_fatal(error: &sqlx::Error) -> bool {
    match code(error).as_deref() {
        Some(code) => is_ending(code),
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)),
    }
}

/// True if the server kept silent: it may do so again for as long.
fn is_silence(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}

/// True for what ends a session: the server shuts down or starts up, an administrator ended it, it was idle for too long.
fn is_ending(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "57P05" | "25P03")
}

/// What is wrong with the store.
pub(super) fn trouble(error: &sqlx::Error, stage: Stage) -> Trouble {
    if stage == Stage::Committing && is_fatal(error) {
        return Trouble::Unreachable(
            "the connection was lost during a commit, which may have succeeded".into(),
        );
    }
    match error {
        sqlx::Error::Database(database) => {
            of_code(&database.code().unwrap_or_default(), database.message(), database.constraint())
        }
        sqlx::Error::Io(error) => Trouble::Unreachable(error.to_string()),
        sqlx::Error::Tls(error) => Trouble::Unreachable(error.to_string()),
        // Whoever is there is no PostgreSQL, or ended in the middle of a word.
        sqlx::Error::Protocol(why) if stage == Stage::Connecting => Trouble::Unreachable(why.clone()),
        sqlx::Error::PoolTimedOut => Trouble::Unreachable("no connection within the time for one".into()),
        sqlx::Error::PoolClosed => Trouble::Closed,
        _ => Trouble::Failed(error.to_string()),
    }
}

fn code(error: &sqlx::Error) -> Option<Cow<'_, str>> {
    error.as_database_error()?.code()
}

/// Codes are SQL's SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
fn of_code(code: &str, message: &str, constraint: Option<&str>) -> Trouble {
    match code {
        "53100" => Trouble::Full,
        "25006" => Trouble::ReadOnly,
        "42501" => Trouble::Forbidden,
        // Too many connections.
        "53300" => Trouble::Unreachable(message.to_owned()),
        _ if is_ending(code) => Trouble::Unreachable(message.to_owned()),
        // A lock or a statement took too long, or work met other work again and again.
        "55P03" | "57014" | "40001" | "40P01" => Trouble::Busy,
        _ if code.starts_with("53") => Trouble::Busy,
        // Its message names the user.
        _ if code.starts_with("28") => {
            Trouble::Failed(format!("it refuses the user or password (SQLSTATE {code})"))
        }
        // Messages of these may hold what was to be kept.
        _ if code.starts_with("22") || code.starts_with("23") => {
            let of = constraint.map(|constraint| format!(" of {constraint}")).unwrap_or_default();
            Trouble::Failed(format!("it refuses a value{of} (SQLSTATE {code})"))
        }
        _ => Trouble::Failed(format!("{message} (SQLSTATE {code})")),
    }
}
