//! Sending a recording to a client: the one way in which misses, hits and streams are answered.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};

use crate::cache::recording::reader::Reader;
use crate::cache::recording::{AnswerHead, Failure, Step};
use crate::config::Limits;
use crate::llm::request::Api;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::ctx::Ctx;
use crate::proxy::http1::Part;
use crate::proxy::respond;
use crate::proxy::session::Session;
use crate::proxy::tail::Tail;
use crate::routing::route::ErrorShape;

/// The span over which `limits.min_send_rate` is asked of a client.
pub(super) const SEND_SPAN: Duration = Duration::from_secs(30);

/// The largest piece that is written at once.
const LARGEST_SLICE: usize = 64 * 1024;

/// How sending ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The client has all of it.
    Whole,
    /// The upstream failed before anything was sent: the client is still to be told.
    Unbegun(Failure),
    /// The upstream failed after that: the connection must end.
    CutShort(Failure),
    /// The upstream failed within a stream, which told it and ended.
    ToldInStream(Failure),
    /// The client left, or was too slow.
    ClientGone,
}

impl Sent {
    /// How a request ended whose answer would have been `whole`.
    pub(super) fn outcome(self, whole: Outcome) -> Outcome {
        match self {
            Self::Whole => whole,
            Self::CutShort(Failure::NoRoom) => Outcome::Overloaded,
            Self::Unbegun(_) | Self::CutShort(_) | Self::ToldInStream(_) => Outcome::UpstreamError,
            Self::ClientGone => Outcome::ClientClosed,
        }
    }
}

/// Sends what `reader` reads. `age` is a hit's.
pub(super) async fn follow(
    session: &mut Session,
    ctx: &mut Ctx,
    reader: &mut Reader,
    age: Option<Duration>,
) -> Sent {
    let mut watch = ClientWatch::default();
    let head = match watch.until_gone(session, reader.head()).await {
        Some(Ok(head)) => head,
        Some(Err(failure)) => return Sent::Unbegun(failure),
        None => return Sent::ClientGone,
    };
    ctx.cache_status = ctx.cache_status.map(|status| settled(status, &head));
    let written = match respond::recorded(session, ctx, &head, age) {
        Ok(response) => respond::begin(session, ctx, response).await,
        Err(error) => Err(error),
    };
    ctx.answered = Some(ctx.clock.monotonic());
    if written.is_err() {
        return Sent::ClientGone;
    }
    let end = pump(session, reader, &mut watch, head.length).await;
    match end {
        // Of an entry that its reader has no room for, a part of a piece may be on its way.
        Sent::CutShort(failure) if failure != Failure::NoRoom && can_tell(&head) => {
            let api = Api::of(session.head().uri.path());
            tell_in_stream(session, &watch.tail, api, failure).await
        }
        end => end,
    }
}

/// What Cache-Status says of a miss is known when its head has come.
fn settled(
    status: crate::cache::control::CacheStatus,
    head: &AnswerHead,
) -> crate::cache::control::CacheStatus {
    use crate::cache::control::CacheStatus;
    use crate::cache::recording::Destiny;
    match (status, head.destiny) {
        (CacheStatus::MissStored, Destiny::Forgotten) => CacheStatus::Miss,
        (CacheStatus::RequestStored, Destiny::Forgotten) => CacheStatus::Request,
        (status, _) => status,
    }
}

/// Drives a call and sends its answer in one task, each time behind the call: nothing else wakes the call's first
/// reader. `None` for the call if it has run to its end, else what is left of it, for the caller to stop or to let run.
pub(super) async fn lead<F>(
    session: &mut Session,
    ctx: &mut Ctx,
    mut call: Pin<Box<F>>,
    mut reader: Reader,
) -> (Sent, Option<Pin<Box<F>>>)
where
    F: Future<Output = ()> + Send,
{
    let mut called = false;
    let sent = {
        let mut sending = pin!(follow(session, ctx, &mut reader, None));
        loop {
            tokio::select! {
                biased;
                () = &mut call, if !called => called = true,
                sent = &mut sending => break sent,
            }
        }
    };
    if !called && sent == Sent::Whole {
        call.as_mut().await;
        called = true;
    }
    (sent, (!called).then_some(call))
}

