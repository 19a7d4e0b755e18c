//! How long a server wants to be left alone: what a 429 or 503 says of when to come again (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::clock::UnixTime;

/// The same in milliseconds, as OpenAI's servers and clients use it beside the standard's field.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The rest that an answer asks for at the time that `now` tells; `None` if it asks for none, as nearly all do.
pub fn rest_of(status: StatusCode, fields: &HeaderMap, now: impl FnOnce() -> UnixTime) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let millis = fields.get(RETRY_AFTER_MS).and_then(number).map(Duration::from_millis);
    let rest = millis.or_else(|| fields.get(RETRY_AFTER).and_then(|value| spelt(value, now())))?;
    (!rest.is_zero()).then_some(rest)
}

/// Seconds, or a date.
fn spelt(value: &HeaderValue, now: UnixTime) -> Option<Duration> {
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let since_epoch = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since_epoch.saturating_sub(Duration::from_nanos(now.as_nanos())))
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::RETRY_AFTER;
    use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

    use super::{RETRY_AFTER_MS, rest_of};
    use crate::clock::UnixTime;

    /// 1994-11-06T08:49:37Z.
    const NOW: UnixTime = UnixTime::from_secs(784_111_777);

    #[track_caller]
    fn check(status: u16, fields: &[(HeaderName, &'static str)], millis: Option<u64>) {
        let field =
            |(name, value): &(HeaderName, &'static str)| (name.clone(), HeaderValue::from_static(value));
        let fields: HeaderMap = fields.iter().map(field).collect();
        let status = StatusCode::from_u16(status).expect("a status");
        assert_eq!(
            rest_of(status, &fields, || NOW),
            millis.map(Duration::from_millis),
            "{status} {fields:?}"
        );
    }

    #[test]
    fn a_rest_is_asked_for_in_seconds_milliseconds_or_by_a_date() {
        check(429, &[(RETRY_AFTER, "7")], Some(7000));
        check(503, &[(RETRY_AFTER, "7")], Some(7000));
        check(429, &[(RETRY_AFTER, "7"), (RETRY_AFTER_MS, "250")], Some(250));
        check(429, &[(RETRY_AFTER, "7"), (RETRY_AFTER_MS, "soon")], Some(7000));
        check(503, &[(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:40 GMT")], Some(3000));
    }

    #[test]
    fn nothing_else_is_a_rest() {
        check(200, &[(RETRY_AFTER, "7")], None);
        check(500, &[(RETRY_AFTER, "7")], None);
        check(429, &[], None);
        for value in
            ["0", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1993 08:49:37 GMT"]
        {
            check(429, &[(RETRY_AFTER, value)], None);
        }
    }
}
