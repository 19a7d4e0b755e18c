//! A request that the cache could not answer makes a call, or reads what another's call for the same brings: single
//! flight. A call belongs to all who read it: it goes on when the client leaves for whom it was made.

use std::pin::Pin;
use std::sync::Arc;

use http::HeaderValue;
use http::header::CONTENT_LENGTH;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use crate::cache::control::CacheStatus;
use crate::cache::flights::{Boarding, Ticket};
use crate::cache::policy::OnDisconnect;
use crate::cache::recording::reader::Reader;
use crate::cache::recording::writer::Writer;
use crate::cache::recording::{Failure, Recording, WINDOW, begin};
use crate::memory::Permit;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::answer::{Plan, Request, send_hit};
use crate::proxy::ctx::Ctx;
use crate::proxy::fetch::{Fetch, OutboundHead};
use crate::proxy::fields::Fields;
use crate::proxy::finish::{count_saved, count_tokens};
use crate::proxy::headers::{self, Outbound};
use crate::proxy::reading::Storing;
use crate::proxy::send::{self, Sent, rejection_of};

/// A call that is about to be made.
struct Departure {
    writer: Writer,
    reader: Reader,
    /// While it is held the call may be joined; `None`: it never may.
    ticket: Option<Arc<Ticket>>,
}

impl Request<'_> {
    /// Answers by a call: by one for the same that is under way, or by one of its own.
    ///
    /// # Errors
    /// The client is still to be told.
    pub(super) async fn call(
        self,
        session: &mut ServerSession,
        ctx: &mut Ctx,
        plan: Plan,
    ) -> Result<Sent, Rejection> {
        let Some(key) = plan.flight() else {
            let (writer, reader) = begin(self.window(ctx).ok_or(Rejection::Overloaded)?);
            return self.lead(session, ctx, plan, Departure { writer, reader, ticket: None }).await;
        };
        let mut failed_before = None;
        loop {
            let now = self.shared.clock.monotonic();
            let boarding = self.shared.flights.board(&key, now, || self.window(ctx));
            let (ticket, writer, reader) = match boarding.ok_or(Rejection::Overloaded)? {
                Boarding::Lead(ticket, writer, reader) => (ticket, writer, reader),
                Boarding::Join(reader) => match self.join(session, ctx, reader).await {
                    Sent::Unbegun(failure) if failed_before.is_none() && was_unsent(failure) => {
                        failed_before = Some(failure);
                        continue;
                    }
                    Sent::Unbegun(failure) => return Err(rejection_of(failure)),
                    sent => return Ok(sent),
                },
            };
            // The call that this request would have joined may have ended since the cache was asked.
            let found = self.shared.entries.find(&key.slot, now);
            if let Some((entry, age)) = found.filter(|(_, age)| plan.control.accepts(*age)) {
                drop((ticket, writer, reader));
                return Ok(send_hit(self.shared, session, ctx, (&entry, age)).await);
            }
            let ticket = Some(Arc::new(ticket));
            return self.lead(session, ctx, plan, Departure { writer, reader, ticket }).await;
        }
    }

    /// Reads another's call.
    async fn join(&self, session: &mut ServerSession, ctx: &mut Ctx, mut reader: Reader) -> Sent {
        let own = ctx.cache_status.replace(CacheStatus::Collapsed);
        let sent = send::follow(session, ctx, &mut reader, None).await;
        match sent {
            Sent::Unbegun(_) => ctx.cache_status = own,
            Sent::Whole => {
                // What it cost is told when it has come to its end.
                reader.end().await;
                count_saved(self.shared, reader.recording().usage());
            }
            _ => {}
        }
        ctx.outcome = match sent {
            Sent::Unbegun(_) => None,
            sent => Some(sent.outcome(Outcome::Collapsed)),
        };
        sent
    }

    /// Makes a call and sends what it brings.
    async fn lead(
        self,
        session: &mut ServerSession,
        ctx: &mut Ctx,
        plan: Plan,
        departure: Departure,
    ) -> Result<Sent, Rejection> {
        let Departure { writer, reader, ticket } = departure;
        let recording = Arc::clone(writer.recording());
        let storing = plan.slot.filter(|_| plan.control.may_write).map(|(slot, policy)| Storing {
            slot,
            apart: plan.apart,
            policy,
            max_entry: ctx.policy.snapshot.config.cache.max_entry.as_u64(),
        });
        let on_disconnect =
            storing.as_ref().map_or(OnDisconnect::Stop, |storing| storing.policy.on_disconnect);
        let fetch = Fetch {
            shared: Arc::clone(self.shared),
            upstream: Arc::clone(&self.live.upstream),
            route: Arc::clone(&self.live.route),
            head: self.outbound_head(session, ctx)?,
            body: self.body,
            writer,
            storing,
            api: plan.api,
            report: Arc::clone(&ctx.report),
        };
        let (memory, joinable) = (self.memory, ticket.clone());
        let call = Box::pin(async move {
            fetch.run().await;
            if let Some(ticket) = joinable {
                ticket.close();
            }
            drop(memory);
        });
        let (sent, unfinished) = send::lead(session, ctx, call, reader).await;
        if let Some(call) = unfinished.filter(|_| sent == Sent::ClientGone) {
            let finishes = on_disconnect == OnDisconnect::Finish && recording.is_kept();
            let readers = Readers { recording, ticket };
            if finishes || readers.are_there() {
                let (room, report, shared) =
                    (ctx.room.take(), Arc::clone(&ctx.report), Arc::clone(self.shared));
                tokio::spawn(async move {
                    if finishes {
                        call.await
                    } else {
                        readers.while_there(call).await
                    }
                    count_tokens(&shared, &report);
                    drop(room);
                });
            }
        }
        match sent {
            Sent::Unbegun(failure) => Err(rejection_of(failure)),
            sent => {
                ctx.outcome = Some(sent.outcome(Outcome::Forwarded));
                Ok(sent)
            }
        }
    }

    /// Memory for the beginning of a recording; `None` if there is none.
    fn window(&self, ctx: &Ctx) -> Option<Permit> {
        let mut permit = self.shared.permit(ctx);
        permit.try_grow(WINDOW).then_some(permit)
    }

    /// The head as it is sent on, but for what depends on the server.
    fn outbound_head(&self, session: &ServerSession, ctx: &Ctx) -> Result<OutboundHead, Rejection> {
        let Some(request_id) = &ctx.request_id else { return Err(Rejection::Internal) };
        let head = session.req_header();
        let mut fields = headers::message_fields(&head.headers, &self.nominated);
        let outbound = Outbound {
            route: &self.live.route,
            upstream: &self.live.upstream.settings,
            address: self.address,
            request_id,
            path: head.uri.path(),
            host: headers::host_of(head),
            scheme: headers::scheme_of(session),
        };
        headers::to_upstream(&mut fields, &outbound)
            .and_then(|()| fields.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len())))
            .map_err(|_| Rejection::Internal)?;
        Ok(OutboundHead {
            method: head.method.clone(),
            uri: head.uri.clone(),
            target: odd_target(head),
            fields,
        })
    }
}

