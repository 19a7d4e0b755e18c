//! A Unix socket between two processes of one user: messages with their length in front, and open handles.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// The byte that a handle comes with.
const HANDLE: [u8; 1] = [b'h'];

/// One end of it.
#[derive(Debug)]
pub(super) struct Line(UnixStream);

impl Line {
    /// Talks over `stream`, which is blocking.
    ///
    /// # Errors
    /// Who is at the other end is neither of our user nor root.
    pub(super) fn new(stream: UnixStream) -> anyhow::Result<Self> {
        let theirs =
            rustix::net::sockopt::socket_peercred(&stream).context("who is there cannot be told")?.uid;
        if theirs != rustix::process::geteuid() && !theirs.is_root() {
            bail!("a process of user {} asked for a hand-over", theirs.as_raw());
        }
        Ok(Self(stream))
    }

    /// Waits at most this long for each piece of a message, both ways; `None`: until the other end closes.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(patience)?;
        self.0.set_write_timeout(patience)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= LONGEST);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.0.write_all(&length.to_be_bytes()).and_then(|()| self.0.write_all(&body)).map_err(told_in_time)
    }

    /// Waits for a message.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).map_err(told_in_time)?;
        let length = usize::try_from(u32::from_be_bytes(length)).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).map_err(told_in_time)?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends a handle of the same open file.
    pub(super) fn send_handle(&self, handle: BorrowedFd<'_>) -> io::Result<()> {
        let handles = [handle];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&handles));
        let byte = [IoSlice::new(&HANDLE)];
        retry_on_intr(|| rustix::net::sendmsg(&self.0, &byte, &mut control, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Waits for a handle.
    pub(super) fn receive_handle(&self) -> io::Result<OwnedFd> {
        let mut byte = [0; 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut pieces = [IoSliceMut::new(&mut byte)];
        retry_on_intr(|| rustix::net::recvmsg(&self.0, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC))?;
        let handle = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
            _ => None,
        });
        handle.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

/// The system calls a wait that took too long one that would block.
fn told_in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"),
        _ => error,
    }
}
