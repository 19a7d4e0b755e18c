//! The Date of an answer (RFC 9110 §6.6.1): written anew once a second, for each worker.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixTime;

/// Bytes of a date, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

thread_local! {
    /// The second that was told last, and its text.
    static LAST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [b' '; LENGTH])) };
}

/// `now` as an HTTP date.
pub(super) fn http_date(now: UnixTime) -> [u8; LENGTH] {
    let seconds = now.as_secs();
    let (told, text) = LAST.get();
    if told == seconds {
        return text;
    }
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    let mut bytes = [b' '; LENGTH];
    bytes.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    LAST.set((seconds, bytes));
    bytes
}

#[cfg(test)]
mod tests {
    use super::http_date;
    use crate::clock::UnixTime;

    #[test]
    fn a_date_is_told_as_http_has_it() {
        for (seconds, date) in [
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, b"Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
            (4_102_444_799, b"Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            assert_eq!(&http_date(UnixTime::from_secs(seconds)), date);
        }
    }
}
