//! Which purges there have been since a call was begun: what that brings may be forgotten before it is there.
//!
//! Purges are counted, and a call remembers the count of its beginning. As long as the count is the same, which one load
//! tells, no purge has to be looked at. Where gateways share answers, the purges of all of them are numbered in one log, and
//! of that this gateway remembers the same (`followed`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cache::entries::{Epoch, Origin};
use crate::cache::key::EntryKey;
use crate::ids::AccountId;
use crate::shelf::followed::{Followed, ReplicaMark};
use crate::shelf::shared::{Begins, Mark, News, Position};
use crate::shelf::told::{MOST_PARTS, Told, concerns};
use crate::store::proxied::Purge;

/// The most purges that what lies behind memory still has to learn of; beyond it, it has to forget all.
const MOST_UNFINISHED: usize = 256;

/// All purges. The lock is held while an answer is put into memory, by all who do so together, and for a moment by a
/// purge: so that no answer slips in behind it that was looked at before.
#[derive(Debug, Default)]
pub(super) struct Purges {
    count: AtomicU64,
    log: RwLock<Log>,
}

#[derive(Debug, Default)]
struct Log {
    told: Told,
    /// What the disk, or other gateways, still have.
    unfinished: Vec<Unfinished>,
    followed: Followed,
}

/// A purge that the disk has to learn of, or the other gateways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfinished {
    /// Which one.
    pub(super) number: u64,
    /// What of.
    pub(super) purge: Purge,
    /// True if it could not.
    pub(super) has_failed: bool,
}

/// What memory has to forget.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forget {
    /// All of before.
    Before(Epoch),
    /// What these name.
    These(Vec<Purge>),
}

/// Whose answers a purge is about; `None`: not one account's.
fn account_of(purge: &Purge) -> Option<&AccountId> {
    match purge {
        Purge::Key { account, .. } | Purge::Account { account, .. } => Some(account),
        Purge::Route(_) | Purge::All => None,
    }
}

/// Everything of an account.
fn all_of(account: &AccountId) -> Purge {
    Purge::Account { account: account.clone(), allowed_models: Box::default() }
}

