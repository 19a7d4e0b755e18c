//! A request that the cache could not answer makes a call, or reads what another's call for the same brings: single
//! flight. A call belongs to all who read it: it goes on when the client leaves for whom it was made.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use pingora::http::RequestHeader;

use crate::cache::control::CacheStatus;
use crate::cache::entries::{Entry, Slot};
use crate::cache::flights::{Asking, Boarding, FlightKey, Ticket};
use crate::cache::policy::OnDisconnect;
use crate::cache::recording::reader::Reader;
use crate::cache::recording::writer::Writer;
use crate::cache::recording::{AnswerHead, Failure, Recording, WINDOW, begin};
use crate::clock::Monotonic;
use crate::memory::Permit;
use crate::outcome::finished::Outcome;
use crate::outcome::rejection::Rejection;
use crate::proxy::answer::{Plan, Request, send_hit};
use crate::proxy::ctx::{Ctx, Report};
use crate::proxy::fetch::{Fetch, OutboundHead};
use crate::proxy::finish::{Payer, class_of, count_saved};
use crate::proxy::headers::{self, Outbound};
use crate::proxy::reading::Storing;
use crate::proxy::send::{self, ClientWatch, Sent, rejection_of};
use crate::proxy::session::Session;
use crate::shelf::flight::{Hold, Next};

/// How often a request joins anew whose call was given up before anything of it was sent.
const MOST_STOPS: u32 = 8;

/// A call that is about to be made.
struct Departure {
    writer: Writer,
    reader: Reader,
    /// While it is held the call may be joined; `None`: it never may.
    ticket: Option<Ticket>,
    /// While it is held other gateways wait for the answer.
    hold: Option<Hold>,
    begun: Monotonic,
}

/// What other gateways have of an answer.
enum Elsewhere {
    /// Nothing: the call is to be made here, with a hold if they wait for it.
    Nothing(Option<Hold>),
    /// The answer.
    Answer(Arc<Entry>),
    /// The client has left meanwhile.
    Gone,
}

/// What has come of the calls that a request joined.
#[derive(Default)]
struct Joined {
    has_failed: bool,
    stops: u32,
}

/// Whom a call may be shared with.
enum Company {
    Any,
    None,
}

impl Joined {
    /// What is left to do when a call has failed that was joined. Another may be made or joined where nothing of the one
    /// that failed had been sent, so that no model runs twice; once, where no server could be reached.
    ///
    /// # Errors
    /// The client is to be told.
    fn next(&mut self, failure: Failure) -> Result<Company, Failure> {
        match failure {
            // The answer is another's alone.
            Failure::Unshared => Ok(Company::None),
            Failure::Connect | Failure::ConnectTimeout if !self.has_failed => {
                self.has_failed = true;
                Ok(Company::Any)
            }
            Failure::Stopped if self.stops < MOST_STOPS => {
                self.stops += 1;
                Ok(Company::Any)
            }
            // Who leads keeps leaving.
            Failure::Stopped => Ok(Company::None),
            failure => Err(failure),
        }
    }
}

