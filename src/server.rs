//! Assembly: configuration to listeners and tasks, and their ordered end. The only place where everything meets.
//!
//! A *data* runtime for each of the configured workers, on a thread of its own, serves clients alone; the *control* runtime
//! has one thread for the admin listener, the resolver, and the eye on key list and certificates, the *store* runtime
//! one for what lasts, so that none of them can hold up a request.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinHandle;

use crate::admin::{self, Admin};
use crate::cache::entries::{Entries, Entry, Removal};
use crate::clock::Clock;
use crate::config::{Config, Listener};
use crate::limits::limiter::Limiter;
use crate::memory::Buffers;
use crate::proxy::crew::Crew;
use crate::proxy::derived::{Derived, derive};
use crate::proxy::gateway::Gateway;
use crate::proxy::guard::Guard;
use crate::proxy::resolver::{Lookup, Resolver};
use crate::proxy::shared::{Parts, Shared};
use crate::runtime::journal::{Change, Refusal};
use crate::runtime::live::Live;
use crate::runtime::reload::{self, Derive, Reloader, Shrinking, Source, Tools};
use crate::runtime::watch::{Seen, follow_certificates, follow_list};
use crate::server::chores::{Charges, Roll};
use crate::server::drain::Ending;
use crate::server::files::raise_files;
use crate::server::hand_over::give::{Estate, Sockets, give};
use crate::server::hand_over::message::Port;
use crate::server::hand_over::take::{Inherited, Ward};
use crate::server::lasting::Lasting;
use crate::server::listeners::{Bound, Handshake, bind};
use crate::server::threads::{Threads, Workers};
use crate::spread::cores;
use crate::telemetry::access_log::{AccessLog, AccessWriter};
use crate::telemetry::metrics::Metrics;

mod chores;
mod drain;
mod files;
pub mod hand_over;
mod lasting;
mod listeners;
mod threads;

/// How long the first answers of the resolver are waited for.
const FIRST_RESOLVE: Duration = Duration::from_secs(3);

/// What a gateway is started with.
pub struct Start {
    /// The checked configuration.
    pub config: Config,
    /// Where reloads find it.
    pub source: Source,
    /// The clock that limits, ages and dates go by.
    pub clock: Clock,
    /// How the names of upstream servers become addresses.
    pub lookup: Lookup,
    /// Where access lines go; `None`: nowhere.
    pub access: Option<Box<dyn std::io::Write + Send>>,
    /// What another process hands over; `None`: everything is made anew.
    pub inherited: Option<Inherited>,
}

/// A running gateway. Dropped, it ends at once.
pub struct Running {
    data_addresses: Vec<SocketAddr>,
    admin_address: SocketAddr,
    shared: Arc<Shared>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    reloader: Arc<Reloader<Derived>>,
    ready: Arc<AtomicBool>,
    ending: Ending,
    sockets: Arc<Sockets>,
    access: Option<AccessWriter>,
    /// Attends to the process before this one, until that is gone.
    ward: Option<JoinHandle<()>>,
    lasting: Lasting,
    data: Workers,
    control: Threads,
}

