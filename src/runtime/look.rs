//! Looks at a file that others write: what tells that it has changed, and that it stands still.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::config::file;

/// Between the two looks that must agree before a file is read.
pub(super) const STANDS_STILL: Duration = Duration::from_millis(100);

/// Looks at a file that keeps changing, before it is given up.
pub(super) const MOST_LOOKS: usize = 10;

/// Why it is given up.
pub(super) const NEVER_STILL: &str = "it is still being written";

/// What a look sees. Two equal looks at one path mean one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A file, through all symlinks.
    File {
        /// Its file system.
        device: u64,
        /// Its number there.
        inode: u64,
        /// Its length in bytes.
        size: u64,
        /// When its content was written: seconds and nanoseconds.
        modified: (i64, i64),
        /// When anything about it was changed.
        changed: (i64, i64),
    },
    /// None that can be read.
    Unreadable(io::ErrorKind),
}

impl Look {
    pub(super) fn at(path: &Path) -> Self {
        match std::fs::metadata(path) {
            Ok(metadata) => Self::of(&metadata),
            Err(error) => Self::Unreadable(error.kind()),
        }
    }

    fn of(metadata: &Metadata) -> Self {
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a file once it stands still: the looks before, after a pause, and after reading agree. Blocks for that
/// pause at least.
///
/// # Errors
/// It cannot be read, or ten looks found it changed each time.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks, on a thread that may block")]
pub(super) fn read_still(path: &Path) -> io::Result<Vec<u8>> {
    let mut seen = Look::at(path);
    for _ in 0..MOST_LOOKS {
        std::thread::sleep(STANDS_STILL);
        let again = Look::at(path);
        if again == seen {
            let content = file::read(path)?;
            if Look::at(path) == seen {
                return Ok(content);
            }
        }
        seen = again;
    }
    Err(io::Error::other(NEVER_STILL))
}
