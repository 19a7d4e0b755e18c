//! Upstreams as the proxy uses them: where their servers are now, which are well, and how many places are left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use prometheus::IntGauge;

use crate::clock::Monotonic;
use crate::ids::UpstreamName;
use crate::outcome::rejection::Rejection;
use crate::proxy::addresses::{Address, Addresses};
use crate::proxy::places::{self, Place, Places};
use crate::spread::{Lending, Spread};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Histogram;
use crate::upstream::health::Health;
use crate::upstream::pool::Pool;
use crate::upstream::settings::{Scheme, ServerUrl, TlsSettings, UpstreamSettings};

/// A connection waits this long for its next request: less than servers usually keep theirs.
pub(super) const LONGEST_IDLE: Duration = Duration::from_secs(4);

/// A reused connection that ends so soon after the request was written had died before it: the request is sent again.
pub(super) const STALE_WITHIN: Duration = Duration::from_millis(250);

/// Servers tried for one request, at most.
pub(super) const MOST_ATTEMPTS: usize = 3;

/// One upstream, live. Kept across reloads that do not touch it; one that is changed hands on what is known of its
/// servers, and the places that are taken, but no connections: they may have been opened under another trust, or with
/// another certificate.
#[derive(Debug)]
pub struct LiveUpstream {
    pub(super) settings: Arc<UpstreamSettings>,
    pub(super) first_byte: Histogram,
    pool: Pool,
    servers: Box<[LiveServer]>,
    places: Arc<Lending<Places>>,
}

/// One of its servers.
#[derive(Debug)]
pub(super) struct LiveServer {
    pub(super) url: ServerUrl,
    /// The URL's authority as the Host field carries it.
    pub(super) host: HeaderValue,
    template: HttpPeer,
    addresses: ArcSwap<Lending<Vec<Arc<Address>>>>,
    turn: Spread<AtomicUsize>,
    up: IntGauge,
    /// Its name is being asked for.
    asking: AtomicBool,
    /// When its health is to be checked next.
    check_due: AtomicU64,
    /// Its health is being checked.
    checking: AtomicBool,
}

/// What a health check of a server has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is well.
    Passed,
    /// It is not, or did not say so in time.
    Failed,
}

/// What is asked of a resolver.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// A server chosen for one attempt, and where it is.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) server: usize,
    pub(super) addresses: Addresses,
}

impl LiveUpstream {
    /// Makes `settings` live, or keeps `previous` if it has the same.
    pub fn prepare(
        settings: &Arc<UpstreamSettings>,
        previous: Option<&Arc<Self>>,
        metrics: &Metrics,
    ) -> Arc<Self> {
        if let Some(same) = previous.filter(|previous| *previous.settings == **settings) {
            return Arc::clone(same);
        }
        let tls = PeerTls::of(&settings.tls);
        let servers = settings.servers.iter().map(|server| {
            let mut live = LiveServer::new(settings, server, &tls, metrics);
            live.take_over(previous.map_or(&[], |previous| &previous.servers));
            live
        });
        let places = match previous {
            None => Places::new(settings.concurrency),
            Some(previous) => {
                previous.places.lend().rebound(settings.concurrency);
                Arc::clone(&previous.places)
            }
        };
        Arc::new(Self {
            settings: Arc::clone(settings),
            first_byte: metrics.first_byte(settings.name.as_str()),
            pool: Pool::new(settings, previous.map(|previous| (&*previous.settings, &previous.pool))),
            servers: servers.collect(),
            places,
        })
    }

    /// The next server and where it is; `None` when all have been tried or none can be located.
    pub(super) fn choose(&self, tried: &mut Vec<usize>, now: Monotonic) -> Option<Choice> {
        while let Some(server) = self.pool.choose(tried, now) {
            if let Some(addresses) = self.servers.get(server).and_then(LiveServer::in_turn) {
                return Some(Choice { server, addresses });
            }
            tried.push(server);
        }
        None
    }

