//! `safecache serve`.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::cli::ServeArgs;

/// Not part of this build.
///
/// # Errors
/// Always.
pub fn run(args: &ServeArgs, _env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    bail!("this build cannot serve {}", args.config.config.display())
}
