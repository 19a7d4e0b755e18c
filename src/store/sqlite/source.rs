//! A data folder that is moved into a database: its rows, page after page, and the notes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::store::answer::checksum;
use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::FolderLock;
use crate::store::moving::page::{Cells, KeyPart, MOST_ROWS, Page};
use crate::store::moving::standing::{MovedTo, Tallies, Tally};
use crate::store::moving::tables::{Kind, TABLES, Table};
use crate::store::sqlite::file::{self, FileKind};
use crate::store::sqlite::refuse_half_restored;
use crate::store::sqlite::trouble::of_sqlx;

/// How long another command that works on the files is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// What the folder is known by, in its table `meta`.
const SOURCE: &str = "source";

/// Where the folder was moved to, in the same.
pub(super) const MOVED: &str = "moved";

/// Rows that are read before they are asked for: answers are large.
const READ_AHEAD: usize = 1;

/// A checksum that no answer has: it is found to be damaged.
const NO_CHECKSUM: i64 = -1;

/// The folder, and both of its files. Nobody else uses it.
pub(in crate::store) struct Source {
    accounts: File,
    answers: File,
    lock: FolderLock,
}

/// A file: one connection keeps others from changing it, the other one reads.
struct File {
    path: PathBuf,
    holding: SqliteConnection,
    reading: SqliteConnection,
}

// === impl Source ===

impl Source {
    /// Opens both files of a folder, checked and brought to their newest form.
    ///
    /// # Errors
    /// One is not there, damaged, newer than this version or not ours; the folder is in use.
    pub(in crate::store) async fn open(folder: &Path) -> Result<Self, StoreError> {
        // A folder without a store is not made, nor one in it.
        for path in FileKind::ALL.map(|kind| kind.path(folder)) {
            if !path.try_exists().map_err(|error| StoreError::of_io(&path, &error))? {
                refuse_half_restored(folder)?;
                return Err(StoreError::new(&path, Trouble::Missing));
            }
        }
        let lock = FolderLock::take(folder)?;
        refuse_half_restored(folder)?;
        let accounts = File::open(folder, FileKind::Accounts).await?;
        let answers = File::open(folder, FileKind::Answers).await?;
        Ok(Self { accounts, answers, lock })
    }

    /// What the folder is known by, if it was ever begun to be moved.
    pub(in crate::store) async fn id(&mut self) -> Result<Option<String>, StoreError> {
        self.accounts.noted(SOURCE).await
    }

    /// True if it is noted where it was moved to.
    pub(in crate::store) async fn is_noted(&mut self) -> Result<bool, StoreError> {
        Ok(self.accounts.noted(MOVED).await?.is_some())
    }

    /// Has the folder be known by `id` from here on. Not behind [`Source::hold`].
    pub(in crate::store) async fn name(&mut self, id: &str) -> Result<String, StoreError> {
        self.accounts.set(SOURCE, id).await?;
        Ok(id.to_owned())
    }

    /// Keeps everybody else from changing either file, to the end of this.
    pub(in crate::store) async fn hold(&mut self) -> Result<(), StoreError> {
        for File { path, holding, .. } in [&mut self.accounts, &mut self.answers] {
            let hold = sqlx::raw_sql("BEGIN IMMEDIATE").execute(holding).await;
            hold.map_err(|error| of_sqlx(path, &error))?;
        }
        Ok(())
    }

    /// Counts all rows.
    pub(in crate::store) async fn tallies(&mut self) -> Result<Tallies, StoreError> {
        let mut tallies = Tallies::new();
        for table in TABLES {
            let File { path, reading, .. } = self.file(table);
            // Made of names of our own.
            let count = sqlx::query(AssertSqlSafe(table.tally_in_sqlite())).fetch_one(reading).await;
            let tally = count.and_then(|row| tally(&row, table));
            tallies.insert(table.name.to_owned(), tally.map_err(|error| of_sqlx(path, &error))?);
        }
        Ok(tallies)
    }

    /// The rows of a table behind this key; without one those from the beginning on.
    pub(in crate::store) async fn page(
        &mut self,
        table: &'static Table,
        behind: &[KeyPart],
    ) -> Result<Page, StoreError> {
        let File { path, reading, .. } = self.file(table);
        read(reading, table, behind).await.map_err(|error| of_sqlx(path, &error))
    }

    /// Notes where the folder was moved to, and lets go of the files. Behind [`Source::hold`].
    pub(in crate::store) async fn note(&mut self, to: &MovedTo) -> Result<(), StoreError> {
        self.accounts.set(MOVED, &to.text()).await?;
        for File { path, holding, .. } in [&mut self.accounts, &mut self.answers] {
            let commit = sqlx::raw_sql("COMMIT").execute(holding).await;
            commit.map_err(|error| of_sqlx(path, &error))?;
        }
        Ok(())
    }

    /// What is wrong with the folder.
    pub(in crate::store) fn wrong(&self, trouble: Trouble) -> StoreError {
        StoreError::new(self.lock.folder(), trouble)
    }

