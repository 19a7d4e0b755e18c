//! One file of the store: recognised, checked and brought to its newest form before anybody uses it.
//!
//! `application_id` says which file it is, `user_version` the major version of its form. A minor step only adds, and a
//! file with more steps than are known here is as good as any.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr};

use crate::store::failure::{StoreError, Trouble};
use crate::store::migrations;
use crate::store::sqlite::trouble::{of_migration, of_sqlx};

/// The major version of both files' form.
const MAJOR: i64 = 1;

/// What a write-ahead log is shortened to once all of it is in the file: one that grew while it was read, by a backup
/// say, does not stay so large.
const MOST_LOG: &str = "67108864";

/// Which file, and so how much it may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Accounts and keys: on the disk with each commit.
    Accounts,
    /// Answers and usage: flushed now and then; a power cut may take the newest.
    Answers,
}

impl FileKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Accounts, Self::Answers];

    /// Its name in the data folder.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts.sqlite",
            Self::Answers => "answers.sqlite",
        }
    }

    /// What its header says of it: `sca` and a number.
    const fn application_id(self) -> i64 {
        match self {
            Self::Accounts => 0x7363_6101,
            Self::Answers => 0x7363_6102,
        }
    }

    const fn synchronous(self) -> SqliteSynchronous {
        match self {
            Self::Accounts => SqliteSynchronous::Full,
            Self::Answers => SqliteSynchronous::Normal,
        }
    }

    const fn migrations(self) -> &'static [migrations::Migration] {
        match self {
            Self::Accounts => migrations::ACCOUNTS,
            Self::Answers => migrations::ANSWERS,
        }
    }

    /// Where it is in `folder`.
    pub fn path(self, folder: &Path) -> PathBuf {
        folder.join(self.file_name())
    }
}

/// How connections to the file at `path` are made: none makes it, and none waits for others longer than `wait`.
pub(super) fn options(path: &Path, kind: FileKind, wait: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .synchronous(kind.synchronous())
        .busy_timeout(wait)
        .pragma("journal_size_limit", MOST_LOG)
        .disable_statement_logging()
}

/// Opens the file for writing; makes it if it is not there, brings it to its newest form if it is.
pub(super) async fn open(
    folder: &Path,
    kind: FileKind,
    wait: Duration,
) -> Result<SqliteConnection, StoreError> {
    let path = kind.path(folder);
    make(&path)?;
    let failed = |error: sqlx::Error| of_sqlx(&path, &error);
    let mut connection = options(&path, kind, wait).connect().await.map_err(failed)?;
    let is_new = recognise(&mut connection, &path, kind).await? == Age::New;
    if !is_new {
        check(&mut connection, &path).await?;
    }
    // Kept in the file, so every later connection finds it so.
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(failed)?;
    if is_new {
        let mark = mark(kind);
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut connection).await.map_err(failed)?;
    }
    migrate(&mut connection, kind).await.map_err(|error| of_migration(&path, &error))?;
    sign(&mut connection).await.map_err(failed)?;
    Ok(connection)
}

/// Opens the file for writing, as the gateway that has the folder keeps it.
pub(super) async fn open_beside(
    folder: &Path,
    kind: FileKind,
    wait: Duration,
) -> Result<SqliteConnection, StoreError> {
    let path = kind.path(folder);
    let failed = |error: sqlx::Error| of_sqlx(&path, &error);
    let mut connection = options(&path, kind, wait).connect().await.map_err(failed)?;
    match recognise(&mut connection, &path, kind).await? {
        Age::New => Err(StoreError::new(&path, Trouble::Missing)),
        _ => Ok(connection),
    }
}

