//! The command line.
//!
//! The only place that reads the environment and that prints. Results go to stdout, errors to stderr in plain
//! lines. Exit code 0: done; 1: refused or failed; 2: wrong usage.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::units::parse_duration;

pub mod backup;
pub mod check;
pub mod demo;
pub mod door;
pub mod hash_key;
pub mod keys;
pub mod migrate;
pub mod operator;
pub mod people;
pub mod reload;
pub mod restore;
pub mod running;
pub mod schema;
pub mod serve;
pub mod table;

/// A reverse-proxy gateway for LLM back ends: admission, rate limits, answer cache, streaming forward.
#[derive(Debug, Parser)]
#[command(name = "safecache", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway.
    ///
    /// HUP reloads the configuration; TERM drains and exits 0; a second TERM, or INT, ends at once; QUIT hands the sockets
    /// to a new process started with --upgrade.
    Serve(ServeArgs),
    /// Run the gateway with nothing else installed, in front of a built-in demo LLM.
    ///
    /// Uses a temporary data folder and one account and key, and prints the key and lines to try.
    Demo(DemoArgs),
    /// Validate the configuration and the key list that it names; change nothing.
    ///
    /// Prints every problem with file, line, column, the key's path and a hint. Exit code 1 if there is any.
    Check(ConfigArgs),
    /// Print the JSON Schema of gateway.yaml, for editors.
    Schema,
    /// Read a key from stdin and print its SHA-256 for the key list.
    ///
    /// One newline at the end is not part of the key; under 20 characters is refused.
    /// The line goes after `sha256:` in the key list.
    HashKey,
    /// Make, list, rename, rotate, revoke and delete keys in the store.
    ///
    /// Asks the running gateway, over its admin API; if none can be asked, its data folder is changed.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// List who may log in to the console, and let somebody set a new password.
    ///
    /// Asks the running gateway, over its admin API; if none can be asked, its data folder is changed.
    #[command(subcommand)]
    People(PeopleCommand),
    /// Ask the running gateway to reload, over its admin API.
    ///
    /// Prints what changed, or what is wrong. The address and the token are those of the configuration.
    Reload(ReloadArgs),
    /// Copy the store to one file, also while the gateway runs.
    ///
    /// Everything that was acknowledged before this began is in it. It takes room for the store twice while it is made,
    /// and appears under its name when it is whole. A FILE that is there already is refused.
    Backup(BackupArgs),
    /// Put a backup back, into an empty data folder.
    ///
    /// The data folder is that of the configuration; it must be empty, or not there. What the backup holds is checked,
    /// byte for byte, before it is put in place.
    Restore(BackupArgs),
    /// Move what is in the data folder into PostgreSQL, for several gateways.
    ///
    /// The gateway must not run, and the database must be empty. A move that broke off, however that happened, goes on when
    /// this is run again. At the end the rows of both sides are counted and compared; the folder stays as it is. Answers of
    /// upstreams in the cache are not moved: they are made anew.
    Migrate(MigrateArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file. Relative paths in it begin at its folder.
    #[arg(long, value_name = "FILE", default_value = "gateway.yaml")]
    pub config: PathBuf,
}

/// `safecache serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Take over from the gateway that runs on the same data folder, once it is told QUIT; within 60 seconds.
    #[arg(long)]
    pub upgrade: bool,
}

/// `safecache demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where clients connect; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where operators connect; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9091")]
    pub admin: SocketAddr,
    /// The wait between two words of a streamed answer, such as 30ms; 0 sends all at once.
    #[arg(long, value_name = "DURATION", default_value = "30ms")]
    pub pace: Pace,
}

/// A span of time on the command line, written as in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Pace(pub Duration);

impl FromStr for Pace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_duration(text).map(Self).ok_or("a duration looks like 30ms or 2s")
    }
}

/// `safecache keys`.
#[derive(Clone, Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key and print it: it is never shown again.
    ///
    /// An account that is not there is made, on the plan free.
    Create(CreateKeyArgs),
    /// List keys.
    List(ListKeysArgs),
    /// Give a key a new secret and print it; the old one stays valid for a while.
    Rotate(RotateKeyArgs),
    /// End all secrets of a key but the newest.
    EndOverlap(KeyArgs),
    /// Give a key another name.
    Rename(RenameKeyArgs),
    /// Have a key refused, for good, within a second.
    Revoke(KeyArgs),
    /// The same, and list it no more.
    Delete(KeyArgs),
}

impl KeysCommand {
    /// Which configuration.
    pub fn config(&self) -> &ConfigArgs {
        match self {
            Self::Create(args) => &args.config,
            Self::List(args) => &args.config,
            Self::Rotate(args) => &args.config,
            Self::Rename(args) => &args.config,
            Self::EndOverlap(args) | Self::Revoke(args) | Self::Delete(args) => &args.config,
        }
    }
}

