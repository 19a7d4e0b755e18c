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

use crate::accounts::Accounts;
use crate::accounts::people::PeopleService;
use crate::admin::{self, Admin};
use crate::cache::entries::Entries;
use crate::clock::Clock;
use crate::config::{Config, Listener};
use crate::memory::Buffers;
use crate::proxy::crew::Crew;
use crate::proxy::derived::Derived;
use crate::proxy::gateway::Gateway;
use crate::proxy::guard::Guard;
use crate::proxy::resolver::{Lookup, Resolver};
use crate::proxy::shared::{Parts, Shared};
use crate::runtime::journal::{Change, Refusal};
use crate::runtime::live::Live;
use crate::runtime::reload::{Reloader, Shrinking, Source, Tools};
use crate::runtime::watch::{Seen, follow_certificates, follow_list};
use crate::server::books::Bookkeeper;
use crate::server::chores::{Charges, Roll};
use crate::server::cluster::Clustered;
use crate::server::doors::{purge, refresh};
use crate::server::drain::Ending;
use crate::server::files::raise_files;
use crate::server::hand_over::give::{Estate, Sockets, give};
use crate::server::hand_over::message::Port;
use crate::server::hand_over::take::{Inherited, Ward};
use crate::server::lasting::Lasting;
use crate::server::listeners::{Bound, Handshake, bind};
use crate::server::parts::{Ruling, access_log, answerer, deriving, entries, keep_books, ruling, shelf};
use crate::server::threads::{Threads, Workers};
use crate::shelf::Shelf;
use crate::spread::cores;
use crate::store::usage::Settle;
use crate::telemetry::access_log::AccessWriter;
use crate::telemetry::metrics::Metrics;

mod books;
mod chores;
mod cluster;
mod doors;
mod drain;
mod files;
mod followed;
pub mod hand_over;
mod lasting;
mod listeners;
mod parts;
mod people;
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
    /// How long a request waits for what the disk has of an answer: [`DISK_WAIT`](crate::shelf::DISK_WAIT).
    pub disk_wait: Duration,
    /// How long a request waits for each answer of Redis: [`ANSWER_WAIT`](crate::cluster::link::ANSWER_WAIT).
    pub redis_wait: Duration,
    /// What another process hands over; `None`: everything is made anew.
    pub inherited: Option<Inherited>,
}

/// A running gateway. Dropped, it ends at once.
pub struct Running {
    data_addresses: Vec<SocketAddr>,
    admin_address: SocketAddr,
    shared: Arc<Shared>,
    shelf: Arc<Shelf>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    reloader: Arc<Reloader<Derived>>,
    accounts: Arc<Accounts>,
    people: Arc<PeopleService>,
    ready: Arc<AtomicBool>,
    ending: Ending,
    sockets: Arc<Sockets>,
    access: Option<AccessWriter>,
    /// Attends to the process before this one, until that is gone.
    ward: Option<JoinHandle<()>>,
    bookkeeper: Option<Bookkeeper>,
    lasting: Lasting,
    clustered: Clustered,
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
    let lasting = Lasting::open(config, lock)?;
    let (data_listeners, admin_listener, sockets) = bind_all(config, inherited.as_mut())?;
    let metrics = Metrics::new().context("the metrics could not be set up")?;
    let buffers = Buffers::default();
    let entries = entries(config, &metrics);
    let control = Threads::start("control")?;
    let waits = (&start.clock, start.redis_wait);
    let clustered = Clustered::begin(config.cluster.as_ref(), (&lasting, &metrics), waits, control.handle())?;
    let parts = (&lasting, &clustered);
    let shelf = shelf((config, &start.clock, start.disk_wait), parts, &entries, &metrics);
    let workers = worker_threads(config);
    let seen = Seen::now(config.keys_file.clone());
    let resolver = Resolver::new(start.lookup, control.handle().clone());
    let roll = Roll::default();
    let limiter = clustered.limiter().clone();
    let (files, derive) = (raise_files(), deriving(&metrics, &resolver, &roll));
    let (source, clock) = (start.source, start.clock.clone());
    let tools = Tools { source, files, limiter, metrics: Arc::clone(&metrics), clock, derive };
    let Ruling { live, reloader, accounts } = ruling(start.config, tools, &lasting, &control)?;
    let (access, writer) = access_log(start.access, workers, &metrics)?;
    let (ledger, bookkeeper) = keep_books((workers, &metrics), &lasting, &start.clock, &live);
    let settle = bookkeeper.settle();
    let shared = Shared::new(Parts {
        live: Arc::clone(&live),
        clock: start.clock.clone(),
        limiter: clustered.limiter().clone(),
        leases: clustered.leases().cloned(),
        entries: entries.clone(),
        shelf: Arc::clone(&shelf),
        metrics: Arc::clone(&metrics),
        buffers: buffers.clone(),
        ledger,
        answerer: answerer(&lasting, &shelf, &bookkeeper, &metrics, start.clock),
        access,
    });
    let mut running = Running {
        data_addresses: data_listeners.iter().map(|bound| bound.address).collect(),
        admin_address: admin_listener.address,
        gateway: Arc::new(Gateway::new(Arc::clone(&shared))),
        people: lasting.people(shared.clock()),
        shared,
        shelf,
        metrics,
        reloader,
        accounts,
        ready: Arc::new(AtomicBool::new(false)),
        ending: Ending::default(),
        sockets: Arc::new(sockets),
        access: writer,
        ward: None,
        bookkeeper: Some(bookkeeper),
        lasting,
        clustered,
        data: Workers::start("data", workers)?,
        control,
    };
    await_names(&resolver, &live);
    let ward = inherited.map(|inherited| inherited.take_levels(&running.shared)).transpose()?;
    // Whoever asks whether it is ready asks the old process until then, and finds the new one so.
    running.open_data(data_listeners)?;
    running.open_admin(admin_listener, settle, &entries, &buffers)?;
    running.ward = ward.map(|ward| running.attend(ward));
    running.look_after(live, resolver, seen, roll);
    Ok(running)
}

