//! The rules as tables. A line added here is a decision: it carries its reason.

/// The layers from the ground up. A module imports from lower layers only.
pub(super) const LAYERS: &[&[&str]] = &[
    &["clock", "dice", "form", "ids", "memory", "money", "pem", "secret", "spread", "stock", "units"],
    &["routing", "auth", "limits", "cache", "usage", "upstream", "llm"],
    &["config", "outcome"],
    &["runtime", "telemetry", "store"],
    &["accounts", "cluster", "shelf"],
    &["proxy", "api", "admin", "console", "demo"],
    &["server"],
    &["cli"],
];

/// The layer of [`LAYERS`] that is pure: no runtime, no log, no metric, no serialisation.
pub(super) const PURE_LAYER: usize = 1;

/// Imports between modules of one layer: who, whom, why.
pub(super) const SIBLINGS: &[(&str, &str, &str)] = &[
    ("dice", "clock", "a UUIDv7 begins with the time"),
    ("stock", "spread", "each worker has some to spare"),
    ("memory", "spread", "what counts bytes is held by every request"),
    ("memory", "stock", "bytes are counted where they are used"),
    ("cache", "llm", "the key is the hash of a canonical body; entries cross forms"),
    ("usage", "llm", "usage counts the tokens that an answer names"),
    ("auth", "limits", "a key's record carries its plan and remembers its bucket"),
    ("runtime", "telemetry", "a reload is counted where all metrics are"),
    ("routing", "cache", "a route carries its cache policy"),
    ("cluster", "shelf", "it answers the trait by which the shelf asks for what gateways share"),
];

/// Crates that have one place: the crate's name or its beginning, the files, why.
pub(super) const FENCES: &[(&str, &[&str], &str)] = &[
    ("pingora", &["src/proxy.rs", "src/proxy/", "src/server.rs", "src/server/"], "the shell is replaceable"),
    (
        "axum",
        &["src/admin.rs", "src/admin/", "src/console.rs", "src/console/", "src/server.rs", "src/server/"],
        "the data port is pingora's",
    ),
    ("axum", &["src/demo.rs", "src/demo/"], "the demo LLM is a small server of its own, on its own port"),
    (
        "utoipa",
        &["src/api.rs", "src/api/", "src/admin.rs", "src/admin/", "src/outcome.rs", "src/outcome/"],
        "what is described stands beside what is written",
    ),
    ("askama", &["src/console.rs", "src/console/"], "pages are the console's"),
    ("sqlx", &["src/store.rs", "src/store/"], "Store is the only door to what lasts"),
    ("redis", &["src/cluster.rs", "src/cluster/"], "what gateways share is one module's"),
    ("saphyr_parser", &["src/config/yaml.rs", "src/config/yaml/"], "one file knows YAML"),
    ("serde_yaml", &["src/config/yaml.rs", "src/config/yaml/"], "one file knows YAML"),
    ("prometheus", &["src/telemetry.rs", "src/telemetry/"], "one list of all metrics"),
    ("prometheus", &["src/proxy.rs", "src/proxy/"], "a request holds children that were resolved once"),
    (
        "anyhow",
        &["src/cli.rs", "src/cli/", "src/server.rs", "src/server/"],
        "lower layers say what went wrong in types",
    ),
];

/// Crates that the pure layer does without.
pub(super) const IMPURE: &[&str] = &["tokio", "tracing", "prometheus"];

/// Files of the pure layer that may use one impure crate all the same: file, crate, why.
pub(super) const IMPURE_ALLOWED: &[(&str, &str, &str)] = &[];

/// Calls and paths with one door: the text, the files, what to do instead.
pub(super) const DOORS: &[(&str, &[&str], &str)] = &[
    ("Instant::now", &["src/clock.rs"], "take a `clock::Now`"),
    ("SystemTime::now", &["src/clock.rs"], "take a `clock::Now`"),
    ("Timestamp::now", &["src/clock.rs"], "take a `clock::Now`"),
    ("Zoned::now", &["src/clock.rs"], "take a `clock::Now`"),
    ("prometheus::Registry", METRICS, "metrics are registered in one list"),
    (".register(Box::new(", METRICS, "metrics are registered in one list"),
    ("Opts::new(", METRICS, "metrics are registered in one list"),
    ("std::env", &["src/cli.rs", "src/cli/"], "the environment is read once, in cli, and passed in"),
];

/// The list of all metrics.
const METRICS: &[&str] = &["src/telemetry/metrics.rs", "src/telemetry/metrics/"];

/// What no line of code says, anywhere: the text, and why.
pub(super) const BANNED: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or is deleted"),
    ("should_panic", "assert on the value that is returned"),
    ("todo!", "build it or leave it out"),
    ("unimplemented!", "build it or leave it out"),
    ("pub use", "an item has one path"),
    ("pub(crate) use", "pub use: an item has one path"),
    ("pub(super) use", "pub use: an item has one path"),
];

/// Words that no comment says: they stand for work left undone.
pub(super) const UNDONE: &[&str] = &["TODO", "FIXME", "XXX"];

/// The most lines of a file, its test code not counted.
pub(super) const MAX_LINES: usize = 400;

/// Files that hold violations on purpose: this checker's own tests and tables.
pub(super) const EXEMPT: &[&str] = &["tests/it/tidy.rs", "tests/it/tidy/rules.rs"];
