//! Which server is asked, over which connection, and when once more (contract §4): nothing that a server can have
//! read is sent again.

use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use crate::cache::recording::Failure;
use crate::clock::Monotonic;
use crate::proxy::addresses::{Address, Addresses};
use crate::proxy::ctx::Report;
use crate::proxy::exchange::Exchange;
use crate::proxy::headers::KEEP_ALIVE;
use crate::proxy::incoming::Spelling;
use crate::proxy::line::Line;
use crate::proxy::link::Link;
use crate::proxy::shared::{Shared, are_files_out};
use crate::proxy::upstreams::{Choice, LONGEST_IDLE, LiveServer, LiveUpstream, MOST_ATTEMPTS, STALE_WITHIN};
use crate::upstream::rest::rest_of;
use crate::upstream::settings::Retry;

/// The attempts that are made for one request.
pub(super) struct Attempts<'a> {
    shared: &'a Shared,
    upstream: &'a LiveUpstream,
    report: &'a Report,
    spelling: Spelling,
    tried: Vec<usize>,
    wanted: Origin,
    left: usize,
}

/// One of them: an exchange with a server that was connected to.
pub(super) struct Attempt {
    pub(super) exchange: Box<Exchange>,
    server: usize,
    /// Where the connection goes to, and waits.
    addresses: Addresses,
    place: usize,
    origin: Origin,
    begun: Monotonic,
    sent: Option<Monotonic>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It carried another request before.
    Pooled,
    /// It was made for this one.
    Fresh,
}

/// Whether a request can be sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// All of it is still here.
    Possible,
    /// A part of it is gone.
    Impossible,
}

impl<'a> Attempts<'a> {
    /// None has been made so far.
    pub(super) fn new(
        shared: &'a Shared,
        upstream: &'a LiveUpstream,
        report: &'a Report,
        spelling: Spelling,
    ) -> Self {
        let (tried, wanted, left) = (Vec::new(), Origin::Pooled, MOST_ATTEMPTS);
        Self { shared, upstream, report, spelling, tried, wanted, left }
    }

    /// Connects to the next server; passes over those that cannot be reached.
    ///
    /// # Errors
    /// None is left.
    pub(super) async fn connect(&mut self) -> Result<Attempt, Failure> {
        let mut failure = Failure::Connect;
        while self.left > 0 {
            self.left -= 1;
            let now = self.shared.clock.monotonic();
            let Some(choice) = self.upstream.choose(&mut self.tried, now) else { break };
            let server = choice.server;
            match self.connect_to(choice, now).await {
                Ok(attempt) => return Ok(attempt),
                // No server has to do with it.
                Err(Failure::NoFiles) => return Err(Failure::NoFiles),
                Err(why) => {
                    self.upstream.failed(server, self.shared.clock.monotonic());
                    self.tried.push(server);
                    failure = why;
                }
            }
        }
        Err(failure)
    }

    /// A connection to one of the addresses of the server chosen: each has the whole `connect_timeout`.
    async fn connect_to(&self, choice: Choice, mut now: Monotonic) -> Result<Attempt, Failure> {
        let mut failure = Failure::Connect;
        let mut tried = Vec::new();
        while let Some((place, address)) = choice.addresses.next(&tried, now) {
            match self.connect_at(address, now).await {
                Ok((exchange, origin)) => {
                    let Choice { server, addresses } = choice;
                    return Ok(Attempt {
                        exchange,
                        server,
                        addresses,
                        place,
                        origin,
                        begun: now,
                        sent: None,
                    });
                }
                Err(Failure::NoFiles) => return Err(Failure::NoFiles),
                Err(why) => {
                    now = self.shared.clock.monotonic();
                    address.failed(now);
                    tried.push(place);
                    failure = why;
                }
            }
        }
        Err(failure)
    }

    /// A connection to one address: one that waits, if there is one and it is wanted, or a new one.
    async fn connect_at(
        &self,
        address: &Address,
        now: Monotonic,
    ) -> Result<(Box<Exchange>, Origin), Failure> {
        let exchange = |link| Exchange::new(link, &self.upstream.settings, self.spelling);
        let waiting = match self.wanted {
            Origin::Pooled => address.idle.take(now),
            Origin::Fresh => None,
        };
        if let Some(link) = waiting {
            return Ok((exchange(link), Origin::Pooled));
        }
        Ok((exchange(open_link(self.shared, &address.peer).await?), Origin::Fresh))
    }

