//! `safecache keys`: keys in the store, through the running gateway if it can be asked, else in its data folder.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::accounts::{self, Accounts, Late};
use crate::admin::desk::Desk;
use crate::auth::key_ring::listed::ListedAccounts;
use crate::cli::operator::{Operator, Unasked, message};
use crate::cli::{CreateKeyArgs, KeysCommand, ListKeysArgs, RotateKeyArgs};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::store::Store;
use crate::store::directory::edit::Author;
use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::FolderLock;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::writer::Bounds;

/// Does what `command` says; what scripts need goes to `out`, what people may want to know beside it to `notes`.
///
/// # Errors
/// It is refused, or neither the gateway nor its data folder can be used.
pub fn run(
    command: &KeysCommand,
    env: &BTreeMap<String, String>,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<()> {
    let config = config::load(&command.config().config, env)?;
    let door = Door::open(config)?;
    let done = match command {
        KeysCommand::Create(args) => create(&door, args, (out, notes)),
        KeysCommand::List(args) => list(&door, args, out),
        KeysCommand::Rotate(args) => rotate(&door, args, (out, notes)),
        KeysCommand::Revoke(args) => {
            let revoked =
                door.ask(Method::POST, &format!("/admin/v1/keys/{}/revoke", part(&args.id)), None)?;
            writeln!(out, "{} is revoked{}", args.id, when(&revoked)).map_err(Into::into)
        }
    };
    door.close();
    done
}

fn create(
    door: &Door,
    args: &CreateKeyArgs,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<()> {
    let new = json!({
        "account": args.account,
        "create_account": true,
        "name": args.name,
        "plan": args.plan,
        "environment": args.environment,
        "expires": args.expires,
        "allowed_ips": args.allow_ip,
        "allowed_models": args.allow_model,
    });
    let made = door.ask(Method::POST, "/admin/v1/keys", Some(&new))?;
    if args.json { print_json(&made, out) } else { print_made(&made, (out, notes)) }
}

fn rotate(
    door: &Door,
    args: &RotateKeyArgs,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<()> {
    let target = format!("/admin/v1/keys/{}/rotate", part(&args.id));
    let made = door.ask(Method::POST, &target, Some(&json!({"overlap": args.overlap})))?;
    if args.json { print_json(&made, out) } else { print_made(&made, (out, notes)) }
}

fn print_json(said: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{said:#}").map_err(Into::into)
}

/// The whole key stands alone on its line.
fn print_made(made: &Value, (out, notes): (&mut dyn Write, &mut dyn Write)) -> anyhow::Result<()> {
    let (key, secret) = (&made["key"], made["secret"].as_str().unwrap_or_default());
    let (id, account, plan) = (text(key, "id"), text(key, "account"), text(key, "plan"));
    writeln!(out, "{secret}")?;
    writeln!(notes, "{id} of account {account}, plan {plan}{}; the key is shown this once", when(made))?;
    Ok(())
}

/// When a change is in force, if that is not said anyway.
fn when(changed: &Value) -> &'static str {
    if changed["live"] == false { ", in force in a moment" } else { "" }
}

fn list(door: &Door, args: &ListKeysArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let account = args.account.as_deref().map(|account| format!("&account={}", part(account)));
    let mut after = String::new();
    let mut all = Vec::new();
    loop {
        let target = format!(
            "/admin/v1/keys?limit=100&after={}{}",
            part(&after),
            account.as_deref().unwrap_or_default()
        );
        let mut page = door.ask(Method::GET, &target, None)?;
        if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
            all.extend(items);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    if args.json {
        return print_json(&Value::Array(all), out);
    }
    let heads = ["ID", "ACCOUNT", "PLAN", "STATE", "ENVIRONMENT", "LAST USED", "EXPIRES", "NAME"];
    let members = ["id", "account", "plan", "state", "environment", "last_used_at", "expires_at", "name"];
    let rows = all.iter().map(|key| members.map(|member| text(key, member).to_owned()));
    print_table(heads, rows.collect(), out)?;
    Ok(())
}

/// A member of a key as text; a dash if there is none.
fn text<'a>(key: &'a Value, member: &str) -> &'a str {
    key[member].as_str().unwrap_or("-")
}

/// Columns as wide as their widest cell.
fn print_table<const N: usize>(
    heads: [&str; N],
    rows: Vec<[String; N]>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let lines = || std::iter::once(heads).chain(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in lines() {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// `text` as a part of a path or a query.
fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Where keys are changed: both take the same calls.
enum Door {
    /// In the running gateway, which has the folder.
    Running(Operator),
    /// In the folder itself.
    Folder { desk: Desk, store: Arc<SqliteStore>, runtime: Runtime },
}

impl Door {
    fn open(config: Config) -> anyhow::Result<Self> {
        match Operator::of(&config) {
            Ok(operator) => match operator.connect() {
                Ok(_) => return Ok(Self::Running(operator)),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("the gateway's admin listener cannot be reached"),
            },
            Err(Unasked::NoToken | Unasked::Tls) => {}
        }
        Self::folder(config)
    }

    fn folder(config: Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (store, standing) = match FolderLock::take(&config.data_dir) {
            Ok(lock) => (runtime.block_on(SqliteStore::open(lock, Bounds::default()))?, Ok(())),
            // A gateway that cannot be asked looks itself for what has changed.
            Err(StoreError { trouble: Trouble::InUse(_), .. }) => {
                (runtime.block_on(SqliteStore::beside(&config.data_dir, Bounds::default()))?, Err(Late))
            }
            Err(error) => return Err(error.into()),
        };
        let store = Arc::new(store);
        let config = Arc::new(config);
        let accounts = Accounts::new(accounts::Parts {
            directory: Arc::clone(store.directory()) as _,
            store: Arc::clone(&store) as _,
            // If no gateway runs, the next one begins with what is there.
            publish: Box::new(move |_| Box::pin(async move { standing })),
            // No command asks for what the list alone names.
            listed: Box::new(ListedAccounts::default),
            config: Box::new(move || Arc::clone(&config)),
            clock: Clock::system(),
        });
        let desk = Desk { accounts: Arc::new(accounts), author: Author::CommandLine };
        Ok(Self::Folder { desk, store, runtime })
    }

    /// What is said to a call that succeeds.
    fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (status, said) = match self {
            Self::Running(operator) => operator.ask(operator.connect()?, (method, target), body)?,
            Self::Folder { desk, runtime, .. } => runtime.block_on(desk.ask(method, target, body)),
        };
        match status {
            status if status.is_success() => Ok(said),
            StatusCode::UNAUTHORIZED => {
                bail!("the running gateway has another admin.token than this configuration")
            }
            _ => bail!("{}", message(&said)),
        }
    }

    /// Commits what waits.
    fn close(self) {
        if let Self::Folder { store, runtime, .. } = self {
            runtime.block_on(store.close());
        }
    }
}
