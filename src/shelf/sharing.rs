//! The shelf where gateways share answers: what is not in memory is looked for among those, instead of on the disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::entries::Slot;
use crate::shelf::counts::Read;
use crate::shelf::followed::ReplicaMark;
use crate::shelf::queue::Item;
use crate::shelf::reads::Turn;
use crate::shelf::shared::{Found, SharedAnswer, SharedAnswers, Unshared};
use crate::shelf::{Fetched, Kept, Shelf, Wanted};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::counted::Counter;

/// So many bytes are taken at once; what is longer is asked for once there is memory for it.
const AT_ONCE: u64 = 64 * 1024;

/// Where answers are shared, and what is known of it.
pub(super) struct Sharing {
    pub(super) answers: Arc<dyn SharedAnswers>,
    /// True while all purges of others are known, as of a moment ago. Until then nothing is read.
    is_current: AtomicBool,
    pub(super) replica: ReplicaMark,
    pub(super) led: Counter,
    pub(super) answered: Counter,
    pub(super) apart: Counter,
    metrics: Arc<Metrics>,
}

impl Sharing {
    pub(super) fn new(answers: Arc<dyn SharedAnswers>, metrics: &Arc<Metrics>) -> Self {
        let shared = &metrics.shared;
        shared.show(Err(()));
        Self {
            answers,
            is_current: AtomicBool::new(false),
            replica: ReplicaMark::new(),
            led: shared.flights("led"),
            answered: shared.flights("answered"),
            apart: shared.flights("apart"),
            metrics: Arc::clone(metrics),
        }
    }

    /// True if answers may be read.
    pub(super) fn can_be_read(&self) -> bool {
        self.is_current.load(Ordering::Acquire) && self.answers.is_up()
    }

    /// The purges of others are known, or not.
    pub(super) fn know(&self, purges: Result<(), ()>) {
        self.is_current.store(purges.is_ok(), Ordering::Release);
        self.metrics.shared.show(purges);
    }
}

impl Shelf {
    /// As [`Shelf::fetch`], from among what gateways share.
    pub(super) async fn fetch_shared(&self, sharing: &Sharing, wanted: Wanted<'_>) -> Fetched {
        let forms = std::iter::once(wanted.slot.form).chain(wanted.others.iter().copied());
        let slots = forms.map(|form| Slot { form, ..wanted.slot });
        let slots: Vec<Slot> = slots.filter(|slot| !self.entries.may_have(slot)).collect();
        if slots.is_empty() {
            return Fetched::Nothing;
        }
        match self.reads.begin(wanted.slot) {
            Turn::Mine(reading) => {
                let fetched = self.read_shared(sharing, wanted, &slots).await;
                drop(reading);
                fetched
            }
            Turn::Another(mut reading) => {
                // It ends with the one who reads, who asks two questions at most.
                let begun = self.clock.monotonic();
                let ended = tokio::time::timeout(wanted.waited.left_of(self.wait), reading.ended()).await;
                wanted.waited.add(self.clock.monotonic().saturating_since(begun));
                if ended.is_err() {
                    self.counts.read(Read::Timeout);
                }
                Fetched::Something
            }
        }
    }

    async fn read_shared(&self, sharing: &Sharing, mut wanted: Wanted<'_>, slots: &[Slot]) -> Fetched {
        if !wanted.memory.try_grow_to(AT_ONCE) {
            return Fetched::Nothing;
        }
        let account = wanted.origin.account.clone();
        let found = match sharing.answers.find(account.as_ref(), slots, (AT_ONCE, wanted.waited)).await {
            Ok(found) => found,
            Err(error) => return self.unread(&error),
        };
        let (mut fetched, mut larger) = (Fetched::Nothing, None);
        let mut nothing = 0;
        for (slot, one) in slots.iter().zip(found) {
            match one {
                Found::Nothing => nothing += 1,
                Found::Larger(size) => larger = larger.or(Some((*slot, size))),
                one => fetched = fetched.or(self.take_shared(&mut wanted, *slot, one).await),
            }
        }
        // As memory has none of them, one look-up that found nothing is one miss.
        if nothing > 0 && larger.is_none() && fetched == Fetched::Nothing {
            self.counts.read(Read::Miss);
        }
        let Some((slot, size)) = larger else { return fetched };
        if size > wanted.most.saturating_mul(2) || !wanted.memory.try_grow_to(size) {
            self.counts.read(Read::Miss);
            return fetched;
        }
        match sharing.answers.find(account.as_ref(), &[slot], (size, wanted.waited)).await {
            Ok(found) => match found.into_iter().next() {
                None | Some(Found::Nothing | Found::Larger(_)) => fetched,
                Some(one) => fetched.or(self.take_shared(&mut wanted, slot, one).await),
            },
            Err(error) => self.unread(&error),
        }
    }

    fn unread(&self, error: &Unshared) -> Fetched {
        let read = match error {
            Unshared::Late => Read::Timeout,
            Unshared::Failed(_) => self.counts.failed_to_read(error),
        };
        self.counts.read(read);
        Fetched::Unasked
    }

    /// Puts into memory what was found in `slot`.
    async fn take_shared(&self, wanted: &mut Wanted<'_>, slot: Slot, found: Found) -> Fetched {
        let read = match found {
            Found::Answer(answer) if answer.account == wanted.origin.account => {
                let SharedAnswer { mark, created_at, payload, .. } = *answer;
                self.take(wanted, slot, Kept { payload, came: created_at, mark: Some(mark) }).await
            }
            // What another account's would do here nobody knows.
            Found::Answer(_) | Found::Damaged => {
                self.queue.push(Item::Drop { slot, account: wanted.origin.account.clone() });
                Read::Damaged
            }
            Found::Nothing | Found::Larger(_) | Found::Newer => Read::Miss,
        };
        self.counts.read(read);
        if read == Read::Hit { Fetched::Something } else { Fetched::Nothing }
    }
}
