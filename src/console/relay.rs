//! Asks the data listener what the playground is asked, over a connection of its own, and passes the answer on as it comes.
//!
//! The gateway treats it as it treats every client. Bounded: so many at a time, of one person and of all, so many in a
//! minute, each for so long; when the browser leaves, the connection ends, and with it the upstream call.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{AGE, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, RETRY_AFTER, USER_AGENT};
use axum::http::{HeaderValue, Method, Request, Response as HttpResponse, StatusCode};
use axum::response::Response;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::accounts::people::attempts::{Attempts, Standing};
use crate::clock::Monotonic;
use crate::ids::PersonId;
use crate::pem::pinned;
use crate::secret::Secret;

/// Questions at a time.
const MOST: usize = 16;

/// Those of one person.
const MOST_OF_ONE: usize = 4;

/// Questions of one person in a minute.
const A_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(59);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a question may take, its answer included.
const LONGEST: Duration = Duration::from_secs(300);

/// What of an answer's head is passed on.
const PASSED: [HeaderName; 6] = [
    AGE,
    RETRY_AFTER,
    HeaderName::from_static("cache-status"),
    HeaderName::from_static("x-cache"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-request-id"),
];

/// What may come of an answer, as the browser is to understand it; anything else is text.
const MEDIA_TYPES: [&str; 2] = ["application/json", "text/event-stream"];

/// Why nothing was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("This is no API key.")]
    NoKey,
    #[error("This API key may not be used from your address.")]
    Address,
    #[error("You have asked so often in the last minute that you have to wait a little.")]
    Often,
    #[error("Too many are asking from this console at the moment. Try again.")]
    Busy,
    #[error("The gateway's own port did not answer.")]
    Unreachable,
    #[error("The answer took too long.")]
    Late,
}

impl Failure {
    /// What it is answered with.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoKey => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Address => StatusCode::FORBIDDEN,
            Self::Often => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Where the data listener is asked.
pub struct Door {
    /// As it is reached from this machine.
    pub address: SocketAddr,
    /// The certificate that it shows; `None`: it speaks no TLS.
    pub certificate: Option<CertificateDer<'static>>,
}

/// What HTTP goes over.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

impl Door {
    /// A connection through it.
    async fn open(&self) -> Option<Box<dyn Wire>> {
        let stream = TcpStream::connect(self.address).await.ok()?;
        let Some(certificate) = &self.certificate else { return Some(Box::new(stream)) };
        let connector = TlsConnector::from(Arc::new(pinned::client(certificate.clone()).ok()?));
        let stream = connector.connect(ServerName::from(self.address.ip()), stream).await.ok()?;
        Some(Box::new(stream))
    }
}

/// What is asked.
pub(super) struct Question {
    /// Who asks.
    pub(super) who: PersonId,
    pub(super) path: String,
    pub(super) key: Secret,
    /// JSON.
    pub(super) body: String,
}

/// Asks, within bounds.
pub struct Relay {
    asking: Arc<Mutex<Vec<PersonId>>>,
    asked: Attempts,
}

impl Default for Relay {
    fn default() -> Self {
        Self { asking: Arc::default(), asked: Attempts::new(A_MINUTE) }
    }
}

/// One of the places of [`MOST`] that ask; dropped, it is free.
struct Place {
    who: PersonId,
    asking: Arc<Mutex<Vec<PersonId>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = asking.iter().position(|who| *who == self.who) {
            asking.swap_remove(at);
        }
    }
}

impl Relay {
    /// A place for somebody.
    fn place(&self, who: &PersonId, now: Monotonic) -> Result<Place, Failure> {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let own = asking.iter().filter(|one| *one == who).count();
        if asking.len() >= MOST || own >= MOST_OF_ONE {
            return Err(Failure::Busy);
        }
        if self.asked.take(who, now) == Standing::Beyond {
            return Err(Failure::Often);
        }
        asking.push(who.clone());
        Ok(Place { who: who.clone(), asking: Arc::clone(&self.asking) })
    }

    /// Asks the listener behind `door`; its answer, whatever it says.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn ask(
        &self,
        door: &Door,
        question: Question,
        now: Monotonic,
    ) -> Result<Response, Failure> {
        let place = self.place(&question.who, now)?;
        let request = request(door.address, question).ok_or(Failure::NoKey)?;
        let opened = timeout(CONNECT, door.open()).await.ok().flatten();
        let stream = opened.ok_or(Failure::Unreachable)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|_| Failure::Unreachable)?;
        // It holds the place, and ends in time whether or not somebody reads.
        let connection = Connection(tokio::spawn(async move {
            // How it ends is seen by who reads the answer.
            let _ = timeout(LONGEST, connection).await;
            drop(place);
        }));
        let answered = timeout(LONGEST, sender.send_request(request)).await.map_err(|_| Failure::Late)?;
        let (head, body) = answered.map_err(|_| Failure::Unreachable)?.into_parts();
        let body = Body::new(Answer { body, _connection: connection });
        let mut response = HttpResponse::new(body);
        *response.status_mut() = head.status;
        for name in PASSED {
            if let Some(value) = head.headers.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        let media_type =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = MEDIA_TYPES.into_iter().find(|known| media_type.starts_with(known));
        let media_type = HeaderValue::from_static(known.unwrap_or("text/plain; charset=utf-8"));
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        Ok(response)
    }
}

/// The question, as the data listener is to see it; `None`: its key can stand in no header.
fn request(address: SocketAddr, Question { path, key, body, .. }: Question) -> Option<Request<String>> {
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose().trim())).ok()?;
    bearer.set_sensitive(true);
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, bearer)
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, "safecache playground");
    request.body(body).ok()
}

/// The task that drives a connection; dropped, it ends.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer on its way, with the connection that it comes over.
struct Answer {
    body: Incoming,
    _connection: Connection,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|piece| piece.map_err(Into::into)))
    }
}
