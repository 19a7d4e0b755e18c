//! A look at the frames of an HTTP/2 connection as they come: those that ask for nothing are counted, and too many of
//! them end the connection.
//!
//! The HTTP/2 library bounds what such frames hold in memory, not how many come: a client that sends PINGs, SETTINGS or
//! RST_STREAMs as fast as it can keeps a worker busy, and is owed nothing. Nor is one that begins requests and takes
//! them back. What a client does for what it gets is not counted against it: each window that it opens follows bytes
//! that were sent to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use crate::clock::{Clock, Monotonic};
use crate::telemetry::metrics::counted::Counter;

/// Idle frames that a connection may bring within [`SPAN_NANOS`].
const ALLOWANCE: u32 = 1000;

/// A second.
const SPAN_NANOS: u64 = 1_000_000_000;

/// For so many bytes that were sent to the client one more frame may come: the smallest piece of a stream is larger, and
/// clients that are not thrifty answer it with two.
const BYTES_A_FRAME: usize = 32;

/// What is saved up for later, at most: as many frames as a second's allowance.
const MOST_EARNED: u32 = ALLOWANCE;

/// A request that is taken back has cost more than a PING.
const RESET_COST: u32 = 5;

/// The head of a frame: length, type, flags and stream (RFC 9113 §4.1).
const FRAME_HEAD: usize = 9;

/// What comes before the first frame (RFC 9113 §3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;

/// Padding and the byte that tells its length (RFC 9113 §6.1).
const LONGEST_PADDING: usize = 256;

/// More frames came than were allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flood;

/// The account of a connection's frames.
pub struct Frames {
    clock: Clock,
    floods: Counter,
    /// Bytes to pass over: the preface, or the payload of the frame that has begun.
    skip: usize,
    /// The head of the next frame as far as it has come.
    head: [u8; FRAME_HEAD],
    has: usize,
    has_begun: bool,
    left: u32,
    earned: u32,
    sent: usize,
    since: Monotonic,
    /// The newest stream that was begun.
    newest: u32,
    begun: Begun,
}

/// How many requests a connection has begun, whether or not their heads can be read; shared with who serves it.
#[derive(Clone, Debug, Default)]
pub struct Begun(Arc<Beginnings>);

#[derive(Debug, Default)]
struct Beginnings {
    requests: AtomicU32,
    /// It has begun to speak, or had to, and has not come to its first frame.
    is_half: AtomicBool,
}

impl Begun {
    /// Their number so far; a connection that has not come to its first frame counts as one that it owes.
    pub fn count(&self) -> u32 {
        let half = u32::from(self.0.is_half.load(Ordering::Relaxed));
        self.0.requests.load(Ordering::Relaxed).saturating_add(half)
    }
}

impl Frames {
    /// Of a connection that has just been opened; a flood is counted in `floods`, its requests in `begun`.
    pub fn new(clock: Clock, floods: Counter, begun: Begun) -> Self {
        let since = clock.monotonic();
        Self {
            clock,
            floods,
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            has: 0,
            has_begun: false,
            left: ALLOWANCE,
            earned: 0,
            sent: 0,
            since,
            newest: 0,
            begun,
        }
    }

    /// True once the preface and the head of the first frame have come.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The first frame has not come in its time.
    pub fn timed_out(&self) {
        self.begun.0.is_half.store(true, Ordering::Relaxed);
    }