    /// A server that was chosen.
    pub(super) fn server(&self, index: usize) -> Option<&LiveServer> {
        self.servers.get(index)
    }

    /// A server answered.
    pub(super) fn succeeded(&self, server: usize) {
        if let Some(health) = self.pool.health(server) {
            health.succeeded();
        }
    }

    /// A server failed to answer.
    pub(super) fn failed(&self, server: usize, now: Monotonic) {
        if let Some(health) = self.pool.health(server) {
            health.failed(now);
        }
    }

    /// A server wants to be left alone for `rest`.
    pub(super) fn wants_rest(&self, server: usize, rest: Duration, now: Monotonic) {
        if let Some(health) = self.pool.health(server) {
            health.wants_rest(rest, now);
        }
    }

    /// A server was checked.
    pub(super) fn checked(&self, server: usize, result: Check) {
        let (Some(health), Some(live)) = (self.pool.health(server), self.servers.get(server)) else { return };
        let (upstream, server) = (self.settings.name.as_str(), &live.url.label);
        match result {
            Check::Passed if health.check_passed() => {
                tracing::info!(upstream, %server, "the server passes its health check again");
            }
            Check::Failed if health.check_failed() => {
                tracing::warn!(upstream, %server, "the server fails its health check: requests pass it over");
            }
            Check::Passed | Check::Failed => {}
        }
    }

    /// Ends the connections that have waited for a request for too long.
    pub fn end_idle(&self, now: Monotonic) {
        for server in &self.servers {
            server.addresses.load().lend().iter().for_each(|address| address.idle.sweep(now));
        }
    }

    /// Brings the gauges of health up to date.
    pub fn show_health(&self, now: Monotonic) {
        for (index, server) in self.servers.iter().enumerate() {
            server.up.set(i64::from(self.is_well(index, now)));
        }
    }

    /// Its servers by their labels, each with whether requests are sent to it as usual.
    pub fn health(&self, now: Monotonic) -> impl Iterator<Item = (&str, bool)> {
        let servers = self.servers.iter().enumerate();
        servers.map(move |(index, server)| (&*server.url.label, self.is_well(index, now)))
    }

    /// What it is called.
    pub fn name(&self) -> &UpstreamName {
        &self.settings.name
    }

    fn is_well(&self, server: usize, now: Monotonic) -> bool {
        self.pool.health(server).is_none_or(|health: &Health| health.is_well(now))
    }

    /// A place among `max_concurrent`, waited for within the queue's bounds.
    ///
    /// # Errors
    /// [`Rejection::UpstreamBusy`].
    pub(super) async fn place(&self) -> Result<Place, Rejection> {
        places::take(self.places.lend(), self.settings.concurrency).await.ok_or(Rejection::UpstreamBusy)
    }

    /// How many servers there are.
    pub(super) fn server_count(&self) -> usize {
        self.servers.len()
    }
}

impl LiveServer {
    fn new(settings: &UpstreamSettings, server: &ServerUrl, tls: &PeerTls, metrics: &Metrics) -> Self {
        let name = settings.tls.server_name.as_ref().unwrap_or(&server.host);
        let placeholder = SocketAddr::from(([0, 0, 0, 0], server.port));
        let mut template = HttpPeer::new(placeholder, server.scheme == Scheme::Https, name.to_string());
        template.client_cert_key.clone_from(&tls.client);
        let options = &mut template.options;
        options.ca.clone_from(&tls.ca);
        options.connection_timeout = Some(settings.connect_timeout);
        options.total_connection_timeout = Some(settings.connect_timeout);
        Self {
            url: server.clone(),
            host: HeaderValue::from_str(&server.authority).unwrap_or(HeaderValue::from_static("")),
            template,
            addresses: ArcSwap::default(),
            turn: Spread::default(),
            up: metrics.upstream_up(settings.name.as_str(), &server.label),
            asking: AtomicBool::new(false),
            check_due: AtomicU64::new(0),
            checking: AtomicBool::new(false),
        }
    }

