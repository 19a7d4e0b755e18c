//! `safecache demo`.

use anyhow::bail;

use crate::cli::DemoArgs;

/// Not part of this build.
///
/// # Errors
/// Always.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    bail!("this build cannot run a demo on {}", args.listen)
}
