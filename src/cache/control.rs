//! The client's say in the request's Cache-Control, and what the answer's Cache-Status and X-Cache tell it.

use std::time::Duration;

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use crate::cache::policy::Scope;

/// What a request's Cache-Control (RFC 9111 §5.2.1) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestControl {
    /// An entry may answer. Off with `no-cache`, `no-store` and `max-age=0`.
    pub may_read: bool,
    /// The answer may be stored. Off with `no-store`.
    pub may_write: bool,
    /// The oldest entry that may answer.
    pub max_age: Option<Duration>,
    /// Nothing but an entry may answer: 504 if there is none.
    pub only_if_cached: bool,
}

impl RequestControl {
    /// Reads all Cache-Control fields of a request. Unknown directives are passed over; the smallest `max-age`
    /// counts, and one without a readable number is 0.
    pub fn read(request: &HeaderMap) -> Self {
        let mut control = Self { may_read: true, may_write: true, max_age: None, only_if_cached: false };
        for (name, value) in directives(request) {
            if name.eq_ignore_ascii_case(b"no-store") {
                control.may_read = false;
                control.may_write = false;
            } else if name.eq_ignore_ascii_case(b"no-cache") {
                control.may_read = false;
            } else if name.eq_ignore_ascii_case(b"only-if-cached") {
                control.only_if_cached = true;
            } else if name.eq_ignore_ascii_case(b"max-age") {
                let age = Duration::from_secs(seconds(value.unwrap_or_default()));
                control.max_age = Some(control.max_age.map_or(age, |other| other.min(age)));
                control.may_read &= !age.is_zero();
            }
        }
        control
    }

    /// True if an entry of this age may answer.
    pub fn accepts(self, age: Duration) -> bool {
        self.may_read && self.max_age.is_none_or(|max_age| age <= max_age)
    }
}

/// The directives of all Cache-Control fields in order: each a name as it was written, and its argument without
/// quotes.
pub fn directives(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    headers.get_all(CACHE_CONTROL).iter().flat_map(|value| Elements(value.as_bytes())).map(|element| {
        match memchr::memchr(b'=', element).and_then(|equals| element.split_at_checked(equals)) {
            Some((name, argument)) => (name.trim_ascii(), Some(unquoted(argument))),
            None => (element, None),
        }
    })
}

/// The elements of a comma-separated list that are not empty; a comma in a quoted string does not separate.
struct Elements<'h>(&'h [u8]);

impl<'h> Iterator for Elements<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        while !self.0.is_empty() {
            let (element, rest) = self.0.split_at_checked(element_end(self.0)).unwrap_or((self.0, &[]));
            self.0 = rest.get(1..).unwrap_or_default();
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

fn element_end(list: &[u8]) -> usize {
    let mut in_quotes = false;
    let mut is_escaped = false;
    for (at, &byte) in list.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_quotes => is_escaped = true,
            b'"' => in_quotes = !in_quotes,
            b',' if !in_quotes => return at,
            _ => {}
        }
    }
    list.len()
}

/// An argument without its equals sign and quotes.
fn unquoted(argument: &[u8]) -> &[u8] {
    let argument = argument.strip_prefix(b"=").unwrap_or(argument).trim_ascii();
    match argument {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    }
}

/// Delta-seconds (RFC 9111 §1.2.2): too many count as 2³¹, what is no number as 0.
fn seconds(text: &[u8]) -> u64 {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    const MOST: u64 = 1 << 31;
    text.iter().fold(0, |total: u64, digit| MOST.min(total * 10 + u64::from(digit - b'0')))
}

/// How an answer came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// From an entry that will be served for `ttl` more, whole seconds told.
    Hit {
        /// What is left of the entry's life.
        ttl: Duration,
    },
    /// From the upstream, and stored if it completes.
    MissStored,
    /// From the upstream, and not stored.
    Miss,
    /// From an upstream call that another request had begun.
    Collapsed,
    /// Not a request that is cached.
    Bypass,
    /// From the upstream at the client's wish, and not stored.
    Request,
    /// From the upstream at the client's wish, and stored if it completes.
    RequestStored,
}

impl CacheStatus {
    /// The status that may be told where entries belong to `scope`: in global scope nothing that tells a hit from a
    /// miss, which would tell what others have asked.
    pub fn told_in(self, scope: Scope) -> Option<Self> {
        match (scope, self) {
            (Scope::Account, _) | (Scope::Global, Self::Bypass | Self::Request | Self::RequestStored) => {
                Some(self)
            }
            (Scope::Global, Self::Hit { .. } | Self::MissStored | Self::Miss | Self::Collapsed) => None,
        }
    }

