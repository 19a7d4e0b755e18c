//! Names of things as types, so that an account is never passed where a key is due.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the name as it is; whoever reads it from outside has checked its form.
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// So that a set of names is asked with text.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The id of an API key: what logs and analytics show. Never any part of a secret.
    KeyId
}
name_type! {
    /// The owner of keys and of cached answers.
    AccountId
}
name_type! {
    /// Somebody who may log in, `prsn_…`: what the trail and forms name them by.
    PersonId
}
name_type! {
    /// One running gateway of a cluster, `gw_…`: as long as its process.
    ReplicaId
}
name_type! {
    /// The name of a plan, `[a-z0-9_-]{1,32}`.
    PlanName
}
name_type! {
    /// The name of an upstream, `[a-z0-9_-]{1,32}`.
    UpstreamName
}

/// True if `name` matches `[a-z0-9_-]{1,32}`, the form of plan, route and upstream names.
pub fn is_config_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
