//! `safecache check`: all problems of a configuration and its key list, and what holds for all gateways of a cluster.

use std::collections::BTreeMap;
use std::io::Write;

use crate::cli::ConfigArgs;
use crate::config;
use crate::config::cluster::{Cluster, EngineUrl};
use crate::limits::link::WhenDown;

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
    if let Some(cluster) = &config.cluster {
        let engines = [&cluster.postgres, &cluster.redis].into_iter().flatten().map(EngineUrl::label);
        let engines = engines.collect::<Vec<_>>().join(", ");
        writeln!(out, "at least {}, {engines}:", counted(cluster.replicas.get() as usize, "gateway"))?;
        for (what, holds) in guarantees(cluster) {
            writeln!(out, "  {what:<9} {holds}")?;
        }
    }
    Ok(())
}

/// What holds for all gateways together, thing by thing.
fn guarantees(cluster: &Cluster) -> [(&'static str, &'static str); 5] {
    let lasts = cluster.postgres.is_some();
    let keys = match lasts {
        true => "of the list and of PostgreSQL; a change there is in force everywhere within 2 s",
        false => {
            "of the list alone; making keys, accounts or people is refused, as PostgreSQL would have to keep them"
        }
    };
    let limits = match (&cluster.redis, cluster.without_redis) {
        (None, _) => "each gateway keeps to its part of each limit: the limit by the number of gateways",
        (Some(_), WhenDown::Share) => {
            "hold for all gateways together; while Redis is away each keeps to its part of each limit"
        }
        (Some(_), WhenDown::Open) => {
            "hold for all gateways together; while Redis is away NOTHING IS LIMITED (without_redis: open)"
        }
        (Some(_), WhenDown::Closed) => {
            "hold for all gateways together; while Redis is away nothing passes (without_redis: closed)"
        }
    };
    let answers = match &cluster.redis {
        Some(_) => "shared over Redis, a purge holds everywhere within 1 s; cache.disk is not used",
        None => "shared in PostgreSQL within cache.disk, a purge holds everywhere within 2 s",
    };
    let (stored, usage) = match lasts {
        true => ("what clients store is there for all gateways", "summed over all gateways"),
        false => {
            ("what clients store is of each gateway apart", "of each gateway apart, and so are its reports")
        }
    };
    [("keys", keys), ("limits", limits), ("answers", answers), ("stored", stored), ("usage", usage)]
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