    /// Looks at bytes that have come.
    ///
    /// # Errors
    /// Too many of the frames ask for nothing.
    pub fn came(&mut self, mut bytes: &[u8]) -> Result<(), Flood> {
        if !self.has_begun && !bytes.is_empty() {
            self.begun.0.is_half.store(true, Ordering::Relaxed);
        }
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            let room = self.head.get_mut(self.has..).unwrap_or_default();
            let taken = room.len().min(bytes.len());
            let (part, rest) = bytes.split_at(taken);
            room.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            self.has += taken;
            bytes = rest;
            if self.has == FRAME_HEAD {
                self.has = 0;
                if !self.has_begun {
                    self.has_begun = true;
                    self.begun.0.is_half.store(false, Ordering::Relaxed);
                }
                self.frame()?;
            }
        }
    }

    /// Takes into account what was sent to the client in a write.
    pub fn sent(&mut self, write: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(bytes)) = *write else { return };
        let sent = self.sent.saturating_add(bytes);
        self.sent = sent % BYTES_A_FRAME;
        let frames = u32::try_from(sent / BYTES_A_FRAME).unwrap_or(u32::MAX);
        self.earned = self.earned.saturating_add(frames).min(MOST_EARNED);
    }

    /// The head of a frame is complete.
    fn frame(&mut self) -> Result<(), Flood> {
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.skip = length;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if kind == HEADERS && stream > self.newest {
            self.newest = stream;
            self.begun.0.requests.fetch_add(1, Ordering::Relaxed);
        }
        let cost = match kind {
            // An end is news even without bytes. What may be padding alone is taken for that.
            DATA => {
                let may_be_empty = length == 0 || flags & PADDED != 0 && length <= LONGEST_PADDING;
                u32::from(may_be_empty && flags & END_STREAM == 0)
            }
            HEADERS | CONTINUATION => u32::from(length == 0),
            RST_STREAM => RESET_COST,
            _ => 1,
        };
        self.charge(cost)
    }

    fn charge(&mut self, cost: u32) -> Result<(), Flood> {
        if cost <= self.earned {
            self.earned -= cost;
            return Ok(());
        }
        if cost <= self.left {
            self.left -= cost;
            return Ok(());
        }
        // The clock is read once for each allowance.
        let now = self.clock.monotonic();
        if now.saturating_since(self.since).as_nanos() < u128::from(SPAN_NANOS) {
            self.floods.inc();
            return Err(Flood);
        }
        self.since = now;
        self.left = ALLOWANCE - cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;
    use std::time::Duration;

    use super::{
        ALLOWANCE, Begun, CONTINUATION, DATA, END_STREAM, Flood, Frames, HEADERS, PADDED, RST_STREAM,
    };
    use crate::clock::{Clock, ManualClock, UnixTime};
    use crate::telemetry::metrics::Metrics;

    const PING: u8 = 6;
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frames() -> (Frames, ManualClock) {
        let (clock, manual) = Clock::manual(UnixTime::from_secs(1_800_000_000));
        let mut frames = Frames::new(clock, Metrics::new().unwrap().floods.clone(), Begun::default());
        assert!(frames.came(PREFACE).is_ok() && !frames.has_begun());
        (frames, manual)
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// How many of `bytes` pass, one after the other.
    fn passed(frames: &mut Frames, bytes: &[u8], most: u32) -> u32 {
        u32::try_from((0..most).take_while(|_| frames.came(bytes).is_ok()).count()).unwrap()
    }

    #[test]
    fn what_asks_for_nothing_has_an_allowance_a_second() {
        for (idle, passing) in [
            (frame(PING, 0, &[0; 8]), ALLOWANCE),
            (frame(4, 0, &[0; 6]), ALLOWANCE),
            (frame(2, 0, &[0; 5]), ALLOWANCE),
            (frame(8, 0, &[0; 4]), ALLOWANCE),
            (frame(0x55, 0, &[]), ALLOWANCE),
            (frame(DATA, 0, &[]), ALLOWANCE),
            (frame(DATA, PADDED, &[255; 256]), ALLOWANCE),
            (frame(CONTINUATION, 0, &[]), ALLOWANCE),
            (frame(RST_STREAM, 0, &[0; 4]), ALLOWANCE / 5),
        ] {
            for (wait, again) in [(0, 0), (999, 0), (1000, passing)] {
                let (mut frames, clock) = frames();
                assert_eq!(passed(&mut frames, &idle, passing), passing, "{idle:?}");
                clock.advance(Duration::from_millis(wait));
                assert_eq!(passed(&mut frames, &idle, 2 * ALLOWANCE), again, "{idle:?} after {wait} ms");
            }
        }
    }

    #[test]
    fn requests_and_bodies_are_not_counted() {
        let (mut frames, _) = frames();
        for asking in [frame(HEADERS, 5, b"x"), frame(DATA, 0, b"x"), frame(DATA, END_STREAM, &[])] {
            assert_eq!(passed(&mut frames, &asking, 10 * ALLOWANCE), 10 * ALLOWANCE);
        }
    }

    #[test]
    fn windows_are_opened_as_fast_as_bytes_are_sent() {
        let (mut frames, _) = frames();
        for _ in 0..10 * ALLOWANCE {
            frames.sent(&Poll::Ready(Ok(64)));
            assert!(frames.came(&frame(8, 0, &[0; 4]).repeat(2)).is_ok());
        }
        // What was sent long ago is no store for later.
        frames.sent(&Poll::Ready(Ok(100_000_000)));
        assert_eq!(passed(&mut frames, &frame(PING, 0, &[0; 8]), 10 * ALLOWANCE), 2 * ALLOWANCE);
    }

    #[test]
    fn answers_to_pings_do_not_pay_for_the_next() {
        let (mut frames, _) = frames();
        let ping = frame(PING, 0, &[0; 8]);
        let passing = (0..100 * ALLOWANCE).take_while(|_| {
            frames.sent(&Poll::Ready(Ok(17)));
            frames.came(&ping).is_ok()
        });
        assert!(passing.count() < 3 * ALLOWANCE as usize);
    }

    #[test]
    fn each_request_is_counted_once() {
        let (clock, _manual) = Clock::manual(UnixTime::from_secs(1_800_000_000));
        let begun = Begun::default();
        let mut frames = Frames::new(clock, Metrics::new().unwrap().floods.clone(), begun.clone());
        frames.came(PREFACE).unwrap();
        for stream in [1, 1, 3, 7, 5] {
            let mut head = frame(HEADERS, 4, b"x");
            head[8] = stream;
            frames.came(&head).unwrap();
        }
        assert_eq!(begun.count(), 3, "a head on a stream that was begun is its trailers");
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let mut stream = PREFACE.to_vec();
        stream.extend(frame(4, 0, &[7; 6]));
        stream.extend(frame(DATA, 0, &[6; 16_384]));
        (0..ALLOWANCE - 1).for_each(|_| stream.extend(frame(PING, 0, &[6; 8])));
        for size in [1, 2, 8, 9, 10, 17, 4096] {
            let (clock, _manual) = Clock::manual(UnixTime::from_secs(1_800_000_000));
            let mut frames = Frames::new(clock, Metrics::new().unwrap().floods.clone(), Begun::default());
            assert!(stream.chunks(size).all(|piece| frames.came(piece).is_ok()), "{size}");
            assert!(frames.has_begun());
            assert_eq!(frames.came(&frame(PING, 0, &[6; 8])), Err(Flood), "{size}");
        }
    }
}
