//! The eye on the key list: polls its metadata, reads it when it has changed and stands still.
//!
//! Polling sees what file events miss or see too often: replacement by rename, and the symlink swaps of a Kubernetes
//! ConfigMap, whose path stays while what it leads to is another file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::look::{Look, STANDS_STILL};
use crate::runtime::reload::Reloader;

/// Between two looks at a list that does not change.
const INTERVAL: Duration = Duration::from_millis(250);

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
