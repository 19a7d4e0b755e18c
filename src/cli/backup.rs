//! `safecache backup`: the store in one file.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, bail};

use crate::cli::BackupArgs;
use crate::config;
use crate::config::Config;
use crate::store::sqlite::backup::backup;

/// Copies the store of the configured data folder, and prints how large the copy is.
///
/// # Errors
/// The configuration has problems, or the copy cannot be made: in one line that names the file.
pub fn run(args: &BackupArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&args.config.config, env)?;
    refuse_cluster(&config)?;
    let folder = config.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the backup cannot be begun")?;
    let size = runtime.block_on(backup(&folder, &args.file))?;
    writeln!(out, "{}: {} bytes, from {}", args.file.display(), size.as_u64(), folder.display())?;
    Ok(())
}

/// What lasts in PostgreSQL is its tools' to copy.
///
/// # Errors
/// It does.
pub(super) fn refuse_cluster(config: &Config) -> anyhow::Result<()> {
    if let Some(postgres) = config.postgres() {
        bail!("what lasts is in {}: back it up and restore it with pg_dump and pg_restore", postgres.label());
    }
    Ok(())
}