/// Writes piece after piece of a body of `length` bytes, if that is known.
async fn pump(
    session: &mut Session,
    reader: &mut Reader,
    watch: &mut ClientWatch,
    length: Option<u64>,
) -> Sent {
    let mut sent = 0;
    loop {
        let piece = match watch.until_gone(session, reader.next()).await {
            Some(Step::Piece(piece)) => piece,
            Some(Step::Complete) => break,
            Some(Step::Failed(failure)) => return Sent::CutShort(failure),
            None => return Sent::ClientGone,
        };
        // What HTTP/2 queues is counted no more when its request is over: it must not hold all of a long body.
        let is_slice = session.is_http2() && reader.recording().written() > LARGEST_SLICE as u64;
        let piece = if is_slice { Bytes::copy_from_slice(&piece) } else { piece };
        watch.note(&piece);
        sent += piece.len() as u64;
        let part = if length == Some(sent) { Part::Last } else { Part::More };
        tokio::select! {
            biased;
            written = write(session, piece, part) => if written.is_err() { return Sent::ClientGone },
            () = reader.cut() => return Sent::CutShort(Failure::NoRoom),
        }
        if part == Part::Last {
            return Sent::Whole;
        }
    }
    match session.write_body(Bytes::new(), Part::Last).await {
        Ok(()) => Sent::Whole,
        Err(_) => Sent::ClientGone,
    }
}

async fn write(session: &mut Session, mut piece: Bytes, part: Part) -> pingora::Result<()> {
    while piece.len() > LARGEST_SLICE {
        let first = piece.split_to(LARGEST_SLICE);
        session.write_body(first, Part::More).await?;
    }
    session.write_body(piece, part).await
}

/// The longest that one piece may take over HTTP/2, where a client can hold up one stream of its connection: the
/// time that the largest takes at `limits.min_send_rate`, at least [`SEND_SPAN`]. `None`: for ever. On HTTP/1.1 the
/// connection itself watches over the rate.
pub(super) fn stream_write_timeout(limits: &Limits) -> Option<Duration> {
    let seconds = (LARGEST_SLICE as u64).checked_div(limits.min_send_rate.as_u64())?;
    Some(SEND_SPAN.max(Duration::from_secs(seconds)))
}

/// True if a body that breaks off can be told of within: an event is read there, and no length promises other bytes.
fn can_tell(head: &AnswerHead) -> bool {
    let fields = head.fields.iter().map(|(name, value)| (name, value));
    head.length.is_none() && is_readable_stream(fields)
}

/// True for the fields of `text/event-stream` in no coding but identity.
pub(super) fn is_readable_stream<'a>(
    fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> bool {
    let (mut is_stream, mut is_plain) = (false, true);
    for (name, value) in fields {
        if *name == CONTENT_TYPE {
            is_stream |= is_event_stream_type(value.as_bytes());
        } else if *name == CONTENT_ENCODING {
            is_plain &= value.as_bytes().eq_ignore_ascii_case(b"identity");
        }
    }
    is_stream && is_plain
}

/// True for `text/event-stream`, whatever its parameters.
fn is_event_stream_type(value: &[u8]) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    value.split_at_checked(NAME.len()).is_some_and(|(name, rest)| {
        name.eq_ignore_ascii_case(NAME) && rest.first().is_none_or(|byte| matches!(byte, b';' | b' '))
    })
}

/// Ends a stream that broke off with the API's own error event.
pub(super) async fn tell_in_stream(session: &mut Session, tail: &Tail, api: Api, failure: Failure) -> Sent {
    let event = Bytes::from(format!("{}{}", tail.completion(), error_event(api, failure)));
    let told = async {
        session.write_body(event, Part::More).await?;
        session.write_body(Bytes::new(), Part::Last).await
    };
    match told.await {
        Ok(()) => Sent::ToldInStream(failure),
        Err(_) => Sent::CutShort(failure),
    }
}

/// The event in which an API's streams tell of an error.
pub(super) fn error_event(api: Api, failure: Failure) -> String {
    let rejection = rejection_of(failure);
    match api {
        Api::Messages => format!(
            "event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"api_error\",\"message\":\"{}\"}}}}\n\n",
            rejection.row().message
        ),
        _ => format!("data: {}\n\n", rejection.body(ErrorShape::Openai)),
    }
}

/// What a client is told of a failed call.
pub(super) fn rejection_of(failure: Failure) -> Rejection {
    match failure {
        Failure::Connect => Rejection::UpstreamUnreachable,
        Failure::ConnectTimeout => Rejection::UpstreamConnectTimeout,
        Failure::FirstByteTimeout | Failure::IdleTimeout => Rejection::UpstreamTimeout,
        Failure::Reset | Failure::Invalid => Rejection::UpstreamFailed,
        Failure::Busy => Rejection::UpstreamBusy,
        Failure::NoRoom | Failure::NoFiles => Rejection::Overloaded,
        Failure::Stopped | Failure::Unshared => Rejection::Internal,
    }
}

/// The eye on a client that waits: it may leave.
#[derive(Default)]
pub(super) struct ClientWatch {
    tail: Tail,
}

impl ClientWatch {
    fn note(&mut self, piece: &[u8]) {
        self.tail.note(piece);
    }

    /// Waits for `event`; `None` if the client leaves first. Of one that has sent its next request already nobody sees
    /// whether it leaves.
    pub(super) async fn until_gone<T>(
        &mut self,
        session: &mut Session,
        event: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            value = event => Some(value),
            () = session.left() => None,
        }
    }
}
