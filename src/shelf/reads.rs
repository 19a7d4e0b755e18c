//! Requests that look for the same answer on the disk at the same time: one reads, the others wait for it.
//!
//! There are never more of them than requests, so what bounds those bounds the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::cache::entries::Slot;

/// What is being read.
#[derive(Debug, Default)]
pub(super) struct Reads(Arc<Table>);

type Table = Mutex<HashMap<Slot, watch::Receiver<()>>>;

/// Who reads.
pub(super) enum Turn {
    /// Whoever asked, until this is dropped.
    Mine(Reading),
    /// Another.
    Another(Read),
}

/// Held by the one who reads.
pub(super) struct Reading {
    slot: Slot,
    table: Arc<Table>,
    /// Those who wait hear that it is dropped.
    _ends: watch::Sender<()>,
}

/// Held by one who waits.
pub(super) struct Read(watch::Receiver<()>);

impl Reads {
    /// Begins to read what is in `slot`, unless another does.
    pub(super) fn begin(&self, slot: Slot) -> Turn {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = table.get(&slot) {
            return Turn::Another(Read(reading.clone()));
        }
        let (ends, reading) = watch::channel(());
        table.insert(slot, reading);
        drop(table);
        Turn::Mine(Reading { slot, table: Arc::clone(&self.0), _ends: ends })
    }
}

impl Read {
    /// Waits until the other has read, or given up.
    pub(super) async fn ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.slot);
    }
}
