//! What waits to be written: bounded in number and bytes, so that a slow disk, or a slow place that gateways share, costs
//! writes and not memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::cache::entries::{Entry, Epoch, Origin, Slot};
use crate::cache::packed::{Content, pack};
use crate::clock::UnixTime;
use crate::ids::AccountId;
use crate::shelf::flight::Hold;
use crate::store::proxied::NewProxied;

/// The most that waits.
const MOST: usize = 4096;

/// The most bytes that wait: as long as an answer is in memory too, they are the same.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

/// The most that is written at once.
const BATCH: usize = 64;

/// The most bytes that are written at once, if it is more than one answer.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes counted for what waits beside its body.
const OVERHEAD: u64 = 1024;

/// Something to write.
#[derive(Debug)]
pub(super) enum Item {
    /// An answer.
    Keep(Box<Keep>),
    /// Something to delete.
    Drop {
        /// Where.
        slot: Slot,
        /// Whose; `None`: everybody's.
        account: Option<AccountId>,
    },
}

/// An answer to write.
#[derive(Debug)]
pub(super) struct Keep {
    /// Where.
    pub(super) slot: Slot,
    /// The slots that are empty from then on.
    pub(super) replaced: Vec<Slot>,
    /// Those of all of them in which the disk may have something older, which is found no more.
    pub(super) hidden: Vec<Slot>,
    /// The answer.
    pub(super) content: Content,
    /// Whose.
    pub(super) origin: Origin,
    /// When its call was begun.
    pub(super) epoch: Epoch,
    /// When it came.
    pub(super) came: UnixTime,
    /// Until it is written others wait for it.
    pub(super) hold: Option<Hold>,
}

/// When an answer came, and who waits for it.
#[derive(Debug)]
pub(super) struct Coming {
    pub(super) came: UnixTime,
    pub(super) hold: Option<Hold>,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: u64,
}

impl Item {
    /// The entry in `slot`, as it is to be written; `None` if it is not whole.
    pub(super) fn of(
        slot: Slot,
        entry: &Entry,
        Coming { came, hold }: Coming,
        replaced: impl Iterator<Item = Slot>,
        hidden: Vec<Slot>,
    ) -> Option<Self> {
        let (head, body) = entry.recording.head().zip(entry.recording.body())?;
        let content = Content {
            head: (*head).clone(),
            body,
            ttl: entry.ttl,
            usage: entry.usage,
            model: entry.origin.model.clone(),
        };
        let replaced = replaced.collect();
        let (origin, epoch) = (entry.origin.clone(), entry.epoch);
        Some(Self::Keep(Box::new(Keep { slot, replaced, hidden, content, origin, epoch, came, hold })))
    }

    /// The slots in which the disk may have something older.
    pub(super) fn hidden(&self) -> &[Slot] {
        match self {
            Self::Keep(keep) => &keep.hidden,
            Self::Drop { slot, .. } => std::slice::from_ref(slot),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Keep(keep) => {
                let fields = keep.content.head.fields.iter();
                let fields: usize = fields.map(|(name, value)| name.as_str().len() + value.len()).sum();
                OVERHEAD + (keep.content.body.len() + fields) as u64
            }
            Self::Drop { account, .. } => {
                let account = account.as_ref().map_or(0, |account| account.as_str().len());
                (size_of::<Self>() + account) as u64
            }
        }
    }
}

impl Keep {
    /// The answer as a row; `None` if it cannot be one.
    pub(super) fn row(self) -> Option<NewProxied> {
        let payload = pack(&self.content)?;
        Some(NewProxied {
            slot: self.slot,
            account: self.origin.account,
            route: self.origin.route,
            model: self.origin.model.as_deref().map(Into::into),
            created_at: self.came,
            expires_at: self.came.saturating_add(self.content.ttl),
            payload,
        })
    }
}

impl Queue {
    /// Has `item` written; false if there is no room.
    pub(super) fn push(&self, item: Item) -> bool {
        let bytes = item.bytes();
        let mut waiting = self.waiting();
        if waiting.items.len() >= MOST || waiting.bytes + bytes > MOST_BYTES {
            return false;
        }
        waiting.bytes += bytes;
        waiting.items.push_back(item);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// The next to be written, in their order; none if nothing waits.
    pub(super) fn take(&self) -> Vec<Item> {
        let mut waiting = self.waiting();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.items.front().map(Item::bytes) {
            let is_full = taken.len() == BATCH || bytes + next > BATCH_BYTES && !taken.is_empty();
            if is_full {
                break;
            }
            bytes += next;
            taken.extend(waiting.items.pop_front());
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        taken
    }

    /// How many answers still wait, which are given up.
    pub(super) fn give_up(&self) -> u64 {
        let left = std::iter::repeat_with(|| self.take()).take_while(|items| !items.is_empty());
        left.flatten().filter(|item| matches!(item, Item::Keep(_))).count() as u64
    }

    /// Waits until something may be there. One task may wait.
    pub(super) async fn filled(&self) {
        if self.waiting().items.is_empty() {
            self.filled.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
