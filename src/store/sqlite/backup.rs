//! Both files in one, and back.
//!
//! A backup is a SQLite database of its own: the table `files` names what is in it, with size and SHA-256, and `pieces`
//! holds that, each file as SQLite copies it out of the running store. It appears under its name when it is whole and on
//! the disk; until then it grows in a folder beside, together with the copies, so it takes room for the store twice.
//! A restore puts nothing in place that is not, byte for byte, what was backed up.
//!
//! Called by commands, on a runtime of their own: files are read and written where they are asked for.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::{FolderLock, LOCK_NAME};
use crate::store::sqlite::file::{FileKind, make, open_as_it_is, verdict};
use crate::store::sqlite::trouble::of_sqlx;
use crate::store::sqlite::{RESTORING, refuse_half_restored};
use crate::units::ByteSize;

/// How long the store's own writer is waited for.
const WAIT: Duration = Duration::from_secs(30);

/// How much of a file is in memory at once.
const PIECE: u64 = 1 << 20;

/// What a backup's header says of it: `sca` and a number, and the version of its form.
const APPLICATION_ID: i64 = 0x7363_6103;
const VERSION: i64 = 1;

const FORM: &str = "\
CREATE TABLE files (name TEXT PRIMARY KEY NOT NULL, bytes INTEGER NOT NULL, sha256 BLOB NOT NULL);
CREATE TABLE pieces (
    name TEXT NOT NULL, number INTEGER NOT NULL, content BLOB NOT NULL, PRIMARY KEY (name, number)
);";

/// Copies the store in `folder`, which may be in use, to `file`, which must not be there yet. What was acknowledged
/// before this began is in it. How large it is.
///
/// # Errors
/// There is no store, or it is damaged or newer than this version; the copy cannot be written. No `file` is left then.
pub async fn backup(folder: &Path, file: &Path) -> Result<ByteSize, StoreError> {
    let of_file = |error: io::Error| StoreError::of_io(file, &error);
    if file.try_exists().map_err(of_file)? {
        return Err(StoreError::new(file, Trouble::Exists));
    }
    refuse_half_restored(folder)?;
    let workshop = Workshop::beside(file)?;
    let copy = workshop.0.join("backup");
    pack(folder, &workshop, &copy).await?;
    let size = fs::metadata(&copy).map_err(of_file)?.len();
    fs::rename(&copy, file).and_then(|()| sync_folder_of(file)).map_err(of_file)?;
    Ok(ByteSize::bytes(size))
}

/// Puts what is in the backup `file` into `folder`, which must be empty or not there. What it holds is checked before it
/// has its name; if that is interrupted, the folder is refused until it is emptied.
///
/// # Errors
/// The folder is not empty, in use or cannot be written; `file` is no backup, or damaged. The folder is empty then.
pub async fn restore(file: &Path, folder: &Path) -> Result<(), StoreError> {
    let bad = |why| StoreError::new(file, Trouble::BadBackup(why));
    if !file.try_exists().map_err(|error| StoreError::of_io(file, &error))? {
        return Err(StoreError::new(file, Trouble::Missing));
    }
    let lock = FolderLock::take(folder)?;
    refuse_not_empty(lock.folder())?;
    let mut source = open_backup(file).await?;
    let mut done = Ok(());
    for kind in FileKind::ALL {
        done = match done {
            Ok(()) => unpack(&mut source, kind, lock.folder()).await,
            Err(_) => break,
        };
    }
    let files = FileKind::ALL.map(|kind| (restoring(kind, folder), kind.path(folder)));
    if let Err(trouble) = done {
        // What cannot be removed keeps the folder from being used.
        files.iter().for_each(|(restoring, _)| drop(fs::remove_file(restoring)));
        return Err(match trouble {
            Unpacking::Bad(why) => bad(why),
            Unpacking::Failed(error) => error,
        });
    }
    for (restoring, path) in files {
        let named = fs::rename(restoring, &path).and_then(|()| sync_folder_of(&path));
        named.map_err(|error| StoreError::of_io(&path, &error))?;
    }
    Ok(())
}

/// A folder for what is not ready, removed with all that is in it.
struct Workshop(PathBuf);

