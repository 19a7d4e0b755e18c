//! Runtimes on threads of their own, stopped from outside.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::spread::begin_worker;

/// What still runs on blocking threads when a runtime ends is not waited for longer.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// A runtime and the thread that drives it.
pub(super) struct Threads {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    driver: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts a thread that is no worker.
    pub(super) fn start(name: &'static str) -> anyhow::Result<Self> {
        Self::start_as(name, 0)
    }

    /// Starts a thread that is the worker with this `number`. It drives everything itself, without the cost of sharing
    /// work.
    fn start_as(name: &'static str, number: usize) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.with_context(|| format!("the {name} runtime could not be started"))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let drive = move || {
            begin_worker(number);
            // Stopped, or whoever could stop it is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(LAST_WAIT);
        };
        let driver = std::thread::Builder::new()
            .name(name.into())
            .spawn(drive)
            .with_context(|| format!("the {name} thread could not be started"))?;
        Ok(Self { handle, stop: Some(stop), driver: Some(driver) })
    }

    /// For spawning onto the runtime.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs `future` there and waits for it; `None` if the runtime ended first. Not to be called from a runtime.
    pub(super) fn wait_for<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = mpsc::channel();
        self.handle.spawn(async move {
            // Nobody waits any more: the result is not wanted.
            let _ = done.send(future.await);
        });
        result.recv().ok()
    }

    /// Ends every task and waits for the thread.
    pub(super) fn stop(&mut self) {
        self.tell();
        if let Some(driver) = self.driver.take() {
            // A driver that panicked has nothing more to end.
            let _ = driver.join();
        }
    }

    fn tell(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that it has ended already.
            let _ = stop.send(());
        }
    }
}

/// The workers, each a runtime of one thread.
pub(super) struct Workers(Box<[Threads]>);

impl Workers {
    /// Starts so many.
    pub(super) fn start(name: &'static str, count: NonZeroUsize) -> anyhow::Result<Self> {
        let workers = (0..count.get()).map(|number| Threads::start_as(name, number));
        Ok(Self(workers.collect::<anyhow::Result<_>>()?))
    }

    /// For spawning onto each.
    pub(super) fn handles(&self) -> impl Iterator<Item = &Handle> + Clone {
        self.0.iter().map(Threads::handle)
    }

    /// Ends every task and waits for the threads.
    pub(super) fn stop(&mut self) {
        self.0.iter_mut().for_each(Threads::tell);
        self.0.iter_mut().for_each(Threads::stop);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}