/// Opens the store, binds the listeners of `start.config` and begins to serve. When it returns, the data port accepts.
///
/// # Errors
/// The store cannot be used, a port cannot be bound, a file cannot be read, the key list has problems: in lines that name
/// it.
pub fn start(start: Start) -> anyhow::Result<Running> {
    install_crypto_provider();
    let config = &start.config;
    let mut inherited = start.inherited;
    let lock = inherited.as_mut().and_then(Inherited::lock);
    let lasting = Lasting::open(&config.data_dir, lock, start.clock.clone())?;
    let addresses = config.listen.iter().map(|listener| listener.address);
    let data_listeners = addresses
        .map(|address| bind(Port::Data, address, inherited.as_mut()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let admin_listener = bind(Port::Admin, config.admin.listen.address, inherited.as_mut())?;
    let sockets = data_listeners.iter().chain([&admin_listener]).map(Bound::share);
    let sockets = Sockets::new(sockets.collect::<anyhow::Result<_>>()?);
    let metrics = Metrics::new().context("the metrics could not be set up")?;
    let limiter = Limiter::new();
    let buffers = Buffers::default();
    let entries = entries(config, &metrics);
    let workers = worker_threads(config);
    let seen = Seen::now(config.keys_file.clone());
    let control = Threads::start("control")?;
    let resolver = Resolver::new(start.lookup, control.handle().clone());
    let roll = Roll::default();
    let (live, reloader) = reload::first(
        start.config,
        Tools {
            source: start.source,
            files: raise_files(),
            limiter: limiter.clone(),
            metrics: Arc::clone(&metrics),
            clock: start.clock.clone(),
            derive: deriving(&metrics, &resolver, &roll),
        },
    )?;
    let (access, writer) = access_log(start.access, workers, &metrics)?;
    let shared = Shared::new(Parts {
        live: Arc::clone(&live),
        clock: start.clock,
        limiter,
        entries: entries.clone(),
        metrics: Arc::clone(&metrics),
        buffers: buffers.clone(),
        access,
    });
    let mut running = Running {
        data_addresses: data_listeners.iter().map(|bound| bound.address).collect(),
        admin_address: admin_listener.address,
        gateway: Arc::new(Gateway::new(Arc::clone(&shared))),
        shared,
        metrics,
        reloader: Arc::new(reloader),
        ready: Arc::new(AtomicBool::new(false)),
        ending: Ending::default(),
        sockets: Arc::new(sockets),
        access: writer,
        ward: None,
        lasting,
        data: Workers::start("data", workers)?,
        control,
    };
    if !resolver.ask_all(&live.load().derived).wait(FIRST_RESOLVE) {
        tracing::warn!("the names of upstreams are still being resolved");
    }
    let ward = inherited.map(|inherited| inherited.take_levels(&running.shared)).transpose()?;
    // Whoever asks whether it is ready asks the old process until then, and finds the new one so.
    running.open_data(data_listeners)?;
    running.open_admin(admin_listener, &entries, &buffers)?;
    running.ward = ward.map(|ward| running.attend(ward));
    running.look_after(live, resolver, seen, roll);
    Ok(running)
}

impl Running {
    /// Where clients connect, in the order of the configuration.
    pub fn data_addresses(&self) -> &[SocketAddr] {
        &self.data_addresses
    }

    /// Where operators connect.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The same as URLs.
    pub fn data_urls(&self) -> impl Iterator<Item = String> {
        let config = Arc::clone(&self.shared.policy().snapshot.config);
        let listener = move |index: usize| config.listen.get(index).cloned();
        let listeners = self.data_addresses.iter().enumerate();
        listeners.filter_map(move |(index, at)| Some(url(&listener(index)?, *at)))
    }

    /// The same as a URL.
    pub fn admin_url(&self) -> String {
        let policy = self.shared.policy();
        url(&policy.snapshot.config.admin.listen, self.admin_address)
    }

    /// Reads configuration and key list anew. Blocks on files.
    ///
    /// # Errors
    /// Everything that is wrong; nothing has changed then.
    pub fn reload(&self, shrinking: Shrinking) -> Result<Change, Refusal> {
        self.reloader.reload(shrinking)
    }

    /// The same, begun on a thread of its own; its result is logged and counted. Whoever ends the gateway does not wait
    /// for it.
    pub fn begin_reload(&self) -> JoinHandle<()> {
        let reloader = Arc::clone(&self.reloader);
        self.control.handle().spawn_blocking(move || drop(reloader.reload(Shrinking::Guarded)))
    }

    /// Hands everything over to the process that is started with `--upgrade`, and goes on as if nothing had happened if
    /// that fails. Once it is done, the gateway is to [leave](Running::leave).
    pub fn begin_hand_over(&self) -> JoinHandle<anyhow::Result<()>> {
        let folder = self.shared.policy().snapshot.config.data_dir.clone();
        let (sockets, shared) = (Arc::clone(&self.sockets), Arc::clone(&self.shared));
        let lock = self.lasting.share_lock();
        let handing = async move { give(Estate { folder, sockets, lock: lock?, shared }).await };
        self.control.handle().spawn(handing)
    }

    fn open_admin(&self, bound: Bound, entries: &Entries, buffers: &Buffers) -> anyhow::Result<()> {
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&self.metrics),
            refresh: refresh(&self.shared, &self.metrics, entries.clone(), buffers.clone()),
            purge: purge(entries.clone()),
            ready: Arc::clone(&self.ready),
            reloader: Arc::clone(&self.reloader),
        });
        let closing = Ending::of_admin(self.ending.subscribe_admin());
        let live = Arc::clone(&self.shared);
        let handshake = move || live.policy().derived.handshakes().admin();
        let handshake = handshake().is_some().then(|| Box::new(handshake) as Handshake);
        let served =
            self.control.wait_for(async move { bound.serve(admin::router(admin), handshake, closing) });
        served.context("the control runtime ended early")?
    }

    fn open_data(&self, listeners: Vec<Bound>) -> anyhow::Result<()> {
        let crew = Arc::new(Crew::new(self.data.handles().cloned()));
        for ((index, bound), worker) in listeners.into_iter().enumerate().zip(self.data.handles().cycle()) {
            let (gateway, shared) = (Arc::clone(&self.gateway), Arc::clone(&self.shared));
            let guard = Guard::new(gateway, shared, self.ending.of_data(), index, Arc::clone(&crew));
            let listener = {
                let _entered = worker.enter();
                bound.into_listener()?
            };
            worker.spawn(guard.accept(listener));
        }
        self.ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Begins to attend to the process before this one, in whose place this one is now.
    fn attend(&self, ward: Ward) -> JoinHandle<()> {
        if let Err(error) = self.lasting.sign_lock() {
            tracing::warn!("the data folder still names the process before this one: {error:#}");
        }
        let control = self.control.handle().clone();
        self.control.handle().spawn_blocking(move || ward.attend(&control))
    }

    /// Starts the tasks that nobody waits for.
    fn look_after(&self, live: Arc<Live<Derived>>, resolver: Resolver, seen: Seen, roll: Roll) {
        self.control.handle().spawn(follow_list(Arc::clone(&self.reloader), seen));
        self.control.handle().spawn(follow_certificates(Arc::clone(&self.reloader)));
        let shared = Arc::clone(&self.shared);
        let charges = Charges { shared, live, resolver, roll };
        chores::begin(self.control.handle(), charges);
    }
}

