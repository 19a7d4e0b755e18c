//! `safecache migrate`: what is in the data folder, moved into PostgreSQL.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, anyhow};

use crate::cli::MigrateArgs;
use crate::clock::Clock;
use crate::config::cluster::{Engine, EngineUrl};
use crate::config::{self, Config};
use crate::store::moving::move_to;

/// Moves the configured data folder, and prints what was moved and what to do next.
///
/// # Errors
/// The configuration has problems, no database is named, or the folder cannot be moved: in one line that names it.
pub fn run(args: &MigrateArgs, env: &BTreeMap<String, String>, out: &mut dyn Write) -> anyhow::Result<()> {
    let path = &args.config.config;
    let config = config::load(path, env)?;
    let url = url(args, &config, env)?;
    let folder = &config.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the move cannot be begun")?;
    let moved = runtime.block_on(move_to(folder, url.secret(), Clock::system().unix()))?;
    let (from, to, path) = (folder.display(), &moved.to.place, path.display());
    if moved.tables.is_empty() {
        writeln!(out, "{from}: was moved to {to} at {} already; nothing was changed", moved.to.at.rfc3339())?;
    } else {
        for (table, rows) in &moved.tables {
            writeln!(out, "{table}: {rows}")?;
        }
        writeln!(
            out,
            "{from}: moved to {to}, but for the answers of upstreams in the cache: they are made anew"
        )?;
    }
    if config.postgres().is_some_and(|configured| configured == &url) {
        writeln!(out, "next: start the gateways; {path} names the database in `cluster.postgres` already")?;
    } else {
        writeln!(out, "next: name the database in `cluster.postgres` of {path}, and start the gateways")?;
    }
    Ok(())
}

/// Where to move to: where the arguments say, or else the configuration.
fn url(args: &MigrateArgs, config: &Config, env: &BTreeMap<String, String>) -> anyhow::Result<EngineUrl> {
    let Some(to) = &args.to else {
        let configured = config.postgres().cloned();
        return configured
            .context("no database is named: give --to, or set cluster.postgres in the configuration");
    };
    let wrong = |why: String| anyhow!("--to: {why}");
    let text = config::complete(to, &args.config.config, env).map_err(wrong)?;
    let hint = Engine::Postgres.hint();
    EngineUrl::parse(Engine::Postgres, &text).map_err(|error| wrong(format!("{error} (hint: {hint})")))
}
