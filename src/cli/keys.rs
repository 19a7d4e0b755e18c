//! `safecache keys`: keys in the store.

use std::collections::BTreeMap;
use std::io::Write;

use http::Method;
use serde_json::{Value, json};

use crate::cli::door::{Door, part};
use crate::cli::table::{print_json, print_table, text};
use crate::cli::{CreateKeyArgs, KeysCommand, ListKeysArgs, RotateKeyArgs};
use crate::config;

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
        KeysCommand::Rename(args) => {
            let name = Some(&args.name).filter(|name| !name.is_empty());
            let call = (Method::PATCH, "", Some(json!({"name": name})));
            change(&door, &args.id, call, ("renamed", out))
        }
        KeysCommand::EndOverlap(args) => {
            let call = (Method::POST, "/end-overlap", None);
            change(&door, &args.id, call, ("good with its newest secret alone", out))
        }
        KeysCommand::Revoke(args) => {
            change(&door, &args.id, (Method::POST, "/revoke", None), ("revoked", out))
        }
        KeysCommand::Delete(args) => {
            change(&door, &args.id, (Method::DELETE, "", None), ("revoked, and listed no more", out))
        }
    };
    door.close();
    done
}

/// Makes a call about a key, and says what the key is now.
fn change(
    door: &Door,
    id: &str,
    (method, call, body): (Method, &str, Option<Value>),
    (now, out): (&str, &mut dyn Write),
) -> anyhow::Result<()> {
    let changed = door.ask(method, &format!("/admin/v1/keys/{}{call}", part(id)), body.as_ref())?;
    writeln!(out, "{id} is {now}{}", when(&changed)).map_err(Into::into)
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
    let filters = [("account", &args.account), ("state", &args.state), ("environment", &args.environment)];
    let filters =
        filters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}&", part(value.as_ref()?))));
    let all = door.all(&format!("/admin/v1/keys?{}", filters.collect::<String>()))?;
    if args.json {
        return print_json(&Value::Array(all), out);
    }
    let heads = ["ID", "ACCOUNT", "PLAN", "STATE", "ENVIRONMENT", "LAST USED", "EXPIRES", "NAME"];
    let members = ["id", "account", "plan", "state", "environment", "last_used_at", "expires_at", "name"];
    let rows = all.iter().map(|key| members.map(|member| text(key, member).to_owned()));
    print_table(heads, rows.collect(), out)?;
    Ok(())
}
