//! How the stores came to be what they are, step by step.
//!
//! A step that was released is never changed, and steps only add: an older build of the same major version can then
//! still work with a store that a newer one has opened. What cannot be done by adding raises the major version.

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Steps are taken in this order, from 1.
    pub version: i64,
    /// What it is about.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
}

/// The steps of the file of accounts and keys.
pub const ACCOUNTS: &[Migration] = &[
    Migration { version: 1, name: "meta", sql: include_str!("migrations/accounts/0001_meta.sql") },
    Migration { version: 2, name: "keys", sql: include_str!("migrations/accounts/0002_keys.sql") },
    Migration { version: 3, name: "people", sql: include_str!("migrations/accounts/0003_people.sql") },
    Migration { version: 4, name: "suspended", sql: include_str!("migrations/accounts/0004_suspended.sql") },
    Migration { version: 5, name: "requests", sql: include_str!("migrations/accounts/0005_requests.sql") },
];

/// The steps of the file of answers and usage.
pub const ANSWERS: &[Migration] = &[
    Migration { version: 1, name: "meta", sql: include_str!("migrations/answers/0001_meta.sql") },
    Migration { version: 2, name: "stored", sql: include_str!("migrations/answers/0002_stored.sql") },
    Migration { version: 3, name: "proxied", sql: include_str!("migrations/answers/0003_proxied.sql") },
    Migration { version: 4, name: "usage", sql: include_str!("migrations/answers/0004_usage.sql") },
    Migration {
        version: 5,
        name: "usage_costs",
        sql: include_str!("migrations/answers/0005_usage_costs.sql"),
    },
    Migration { version: 6, name: "batches", sql: include_str!("migrations/answers/0006_batches.sql") },
];

/// The steps of all that PostgreSQL keeps.
pub const POSTGRES: &[Migration] = &[
    Migration { version: 1, name: "meta", sql: include_str!("migrations/postgres/0001_meta.sql") },
    Migration { version: 2, name: "keys", sql: include_str!("migrations/postgres/0002_keys.sql") },
    Migration { version: 3, name: "people", sql: include_str!("migrations/postgres/0003_people.sql") },
    Migration { version: 4, name: "answers", sql: include_str!("migrations/postgres/0004_answers.sql") },
    Migration { version: 5, name: "usage", sql: include_str!("migrations/postgres/0005_usage.sql") },
    Migration { version: 6, name: "replicas", sql: include_str!("migrations/postgres/0006_replicas.sql") },
    Migration {
        version: 7,
        name: "installation",
        sql: include_str!("migrations/postgres/0007_installation.sql"),
    },
];
