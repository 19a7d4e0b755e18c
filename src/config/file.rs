//! Reading the files that operators name, within a bound: of those that a configuration names regular ones alone, so
//! that none of them can hold anything up.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The largest file that is read whole: a million keys take a quarter of it.
const MOST_BYTES: u64 = 1 << 30;

/// Reads the file at `path`, through all symlinks. Blocks on the disk, never on a pipe or a device.
///
/// # Errors
/// It cannot be read, is no regular file, or is larger than 1 GiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Asked before as well: opening alone can do something to a device.
    check(&std::fs::metadata(path)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    check(&metadata)?;
    read_bounded(file, metadata.len())
}

/// Reads what is at `path`, be it a pipe: for the file that the command line names, as in `--config <(…)`. Blocks for as
/// long as its writer does.
///
/// # Errors
/// It cannot be read, is a folder, or is larger than 1 GiB.
pub fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(folder());
    }
    read_bounded(file, 0)
}

fn read_bounded(file: File, expected: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(usize::try_from(expected).unwrap_or(0));
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if read as u64 > MOST_BYTES { Err(too_large()) } else { Ok(content) }
}

fn check(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(folder());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    if metadata.len() > MOST_BYTES { Err(too_large()) } else { Ok(()) }
}

fn folder() -> io::Error {
    io::Error::new(ErrorKind::IsADirectory, "it is a folder")
}

fn too_large() -> io::Error {
    io::Error::new(ErrorKind::FileTooLarge, "it is larger than 1 GiB")
}
