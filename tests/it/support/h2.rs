//! An HTTP/2 client over TLS.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use rustls::pki_types::ServerName;
use tokio::runtime::Runtime;

use crate::support::client::{Answer, DEADLINE};
use crate::support::tls::{Authority, GATEWAY, runtime};

/// A connection.
pub(crate) struct H2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
}

/// A request that has been sent, or at least its head.
pub(crate) struct Stream {
    sending: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

/// What comes of a stream.
#[derive(Debug)]
pub(crate) enum Frame {
    /// The next bytes.
    Data(Vec<u8>),
    /// Its proper end.
    End,
    /// It was reset, or its connection ended.
    Broken,
}

impl H2 {
    /// Connects, shakes hands and agrees on HTTP/2.
    pub(crate) fn connect(address: SocketAddr, authority: &Authority) -> Self {
        let runtime = runtime();
        let config = authority.client(rustls::ALL_VERSIONS, &["h2"]);
        let sender = runtime.block_on(async {
            let tcp = tokio::net::TcpStream::connect(address).await.expect("the port accepts");
            tcp.set_nodelay(true).expect("no delay");
            let name = ServerName::try_from(GATEWAY).expect("a name");
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.expect("TLS");
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (sender, connection) = h2::client::handshake(tls).await.expect("HTTP/2");
            // Its streams tell how it ended.
            tokio::spawn(async move { drop(connection.await) });
            sender
        });
        Self { runtime, sender }
    }

    /// Sends a request of this protocol, whose target names no authority if it begins with a slash and is of
    /// HTTP/1.1.
    pub(crate) fn open(&mut self, request: http::Request<()>, has_body: HasBody) -> Stream {
        let mut sender = self.sender.clone();
        let (response, sending) = self.within(async move {
            poll_fn(|cx| sender.poll_ready(cx)).await.expect("room for a stream");
            sender.send_request(request, has_body == HasBody::No).expect("a request")
        });
        Stream { sending, response: Some(response), body: None }
    }

    /// A request with a key; `line` is `METHOD TARGET`.
    pub(crate) fn request(line: &str, key: &str, fields: &[(&str, &str)]) -> http::Request<()> {
        let (method, path) = line.split_once(' ').expect("METHOD TARGET");
        let mut request = http::Request::builder()
            .version(http::Version::HTTP_2)
            .method(method)
            .uri(format!("https://{GATEWAY}{path}"))
            .header("authorization", format!("Bearer {key}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    /// Sends the body, to its end; false if the other side does not want it.
    pub(crate) fn send(&self, stream: &mut Stream, body: &[u8]) -> bool {
        self.within(push(&mut stream.sending, Bytes::copy_from_slice(body)))
    }

    /// Sends a piece of the body, which goes on after it; false if the other side does not want it.
    pub(crate) fn send_piece(&self, stream: &mut Stream, piece: &[u8]) -> bool {
        self.within(push_piece(&mut stream.sending, Bytes::copy_from_slice(piece)))
    }

    /// Sends the body while the test does something else, for as long as this client is there.
    pub(crate) fn send_meanwhile(&self, mut stream: Stream, body: Vec<u8>) {
        self.runtime.spawn(async move {
            push(&mut stream.sending, body.into()).await;
            // The stream is not given up before its answer has come.
            drop(stream.response.take().expect("one head").await);
        });
    }

    /// The head of the answer; `Err`: the stream was reset before.
    pub(crate) fn head(&self, stream: &mut Stream) -> Result<Answer, Option<Reason>> {
        let response = stream.response.take().expect("one head");
        let response = self.within(response).map_err(|error| error.reason())?;
        let (head, body) = response.into_parts();
        stream.body = Some(body);
        let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: Vec::new(),
            is_whole: true,
        })
    }

    /// What comes next of the body.
    pub(crate) fn frame(&self, stream: &mut Stream) -> Frame {
        let body = stream.body.as_mut().expect("the head comes first");
        self.within(async {
            loop {
                match body.data().await {
                    None => return Frame::End,
                    Some(Err(_)) => return Frame::Broken,
                    Some(Ok(data)) => {
                        // The stream may be over already.
                        let _ = body.flow_control().release_capacity(data.len());
                        if !data.is_empty() {
                            return Frame::Data(data.to_vec());
                        }
                    }
                }
            }
        })
    }

    /// The whole answer; its upload goes on meanwhile.
    pub(crate) fn upload(
        &mut self,
        request: http::Request<()>,
        body: &[u8],
    ) -> Result<Answer, Option<Reason>> {
        let mut stream = self.open(request, HasBody::Yes);
        let mut sending = stream.sending;
        let body = Bytes::copy_from_slice(body);
        let uploading = self.runtime.spawn(async move { push(&mut sending, body).await });
        let response = stream.response.take().expect("one head");
        let answer = self.within(async {
            let (head, mut body) = response.await?.into_parts();
            let mut bytes = Vec::new();
            while let Some(data) = body.data().await {
                bytes.extend_from_slice(&data?);
            }
            Ok::<_, h2::Error>((head, bytes))
        });
        // How it ended is the answer's to tell.
        let _ = self.within(uploading);
        let (head, body) = answer.map_err(|error| error.reason())?;
        Ok(Answer { status: head.status.as_u16(), headers: Vec::new(), body, is_whole: true })
    }

    /// False once the other side takes no more requests on this connection.
    pub(crate) fn is_open(&self) -> bool {
        let mut sender = self.sender.clone();
        self.within(async move {
            // So that what has come is read.
            tokio::task::yield_now().await;
            poll_fn(|cx| sender.poll_ready(cx)).await.is_ok()
        })
    }

    /// Gives the request up.
    pub(crate) fn reset(&self, mut stream: Stream) {
        let _entered = self.runtime.enter();
        stream.sending.send_reset(Reason::CANCEL);
    }

    fn within<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
    }
}

/// Whether a request has one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum HasBody {
    /// Its head ends it.
    No,
    /// It follows.
    Yes,
}

async fn push(sending: &mut SendStream<Bytes>, rest: Bytes) -> bool {
    push_piece(sending, rest).await && sending.send_data(Bytes::new(), true).is_ok()
}

async fn push_piece(sending: &mut SendStream<Bytes>, mut rest: Bytes) -> bool {
    while !rest.is_empty() {
        sending.reserve_capacity(rest.len());
        let Some(Ok(room)) = poll_fn(|cx| sending.poll_capacity(cx)).await else { return false };
        let piece = rest.split_to(room.min(rest.len()));
        if sending.send_data(piece, false).is_err() {
            return false;
        }
    }
    true
}
