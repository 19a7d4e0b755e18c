//! A real Redis of a test's own: a process in a temporary folder, on a free port.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::client::{DEADLINE, eventually};
use crate::support::nobody;

/// A running server; killed when dropped.
pub(crate) struct Redis {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Redis {
    /// Starts a server, once it serves.
    pub(crate) fn start() -> Self {
        // Another may take the port that was free: then it is another server's turn.
        (0..10).find_map(|_| Self::start_at(free_port())).expect("a server")
    }

    /// Starts a server at `address`; `None` if that is taken.
    fn start_at(address: SocketAddr) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let at = folder.path();
        let log = fs::File::create(at.join("log")).expect("a log");
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        nobody::run_in(&mut command, at);
        let mut redis = Self { child: command.spawn().expect("redis-server can be run"), address, folder };
        let mut is_there = None;
        eventually("Redis serves, or says why not", || {
            is_there = match redis.child.try_wait().expect("a child") {
                Some(_) if redis.log().contains("in use") => Some(false),
                Some(_) => panic!("Redis ended: {}", redis.log()),
                None => redis.try_ask(&["PING"]).filter(|answer| answer == "+PONG").map(|_| true),
            };
            is_there.is_some()
        });
        is_there.filter(|is_there| *is_there).map(|_| redis)
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first line that it answers to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command).expect("an answer")
    }

    /// Ends it at once, and begins anew at the same place with nothing.
    pub(crate) fn restart_empty(&mut self) {
        self.kill();
        *self = Self::start_at(self.address).expect("its place is still free");
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        stream.write_all(written(command).as_bytes()).ok()?;
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).ok()?;
            line.extend(byte);
        }
        Some(String::from_utf8(line).expect("text").trim_end().to_owned())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command as it is sent.
pub(crate) fn written(command: &[&str]) -> String {
    let words = command.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    format!("*{}\r\n{}", command.len(), words.collect::<String>())
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address")
}
