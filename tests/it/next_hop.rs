//! Odd requests through the gateway to real servers: what arrives at nginx and at HAProxy is one well-formed request or
//! none, and whoever comes next over the same connection gets their own answer.

use std::net::Shutdown;

use crate::next_hop::corpus::{Expected, SECTIONS};
use crate::support::client::{Client, eventually};
use crate::support::front::{CACHED, PATHS};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::next_hop::{Kind, NextHop};
use crate::support::strict::{self, Whole};
use crate::support::tap::Tap;
use crate::support::upstream::{Exchange, Request, Upstream};

mod corpus;

/// What stands for more than a line of a chunked body may hold.
const LONG: usize = 9000;

/// A gateway, a tap, a next hop, and a recorder of what that understood.
struct Chain {
    gateway: Gateway,
    tap: Tap,
    recorder: Upstream,
    /// How many bytes of each line of the tap have been looked at.
    looked_at: Vec<usize>,
    _hop: NextHop,
}

/// Answers with what the request is known by: its mark, and an odd one its id.
fn record(request: &Request, exchange: &mut Exchange) {
    if request.line.starts_with("HEAD ") {
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        return;
    }
    let body = String::from_utf8_lossy(&request.body);
    if body.starts_with("{\"mark\"") {
        exchange.json(&format!("{{\"choices\":[{{\"finish_reason\":\"stop\"}}],\"for\":{body}}}"));
    } else {
        let id = request.header("x-request-id").unwrap_or("nobody");
        exchange.answer("200 OK", "text/plain", format!("for {id}"));
    }
}

impl Chain {
    fn start(kind: Kind) -> Self {
        let recorder = Upstream::start(record);
        let hop = NextHop::start(kind, recorder.address());
        let tap = Tap::before(hop.socket());
        // One at a time: whoever comes next takes the same connection.
        let gateway = Gateway::start(&format!(
            "upstreams: {{llm: {{servers: [\"{}\"], max_concurrent: 1, queue: {{length: 9, wait: 9s}}}}}}\n\
             routes:\n  - {{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}\n\
             \x20 - {{path: /socket/*, upstream: llm, upgrade: websocket}}\n\
             limits: {{head: {{timeout: 500ms}}}}\nkeys:\n{}",
            tap.url(),
            key("one", "")
        ));
        Self { gateway, tap, recorder, looked_at: Vec::new(), _hop: hop }
    }

    /// What arrived since the last look, and on which line. All of it is in the strictest form.
    fn arrived(&mut self) -> Result<Vec<(usize, Whole)>, String> {
        let lines = self.tap.lines();
        self.looked_at.resize(lines.len(), 0);
        let mut all = Vec::new();
        for (number, (line, at)) in lines.iter().zip(&mut self.looked_at).enumerate() {
            let (whole, length) = strict::requests(&line.sent[*at..])?;
            *at += length;
            all.extend(whole.into_iter().map(|whole| (number, whole)));
        }
        Ok(all)
    }

    /// Waits until every line that carries a part of a request has been ended, so that nothing can complete it.
    fn parts_are_given_up(&self, template: &str) {
        eventually(&format!("{template:?} ends the connection that a part of it took"), || {
            let lines = self.tap.lines();
            lines.iter().zip(&self.looked_at).all(|(line, at)| line.is_over || line.sent.len() == *at)
        });
    }

    /// Sends one odd request and holds it to what is expected. The line that it took, if it arrived.
    fn odd(
        &mut self,
        id: &str,
        path: &str,
        (template, expected): (&str, Expected),
    ) -> Result<Option<usize>, String> {
        let (bytes, is_all) = raw(template, path, id);
        let mut client = self.gateway.connect();
        client.try_send(&bytes);
        if is_all {
            let _ = client.stream().shutdown(Shutdown::Write);
        }
        let answered = answer(&mut client);
        let expected = expected.on(path);
        let told = expected.answer(id);
        if answered != told {
            return Err(format!("answered {answered:?}, not {told:?}"));
        }
        let arrived = self.arrived()?;
        let understood: Vec<_> = self.recorder.take().into_iter().map(understood).collect();
        let wholes: Vec<_> = arrived.iter().map(|(_, whole)| whole.clone()).collect();
        let wanted: Vec<_> = expected.arrives(path).into_iter().collect();
        if wholes != wanted || understood != wanted {
            return Err(format!("sent on {wholes:?}, understood as {understood:?}, not {wanted:?}"));
        }
        // Behind an answer to HEAD a server may have sent a body all the same: its connection is not used again.
        Ok(arrived.first().filter(|(_, whole)| !whole.line.starts_with("HEAD ")).map(|(line, _)| *line))
    }

