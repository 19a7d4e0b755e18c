//! A database that a data folder is moved into: its rows are put page by page, and how far that came is noted with each.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use crate::secret::Secret;
use crate::store::failure::{StoreError, Trouble};
use crate::store::moving::page::{Cells, Page};
use crate::store::moving::standing::{Standing, Tallies, Tally};
use crate::store::moving::tables::{TABLES, Table, Way};
use crate::store::postgres::address::Address;
use crate::store::postgres::connections::{Bounds, Connections, Work};
use crate::store::postgres::form;
use crate::store::postgres::text::sought;

/// How long a statement may take: at the end all rows are counted.
const STATEMENT: Duration = Duration::from_secs(600);

/// How long a page may take.
const PAGE: Duration = Duration::from_secs(120);

/// How long all that is done at the end may take.
const END: Duration = Duration::from_secs(3600);

/// Tables that must have no rows, beside those that are put.
const EMPTY: &[&str] = &["stored_totals", "proxied_answers"];

/// Gateways that were there a moment ago.
const RUNNING: &str =
    "SELECT EXISTS (SELECT 1 FROM replicas WHERE seen_at > clock_timestamp() - interval '10 seconds')";

/// How far a move has come.
const STANDING: &str = "SELECT value FROM meta WHERE name = 'move'";

/// A database that no gateway uses.
pub(in crate::store) struct Target {
    connections: Connections,
}

/// Says that a database holds a move that is not done, if it does.
///
/// # Errors
/// It does, or cannot be asked.
pub(super) async fn refuse_half_moved(connections: &Connections) -> Result<(), StoreError> {
    match standing(connections).await? {
        Some((_, standing)) if standing.done_at().is_none() => Err(connections.wrong(Trouble::HalfMoved)),
        _ => Ok(()),
    }
}

/// How far a move into it has come, and how that is noted; `None`: there was none.
async fn standing(connections: &Connections) -> Result<Option<(String, Standing)>, StoreError> {
    let Some(noted) = connections.read(&ReadNote).await? else { return Ok(None) };
    match Standing::read(&noted) {
        Some(standing) => Ok(Some((noted, standing))),
        None => Err(connections.wrong(Trouble::Newer(None))),
    }
}

// === impl Target ===

impl Target {
    /// Opens the database at an address, and makes the tables if they are not there.
    ///
    /// # Errors
    /// As those of [`crate::store::postgres::PostgresStore::open`], but for half a move.
    pub(in crate::store) async fn open(address: &Secret) -> Result<Self, StoreError> {
        let bounds = Bounds { connections: 1, reporters: 1, statement: STATEMENT, ..Bounds::default() };
        let connections = Connections::new(&Address::read(address)?, bounds);
        form::bring_up(&connections).await?;
        Ok(Self { connections })
    }

    /// What it may be called by: without user and password.
    pub(in crate::store) fn place(&self) -> String {
        self.connections.place().display().to_string()
    }

    /// What is wrong with it.
    pub(in crate::store) fn wrong(&self, trouble: Trouble) -> StoreError {
        self.connections.wrong(trouble)
    }

    /// How far a move into it has come, and how that is noted; `None`: there was none.
    pub(in crate::store) async fn standing(&self) -> Result<Option<(String, Standing)>, StoreError> {
        standing(&self.connections).await
    }

    /// A database that gateways run on is no place to move to.
    ///
    /// # Errors
    /// They do, or it cannot be asked.
    pub(in crate::store) async fn refuse_in_use(&self) -> Result<(), StoreError> {
        self.checked(self.connections.read(&Look::Running).await?)
    }

    /// Nor is one that holds something.
    ///
    /// # Errors
    /// It does, or gateways run on it, or it cannot be asked.
    pub(in crate::store) async fn refuse_filled(&self) -> Result<(), StoreError> {
        self.checked(self.connections.read(&Look::Filled).await?)
    }

    /// Notes that a move begins, if there is nothing yet.
    ///
    /// # Errors
    /// There is something, or it cannot be changed.
    pub(in crate::store) async fn begin(&self, note: &str) -> Result<(), StoreError> {
        self.checked(self.connections.change(&Begin { note }).await?)
    }

    /// Puts a page, and notes that: where the first note was there is the second one then.
    ///
    /// # Errors
    /// Another note was there, or the rows cannot be put: nothing is then, unless that is not known.
    pub(in crate::store) async fn put(
        &self,
        table: &'static Table,
        page: &Page,
        notes: (&str, &str),
    ) -> Result<(), StoreError> {
        self.checked(self.connections.change_within(&Put { table, page, notes }, PAGE).await?)
    }

    /// Compares what is there with what was to be moved, and notes that the move is done.
    ///
    /// # Errors
    /// A table differs, another note was there, or it cannot be asked or changed: the move is not done then.
    pub(in crate::store) async fn finish(
        &self,
        standing: &Standing,
        notes: (&str, &str),
    ) -> Result<(), StoreError> {
        let finish = Finish { tallies: &standing.tallies, notes };
        self.checked(self.connections.change_within(&finish, END).await?)
    }

    /// Ends all connections.
    pub(in crate::store) async fn close(&self) {
        self.connections.close().await;
    }

