//! The old process: offers what it has, moves its buckets, and asks for them on behalf of its last connections.

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use async_trait::async_trait;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::limits::bucket::{Decision, Rate};
use crate::limits::levels::Level;
use crate::limits::limiter::Owner;
use crate::proxy::shared::Shared;
use crate::proxy::successor::Successor;
use crate::server::hand_over::line::Line;
use crate::server::hand_over::message::{
    ChargeTold, DecisionTold, FromNew, FromOld, LevelTold, SocketTold, VERSION,
};
use crate::server::hand_over::{CHARGED_WITHIN, MEET_WITHIN, MEETING_POINT, MOVED_WITHIN, READY_WITHIN};

/// Bytes of levels in one message, about; names of keys may be of any length.
const LEVELS: usize = 512 * 1024;

/// Bytes of a level beside its owner's name, about.
const LEVEL: usize = 128;

/// Charges in one message, and those that wait for the next.
const CHARGES: usize = 256;

/// The sockets of a gateway as long as they are open, for whoever takes them over.
#[derive(Debug, Default)]
pub(in crate::server) struct Sockets(Mutex<Vec<(SocketTold, TcpListener)>>);

impl Sockets {
    pub(in crate::server) fn new(sockets: Vec<(SocketTold, TcpListener)>) -> Self {
        Self(Mutex::new(sockets))
    }

    /// Lets go of them, so that the ports close with their listeners.
    pub(in crate::server) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Further handles of the same sockets.
    fn share(&self) -> anyhow::Result<Vec<(SocketTold, OwnedFd)>> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let share = |(told, socket): &(SocketTold, TcpListener)| Ok((*told, socket.try_clone()?.into()));
        sockets.iter().map(share).collect::<std::io::Result<_>>().context("the sockets cannot be shared")
    }
}

/// What is handed over.
pub(in crate::server) struct Estate {
    pub(in crate::server) folder: PathBuf,
    pub(in crate::server) sockets: Arc<Sockets>,
    pub(in crate::server) lock: OwnedFd,
    pub(in crate::server) shared: Arc<Shared>,
}

/// Waits for a process that takes over, and hands it everything. When this returns, that process serves.
///
/// # Errors
/// Nobody came, or who came failed: nothing has changed.
pub(in crate::server) async fn give(estate: Estate) -> anyhow::Result<()> {
    let stream = meet(&estate.folder).await?;
    let line = Line::new(stream)?;
    spawn_blocking(move || hand(&estate, line)).await.context("the hand-over broke off")?
}

/// The connection of the first process that comes.
async fn meet(folder: &Path) -> anyhow::Result<std::os::unix::net::UnixStream> {
    let point = MeetingPoint::open(folder)?;
    tracing::info!("QUIT: waiting for a gateway that is started with --upgrade");
    let met = tokio::time::timeout(MEET_WITHIN, point.listener.accept()).await;
    let Ok(met) = met else {
        bail!("no gateway was started with --upgrade within {} s", MEET_WITHIN.as_secs());
    };
    let stream = met.context("the new process could not be heard")?.0.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The socket at which the two meet. Gone from the folder when dropped.
struct MeetingPoint {
    listener: UnixListener,
    path: PathBuf,
}

impl MeetingPoint {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MEETING_POINT);
        // The folder's lock is ours: whoever left one there is gone.
        let _ = std::fs::remove_file(&path);
        let told = || format!("cannot wait for a new process at {}", path.display());
        let listener = UnixListener::bind(&path).with_context(told)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).with_context(told)?;
        Ok(Self { listener, path })
    }
}