    /// Sends another client's request with a mark of its own, which gets its own answer, over the connection `line` if
    /// there is one; on a cached path twice.
    fn marked(&mut self, id: &str, path: &str, line: Option<usize>) -> Result<(), String> {
        let body = format!("{{\"mark\":\"{id}\"}}");
        let expected = format!("{{\"choices\":[{{\"finish_reason\":\"stop\"}}],\"for\":{body}}}");
        let mut client = self.gateway.connect();
        for cached in ["MISS", "HIT"] {
            let answer = client.post(path, &secret("one"), &body);
            let state = answer.header("x-cache").unwrap_or_default();
            if (answer.status, answer.text()) != (200, expected.clone()) || path == CACHED && state != cached
            {
                return Err(format!("another's answer: {answer:?}"));
            }
            if path != CACHED {
                break;
            }
        }
        let whole = Whole { line: format!("POST {path}"), body: body.into_bytes() };
        let arrived = self.arrived()?;
        match arrived.as_slice() {
            [(at, arrived)] if *arrived == whole && line.is_none_or(|line| line == *at) => Ok(()),
            _ => Err(format!("another's request over {line:?}: {arrived:?}")),
        }?;
        let understood: Vec<_> = self.recorder.take().into_iter().map(understood).collect();
        if understood == [whole] { Ok(()) } else { Err(format!("another's request: {understood:?}")) }
    }
}

/// What a client hears until its connection ends: the status and the body of an answer, and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    status: u16,
    body: String,
    after: String,
}

/// `None`: nothing.
fn answer(client: &mut Client) -> Option<Heard> {
    let mut answer = client.try_head()?;
    while answer.status == 100 {
        answer = client.try_head()?;
    }
    client.body_of(&mut answer);
    let after = String::from_utf8_lossy(&client.rest()).into_owned();
    let body = if answer.status == 200 { answer.text() } else { title(&answer.text()) };
    Some(Heard { status: answer.status, body, after })
}

/// Of an error of the gateway's, that it is one.
fn title(body: &str) -> String {
    let is_ours = body.starts_with("{\"error\":") && body.contains(",\"message\":");
    if is_ours { "ours".to_owned() } else { body.to_owned() }
}

impl Expected {
    /// What of it is expected on this path.
    fn on(self, path: &str) -> Self {
        match self {
            Self::Either(cached, passed) => *if path == CACHED { cached } else { passed },
            other => other,
        }
    }

    fn answer(self, id: &str) -> Option<Heard> {
        let (status, body) = match self {
            Self::Passed(line, _) if line.starts_with("HEAD ") => (200, String::new()),
            Self::Passed(..) => (200, format!("for {id}")),
            Self::Refused(status) => (status, "ours".to_owned()),
            Self::Bare => (400, String::new()),
            Self::Silence | Self::Left | Self::Either(..) => return None,
        };
        Some(Heard { status, body, after: String::new() })
    }

    fn arrives(self, path: &str) -> Option<Whole> {
        let Self::Passed(line, body) = self else { return None };
        Some(Whole { line: line.replace("%P", path), body: body.as_bytes().to_vec() })
    }
}

fn understood(request: Request) -> Whole {
    let line = request.line.rsplit_once(' ').map_or("", |(line, _)| line).to_owned();
    Whole { line, body: request.body }
}

/// The bytes of a template, and whether its client says that they are all (see [`SECTIONS`]).
fn raw(template: &str, path: &str, id: &str) -> (Vec<u8>, bool) {
    let key = format!("Authorization: Bearer {}|X-Request-Id: {id}|", secret("one"));
    let (template, is_all) =
        template.strip_suffix('$').map_or((template, false), |template| (template, true));
    let text = template
        .replace("%H", "Host: g|Connection: close|%K")
        .replace("%K", &key)
        .replace("%P", path)
        .replace("%L", &"x".repeat(LONG))
        .replace('|', "\r\n");
    let bytes = text.chars().map(|character| u8::try_from(u32::from(character)).expect("a byte")).collect();
    (bytes, is_all)
}

fn holds_before(kind: Kind) {
    let mut chain = Chain::start(kind);
    let mut wrong = Vec::new();
    let (mut count, mut passed, mut bare) = (0, 0, 0);
    for section in SECTIONS {
        for (number, case) in section.cases.iter().enumerate() {
            for path in PATHS {
                let id = format!("{count}-{}", path.len());
                let held = chain.odd(&id, path, *case);
                passed += usize::from(matches!(held, Ok(Some(_))));
                let line = held.as_ref().ok().copied().flatten();
                match held.and_then(|_| chain.marked(&id, path, line)) {
                    Ok(()) => chain.parts_are_given_up(case.0),
                    Err(why) => {
                        wrong.push(format!("{} #{number} {path} {:?}: {why}", section.rfc, case.0));
                        chain = Chain::start(kind);
                    }
                }
            }
            count += 1;
            bare += if matches!(case.1, Expected::Bare | Expected::Silence) { PATHS.len() } else { 0 };
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    println!("measured {kind:?}: {count} odd requests on two paths, {passed} of them passed on");
    assert!(count >= 120, "{count}");
    chain.gateway.eventually("heads that the engine refuses are counted", |gateway| {
        gateway.metric("safecache_heads_refused_total") == bare as f64
    });
}

#[test]
fn odd_requests_reach_nginx_as_one_well_formed_request_or_not_at_all() {
    holds_before(Kind::Nginx);
}

#[test]
fn odd_requests_reach_haproxy_as_one_well_formed_request_or_not_at_all() {
    holds_before(Kind::HaProxy);
}

#[test]
fn each_section_says_its_rule_once() {
    let mut all: Vec<_> = SECTIONS.iter().flat_map(|section| section.cases).map(|case| case.0).collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "a request stands there twice");
    assert!(SECTIONS.iter().all(|section| section.rfc.contains('§') && section.rule.ends_with('.')));
}
