//! A recording by itself, driven by hand: one writer, any number of readers.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use safecache::cache::recording::reader::Reader;
use safecache::cache::recording::writer::Writer;
use safecache::cache::recording::{
    AnswerHead, Destiny, Failure, Recording, Step, WINDOW, begin, complete, join,
};
use safecache::memory::{Bounds, Buffers, Permit, Pool, allocated};

fn permit(buffers: &Buffers, most: u64) -> Permit {
    Permit::new(buffers, &Pool::default(), Bounds { total: most, share: most })
}

fn begun() -> (Writer, Reader) {
    begin(permit(&Buffers::default(), u64::MAX))
}

fn attach(recording: &Arc<Recording>) -> Option<Reader> {
    join(recording, permit(&Buffers::default(), u64::MAX))
}

/// One look at a future, by a task that hears of nothing.
fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What a reader has now: its bytes, and how it goes on; `None`: it would wait.
fn drain(reader: &mut Reader) -> (Vec<u8>, Option<Step>) {
    let mut bytes = Vec::new();
    loop {
        match poll(reader.next()) {
            Poll::Ready(Step::Piece(piece)) => bytes.extend_from_slice(&piece),
            Poll::Ready(step) => return (bytes, Some(step)),
            Poll::Pending => return (bytes, None),
        }
    }
}

fn piece(size: u64) -> Bytes {
    Bytes::from(vec![b'x'; usize::try_from(size).expect("a small piece")])
}

#[test]
fn a_second_reader_gets_every_piece() {
    let (writer, mut first) = begun();
    for piece in ["1", "2", "3"] {
        assert!(writer.push(Bytes::from_static(piece.as_bytes())));
    }
    assert_eq!(drain(&mut first), (b"123".to_vec(), None));
    let mut second = attach(writer.recording()).expect("nothing has been dropped");
    assert_eq!(drain(&mut second), (b"123".to_vec(), None));
    for piece in ["4", "5"] {
        assert!(writer.push(Bytes::from_static(piece.as_bytes())));
    }
    let recording = Arc::clone(writer.recording());
    writer.complete(None);
    let mut late = attach(&recording).expect("nothing has been dropped");
    assert_eq!(drain(&mut first), (b"45".to_vec(), Some(Step::Complete)));
    assert_eq!(drain(&mut second), (b"45".to_vec(), Some(Step::Complete)));
    assert_eq!(drain(&mut late), (b"12345".to_vec(), Some(Step::Complete)));
    assert_eq!(recording.body().as_deref(), Some(&b"12345"[..]));
}

#[test]
fn a_failure_reaches_every_reader_after_what_was_written() {
    let (writer, mut reader) = begun();
    let mut other = attach(writer.recording()).expect("nothing has been dropped");
    writer.push(Bytes::from_static(b"1"));
    writer.fail(Failure::Reset);
    for reader in [&mut reader, &mut other] {
        assert_eq!(drain(reader), (b"1".to_vec(), Some(Step::Failed(Failure::Reset))));
        assert_eq!(poll(reader.head()), Poll::Ready(Err(Failure::Reset)));
    }
    let (dropped, mut reader) = begun();
    drop(dropped);
    assert_eq!(drain(&mut reader), (Vec::new(), Some(Step::Failed(Failure::Stopped))));
}

#[test]
fn a_slow_reader_does_not_slow_the_writer_of_a_kept_recording() {
    let (writer, mut slow) = begun();
    let mut quick = attach(writer.recording()).expect("nothing has been dropped");
    for _ in 0..64 {
        assert_eq!(poll(writer.room()), Poll::Ready(()));
        assert!(writer.push(piece(WINDOW)));
        assert_eq!(drain(&mut quick).0.len() as u64, WINDOW);
    }
    writer.complete(None);
    assert_eq!(drain(&mut slow).0.len() as u64, 64 * WINDOW);
}