    /// True while nothing is known of where it is.
    pub(super) fn is_unknown(&self) -> bool {
        self.addresses.load().lend().is_empty()
    }

    /// Its name, to be asked for; `None` if it has none or is being asked for already. Ends with
    /// [`LiveServer::end_asking`].
    pub(super) fn begin_asking(&self) -> Option<Question> {
        if self.literal_address().is_some() || self.asking.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some(Question { host: self.url.host.clone(), port: self.url.port })
    }

    /// Takes the answer; without one it keeps the last addresses.
    pub(super) fn end_asking(&self, found: Option<Vec<SocketAddr>>) {
        if let Some(found) = found {
            self.locate(found);
        }
        self.asking.store(false, Ordering::Relaxed);
    }

    /// True if a check is due at `now`, and none is under way: it ends with [`LiveServer::end_check`], and the next is
    /// due after `interval`.
    pub(super) fn begin_check(&self, now: Monotonic, interval: Duration) -> bool {
        let begins = self.check_due.load(Ordering::Relaxed) <= now.as_nanos()
            && !self.checking.swap(true, Ordering::Relaxed);
        if begins {
            self.check_due.store(now.saturating_add(interval).as_nanos(), Ordering::Relaxed);
        }
        begins
    }

    /// The check is over.
    pub(super) fn end_check(&self) {
        self.checking.store(false, Ordering::Relaxed);
    }

    /// Goes on where a server of `known` is that has the same name.
    fn take_over(&mut self, known: &[Self]) {
        let is_same = |known: &&Self| known.url.host == self.url.host && known.url.port == self.url.port;
        let known = known.iter().find(is_same);
        if let Some(known) = known {
            let turn = known.turn.mine().load(Ordering::Relaxed);
            self.turn = Spread::for_cores(|worker| AtomicUsize::new(turn.wrapping_add(worker)));
        }
        match self.literal_address() {
            Some(address) => self.locate(vec![address]),
            None => self.locate(known.map(Self::located).unwrap_or_default()),
        }
    }

    /// The address that the URL names itself; `None` if it names a host.
    fn literal_address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.url.host.parse().ok()?, self.url.port))
    }

    /// Where it is, as far as is known.
    fn located(&self) -> Vec<SocketAddr> {
        self.addresses
            .load()
            .lend()
            .iter()
            .filter_map(|known| known.peer._address.as_inet().copied())
            .collect()
    }

    fn locate(&self, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        if self.located() == addresses {
            return;
        }
        let known = self.addresses.load();
        let known = known.lend();
        let now = |address: SocketAddr| {
            let same = known.iter().find(|known| known.peer._address.as_inet() == Some(&address));
            same.cloned().unwrap_or_else(|| Arc::new(Address::new(&self.template, address)))
        };
        let gone = known
            .iter()
            .filter(|known| known.peer._address.as_inet().is_none_or(|address| !addresses.contains(address)));
        let gone: Vec<_> = gone.cloned().collect();
        let addresses = Arc::new(addresses.into_iter().map(now).collect());
        self.addresses.store(Arc::new(Lending::new(addresses)));
        gone.iter().for_each(|address| address.idle.end());
    }

    /// The server's addresses, each request beginning with the next; `None` while none is known.
    pub(super) fn in_turn(&self) -> Option<Addresses> {
        Addresses::in_turn(Arc::clone(self.addresses.load().lend()), &self.turn)
    }
}

/// The TLS material of an upstream as pingora takes it.
struct PeerTls {
    ca: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
}

impl PeerTls {
    fn of(settings: &TlsSettings) -> Self {
        let ca = settings.ca.as_ref().map(|ca| {
            // `pem` has parsed each of them: this does not fail.
            ca.certificates.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509)).collect()
        });
        let client = settings.client.as_ref().map(|client| {
            let chain = client.pair.chain().iter().map(|der| der.to_vec()).collect();
            Arc::new(CertKey::new(chain, client.pair.expose_key().to_vec()))
        });
        Self { ca, client }
    }
}
