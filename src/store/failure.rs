//! What can go wrong with the store, and what an operator can do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Something that the store could not do. Displayed: one line, which names the file and says what helps. For logs and
/// the command line; what clients are told holds no paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {trouble}", .path.display())]
pub struct StoreError {
    /// The file or folder; of a database, what it is known by.
    pub path: PathBuf,
    /// What is wrong with it.
    pub trouble: Trouble,
}

impl StoreError {
    /// `trouble` with `path`.
    pub fn new(path: &Path, trouble: Trouble) -> Self {
        Self { path: path.to_owned(), trouble }
    }

    /// What the operating system says of `path`.
    pub fn of_io(path: &Path, error: &std::io::Error) -> Self {
        let trouble = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Trouble::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            std::io::ErrorKind::PermissionDenied => Trouble::Forbidden,
            _ => Trouble::Failed(error.to_string()),
        };
        Self::new(path, trouble)
    }
}

/// What is wrong, as far as somebody acts on the difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No room on the disk. Passes when there is some again.
    Full,
    /// The folder cannot be written, or the database is a standby.
    ReadOnly,
    /// The process may not write there.
    Forbidden,
    /// The file is not what was written: what SQLite says of it.
    Damaged(String),
    /// It is no file of the store, or the tables are not its.
    Foreign,
    /// A newer version, one that changed what is there, wrote it: which, if it says so.
    Newer(Option<String>),
    /// Too much is waiting, or another process holds the file. Passes.
    Busy,
    /// The database does not answer: why. Passes when it does again.
    Unreachable(String),
    /// Another gateway uses the folder: its process, if it says so.
    InUse(Option<u32>),
    /// A restore did not come to its end.
    HalfRestored,
    /// A move into it did not come to its end, or has not yet.
    HalfMoved,
    /// A move wants an empty database: a table that is not.
    Filled(&'static str),
    /// Gateways run on what is to be filled.
    Served,
    /// It holds the move of another folder, or somebody else goes on with this one's.
    AnothersMove,
    /// The folder was changed since its move began.
    ChangedSince,
    /// What a move has put is not what it was to put.
    Differs {
        /// Where the first difference is.
        table: &'static str,
        /// The rows that were to be put.
        moved: u64,
        /// The rows that are there.
        there: u64,
    },
    /// There is a file where none should be.
    Exists,
    /// A restore wants an empty folder.
    NotEmpty,
    /// There is nothing where something should be.
    Missing,
    /// It is no backup, or one that broke off or was changed.
    BadBackup(&'static str),
    /// Other gateways could not be told: why.
    Untold(String),
    /// The store has ended.
    Closed,
    /// Anything else.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space left on its disk; make room"),
            Self::ReadOnly => f.write_str("cannot be written: it is read-only"),
            Self::Forbidden => f.write_str("cannot be written: permission denied"),
            Self::Damaged(what) => write!(
                f,
                "is damaged ({what}); restore a backup into an empty folder, or move the file away to begin anew"
            ),
            Self::Foreign => {
                f.write_str("is not safecache's; move it away, or name another folder or database")
            }
            Self::Newer(version) => write!(
                f,
                "was written by a newer safecache{}, which this version ({}) cannot read; run that one, or restore a \
                 backup of this one",
                version.as_deref().map(|version| format!(" ({version})")).unwrap_or_default(),
                env!("CARGO_PKG_VERSION")
            ),
            Self::Busy => f.write_str("is busy; try again"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::InUse(process) => write!(
                f,
                "is in use by another safecache{}; one at a time",
                process.map(|process| format!(" (process {process})")).unwrap_or_default()
            ),
            Self::HalfRestored => {
                f.write_str("holds a restore that broke off; empty the folder and restore again")
            }
            Self::HalfMoved => {
                f.write_str("holds a move that is not done; run `safecache migrate` again, which goes on where it was")
            }
            Self::Filled(table) => write!(
                f,
                "is not empty ({table} has rows); a folder is moved into an empty database, or where its own move broke off"
            ),
            Self::Served => f.write_str("is used by gateways that run; end them, and try again ten seconds later"),
            Self::AnothersMove => f.write_str(
                "holds the move of another data folder, or one that another command goes on with; name another database",
            ),
            Self::ChangedSince => f.write_str(
                "was changed since its move began; empty the database, and move the folder anew",
            ),
            Self::Differs { table, moved, there } => write!(
                f,
                "differs from the data folder in {table} ({moved} rows there, {there} here, or other sums); empty it, and \
                 move the folder anew"
            ),
            Self::Exists => f.write_str("is there already; name another file, or move it away"),
            Self::NotEmpty => f.write_str("is not empty; a restore wants an empty folder, or none"),
            Self::Missing => f.write_str("is not there"),
            Self::BadBackup(why) => write!(f, "is no backup that can be restored: {why}"),
            Self::Untold(why) => write!(
                f,
                "may still be given by other gateways, until they can be told, which is tried again and again: {why}"
            ),
            Self::Closed => f.write_str("is closed: the gateway is ending"),
            Self::Failed(what) => write!(f, "failed: {what}"),
        }
    }
}