impl Request<'_> {
    /// Answers by a call: by one for the same that is under way, or by one of its own.
    ///
    /// # Errors
    /// The client is still to be told.
    pub(super) async fn call(
        self,
        session: &mut Session,
        ctx: &mut Ctx,
        mut plan: Plan,
    ) -> Result<Sent, Rejection> {
        let mut joined = Joined::default();
        let mut flight = plan.flight();
        while let Some(key) = flight {
            let now = self.shared.clock.monotonic();
            let is_good = |epoch| self.shared.shelf.is_good(epoch, &key.slot.key, || self.origin(ctx, &plan));
            let asking = Asking { now, epoch: plan.epoch, is_good };
            let boarding =
                self.shared.flights.board(&key, asking, || self.memory.another(), || self.window(ctx));
            let reader = match boarding.ok_or(Rejection::Overloaded)? {
                Boarding::Join(reader) => reader,
                Boarding::Lead(ticket, writer, reader) => {
                    // The call that this request would have joined may have ended since the cache was asked.
                    if let Some((entry, age)) = self.stored_meanwhile(&plan, &key.slot, now) {
                        drop((ticket, writer, reader, self.memory, self.body));
                        return send_hit(self.shared, session, ctx, (&entry, age)).await;
                    }
                    let elsewhere = match self.shared.shelf.is_shared() {
                        true => Box::pin(self.elsewhere(session, ctx, &mut plan, &key)).await,
                        false => Elsewhere::Nothing(None),
                    };
                    let hold = match elsewhere {
                        Elsewhere::Nothing(hold) => hold,
                        Elsewhere::Answer(entry) => {
                            replay(writer, &entry);
                            drop(ticket);
                            return self.join(session, ctx, reader).await;
                        }
                        Elsewhere::Gone => {
                            ctx.outcome = Some(Outcome::ClientClosed);
                            return Ok(Sent::ClientGone);
                        }
                    };
                    // Others may have been waited for.
                    let begun = if hold.is_some() { self.shared.clock.monotonic() } else { now };
                    let departure = Departure { writer, reader, ticket: Some(ticket), hold, begun };
                    return self.lead(session, ctx, plan, departure).await;
                }
            };
            flight = match ClientWatch::default().until_gone(session, reader.head()).await {
                None => {
                    ctx.outcome = Some(Outcome::ClientClosed);
                    return Ok(Sent::ClientGone);
                }
                Some(Ok(_)) => return self.join(session, ctx, reader).await,
                Some(Err(failure)) => match joined.next(failure).map_err(rejection_of)? {
                    Company::Any => Some(key),
                    Company::None => None,
                },
            };
        }
        let (writer, reader) = begin(self.window(ctx).ok_or(Rejection::Overloaded)?);
        let begun = self.shared.clock.monotonic();
        self.lead(session, ctx, plan, Departure { writer, reader, ticket: None, hold: None, begun }).await
    }

    /// Asks the gateways that share answers: another may be making this call. If so its answer is waited for, for as long as
    /// an upstream's first byte is.
    async fn elsewhere(
        &self,
        session: &mut Session,
        ctx: &Ctx,
        plan: &mut Plan,
        key: &FlightKey,
    ) -> Elsewhere {
        let flight = || self.shared.shelf.flight(key, self.origin(ctx, plan).account.as_ref());
        let Some(mut flight) = (!plan.is_unasked).then(flight).flatten() else {
            return Elsewhere::Nothing(None);
        };
        let landing = async {
            loop {
                match flight.next(&ctx.waited).await {
                    Next::Call(hold) => return Elsewhere::Nothing(hold),
                    Next::Look => {}
                }
                self.fetch(plan, flight.slot(), ctx).await;
                if let Some((entry, _)) = self.find_in_memory(plan, &flight.slot(), ctx).await {
                    flight.landed();
                    return Elsewhere::Answer(entry);
                }
            }
        };
        let landing = tokio::time::timeout(self.live.settings.first_byte_timeout, landing);
        match ClientWatch::default().until_gone(session, landing).await {
            Some(landed) => landed.unwrap_or(Elsewhere::Nothing(None)),
            None => Elsewhere::Gone,
        }
    }

    fn stored_meanwhile(&self, plan: &Plan, slot: &Slot, now: Monotonic) -> Option<(Arc<Entry>, Duration)> {
        if !self.shared.entries.may_have(slot) {
            return None;
        }
        let found = self.shared.entries.find(slot, now).filter(|(_, age)| plan.control.accepts(*age));
        found.inspect(|_| self.shared.counters.hits.inc())
    }

    /// Reads another's call, whose head is there: the request itself is of no use any more. What is on its way to the
    /// client counts as much as where a call is made for it.
    ///
    /// # Errors
    /// There is no memory for that.
    async fn join(self, session: &mut Session, ctx: &mut Ctx, mut reader: Reader) -> Result<Sent, Rejection> {
        let (shared, mut memory) = (self.shared, self.memory);
        drop(self.body);
        memory.shrink_to(WINDOW);
        if !memory.try_grow_to(WINDOW) {
            return Err(Rejection::Overloaded);
        }
        ctx.cache_status = Some(CacheStatus::Collapsed);
        let sent = send::follow(session, ctx, &mut reader, None).await;
        if sent == Sent::Whole {
            // What it cost is told when it has come to its end.
            reader.end().await;
            count_saved(shared, ctx, reader.recording().usage());
        }
        ctx.outcome = Some(sent.outcome(Outcome::Collapsed));
        Ok(sent)
    }

    /// Makes a call and sends what it brings.
    async fn lead(
        self,
        session: &mut Session,
        ctx: &mut Ctx,
        plan: Plan,
        departure: Departure,
    ) -> Result<Sent, Rejection> {
        let Departure { writer, reader, ticket, hold, begun } = departure;
        let recording = Arc::clone(writer.recording());
        let is_stored = plan.slot.is_some() && plan.control.may_write;
        let origin = is_stored.then(|| self.origin(ctx, &plan));
        let storing = plan.slot.zip(origin).map(|((slot, policy), origin)| Storing {
            slot,
            apart: plan.apart,
            policy,
            max_entry: ctx.policy.snapshot.config.cache.max_entry.as_u64(),
            begun,
            epoch: plan.epoch,
            origin,
        });
        let on_disconnect =
            storing.as_ref().map_or(OnDisconnect::Stop, |storing| storing.policy.on_disconnect);
        let fetch = Fetch {
            shared: Arc::clone(self.shared),
            live: Arc::clone(self.live),
            head: self.outbound_head(session, ctx)?,
            body: self.body,
            memory: self.memory,
            writer,
            storing,
            hold,
            api: plan.api,
            report: Arc::clone(&ctx.report),
        };
        let call = Box::pin(async move {
            fetch.run().await;
            drop(ticket);
        });
        let (sent, unfinished) = send::lead(session, ctx, call, reader).await;
        if let Some(mut call) = unfinished.filter(|_| sent == Sent::ClientGone) {
            let finishes = on_disconnect == OnDisconnect::Finish && recording.is_kept();
            if finishes || !recording.close_if_deserted() {
                let (room, report, shared) =
                    (ctx.room.take(), Arc::clone(&ctx.report), Arc::clone(self.shared));
                let (key, model) = (ctx.key.clone(), ctx.model.clone());
                let (class, at) = (class_of(ctx.cache_status), ctx.started.unix);
                let recording = Arc::clone(&recording);
                tokio::spawn(async move {
                    if finishes {
                        call.await
                    } else {
                        while_read(&recording, call, &report).await
                    }
                    if let Some(key) = &key {
                        Payer { key, model: model.as_deref(), class, at }.pay(&shared, &report);
                    }
                    drop(room);
                });
            } else {
                stop(&mut call, &ctx.report);
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
    fn outbound_head(&self, session: &Session, ctx: &Ctx) -> Result<OutboundHead, Rejection> {
        let Some(request_id) = &ctx.request_id else { return Err(Rejection::Internal) };
        let head = session.head();
        let mut fields = headers::message_fields(&head.headers, &self.nominated);
        let outbound = Outbound {
            route: &self.live.route,
            upstream: &self.live.settings,
            address: self.address,
            request_id,
            path: head.uri.path(),
            host: headers::host_of(head),
            scheme: session.scheme(),
        };
        headers::to_upstream(&mut fields, &outbound).map_err(|_| Rejection::Internal)?;
        Ok(OutboundHead {
            method: head.method.clone(),
            uri: head.uri.clone(),
            target: odd_target(head),
            fields,
        })
    }
}

/// Writes an answer that another gateway's call has brought, for all who wait for it here.
fn replay(writer: Writer, entry: &Entry) {
    let Some((head, body)) = entry.recording.head().zip(entry.recording.body()) else {
        return writer.fail(Failure::Stopped);
    };
    writer.head(AnswerHead::clone(&head));
    if !writer.push(body) {
        writer.window();
    }
    writer.complete(entry.usage);
}

/// Drives `call` to its end, or until nobody reads `recording` any more.
async fn while_read(recording: &Recording, mut call: Pin<Box<impl Future<Output = ()>>>, report: &Report) {
    loop {
        tokio::select! {
            biased;
            () = &mut call => return,
            // One may have joined since.
            () = recording.deserted() => if recording.close_if_deserted() { return stop(&mut call, report) },
        }
    }
}

/// Ends a call that nobody reads any more: it tells what it has cost so far. One that is not that far has cost nothing that
/// is known, and is dropped.
fn stop(call: &mut Pin<Box<impl Future<Output = ()>>>, report: &Report) {
    report.stop();
    let _ = call.as_mut().now_or_never();
}

/// The target's bytes where they are more than its URI tells.
fn odd_target(head: &RequestHeader) -> Option<Box<[u8]>> {
    let told = head.uri.path_and_query().map(|target| target.as_str().as_bytes());
    let raw = head.raw_path();
    (raw.starts_with(b"/") && told != Some(raw)).then(|| raw.into())
}
