//! What holds of every text that is taken for a configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use safecache::config::interpolate::{Sources, interpolate};
use safecache::config::node::{Kind, Node, Place};
use safecache::config::problem::{Report, Sink};
use safecache::config::restart::needs_restart;
use safecache::config::yaml::{self, Document};
use safecache::config::{self, Config};

/// What must be found in no problem and no Debug, short of the text itself.
const SECRET: &str = "hunter2hunter2hunter2";

/// The variables that there are. Two of them try to be more than one value.
const VARIABLES: [(&str, &str); 5] = [
    ("A", "x\nadmin: {token: \"0123456789abcdef\"}\n- [{"),
    ("B", "${A}' \" # : *a &b !!str"),
    ("EMPTY", ""),
    ("N", "8"),
    ("SECRET", SECRET),
];

/// Reads `content`, and what becomes of its variables.
pub(crate) fn check(content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    let read = parse(text);
    match &read {
        Ok(first) => {
            let again = parse(text).expect("accepted again");
            assert!(needs_restart(first, &again).is_empty(), "another one the second time");
            assert_eq!(shown(first), shown(&again));
            assert!(text.contains(SECRET) || !shown(first).contains(SECRET), "a secret in a Debug");
        }
        Err(report) => hold(text, report),
    }
    let marked = parse(&format!("\u{feff}{text}"));
    if !text.starts_with('\u{feff}') {
        assert_eq!(
            marked.map_err(|report| report.to_string()).is_ok(),
            read.is_ok(),
            "with a byte order mark"
        );
    }
    check_tree(text);
}

/// Every problem stands in the text, in order, and tells what would be right, but no secret.
fn hold(text: &str, report: &Report) {
    let lines = text.bytes().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    assert!(!report.problems().is_empty() && report.unlisted() == 0);
    for problem in report.problems() {
        assert!((1..=lines).contains(&(problem.line as usize)) && 0 < problem.column, "{problem:?}");
        assert!(!problem.message.is_empty() && !problem.hint.is_empty(), "{problem:?}");
    }
    let places: Vec<_> = report.problems().iter().map(|problem| (problem.line, problem.column)).collect();
    assert!(places.is_sorted(), "{report}");
    assert!(text.contains(SECRET) || !report.to_string().contains(SECRET), "a secret is shown: {report}");
}

/// A variable stays inside of the value that it stands in: the tree is the same but for that text.
fn check_tree(text: &str) {
    let sink = Sink::new("gateway.yaml");
    let Some(before) = yaml::parse(text, Document::Configuration, &sink) else {
        return assert!(sink.count() > 0, "no tree, and no problem");
    };
    let mut after = before.clone();
    let sources = Sources { variables: variables(), file: &|path| Ok(format!("{path}: [\n")) };
    let problems = Sink::new("gateway.yaml");
    interpolate(&mut after, &Place::Root, &sources, &problems);
    let mut refused = 0;
    compare(&before, &after, &mut refused);
    assert_eq!(problems.count(), refused, "a problem for each value that could not be completed");
}

fn compare(before: &Node<'_>, after: &Node<'_>, refused: &mut usize) {
    assert_eq!((before.line, before.column), (after.line, after.column));
    match (&before.kind, &after.kind) {
        (Kind::Seq(before), Kind::Seq(after)) => {
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).for_each(|(before, after)| compare(before, after, refused));
        }
        (Kind::Map(before), Kind::Map(after)) => {
            assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(after) {
                assert_eq!((&before.key, before.line, before.column), (&after.key, after.line, after.column));
                compare(&before.value, &after.value, refused);
            }
        }
        (Kind::Str(written), found) => {
            assert_eq!(after.interpolated, written.contains("${"), "{written:?}");
            match (replaced(written), found) {
                (Some(expected), Kind::Str(found)) => assert_eq!(*found, expected),
                (None, Kind::Refused) => *refused += 1,
                (expected, found) => panic!("{written:?}: {expected:?} {found:?}"),
            }
        }
        (Kind::Float(before), Kind::Float(after)) => assert_eq!(before.to_bits(), after.to_bits()),
        (before, found) => assert!(before == found && !after.interpolated, "{before:?} {found:?}"),
    }
}

/// The text with its variables replaced, from left to right; `None` if one cannot be.
fn replaced(text: &str) -> Option<String> {
    let Some((before, rest)) = text.split_once("${") else { return Some(text.to_owned()) };
    let (inside, after) = rest.split_once('}')?;
    if inside.contains("${") {
        return None;
    }
    let value = match inside.strip_prefix("file:") {
        Some(path) => format!("{path}: ["),
        None => value_of(inside)?,
    };
    Some(format!("{before}{value}{}", replaced(after)?))
}

fn value_of(inside: &str) -> Option<String> {
    let name_ends = inside.find(':').unwrap_or(inside.len());
    let (name, rest) = inside.split_at(name_ends);
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    if !begins || !letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return None;
    }
    let value = variables().get(name).cloned();
    let filled = value.clone().filter(|value| !value.is_empty());
    if rest.is_empty() {
        value
    } else if let Some(default) = rest.strip_prefix(":-") {
        Some(filled.unwrap_or_else(|| default.to_owned()))
    } else if rest.starts_with(":?") {
        filled
    } else {
        None
    }
}

fn variables() -> &'static BTreeMap<String, String> {
    static ALL: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    ALL.get_or_init(|| VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// Files are looked for where there are none.
fn parse(text: &str) -> Result<Config, Report> {
    config::parse(text, "gateway.yaml", variables(), Path::new("/nowhere"))
}

fn shown(config: &Config) -> String {
    format!("{config:?}")
}