    /// Lets go of everything. What was not noted is as it was.
    pub(in crate::store) async fn close(self) -> Result<(), StoreError> {
        for File { path, holding, reading } in [self.accounts, self.answers] {
            // Readers first: the last connection to end tidies up, and only a writer can.
            for connection in [reading, holding] {
                connection.close().await.map_err(|error| of_sqlx(&path, &error))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, table: &Table) -> &mut File {
        match table.file {
            FileKind::Accounts => &mut self.accounts,
            FileKind::Answers => &mut self.answers,
        }
    }
}

// === impl File ===

impl File {
    async fn open(folder: &Path, kind: FileKind) -> Result<Self, StoreError> {
        let path = kind.path(folder);
        let holding = file::open(folder, kind, WAIT).await?;
        let options = file::options(&path, kind, WAIT).row_buffer_size(READ_AHEAD).pragma("query_only", "ON");
        let reading = options.connect().await.map_err(|error| of_sqlx(&path, &error))?;
        Ok(Self { path, holding, reading })
    }

    async fn noted(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        let select = sqlx::query_scalar("SELECT value FROM meta WHERE name = ?1").bind(name);
        let noted = select.fetch_optional(&mut self.reading).await;
        noted.map_err(|error| of_sqlx(&self.path, &error))
    }

    async fn set(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        let set = "INSERT INTO meta (name, value) VALUES (?1, ?2) \
                   ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        let set = sqlx::query(set).bind(name).bind(value).execute(&mut self.holding).await;
        set.map(drop).map_err(|error| of_sqlx(&self.path, &error))
    }
}

// === rows ===

fn tally(row: &SqliteRow, table: &Table) -> Result<Tally, sqlx::Error> {
    let rows: i64 = row.try_get(0)?;
    let halves = (1..=2 * table.sums.len()).map(|index| row.try_get(index));
    Ok(Tally { rows: u64::try_from(rows).unwrap_or_default(), halves: halves.collect::<Result<_, _>>()? })
}

async fn read(
    connection: &mut SqliteConnection,
    table: &'static Table,
    behind: &[KeyPart],
) -> Result<Page, sqlx::Error> {
    let select = if behind.is_empty() { table.select_first() } else { table.select_behind() };
    // Made of names of our own.
    let mut select = sqlx::query(AssertSqlSafe(select)).bind(i64::try_from(MOST_ROWS).unwrap_or(i64::MAX));
    for part in behind {
        select = match part.clone() {
            KeyPart::Text(text) => select.bind(text),
            KeyPart::Bytes(bytes) => select.bind(bytes),
            KeyPart::Number(number) => select.bind(number),
        };
    }
    let mut rows = select.fetch(connection);
    let mut page = Page::of(table);
    while !page.is_full()
        && let Some(row) = rows.try_next().await?
    {
        take(&row, table, &mut page)?;
    }
    Ok(page)
}

/// Puts a row into a page.
fn take(row: &SqliteRow, table: &Table, page: &mut Page) -> Result<(), sqlx::Error> {
    let mut size = 0;
    for ((cells, column), index) in page.columns.iter_mut().zip(table.columns).zip(0..) {
        size += match cells {
            Cells::Texts(texts) => {
                let text: Option<String> = row.try_get(index)?;
                let size = text.as_ref().map_or(0, String::len);
                texts.push(text);
                size
            }
            Cells::Bytes(all) => {
                let bytes: Option<Vec<u8>> = row.try_get(index)?;
                let size = bytes.as_ref().map_or(0, Vec::len);
                all.push(bytes);
                size
            }
            Cells::Numbers(numbers) => {
                let number: Option<i64> = row.try_get(index)?;
                let is_missing = number.is_none() && column.kind == Kind::Checksum;
                numbers.push(if is_missing { Some(checksum_of(row, table)?) } else { number });
                size_of::<i64>()
            }
            Cells::Truths(truths) => {
                let number: Option<i64> = row.try_get(index)?;
                truths.push(number.map(|number| number != 0));
                size_of::<bool>()
            }
        };
    }
    let key = table.keys().zip(0..).map(|(column, index)| key_part(row, column.kind, index));
    page.count(size, key.collect::<Result<_, _>>()?);
    Ok(())
}

fn key_part(row: &SqliteRow, kind: Kind, index: usize) -> Result<KeyPart, sqlx::Error> {
    Ok(match kind {
        Kind::Text => KeyPart::Text(row.try_get(index)?),
        // Asked for as bytes, and compared as text.
        Kind::Written => {
            let text = String::from_utf8(row.try_get(index)?);
            KeyPart::Text(text.map_err(|error| sqlx::Error::Decode(error.into()))?)
        }
        Kind::Bytes => KeyPart::Bytes(row.try_get(index)?),
        Kind::Number | Kind::Sum | Kind::Truth | Kind::Uses | Kind::Checksum => {
            KeyPart::Number(row.try_get(index)?)
        }
    })
}

/// The checksum of a stored answer that has none.
fn checksum_of(row: &SqliteRow, table: &Table) -> Result<i64, sqlx::Error> {
    let index = |name| table.columns.iter().position(|column| column.name == name).unwrap_or(usize::MAX);
    let answer: Vec<u8> = row.try_get(index("answer"))?;
    let metadata: Option<Vec<u8>> = row.try_get(index("metadata"))?;
    let metadata = metadata.map(String::from_utf8).transpose();
    let (Ok(answer), Ok(metadata)) = (String::from_utf8(answer), metadata) else { return Ok(NO_CHECKSUM) };
    Ok(checksum(&answer, metadata.as_deref()))
}
