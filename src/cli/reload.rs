//! `safecache reload`: asks the running gateway, over its admin API.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, anyhow, bail};
use http::{Method, StatusCode};

use crate::cli::ReloadArgs;
use crate::cli::operator::{Operator, message};
use crate::config;

/// Asks for a reload and prints what it changed.
///
/// # Errors
/// What is wrong with the new configuration; or the gateway cannot be asked.
pub fn run(args: &ReloadArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = config::load(&args.config.config, env)?;
    let operator = Operator::of(&config).map_err(|why| anyhow!("{why}; send the gateway HUP instead"))?;
    let connection = operator.connect().with_context(|| {
        format!("the gateway's admin listener at {} cannot be asked", config.admin.listen.address)
    })?;
    let target = if args.force { "/admin/v1/reload?force=true" } else { "/admin/v1/reload" };
    let (status, said) = operator.ask(connection, (Method::POST, target), None)?;
    if status != StatusCode::OK {
        bail!("{}", message(&said));
    }
    writeln!(out, "{}", message(&said))?;
    Ok(())
}