impl Drop for MeetingPoint {
    fn drop(&mut self) {
        // One that stays is cleared away by the next hand-over.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn hand(estate: &Estate, mut line: Line) -> anyhow::Result<()> {
    let went = "the new process did not get ready";
    line.set_patience(Some(READY_WITHIN))?;
    let sockets = estate.sockets.share()?;
    let told = sockets.iter().map(|(told, _)| *told).collect();
    line.send(&FromOld::Offer { version: VERSION, sockets: told }).context(went)?;
    for (_, handle) in &sockets {
        line.send_handle(handle.as_fd()).context(went)?;
    }
    line.send_handle(estate.lock.as_fd()).context(went)?;
    let FromNew::Ready = line.receive().context(went)? else { bail!("the new process spoke out of turn") };
    line.set_patience(Some(MOVED_WITHIN))?;
    let limiter = estate.shared.limiter();
    let succession = estate.shared.succession();
    succession.begin();
    let then = estate.shared.clock().monotonic();
    let levels = limiter.move_out(then);
    if let Err(error) = move_levels(&mut line, &levels) {
        limiter.put_back(levels, then);
        succession.give_up();
        return Err(error);
    }
    let (charges, queue) = mpsc::channel(CHARGES);
    succession.complete(Arc::new(NewProcess { charges }));
    tracing::info!("a new process serves; what is in flight runs out");
    tokio::runtime::Handle::current().spawn_blocking(move || pass_on(line, queue));
    Ok(())
}

/// Moves the levels of the buckets that are not full. With the last message they are the new process's.
fn move_levels(line: &mut Line, levels: &[Level]) -> anyhow::Result<()> {
    let went = "the new process did not take the levels of all keys";
    let (mut told, mut size) = (Vec::new(), 0);
    for level in levels.iter().filter(|level| !level.debt.is_zero()) {
        size += LEVEL + level.owner.as_str().len();
        told.push(LevelTold::of(level));
        if size >= LEVELS {
            line.send(&FromOld::Levels(std::mem::take(&mut told))).context(went)?;
            size = 0;
        }
    }
    line.send(&FromOld::Levels(told)).context(went)?;
    line.send(&FromOld::LevelsEnd).context(went)?;
    let FromNew::Loaded = line.receive().context(went)? else { bail!("the new process spoke out of turn") };
    line.send(&FromOld::Yours).context(went)
}

/// A request to be charged, and who waits for what becomes of it.
struct Charge {
    owner: Owner,
    rate: Rate,
    answer: oneshot::Sender<Option<Decision>>,
}

/// The buckets' new place.
struct NewProcess {
    charges: mpsc::Sender<Charge>,
}

#[async_trait]
impl Successor for NewProcess {
    async fn charge(&self, owner: Owner, rate: Rate) -> Option<Decision> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.charges.send(Charge { owner, rate, answer }).await.ok()?;
            answered.await.ok()?
        };
        tokio::time::timeout(CHARGED_WITHIN, asked).await.ok()?
    }
}

/// Passes charges on until nobody makes any more, or the new process is gone: who still asks then gets no answer.
fn pass_on(mut line: Line, mut queue: mpsc::Receiver<Charge>) {
    let mut charges = Vec::new();
    let is_patient = line.set_patience(Some(MOVED_WITHIN)).is_ok();
    while is_patient && queue.blocking_recv_many(&mut charges, CHARGES) > 0 {
        let told = charges.iter().map(|charge| ChargeTold::of(&charge.owner, charge.rate)).collect();
        match ask(&mut line, &FromOld::Charges(told)) {
            Ok(decisions) => charges.drain(..).zip(decisions).for_each(|(charge, told)| {
                // Who has left does not want to know.
                let _ = charge.answer.send(told.decision(charge.rate));
            }),
            Err(error) => {
                tracing::warn!(%error, "the new process does not answer: what is left here is refused");
                return;
            }
        }
    }
}

fn ask(line: &mut Line, charges: &FromOld) -> anyhow::Result<Vec<DecisionTold>> {
    line.send(charges)?;
    match line.receive()? {
        FromNew::Decisions(decisions) => Ok(decisions),
        FromNew::Ready | FromNew::Loaded => bail!("the new process spoke out of turn"),
    }
}
