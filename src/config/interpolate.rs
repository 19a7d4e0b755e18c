//! `${VAR}` in string values.
//!
//! Values are replaced in the tree, after parsing, so that no value can bring YAML of its own. What was put in
//! is not looked at again. The forms:
//!
//! - `${VAR}`: the variable; a problem if it is not set.
//! - `${VAR:-default}`: the default if the variable is not set or empty.
//! - `${VAR:?message}`: a problem with that message if the variable is not set or empty.
//! - `${file:PATH}`: what the file holds, without one newline at its end.
//!
//! A `$` before anything but `{` stands for itself.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::config::node::{Kind, Node, Place};
use crate::config::problem::Sink;

/// Where values come from.
pub struct Sources<'a> {
    /// The environment.
    pub variables: &'a BTreeMap<String, String>,
    /// Reads a file named by `${file:PATH}`; the error says why not.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Replaces `${…}` in every text below `node`; marks what it changed. Problems go to `sink`.
pub fn interpolate(node: &mut Node<'_>, place: &Place<'_>, sources: &Sources<'_>, sink: &Sink) {
    let at = (node.line, node.column);
    match &mut node.kind {
        Kind::Str(text) if text.contains("${") => {
            match replace(text, sources) {
                Ok(replaced) => *text = Cow::Owned(replaced),
                Err(Refusal { message, hint }) => {
                    sink.add(at, place.to_string(), message, hint.to_owned());
                    node.kind = Kind::Refused;
                }
            }
            node.interpolated = true;
        }
        Kind::Seq(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                interpolate(item, &place.index(index), sources, sink);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                interpolate(&mut entry.value, &place.key(&entry.key), sources, sink);
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) | Kind::Refused => {}
    }
}

/// `text` with what stands for `${…}` in it.
///
/// # Errors
/// Why it cannot be completed, and what helps.
pub fn complete(text: &str, sources: &Sources<'_>) -> Result<String, String> {
    replace(text, sources).map_err(|Refusal { message, hint }| format!("{message} (hint: {hint})"))
}

/// Why a text cannot be completed.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    message: String,
    hint: &'static str,
}

fn replace(text: &str, sources: &Sources<'_>) -> Result<String, Refusal> {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        replaced.push_str(before);
        let Some((inside, behind)) = after.split_once('}') else {
            return refuse("`${` without its `}`", "write ${VAR}");
        };
        if inside.contains("${") {
            return refuse(
                "`${` within `${…}`",
                "a default is taken as it is written; it cannot name another variable",
            );
        }
        replaced.push_str(&value_of(inside, sources)?);
        rest = behind;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

/// What stands for `${inside}`.
fn value_of(inside: &str, sources: &Sources<'_>) -> Result<String, Refusal> {
    if let Some(path) = inside.strip_prefix("file:") {
        let mut content = (sources.file)(path).map_err(|why| Refusal {
            message: format!("cannot read the file `{path}`: {why}"),
            hint: "paths are relative to the folder of the configuration file",
        })?;
        if content.ends_with('\n') {
            content.pop();
            if content.ends_with('\r') {
                content.pop();
            }
        }
        return Ok(content);
    }
    let (name, otherwise) = match inside.split_once(':') {
        Some((name, otherwise)) => (name, Some(otherwise)),
        None => (inside, None),
    };
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if !is_name {
        return refuse("`${…}` does not name a variable", "a name is letters, digits and `_`: ${VAR}");
    }
    let given = sources.variables.get(name);
    let filled = given.filter(|value| !value.is_empty());
    match (otherwise.map(|o| (o.get(..1), o.get(1..).unwrap_or_default())), given, filled) {
        (None, Some(value), _) | (Some((Some("-" | "?"), _)), _, Some(value)) => Ok(value.clone()),
        (None, None, _) => {
            refuse(format!("the variable {name} is not set"), "set it, or write ${VAR:-default}")
        }
        (Some((Some("-"), default)), _, None) => Ok(default.to_owned()),
        (Some((Some("?"), "")), _, None) => {
            refuse(format!("the variable {name} is not set or empty"), "set it")
        }
        (Some((Some("?"), message)), _, None) => refuse(format!("the variable {name}: {message}"), "set it"),
        (Some(_), _, _) => refuse(
            format!("what follows `{name}:` is neither `-` nor `?`"),
            "write ${VAR:-default} or ${VAR:?message}",
        ),
    }
}

fn refuse<T>(message: impl Into<String>, hint: &'static str) -> Result<T, Refusal> {
    Err(Refusal { message: message.into(), hint })
}
