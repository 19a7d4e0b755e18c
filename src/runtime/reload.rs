//! Prepare, then swap: everything that can fail fails before, and the last good policy stays.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::key::{KeyEntry, StoredKey};
use crate::auth::key_ring::KeyRing;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::files;
use crate::config::key_list::{self, Known};
use crate::config::problem::Report;
use crate::config::restart::needs_restart;
use crate::config::tls_files;
use crate::ids::{AccountId, KeyId};
use crate::limits::limiter::Limiter;
use crate::runtime::journal::{Change, Journal, LastReload, Part, Refusal};
use crate::runtime::live::{Live, Policy};
use crate::runtime::look::read_still;
use crate::runtime::retire::retire;
use crate::runtime::snapshot::{Loaded, Snapshot};
use crate::runtime::state::PolicyState;
use crate::telemetry::metrics::Metrics;

/// What would be right of a file that cannot be read.
const READABLE: &str = "a regular file that the gateway may read, written whole and then put in its place";

/// A list of so many keys or more must not lose over half of its ids by accident.
const GUARDED_LIST: usize = 20;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file, read anew at every reload, with the environment that the process was started with.
    File {
        /// The file.
        path: PathBuf,
        /// The environment.
        env: BTreeMap<String, String>,
    },
    /// It was made in memory and stays as it is; only the files that it names are read anew.
    Fixed,
}

/// Whether a key list that loses over half of its ids is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shrinking {
    /// It is refused.
    Guarded,
    /// The operator wants it.
    Forced,
}

/// Makes an upper layer's side of a snapshot, from it and the previous one. It cannot fail: what could be wrong has
/// been found before.
pub type Derive<D> = Box<dyn Fn(&Snapshot, Option<&Loaded<D>>) -> D + Send + Sync>;

/// Whether files that were read stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// They did: they were put in place, refused, or nothing new.
    Looked,
    /// They did not: they are to be looked at again.
    Moving,
}

/// Loads and reloads the policy.
pub struct Reloader<D> {
    source: Source,
    live: Arc<Live<D>>,
    files: u64,
    limiter: Limiter,
    metrics: Arc<Metrics>,
    clock: Clock,
    derive: Derive<D>,
    journal: Journal,
    /// Held by the reload that runs; nothing else waits for it.
    turn: Mutex<()>,
}

/// What a [`Reloader`] works with.
pub struct Tools<D> {
    /// Where the configuration comes from.
    pub source: Source,
    /// How many files the process may open.
    pub files: u64,
    /// The buckets, which are rescaled when plans change.
    pub limiter: Limiter,
    /// Where results are counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: Clock,
    /// The upper layer's side.
    pub derive: Derive<D>,
}

/// The first policy: `config` with its key list, and the keys of the store, which `stored` has.
///
/// # Errors
/// As a reload's.
pub fn first<D>(
    mut config: Config,
    stored: &KeyRing,
    tools: Tools<D>,
) -> Result<(Arc<Live<D>>, Reloader<D>), Refusal> {
    fit(&mut config, tools.files)?;
    let list = read_list(&config)?;
    let ring = stored.rebuild(all_keys(&config, list), &config.plans).map_err(Refusal::Ring)?;
    let snapshot = Snapshot { generation: 1, config: Arc::new(config), ring };
    let derived = (tools.derive)(&snapshot, None);
    tools.metrics.key_ring_generation.set(1);
    let live = Arc::new(Live::new(Loaded { snapshot, derived }));
    let reloader = Reloader {
        source: tools.source,
        files: tools.files,
        live: Arc::clone(&live),
        limiter: tools.limiter,
        journal: Journal::new(Arc::clone(&tools.metrics), tools.clock.clone()),
        metrics: tools.metrics,
        clock: tools.clock,
        derive: tools.derive,
        turn: Mutex::new(()),
    };
    Ok((live, reloader))
}

impl<D> Reloader<D> {
    /// Reads configuration, certificates and key list anew and puts them in place. Blocks on files, and until the list
    /// stands still; not for a worker's thread.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has changed then.
    pub fn reload(&self, shrinking: Shrinking) -> Result<Change, Refusal> {
        let _turn = locked(&self.turn);
        let result = self.reload_all(shrinking);
        self.journal.record(Part::Configuration, &result);
        result
    }

    /// The same, on a thread that may block; `None`: it did not come to its end.
    pub async fn reload_aside(self: Arc<Self>, shrinking: Shrinking) -> Option<Result<Change, Refusal>>
    where
        D: Send + Sync + 'static,
    {
        tokio::task::spawn_blocking(move || self.reload(shrinking)).await.ok()
    }

