//! A client of raw bytes over HTTP/1.1: sends what the test writes, reads what comes.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Longest wait for anything; only a failing test reaches it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer, its body without framing.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// False if the connection ended before the body did.
    pub(crate) is_whole: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the port accepts"))
    }

    /// The same; `None` if nobody accepts.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::over)
    }

    /// Connects from an address of this machine, such as 127.0.0.2.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("the port accepts");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the gateway reads");
        self
    }

    /// Sends bytes; false if the other side has closed.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a request with key and body; `line` is `METHOD TARGET`. `more` holds further header lines, each with its
    /// CRLF.
    pub(crate) fn request(&mut self, line: &str, key: &str, more: &str, body: &[u8]) -> &mut Self {
        let mut head = format!("{line} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n{more}");
        if !body.is_empty() || line.starts_with("POST") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes)
    }

    /// A GET with a key, and its answer.
    pub(crate) fn get(&mut self, path: &str, key: &str) -> Answer {
        self.request(&format!("GET {path}"), key, "", b"").answer()
    }

    /// A POST of JSON with a key, and its answer.
    pub(crate) fn post(&mut self, path: &str, key: &str, body: &str) -> Answer {
        let json = "Content-Type: application/json\r\n";
        self.request(&format!("POST {path}"), key, json, body.as_bytes()).answer()
    }

    /// Reads one answer, whatever its framing.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        while answer.status / 100 == 1 && answer.status != 101 {
            answer = self.head();
        }
        self.body_of(&mut answer);
        answer
    }

    /// Reads one head, a 1xx as well.
    pub(crate) fn head(&mut self) -> Answer {
        let head = self.try_head();
        head.unwrap_or_else(|| {
            panic!("the connection ended within a head: {:?}", String::from_utf8_lossy(&self.unread))
        })
    }

    /// The same; `None` if the connection ended before.
    pub(crate) fn try_head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines
            .map(|line| line.split_once(':').expect("a field"))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let status = status.parse().expect("a status");
        Some(Answer { status, headers, body: Vec::new(), is_whole: true })
    }

    /// Reads the body that belongs to `answer`.
    pub(crate) fn body_of(&mut self, answer: &mut Answer) {
        if answer.status == 204 || answer.status == 304 {
            return;
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a length");
            while self.unread.len() < length && self.fill() {}
            answer.is_whole = self.unread.len() >= length;
            let taken = length.min(self.unread.len());
            answer.body = self.unread.drain(..taken).collect();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            answer.is_whole = loop {
                match self.chunk() {
                    Some(chunk) if chunk.is_empty() => break true,
                    Some(chunk) => answer.body.extend(chunk),
                    None => break false,
                }
            };
        } else {
            while self.fill() {}
            answer.body = std::mem::take(&mut self.unread);
        }
    }

    /// Reads one chunk of a chunked body; the last one is empty. `None`: the connection ended.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let line_end = loop {
            if let Some(at) = find(&self.unread, b"\r\n") {
                break at;
            }
            if !self.fill() {
                return None;
            }
        };
        let size = std::str::from_utf8(&self.unread[..line_end]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        while self.unread.len() < line_end + 2 + size + 2 {
            if !self.fill() {
                return None;
            }
        }
        let chunk = self.unread[line_end + 2..line_end + 2 + size].to_vec();
        self.unread.drain(..line_end + 2 + size + 2);
        Some(chunk)
    }

    /// Exactly `count` bytes, without framing.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            assert!(self.fill(), "the connection ended after {} of {count} bytes", self.unread.len());
        }
        self.unread.drain(..count).collect()
    }

    /// Says that it has said all, and reads what still comes until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        // The other side may have ended it.
        let _ = self.stream.shutdown(Shutdown::Write);
        while self.fill() {}
        std::mem::take(&mut self.unread)
    }

    /// True if the other side has closed, after reading all that came before.
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.fill() {}
        true
    }

    /// What is there without waiting longer than `wait`; empty on a close or on silence.
    pub(crate) fn pending(&mut self, wait: Duration) -> Vec<u8> {
        self.stream.set_read_timeout(Some(wait)).expect("a timeout");
        let mut buffer = [0; 65536];
        let read = self.stream.read(&mut buffer).unwrap_or(0);
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        self.unread.extend_from_slice(&buffer[..read]);
        std::mem::take(&mut self.unread)
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads more; false at the end, or when the other side reset the connection.
    fn fill(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came within {DEADLINE:?}: {error}"),
        }
    }
}

impl Answer {
    /// The first value of a header, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Waits, at most [`DEADLINE`], until `is_so`; looks again after short pauses of the scheduler's own.
#[expect(clippy::disallowed_methods, reason = "a deadline for a failing test")]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}