/// Opens the file at `path` as it is, if this version can read it and it is whole.
pub(super) async fn open_as_it_is(
    path: &Path,
    kind: FileKind,
    wait: Duration,
) -> Result<SqliteConnection, StoreError> {
    if !path.try_exists().map_err(|error| StoreError::of_io(path, &error))? {
        return Err(StoreError::new(path, Trouble::Missing));
    }
    let options = options(path, kind, wait);
    let mut connection = options.connect().await.map_err(|error| of_sqlx(path, &error))?;
    if recognise(&mut connection, path, kind).await? == Age::New {
        return Err(StoreError::new(path, Trouble::Foreign));
    }
    check(&mut connection, path).await?;
    Ok(connection)
}

/// An empty file for its owner alone, where there is none; SQLite's own beside it are made like it.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::of_io(path, &error)),
    }
}

#[derive(PartialEq, Eq)]
enum Age {
    New,
    Written,
}

/// Whose file it is, and whether this version can read it.
async fn recognise(
    connection: &mut SqliteConnection,
    path: &Path,
    kind: FileKind,
) -> Result<Age, StoreError> {
    let failed = |error: sqlx::Error| of_sqlx(path, &error);
    let id: i64 =
        sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(failed)?;
    let major: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(failed)?;
    if id == 0 && major == 0 {
        let counted = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *connection);
        let tables: i64 = counted.await.map_err(failed)?;
        return if tables == 0 { Ok(Age::New) } else { Err(StoreError::new(path, Trouble::Foreign)) };
    }
    if id != kind.application_id() {
        return Err(StoreError::new(path, Trouble::Foreign));
    }
    if major > MAJOR {
        // Where that version keeps its name is its affair: it may not be found.
        let signed = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'written_by'");
        let version = signed.fetch_optional(&mut *connection).await.unwrap_or_default();
        return Err(StoreError::new(path, Trouble::Newer(version)));
    }
    Ok(Age::Written)
}

/// Reads the whole file: are its pages what they should be?
async fn check(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    match verdict(connection).await.map_err(|error| of_sqlx(path, &error))? {
        None => Ok(()),
        Some(problem) => Err(StoreError::new(path, Trouble::Damaged(problem))),
    }
}

/// The first thing that is wrong with a database; `None`: nothing is.
pub(super) async fn verdict(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    // Of several lines the first is a heading, if it begins with stars.
    let problem = verdict.lines().find(|line| !line.starts_with("***")).unwrap_or_default();
    Ok((verdict != "ok").then(|| problem.to_owned()))
}

/// What makes an empty file one of ours: both marks or none.
fn mark(kind: FileKind) -> String {
    let id = kind.application_id();
    format!("BEGIN; PRAGMA application_id = {id}; PRAGMA user_version = {MAJOR}; COMMIT;")
}

async fn migrate(connection: &mut SqliteConnection, kind: FileKind) -> Result<(), MigrateError> {
    let steps = kind.migrations().iter().map(|step| {
        Migration::new(step.version, step.name.into(), MigrationType::Simple, step.sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(steps.collect());
    // Those of a newer minor version only added.
    migrator.set_ignore_missing(true);
    // Not `run`: its bounds keep the compiler from seeing that this may go on in another thread.
    migrator.run_direct(None, connection, false).await
}

/// Notes which version used the file last, for the words of one that cannot.
async fn sign(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let signature = "INSERT INTO meta (name, value) VALUES ('written_by', ?1) ON CONFLICT (name) \
                     DO UPDATE SET value = excluded.value WHERE value <> excluded.value";
    sqlx::query(signature).bind(env!("CARGO_PKG_VERSION")).execute(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{FileKind, open};

    /// The promise of the two files: a commit in the first is on the disk, in the second it need not be.
    #[tokio::test]
    async fn each_file_is_as_durable_as_it_should_be() {
        let folder = tempfile::TempDir::new().unwrap();
        for (kind, synchronous) in [(FileKind::Accounts, 2), (FileKind::Answers, 1)] {
            let mut connection = open(folder.path(), kind, std::time::Duration::ZERO).await.unwrap();
            let found: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut connection).await.unwrap();
            assert_eq!(found, synchronous, "{kind:?}");
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
            assert_eq!(mode, "wal", "{kind:?}");
        }
    }
}