    fn reload_all(&self, shrinking: Shrinking) -> Result<Change, Refusal> {
        let old = self.live.load();
        let config = match &self.source {
            Source::Fixed => match tls_files::read_anew(&old.snapshot.config) {
                Ok(changed) => changed.map_or_else(|| Arc::clone(&old.snapshot.config), Arc::new),
                Err(report) => return Err(Refusal::Problems(report)),
            },
            Source::File { path, env } => {
                let mut config = config::load(path, env).map_err(Refusal::Problems)?;
                fit(&mut config, self.files)?;
                Arc::new(config)
            }
        };
        let fields = needs_restart(&old.snapshot.config, &config);
        if !fields.is_empty() {
            return Err(Refusal::NeedsRestart(fields));
        }
        let list = read_list(&config)?;
        self.replace(config, list, shrinking)
    }

    /// Puts a key list in place that was read from `path` as `content`, if `stands_still` and no other reload has gone
    /// to another list meanwhile.
    pub fn take_list(&self, path: &Path, content: &[u8], stands_still: impl FnOnce() -> bool) -> Taken {
        let _turn = locked(&self.turn);
        let config = Arc::clone(&self.live.load().snapshot.config);
        if config.keys_file.as_deref() != Some(path) || !stands_still() {
            return Taken::Moving;
        }
        let list = key_list::parse(path, content, Known::of(&config)).map_err(Refusal::Problems);
        let result = list.and_then(|list| self.replace(config, list, Shrinking::Guarded));
        self.journal.record(Part::KeyList, &result);
        Taken::Looked
    }

    /// Puts in place how `keys` of the store are now, and which accounts are `suspended`, unless that has not changed;
    /// nothing of what the files say changes. Keys that cannot be in the ring are not, and are returned; all others are as
    /// they should be.
    pub fn take_stored(&self, keys: Vec<StoredKey>, suspended: Option<Vec<AccountId>>) -> Vec<KeyId> {
        let _turn = locked(&self.turn);
        let old = self.live.load();
        let config = Arc::clone(&old.snapshot.config);
        let (ring, problems) = old.snapshot.ring.clone().with_stored(keys, &config.plans);
        let ring = match suspended {
            Some(suspended) => ring.with_suspended(suspended),
            None => ring,
        };
        drop(old);
        let change = self.put(config, ring);
        let refused = problems.iter().map(|problem| problem.id.clone()).collect();
        if !problems.is_empty() {
            self.journal.record(Part::StoredKeys, &Err(Refusal::Ring(problems)));
        } else if self.journal.is_refused(Part::StoredKeys) {
            self.journal.record(Part::StoredKeys, &Ok(change));
        } else {
            tracing::info!("keys of the store have changed: {change}");
        }
        refused
    }

    /// Puts in place what the TLS files hold now, if that is another content and `stands_still` after it was read.
    /// A content that is not new is no reload. Blocks on the files.
    pub fn take_certificates(&self, stands_still: impl FnOnce() -> bool) -> Taken {
        let _turn = locked(&self.turn);
        let old = self.live.load();
        let read = tls_files::read_anew(&old.snapshot.config);
        if !stands_still() {
            return Taken::Moving;
        }
        let has_refused = self.journal.is_refused(Part::Certificates);
        let config = match read {
            Ok(None) if !has_refused => return Taken::Looked,
            Ok(None) => Arc::clone(&old.snapshot.config),
            Ok(Some(config)) => Arc::new(config),
            Err(report) => {
                self.journal.record(Part::Certificates, &Err(Refusal::Problems(report)));
                return Taken::Looked;
            }
        };
        let change = self.put(config, old.snapshot.ring.clone());
        self.journal.record(Part::Certificates, &Ok(change));
        Taken::Looked
    }

    /// Records that the file at `path`, which belongs to `part`, cannot be read, and `why`.
    pub fn unreadable(&self, part: Part, path: &Path, why: &str) {
        let what = match part {
            Part::Configuration => "the configuration",
            Part::KeyList => "the key list",
            Part::Certificates | Part::StoredKeys => "the file",
        };
        let report =
            Report::of_file(&path.display().to_string(), format!("{what} cannot be read: {why}"), READABLE);
        self.journal.record(part, &Err(Refusal::Problems(report)));
    }

    /// The policy of this moment.
    pub fn policy(&self) -> Policy<D> {
        self.live.load()
    }

    /// The key list that is followed.
    pub fn list_path(&self) -> Option<PathBuf> {
        self.live.load().snapshot.config.keys_file.clone()
    }

    /// The files of certificates and keys that are followed.
    pub fn tls_paths(&self) -> Vec<PathBuf> {
        tls_files::paths(&self.live.load().snapshot.config)
    }