/// Those who read a call.
struct Readers {
    recording: Arc<Recording>,
    ticket: Option<Arc<Ticket>>,
}

impl Readers {
    /// True if there is one. When there is none, there will be none.
    fn are_there(&self) -> bool {
        if self.recording.is_read() {
            return true;
        }
        if let Some(ticket) = &self.ticket {
            ticket.close();
        }
        // One may have joined before that.
        self.recording.is_read()
    }

    /// Drives `call` to its end, or until nobody reads it any more.
    async fn while_there(&self, mut call: Pin<Box<impl Future<Output = ()>>>) {
        loop {
            tokio::select! {
                biased;
                () = &mut call => return,
                () = self.recording.deserted() => if !self.are_there() { return },
            }
        }
    }
}

/// True if a call failed before anything of the request was sent: another may be made without running a model twice.
fn was_unsent(failure: Failure) -> bool {
    matches!(failure, Failure::Connect | Failure::ConnectTimeout | Failure::Stopped)
}

/// The target's bytes where they are more than its URI tells.
fn odd_target(head: &RequestHeader) -> Option<Box<[u8]>> {
    let told = head.uri.path_and_query().map(|target| target.as_str().as_bytes());
    let raw = head.raw_path();
    (raw.starts_with(b"/") && told != Some(raw)).then(|| raw.into())
}
