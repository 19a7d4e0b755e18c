//! Where a connection is between two requests: it decides whether a head's deadline runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// What a head is held to.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// From its first byte to its end.
    pub timeout: Duration,
    /// All of it. No more is read before its end has been.
    pub bytes: usize,
}

/// Where a connection is between two requests.
#[derive(Clone, Debug)]
pub struct HeadState(Arc<AtomicU8>);

/// Waiting for the first byte of the next head; pingora's keep-alive timeout bounds it.
const BETWEEN: u8 = 0;
/// In a head: the deadline runs.
const IN_HEAD: u8 = 1;
/// A request is being served.
const SERVING: u8 = 2;
/// Nothing has come yet: the deadline of the first head runs.
const OPENED: u8 = 3;
/// In a head that has become too large, and is read no further.
const TOO_LARGE: u8 = 4;
/// Behind a head that is no HTTP.
const UNREADABLE: u8 = 5;

impl HeadState {
    /// The state of a connection that has just been opened: its first head is awaited at once.
    pub fn opened() -> Self {
        Self(Arc::new(AtomicU8::new(OPENED)))
    }

    /// The head has been read.
    pub fn head_read(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// The request is over; the next byte begins a head.
    pub fn request_over(&self) {
        self.0.store(BETWEEN, Ordering::Relaxed);
    }

    /// True while a head has begun that has not been read to its end, or that was given up.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), IN_HEAD | TOO_LARGE | UNREADABLE)
    }

    /// True if nothing has come of the next head so far.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), BETWEEN | OPENED)
    }

    /// True if a head was given up as it had become too large.
    pub(super) fn is_too_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) == TOO_LARGE
    }

    /// True while a head has a deadline.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), IN_HEAD | OPENED)
    }

    /// True while bytes are a head's, or begin one.
    pub(super) fn is_before_end(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), BETWEEN | IN_HEAD | OPENED)
    }

    /// True between two requests: what comes next begins a head.
    pub(super) fn is_between(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BETWEEN
    }

    /// Bytes have been read.
    pub(super) fn bytes_came(&self) {
        // While a request is served, bytes are its body.
        if matches!(self.0.load(Ordering::Relaxed), BETWEEN | OPENED) {
            self.0.store(IN_HEAD, Ordering::Relaxed);
        }
    }

    /// The head is too large.
    pub(super) fn became_too_large(&self) {
        self.0.store(TOO_LARGE, Ordering::Relaxed);
    }

    /// The head is no HTTP. What comes behind it is read for the sake of the answer only.
    pub(super) fn became_unreadable(&self) {
        self.0.store(UNREADABLE, Ordering::Relaxed);
    }

    /// The head's time ran out.
    pub(super) fn timed_out(&self) {
        self.0.store(IN_HEAD, Ordering::Relaxed);
    }
}

/// True if there is nothing but ends of lines in `bytes`.
pub(super) fn is_empty_lines(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}
