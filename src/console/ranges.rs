//! The links by which a reader chooses the span of a report.

use crate::console::address::address;
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
        let account = chosen(&report.account, member);
        let link = |range: crate::console::reports::Range| RangeLink {
            name: range.name,
            text: range.text,
            path: address(path, &[("range", range.name), ("account", account)]),
            is_current: range == report.range,
        };
        Self { links: RANGES.into_iter().map(link).collect() }
    }
}

/// What the address of a page says so that it stays with `account`; empty: it is one's own.
pub(super) fn chosen<'a>(account: &'a AccountId, member: &Member) -> &'a str {
    let own = member.visitor.person.membership.as_ref().map(|place| &place.account);
    if own == Some(account) { "" } else { account.as_str() }
}
