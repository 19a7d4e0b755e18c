//! An upstream that does as it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use socket2::{Domain, Socket, Type};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request line.
    pub(crate) line: String,
    /// Names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without framing.
    pub(crate) body: Vec<u8>,
    /// Which connection of the upstream it came on, counted from 0.
    pub(crate) connection: usize,
}

impl Request {
    /// The first value of a header, its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a script has in its hands: the connection of one request.
pub(crate) struct Exchange {
    stream: TcpStream,
    keeps: bool,
}

impl Exchange {
    /// Sends bytes; false if the gateway has gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends a whole answer with a Content-Length.
    pub(crate) fn answer(&mut self, status: &str, content_type: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.send([head.as_bytes(), body].concat());
    }

    /// Sends a 200 of JSON.
    pub(crate) fn json(&mut self, body: &str) {
        self.answer("200 OK", "application/json", body);
    }

    /// Begins a chunked answer.
    pub(crate) fn begin(&mut self, content_type: &str) -> bool {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n");
        self.send(head)
    }

    /// Sends one chunk; an empty one ends the body.
    pub(crate) fn chunk(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(chunk)
    }

    /// Closes the connection after this exchange.
    pub(crate) fn close(&mut self) {
        self.keeps = false;
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Says that it has said all.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The connection, for another thread.
    pub(crate) fn second_handle(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }

    /// Resets the connection.
    pub(crate) fn reset(&mut self) {
        self.keeps = false;
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).expect("a socket option");
    }

    /// Reads what the gateway sends beyond the request; empty at the end.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer).unwrap_or(0);
        buffer[..read].to_vec()
    }

    /// Reads `length` bytes of a body; fewer if the gateway ends it before.
    pub(crate) fn body(&mut self, length: usize) -> Vec<u8> {
        let mut body = Vec::new();
        let _ = Read::by_ref(&mut self.stream).take(length as u64).read_to_end(&mut body);
        body
    }

    /// True if the gateway closes the connection within `wait`.
    pub(crate) fn closes_within(&mut self, wait: std::time::Duration) -> bool {
        self.stream.set_read_timeout(Some(wait)).expect("a timeout");
        let read = self.stream.read(&mut [0]);
        self.stream.set_read_timeout(None).expect("no timeout");
        matches!(read, Ok(0)) || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
    }

    /// Waits until the gateway closes the connection.
    pub(crate) fn wait_for_close(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
    }
}

/// When a script begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    WithTheHead,
    WithTheBody,
}

type Script = dyn Fn(&Request, &mut Exchange) + Send + Sync;

/// A listening upstream; it ends when dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Listens on a free port and runs `script` for every request.
    pub(crate) fn start(script: impl Fn(&Request, &mut Exchange) + Send + Sync + 'static) -> Self {
        Self::listen(Begin::WithTheBody, script)
    }

    /// The same, but `script` runs as soon as a request's head has come: the body is its to read, or not.
    pub(crate) fn eager(script: impl Fn(&Request, &mut Exchange) + Send + Sync + 'static) -> Self {
        Self::listen(Begin::WithTheHead, script)
    }

    fn listen(begin: Begin, script: impl Fn(&Request, &mut Exchange) + Send + Sync + 'static) -> Self {
        let listener = listener();
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> = Arc::new(script);
        let (all, over, count) = (Arc::clone(&seen), Arc::clone(&is_over), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (script, all) = (Arc::clone(&script), Arc::clone(&all));
                std::thread::spawn(move || serve(&stream, (number, begin), &*script, &all));
            }
        });
        Self { address, seen, is_over, connections }
    }

    /// An upstream that answers every request with the same JSON.
    pub(crate) fn json(body: &'static str) -> Self {
        Self::start(move |_, exchange| exchange.json(body))
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no script panicked").clone()
    }

    /// Every request since the last call, which are forgotten here.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().expect("no script panicked"))
    }

    /// How many requests there have been.
    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("no script panicked").len()
    }

    /// Waits until there have been so many.
    pub(crate) fn wait_for(&self, count: usize) {
        crate::support::client::eventually("the requests arrive", || self.count() >= count);
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// A gate that a script waits at until the test opens it.
pub(crate) fn gate() -> (Gate, Opener) {
    let (open, opened) = channel();
    (Gate(Arc::new(Mutex::new(opened))), Opener(open))
}

/// Where scripts wait. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<Receiver<()>>>);

/// Opens a gate, once for each call.
pub(crate) struct Opener(Sender<()>);

impl Gate {
    /// Waits for one opening; returns at once if the opener is gone.
    pub(crate) fn wait(&self) {
        let _ = self.0.lock().expect("no script panicked").recv();
    }
}

impl Opener {
    /// Lets one waiter through.
    pub(crate) fn open(&self) {
        let _ = self.0.send(());
    }
}

/// A listener on a free port that thousands may come to at once: std's own has a short queue, and who finds it full
/// comes again seconds later.
fn listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
    socket.listen(4096).expect("it listens");
    socket.into()
}

fn serve(stream: &TcpStream, (number, begin): (usize, Begin), script: &Script, all: &Mutex<Vec<Request>>) {
    let _ = stream.set_nodelay(true);
    let capacity = if begin == Begin::WithTheHead { 1 } else { 8192 };
    let mut reader = BufReader::with_capacity(capacity, stream.try_clone().expect("a second handle"));
    while let Some(mut request) = read_head(&mut reader, number) {
        if begin == Begin::WithTheBody {
            let Some(body) = read_body(&mut reader, &request) else { return };
            request.body = body;
        }
        all.lock().expect("no script panicked").push(request.clone());
        let mut exchange = Exchange { stream: stream.try_clone().expect("a second handle"), keeps: true };
        script(&request, &mut exchange);
        if !exchange.keeps {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead, connection: usize) -> Option<Request> {
    let line = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let field = read_line(reader)?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':')?;
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    Some(Request { line, headers, body: Vec::new(), connection })
}

fn read_body(reader: &mut impl BufRead, request: &Request) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = request.header("content-length") {
        // No further than it comes, whatever was announced.
        let length = length.parse().ok()?;
        let came = Read::by_ref(reader).take(length).read_to_end(&mut body).ok()?;
        (came as u64 == length).then_some(())?;
    } else if request.header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&read_line(reader)?, 16).ok()?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk).ok()?;
            read_line(reader)?;
            if size == 0 {
                break;
            }
            body.extend(chunk);
        }
    }
    Some(body)
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = reader.read_until(b'\n', &mut line).ok()?;
    (read > 0).then(|| String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}
