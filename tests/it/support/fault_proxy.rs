//! A line that a test can make slow, hold up, cut, or lead elsewhere.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What becomes of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Passing,
    /// Each piece is on its way for so long.
    Slow(Duration),
    /// Nothing arrives, and nothing ends.
    Stalled,
    /// Connections end, and new ones at once.
    Cut,
    /// What is sent with this in it arrives, and as it is answered the connection ends without the answer.
    Losing(&'static str),
    /// What the target says with this in it does not arrive.
    Swallowing(&'static str),
}

/// Which way a piece goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

struct State {
    mode: Mode,
    target: SocketAddr,
    open: Vec<TcpStream>,
    lost: usize,
    is_over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A listening proxy; it ends, with its connections, when dropped.
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl FaultProxy {
    /// Listens on a free port and passes everything on to `target`, and back.
    pub(crate) fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = State { mode: Mode::Passing, target, open: Vec::new(), lost: 0, is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if accepting.state.lock().expect("no line panicked").is_over {
                    return;
                }
                accepting.join(client);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All passes again.
    pub(crate) fn pass(&self) {
        self.set(Mode::Passing);
    }

    /// Each piece is on its way for so long, each way.
    pub(crate) fn slow(&self, by: Duration) {
        self.set(Mode::Slow(by));
    }

    /// Nothing arrives until [`FaultProxy::pass`]; then all that was held does.
    pub(crate) fn stall(&self) {
        self.set(Mode::Stalled);
    }

    /// Ends what is open, and whatever comes until [`FaultProxy::pass`].
    pub(crate) fn cut(&self) {
        self.set(Mode::Cut);
    }

    /// Whoever sends something with `word` in it is heard, and does not hear the answer: the connection ends in its place.
    pub(crate) fn lose_answers_to(&self, word: &'static str) {
        self.set(Mode::Losing(word));
    }

    /// What the target says with `word` in it is kept back, and nothing ends.
    pub(crate) fn swallow(&self, word: &'static str) {
        self.set(Mode::Swallowing(word));
    }

    /// How many answers were lost, or pieces swallowed.
    pub(crate) fn lost(&self) -> usize {
        self.shared.state.lock().expect("no line panicked").lost
    }

    /// Ends what is open, and leads what comes to `target` from here on.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        let mut state = self.shared.state.lock().expect("no line panicked");
        state.target = target;
        end(&mut state);
    }

    fn set(&self, mode: Mode) {
        let mut state = self.shared.state.lock().expect("no line panicked");
        state.mode = mode;
        if mode == Mode::Cut {
            end(&mut state);
        }
        self.shared.changed.notify_all();
    }
}

fn end(state: &mut State) {
    for stream in state.open.drain(..) {
        // An error means that it has ended already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().expect("no line panicked");
        state.is_over = true;
        end(&mut state);
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the one who accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    /// Leads a client on, unless all is cut.
    fn join(self: &Arc<Self>, client: TcpStream) {
        let mut state = self.state.lock().expect("no line panicked");
        if state.mode == Mode::Cut {
            return;
        }
        let Ok(server) = TcpStream::connect(state.target) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).expect("a socket");
            state.open.push(stream.try_clone().expect("a handle"));
        }
        drop(state);
        let (from_client, from_server) =
            (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
        let doomed = Arc::new(AtomicBool::new(false));
        for (way, from, to) in [(Way::There, from_client, server), (Way::Back, from_server, client)] {
            let (shared, doomed) = (Arc::clone(self), Arc::clone(&doomed));
            std::thread::spawn(move || shared.carry(way, (from, to), &doomed));
        }
    }

    /// Carries what comes; `doomed` says of a connection that the next answer is lost, and it with that.
    fn carry(&self, way: Way, (mut from, mut to): (TcpStream, TcpStream), doomed: &AtomicBool) {
        let mut piece = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let piece = &piece[..count];
            if way == Way::Back && doomed.load(Ordering::SeqCst) {
                self.count_lost();
                break;
            }
            match self.mode() {
                Mode::Losing(word) if way == Way::There && holds(piece, word) => {
                    doomed.store(true, Ordering::SeqCst);
                }
                Mode::Swallowing(word) if way == Way::Back && holds(piece, word) => {
                    self.count_lost();
                    continue;
                }
                _ => {}
            }
            if !self.let_pass() || to.write_all(piece).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }

    fn mode(&self) -> Mode {
        self.state.lock().expect("no line panicked").mode
    }

    fn count_lost(&self) {
        self.state.lock().expect("no line panicked").lost += 1;
    }

    /// Holds a piece for as long as it is to be; false: all is over.
    fn let_pass(&self) -> bool {
        let state = self.state.lock().expect("no line panicked");
        let state = match state.mode {
            Mode::Slow(by) => {
                let waits = |state: &mut State| state.mode == Mode::Slow(by) && !state.is_over;
                self.changed.wait_timeout_while(state, by, waits).expect("no line panicked").0
            }
            _ => state,
        };
        let waits = |state: &mut State| state.mode == Mode::Stalled && !state.is_over;
        !self.changed.wait_while(state, waits).expect("no line panicked").is_over
    }
}

fn holds(piece: &[u8], word: &str) -> bool {
    piece.windows(word.len()).any(|window| window == word.as_bytes())
}
