//! What several gateways share, and what each kind of engine is good for.

use std::fmt;
use std::num::NonZeroU32;

use url::{Host, Url};

use crate::limits::link::WhenDown;
use crate::secret::Secret;

/// The engines that several gateways share; at least one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// What must last.
    pub postgres: Option<EngineUrl>,
    /// What must be shared fast.
    pub redis: Option<EngineUrl>,
    /// How many gateways there are at least.
    pub replicas: NonZeroU32,
    /// What passes while Redis cannot be asked.
    pub without_redis: WhenDown,
}

/// Which engine a URL is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// Redis, Valkey, or what else speaks so.
    Redis,
}

/// Where an engine is, and how to log in there. Shows neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineUrl {
    url: Secret,
    label: Box<str>,
}

/// Why a URL cannot name an engine. Never shows the URL: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineUrlError {
    /// It is none at all.
    #[error("is no URL")]
    NoUrl,
    /// Another scheme.
    #[error("the URL begins with another scheme")]
    Scheme,
    /// No host.
    #[error("the URL names no host")]
    Host,
    /// No database, or none that can be.
    #[error("the URL names no database")]
    Database,
    /// `#`.
    #[error("the URL holds a fragment")]
    Fragment,
}

impl Engine {
    /// As people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        }
    }

    /// What a URL of it looks like.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Postgres => "such as postgres://host:5432/database, with user and password before the host",
            Self::Redis => {
                "such as redis://host:6379/0, with user and password before the host; rediss:// for TLS"
            }
        }
    }

    fn has_scheme(self, scheme: &str) -> bool {
        match self {
            Self::Postgres => matches!(scheme, "postgres" | "postgresql"),
            Self::Redis => matches!(scheme, "redis" | "rediss"),
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Postgres => 5432,
            Self::Redis => 6379,
        }
    }
}

impl EngineUrl {
    /// Reads the URL of an `engine`.
    ///
    /// # Errors
    /// [`EngineUrlError`], the first that applies.
    pub fn parse(engine: Engine, text: &str) -> Result<Self, EngineUrlError> {
        let url = Url::parse(text).map_err(|_| EngineUrlError::NoUrl)?;
        if !engine.has_scheme(url.scheme()) {
            return Err(EngineUrlError::Scheme);
        }
        let host = match url.host() {
            Some(Host::Ipv6(address)) => format!("[{address}]"),
            Some(host) => host.to_string(),
            None => return Err(EngineUrlError::Host),
        };
        let path = url.path().trim_start_matches('/');
        let is_database = match engine {
            Engine::Postgres => !path.is_empty() && !path.contains('/'),
            Engine::Redis => path.is_empty() || path.parse::<u16>().is_ok(),
        };
        if host.is_empty() {
            return Err(EngineUrlError::Host);
        }
        if !is_database {
            return Err(EngineUrlError::Database);
        }
        if url.fragment().is_some() {
            return Err(EngineUrlError::Fragment);
        }
        let database = if path.is_empty() { "0" } else { path };
        let port = url.port().unwrap_or_else(|| engine.port());
        let label = format!("{} at {host}:{port}/{database}", engine.as_str());
        Ok(Self { url: Secret::new(text.to_owned()), label: label.into() })
    }

    /// The URL itself, for the one place that connects.
    pub fn secret(&self) -> &Secret {
        &self.url
    }

    /// What it may be called by: engine, host, port and database.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for EngineUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineUrl({})", self.label)
    }
}
