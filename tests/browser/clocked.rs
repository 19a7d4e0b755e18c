//! A gateway before the demo LLM, with a clock that whoever started it moves. The browser's tests start it where what is
//! shown hangs on the time, and `make screenshots` where it must always be the same.
//!
//! It is told everything in lines on its standard input, and ends with that:
//!
//! - `serve SECONDS PATH`, the first: begins at that Unix time, with the configuration at PATH, in which `${LLM}` is the
//!   demo LLM; answered by where it listens, as `safecache serve` prints it, and by `ready`.
//! - `advance SECONDS` -- moves the clock; answered by `advanced`.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use safecache::cli::running::{print_addresses, print_way_in};
use safecache::clock::{Clock, ManualClock, UnixTime};
use safecache::cluster::link::ANSWER_WAIT;
use safecache::config;
use safecache::demo::{self, DemoSettings};
use safecache::proxy::resolver;
use safecache::runtime::reload::Source;
use safecache::server::{Running, Start, start};
use safecache::shelf::DISK_WAIT;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// How long the demo LLM thinks before each word of a stream: long enough to be seen.
const PACE: Duration = Duration::from_millis(5);

fn main() -> anyhow::Result<()> {
    let mut lines = std::io::stdin().lock().lines();
    let first = lines.next().context("nothing was asked for")??;
    let mut words = first.splitn(3, ' ');
    let (Some("serve"), Some(seconds), Some(path)) = (words.next(), words.next(), words.next()) else {
        return Err(anyhow!("{first:?} is no `serve SECONDS PATH`"));
    };
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (clock, time) = Clock::manual(UnixTime::from_secs(seconds.parse()?));
    let llm = llm(&runtime, clock.clone())?;
    let running = gateway(Path::new(path), clock, llm)?;
    let mut out = std::io::stdout();
    print_addresses(&running, &mut out)?;
    print_way_in(&running, None, &mut out)?;
    writeln!(out, "ready")?;
    for line in lines {
        obey(&line?, &time)?;
        writeln!(out, "advanced")?;
        out.flush()?;
    }
    running.end();
    Ok(())
}

/// Starts the demo LLM, and says where it is.
fn llm(runtime: &Runtime, clock: Clock) -> anyhow::Result<String> {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let url = format!("http://{}", listener.local_addr()?);
    runtime.spawn(demo::serve(listener, DemoSettings { pace: PACE, clock }, std::future::pending()));
    Ok(url)
}

fn gateway(path: &Path, clock: Clock, llm: String) -> anyhow::Result<Running> {
    let env = BTreeMap::from([("LLM".to_owned(), llm)]);
    let config = config::load(path, &env).map_err(|report| anyhow!("{report}"))?;
    start(Start {
        config,
        source: Source::File { path: path.to_owned(), env },
        clock,
        lookup: resolver::system(),
        access: None,
        disk_wait: DISK_WAIT,
        redis_wait: ANSWER_WAIT,
        inherited: None,
    })
}

fn obey(line: &str, time: &ManualClock) -> anyhow::Result<()> {
    let seconds = line.strip_prefix("advance ").with_context(|| format!("{line:?} is not understood"))?;
    time.advance(Duration::from_secs(seconds.parse()?));
    Ok(())
}
