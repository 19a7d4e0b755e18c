//! The room that answers may take in Redis: a tenth of its memory stays free for limits.
//!
//! Who is out of memory can neither count nor keep anything, and who evicts what others still need admits a second burst. So
//! answers are kept as long as there is room: once a second each gateway learns how much is left below nine tenths of
//! `maxmemory`, and takes its part of it, by how many gateways there are, until the next look. Answers go when their time is
//! over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::cluster::link::{Link, Unanswered};
use crate::cluster::roll::Roll;

/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What an answer takes in Redis beside its bytes, in bytes.
const BESIDE: u64 = 512;

/// The room that one gateway has until its next look.
#[derive(Debug)]
pub struct Room {
    /// Bytes.
    left: AtomicU64,
    is_known: AtomicBool,
}

/// What Redis says of its memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Memory {
    used: u64,
    /// 0: as much as there is.
    most: u64,
}

impl Room {
    /// None, until the first look.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { left: AtomicU64::new(0), is_known: AtomicBool::new(false) })
    }

    /// True from the first look on.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Takes the room for an answer of so many bytes, if it is there.
    pub(super) fn take(&self, bytes: usize) -> bool {
        // Memory is given out in steps of up to a quarter.
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let taken = bytes.saturating_add(bytes / 4).saturating_add(BESIDE);
        let take = |left: u64| left.checked_sub(taken);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Looks, for as long as it is polled.
    pub async fn keep(self: Arc<Self>, link: Arc<Link>, roll: Roll) {
        let (mut is_told, mut standing) = (false, link.subscribe());
        loop {
            // An error means that the link is gone, and this with it.
            if standing.wait_for(|is_up| *is_up).await.is_err() {
                return;
            }
            let asked = link.ask::<String>(redis::cmd("INFO").arg("memory")).await;
            let left = match asked.map(|told| Memory::read(&told)) {
                Ok(Some(memory)) => Some(memory.left_to_one_of(roll.replicas().get())),
                Ok(None) => unknown(&mut is_told, &link, "it says nothing of it"),
                Err(Unanswered::Failed(why)) => unknown(&mut is_told, &link, &why),
                Err(Unanswered::Late | Unanswered::Down) => None,
            };
            if let Some(left) = left {
                self.left.store(left, Ordering::Relaxed);
                self.is_known.store(true, Ordering::Relaxed);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Nobody knows how much memory there is, which is said once: answers may take as much as they need. `None`: the connection broke.
fn unknown(is_told: &mut bool, link: &Link, why: &str) -> Option<u64> {
    if !link.is_up() {
        return None;
    }
    if !std::mem::replace(is_told, true) {
        tracing::warn!(
            why,
            "{} does not say how much memory it has left: nothing keeps answers from taking all of it",
            link.label()
        );
    }
    Some(u64::MAX)
}

impl Memory {
    /// What `INFO memory` says.
    fn read(told: &str) -> Option<Self> {
        let number = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|number| number.trim().parse().ok())
        };
        Some(Self { used: number("used_memory")?, most: number("maxmemory")? })
    }

    /// What one of so many gateways may fill.
    fn left_to_one_of(self, replicas: u32) -> u64 {
        match self.most {
            0 => u64::MAX,
            most => (most - most / 10).saturating_sub(self.used) / u64::from(replicas.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BESIDE, Memory, Room};

    const TOLD: &str = "# Memory\r\nused_memory:500\r\nused_memory_human:500B\r\nmaxmemory:1000\r\n";

    #[test]
    fn nine_tenths_of_what_there_is_are_left_to_answers() {
        let memory = Memory::read(TOLD).unwrap();
        assert_eq!(memory, Memory { used: 500, most: 1000 });
        assert_eq!((memory.left_to_one_of(1), memory.left_to_one_of(4)), (400, 100));
        assert_eq!(Memory { used: 901, ..memory }.left_to_one_of(1), 0);
        assert_eq!(Memory { most: 0, ..memory }.left_to_one_of(9), u64::MAX, "it has no bound");
        assert_eq!(Memory::read("used_memory_human:1\r\nmaxmemory:1000\r\n"), None);
    }

    #[test]
    fn what_has_no_room_is_not_kept() {
        let room = Room { left: (2 * (100 + BESIDE)).into(), is_known: true.into() };
        assert!(room.take(80) && !room.take(100) && room.take(80) && !room.take(0));
    }
}
