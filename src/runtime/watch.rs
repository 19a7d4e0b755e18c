//! The eye on the files that change while the configuration stays: the key list, and certificates with their keys.
//! Polls their metadata, has them read when they have changed and stand still.
//!
//! Polling sees what file events miss or see too often: replacement by rename, and the symlink swaps of Kubernetes
//! (ConfigMap, Secret), whose path stays while what it leads to is another file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::file;
use crate::runtime::journal::Part;
use crate::runtime::look::{Look, MOST_LOOKS, NEVER_STILL, STANDS_STILL};
use crate::runtime::reload::{Reloader, Taken};

/// Between two looks at files that do not change.
const INTERVAL: Duration = Duration::from_millis(250);

/// Files as they were when they were last read, or refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(Vec<(PathBuf, Look)>);

impl Seen {
    /// The files at `paths` as they are now: take this before reading them the first time.
    pub fn now(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let look = |path: PathBuf| {
            let look = Look::at(&path);
            (path, look)
        };
        Self(paths.into_iter().map(look).collect())
    }

    /// True if they are still so.
    fn is_still_so(&self) -> bool {
        self.0.iter().all(|(path, look)| Look::at(path) == *look)
    }

    /// The file that is not so any more, or the first if all are again.
    fn moving(&self) -> Option<&Path> {
        let moved = self.0.iter().find(|(path, look)| Look::at(path) != *look);
        moved.or(self.0.first()).map(|(path, _)| path.as_path())
    }
}

/// Follows the key list for ever; `seen` is what has been read already. Reads and parses on a thread of its own.
pub async fn follow_list<D: Send + Sync + 'static>(reloader: Arc<Reloader<D>>, seen: Seen) {
    let paths = |reloader: &Reloader<D>| reloader.list_path().into_iter().collect();
    follow(reloader, seen, Eye { part: Part::KeyList, paths, take: take_list }).await;
}

/// Follows certificates and keys for ever. What was read before is compared with what they hold, so that none is
/// missed that changed meanwhile.
pub async fn follow_certificates<D: Send + Sync + 'static>(reloader: Arc<Reloader<D>>) {
    let take = |reloader: &Reloader<D>, first: &Seen| reloader.take_certificates(|| first.is_still_so());
    let eye = Eye { part: Part::Certificates, paths: Reloader::tls_paths, take };
    follow(reloader, Seen::default(), eye).await;
}

/// What is followed, and how.
struct Eye<D> {
    part: Part,
    paths: fn(&Reloader<D>) -> Vec<PathBuf>,
    take: fn(&Reloader<D>, &Seen) -> Taken,
}

async fn follow<D: Send + Sync + 'static>(reloader: Arc<Reloader<D>>, mut seen: Seen, eye: Eye<D>) {
    let mut vain_looks = 0_usize;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let first = Seen::now((eye.paths)(&reloader));
        if seen == first {
            continue;
        }
        tokio::time::sleep(STANDS_STILL).await;
        if first.is_still_so() {
            let (reading, read, take) = (Arc::clone(&reloader), first.clone(), eye.take);
            let taken = tokio::task::spawn_blocking(move || take(&reading, &read)).await;
            if matches!(taken, Ok(Taken::Looked)) {
                seen = first;
                vain_looks = 0;
                continue;
            }
        }
        vain_looks = vain_looks.saturating_add(1);
        if vain_looks == MOST_LOOKS
            && let Some(path) = first.moving()
        {
            // Told once; it is looked at further, and taken when it stands still.
            reloader.unreadable(eye.part, path, NEVER_STILL);
        }
    }
}

/// Reads and takes the list.
fn take_list<D>(reloader: &Reloader<D>, first: &Seen) -> Taken {
    for path in first.0.iter().map(|(path, _)| path) {
        match file::read(path) {
            Ok(content) => return reloader.take_list(path, &content, || first.is_still_so()),
            Err(error) => reloader.unreadable(Part::KeyList, path, &error.to_string()),
        }
    }
    Taken::Looked
}
