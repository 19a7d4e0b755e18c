//! Single flight: identical misses at the same time share one upstream call.
//!
//! The first of them leads: it begins a recording and makes the call that writes it. Whoever asks the same while the
//! call runs joins it, as one more reader. The leader holds a [`Ticket`]; the flight is over when that is dropped.
//! There are never more flights than calls, so the table is bounded by what bounds those.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::entries::{Epoch, Slot, SpreadKeys};
use crate::cache::recording::reader::Reader;
use crate::cache::recording::writer::Writer;
use crate::cache::recording::{Recording, begin, join};
use crate::clock::Monotonic;
use crate::memory::Permit;
use crate::spread::{Lending, Lent};

/// A call that has run for longer is no longer joined: who asks now had better have an answer of now.
pub const JOINED_WITHIN: Duration = Duration::from_secs(60);

/// Tables that are locked apart.
const SHARDS: usize = 64;

/// What must be equal for two requests to share a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlightKey {
    /// What is asked, and in which form.
    pub slot: Slot,
    /// How it is to be served, which no key has if the route ignores it.
    pub service_tier: Option<Box<str>>,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub struct Asking<F> {
    /// When.
    pub now: Monotonic,
    /// After which purges.
    pub epoch: Epoch,
    /// True if no purge has forgotten since what a call brings that was begun in that epoch: such a one may be joined.
    pub is_good: F,
}

/// All calls that may be joined. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Flights(Arc<Lending<Tables>>);

#[derive(Debug)]
struct Tables([Shard; SHARDS]);

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(Mutex<Table>);

type Table = HashMap<FlightKey, Flight, SpreadKeys>;

#[derive(Debug)]
struct Flight {
    recording: Arc<Recording>,
    began: Monotonic,
    epoch: Epoch,
}

/// How a request takes part.
#[derive(Debug)]
pub enum Boarding {
    /// It makes the call.
    Lead(Ticket, Writer, Reader),
    /// It reads what another's call writes.
    Join(Reader),
}

/// The leader's hold on its flight. While it lives the flight may be joined.
#[derive(Debug)]
pub struct Ticket {
    tables: Arc<Lent<Tables>>,
    key: FlightKey,
    recording: Arc<Recording>,
}

impl Default for Tables {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Shard::default()))
    }
}

impl Flights {
    /// Joins the call that is under way for `key`, to pay with `purse` for what it holds once nobody is left who came
    /// before, or leads a new one, whose recording is counted by `permit`; `None` if there is no room for one.
    pub fn board(
        &self,
        key: &FlightKey,
        asking: Asking<impl Fn(Epoch) -> bool>,
        purse: impl FnOnce() -> Permit,
        permit: impl FnOnce() -> Option<Permit>,
    ) -> Option<Boarding> {
        let tables = self.0.lend();
        let mut table = tables.of(key);
        let place = match table.entry(key.clone()) {
            Place::Occupied(flight) => {
                let is_good = (asking.is_good)(flight.get().epoch);
                if let Some(reader) = is_good.then(|| flight.get().join(asking.now, purse)).flatten() {
                    return Some(Boarding::Join(reader));
                }
                Place::Occupied(flight)
            }
            vacant @ Place::Vacant(_) => vacant,
        };
        let (writer, reader) = begin(permit()?);
        let recording = Arc::clone(writer.recording());
        place.insert_entry(Flight {
            recording: Arc::clone(&recording),
            began: asking.now,
            epoch: asking.epoch,
        });
        drop(table);
        let ticket = Ticket { tables: Arc::clone(tables), key: key.clone(), recording };
        Some(Boarding::Lead(ticket, writer, reader))
    }

    /// How many calls may be joined now.
    pub fn count(&self) -> usize {
        self.0.lend().0.iter().map(|shard| lock(&shard.0).len()).sum()
    }
}

impl Tables {
    fn of(&self, key: &FlightKey) -> MutexGuard<'_, Table> {
        let ([byte, ..], [first, ..]) = (key.slot.key.as_bytes(), &self.0);
        lock(&self.0.get(usize::from(*byte) % SHARDS).unwrap_or(first).0)
    }
}

