//! Query parameters that no call takes yet: words, numbers and times.

use safecache::api::query::{Query, When};
use safecache::clock::UnixTime;
use safecache::outcome::api_error::Details;

fn when(text: &str) -> Result<Option<When>, Option<Details>> {
    let query = Query::read(Some(&format!("from={text}")), &["from"]).expect("a known name");
    query.when("from").map_err(|error| error.details)
}

#[test]
fn times_and_dates_are_told_apart() {
    let seconds = UnixTime::from_secs;
    for (text, expected) in [
        ("2027-01-15T08:00:00Z", When::At(seconds(1_800_000_000))),
        ("2027-01-15T08:00:00.5Z", When::At(UnixTime::from_nanos(1_800_000_000_500_000_000))),
        ("2027-01-15T09:30:00%2B01:30", When::At(seconds(1_800_000_000))),
        ("2027-01-15", When::Day(seconds(1_800_000_000 - 8 * 3600))),
        ("1970-01-01", When::Day(seconds(0))),
        ("2028-02-29", When::Day(seconds(1_835_395_200))),
    ] {
        assert_eq!(when(text), Ok(Some(expected)), "{text}");
    }
    assert_eq!(Query::default().when("from"), Ok(None));
}

#[test]
fn what_is_no_time_is_refused() {
    for (text, received) in [
        ("", "empty string"),
        ("now", "now"),
        ("1800000000", "1800000000"),
        ("2027-02-29", "2027-02-29"),
        ("2027-1-5", "2027-1-5"),
        ("1969-12-31", "1969-12-31"),
        ("2027-01-15T08:00:00", "2027-01-15T08:00:00"),
        ("2027-01-15T08:00:00+01:00", "2027-01-15T08:00:00 01:00"),
        ("2027-01-15T08:00:00Z[UTC]", "2027-01-15T08:00:00Z[UTC]"),
        ("2027-01-15T25:00:00Z", "2027-01-15T25:00:00Z"),
    ] {
        let details = when(text).unwrap_err().expect("details");
        assert_eq!((details.field.as_ref(), details.received.as_ref()), ("from", received));
    }
}

#[test]
fn a_name_is_shown_in_part_and_without_harm() {
    let details = |query: &str| Query::read(Some(query), &[]).unwrap_err().details.expect("details");
    assert_eq!(details(&format!("{}=1", "x".repeat(5000))).received, "x".repeat(64));
    assert_eq!(details("%ff=1").received, "\u{fffd}");
    assert_eq!(details("=1").received, "");
    assert!(Query::read(Some("&&"), &[]).is_ok());
    assert!(Query::read(None, &[]).is_ok());
}