#[test]
fn the_writer_of_a_windowed_recording_waits_and_what_was_read_is_dropped() {
    let (writer, mut quick) = begun();
    let mut slow = attach(writer.recording()).expect("nothing has been dropped");
    writer.window();
    assert!(attach(writer.recording()).is_none(), "nobody may join");
    assert!(writer.push(piece(WINDOW)));
    assert_eq!(poll(writer.room()), Poll::Pending);
    drain(&mut quick);
    assert_eq!(poll(writer.room()), Poll::Pending, "the slowest counts");
    drain(&mut slow);
    assert_eq!(poll(writer.room()), Poll::Ready(()));
    assert_eq!(writer.recording().body(), None, "it is no longer here");
    assert!(writer.push(piece(WINDOW)));
    drain(&mut quick);
    assert_eq!(poll(writer.room()), Poll::Pending);
    drop(slow);
    assert_eq!(poll(writer.room()), Poll::Ready(()), "who has left is not waited for");
    assert!(writer.push(piece(5)));
    writer.complete(None);
    assert_eq!(drain(&mut quick), (vec![b'x'; 5], Some(Step::Complete)));
}

#[test]
fn what_nobody_reads_and_nobody_may_join_is_not_held() {
    let (writer, reader) = begun();
    drop(reader);
    writer.window();
    for _ in 0..4 {
        assert_eq!(poll(writer.room()), Poll::Ready(()));
        writer.push(piece(WINDOW));
        assert_eq!(writer.recording().held(), 0);
    }
}

#[test]
fn a_recording_counts_what_it_holds() {
    let buffers = Buffers::default();
    let of_a_piece = WINDOW + 112;
    let beside = |count| if count > 2 { 3 * WINDOW } else { WINDOW };
    let (writer, mut reader) = begin(permit(&buffers, beside(5) + 5 * of_a_piece));
    for count in 1..=5 {
        assert!(writer.push(piece(WINDOW)));
        assert_eq!(buffers.used(), beside(count) + count * of_a_piece);
    }
    assert!(!writer.push(piece(1)), "over the bound");
    writer.window();
    assert_eq!(buffers.used(), beside(5) + 5 * of_a_piece, "all of it is still here, unread");
    drain(&mut reader);
    assert_eq!(buffers.used(), 3 * WINDOW, "room for its window and its connection");
    writer.complete(None);
    assert_eq!(buffers.used(), WINDOW);
    drop(reader);
    assert_eq!(buffers.used(), 0);
}

/// What is read by all at once is copied for nobody; only who comes late gets small pieces in one.
#[test]
fn readers_share_the_bytes_that_were_written() {
    let (writer, first) = begun();
    let mut readers = vec![first];
    readers.extend((1..100).map(|_| attach(writer.recording()).expect("nothing has been dropped")));
    let take = |reader: &mut Reader| match poll(reader.next()) {
        Poll::Ready(Step::Piece(piece)) => piece,
        step => panic!("no piece: {step:?}"),
    };
    for size in [10, 100, 1000, WINDOW] {
        let written = piece(size);
        writer.push(written.clone());
        for reader in &mut readers {
            assert_eq!(take(reader).as_ptr(), written.as_ptr(), "{size}");
        }
    }
    let large = piece(WINDOW / 2);
    writer.push(large.clone());
    let mut late = attach(writer.recording()).expect("nothing has been dropped");
    let mut later = attach(writer.recording()).expect("nothing has been dropped");
    let block = take(&mut late);
    assert_eq!(
        (block.len() as u64, take(&mut later).as_ptr()),
        (WINDOW, block.as_ptr()),
        "copied once for all"
    );
    assert_eq!(take(&mut late).len(), 10 + 100 + 1000);
    assert_eq!(take(&mut late).as_ptr(), large.as_ptr());
}

/// A reader of one key pays what another's share has no room for, and is paid for as long as the other has.
#[test]
fn whoever_has_room_pays() {
    let buffers = Buffers::default();
    let purse = |share: u64| Permit::new(&buffers, &Pool::default(), Bounds { total: u64::MAX, share });
    let (writer, first) = begin(purse(2 * WINDOW));
    let second = join(writer.recording(), purse(1 << 20)).expect("it is kept");
    assert!(writer.push(piece(1000)));
    for _ in 0..3 {
        assert!(writer.push(piece(WINDOW)), "the second has room");
    }
    let (last, held) = (join(writer.recording(), purse(1 << 20)), buffers.used());
    drop((first, last));
    assert_eq!(buffers.used(), held, "counted once, whoever pays");
    assert!(!writer.push(piece(1 << 20)), "nobody has room for that");
    writer.window();
    assert!(buffers.used() <= 1 << 20, "nor is anything counted beyond a bound");
    drop((writer, second));
    assert_eq!(buffers.used(), 0);
}

