//! The eye on the key list: polls its metadata, reads it when it has changed and stands still.
//!
//! Polling sees what file events miss or see too often: replacement by rename, and the symlink swaps of a Kubernetes
//! ConfigMap, whose path stays while what it leads to is another file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::reload::Reloader;

/// Between two looks at a list that does not change.
const INTERVAL: Duration = Duration::from_millis(250);

/// Between the two looks that must agree before a changed list is read.
const STANDS_STILL: Duration = Duration::from_millis(100);

/// What a look sees. Two equal looks at one path mean one content.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    File { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
    Unreadable(io::ErrorKind),
}

impl Look {
    fn at(path: &Path) -> Self {
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

/// The list as it was when it was last read, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    path: PathBuf,
    look: Look,
}

impl Seen {
    /// The list at `path` as it is now: take this before reading it the first time.
    pub fn now(path: &Path) -> Self {
        Self { path: path.to_owned(), look: Look::at(path) }
    }
}

/// Follows the key list for ever; `seen` is what has been read already. Reads and parses on a thread of its own.
pub async fn follow<D: Send + Sync + 'static>(reloader: Arc<Reloader<D>>, mut seen: Option<Seen>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(path) = reloader.list_path() else { continue };
        let first = Seen::now(&path);
        if seen.as_ref() == Some(&first) {
            continue;
        }
        tokio::time::sleep(STANDS_STILL).await;
        if Seen::now(&path) != first {
            continue;
        }
        let reading = Arc::clone(&reloader);
        let read = tokio::task::spawn_blocking(move || take(&reading, first)).await;
        seen = read.ok().flatten().or(seen);
    }
}

/// Reads and takes the list; `None` if it changed while it was read, so that it is looked at again.
fn take<D>(reloader: &Reloader<D>, first: Seen) -> Option<Seen> {
    match std::fs::read(&first.path) {
        Ok(content) => {
            if Look::at(&first.path) != first.look {
                return None;
            }
            // Its result has been recorded; the last good list stays if it is an error.
            let _ = reloader.take_list(&first.path, &content);
        }
        Err(error) => reloader.list_unreadable(&first.path, &error.to_string()),
    }
    Some(first)
}
