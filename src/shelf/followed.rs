//! What a gateway knows of the purges of all gateways that share answers, which are numbered in one log.
//!
//! A gateway counts purges by itself, its own and those that it hears of; so which numbers of the log it had heard of when a
//! call began follows from the count that the call remembers. Of those pairs it keeps the newest: what an older call brings
//! is not shared.

use std::collections::VecDeque;

use crate::cache::entries::{Epoch, Origin};
use crate::cache::key::EntryKey;
use crate::shelf::shared::{Logged, MOST_LOGGED, Mark, News, Position, Tag};
use crate::shelf::told::Told;

/// The most pairs of a count and a number.
const MOST_PAIRS: usize = 1024;

/// What is known of the log; nothing at first.
#[derive(Debug, Default)]
pub(super) struct Followed {
    position: Option<Position>,
    told: Told,
    /// From which count on which number had been heard of; both rise.
    pairs: VecDeque<(u64, u64)>,
}

/// One gateway: its own purges it knows by their count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplicaMark(u64);

impl ReplicaMark {
    /// A gateway unlike all others.
    pub(super) fn new() -> Self {
        Self(fastrand::u64(..))
    }

    /// How its purge of this count is told from all others.
    pub(super) fn tag(self, count: u64) -> Tag {
        Tag(u128::from(self.0) << 64 | u128::from(count))
    }

    /// The count of its own purge; `None`: another's.
    pub(super) fn own(self, tag: Tag) -> Option<u64> {
        let [replica, count] = [tag.0 >> 64, tag.0 & u128::from(u64::MAX)];
        u64::try_from(count).ok().filter(|_| replica == u128::from(self.0))
    }
}

impl Followed {
    /// Begins with `news` of a log of which nothing was known before this `count`.
    pub(super) fn anew(news: &News, count: u64) -> Self {
        let before = news.purges.first().map_or(news.position.mark.number, |first| first.number - 1);
        let mut told = Told::since(before);
        news.purges.iter().for_each(|logged| told.note(logged.number, &logged.purge));
        let pairs = [(count, news.position.mark.number)].into();
        Self { position: Some(news.position), told, pairs }
    }

    /// What is known.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Takes up the next purge of the log, which this gateway has known from `count` on.
    pub(super) fn note(&mut self, logged: &Logged, count: u64) {
        let Some(position) = &mut self.position else { return };
        position.mark.number = logged.number;
        position.last = Some(logged.id);
        self.told.note(logged.number, &logged.purge);
        let from = self.pairs.back().map_or(count, |(last, _)| count.max(*last));
        self.pairs.push_back((from, logged.number));
        if self.pairs.len() > MOST_PAIRS {
            self.pairs.pop_front();
        }
    }

    /// The number that had been heard of when what was begun in `epoch` was.
    pub(super) fn mark(&self, epoch: Epoch) -> Option<Mark> {
        let log = self.position?.mark.log;
        let behind = self.pairs.partition_point(|(count, _)| *count <= epoch.purges());
        let (_, number) = self.pairs.get(behind.checked_sub(1)?)?;
        Some(Mark { log, number: *number })
    }

    /// True if an answer to `key` whose writer had heard of the purges up to `mark` must not be given: another purge
    /// forgets it, or its writer had heard of one that this gateway has not.
    pub(super) fn is_dead(&self, mark: Mark, key: &EntryKey, origin: &Origin) -> bool {
        let is_known =
            self.position.is_some_and(|known| known.mark.log == mark.log && mark.number <= known.mark.number);
        !is_known || self.told.forgets(mark.number, key, origin)
    }
}

const _: () = assert!(MOST_LOGGED <= MOST_PAIRS);

#[cfg(test)]
mod tests {
    use super::{Followed, MOST_PAIRS, ReplicaMark};
    use crate::cache::entries::{Epoch, Origin};
    use crate::cache::key::EntryKey;
    use crate::ids::AccountId;
    use crate::shelf::shared::{Begins, Logged, Mark, News, Position, Tag};
    use crate::store::proxied::Purge;

    const LOG: Tag = Tag(7);

    fn of_account(name: &str) -> Purge {
        Purge::Account { account: AccountId::new(name), allowed_models: Box::default() }
    }

    fn logged(number: u64, purge: Purge) -> Logged {
        Logged { number, id: Tag(u128::from(number)), purge }
    }

    fn news(number: u64, purges: Vec<Logged>) -> News {
        let mark = Mark { log: LOG, number };
        News { position: Position { mark, last: None }, begins: Begins::Anew, purges }
    }

    fn is_dead(followed: &Followed, account: &str, number: u64) -> bool {
        let origin = Origin { account: Some(AccountId::new(account)), route: "/v1/*".into(), model: None };
        followed.is_dead(Mark { log: LOG, number }, &EntryKey::from_bytes([1; 32]), &origin)
    }

    #[test]
    fn an_answer_is_dead_that_a_later_purge_concerns() {
        let mut followed = Followed::anew(&news(3, Vec::new()), 1);
        followed.note(&logged(4, of_account("acme")), 2);
        assert_eq!([3, 4].map(|number| is_dead(&followed, "acme", number)), [true, false]);
        assert_eq!([3, 4].map(|number| is_dead(&followed, "globex", number)), [false, false]);
        assert!(is_dead(&followed, "globex", 5), "its writer had heard of more");
        let mark = Mark { log: Tag(8), number: 4 };
        let origin = Origin { account: None, route: "/v1/*".into(), model: None };
        assert!(followed.is_dead(mark, &EntryKey::from_bytes([1; 32]), &origin), "of another log");
        assert!(is_dead(&Followed::default(), "globex", 0), "nothing is known");
    }

    #[test]
    fn what_is_older_than_a_log_that_was_cut_is_dead() {
        let purges = vec![logged(1025, of_account("acme")), logged(1026, of_account("acme"))];
        let followed = Followed::anew(&news(1026, purges), 1);
        assert_eq!(
            [1023, 1024, 1026].map(|number| is_dead(&followed, "globex", number)),
            [true, false, false]
        );
        assert_eq!([1024, 1025, 1026].map(|number| is_dead(&followed, "acme", number)), [true, true, false]);
    }

    #[test]
    fn a_call_had_heard_of_what_its_count_says() {
        let mark = |followed: &Followed, count| followed.mark(Epoch::after(count)).map(|mark| mark.number);
        assert_eq!(mark(&Followed::default(), 9), None);
        let mut followed = Followed::anew(&news(3, Vec::new()), 2);
        assert_eq!([1, 2, 3].map(|count| mark(&followed, count)), [None, Some(3), Some(3)]);
        // Another's is heard of behind two of its own, which come into the log behind it.
        followed.note(&logged(4, of_account("acme")), 5);
        followed.note(&logged(5, of_account("globex")), 3);
        followed.note(&logged(6, of_account("globex")), 4);
        assert_eq!([3, 4, 5].map(|count| mark(&followed, count)), [Some(3), Some(3), Some(6)]);
        (7..7 + MOST_PAIRS as u64).for_each(|number| followed.note(&logged(number, Purge::All), number));
        assert_eq!(followed.pairs.len(), MOST_PAIRS);
        assert_eq!([6, 7].map(|count| mark(&followed, count)), [None, Some(7)], "older ones are not told");
    }

    #[test]
    fn a_gateway_knows_its_own_purges() {
        let [one, other] = [ReplicaMark(1), ReplicaMark(2)];
        assert_eq!([one, other].map(|replica| replica.own(one.tag(5))), [Some(5), None]);
    }
}