    /// The server that an attempt goes to.
    pub(super) fn server(&self, attempt: &Attempt) -> Option<&'a LiveServer> {
        self.upstream.server(attempt.server)
    }

    /// The request's head has been handed over.
    pub(super) fn begun(&self, attempt: &mut Attempt) {
        if attempt.origin == Origin::Fresh {
            attempt.begun = self.shared.clock.monotonic();
        }
        self.report.sent(attempt.begun);
    }

    /// All that was handed over has been sent.
    pub(super) fn sent(&self, attempt: &mut Attempt) {
        attempt.sent = Some(self.shared.clock.monotonic());
    }

    /// The answer's head has come.
    pub(super) fn answered(&self, attempt: &Attempt) {
        let waited = self.shared.clock.monotonic().saturating_since(attempt.sent.unwrap_or(attempt.begun));
        self.upstream.succeeded(attempt.server);
        let rest = attempt
            .exchange
            .head()
            .and_then(|head| rest_of(head.status, &head.headers, || self.shared.clock.unix()));
        if let Some(rest) = rest {
            self.upstream.wants_rest(attempt.server, rest, self.shared.clock.monotonic());
        }
        self.upstream.first_byte.observe(waited);
        self.report.first_byte(waited);
    }

    /// The attempt came to nothing. Returns if another one may be made.
    ///
    /// # Errors
    /// The failure that is final.
    pub(super) fn failed(
        &mut self,
        attempt: &Attempt,
        failure: Failure,
        repeat: Repeat,
    ) -> Result<(), Failure> {
        let now = self.shared.clock.monotonic();
        let is_soon = |written: Monotonic| now.saturating_since(written) <= STALE_WITHIN;
        let had_died = failure == Failure::Reset
            && attempt.origin == Origin::Pooled
            && attempt.exchange.is_unanswered()
            && attempt.exchange.written().is_none_or(is_soon);
        let may_repeat = repeat == Repeat::Possible && self.upstream.settings.retry == Retry::Safe;
        if had_died && may_repeat {
            self.wanted = Origin::Fresh;
            // It was no try of a server.
            self.left += 1;
            return Ok(());
        }
        attempt.broke_off(self.shared, self.upstream);
        Err(failure)
    }
}

impl Attempt {
    /// The answer broke off.
    pub(super) fn broke_off(&self, shared: &Shared, upstream: &LiveUpstream) {
        upstream.failed(self.server, shared.clock.monotonic());
    }

    /// Lets the connection wait for another request from `now` on, if it may carry another request.
    pub(super) fn give_back(self, now: Monotonic) {
        let Some(idle) = self.exchange.head().and_then(idle_for) else { return };
        if let Some((address, link)) = self.addresses.at(self.place).zip(self.exchange.reuse()) {
            address.idle.put(link, now.saturating_add(idle));
        }
    }
}

/// A new connection to `peer`, TLS included. Where as many files are open as may be, those are closed for it that wait
/// for a request.
///
/// # Errors
/// There is none, within the `connect_timeout`.
pub(super) async fn open_link(shared: &Shared, peer: &HttpPeer) -> Result<Box<Link>, Failure> {
    let mut opened = open_line(shared, peer).await;
    if opened.as_ref().is_err_and(|failure| *failure == Failure::NoFiles) {
        shared.end_idle();
        opened = open_line(shared, peer).await;
    }
    Ok(Box::new(Link::new(opened?, shared.clock.clone())))
}

async fn open_line(shared: &Shared, peer: &HttpPeer) -> Result<Line, Failure> {
    let Some(address) = peer._address.as_inet().filter(|_| !peer.is_tls()) else {
        // Boxed: it is large and seldom needed, and would make every request's future as large.
        let opened = Box::pin(shared.transport.new_stream(peer)).await;
        return opened.map(Line::Tls).map_err(|error| connect_failure(&error));
    };
    let longest = peer.options.total_connection_timeout.unwrap_or_default();
    let connecting = pingora::time::timeout(longest, Line::plain(*address));
    let opened = connecting.await.map_err(|_| Failure::ConnectTimeout)?;
    opened.map_err(|error| if are_files_out(&error) { Failure::NoFiles } else { Failure::Connect })
}

fn connect_failure(error: &Error) -> Failure {
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Failure::ConnectTimeout,
        _ if has_no_files(error) => Failure::NoFiles,
        _ => Failure::Connect,
    }
}

fn has_no_files(error: &Error) -> bool {
    error.root_cause().downcast_ref().is_some_and(are_files_out)
}

/// How long a connection may wait for its next request: a second less than its server keeps it, if it says so in
/// `Keep-Alive: timeout=SECONDS`. `None`: not at all.
fn idle_for(head: &ResponseHeader) -> Option<Duration> {
    let values = head.headers.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    let mut parameters = values.flat_map(|value| value.split(',')).filter_map(|part| part.split_once('='));
    let timeout = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"));
    let Some(seconds) = timeout.and_then(|(_, seconds)| seconds.trim().trim_matches('"').parse::<u64>().ok())
    else {
        return Some(LONGEST_IDLE);
    };
    let idle = Duration::from_secs(seconds.saturating_sub(1)).min(LONGEST_IDLE);
    (!idle.is_zero()).then_some(idle)
}
