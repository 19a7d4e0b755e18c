//! One route: the paths it takes, where they go, and how its errors and answers are treated.

use std::sync::Arc;

use crate::cache::policy::RoutePolicy;

/// Which paths a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path alone.
    Exact(Box<str>),
    /// `/v1/*`: every path that begins with the text before the star; `/v1/*` does not take `/v1`.
    Prefix(Box<str>),
}

impl PathPattern {
    /// Reads a pattern: it begins with `/`, and a `*` may stand at its end, after a `/`. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_path = text.starts_with('/') && !text.contains(['?', '#', '%']) && text.is_ascii();
        if !is_path {
            return None;
        }
        match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') && !prefix.contains('*') => {
                Some(Self::Prefix(prefix.into()))
            }
            None if !text.contains('*') => Some(Self::Exact(text.into())),
            _ => None,
        }
    }

    /// True if the route takes `path` (without query).
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_ref(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_ref()),
        }
    }
}

/// The shape of a route's error bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// Flat: `{"error": TITLE, "message": …, "status": N}`.
    Safecache,
    /// OpenAI's: `{"error": {"message", "type", "param", "code"}}`.
    Openai,
}

/// Which protocol upgrades a route lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// None.
    Deny,
    /// WebSocket (RFC 6455).
    WebSocket,
}

/// A route, its names resolved.
#[derive(Clone, Debug)]
pub struct Route {
    /// The pattern as written: the route's label in metrics and logs.
    pub label: Arc<str>,
    /// Which paths it takes.
    pub pattern: PathPattern,
    /// Where they go: an index into the configuration's upstreams, valid by construction.
    pub upstream: usize,
    /// Removed from the front of the path before it is sent on; empty: nothing.
    pub strip_prefix: Box<str>,
    /// The shape of its errors.
    pub errors: ErrorShape,
    /// Which upgrades pass.
    pub upgrade: Upgrade,
    /// How its answers are cached; `None`: never.
    pub cache: Option<Arc<RoutePolicy>>,
}