/// What has left the cache is paid by who reads it, and by who comes later. Only those who have no room for it are cut.
#[test]
fn who_reads_what_has_left_the_cache_pays() {
    let buffers = Buffers::default();
    let purse = |total: u64, share: u64| Permit::new(&buffers, &Pool::default(), Bounds { total, share });
    let entry = || {
        let head = AnswerHead {
            status: StatusCode::OK,
            fields: Vec::new(),
            length: None,
            destiny: Destiny::Forgotten,
        };
        complete(head, piece(1 << 20))
    };
    let (poor, rich) = (|| purse(u64::MAX, 1000), || purse(u64::MAX, 2 << 20));
    let read = entry();
    let mut reader = join(&read, poor()).expect("an entry costs its readers nothing");
    assert_eq!(poll(reader.cut()), Poll::Pending);
    read.leave_cache();
    assert_eq!(
        (poll(reader.cut()), poll(reader.next())),
        (Poll::Ready(()), Poll::Ready(Step::Failed(Failure::NoRoom)))
    );
    assert!(join(&read, rich()).is_none(), "it is gone");
    assert_eq!(buffers.used(), 0);

    let paid = entry();
    let (mut first, second) =
        (join(&paid, poor()).expect("an entry"), join(&paid, rich()).expect("an entry"));
    paid.leave_cache();
    assert!(buffers.used() > 1 << 20, "the second pays");
    assert!(join(&paid, poor()).is_some(), "it is paid for");
    assert!(matches!(poll(first.next()), Poll::Ready(Step::Piece(_))));
    drop((paid, first, second));
    assert_eq!(buffers.used(), 0);

    let unread = entry();
    unread.leave_cache();
    assert!(join(&unread, poor()).is_none(), "who comes later pays at once, or does not come");
    let late = join(&unread, rich()).expect("room");
    assert!(buffers.used() > 1 << 20);
    drop((unread, late));
    assert_eq!(buffers.used(), 0);

    // Others that use up the total are no reason to cut anybody.
    let crowded = entry();
    let reader = join(&crowded, purse(1000, 2 << 20)).expect("an entry");
    crowded.leave_cache();
    assert_eq!(poll(reader.cut()), Poll::Pending);
    assert!(buffers.used() > 1 << 20, "but it is counted");
}

/// A block that is free is used again, and what is free for long is given back.
#[test]
fn blocks_are_used_again_and_given_back_in_the_end() {
    let buffers = Buffers::default();
    for _ in 0..2 {
        let (writer, mut reader) = begin(permit(&buffers, u64::MAX));
        (0..=8).for_each(|_| assert!(writer.push(piece(WINDOW))));
        assert_eq!(buffers.blocks().count(), 0);
        assert_eq!(drain(&mut reader).0.len() as u64, 9 * WINDOW);
        drop((writer, reader));
        assert_eq!(buffers.blocks().count(), 8);
    }
    for left in [4, 2, 1, 0] {
        buffers.blocks().trim();
        assert_eq!(buffers.blocks().count(), left);
    }
}

/// What the allocator takes is told to a fifth, and never less than asked for.
#[test]
fn the_memory_of_a_buffer_is_its_size_class() {
    let taken = [(0, 0), (1, 16), (17, 32), (129, 160), (1025, 1280), (32_769, 40_960), (65_536, 65_536)];
    for (bytes, expected) in taken {
        assert_eq!(allocated(bytes), expected, "{bytes}");
    }
    for bytes in 128..100_000 {
        let taken = allocated(bytes);
        assert!(taken >= bytes && taken - bytes <= bytes / 4, "{bytes}: {taken}");
    }
}

/// A task that remembers whether it was woken.
#[derive(Default)]
struct Task {
    is_woken: AtomicBool,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
    }
}

/// Who has a reader look again after it has waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    /// The task that writes: whenever that has run.
    Writer,
    /// Its own task: only when it was woken.
    Own,
}

