//! Active health checks: each server of an upstream that names a path for it is asked at its interval, by a GET on a
//! connection of its own, whether or not requests go there.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;
use tokio::sync::Semaphore;

use crate::cache::recording::Failure;
use crate::proxy::attempts::open_link;
use crate::proxy::exchange::{Event, Exchange};
use crate::proxy::incoming::Spelling;
use crate::proxy::outgoing::Outgoing;
use crate::proxy::shared::Shared;
use crate::proxy::upstreams::{Check, LiveServer, LiveUpstream};
use crate::upstream::settings::HealthCheck;

/// A check takes no longer than its interval, and no longer than this.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// Checks under way at the same time; the others wait for their turn.
const MOST_AT_ONCE: usize = 64;

/// The checks of all upstreams.
pub struct Checks {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
}

impl Checks {
    /// None is under way.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, turns: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// Begins every check that is due, in a task of its own; one that is still under way is not begun again.
    pub fn begin_due(&self) {
        let now = self.shared.clock.monotonic();
        for upstream in self.shared.policy().derived.upstreams() {
            let Some(check) = &upstream.settings.health else { continue };
            for index in 0..upstream.server_count() {
                if upstream.server(index).is_some_and(|server| server.begin_check(now, check.interval)) {
                    tokio::spawn(run(
                        Arc::clone(&self.shared),
                        Arc::clone(upstream),
                        index,
                        Arc::clone(&self.turns),
                    ));
                }
            }
        }
    }
}

async fn run(shared: Arc<Shared>, upstream: Arc<LiveUpstream>, index: usize, turns: Arc<Semaphore>) {
    let Ok(_turn) = turns.acquire().await else { return };
    let (Some(server), Some(check)) = (upstream.server(index), &upstream.settings.health) else { return };
    let longest = check.interval.min(LONGEST_CHECK);
    let asked = tokio::time::timeout(longest, ask(&shared, &upstream, server, check)).await;
    match asked {
        Ok(Ok(true)) => upstream.checked(index, Check::Passed),
        // It was not asked.
        Ok(Err(Failure::NoFiles)) => {}
        _ => upstream.checked(index, Check::Failed),
    }
    server.end_check();
}

/// True if the server answers that it is well.
async fn ask(
    shared: &Shared,
    upstream: &LiveUpstream,
    server: &LiveServer,
    check: &HealthCheck,
) -> Result<bool, Failure> {
    let addresses = server.in_turn().ok_or(Failure::Connect)?;
    let (_, address) = addresses.next(&[], shared.clock.monotonic()).ok_or(Failure::Connect)?;
    let link = open_link(shared, &address.peer).await?;
    let mut exchange = Exchange::new(link, &upstream.settings, Spelling::Lost);
    let head = head(upstream, server, check).ok_or(Failure::Invalid)?;
    exchange.begin(Outgoing::of(&head)?);
    exchange.end();
    while !matches!(exchange.event().await?, Event::Head) {}
    Ok(exchange.head().is_some_and(|head| head.status.is_success()))
}

/// What is asked: with the upstream's own credentials, as servers may want them here too. `None` cannot come up.
fn head(upstream: &LiveUpstream, server: &LiveServer, check: &HealthCheck) -> Option<RequestHeader> {
    let mut head = RequestHeader::build(Method::GET, check.path.as_bytes(), None).ok()?;
    let settings = &upstream.settings;
    head.insert_header(HOST, server.host.clone()).ok()?;
    head.insert_header(USER_AGENT, HeaderValue::from_static("safecache")).ok()?;
    head.insert_header(CONNECTION, HeaderValue::from_static("close")).ok()?;
    if let Some(authorization) = &settings.authorization {
        head.insert_header(AUTHORIZATION, authorization.clone()).ok()?;
    }
    for (name, value) in &settings.set_headers {
        head.insert_header(name.clone(), value.clone()).ok()?;
    }
    Some(head)
}