impl Purges {
    /// The epoch of what is begun now.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::after(self.count.load(Ordering::SeqCst))
    }

    /// True if no purge since `epoch` forgets what was begun then.
    pub(super) fn is_good(&self, epoch: Epoch, key: &EntryKey, origin: impl FnOnce() -> Origin) -> bool {
        epoch == self.epoch() || !self.read().told.forgets(epoch.purges(), key, &origin())
    }

    /// Does `put` if no purge since `epoch` forgets what it puts; none begins meanwhile.
    pub(super) fn while_good<T>(
        &self,
        epoch: Epoch,
        key: &EntryKey,
        origin: &Origin,
        put: impl FnOnce() -> T,
    ) -> Option<T> {
        let log = self.read();
        self.keeps(&log, epoch, key, origin).then(put)
    }

    /// The same for what comes from the disk, which may still have what a purge forgets that began long before, or from
    /// where gateways share it: then `mark` says which purges its writer knew.
    pub(super) fn while_kept<T>(
        &self,
        (epoch, mark): (Epoch, Option<Mark>),
        key: &EntryKey,
        origin: &Origin,
        put: impl FnOnce() -> T,
    ) -> Option<T> {
        let log = self.read();
        let is_dead = mark.is_some_and(|mark| log.followed.is_dead(mark, key, origin));
        let is_gone = is_dead || log.unfinished.iter().any(|one| concerns(&one.purge, key, origin));
        (!is_gone && self.keeps(&log, epoch, key, origin)).then(put)
    }

    /// True if no purge since `epoch` forgets it. As long as `log` is held, none begins.
    fn keeps(&self, log: &Log, epoch: Epoch, key: &EntryKey, origin: &Origin) -> bool {
        epoch == self.epoch() || !log.told.forgets(epoch.purges(), key, origin)
    }

    /// A purge begins: what is put from here on is held against it. What the disk has to learn, which may be more.
    pub(super) fn begin(&self, purge: &Purge) -> Unfinished {
        let mut log = self.write();
        let number = self.next();
        log.told.note(number, purge);
        log.begin(number, purge)
    }

    /// What lies behind memory has learned of the one with this number, too.
    pub(super) fn finish(&self, number: u64) {
        self.write().unfinished.retain(|one| one.number != number);
    }

    /// It could not.
    pub(super) fn fail(&self, number: u64) {
        self.write().unfinished.iter_mut().for_each(|one| one.has_failed |= one.number == number);
    }

    /// One that it could not.
    pub(super) fn next_failed(&self) -> Option<Unfinished> {
        self.read().unfinished.iter().find(|one| one.has_failed).cloned()
    }

    /// True if nothing has to learn of the one with this number any more.
    pub(super) fn is_finished(&self, number: u64) -> bool {
        !self.read().unfinished.iter().any(|one| one.number == number)
    }

    /// What is known of the log that gateways share; `None`: nothing yet.
    pub(super) fn position(&self) -> Option<Position> {
        self.read().followed.position()
    }

    /// Which of the shared purges this gateway had heard of when what was begun in `epoch` was; `None`: not known.
    pub(super) fn mark(&self, epoch: Epoch) -> Option<Mark> {
        self.read().followed.mark(epoch)
    }

    /// Takes up the news of the log that gateways share; what memory has to forget for them. Those of this `replica` it has
    /// forgotten already.
    pub(super) fn follow(&self, news: &News, replica: ReplicaMark) -> Forget {
        let mut log = self.write();
        match news.begins {
            Begins::Anew => {
                let number = self.next();
                log.told.note(number, &Purge::All);
                log.followed = Followed::anew(news, number);
                let is_logged = |one: &Unfinished| {
                    news.purges.iter().any(|logged| replica.own(logged.id) == Some(one.number))
                };
                log.unfinished.retain(|one| !is_logged(one));
                Forget::Before(Epoch::after(number))
            }
            Begins::GoesOn => {
                let mut forgets = Vec::new();
                for logged in &news.purges {
                    let own = replica.own(logged.id);
                    let count = match own {
                        Some(number) => {
                            log.unfinished.retain(|one| one.number != number);
                            number
                        }
                        None => {
                            let number = self.next();
                            log.told.note(number, &logged.purge);
                            forgets.push(logged.purge.clone());
                            number
                        }
                    };
                    log.followed.note(logged, count);
                }
                Forget::These(forgets)
            }
        }
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn read(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn begin(&mut self, number: u64, purge: &Purge) -> Unfinished {
        let mut begun = Unfinished { number, purge: purge.clone(), has_failed: false };
        let account = account_of(purge);
        let is_theirs = |one: &Unfinished| account.is_some() && account_of(&one.purge) == account;
        if self.unfinished.len() >= MOST_UNFINISHED {
            begun.purge = Purge::All;
            begun.has_failed = self.unfinished.iter().any(|one| one.has_failed);
            self.unfinished.clear();
        } else if self.unfinished.iter().filter(|one| is_theirs(one)).count() >= MOST_PARTS {
            begun.purge = account.map_or(Purge::All, all_of);
            let merged: Vec<_> = self.unfinished.extract_if(.., |one| is_theirs(one)).collect();
            begun.has_failed = merged.iter().any(|one| one.has_failed);
        }
        self.unfinished.push(begun.clone());
        begun
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{MOST_UNFINISHED, Purges, all_of};
    use crate::auth::model_glob::ModelGlob;
    use crate::cache::entries::{Epoch, Origin};
    use crate::cache::key::EntryKey;
    use crate::ids::AccountId;
    use crate::shelf::told::{MOST_MODELS, MOST_NAMES, MOST_PARTS};
    use crate::store::proxied::Purge;

    fn key(number: usize) -> EntryKey {
        EntryKey::from_bytes([number as u8; 32])
    }

    fn account(number: usize) -> AccountId {
        AccountId::new(&format!("account-{number}"))
    }

    fn origin(number: usize) -> Origin {
        Origin { account: Some(account(number)), route: "/v1/*".into(), model: Some("m".into()) }
    }

    fn of_key(number: usize, asked: usize) -> Purge {
        Purge::Key { account: account(number), key: key(asked), allowed_models: Box::default() }
    }

    fn of_models(number: usize, globs: &[&str]) -> Purge {
        let allowed_models = globs.iter().map(|glob| ModelGlob::new(glob).unwrap()).collect();
        Purge::Account { account: account(number), allowed_models }
    }

    /// True if what account `number` began in `epoch` for `asked` is still good.
    fn is_good(purges: &Purges, epoch: Epoch, number: usize, asked: usize) -> bool {
        let origin = || origin(number);
        let is_good = purges.is_good(epoch, &key(asked), origin);
        assert_eq!(purges.while_good(epoch, &key(asked), &origin(), || ()).is_some(), is_good);
        is_good
    }

    #[test]
    fn a_purge_forgets_its_own_and_nothing_that_began_behind_it() {
        let others = [
            (of_key(1, 1), [false, true, true]),
            (all_of(&account(1)), [false, false, true]),
            (of_models(1, &["m*"]), [false, false, true]),
            (of_models(1, &["o1"]), [true, true, true]),
            (Purge::Route("/v1/*".into()), [false, false, false]),
            (Purge::Route("/v2/*".into()), [true, true, true]),
            (Purge::All, [false, false, false]),
        ];
        for (purge, good) in others {
            let purges = Purges::default();
            let before = purges.epoch();
            purges.begin(&purge);
            let is = |epoch| {
                [(1, 1), (1, 2), (2, 1)].map(|(number, asked)| is_good(&purges, epoch, number, asked))
            };
            assert_eq!(is(before), good, "{purge:?}");
            assert_eq!(is(purges.epoch()), [true; 3], "{purge:?}");
        }
    }

    #[test]
    fn everybodys_answers_are_no_accounts() {
        let purges = Purges::default();
        let before = purges.epoch();
        purges.begin(&all_of(&account(1)));
        let origin = || Origin { account: None, ..origin(1) };
        assert!(purges.is_good(before, &key(1), origin));
        purges.begin(&Purge::Route("/v1/*".into()));
        assert!(!purges.is_good(before, &key(1), origin));
    }

    #[test]
    fn who_purges_often_forgets_all_of_its_own_and_nothing_of_others() {
        let purges = Purges::default();
        let before = purges.epoch();
        (0..MOST_PARTS).for_each(|asked| drop(purges.begin(&of_key(1, asked))));
        assert!(is_good(&purges, before, 1, 100));
        purges.begin(&of_key(1, 0));
        assert!(!is_good(&purges, before, 1, 100));
        assert!(is_good(&purges, before, 2, 0));
        let since = purges.epoch();
        purges.begin(&of_key(1, 5));
        assert!(is_good(&purges, since, 1, 100) && !is_good(&purges, since, 1, 5));
        let log = purges.read();
        assert!(log.told.accounts.values().all(|forgotten| forgotten.parts.len() <= MOST_PARTS));
    }

    #[test]
    fn a_purge_of_many_models_forgets_them_all() {
        let purges = Purges::default();
        let before = purges.epoch();
        purges.begin(&of_models(1, &["o1"; MOST_MODELS]));
        assert!(is_good(&purges, before, 1, 1));
        purges.begin(&of_models(1, &["o1"; MOST_MODELS + 1]));
        assert!(!is_good(&purges, before, 1, 1));
    }

    #[test]
    fn so_many_accounts_and_routes_are_told_apart() {
        let purges = Purges::default();
        let begin = |number| drop(purges.begin(&all_of(&account(number))));
        (0..MOST_NAMES / 2).for_each(begin);
        let middle = purges.epoch();
        (MOST_NAMES / 2..MOST_NAMES).for_each(begin);
        assert!(is_good(&purges, Epoch::default(), MOST_NAMES * 2, 1));
        begin(MOST_NAMES);
        assert!(!is_good(&purges, Epoch::default(), MOST_NAMES * 2, 1), "what began before the older half");
        let later = Epoch::after(middle.purges() + 1);
        assert!(is_good(&purges, later, MOST_NAMES * 2, 1));
        assert!(!is_good(&purges, later, MOST_NAMES - 1, 1));
        assert!(purges.read().told.accounts.len() <= MOST_NAMES / 2 + 1);
        (0..=MOST_NAMES).for_each(|n| drop(purges.begin(&Purge::Route(Arc::from(format!("/{n}"))))));
        assert!(purges.read().told.routes.len() <= MOST_NAMES / 2 + 1);
    }

    #[test]
    fn the_disk_is_not_believed_until_it_has_forgotten() {
        let purges = Purges::default();
        let is_read =
            |number| purges.while_kept((purges.epoch(), None), &key(1), &origin(number), || ()).is_some();
        let begun = purges.begin(&all_of(&account(1)));
        assert_eq!([is_read(1), is_read(2)], [false, true]);
        assert_eq!(purges.next_failed(), None);
        purges.fail(begun.number);
        assert_eq!(purges.next_failed().map(|one| one.purge), Some(all_of(&account(1))));
        purges.finish(begun.number);
        assert!(is_read(1) && purges.next_failed().is_none());
    }

    #[test]
    fn what_the_disk_has_to_forget_is_bounded() {
        let purges = Purges::default();
        let is_read =
            |number| purges.while_kept((purges.epoch(), None), &key(200), &origin(number), || ()).is_some();
        let begun: Vec<_> = (0..MOST_PARTS).map(|asked| purges.begin(&of_key(1, asked))).collect();
        purges.fail(begun[3].number);
        assert!(is_read(1));
        let all = purges.begin(&of_key(1, 0));
        assert_eq!((all.purge.clone(), all.has_failed), (all_of(&account(1)), true), "one for all of them");
        assert_eq!([is_read(1), is_read(2)], [false, true]);
        for number in 2..=MOST_UNFINISHED {
            assert_eq!(purges.begin(&of_key(number, 0)).purge, of_key(number, 0));
        }
        let all = purges.begin(&of_key(1, 0));
        assert_eq!(all.purge, Purge::All);
        assert_eq!([is_read(1), is_read(MOST_UNFINISHED * 2)], [false, false]);
        assert_eq!(purges.read().unfinished.len(), 1);
    }
}