/// Waits a moment for the addresses of upstreams.
fn await_names(resolver: &Resolver, live: &Live<Derived>) {
    if !resolver.ask_all(&live.load().derived).wait(FIRST_RESOLVE) {
        tracing::warn!("the names of upstreams are still being resolved");
    }
}

/// The sockets of the data ports and of the admin port, and all of them for whoever takes them over.
fn bind_all(
    config: &Config,
    mut inherited: Option<&mut Inherited>,
) -> anyhow::Result<(Vec<Bound>, Bound, Sockets)> {
    let addresses = config.listen.iter().map(|listener| listener.address);
    let data = addresses.map(|address| bind(Port::Data, address, inherited.as_deref_mut()));
    let data = data.collect::<anyhow::Result<Vec<_>>>()?;
    let admin = bind(Port::Admin, config.admin.listen.address, inherited)?;
    let sockets = data.iter().chain([&admin]).map(Bound::share).collect::<anyhow::Result<_>>()?;
    Ok((data, admin, Sockets::new(sockets)))
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

    /// The caches, for who purges them.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
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

    fn open_admin(
        &self,
        bound: Bound,
        settle: Settle,
        entries: &Entries,
        buffers: &Buffers,
    ) -> anyhow::Result<()> {
        let standings = self.clustered.standings();
        let admin = Arc::new(Admin {
            metrics: Arc::clone(&self.metrics),
            refresh: refresh(&self.shared, &self.metrics, &standings, (entries.clone(), buffers.clone())),
            standing: Box::new(move || standings.lines()),
            purge: purge(Arc::clone(&self.shelf)),
            ready: Arc::clone(&self.ready),
            reloader: Arc::clone(&self.reloader),
            accounts: Arc::clone(&self.accounts),
            people: Arc::clone(&self.people),
        });
        let closing = Ending::of_admin(self.ending.subscribe_admin());
        let live = Arc::clone(&self.shared);
        let handshake = move || live.policy().derived.handshakes().admin();
        let handshake = handshake().is_some().then(|| Box::new(handshake) as Handshake);
        let router = admin::router(admin).merge(self.console(settle));
        let served = self.control.wait_for(async move { bound.serve(router, handshake, closing) });
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
    fn look_after(&mut self, live: Arc<Live<Derived>>, resolver: Resolver, seen: Seen, roll: Roll) {
        let policy = Arc::clone(&live);
        self.lasting.threads().handle().spawn(people::forget(Arc::clone(&self.people)));
        self.lasting.tend(&self.shelf, move || policy.load().snapshot.config.cache.disk);
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

/// One provider for all TLS of the process; two would panic at the first handshake.
fn install_crypto_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn worker_threads(config: &Config) -> NonZeroUsize {
    NonZeroUsize::new(config.threads).unwrap_or_else(cores)
}
