//! The data folder, and the lock by which one gateway at a time uses it.
//!
//! The lock is the kernel's (`flock`) on a file in the folder: it ends with the process, however that ends, and leaves
//! nothing to clean up. It belongs to the open file, not to the process. So a gateway hands it over by handing over the
//! open file, as it does with its sockets: both hold it, nobody else can come between, and it ends with the last of
//! them.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::failure::{StoreError, Trouble};

/// The lock's file.
pub(super) const LOCK_NAME: &str = "lock";

/// A data folder that nobody else uses, as long as this is there.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    file: File,
    /// True once another process may hold the same open file.
    is_shared: AtomicBool,
}

impl Drop for FolderLock {
    /// Lets go of the lock at once. A child that is just being started holds a copy of the open file for a moment, and the
    /// lock would last as long.
    fn drop(&mut self) {
        if !self.is_shared.load(Ordering::SeqCst) {
            // What cannot be let go of ends with the open file.
            let _ = self.file.unlock();
        }
    }
}

impl FolderLock {
    /// Takes the folder, which is made if it is not there, for its owner alone. Does not wait.
    ///
    /// # Errors
    /// Another process has it ([`Trouble::InUse`]), or it cannot be written.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| StoreError::of_io(folder, &error))?;
        let path = folder.join(LOCK_NAME);
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|error| StoreError::of_io(folder, &error))?;
        let lock = Self::lock(folder, file, AtomicBool::new(false))?;
        lock.sign()?;
        Ok(lock)
    }

    /// Another handle of the same lock, for the process that takes over.
    ///
    /// # Errors
    /// The process has no more handles.
    pub fn share(&self) -> Result<OwnedFd, StoreError> {
        self.is_shared.store(true, Ordering::SeqCst);
        let copy = self.file.try_clone().map_err(|error| StoreError::of_io(&self.folder, &error))?;
        Ok(copy.into())
    }

    /// Takes the folder over from the process that [shared](Self::share) its lock. Whoever asks is still told of that
    /// one, until this one [signs](Self::sign).
    ///
    /// # Errors
    /// The handle is not that of this folder's lock.
    pub fn take_over(folder: &Path, handle: OwnedFd) -> Result<Self, StoreError> {
        let file = File::from(handle);
        let handed = file.metadata().map_err(|error| StoreError::of_io(folder, &error))?;
        let there = folder.join(LOCK_NAME).metadata().map_err(|error| StoreError::of_io(folder, &error))?;
        let identity = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        if identity(&handed) != identity(&there) {
            return Err(StoreError::new(folder, Trouble::Failed("the lock handed over is another's".into())));
        }
        // Succeeds at once: the lock is this open file's already.
        Self::lock(folder, file, AtomicBool::new(true))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says that the lock is this process's, for who asks who has it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn sign(&self) -> Result<(), StoreError> {
        let mut file = &self.file;
        let signed = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        signed.map_err(|error| StoreError::of_io(&self.folder, &error))
    }

    fn lock(folder: &Path, mut file: File, is_shared: AtomicBool) -> Result<Self, StoreError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), file, is_shared }),
            Err(TryLockError::WouldBlock) => Err(StoreError::new(folder, Trouble::InUse(holder(&mut file)))),
            Err(TryLockError::Error(error)) => Err(StoreError::of_io(folder, &error)),
        }
    }
}

/// The process that holds the lock, if it has written its number.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
