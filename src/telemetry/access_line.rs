//! A request's line in the access log: one JSON object, written straight into the text.
//!
//! A line is a part of what each request costs, so that only what others chose is looked through for characters to
//! escape: names and numbers are written as they are.

use std::time::Duration;

use itoa::Integer;

use crate::ids::KeyId;
use crate::outcome::finished::Finished;

/// Writes the line of `finished`, whose head had been read at `time`. Absent values are left out.
pub(super) fn write(text: &mut Vec<u8>, finished: &Finished, time: &str) {
    put(text, "{\"time\":\"", time);
    text.extend_from_slice(b"\",\"request_id\":");
    escaped(text, &finished.request_id);
    if let Some(key) = &finished.key {
        text.extend_from_slice(b",\"key\":");
        escaped(text, KeyId::as_str(key));
    }
    if let Some(route) = &finished.route {
        text.extend_from_slice(b",\"route\":");
        escaped(text, route);
    }
    put(text, ",\"method\":\"", finished.method);
    put(text, "\",\"outcome\":\"", finished.outcome.as_str());
    number(text, "\",\"status\":", finished.status);
    millis(text, ",\"duration_ms\":", finished.duration);
    if let Some(waited) = finished.upstream_first_byte {
        millis(text, ",\"upstream_first_byte_ms\":", waited);
    }
    number(text, ",\"bytes_received\":", finished.bytes_received);
    number(text, ",\"bytes_sent\":", finished.bytes_sent);
    if let Some(tokens) = finished.tokens {
        let usage = tokens.usage();
        number(text, ",\"tokens\":{\"prompt\":", usage.prompt);
        number(text, ",\"completion\":", usage.completion);
        number(text, ",\"cached\":", usage.cached);
        if tokens.told().is_none() {
            text.extend_from_slice(b",\"estimated\":true");
        }
        text.push(b'}');
    }
    text.extend_from_slice(b"}\n");
}

fn put(text: &mut Vec<u8>, name: &str, value: &str) {
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(value.as_bytes());
}

fn number(text: &mut Vec<u8>, name: &str, value: impl Integer) {
    put(text, name, itoa::Buffer::new().format(value));
}

/// Milliseconds with three decimals.
fn millis(text: &mut Vec<u8>, name: &str, span: Duration) {
    number(text, name, span.as_millis());
    let mut digits = itoa::Buffer::new();
    // A leading digit keeps the zeros of the decimals.
    let decimals = digits.format(1000 + span.subsec_micros() % 1000);
    put(text, ".", decimals.get(1..).unwrap_or_default());
}

/// A JSON string.
fn escaped(text: &mut Vec<u8>, value: &str) {
    // Strings always serialise, and a Vec takes all that is written.
    let _ = serde_json::to_writer(text, value);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::write;
    use crate::clock::UnixTime;
    use crate::llm::usage::{Tokens, Usage};
    use crate::outcome::finished::{Finished, Outcome};

    fn line(finished: &Finished) -> String {
        let mut text = Vec::new();
        write(&mut text, finished, "2027-01-15T08:00:00.000Z");
        String::from_utf8(text).expect("a line is text")
    }

    #[test]
    fn everything_known_is_told_and_the_rest_left_out() {
        let mut finished = Finished {
            at: UnixTime::default(),
            request_id: "a\"b".into(),
            key: None,
            route: Some("/v1\u{7}".into()),
            method: "POST",
            outcome: Outcome::Forwarded,
            status: 200,
            duration: Duration::from_nanos(12_003_499),
            upstream_first_byte: Some(Duration::from_secs(2)),
            bytes_received: 0,
            bytes_sent: u64::MAX,
            tokens: Some(Tokens::Told(Usage { prompt: 1, completion: 2, cached: 3 })),
        };
        assert_eq!(
            line(&finished),
            "{\"time\":\"2027-01-15T08:00:00.000Z\",\"request_id\":\"a\\\"b\",\"route\":\"/v1\\u0007\",\
             \"method\":\"POST\",\"outcome\":\"forwarded\",\"status\":200,\"duration_ms\":12.003,\
             \"upstream_first_byte_ms\":2000.000,\"bytes_received\":0,\"bytes_sent\":18446744073709551615,\
             \"tokens\":{\"prompt\":1,\"completion\":2,\"cached\":3}}\n"
        );
        finished.request_id = "id".into();
        (finished.route, finished.upstream_first_byte, finished.tokens) = (None, None, None);
        (finished.status, finished.bytes_sent) = (0, 1);
        assert_eq!(
            line(&finished),
            "{\"time\":\"2027-01-15T08:00:00.000Z\",\"request_id\":\"id\",\"method\":\"POST\",\
             \"outcome\":\"forwarded\",\"status\":0,\"duration_ms\":12.003,\"bytes_received\":0,\
             \"bytes_sent\":1}\n"
        );
    }
}
