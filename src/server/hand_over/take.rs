//! The new process: takes over what the old one has, and decides for it what its last connections ask.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::{Builder, Handle};

use crate::proxy::shared::Shared;
use crate::server::hand_over::line::Line;
use crate::server::hand_over::message::{
    ChargeTold, DecisionTold, FromNew, FromOld, LevelTold, Port, SocketTold, VERSION,
};
use crate::server::hand_over::{MEET_WITHIN, MEETING_POINT, MOVED_WITHIN, READY_WITHIN};
use crate::store::failure::Trouble;
use crate::store::folder::FolderLock;

/// Between two looks whether the old process has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the old process has handed over so far.
#[derive(Debug)]
pub struct Inherited {
    sockets: Vec<(SocketTold, OwnedFd)>,
    lock: Option<OwnedFd>,
    line: Line,
}

/// Waits until the gateway that uses `folder` is told QUIT, and takes over its sockets and the folder's lock. `tell` is
/// told once which process is waited for, if it can be known. Blocks.
///
/// # Errors
/// No gateway uses the folder, or it was not told in time, or it speaks another form of hand-over.
pub fn receive(folder: &Path, tell: impl FnOnce(Option<u32>)) -> anyhow::Result<Inherited> {
    let holder = match FolderLock::take(folder) {
        Ok(_) => bail!(
            "no gateway uses {}: start without --upgrade, or with the data_dir of the one that runs",
            folder.display()
        ),
        Err(error) => match error.trouble {
            Trouble::InUse(holder) => holder,
            _ => return Err(error.into()),
        },
    };
    tell(holder);
    let mut line = Line::new(meet(folder)?)?;
    line.set_patience(Some(READY_WITHIN))?;
    let broke_off = "the running gateway broke off";
    let FromOld::Offer { version, sockets } = line.receive().context(broke_off)? else {
        bail!("the running gateway spoke out of turn");
    };
    if version != VERSION {
        bail!("the running gateway hands over in form {version}, this one takes {VERSION}: restart instead");
    }
    let mut handles = Vec::new();
    for told in sockets {
        handles.push((told, line.receive_handle().context(broke_off)?));
    }
    let lock = line.receive_handle().context(broke_off)?;
    Ok(Inherited { sockets: handles, lock: Some(lock), line })
}

/// A connection to the old process, once it waits for us.
fn meet(folder: &Path) -> anyhow::Result<UnixStream> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let path = folder.join(MEETING_POINT);
    let met = runtime.block_on(async { tokio::time::timeout(MEET_WITHIN, connect(&path)).await });
    let Ok(met) = met else {
        bail!("the running gateway was not told QUIT within {} s", MEET_WITHIN.as_secs());
    };
    met.with_context(|| path.display().to_string())
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            met => return met,
        }
    }
}

impl Inherited {
    /// The folder's lock, once.
    pub(in crate::server) fn lock(&mut self) -> Option<OwnedFd> {
        self.lock.take()
    }

    /// The socket that the old process has for `wanted`, once.
    pub(in crate::server) fn socket(&mut self, port: Port, wanted: SocketAddr) -> Option<TcpListener> {
        let asked = SocketTold { port, wanted };
        let index = self.sockets.iter().position(|(told, _)| *told == asked)?;
        Some(TcpListener::from(self.sockets.swap_remove(index).1))
    }

    /// Takes over the levels of all keys, now that all else is prepared. When this returns, the old process has stopped
    /// to accept; what it has no use for is let go.
    ///
    /// # Errors
    /// The old process is gone, or has given up: it has everything back.
    pub(in crate::server) fn take_levels(self, shared: &Arc<Shared>) -> anyhow::Result<Ward> {
        let mut line = self.line;
        let broke_off = "the running gateway broke off";
        line.send(&FromNew::Ready).context(broke_off)?;
        line.set_patience(Some(MOVED_WITHIN))?;
        loop {
            match line.receive().context(broke_off)? {
                FromOld::Levels(told) => {
                    let levels = told.iter().map(LevelTold::level).collect::<anyhow::Result<_>>()?;
                    shared.limiter().take_in(levels, shared.clock().monotonic());
                }
                FromOld::LevelsEnd => break,
                _ => bail!("the running gateway spoke out of turn"),
            }
        }
        line.send(&FromNew::Loaded).context(broke_off)?;
        let FromOld::Yours = line.receive().context(broke_off)? else {
            bail!("the running gateway spoke out of turn");
        };
        // What still comes, comes when a client of the old process asks; it ends with that process.
        line.set_patience(None)?;
        Ok(Ward { line, shared: Arc::clone(shared) })
    }
}

/// The old process while it runs out.
pub(in crate::server) struct Ward {
    line: Line,
    shared: Arc<Shared>,
}

impl Ward {
    /// Decides what its clients may, until it is gone. Blocks, on a thread of the runtime `asking`.
    pub(in crate::server) fn attend(mut self, asking: &Handle) {
        match self.decide_all(asking) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                tracing::warn!(%error, "the gateway before this one is no longer attended to");
            }
            _ => tracing::info!("the gateway before this one has ended"),
        }
    }

    fn decide_all(&mut self, asking: &Handle) -> io::Result<()> {
        loop {
            let FromOld::Charges(charges) = self.line.receive()? else {
                return Err(ErrorKind::InvalidData.into());
            };
            let decisions = charges.iter().map(|charge| self.decide(charge, asking)).collect();
            self.line.send(&FromNew::Decisions(decisions))?;
        }
    }

    /// What becomes of a charge, also where these buckets have moved on meanwhile; nothing, if nobody knows.
    fn decide(&self, charge: &ChargeTold, asking: &Handle) -> DecisionTold {
        let Ok((owner, rate)) = charge.charge() else { return DecisionTold::default() };
        let decision = asking.block_on(self.shared.charge(&owner, rate));
        decision.as_ref().map(DecisionTold::of).unwrap_or_default()
    }
}
