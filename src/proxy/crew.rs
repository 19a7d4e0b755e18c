//! The workers that serve connections, and which of them serves the next.
//!
//! Each worker is a thread with a runtime of its own, and a connection stays with the one that it was given to: so workers
//! share no reactor, no timers and no queue, which each request would write. The next connection goes to the worker that has
//! the fewest.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// The workers.
#[derive(Debug)]
pub struct Crew(Box<[Arc<Worker>]>);

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Connections that it serves.
    connections: AtomicUsize,
}

/// A connection on its way to the worker that serves it.
pub(super) struct Handed {
    worker: Arc<Worker>,
    stream: Moving,
}

enum Moving {
    /// It is where it was accepted.
    Stays(TcpStream),
    /// It belongs to no runtime now.
    Leaves(std::net::TcpStream),
}

/// One of a worker's connections; counted until dropped.
struct Served(Arc<Worker>);

impl Crew {
    /// Workers with these runtimes, one thread each.
    pub fn new(runtimes: impl Iterator<Item = Handle>) -> Self {
        let worker = |runtime| Arc::new(Worker { runtime, connections: AtomicUsize::new(0) });
        Self(runtimes.map(worker).collect())
    }

    /// Chooses who serves a connection that the calling worker has accepted.
    ///
    /// # Errors
    /// The connection cannot leave the runtime it is in.
    pub(super) fn hand(&self, stream: TcpStream) -> io::Result<Handed> {
        let least = self.0.iter().min_by_key(|worker| worker.connections.load(Ordering::Relaxed));
        let worker = Arc::clone(least.ok_or(io::ErrorKind::NotFound)?);
        let is_here = worker.runtime.id() == Handle::current().id();
        let stream = if is_here { Moving::Stays(stream) } else { Moving::Leaves(stream.into_std()?) };
        Ok(Handed { worker, stream })
    }
}

impl Handed {
    /// Serves the connection in a task of its worker.
    pub(super) fn spawn<F: Future<Output = ()> + Send>(
        self,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) {
        let Self { worker, stream } = self;
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let served = Served(Arc::clone(&worker));
        worker.runtime.spawn(async move {
            let stream = match stream {
                Moving::Stays(stream) => Ok(stream),
                Moving::Leaves(stream) => TcpStream::from_std(stream),
            };
            // One that cannot be taken up is closed, as by a system that has no more room.
            if let Ok(stream) = stream {
                serve(stream).await;
            }
            drop(served);
        });
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::runtime::{Builder, Handle};
    use tokio::sync::oneshot;

    use super::Crew;

    #[test]
    fn each_connection_goes_to_the_worker_with_the_fewest() {
        let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (acceptor, other) = (runtime(), runtime());
        let crew = Crew::new([acceptor.handle(), other.handle()].into_iter().cloned());
        let ids = [acceptor.handle().id(), other.handle().id()];
        let (stop, stopped) = oneshot::channel::<()>();
        let driver = std::thread::spawn(move || other.block_on(stopped));
        let (told, hear) = channel();
        let (end, mut ends) = (std::sync::Arc::new(tokio::sync::Notify::new()), Vec::new());
        acceptor.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("its address");
            for _ in 0..6 {
                ends.push(TcpStream::connect(address).await.expect("a connection"));
                let (stream, _) = listener.accept().await.expect("a connection");
                let (told, end) = (told.clone(), std::sync::Arc::clone(&end));
                crew.hand(stream).expect("it can be moved").spawn(async move |stream| {
                    // It can be used there.
                    stream.writable().await.expect("writable");
                    told.send(Handle::current().id()).expect("the test hears it");
                    end.notified().await;
                });
            }
            let connections =
                || crew.0.iter().map(|worker| worker.connections.load(super::Ordering::Relaxed));
            assert_eq!(connections().collect::<Vec<_>>(), [3, 3]);
            while connections().sum::<usize>() > 0 {
                end.notify_waiters();
                tokio::task::yield_now().await;
            }
        });
        drop((told, stop));
        let served: Vec<_> = hear.iter().collect();
        assert_eq!(ids.map(|id| served.iter().filter(|other| **other == id).count()), [3, 3]);
        assert!(driver.join().expect("no panic").is_err());
    }
}
