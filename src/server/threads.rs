//! A runtime on threads of its own, stopped from outside.

use std::future::Future;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

/// What still runs on blocking threads when a runtime ends is not waited for longer.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// A runtime and the thread that drives it.
pub(super) struct Threads {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    driver: Option<JoinHandle<()>>,
}

impl Threads {
    /// Starts `workers` threads. One worker drives everything itself, without the cost of sharing work.
    pub(super) fn start(name: &'static str, workers: usize) -> anyhow::Result<Self> {
        let runtime =
            build(name, workers).with_context(|| format!("the {name} runtime could not be started"))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let drive = move || {
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
        if let Some(stop) = self.stop.take() {
            // An error means that it has ended already.
            let _ = stop.send(());
        }
        if let Some(driver) = self.driver.take() {
            // A driver that panicked has nothing more to end.
            let _ = driver.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn build(name: &'static str, workers: usize) -> std::io::Result<Runtime> {
    match workers {
        1 => Builder::new_current_thread().enable_all().build(),
        _ => Builder::new_multi_thread().worker_threads(workers).thread_name(name).enable_all().build(),
    }
}