    /// The value of Cache-Status (RFC 9211).
    pub fn header(self) -> HeaderValue {
        // Constants, so that their characters are checked once, by the compiler.
        match self {
            Self::Hit { ttl } => hit(ttl),
            Self::MissStored => const { HeaderValue::from_static("safecache; fwd=miss; stored") },
            Self::Miss => const { HeaderValue::from_static("safecache; fwd=miss") },
            Self::Collapsed => const { HeaderValue::from_static("safecache; fwd=miss; collapsed") },
            Self::Bypass => const { HeaderValue::from_static("safecache; fwd=bypass") },
            Self::Request => const { HeaderValue::from_static("safecache; fwd=request") },
            Self::RequestStored => const { HeaderValue::from_static("safecache; fwd=request; stored") },
        }
    }

    /// The value of X-Cache.
    pub fn x_cache(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Hit { .. } => "HIT",
            Self::MissStored | Self::Miss | Self::Collapsed => "MISS",
            Self::Bypass | Self::Request | Self::RequestStored => "BYPASS",
        })
    }
}

fn hit(ttl: Duration) -> HeaderValue {
    let text = format!("safecache; hit; ttl={}", ttl.as_secs());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or(HeaderValue::from_static("safecache; hit"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::CACHE_CONTROL;
    use http::{HeaderMap, HeaderValue};

    use super::{CacheStatus, RequestControl};
    use crate::cache::policy::Scope;

    fn read(values: &[&'static str]) -> RequestControl {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        RequestControl::read(&headers)
    }

    /// `may_read`, `may_write`, `max_age` in seconds, `only_if_cached`.
    #[track_caller]
    fn check(values: &[&'static str], expected: (bool, bool, Option<u64>, bool)) {
        let (may_read, may_write, max_age, only_if_cached) = expected;
        let max_age = max_age.map(Duration::from_secs);
        assert_eq!(
            read(values),
            RequestControl { may_read, may_write, max_age, only_if_cached },
            "{values:?}"
        );
    }

    #[test]
    fn nothing_asked_allows_all() {
        check(&[], (true, true, None, false));
        check(&[""], (true, true, None, false));
        check(&["max-stale=5, min-fresh=1, no-transform, , x"], (true, true, None, false));
        check(&["x=\"no-store, no-cache\""], (true, true, None, false));
        check(&["no-storeroom"], (true, true, None, false));
    }

    #[test]
    fn each_directive_is_heeded() {
        check(&["no-cache"], (false, true, None, false));
        check(&["No-Store"], (false, false, None, false));
        check(&["only-if-cached"], (true, true, None, true));
        check(&["max-age=60"], (true, true, Some(60), false));
        check(&["max-age=\"60\""], (true, true, Some(60), false));
        check(&["x=\"a\\\",no-cache\" , max-age = 5"], (true, true, Some(5), false));
    }

    #[test]
    fn several_fields_and_directives_add_up() {
        check(&["max-age=60", "only-if-cached,max-age=7"], (true, true, Some(7), true));
        check(&["no-cache", "no-store"], (false, false, None, false));
    }

    #[test]
    fn max_age_zero_or_unreadable_reads_nothing() {
        for value in ["max-age=0", "max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=soon"] {
            check(&[value], (false, true, Some(0), false));
        }
        check(&["max-age=99999999999999999999999"], (true, true, Some(1 << 31), false));
    }

    #[test]
    fn accepts_entries_up_to_max_age() {
        assert!(read(&[]).accepts(Duration::from_secs(1 << 40)));
        assert!(read(&["max-age=5"]).accepts(Duration::from_secs(5)));
        assert!(!read(&["max-age=5"]).accepts(Duration::from_millis(5001)));
        assert!(!read(&["no-cache"]).accepts(Duration::ZERO));
    }

    #[test]
    fn tells_each_status() {
        let hit = CacheStatus::Hit { ttl: Duration::from_millis(59_999) };
        let table = [
            (hit, "safecache; hit; ttl=59", "HIT", false),
            (CacheStatus::MissStored, "safecache; fwd=miss; stored", "MISS", false),
            (CacheStatus::Miss, "safecache; fwd=miss", "MISS", false),
            (CacheStatus::Collapsed, "safecache; fwd=miss; collapsed", "MISS", false),
            (CacheStatus::Bypass, "safecache; fwd=bypass", "BYPASS", true),
            (CacheStatus::Request, "safecache; fwd=request", "BYPASS", true),
            (CacheStatus::RequestStored, "safecache; fwd=request; stored", "BYPASS", true),
        ];
        for (status, header, x_cache, is_told_globally) in table {
            assert_eq!(status.header(), header);
            assert_eq!(status.x_cache(), x_cache);
            assert_eq!(status.told_in(Scope::Account), Some(status));
            assert_eq!(status.told_in(Scope::Global).is_some(), is_told_globally, "{header}");
        }
    }
}
