//! Whole requests through the front door of a gateway in this process, one after another over one connection.
//!
//! The client and the mock LLM are plain sockets in the same process: what they do is counted too, and is the same
//! for every request.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use safecache::auth::token;
use safecache::clock::Clock;
use safecache::config;
use safecache::proxy::resolver;
use safecache::runtime::reload::Source;
use safecache::server::{Running, Start, start};
use tempfile::TempDir;

const KEY: &str = "a-key-of-the-benchmarks";

/// Room for a request or an answer.
const BUFFER: usize = 16 * 1024;

/// A gateway, and a connection to it.
struct House {
    running: Running,
    client: TcpStream,
    buffer: Box<[u8]>,
    _folder: TempDir,
}

/// Questions that are all different: each is sent on, and its answer stored.
pub(crate) fn forward(times: u32) -> io::Result<()> {
    let mut house = House::open()?;
    (0..times).try_for_each(|number| house.ask(KEY, number))?;
    house.close();
    Ok(())
}

/// One question again and again.
pub(crate) fn hit(times: u32) -> io::Result<()> {
    let mut house = House::open()?;
    (0..times).try_for_each(|_| house.ask(KEY, 0))?;
    house.close();
    Ok(())
}

/// A key that nobody has.
pub(crate) fn refuse(times: u32) -> io::Result<()> {
    let mut house = House::open()?;
    (0..times).try_for_each(|number| house.ask("a-key-of-nobody-at-all", number))?;
    house.close();
    Ok(())
}

impl House {
    fn open() -> io::Result<Self> {
        let folder = TempDir::new()?;
        let path = folder.path().join("gateway.yaml");
        let digest = data_encoding::HEXLOWER.encode(&token::digest(KEY.as_bytes()));
        let yaml = format!(
            "listen: 127.0.0.1:0\nadmin: {{listen: \"127.0.0.1:0\"}}\ndata_dir: {}\nthreads: 1\n\
             plans: {{bench: {{requests_per_minute: 60000000, burst: 1000000}}}}\n\
             upstreams: {{mock: {{servers: [\"http://{}\"]}}}}\n\
             routes: [{{path: /v1/*, upstream: mock, cache: {{ttl: 1h}}}}]\n\
             cache: {{memory: 64MiB, disk: 0}}\nlimits: {{auth_failures: off}}\n\
             keys: [{{id: bench, account: bench, plan: bench, sha256: {digest}}}]\n",
            folder.path().join("data").display(),
            mock()?,
        );
        std::fs::write(&path, yaml)?;
        let config =
            config::load(&path, &BTreeMap::new()).map_err(|report| io::Error::other(report.to_string()))?;
        let running = start(Start {
            config,
            source: Source::File { path, env: BTreeMap::new() },
            clock: Clock::system(),
            lookup: resolver::system(),
            access: Some(Box::new(io::sink())),
            disk_wait: safecache::shelf::DISK_WAIT,
            redis_wait: safecache::cluster::link::ANSWER_WAIT,
            inherited: None,
        });
        let running = running.map_err(io::Error::other)?;
        let address = running.data_addresses().first().copied().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let client = TcpStream::connect(address)?;
        Ok(Self { running, client, buffer: vec![0; BUFFER].into(), _folder: folder })
    }

    fn ask(&mut self, key: &str, number: u32) -> io::Result<()> {
        let text = "x".repeat(200);
        let body = format!(
            r#"{{"model":"m","temperature":0.5,"messages":[{{"role":"user","content":"{number:08} {text}"}}]}}"#
        );
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.client.write_all((head + &body).as_bytes())?;
        read_message(&mut self.client, &mut self.buffer)?;
        Ok(())
    }

    fn close(self) {
        drop(self.client);
        self.running.end();
    }
}

/// Answers every request with the same kilobyte.
fn mock() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let body = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":50,"completion_tokens":200,"total_tokens":250}}}}"#,
        "y".repeat(800)
    );
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: mock\r\n\r\n{body}",
        body.len()
    );
    // Ends with the process.
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || serve(connection, answer.as_bytes()));
        }
    });
    Ok(address)
}

fn serve(mut connection: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        read_message(&mut connection, &mut buffer)?;
        connection.write_all(answer)?;
    }
}

/// Reads one head, and the body whose length it tells.
fn read_message(from: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let read = from.read(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let message = buffer.get(..filled).unwrap_or_default();
        if length(message).is_some_and(|length| filled >= length) {
            return Ok(());
        }
    }
}

/// How long a message is, once its head is there.
fn length(message: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut at = 0;
    let mut body = 0;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line == b"\r\n" {
            return Some(at + body);
        }
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            body = std::str::from_utf8(value).ok()?.trim().parse().ok()?;
        }
    }
    None
}
