//! The parts that a gateway is put together from, each made of what it needs.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::accounts::{self, Accounts, Publish};
use crate::api::Api;
use crate::cache::entries::{Entries, Entry, Removal};
use crate::clock::Clock;
use crate::config::Config;
use crate::proxy::derived::{Derived, derive};
use crate::proxy::resolver::Resolver;
use crate::runtime::live::Live;
use crate::runtime::reload::{self, Derive, Reloader, Tools};
use crate::server::books::{Bookkeeper, Books};
use crate::server::chores::Roll;
use crate::server::cluster::Clustered;
use crate::server::doors::purger;
use crate::server::followed::Follower;
use crate::server::lasting::Lasting;
use crate::server::threads::Threads;
use crate::shelf::{self, Shelf};
use crate::telemetry::access_log::{AccessLog, AccessWriter};
use crate::telemetry::metrics::Metrics;
use crate::usage::ledger::Ledger;

/// Where so many workers sum usage, and who brings it into the store.
pub(super) fn keep_books(
    (workers, metrics): (NonZeroUsize, &Arc<Metrics>),
    lasting: &Lasting,
    clock: &Clock,
    live: &Arc<Live<Derived>>,
) -> (Ledger, Bookkeeper) {
    let (ledger, live) = (Ledger::new(workers), Arc::clone(live));
    let books = Books {
        ledger: ledger.clone(),
        store: lasting.store(),
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        config: Box::new(move || Arc::clone(&live.load().snapshot.config)),
    };
    (ledger, Bookkeeper::start(books, lasting.threads().handle()))
}

/// The policy, and who changes it.
pub(super) struct Ruling {
    pub(super) live: Arc<Live<Derived>>,
    pub(super) reloader: Arc<Reloader<Derived>>,
    pub(super) accounts: Arc<Accounts>,
}

/// The first policy: `config`, the key list and the keys of the store, whose changes are followed from here on.
pub(super) fn ruling(
    config: Config,
    tools: Tools<Derived>,
    lasting: &Lasting,
    control: &Threads,
) -> anyhow::Result<Ruling> {
    let clock = tools.clock.clone();
    let followed =
        lasting.threads().wait_for(Follower::begin(lasting.directory(), clock.clone(), config.plans.clone()));
    let (follower, stored) = followed.context("the store's runtime ended early")??;
    let (live, reloader) = reload::first(config, &stored, tools)?;
    let reloader = Arc::new(reloader);
    let publish = follower.follow(Arc::clone(&reloader), control.handle());
    let accounts = accounts(lasting, publish, &clock, &live);
    Ok(Ruling { live, reloader, accounts })
}

/// Accounts and keys, whose changes `publish` puts in force.
fn accounts(lasting: &Lasting, publish: Publish, clock: &Clock, live: &Arc<Live<Derived>>) -> Arc<Accounts> {
    let (live, ring) = (Arc::clone(live), Arc::clone(live));
    Arc::new(Accounts::new(accounts::Parts {
        directory: lasting.directory(),
        store: lasting.store(),
        publish,
        listed: Box::new(move || ring.load().snapshot.ring.listed().clone()),
        config: Box::new(move || Arc::clone(&live.load().snapshot.config)),
        clock: clock.clone(),
    }))
}

/// The cache API.
pub(super) fn answerer(
    lasting: &Lasting,
    shelf: &Arc<Shelf>,
    bookkeeper: &Bookkeeper,
    metrics: &Metrics,
    clock: Clock,
) -> Arc<Api> {
    let (purge, settle) = (purger(Arc::clone(shelf)), bookkeeper.settle());
    Arc::new(Api::new(lasting.store(), purge, settle, metrics.stored_damaged.clone(), clock))
}

/// The proxy's side of each snapshot, with the names that a reload brings.
pub(super) fn deriving(metrics: &Arc<Metrics>, resolver: &Resolver, roll: &Roll) -> Derive<Derived> {
    let (metrics, resolver, roll) = (Arc::clone(metrics), resolver.clone(), roll.clone());
    Box::new(move |next, previous| {
        let derived = derive(next, previous, &metrics);
        roll.enter(derived.upstreams());
        if let Some(previous) = previous {
            resolver.find_new(&derived, &previous.derived);
        }
        derived
    })
}

/// The cache; an entry that is evicted while it is still being sent counts as held memory until it has been.
pub(super) fn entries(config: &Config, metrics: &Arc<Metrics>) -> Entries {
    // A counter that is there from the start shows its first event as a rise.
    let counters = Removal::ALL.map(|removal| (removal, metrics.cache_evictions(removal.as_str())));
    Entries::new(config.cache.memory, config.cache.max_entry, move |removal: Removal, entry: &Entry| {
        let counter = counters.iter().find(|(counted, _)| *counted == removal);
        counter.into_iter().for_each(|(_, counter)| counter.inc());
        entry.recording.leave_cache();
    })
}

/// The cache in memory, with what gateways share behind it, or else the disk.
pub(super) fn shelf(
    (config, clock, wait): (&Config, &Clock, Duration),
    (lasting, clustered): (&Lasting, &Clustered),
    entries: &Entries,
    metrics: &Arc<Metrics>,
) -> Arc<Shelf> {
    Shelf::new(shelf::Parts {
        entries: entries.clone(),
        store: lasting.store(),
        clock: clock.clone(),
        wait: clustered.longest_read().unwrap_or(wait),
        bound: config.cache.disk,
        shared: clustered.answers(),
        metrics: Arc::clone(metrics),
    })
}

pub(super) fn access_log(
    out: Option<Box<dyn std::io::Write + Send>>,
    workers: NonZeroUsize,
    metrics: &Metrics,
) -> anyhow::Result<(AccessLog, Option<AccessWriter>)> {
    let Some(out) = out else { return Ok((AccessLog::off(), None)) };
    let (log, writer) = AccessLog::start(out, workers, metrics.access_lines_dropped.clone())
        .context("the access log's thread could not be started")?;
    Ok((log, Some(writer)))
}
