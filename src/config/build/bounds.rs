//! Cache, limits, origins and shutdown.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::cache::policy::Scope;
use crate::config::build::Builder;
use crate::config::node::Place;
use crate::config::raw::{
    RawAuthFailures, RawCache, RawCors, RawDrain, RawHead, RawLimits, RawOff, RawScope, RawShutdown,
};
use crate::config::scalar::{Flag, Size, Slot, Span, Text};
use crate::config::{CacheSettings, Limits, MOST_HEAD_FIELDS, Provenance, Shutdown};
use crate::units::ByteSize;

const fn count(n: u32) -> NonZeroU32 {
    match NonZeroU32::new(n) {
        Some(n) => n,
        None => NonZeroU32::MIN,
    }
}

/// Heads outside of these bounds either refuse every client or hold no one back.
const HEAD_BYTES: (ByteSize, ByteSize) = (ByteSize::kib(1), ByteSize::mib(1));

impl Builder<'_> {
    /// The answer cache, and who is answered from it.
    pub(super) fn cache(&self, slot: Slot<RawCache>) -> (CacheSettings, Scope) {
        let root = Place::Root;
        let place = root.key("cache");
        let raw = slot.or(RawCache::default());
        let (memory_at, entry_at) = (place.key("memory"), place.key("max_entry"));
        let has_written_entry = matches!(raw.max_entry, Slot::Given(_));
        let memory = self.positive_size(raw.memory, &memory_at, ByteSize::mib(256));
        let max_entry = self.positive_size(raw.max_entry, &entry_at, ByteSize::mib(8).min(memory));
        if has_written_entry && memory < max_entry {
            self.scene.refuse(
                &entry_at,
                "is more than `cache.memory`",
                "no entry of that size could be kept",
            );
        }
        let disk = raw.disk.or(Size(ByteSize::mib(1024))).0;
        let scope = match raw.scope.or(RawScope::Account) {
            RawScope::Account => Scope::Account,
            RawScope::Global => Scope::Global,
        };
        if scope == Scope::Global && !raw.i_accept_shared_answers.or(Flag(false)).0 {
            let hint = "answers, and by their speed questions, pass between accounts; if that is meant, \
                        write `i_accept_shared_answers: true`";
            self.scene.refuse(&place.key("scope"), "`global` shares answers between accounts", hint);
        }
        (CacheSettings { memory, disk, max_entry }, scope)
    }

    /// Every bound of `limits`.
    pub(super) fn limits(&self, slot: Slot<RawLimits>) -> Limits {
        let root = Place::Root;
        let place = root.key("limits");
        let raw = slot.or(RawLimits::default());
        let head = raw.head.or(RawHead::default());
        let drain = raw.drain.or(RawDrain::default());
        let (head_at, drain_at) = (place.key("head"), place.key("drain"));
        let max_connections_from = match raw.max_connections {
            Slot::Absent => Provenance::Default,
            Slot::Bad | Slot::Given(_) => Provenance::Written,
        };
        let written = (raw.max_body.get().copied(), raw.buffer_memory_per_key.get().copied());
        let buffer_memory =
            self.positive_size(raw.buffer_memory, &place.key("buffer_memory"), ByteSize::mib(512));
        let limits = Limits {
            max_body: self.positive_size(raw.max_body, &place.key("max_body"), ByteSize::mib(32)),
            max_connections: self.positive(raw.max_connections, &place.key("max_connections"), count(10_000)),
            max_connections_from,
            max_connections_per_address: self.positive_if_given(
                raw.max_connections_per_address,
                &place.key("max_connections_per_address"),
            ),
            max_requests_per_connection: self.positive(
                raw.max_requests_per_connection,
                &place.key("max_requests_per_connection"),
                count(100_000),
            ),
            keep_alive: self.keep_alive(raw.keep_alive, &place.key("keep_alive")),
            max_requests: self.positive(raw.max_requests, &place.key("max_requests"), count(20_000)),
            head_timeout: self.positive_span(head.timeout, &head_at.key("timeout"), Duration::from_secs(10)),
            head_bytes: self.positive_size(head.bytes, &head_at.key("bytes"), ByteSize::kib(64)),
            head_fields: self.positive(head.fields, &head_at.key("fields"), count(100)),
            drain_bytes: drain.bytes.or(Size(ByteSize::mib(32))).0,
            drain_timeout: self.positive_span(
                drain.timeout,
                &drain_at.key("timeout"),
                Duration::from_secs(5),
            ),
            min_send_rate: raw.min_send_rate.or(Size(ByteSize::kib(1))).0,
            buffer_memory,
            buffer_memory_per_key: self.positive_size(
                raw.buffer_memory_per_key,
                &place.key("buffer_memory_per_key"),
                ByteSize::mib(64).min(buffer_memory),
            ),
            auth_failures: self.auth_failures(raw.auth_failures, &place.key("auth_failures")),
        };
        self.check_limits(&limits, written, &place);
        limits
    }

    /// What the limits must be to each other. Defaults give way; what was written does not.
    fn check_limits(&self, limits: &Limits, written: (Option<Size>, Option<Size>), place: &Place<'_>) {
        let (max_body, per_key) = written;
        if per_key.is_some() && limits.buffer_memory < limits.buffer_memory_per_key {
            let at = place.key("buffer_memory_per_key");
            self.scene.refuse(&at, "is more than `limits.buffer_memory`", "one key's share is a part of it");
        }
        if max_body.is_some() && limits.buffer_memory_per_key < limits.max_body {
            let at = place.key("max_body");
            let hint = "a body of that size could never be held; raise both or lower this";
            self.scene.refuse(&at, "is more than `limits.buffer_memory_per_key`", hint);
        }
        let (least, most) = HEAD_BYTES;
        if limits.head_bytes < least || most < limits.head_bytes {
            self.scene.refuse(
                &place.key("head").key("bytes"),
                "must be 1KiB to 1MiB",
                "64KiB is the default",
            );
        }
        if limits.head_fields.get() as usize > MOST_HEAD_FIELDS {
            let most = format!("must be 1 to {MOST_HEAD_FIELDS}");
            self.scene.refuse(&place.key("head").key("fields"), &most, "100 is the default");
        }
    }

    /// Connections over HTTP/1.1 count it in whole seconds.
    fn keep_alive(&self, slot: Slot<Span>, place: &Place<'_>) -> Duration {
        let default = Duration::from_secs(75);
        let Some(Span(span)) = slot.given() else { return default };
        if span < Duration::from_secs(1) {
            self.scene.refuse(place, "must be 1s or more", "75s is the default");
            return default;
        }
        span
    }

    fn auth_failures(&self, slot: Slot<RawAuthFailures>, place: &Place<'_>) -> Option<NonZeroU32> {
        match slot {
            Slot::Absent | Slot::Bad => Some(count(600)),
            Slot::Given(RawAuthFailures::Text(RawOff::Off)) => None,
            Slot::Given(RawAuthFailures::Number(number)) => {
                let failures = NonZeroU32::new(number.0);
                if failures.is_none() {
                    self.scene.refuse(place, "must not be 0", "write `off` for no bound");
                }
                failures
            }
        }
    }

    /// The origins whose preflights are answered.
    pub(super) fn cors_origins(&self, slot: Slot<RawCors>) -> Box<[Box<str>]> {
        let root = Place::Root;
        let cors = root.key("cors");
        let place = cors.key("origins");
        let mut origins: Vec<Box<str>> = Vec::new();
        for (index, item) in slot.or(RawCors::default()).origins.or(Vec::new()).into_iter().enumerate() {
            let at = place.index(index);
            let Some(Text(origin)) = item.given() else { continue };
            if !is_origin(&origin) {
                let hint = "as browsers send it: https://app.example.com, in lower case, without path or default port";
                self.scene.refuse(&at, format!("{} is no origin", self.scene.quote(&at)), hint);
            } else if origins.iter().any(|other| **other == *origin) {
                self.scene.refuse(&at, "this origin is listed twice", "remove one of them");
            } else {
                origins.push(origin.into());
            }
        }
        origins.into()
    }

    /// How the process ends.
    pub(super) fn shutdown(&self, slot: &Slot<RawShutdown>) -> Shutdown {
        let root = Place::Root;
        let place = root.key("shutdown");
        let (delay, timeout) = match slot.get() {
            Some(raw) => (raw.delay.get().copied(), raw.timeout.get().copied()),
            None => (None, None),
        };
        let timeout = timeout.map_or(Slot::Absent, Slot::Given);
        Shutdown {
            delay: delay.unwrap_or(Span(Duration::ZERO)).0,
            timeout: self.positive_span(timeout, &place.key("timeout"), Duration::from_secs(30)),
        }
    }
}

/// True for the origin of a web page as RFC 6454 serialises it.
fn is_origin(text: &str) -> bool {
    let (scheme_port, authority) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (":80", rest),
        (None, Some(rest)) => (":443", rest),
        (None, None) => return false,
    };
    let is_authority = authority.bytes().all(|b| {
        b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']')
    });
    !authority.is_empty() && is_authority && !authority.ends_with(scheme_port) && !authority.ends_with(':')
}
