//! Prepare, then swap: everything that can fail fails before, and the last good policy stays.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::key::KeyEntry;
use crate::auth::key_ring::KeyRing;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::files;
use crate::config::key_list::{self, Known};
use crate::config::problem::Report;
use crate::config::restart::needs_restart;
use crate::config::tls_files;
use crate::limits::limiter::Limiter;
use crate::runtime::journal::{Change, Journal, LastReload, Part, Refusal, Standing};
use crate::runtime::live::{Live, Policy};
use crate::runtime::look::read_still;
use crate::runtime::retire::retire;
use crate::runtime::snapshot::{Loaded, Snapshot};
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
    /// The last good list. Held by the reload that runs; nothing else waits for it.
    list: Mutex<Vec<KeyEntry>>,
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

/// The first policy: `config` with its key list.
///
/// # Errors
/// As a reload's.
pub fn first<D>(mut config: Config, tools: Tools<D>) -> Result<(Arc<Live<D>>, Reloader<D>), Refusal> {
    fit(&mut config, tools.files)?;
    let list = read_list(&config)?;
    let ring = KeyRing::build(all_keys(&config, &list), &config.plans).map_err(Refusal::Ring)?;
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
        list: Mutex::new(list),
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
        let mut list = locked(&self.list);
        let result = self.reload_all(&mut list, shrinking);
        self.journal.record(Part::Configuration, &result);
        result
    }

    fn reload_all(&self, current: &mut Vec<KeyEntry>, shrinking: Shrinking) -> Result<Change, Refusal> {
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
        self.replace(current, config, list, shrinking)
    }

    /// Puts a key list in place that was read from `path` as `content`, if `stands_still` and no other reload has gone
    /// to another list meanwhile.
    pub fn take_list(&self, path: &Path, content: &[u8], stands_still: impl FnOnce() -> bool) -> Taken {
        let mut current = locked(&self.list);
        let config = Arc::clone(&self.live.load().snapshot.config);
        if config.keys_file.as_deref() != Some(path) || !stands_still() {
            return Taken::Moving;
        }
        let list = key_list::parse(path, content, Known::of(&config)).map_err(Refusal::Problems);
        let result = list.and_then(|list| self.replace(&mut current, config, list, Shrinking::Guarded));
        self.journal.record(Part::KeyList, &result);
        Taken::Looked
    }

    /// Puts in place what the TLS files hold now, if that is another content and `stands_still` after it was read.
    /// A content that is not new is no reload. Blocks on the files.
    pub fn take_certificates(&self, stands_still: impl FnOnce() -> bool) -> Taken {
        let mut list = locked(&self.list);
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
        let same = list.clone();
        let result = self.replace(&mut list, config, same, Shrinking::Guarded);
        self.journal.record(Part::Certificates, &result);
        Taken::Looked
    }

    /// Records that the file at `path`, which belongs to `part`, cannot be read, and `why`.
    pub fn unreadable(&self, part: Part, path: &Path, why: &str) {
        let what = match part {
            Part::Configuration => "the configuration",
            Part::KeyList => "the key list",
            Part::Certificates => "the file",
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

    /// How the newest reload ended; `None` before the first.
    pub fn last(&self) -> Option<LastReload> {
        self.journal.last()
    }

    /// Every refusal that still stands, at most one a part.
    pub fn standing(&self) -> Vec<Standing> {
        self.journal.standing()
    }

    fn replace(
        &self,
        current: &mut Vec<KeyEntry>,
        config: Arc<Config>,
        list: Vec<KeyEntry>,
        shrinking: Shrinking,
    ) -> Result<Change, Refusal> {
        if shrinking == Shrinking::Guarded {
            check_shrinking(current, &list)?;
        }
        let old = self.live.load();
        let ring =
            old.snapshot.ring.rebuild(all_keys(&config, &list), &config.plans).map_err(Refusal::Ring)?;
        let next = Snapshot { generation: old.snapshot.generation + 1, config, ring };
        let derived = (self.derive)(&next, Some(&**old));
        let change = changed(&old.snapshot, &next);
        let holders = next.ring.changed_since(&old.snapshot.ring).map(|record| record.holder());
        self.limiter.rescale(holders, self.clock.monotonic());
        self.metrics.key_ring_generation.set(i64::try_from(next.generation).unwrap_or(i64::MAX));
        *current = list;
        let old = self.live.swap(Loaded { snapshot: next, derived });
        // After the swap: whoever hears it and comes again is refused.
        let live = self.live.load();
        retire(&old.snapshot.config, &live.snapshot.config, &self.metrics);
        let revoked = old.snapshot.ring.revoked_by(&live.snapshot.ring);
        revoked.for_each(|record| record.cancellation().cancel());
        Ok(change)
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

fn all_keys<'a>(config: &'a Config, list: &'a [KeyEntry]) -> impl Iterator<Item = KeyEntry> + use<'a> {
    config.keys.iter().chain(list).cloned()
}

fn check_shrinking(before: &[KeyEntry], after: &[KeyEntry]) -> Result<(), Refusal> {
    if before.len() < GUARDED_LIST {
        return Ok(());
    }
    let is_same = |(before, after): &(&KeyEntry, &KeyEntry)| before.id == after.id;
    // Most changes of a long list leave nearly all of it where it was.
    let same = before.iter().zip(after).take_while(is_same).count();
    let (changed, by) = (before.get(same..).unwrap_or_default(), after.get(same..).unwrap_or_default());
    let end = changed.iter().rev().zip(by.iter().rev()).take_while(is_same).count();
    let gone = changed.get(..changed.len() - end).unwrap_or_default();
    let came: HashSet<_> = by.iter().take(by.len() - end).map(|entry| &entry.id).collect();
    let lost = gone.iter().filter(|entry| !came.contains(&entry.id)).count();
    if lost * 2 > before.len() { Err(Refusal::Shrunk { before: before.len(), lost }) } else { Ok(()) }
}

fn changed(old: &Snapshot, new: &Snapshot) -> Change {
    // A key that was rotated is in both, under one id.
    let came: HashSet<_> = new.ring.ids_beyond(&old.ring).collect();
    let went: HashSet<_> = old.ring.ids_beyond(&new.ring).collect();
    Change {
        generation: new.generation,
        keys: new.ring.len(),
        added: came.difference(&went).count(),
        removed: went.difference(&came).count(),
        certificates: tls_files::count_changed(&old.config, &new.config),
    }
}
