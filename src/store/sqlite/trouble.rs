//! What SQLite's errors mean.

use std::path::Path;

use sqlx::migrate::MigrateError;

use crate::store::failure::{StoreError, Trouble};

// Primary result codes of SQLite; the higher bytes of a code say more. https://www.sqlite.org/rescode.html
const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const NOTADB: i32 = 26;

/// SQLite grows its shared memory, a file beside the database, and cannot: in practice a full disk.
const IOERR_SHMSIZE: i32 = 10 | (19 << 8);

/// What `error` says of the file at `path`.
pub(super) fn of_sqlx(path: &Path, error: &sqlx::Error) -> StoreError {
    let trouble = match error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse().ok()).unwrap_or(0);
            of_code(code, database.message())
        }
        sqlx::Error::Migrate(error) => return of_migration(path, error),
        sqlx::Error::Io(error) => return StoreError::of_io(path, error),
        sqlx::Error::PoolTimedOut => Trouble::Busy,
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Trouble::Closed,
        _ => Trouble::Failed(error.to_string()),
    };
    StoreError::new(path, trouble)
}

/// What went wrong on the way to the newest form of the file.
pub(super) fn of_migration(path: &Path, error: &MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of_sqlx(path, error),
        _ => StoreError::new(path, Trouble::Failed(error.to_string())),
    }
}

fn of_code(code: i32, message: &str) -> Trouble {
    if code == IOERR_SHMSIZE {
        return Trouble::Full;
    }
    match code & 0xff {
        FULL => Trouble::Full,
        READONLY => Trouble::ReadOnly,
        PERM => Trouble::Forbidden,
        BUSY | LOCKED => Trouble::Busy,
        CORRUPT | NOTADB => Trouble::Damaged(message.to_owned()),
        _ => Trouble::Failed(format!("{message} (SQLite's code {code})")),
    }
}