fn url(listener: &Listener, address: SocketAddr) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// The proxy's side of each snapshot, with the names that a reload brings.
fn deriving(metrics: &Arc<Metrics>, resolver: &Resolver, roll: &Roll) -> Derive<Derived> {
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

/// One provider for all TLS of the process; two would panic at the first handshake.
fn install_crypto_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn worker_threads(config: &Config) -> NonZeroUsize {
    NonZeroUsize::new(config.threads).unwrap_or_else(cores)
}

/// The cache; an entry that is evicted while it is still being sent counts as held memory until it has been.
fn entries(config: &Config, metrics: &Arc<Metrics>) -> Entries {
    // A counter that is there from the start shows its first event as a rise.
    let counters = Removal::ALL.map(|removal| (removal, metrics.cache_evictions(removal.as_str())));
    Entries::new(config.cache.memory, config.cache.max_entry, move |removal: Removal, entry: &Entry| {
        let counter = counters.iter().find(|(counted, _)| *counted == removal);
        counter.into_iter().for_each(|(_, counter)| counter.inc());
        entry.recording.leave_cache();
    })
}

fn access_log(
    out: Option<Box<dyn std::io::Write + Send>>,
    workers: NonZeroUsize,
    metrics: &Metrics,
) -> anyhow::Result<(AccessLog, Option<AccessWriter>)> {
    let Some(out) = out else { return Ok((AccessLog::off(), None)) };
    let (log, writer) = AccessLog::start(out, workers, metrics.access_lines_dropped.clone())
        .context("the access log's thread could not be started")?;
    Ok((log, Some(writer)))
}

/// Forgets every cached answer, and says so in the log.
fn purge(entries: Entries) -> Box<dyn Fn() -> u64 + Send + Sync> {
    Box::new(move || {
        let purged = entries.purge();
        tracing::info!(purged, "the cache was purged");
        purged
    })
}

/// Brings the gauges up to date that are read from elsewhere.
fn refresh(
    shared: &Arc<Shared>,
    metrics: &Arc<Metrics>,
    entries: Entries,
    buffers: Buffers,
) -> Box<dyn Fn() + Send + Sync> {
    let (shared, metrics) = (Arc::clone(shared), Arc::clone(metrics));
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Box::new(move || {
        let (count, bytes) = entries.measure();
        metrics.cache_entries.set(gauge(count));
        metrics.cache_bytes.set(gauge(bytes));
        metrics.buffer_bytes.set(gauge(buffers.used()));
        metrics.in_flight_requests.set(gauge(shared.in_flight()));
        let policy = shared.policy();
        let counts = policy.snapshot.ring.counts(shared.clock().unix());
        metrics.keys("active").set(gauge(counts.active as u64));
        metrics.keys("disabled").set(gauge(counts.disabled as u64));
        metrics.keys("expired").set(gauge(counts.expired as u64));
        for upstream in policy.derived.upstreams() {
            upstream.show_health(shared.clock().monotonic());
        }
    })
}
