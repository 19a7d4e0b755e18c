//! `safecache serve`.

use std::collections::BTreeMap;
use std::io::Write;

use crate::cli::ServeArgs;
use crate::cli::running::{Signals, print_addresses, print_way_in};
use crate::clock::Clock;
use crate::cluster::link::ANSWER_WAIT;
use crate::config;
use crate::proxy::resolver;
use crate::runtime::reload::Source;
use crate::server::hand_over::take::receive;
use crate::server::{Start, start};
use crate::shelf::DISK_WAIT;
use crate::telemetry::init::logging;

/// Runs the gateway until it is told to end. Access lines go to stdout, all else to stderr.
///
/// # Errors
/// The configuration has problems, or a port or file cannot be used.
pub fn run(args: &ServeArgs, env: &BTreeMap<String, String>) -> anyhow::Result<()> {
    logging(env.get("SAFECACHE_LOG").map_or("", String::as_str));
    // Who is told to end before it has taken over ends at once, as processes do: the running gateway goes on.
    let early = if args.upgrade { None } else { Some(Signals::catch()?) };
    let path = &args.config.config;
    let config = config::load(path, env)?;
    let inherited = args.upgrade.then(|| receive(&config.data_dir, say_who_is_waited_for)).transpose()?;
    let running = start(Start {
        config,
        source: Source::File { path: path.clone(), env: env.clone() },
        clock: Clock::system(),
        lookup: resolver::system(),
        access: Some(Box::new(std::io::stdout())),
        disk_wait: DISK_WAIT,
        redis_wait: ANSWER_WAIT,
        inherited,
    })?;
    let signals = early.map_or_else(Signals::catch, Ok)?;
    print_addresses(&running, &mut std::io::stderr())?;
    // The process before this one has printed it.
    if !args.upgrade {
        print_way_in(&running, None, &mut std::io::stderr())?;
    }
    signals.heed(running);
    Ok(())
}

fn say_who_is_waited_for(process: Option<u32>) {
    let process = process.map_or_else(|| "the running gateway".into(), |number| format!("process {number}"));
    // Nobody reads it: no reason to stop.
    let _ = writeln!(std::io::stderr(), "waiting for {process} to be told QUIT");
}
