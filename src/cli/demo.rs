//! `safecache demo`: the gateway with nothing else installed.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::sync::oneshot;

use crate::auth::token;
use crate::cli::DemoArgs;
use crate::cli::running::{Signals, print_addresses, print_way_in};
use crate::clock::Clock;
use crate::cluster::link::ANSWER_WAIT;
use crate::config;
use crate::demo::{self, DemoSettings};
use crate::dice;
use crate::ids::AccountId;
use crate::proxy::resolver;
use crate::runtime::reload::Source;
use crate::server::{Running, Start, start};
use crate::shelf::DISK_WAIT;
use crate::store::people::person::{Membership, Role};
use crate::telemetry::init::logging;

/// Runs the demo until it is told to end, and leaves nothing behind.
///
/// # Errors
/// A port cannot be bound, or the temporary folder cannot be made.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    logging("warn");
    let signals = Signals::catch()?;
    let folder = TemporaryFolder::create()?;
    let llm = DemoLlm::start(args.pace.0)?;
    let key = token::generate(dice::fill).context("no random numbers can be had for a key")?;
    let text = configuration(args, &folder.0, llm.address, &data_encoding::HEXLOWER.encode(&key.digest));
    let config = config::parse(&text, "demo", &BTreeMap::new(), &folder.0)?;
    let running = start(Start {
        config,
        source: Source::Fixed,
        clock: Clock::system(),
        lookup: resolver::system(),
        access: None,
        disk_wait: DISK_WAIT,
        redis_wait: ANSWER_WAIT,
        inherited: None,
    })?;
    greet(&running, key.secret.expose(), &mut std::io::stdout())?;
    signals.heed(running);
    llm.stop();
    Ok(())
}

fn configuration(args: &DemoArgs, folder: &Path, llm: SocketAddr, digest: &str) -> String {
    let DemoArgs { listen, admin, .. } = args;
    format!(
        r#"
listen: "{listen}"
admin: {{listen: "{admin}"}}
data_dir: "{}"
upstreams:
  demo: {{servers: ["http://{llm}"], authorization: Bearer demo-upstream-key}}
routes:
  - {{path: /v1/*, upstream: demo, errors: openai, cache: {{ttl: 1h}}}}
keys:
  - {{id: demo, account: demo, plan: pro, sha256: {digest}, name: demo key}}
"#,
        folder.join("data").display()
    )
}

/// Prints what a newcomer needs: where, with which key, and three lines to try.
fn greet(running: &Running, key: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let url = running.data_urls().next().unwrap_or_default();
    writeln!(
        out,
        "safecache demo: a gateway in front of a built-in demo LLM. Ctrl-C ends it and leaves nothing.\n"
    )?;
    print_addresses(running, out)?;
    let place = Membership { account: AccountId::new("demo"), role: Role::Owner };
    print_way_in(running, Some(place), out)?;
    writeln!(out, "key: {key}\n")?;
    let curl = |options: &str, body: &str| {
        format!(
            "curl -sS{options} {url}/v1/chat/completions \\\n  -H 'Authorization: Bearer {key}' -H 'Content-Type: \
             application/json' \\\n  -d '{body}'\n"
        )
    };
    let question = r#"{"model":"demo","messages":[{"role":"user","content":"What is a token bucket?"}]}"#;
    let stream =
        r#"{"model":"demo","stream":true,"messages":[{"role":"user","content":"Tell me about caches."}]}"#;
    writeln!(out, "# 1. Ask (a miss: see x-cache and cache-status).\n{}", curl("i", question))?;
    writeln!(out, "# 2. Ask again (a hit: the demo LLM is not called).\n{}", curl("i", question))?;
    writeln!(out, "# 3. Watch an answer stream.\n{}", curl("N", stream))?;
    Ok(out.flush()?)
}

/// The demo LLM on a thread of its own.
struct DemoLlm {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl DemoLlm {
    fn start(pace: std::time::Duration) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the demo LLM cannot be started")?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))
            .context("the demo LLM cannot listen")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let settings = DemoSettings { pace, clock: Clock::system() };
        let thread = std::thread::Builder::new().name("demo-llm".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = demo::serve(listener, settings, std::future::pending()) => {}
                    // Told to stop, or nobody is left who could tell.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, stop, thread })
    }

    fn stop(self) {
        // An error means that it has ended already.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// A folder that is removed with everything in it.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn create() -> anyhow::Result<Self> {
        let name = format!("safecache-demo-{}", dice::uuid_v7(Clock::system().unix()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
