//! The links by which a reader chooses the span of a report.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::console::asked::Member;
use crate::console::reports::{RANGES, Report};
use crate::ids::AccountId;

/// The spans of a page.
#[derive(Default)]
pub(super) struct Ranges {
    /// One each.
    pub(super) links: Vec<RangeLink>,
}

/// A span, and where it is shown.
pub(super) struct RangeLink {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) path: String,
    pub(super) is_current: bool,
}

impl Ranges {
    /// Those of the page at `path`, which shows `report`.
    pub(super) fn of(path: &str, report: Option<&Report>, member: &Member) -> Self {
        let Some(report) = report else { return Self::default() };
        let account = account_suffix(&report.account, member);
        let link = |range: crate::console::reports::Range| RangeLink {
            name: range.name,
            text: range.text,
            path: format!("{path}?range={}{account}", range.name),
            is_current: range == report.range,
        };
        Self { links: RANGES.into_iter().map(link).collect() }
    }
}

/// What the address of a page says behind its query's first field so that it stays with `account`; empty: it is one's own.
pub(super) fn account_suffix(account: &AccountId, member: &Member) -> String {
    let own = member.visitor.person.membership.as_ref().map(|place| &place.account);
    if own == Some(account) {
        return String::new();
    }
    format!("&account={}", utf8_percent_encode(account.as_str(), NON_ALPHANUMERIC))
}
