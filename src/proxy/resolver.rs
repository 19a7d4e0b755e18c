//! Where the servers of upstreams are: each name is asked for by itself, so that a dead one holds up neither the other
//! names nor a reload.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::proxy::derived::Derived;
use crate::proxy::upstreams::LiveUpstream;

/// Turns a host and a port into addresses. It may block: it has a thread to itself.
pub type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Names that are asked for at the same time; the others wait for their turn.
const MOST_AT_ONCE: usize = 64;

/// How long a reload waits for the names that it brings. A change of the key list that comes meanwhile waits as long,
/// and has a second to be live.
const NEW_NAMES: Duration = Duration::from_millis(300);

/// Asks for names, on threads of its runtime that may block.
#[derive(Clone)]
pub struct Resolver {
    lookup: Lookup,
    runtime: Handle,
    turns: Arc<Semaphore>,
}

/// The system's resolver.
pub fn system() -> Lookup {
    Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
}

/// Questions that are under way. Dropped, they go on: an answer is put in place when it comes.
pub struct Asked(Receiver<Infallible>);

impl Asked {
    /// Blocks until all are answered, at most for `longest`; false if some are not.
    pub fn wait(&self, longest: Duration) -> bool {
        matches!(self.0.recv_timeout(longest), Err(RecvTimeoutError::Disconnected))
    }
}

impl Resolver {
    /// Asks `lookup` on `runtime`.
    pub fn new(lookup: Lookup, runtime: Handle) -> Self {
        Self { lookup, runtime, turns: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// Asks for every name of `derived` that is not being asked for already. What cannot be resolved keeps its last
    /// addresses.
    pub fn ask_all(&self, derived: &Derived) -> Asked {
        let (done, asked) = channel();
        for upstream in derived.upstreams() {
            (0..upstream.server_count()).for_each(|server| self.ask(upstream, server, &done));
        }
        Asked(asked)
    }

    /// Asks for the names that `next` brings and nothing is known of, and waits for a moment, so that requests which
    /// come after the reload find them. A name that takes longer is found when its answer comes.
    pub fn find_new(&self, next: &Derived, previous: &Derived) {
        let (done, asked) = channel();
        let is_new = |upstream: &&Arc<LiveUpstream>| {
            !previous.upstreams().iter().any(|before| Arc::ptr_eq(before, upstream))
        };
        for upstream in next.upstreams().iter().filter(is_new) {
            let unknown = (0..upstream.server_count())
                .filter(|server| upstream.server(*server).is_some_and(|server| server.is_unknown()));
            unknown.for_each(|server| self.ask(upstream, server, &done));
        }
        drop(done);
        if !Asked(asked).wait(NEW_NAMES) {
            tracing::warn!("the names of upstreams are still being resolved");
        }
    }

    /// Asks where one server is, in a task; `done` goes when the answer has been put in place.
    fn ask(&self, upstream: &Arc<LiveUpstream>, index: usize, done: &Sender<Infallible>) {
        let Some(question) = upstream.server(index).and_then(|server| server.begin_asking()) else { return };
        let (upstream, lookup, turns) =
            (Arc::clone(upstream), Arc::clone(&self.lookup), Arc::clone(&self.turns));
        let done = done.clone();
        self.runtime.spawn(async move {
            let Ok(turn) = turns.acquire_owned().await else { return };
            let name = question.host.clone();
            let found = tokio::task::spawn_blocking(move || {
                let found = lookup(&question.host, question.port);
                drop(turn);
                found
            });
            let found = found.await.ok().and_then(Result::ok).filter(|found| !found.is_empty());
            if found.is_none() {
                tracing::warn!(%name, "an upstream's name could not be resolved");
            }
            if let Some(server) = upstream.server(index) {
                server.end_asking(found);
            }
            drop(done);
        });
    }
}
