//! A tap on the line between a gateway and its next hop: every byte that the gateway sends passes here, and is kept.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What came over one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// Every byte that the gateway sent.
    pub(crate) sent: Vec<u8>,
    /// The gateway has ended it.
    pub(crate) is_over: bool,
}

/// A listening tap; it ends when dropped.
pub(crate) struct Tap {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<Line>>>,
    is_over: Arc<AtomicBool>,
}

impl Tap {
    /// Listens on a free port and passes everything on to `socket`, and back.
    pub(crate) fn before(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (all, over) = (Arc::clone(&lines), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for (number, gateway) in listener.incoming().enumerate() {
                let Ok(gateway) = gateway else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                all.lock().expect("no line panicked").push(Line::default());
                pass(gateway, &socket, Arc::clone(&all), number);
            }
        });
        Self { address, lines, is_over }
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every connection so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("no line panicked").clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes on what either side sends until it ends.
fn pass(gateway: TcpStream, socket: &Path, all: Arc<Mutex<Vec<Line>>>, number: usize) {
    let hop = UnixStream::connect(socket).expect("the next hop accepts");
    let (mut from_hop, mut to_gateway) =
        (hop.try_clone().expect("a handle"), gateway.try_clone().expect("a handle"));
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_hop, &mut to_gateway);
        let _ = to_gateway.shutdown(Shutdown::Write);
    });
    let (mut gateway, mut hop) = (gateway, hop);
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        loop {
            let read = gateway.read(&mut buffer).unwrap_or(0);
            {
                let mut lines = all.lock().expect("no line panicked");
                lines[number].sent.extend_from_slice(&buffer[..read]);
                lines[number].is_over = read == 0;
            }
            if read == 0 || hop.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = hop.shutdown(Shutdown::Write);
    });
}
