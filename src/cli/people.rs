//! `safecache people`: who may log in, and a way back in for who cannot any more.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Context;
use http::Method;
use serde_json::Value;

use crate::cli::door::{Door, part};
use crate::cli::table::{print_json, print_table, text};
use crate::cli::{ListPeopleArgs, PeopleCommand, ResetPersonArgs};
use crate::config::from_here;
use crate::config::{self, Listener};

/// Does what `command` says; what scripts need goes to `out`, what people may want to know beside it to `notes`.
///
/// # Errors
/// It is refused, or neither the gateway nor its data folder can be used.
pub fn run(
    command: &PeopleCommand,
    env: &BTreeMap<String, String>,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<()> {
    let config = config::load(&command.config().config, env)?;
    let console = console(&config.admin.listen);
    let door = Door::open(config)?;
    let done = match command {
        PeopleCommand::List(args) => list(&door, args, out),
        PeopleCommand::Reset(args) => reset(&door, args, console.as_deref(), (out, notes)),
    };
    door.close();
    done
}

/// Where the console is, as far as the configuration says; `None`: the system chooses the port.
fn console(listener: &Listener) -> Option<String> {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    let address = from_here(listener.address);
    (address.port() != 0).then(|| format!("{scheme}://{address}"))
}

/// The link stands alone on its line.
fn reset(
    door: &Door,
    args: &ResetPersonArgs,
    console: Option<&str>,
    (out, notes): (&mut dyn Write, &mut dyn Write),
) -> anyhow::Result<()> {
    let target = format!("/admin/v1/people/{}/reset", part(&args.name));
    let made = door.ask(Method::POST, &target, None)?;
    let path = made.get("path").and_then(Value::as_str).context("the gateway answers without a link")?;
    writeln!(out, "{}{path}", console.unwrap_or_default())?;
    let name = &args.name;
    writeln!(
        notes,
        "sets a new password for {name}, once and within 24 hours, and ends {name}'s sessions; it is shown this once"
    )?;
    if console.is_none() {
        writeln!(
            notes,
            "open this path where the gateway's console is: behind the URL that the gateway prints as `admin:` when it starts"
        )?;
    }
    Ok(())
}

fn list(door: &Door, args: &ListPeopleArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let account = args.account.as_deref().map(|account| format!("account={}&", part(account)));
    let all = door.all(&format!("/admin/v1/people?{}", account.unwrap_or_default()))?;
    if args.json {
        return print_json(&Value::Array(all), out);
    }
    let heads = ["LOGIN", "NAME", "ACCOUNT", "ROLE", "OPERATOR", "STATE", "ID"];
    let rows = all.iter().map(|person| {
        let operator = if person["is_operator"] == true { "yes" } else { "no" };
        let state = if person["disabled_at"].is_null() { "active" } else { "disabled" };
        let member = |name| text(person, name);
        let row = [
            member("login"),
            member("name"),
            member("account"),
            member("role"),
            operator,
            state,
            member("id"),
        ];
        row.map(str::to_owned)
    });
    print_table(heads, rows.collect(), out)?;
    Ok(())
}