/// A reader with what it has read.
struct Follower {
    reader: Reader,
    driver: Driver,
    task: Arc<Task>,
    is_waiting: bool,
    read: Vec<u8>,
    end: Option<Step>,
}

impl Follower {
    fn new(reader: Reader, driver: Driver) -> Self {
        Self { reader, driver, task: Arc::default(), is_waiting: false, read: Vec::new(), end: None }
    }

    fn step(&mut self) {
        let is_awake = self.driver == Driver::Writer || !self.is_waiting;
        if !(is_awake || self.task.is_woken.swap(false, Ordering::SeqCst)) || self.end.is_some() {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.task));
        match pin!(self.reader.next()).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Step::Piece(piece)) => {
                assert!(!piece.is_empty(), "an empty piece is none");
                self.read.extend_from_slice(&piece);
                self.is_waiting = false;
            }
            Poll::Ready(end) => self.end = Some(end),
            Poll::Pending => self.is_waiting = true,
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    /// The writer appends a piece of this size, if it has room.
    Push(usize),
    Attach,
    /// One reader looks once.
    Step(prop::sample::Index),
    Leave(prop::sample::Index),
    Window,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => prop_oneof![0..10usize, 1000..40_000usize].prop_map(Move::Push),
        2 => Just(Move::Attach),
        8 => any::<prop::sample::Index>().prop_map(Move::Step),
        1 => any::<prop::sample::Index>().prop_map(Move::Leave),
        1 => Just(Move::Window),
    ];
    prop::collection::vec(one, 0..60)
}

/// Writes on, woken as it asks to be, until `size` bytes are accepted or it must wait.
fn push(writer: &Writer, task: &Arc<Task>, is_waiting: &mut bool, bytes: Bytes) -> bool {
    if *is_waiting && !task.is_woken.swap(false, Ordering::SeqCst) {
        return false;
    }
    let waker = Waker::from(Arc::clone(task));
    *is_waiting = pin!(writer.room()).poll(&mut Context::from_waker(&waker)).is_pending();
    if *is_waiting {
        return false;
    }
    writer.push(bytes)
}

proptest! {
    /// However looks, pieces, joins and departures interleave: every reader sees every byte, in order, then the end,
    /// and is woken for each, but for the one that the writer's task drives.
    #[test]
    fn every_reader_sees_the_same_bytes(moves in moves(), ends_well in any::<bool>()) {
        let (writer, reader) = begun();
        let mut followers = vec![Follower::new(reader, Driver::Writer)];
        let mut written: Vec<u8> = Vec::new();
        let (task, mut is_waiting, mut is_windowed) = (Arc::new(Task::default()), false, false);
        for one in moves {
            match one {
                Move::Push(size) => {
                    let bytes: Vec<u8> = (0..size).map(|at| ((written.len() + at) % 251) as u8).collect();
                    if push(&writer, &task, &mut is_waiting, Bytes::from(bytes.clone())) {
                        written.extend(bytes);
                    }
                }
                Move::Attach => match attach(writer.recording()) {
                    Some(reader) => followers.push(Follower::new(reader, Driver::Own)),
                    None => prop_assert!(is_windowed),
                },
                Move::Step(index) if !followers.is_empty() => index.get_mut(&mut followers).step(),
                Move::Leave(index) if !followers.is_empty() => {
                    drop(followers.swap_remove(index.index(followers.len())));
                }
                Move::Step(_) | Move::Leave(_) => {}
                Move::Window => {
                    writer.window();
                    is_windowed = true;
                }
            }
            for follower in &followers {
                prop_assert!(written.starts_with(&follower.read));
            }
            prop_assert_eq!(writer.recording().written(), written.len() as u64);
        }
        let end = if ends_well { Step::Complete } else { Step::Failed(Failure::Invalid) };
        match ends_well {
            true => writer.complete(None),
            false => writer.fail(Failure::Invalid),
        }
        for follower in &mut followers {
            // Each look gives something, or the end: nobody who waits was forgotten.
            for _ in 0..200 {
                follower.step();
            }
            prop_assert!(follower.read == written, "{} of {} bytes", follower.read.len(), written.len());
            prop_assert_eq!(follower.end.as_ref(), Some(&end));
        }
    }
}