impl Workshop {
    fn beside(file: &Path) -> Result<Self, StoreError> {
        let path = file.with_added_extension("partial");
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| match error.kind() {
            // One that was interrupted, or one that still runs.
            io::ErrorKind::AlreadyExists => StoreError::new(&path, Trouble::Exists),
            _ => StoreError::of_io(&path, &error),
        })?;
        Ok(Self(path))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Its name says what it is to whoever finds it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// === backup ===

async fn pack(folder: &Path, workshop: &Workshop, target: &Path) -> Result<(), StoreError> {
    make(target)?;
    let options = SqliteConnectOptions::new()
        .filename(target)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let of_target = |error: sqlx::Error| of_sqlx(target, &error);
    let mut backup = options.connect().await.map_err(of_target)?;
    let begin =
        format!("BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; {FORM}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(begin)).execute(&mut backup).await.map_err(of_target)?;
    for kind in FileKind::ALL {
        let path = kind.path(folder);
        let copy = workshop.0.join(kind.file_name());
        let mut store = open_as_it_is(&path, kind, WAIT).await?;
        let copying = sqlx::query("VACUUM INTO ?1").bind(copy.to_string_lossy().into_owned());
        copying.execute(&mut store).await.map_err(|error| of_sqlx(&path, &error))?;
        store.close().await.map_err(|error| of_sqlx(&path, &error))?;
        let file = File::open(&copy).map_err(|error| StoreError::of_io(&copy, &error))?;
        pack_file(&mut backup, kind.file_name(), file).await.map_err(of_target)?;
        // Its room is wanted for what comes next.
        fs::remove_file(&copy).map_err(|error| StoreError::of_io(&copy, &error))?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut backup).await.map_err(of_target)?;
    backup.close().await.map_err(of_target)
}

async fn pack_file(backup: &mut SqliteConnection, name: &str, file: File) -> Result<(), sqlx::Error> {
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    for number in 0_i64.. {
        let mut content = Vec::new();
        (&file).take(PIECE).read_to_end(&mut content)?;
        if content.is_empty() {
            break;
        }
        hasher.update(&content);
        bytes += content.len() as i64;
        let insert = sqlx::query("INSERT INTO pieces (name, number, content) VALUES (?1, ?2, ?3)");
        insert.bind(name).bind(number).bind(content).execute(&mut *backup).await?;
    }
    let insert = sqlx::query("INSERT INTO files (name, bytes, sha256) VALUES (?1, ?2, ?3)");
    insert.bind(name).bind(bytes).bind(hasher.finalize().to_vec()).execute(backup).await?;
    Ok(())
}

// === restore ===

/// Why a file could not be put in place: the backup's fault, or the folder's.
enum Unpacking {
    Bad(&'static str),
    Failed(StoreError),
}

/// Anything but the lock's own file.
fn refuse_not_empty(folder: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::of_io(folder, &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        if entry.map_err(failed)?.file_name() != LOCK_NAME {
            return Err(StoreError::new(folder, Trouble::NotEmpty));
        }
    }
    Ok(())
}

async fn open_backup(file: &Path) -> Result<SqliteConnection, StoreError> {
    let bad = |why| StoreError::new(file, Trouble::BadBackup(why));
    let failed = |error: sqlx::Error| match of_sqlx(file, &error).trouble {
        Trouble::Damaged(_) => bad("it is damaged, or none"),
        trouble => StoreError::new(file, trouble),
    };
    let options = SqliteConnectOptions::new().filename(file).read_only(true).disable_statement_logging();
    let mut source = options.connect().await.map_err(failed)?;
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut source).await.map_err(failed)?;
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut source).await.map_err(failed)?;
    if id != APPLICATION_ID {
        return Err(bad("safecache did not write it"));
    }
    if version > VERSION {
        return Err(StoreError::new(file, Trouble::Newer(None)));
    }
    match verdict(&mut source).await.map_err(failed)? {
        None => Ok(source),
        Some(_) => Err(bad("it is damaged")),
    }
}

fn restoring(kind: FileKind, folder: &Path) -> PathBuf {
    kind.path(folder).with_added_extension(RESTORING)
}

/// Writes one file of the backup under its passing name, and makes sure that it is what it was, and of use.
async fn unpack(source: &mut SqliteConnection, kind: FileKind, folder: &Path) -> Result<(), Unpacking> {
    let path = restoring(kind, folder);
    let damaged = |_: sqlx::Error| Unpacking::Bad("it is damaged");
    let failed = |error: io::Error| Unpacking::Failed(StoreError::of_io(&path, &error));
    let listed = sqlx::query_as("SELECT bytes, sha256 FROM files WHERE name = ?1").bind(kind.file_name());
    let listed: Option<(i64, Vec<u8>)> = listed.fetch_optional(&mut *source).await.map_err(damaged)?;
    let Some(listed) = listed else { return Err(Unpacking::Bad("a file of the store is not in it")) };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let pieces = sqlx::query_scalar("SELECT content FROM pieces WHERE name = ?1 ORDER BY number");
    let mut pieces = pieces.bind(kind.file_name()).fetch(source);
    while let Some(piece) = pieces.try_next().await.map_err(damaged)? {
        let piece: Vec<u8> = piece;
        hasher.update(&piece);
        bytes += piece.len() as i64;
        file.write_all(&piece).map_err(failed)?;
    }
    if listed != (bytes, hasher.finalize().to_vec()) {
        return Err(Unpacking::Bad("what it holds is not what was backed up"));
    }
    file.sync_all().map_err(failed)?;
    let opened = open_as_it_is(&path, kind, WAIT).await.map_err(Unpacking::Failed)?;
    opened.close().await.map_err(|error| Unpacking::Failed(of_sqlx(&path, &error)))
}

/// Makes sure that the name of `file` outlasts a power cut.
fn sync_folder_of(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