    fn checked<T>(&self, found: Result<T, Trouble>) -> Result<T, StoreError> {
        found.map_err(|trouble| self.wrong(trouble))
    }
}

// === what is asked and done ===

struct ReadNote;

#[async_trait]
impl Work for ReadNote {
    type Done = Option<String>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        sqlx::query_scalar(STANDING).fetch_optional(connection).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Do gateways run on it?
    Running,
    /// The same, and is there anything?
    Filled,
}

#[async_trait]
impl Work for Look {
    type Done = Result<(), Trouble>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        if sqlx::query_scalar(RUNNING).fetch_one(&mut *connection).await? {
            return Ok(Err(Trouble::Served));
        }
        if *self == Self::Running {
            return Ok(Ok(()));
        }
        let put = TABLES.iter().filter(|table| matches!(table.way, Way::Put | Way::Numbered));
        for name in put.map(|table| table.name).chain(EMPTY.iter().copied()) {
            // Made of names of our own.
            let look = sqlx::query_scalar(AssertSqlSafe(format!("SELECT EXISTS (SELECT 1 FROM \"{name}\")")));
            if look.fetch_one(&mut *connection).await? {
                return Ok(Err(Trouble::Filled(name)));
            }
        }
        Ok(Ok(()))
    }
}

struct Begin<'a> {
    note: &'a str,
}

#[async_trait]
impl Work for Begin<'_> {
    type Done = Result<(), Trouble>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        let noted: Option<String> = sqlx::query_scalar(STANDING).fetch_optional(&mut *connection).await?;
        if noted.is_some() {
            return Ok(Err(Trouble::AnothersMove));
        }
        if let Err(trouble) = Look::Filled.run(connection).await? {
            return Ok(Err(trouble));
        }
        let insert = sqlx::query("INSERT INTO meta (name, value) VALUES ('move', $1)").bind(self.note);
        insert.execute(connection).await.map(|_| Ok(()))
    }
}

struct Put<'a> {
    table: &'static Table,
    page: &'a Page,
    notes: (&'a str, &'a str),
}

#[async_trait]
impl Work for Put<'_> {
    type Done = Result<(), Trouble>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        if !replace_note(self.notes, connection).await? {
            return Ok(Err(Trouble::AnothersMove));
        }
        // Made of names of our own.
        let mut insert = sqlx::query(AssertSqlSafe(self.table.insert()));
        for cells in &self.page.columns {
            insert = match cells {
                Cells::Texts(texts) => insert.bind(texts.iter().map(kept).collect::<Vec<_>>()),
                Cells::Bytes(bytes) => insert.bind(bytes.as_slice()),
                Cells::Numbers(numbers) => insert.bind(numbers.as_slice()),
                Cells::Truths(truths) => insert.bind(truths.as_slice()),
            };
        }
        insert.execute(connection).await.map(|_| Ok(()))
    }
}

/// A text as it is kept, by the rule for names that are looked up.
fn kept(text: &Option<String>) -> Option<String> {
    text.as_deref().map(|text| sought(text).into_owned())
}

/// Puts the second note in the place of the first one. False if that was not there.
async fn replace_note(
    (noted, note): (&str, &str),
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let replace = sqlx::query("UPDATE meta SET value = $2 WHERE name = 'move' AND value = $1");
    let replaced = replace.bind(noted).bind(note).execute(connection).await?;
    Ok(replaced.rows_affected() == 1)
}

struct Finish<'a> {
    tallies: &'a Tallies,
    notes: (&'a str, &'a str),
}

#[async_trait]
impl Work for Finish<'_> {
    type Done = Result<(), Trouble>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Done, sqlx::Error> {
        // The note comes last: what is refused is committed as it is by then.
        for table in TABLES {
            let there = tally(table, connection).await?;
            if self.tallies.get(table.name) != Some(&there) {
                let moved = self.tallies.get(table.name).map_or(0, |tally| tally.rows);
                return Ok(Err(Trouble::Differs { table: table.name, moved, there: there.rows }));
            }
            if table.way == Way::Numbered {
                number_on(table, connection).await?;
            }
        }
        match replace_note(self.notes, connection).await? {
            true => Ok(Ok(())),
            false => Ok(Err(Trouble::AnothersMove)),
        }
    }
}

async fn tally(table: &Table, connection: &mut PgConnection) -> Result<Tally, sqlx::Error> {
    // Made of names of our own.
    let row = sqlx::query(AssertSqlSafe(table.tally_in_postgres())).fetch_one(connection).await?;
    let rows: i64 = row.try_get(0)?;
    let halves = (1..=2 * table.sums.len()).map(|index| row.try_get(index));
    Ok(Tally { rows: u64::try_from(rows).unwrap_or_default(), halves: halves.collect::<Result<_, _>>()? })
}

/// What comes later is numbered behind what is there.
async fn number_on(table: &Table, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let name = table.name;
    // Made of names of our own.
    let set = format!(
        "SELECT setval(pg_get_serial_sequence('{name}', 'id'), coalesce(max(id), 0) + 1, false) FROM \"{name}\""
    );
    sqlx::query(AssertSqlSafe(set)).execute(connection).await.map(drop)
}
