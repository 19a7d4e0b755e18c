//! How far a move has come, as it is noted in PostgreSQL with each page, and in the folder at the end.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::store::moving::page::KeyPart;
use crate::store::moving::tables::{TABLES, Table};
use crate::store::number::{kept_time, read_time};

/// How many rows a table has, and the halves of its sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Tally {
    /// The rows.
    pub(in crate::store) rows: u64,
    /// The halves, two a sum.
    pub(in crate::store) halves: Vec<i64>,
}

/// What each table has.
pub(in crate::store) type Tallies = BTreeMap<String, Tally>;

/// A move into a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Standing {
    /// What the folder is known by.
    pub(in crate::store) source: String,
    /// What was in the folder when it began.
    pub(in crate::store) tallies: Tallies,
    /// The table whose rows are put, and the key of the last one that was; all tables before it are done.
    table: String,
    behind: Vec<KeyPart>,
    /// When all of it was there.
    done_at: Option<i64>,
}

/// Where a folder was moved to, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedTo {
    /// The database, without user and password.
    pub place: String,
    /// When the move was done.
    pub at: UnixTime,
}

/// The same as it is noted.
#[derive(Serialize, Deserialize)]
struct Noted {
    place: String,
    at: i64,
}

// === impl Standing ===

impl Standing {
    /// A move that begins.
    pub(in crate::store) fn new(source: String, tallies: Tallies) -> Self {
        Self { source, tallies, table: String::new(), behind: Vec::new(), done_at: None }
    }

    /// As it was noted; `None`: not by this version.
    pub(in crate::store) fn read(text: &str) -> Option<Self> {
        parsed(text)
    }

    /// As it is noted.
    pub(in crate::store) fn text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// When it was done; `None`: it is not.
    pub(in crate::store) fn done_at(&self) -> Option<UnixTime> {
        self.done_at.map(read_time)
    }

    /// The same move when it is done.
    pub(in crate::store) fn done(&self, now: UnixTime) -> Self {
        Self { done_at: Some(kept_time(now)), ..self.clone() }
    }

    /// The same move when the rows of a table are put up to this key.
    pub(in crate::store) fn put(&self, table: &Table, behind: Vec<KeyPart>) -> Self {
        Self { table: table.name.to_owned(), behind, ..self.clone() }
    }

    /// The tables whose rows may not all be put.
    pub(in crate::store) fn open(&self) -> impl Iterator<Item = &'static Table> {
        let done = TABLES.iter().position(|table| table.name == self.table).unwrap_or(0);
        TABLES.iter().skip(done).filter(|table| table.is_moved())
    }

    /// The key behind which the rows of a table go on; empty: at its beginning.
    pub(in crate::store) fn behind(&self, table: &Table) -> &[KeyPart] {
        if table.name == self.table { &self.behind } else { &[] }
    }
}

// === impl MovedTo ===

impl MovedTo {
    /// As it was noted; `None`: not by this version.
    pub(in crate::store) fn read(text: &str) -> Option<Self> {
        let Noted { place, at } = parsed(text)?;
        Some(Self { place, at: read_time(at) })
    }

    /// As it is noted.
    pub(in crate::store) fn text(&self) -> String {
        serde_json::json!(Noted { place: self.place.clone(), at: kept_time(self.at) }).to_string()
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}
