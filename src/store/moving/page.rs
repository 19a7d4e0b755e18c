//! Some rows on their way, column by column.

use serde::{Deserialize, Serialize};

use crate::store::moving::tables::{Kind, Table};

/// The most rows of a page.
pub(in crate::store) const MOST_ROWS: usize = 1000;

/// What a page's rows take at most, together, but for its last one.
const MOST_BYTES: usize = 8 << 20;

/// Rows, in the order of their keys.
#[derive(Debug)]
pub(in crate::store) struct Page {
    /// A list of values for each column of the table.
    pub(in crate::store) columns: Vec<Cells>,
    /// The key of the last row; empty if there is none.
    pub(in crate::store) last: Vec<KeyPart>,
    rows: usize,
    bytes: usize,
}

/// The values of one column.
#[derive(Debug)]
pub(in crate::store) enum Cells {
    /// Texts.
    Texts(Vec<Option<String>>),
    /// Bytes.
    Bytes(Vec<Option<Vec<u8>>>),
    /// Numbers.
    Numbers(Vec<Option<i64>>),
    /// Truth values.
    Truths(Vec<Option<bool>>),
}

/// A value of a key, as SQLite compares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) enum KeyPart {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A number.
    Number(i64),
}

impl Page {
    /// One without rows.
    pub(in crate::store) fn of(table: &Table) -> Self {
        let cells = |kind| match kind {
            Kind::Text => Cells::Texts(Vec::new()),
            Kind::Bytes | Kind::Written => Cells::Bytes(Vec::new()),
            Kind::Number | Kind::Sum | Kind::Uses | Kind::Checksum => Cells::Numbers(Vec::new()),
            Kind::Truth => Cells::Truths(Vec::new()),
        };
        let columns = table.columns.iter().map(|column| cells(column.kind)).collect();
        Self { columns, last: Vec::new(), rows: 0, bytes: 0 }
    }

    /// One more row has been put into the columns: it takes so many bytes, and this is its key.
    pub(in crate::store) fn count(&mut self, bytes: usize, key: Vec<KeyPart>) {
        self.rows += 1;
        self.bytes += bytes;
        self.last = key;
    }

    /// True if it has no room for another row.
    pub(in crate::store) fn is_full(&self) -> bool {
        self.rows >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// True if it holds nothing.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.rows == 0
    }
}
