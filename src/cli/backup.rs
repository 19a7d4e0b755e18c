//! `safecache backup`: the store in one file.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;

use crate::cli::BackupArgs;
use crate::config;
use crate::store::sqlite::backup::backup;

/// Copies the store of the configured data folder, and prints how large the copy is.
///
/// # Errors
/// The configuration has problems, or the copy cannot be made: in one line that names the file.
pub fn run(args: &BackupArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let folder = config::load(&args.config.config, env)?.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the backup cannot be begun")?;
    let size = runtime.block_on(backup(&folder, &args.file))?;
    writeln!(out, "{}: {} bytes, from {}", args.file.display(), size.as_u64(), folder.display())?;
    Ok(())
}