/// `safecache people`.
#[derive(Clone, Debug, Subcommand)]
pub enum PeopleCommand {
    /// List who may log in.
    List(ListPeopleArgs),
    /// Print a one-time link that sets somebody's password: an operator's, too.
    ///
    /// It is good for 24 hours. Whoever opens it first sets the password; their sessions end then.
    Reset(ResetPersonArgs),
}

impl PeopleCommand {
    /// Which configuration.
    pub fn config(&self) -> &ConfigArgs {
        match self {
            Self::List(args) => &args.config,
            Self::Reset(args) => &args.config,
        }
    }
}

/// `safecache people list`.
#[derive(Clone, Debug, Args)]
pub struct ListPeopleArgs {
    /// Those of this account alone.
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache people reset`.
#[derive(Clone, Debug, Args)]
pub struct ResetPersonArgs {
    /// The name that they log in with.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache keys create`.
#[derive(Clone, Debug, Args)]
pub struct CreateKeyArgs {
    /// Whose key it is.
    #[arg(long, value_name = "ACCOUNT")]
    pub account: String,
    /// What people call it.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Its own plan; without one it has its account's.
    #[arg(long, value_name = "PLAN")]
    pub plan: Option<String>,
    /// Where it is used: development, staging or production.
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["development", "staging", "production"])]
    pub environment: Option<String>,
    /// When it expires: after a span such as 90d, or at a time such as 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// An address or network that may use it; may be given again. Without any: all.
    #[arg(long, value_name = "CIDR")]
    pub allow_ip: Vec<String>,
    /// Models that it may ask for, as a pattern such as gpt-4o*; may be given again. Without any: all.
    #[arg(long, value_name = "GLOB")]
    pub allow_model: Vec<String>,
    /// Print everything that is known of it, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache keys list`.
#[derive(Clone, Debug, Args)]
pub struct ListKeysArgs {
    /// Those of this account alone.
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Those in this state alone: active, suspended, expired or revoked.
    #[arg(long, value_name = "STATE", value_parser = ["active", "suspended", "expired", "revoked"])]
    pub state: Option<String>,
    /// Those of this environment alone: development, staging or production.
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["development", "staging", "production"])]
    pub environment: Option<String>,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache keys rotate`.
#[derive(Clone, Debug, Args)]
pub struct RotateKeyArgs {
    /// The key: key_ and ten characters.
    #[arg(value_name = "ID")]
    pub id: String,
    /// How long the old secret stays valid; 0s ends it at once.
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    pub overlap: String,
    /// Print everything that is known of it, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache keys rename`.
#[derive(Clone, Debug, Args)]
pub struct RenameKeyArgs {
    /// The key: key_ and ten characters.
    #[arg(value_name = "ID")]
    pub id: String,
    /// What people call it from now on; an empty one takes its name away.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache keys end-overlap`, `revoke` and `delete`.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// The key: key_ and ten characters.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache reload`.
#[derive(Clone, Debug, Args)]
pub struct ReloadArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also take a key list that loses more than half of its ids.
    #[arg(long)]
    pub force: bool,
}

/// `safecache backup` and `safecache restore`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which configuration: it names the data folder.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `safecache migrate`.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// Where to: postgres://user:password@host:5432/database. Without it, to the cluster.postgres of the configuration.
    ///
    /// A password on a command line is seen by all who may list processes. So ${VAR} and ${file:PATH} are replaced as they are
    /// in the configuration: in single quotes, --to '${SAFECACHE_POSTGRES}' shows nobody what it is.
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Which configuration: it names the data folder.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // A closed stdout or stderr is no reason for another exit code.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let done = match &cli.command {
        Command::Serve(args) => serve::run(args, &environment()),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(args, &environment(), &mut std::io::stdout()),
        Command::Schema => schema::run(&mut std::io::stdout()),
        Command::HashKey => hash_key::run(&mut std::io::stdin(), &mut std::io::stdout()),
        Command::Keys(command) => {
            keys::run(command, &environment(), (&mut std::io::stdout(), &mut std::io::stderr()))
        }
        Command::People(command) => {
            people::run(command, &environment(), (&mut std::io::stdout(), &mut std::io::stderr()))
        }
        Command::Reload(args) => reload::run(args, &environment(), &mut std::io::stdout()),
        Command::Backup(args) => backup::run(args, &environment(), &mut std::io::stdout()),
        Command::Restore(args) => restore::run(args, &environment(), &mut std::io::stdout()),
        Command::Migrate(args) => migrate::run(args, &environment(), &mut std::io::stdout()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = format!("{error:#}");
            // Nothing is left to tell it to when stderr is closed.
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// The environment, read once. Variables that are not UTF-8 are as good as not set.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
