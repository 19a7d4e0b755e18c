//! `safecache restore`: a backup put back.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;

use crate::cli::BackupArgs;
use crate::cli::backup::refuse_cluster;
use crate::config;
use crate::store::sqlite::backup::restore;

/// Puts the backup into the configured data folder, and says so.
///
/// # Errors
/// The configuration has problems, or the backup cannot be put back: in one line that names the file or folder.
pub fn run(args: &BackupArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&args.config.config, env)?;
    refuse_cluster(&config)?;
    let folder = config.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the restore cannot be begun")?;
    runtime.block_on(restore(&args.file, &folder))?;
    writeln!(out, "{}: restored into {}", args.file.display(), folder.display())?;
    Ok(())
}
