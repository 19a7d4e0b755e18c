//! `safecache reload`.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::cli::ReloadArgs;

/// Not part of this build.
///
/// # Errors
/// Always.
pub fn run(args: &ReloadArgs, _env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    bail!("this build cannot reload {}", args.config.config.display())
}