    /// What there is to say of the policy of this moment, and of its reloads.
    pub fn state(&self) -> PolicyState {
        let loaded = self.live.load();
        let Snapshot { generation, config, ring } = &loaded.snapshot;
        PolicyState {
            generation: *generation,
            keys: ring.len(),
            plans: config.plans.len(),
            routes: config.routes.iter().count(),
            upstreams: config.upstreams.len(),
            file: match &self.source {
                Source::File { path, .. } => Some(path.clone()),
                Source::Fixed => None,
            },
            list: config.keys_file.clone(),
            last: self.journal.last(),
            standing: self.journal.standing(),
        }
    }

    /// How the newest reload ended; `None` before the first.
    pub fn last(&self) -> Option<LastReload> {
        self.journal.last()
    }

    fn replace(
        &self,
        config: Arc<Config>,
        list: Vec<KeyEntry>,
        shrinking: Shrinking,
    ) -> Result<Change, Refusal> {
        let old = self.live.load();
        let ring =
            old.snapshot.ring.rebuild(all_keys(&config, list), &config.plans).map_err(Refusal::Ring)?;
        if shrinking == Shrinking::Guarded {
            check_shrinking(&old.snapshot, &ring)?;
        }
        Ok(self.put(config, ring))
    }

    /// Puts in place what cannot be refused any more.
    fn put(&self, config: Arc<Config>, ring: KeyRing) -> Change {
        let old = self.live.load();
        let next = Snapshot { generation: old.snapshot.generation + 1, config, ring };
        let derived = (self.derive)(&next, Some(&**old));
        let change = changed(&old.snapshot, &next);
        let holders = next.ring.changed_since(&old.snapshot.ring).map(|record| record.holder());
        self.limiter.rescale(holders, self.clock.monotonic());
        self.metrics.key_ring_generation.set(i64::try_from(next.generation).unwrap_or(i64::MAX));
        next.ring.resumed_since(&old.snapshot.ring).for_each(|record| record.renew());
        let old = self.live.swap(Loaded { snapshot: next, derived });
        // After the swap: whoever hears it and comes again is refused.
        let live = self.live.load();
        retire(&old.snapshot.config, &live.snapshot.config, &self.metrics);
        let revoked = old.snapshot.ring.revoked_by(&live.snapshot.ring);
        revoked.for_each(|record| record.cancellation().cancel());
        change
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fit(config: &mut Config, files: u64) -> Result<(), Refusal> {
    let wanted = config.limits.max_connections;
    files::fit(config, files).map_err(Refusal::TooFewFiles)?;
    let connections = config.limits.max_connections;
    if connections < wanted {
        tracing::warn!(
            files,
            connections,
            "limits.max_connections is lower than its default, as open files are few"
        );
    }
    Ok(())
}

fn read_list(config: &Config) -> Result<Vec<KeyEntry>, Refusal> {
    let Some(path) = &config.keys_file else { return Ok(Vec::new()) };
    let unreadable = |error: std::io::Error| {
        let file = path.display().to_string();
        Refusal::Problems(Report::of_file(&file, format!("the key list cannot be read: {error}"), READABLE))
    };
    let content = read_still(path).map_err(unreadable)?;
    key_list::parse(path, &content, Known::of(config)).map_err(Refusal::Problems)
}

fn all_keys(config: &Config, list: Vec<KeyEntry>) -> impl Iterator<Item = KeyEntry> + use<'_> {
    config.keys.iter().cloned().chain(list)
}

/// The list is what `old` has beside the keys of its configuration and of the store.
fn check_shrinking(old: &Snapshot, next: &KeyRing) -> Result<(), Refusal> {
    let written: HashSet<_> = old.config.keys.iter().map(|entry| &entry.id).collect();
    let before = old.ring.len().saturating_sub(written.len() + old.ring.stored());
    if before < GUARDED_LIST {
        return Ok(());
    }
    let lost = beyond(&old.ring, next).iter().filter(|id| !written.contains(**id)).count();
    if lost * 2 > before { Err(Refusal::Shrunk { before, lost }) } else { Ok(()) }
}

/// The ids of `ring` that `other` does not have. A key that was rotated is in both.
fn beyond<'a>(ring: &'a KeyRing, other: &'a KeyRing) -> HashSet<&'a KeyId> {
    let theirs: HashSet<_> = other.ids_beyond(ring).collect();
    ring.ids_beyond(other).filter(|id| !theirs.contains(id)).collect()
}

fn changed(old: &Snapshot, new: &Snapshot) -> Change {
    Change {
        generation: new.generation,
        keys: new.ring.len(),
        added: beyond(&new.ring, &old.ring).len(),
        removed: beyond(&old.ring, &new.ring).len(),
        certificates: tls_files::count_changed(&old.config, &new.config),
    }
}
