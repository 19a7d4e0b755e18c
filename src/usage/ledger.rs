//! Usage summed in memory, until it is taken to where it lasts.
//!
//! Each worker sums into a page of its own. Its lock is taken by nobody else but whoever takes the page, once a second and
//! for as long as it takes to put an empty one in its place: workers never wait for each other.
//!
//! Nothing is lost and nothing grows without a bound: a page that is full sums further models as [`OTHER_MODEL`]; what does
//! not fit even so is counted as lost.

use std::hash::{Hash, Hasher};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};

use crate::clock::UnixTime;
use crate::ids::{AccountId, KeyId};
use crate::spread::Spread;
use crate::usage::record::{Cell, Class, Hour, KeyLabel, Line, Sums, UsageRow};

/// The model that all count as which are not told apart.
pub const OTHER_MODEL: &str = "other";

/// Longer names of models are not told apart, in bytes.
pub const LONGEST_MODEL: usize = 256;

/// Sums that wait, at most, in all pages together.
pub const MOST_SUMS: usize = 262_144;

/// Of these, those that are kept free for the models that are not told apart any more.
const SPARE: usize = MOST_SUMS / 4;

/// Usage that has not been taken yet. Clones share it.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Pages>);

#[derive(Debug)]
struct Pages {
    pages: Spread<Mutex<Page>>,
    hasher: RandomState,
    lost: AtomicU64,
}

type Page = HashMap<Cell, Line, RandomState>;

/// A request, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    /// Who pays.
    pub account: &'a AccountId,
    /// With which key.
    pub key: &'a KeyId,
    /// The key's name, for people.
    pub name: Option<&'a str>,
    /// The key's environment, for people.
    pub environment: Option<&'static str>,
    /// Which model; empty: none was named.
    pub model: &'a str,
    /// How it ended.
    pub class: Class,
    /// When it came.
    pub at: UnixTime,
}

impl Ledger {
    /// Nothing is counted yet, for so many workers.
    pub fn new(workers: NonZeroUsize) -> Self {
        let hasher = RandomState::new();
        let pages = Spread::from_fn(workers, |_| Mutex::new(Page::with_hasher(hasher.clone())));
        Self(Arc::new(Pages { pages, hasher, lost: AtomicU64::new(0) }))
    }

    /// Adds `sums` to those of `counted`, on the calling worker's page.
    pub fn add(&self, counted: &Counted<'_>, sums: Sums) {
        let Pages { pages, lost, .. } = &*self.0;
        let most = (MOST_SUMS / pages.count()).max(1);
        let told_apart = most - SPARE / pages.count();
        let mut page = lock(pages.mine());
        let counted = match counted.model.len() <= LONGEST_MODEL {
            true => *counted,
            false => Counted { model: OTHER_MODEL, ..*counted },
        };
        if add_known(&mut page, &counted, sums) {
            return;
        }
        let is_room = page.len() < if counted.model == OTHER_MODEL { most } else { told_apart };
        let other = Counted { model: OTHER_MODEL, ..counted };
        let placed = if is_room { &counted } else { &other };
        if !is_room && add_known(&mut page, placed, sums) {
            return;
        }
        if page.len() >= most {
            lost.fetch_add(sums.requests, Ordering::Relaxed);
            return;
        }
        page.insert(placed.cell(), placed.line(sums));
    }

    /// Takes all that has been added, each cell once, in no order.
    pub fn take(&self) -> Vec<UsageRow> {
        let mut all = Page::with_hasher(self.0.hasher.clone());
        for page in self.0.pages.all() {
            let room = lock(page).len();
            let fresh = Page::with_capacity_and_hasher(room, self.0.hasher.clone());
            let taken = std::mem::replace(&mut *lock(page), fresh);
            if all.is_empty() {
                all = taken;
                continue;
            }
            for (cell, line) in taken {
                match all.get_mut(&cell) {
                    Some(known) => *known += line,
                    None => drop(all.insert(cell, line)),
                }
            }
        }
        all.into_iter().map(|(cell, line)| UsageRow { cell, line }).collect()
    }

    /// Requests that could not be counted since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.0.lost.swap(0, Ordering::Relaxed)
    }
}

fn lock(page: &Mutex<Page>) -> MutexGuard<'_, Page> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds to a cell that is there already; false if it is not.
fn add_known(page: &mut Page, counted: &Counted<'_>, sums: Sums) -> bool {
    let Some(line) = page.get_mut(counted) else { return false };
    line.sums += sums;
    line.last_at = line.last_at.max(counted.at);
    true
}

impl Counted<'_> {
    fn cell(&self) -> Cell {
        Cell {
            hour: Hour::of(self.at),
            account: self.account.clone(),
            key: self.key.clone(),
            model: self.model.into(),
            class: self.class,
        }
    }

    fn line(&self, sums: Sums) -> Line {
        let label =
            KeyLabel { name: self.name.map(Into::into), environment: self.environment.map(Into::into) };
        Line { sums, last_at: self.at, label }
    }
}

impl Hash for Counted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Cell::hash_of(state, self.key, self.model, self.class, Hour::of(self.at));
    }
}

impl Equivalent<Cell> for Counted<'_> {
    fn equivalent(&self, cell: &Cell) -> bool {
        *self.key == cell.key
            && *self.model == *cell.model
            && self.class == cell.class
            && Hour::of(self.at) == cell.hour
            && *self.account == cell.account
    }
}
