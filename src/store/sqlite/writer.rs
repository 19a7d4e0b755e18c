//! The one writer of a file: changes wait in a bounded queue and are committed in groups.
//!
//! SQLite has one writer at a time, and a commit costs more than most changes: what has gathered while one group was
//! committed is the next group. Each caller is answered after the commit that holds its change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::store::failure::{StoreError, Trouble};
use crate::store::sqlite::trouble::of_sqlx;
use crate::units::ByteSize;

/// The most changes of one commit.
const MOST_A_GROUP: usize = 256;

/// What the queue's room is counted in: the unit of a semaphore's permits, so that 32 bits hold any sensible bound.
const ROOM_UNIT: u64 = 1024;

/// Something that is changed in one transaction, alone or with others.
#[async_trait]
pub(super) trait Change: Send + Sync + 'static {
    /// What its caller is told.
    type Done: Send + 'static;

    /// What it holds while it waits, about.
    fn size(&self) -> ByteSize;

    /// Makes the change. Called again if the group that it was in could not be committed.
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Self::Done, sqlx::Error>;
}

/// What may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Changes in the queue.
    pub queue: usize,
    /// What all of them hold; one that is larger waits until it is alone.
    pub waiting: ByteSize,
    /// How long a change waits for its place.
    pub wait: Duration,
    /// How long a change waits for other processes, and a reader for a connection.
    pub lock_wait: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let wait = Duration::from_secs(5);
        Self { queue: 1024, waiting: ByteSize::mib(64), wait, lock_wait: wait }
    }
}

/// Hands changes to the task that makes them.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    all_room: u32,
    wait: Duration,
    task: Mutex<Option<Task>>,
}

#[derive(Debug)]
struct Task {
    end: oneshot::Sender<()>,
    handle: JoinHandle<()>,
}

impl Writer {
    /// Begins to write over `connection` to the file at `path`, by a task of the current runtime.
    pub(super) fn start(path: PathBuf, connection: SqliteConnection, bounds: Bounds) -> Self {
        let (queue, jobs) = mpsc::channel(bounds.queue.max(1));
        let (end, ended) = oneshot::channel();
        let all_room = u32::try_from(bounds.waiting.as_u64() / ROOM_UNIT).unwrap_or(u32::MAX).max(1);
        let handle = tokio::spawn(write(path.clone(), connection, jobs, ended));
        Self {
            path,
            queue,
            room: Arc::new(Semaphore::new(all_room as usize)),
            all_room,
            wait: bounds.wait,
            task: Mutex::new(Some(Task { end, handle })),
        }
    }

    /// Makes a change: returns when it is committed, or has failed and left nothing.
    ///
    /// # Errors
    /// No place in the queue in time ([`Trouble::Busy`]), or what the commit failed of.
    pub(super) async fn submit<C: Change>(&self, change: C) -> Result<C::Done, StoreError> {
        let closed = || StoreError::new(&self.path, Trouble::Closed);
        let size = u32::try_from(change.size().as_u64() / ROOM_UNIT).unwrap_or(u32::MAX);
        let wanted = size.saturating_add(1).min(self.all_room);
        let (reply, told) = oneshot::channel();
        let queued = async {
            let room = Arc::clone(&self.room).acquire_many_owned(wanted).await.map_err(|_| closed())?;
            let place = self.queue.reserve().await.map_err(|_| closed())?;
            let waiting = Waiting { change, done: None, reply };
            place.send(Job { waiting: Box::new(waiting), _room: room });
            Ok(())
        };
        match tokio::time::timeout(self.wait, queued).await {
            Ok(queued) => queued?,
            Err(_) => return Err(StoreError::new(&self.path, Trouble::Busy)),
        }
        told.await.map_err(|_| closed())?
    }

    /// Commits what waits, takes nothing more, and ends.
    pub(super) async fn close(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Task { end, handle }) = task {
            // An error means that it has ended already.
            let _ = end.send(());
            let _ = handle.await;
        }
    }
}

/// A change in the queue, and the room that it takes there.
struct Job {
    waiting: Box<dyn Pending>,
    _room: OwnedSemaphorePermit,
}

/// A change whose caller waits, whatever its type.
#[async_trait]
trait Pending: Send {
    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error>;
    fn committed(self: Box<Self>);
    fn failed(self: Box<Self>, error: StoreError);
}

struct Waiting<C: Change> {
    change: C,
    done: Option<C::Done>,
    reply: oneshot::Sender<Result<C::Done, StoreError>>,
}

#[async_trait]
impl<C: Change> Pending for Waiting<C> {
    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        self.done = Some(self.change.apply(connection).await?);
        Ok(())
    }

    fn committed(self: Box<Self>) {
        if let Some(done) = self.done {
            // A caller that has left has its change all the same.
            let _ = self.reply.send(Ok(done));
        }
    }

    fn failed(self: Box<Self>, error: StoreError) {
        // Nobody may be there to be told.
        let _ = self.reply.send(Err(error));
    }
}

/// The task: group after group until it is told to end, then what is still in the queue.
async fn write(
    path: PathBuf,
    mut connection: SqliteConnection,
    mut jobs: mpsc::Receiver<Job>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut group = Vec::with_capacity(MOST_A_GROUP);
    let mut is_open = true;
    loop {
        tokio::select! {
            biased;
            // Told to end, or nobody is left who could tell.
            _ = &mut ended, if is_open => {
                jobs.close();
                is_open = false;
            }
            taken = jobs.recv_many(&mut group, MOST_A_GROUP) => {
                if taken == 0 {
                    break;
                }
                settle(&path, &mut connection, &mut group).await;
            }
        }
    }
    // What could not be tidied up is when the file is opened again.
    let _ = connection.close().await;
}

/// Commits the group, or else each of its changes alone: one that cannot be made is no other's failure.
async fn settle(path: &Path, connection: &mut SqliteConnection, group: &mut Vec<Job>) {
    let Err(error) = commit(connection, group).await else {
        return group.drain(..).for_each(|job| job.waiting.committed());
    };
    let error = of_sqlx(path, &error);
    if group.len() == 1 || error.trouble == Trouble::Busy {
        return group.drain(..).for_each(|job| job.waiting.failed(error.clone()));
    }
    for mut job in group.drain(..) {
        match commit(connection, std::slice::from_mut(&mut job)).await {
            Ok(()) => job.waiting.committed(),
            Err(error) => job.waiting.failed(of_sqlx(path, &error)),
        }
    }
}

/// All of the changes in one transaction, or none.
async fn commit(connection: &mut SqliteConnection, group: &mut [Job]) -> Result<(), sqlx::Error> {
    let done = async {
        // The lock is asked for before anything is read: nobody else can have changed it then.
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        for job in group {
            job.waiting.apply(connection).await?;
        }
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
        Ok(())
    };
    let result = done.await;
    if result.is_err() {
        // After some errors SQLite has rolled back by itself; then there is nothing to roll back.
        let _ = sqlx::raw_sql("ROLLBACK").execute(connection).await;
    }
    result
}