impl Flight {
    /// One more reader; `None` if the call is too old, has failed, or can be read from its beginning no more.
    fn join(&self, now: Monotonic, purse: impl FnOnce() -> Permit) -> Option<Reader> {
        let is_young = now.saturating_since(self.began) <= JOINED_WITHIN;
        if is_young && !self.recording.has_failed() { join(&self.recording, purse()) } else { None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = self.tables.of(&self.key);
        let is_own =
            table.get(&self.key).is_some_and(|flight| Arc::ptr_eq(&flight.recording, &self.recording));
        if is_own {
            table.remove(&self.key);
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Asking, Boarding, FlightKey, Flights, JOINED_WITHIN};
    use crate::cache::entries::{Epoch, Slot};
    use crate::cache::key::EntryKey;
    use crate::cache::recording::Failure;
    use crate::clock::Monotonic;
    use crate::llm::translate::{AnswerForm, StreamUsage};
    use crate::memory::{Bounds, Buffers, Permit, Pool};

    fn permit() -> Permit {
        let bounds = Bounds { total: 1 << 20, share: 1 << 20 };
        Permit::new(&Buffers::default(), &Pool::default(), bounds)
    }

    fn board(flights: &Flights, key: &FlightKey, now: Monotonic) -> Boarding {
        flights.board(key, asking(now), permit, || Some(permit())).expect("room")
    }

    fn asking(now: Monotonic) -> Asking<impl Fn(Epoch) -> bool> {
        Asking { now, epoch: Epoch::default(), is_good: |_| true }
    }

    fn key(number: u8) -> FlightKey {
        let slot = Slot { key: EntryKey::from_bytes([number; 32]), form: AnswerForm::Json };
        FlightKey { slot, service_tier: None }
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_nanos(seconds * 1_000_000_000)
    }

    fn leads(boarding: &Boarding) -> bool {
        matches!(boarding, Boarding::Lead(..))
    }

    #[test]
    fn without_room_nobody_leads() {
        let flights = Flights::default();
        assert!(flights.board(&key(1), asking(at(0)), permit, || None).is_none());
        assert_eq!(flights.count(), 0);
        let _leader = board(&flights, &key(1), at(0));
        assert!(flights.board(&key(1), asking(at(0)), permit, || None).is_some(), "to join takes none");
    }

    #[test]
    fn the_first_leads_and_others_join_until_its_ticket_is_gone() {
        let flights = Flights::default();
        let first = board(&flights, &key(1), at(0));
        assert!(leads(&first));
        assert!(!leads(&board(&flights, &key(1), at(1))));
        assert!(leads(&board(&flights, &key(2), at(1))), "another question");
        assert_eq!(flights.count(), 1);
        drop(first);
        assert_eq!(flights.count(), 0);
        assert!(leads(&board(&flights, &key(1), at(1))));
    }

    #[test]
    fn each_part_of_the_key_keeps_calls_apart() {
        let flights = Flights::default();
        let _leader = board(&flights, &key(1), at(0));
        let [mut stream, mut usage] = [key(1), key(1)];
        stream.slot.form = AnswerForm::Stream(StreamUsage::Omitted);
        usage.slot.form = AnswerForm::Stream(StreamUsage::Included);
        let tier = FlightKey { service_tier: Some("flex".into()), ..key(1) };
        for other in [stream, usage, tier] {
            assert!(leads(&board(&flights, &other, at(0))));
        }
    }

    #[test]
    fn an_old_call_is_not_joined_and_its_end_does_not_end_its_successor() {
        let flights = Flights::default();
        let old = board(&flights, &key(1), at(0));
        let bound = JOINED_WITHIN.as_secs();
        assert!(!leads(&board(&flights, &key(1), at(bound))));
        let young = board(&flights, &key(1), at(bound + 1));
        assert!(leads(&young));
        drop(old);
        assert!(!leads(&board(&flights, &key(1), at(bound + 2))));
    }

    #[test]
    fn a_call_that_failed_or_keeps_nothing_is_not_joined() {
        let flights = Flights::default();
        let Boarding::Lead(_ticket, writer, _reader) = board(&flights, &key(1), at(0)) else {
            panic!("leads")
        };
        writer.fail(Failure::Connect);
        let next = board(&flights, &key(1), at(0));
        let Boarding::Lead(_, writer, _) = &next else { panic!("the failed one is not joined") };
        writer.window();
        assert!(leads(&board(&flights, &key(1), at(0))), "nor the one that drops what was read");
        assert_eq!(JOINED_WITHIN, Duration::from_secs(60));
    }
}
