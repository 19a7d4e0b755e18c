//! Where a PostgreSQL server is, as an operator writes it: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use crate::secret::Secret;
use crate::store::failure::{StoreError, Trouble};

/// What may stand behind the question mark; `options[NAME]` may, too.
const PARAMETERS: [&str; 12] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// What the server knows a connection by, unless the address says otherwise.
const APPLICATION: &str = "safecache";

/// An address that was read.
#[derive(Clone)]
pub(super) struct Address {
    options: PgConnectOptions,
    place: PathBuf,
}

impl Address {
    /// Reads an address. Nothing of it is in an error, as it holds a password.
    ///
    /// # Errors
    /// It is none, names no host, user or database, or has a parameter that is not known.
    pub(super) fn read(address: &Secret) -> Result<Self, StoreError> {
        let wrong = |what: &str| {
            StoreError::new(Path::new("the address of PostgreSQL"), Trouble::Failed(what.to_owned()))
        };
        let text = address.expose();
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let rest = rest.ok_or_else(|| wrong("it does not begin with postgres://"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let names: Vec<_> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
        let is_known =
            |name: &&str| name.is_empty() || name.starts_with("options[") || PARAMETERS.contains(name);
        if !names.iter().all(is_known) {
            return Err(wrong(&format!("it has a parameter that is not one of {}", PARAMETERS.join(", "))));
        }
        // What is not said here would be taken from the environment.
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        for (part, name) in [(user, "user"), (host, "host"), (database, "dbname")] {
            if part.is_empty() && !names.contains(&name) {
                return Err(wrong("it is not like postgres://USER:PASSWORD@HOST:PORT/DATABASE"));
            }
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| wrong("it cannot be read"))?;
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(APPLICATION),
        };
        let place = PathBuf::from(place(&options));
        Ok(Self { options: options.disable_statement_logging(), place })
    }

    /// How connections are made.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// What logs and errors call it: without user and password.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }
}

/// Without what the options hold: the password is among it.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.place.display())
    }
}

fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_default();
    match options.get_socket() {
        Some(socket) => format!("PostgreSQL at {}, {database}", socket.display()),
        None => format!("PostgreSQL at {}:{}/{database}", options.get_host(), options.get_port()),
    }
}
