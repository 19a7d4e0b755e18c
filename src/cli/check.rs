//! `safecache check`: all problems of a configuration and its key list.

use std::collections::BTreeMap;
use std::io::Write;

use crate::cli::ConfigArgs;
use crate::config;

/// Checks the configuration and the key list that it names; says on `out` that all is well.
///
/// # Errors
/// The report of all problems, or that `out` is closed.
pub fn run(args: &ConfigArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let (config, listed) = config::check(&args.config, env)?;
    writeln!(
        out,
        "{}: ok ({}, {}, {}, {})",
        args.config.display(),
        counted(config.plans.len(), "plan"),
        counted(config.upstreams.len(), "upstream"),
        counted(config.routes.iter().count(), "route"),
        counted(config.keys.len() + listed.len(), "key"),
    )?;
    Ok(())
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
