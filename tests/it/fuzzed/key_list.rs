//! What holds of every text that is taken for a key list, in either form.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use safecache::auth::key::KeyEntry;
use safecache::auth::key_ring::KeyRing;
use safecache::config::key_list::{self, Known};
use safecache::config::problem::{MOST_LISTED, Report};
use safecache::config::{self, Config};

/// The digest of the one key that the configuration itself has, by its id.
const INLINE: (&str, [u8; 32]) = ("inline", [0xf0; 32]);

/// Reads `content` as YAML and as JSON lines.
pub(crate) fn check(content: &[u8]) {
    let yaml = read("keys.yaml", content);
    hold("keys.yaml", content, &yaml);
    let lines = read("keys.jsonl", content);
    hold("keys.jsonl", content, &lines);
    let Ok(text) = std::str::from_utf8(content) else { return };
    check_slow_way(text, &lines);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Ok(keys) = &lines {
        assert_eq!(text.lines().count(), keys.len(), "a line without a key");
        let items: String = text.split_terminator('\n').map(|line| format!("  - {line}\n")).collect();
        if let Ok(same) = read("keys.yaml", format!("keys:\n{items}").as_bytes()) {
            assert_eq!(same, *keys, "the same keys in YAML");
        }
    }
}

/// What holds of every list that was read, whatever became of it.
fn hold(file: &str, content: &[u8], read: &Result<Vec<KeyEntry>, Report>) {
    match read {
        Ok(keys) => {
            hold_keys(keys);
            let written: String = keys.iter().map(line).collect();
            assert_eq!(
                self::read("keys.jsonl", written.as_bytes()).as_ref(),
                Ok(keys),
                "written anew: {written}"
            );
        }
        Err(report) => {
            let lines = content.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            assert!(!report.problems().is_empty() && report.problems().len() <= MOST_LISTED);
            for problem in report.problems() {
                let is_of_file = (problem.line, problem.column) == (0, 0);
                let is_placed = (1..=lines).contains(&(problem.line as usize)) && 0 < problem.column;
                assert!(is_placed || is_of_file && std::str::from_utf8(content).is_err(), "{problem:?}");
                assert!(!problem.message.is_empty() && !problem.hint.is_empty() && *problem.file == *file);
            }
        }
    }
}

/// Every key is whole, and none is another.
fn hold_keys(keys: &[KeyEntry]) {
    assert!(!keys.is_empty(), "a list without keys");
    let is_name = |text: &str| {
        (1..=128).contains(&text.len()) && text.bytes().all(|byte| (b'!'..=b'~').contains(&byte))
    };
    let (mut ids, mut digests) = (HashSet::from([INLINE.0]), HashSet::from([INLINE.1]));
    for key in keys {
        assert!(is_name(key.id.as_str()) && is_name(key.account.as_str()), "{key:?}");
        assert!(!key.account.as_str().starts_with("acct_"), "{key:?}");
        assert!(plans().iter().any(|plan| *plan == key.plan.as_str()), "{key:?}");
        assert!(ids.insert(key.id.as_str()), "an id twice: {key:?}");
        assert!(digests.insert(key.digest), "a hash twice: {key:?}");
    }
    let ring = KeyRing::build(keys.to_vec(), &configuration().plans).expect("a ring of them");
    assert_eq!(ring.len(), keys.len());
}

/// Lines mean the same when letters and digits of their strings are escaped, which the quick way of reading leaves to
/// the slow one.
fn check_slow_way(text: &str, quick: &Result<Vec<KeyEntry>, Report>) {
    let slow = read("keys.jsonl", escaped(text).as_bytes());
    match (quick, &slow) {
        (Ok(quick), Ok(slow)) => assert_eq!(quick, slow),
        (Err(quick), Err(slow)) => {
            let all = |report: &Report| {
                let told = |problem: &config::problem::Problem| {
                    (problem.line, problem.path.clone(), problem.message.clone(), problem.hint.clone())
                };
                let mut all: Vec<_> = report.problems().iter().map(told).collect();
                all.sort();
                (all, report.unlisted())
            };
            if quick.unlisted() == 0 {
                assert_eq!(all(quick), all(slow));
            }
        }
        _ => panic!("{quick:?}\n{slow:?}"),
    }
}

/// The text with each letter and digit within quotes as an escape.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let (mut is_in_string, mut as_it_is) = (false, 0_u8);
    for character in text.chars() {
        match character {
            '\n' => (is_in_string, as_it_is) = (false, 0),
            '"' if as_it_is == 0 => is_in_string = !is_in_string,
            '\\' if is_in_string && as_it_is == 0 => as_it_is = 2,
            'u' if as_it_is == 1 && out.ends_with('\\') => as_it_is = 5,
            _ => {}
        }
        if is_in_string && as_it_is == 0 && character.is_ascii_alphanumeric() {
            out += &format!("\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
        as_it_is = as_it_is.saturating_sub(1);
    }
    out
}

/// A key as a line of JSON with all its members.
fn line(key: &KeyEntry) -> String {
    let options = &key.options;
    let texts = |list: Vec<String>| serde_json::Value::from(list);
    let mut members = serde_json::json!({
        "id": key.id.as_str(), "account": key.account.as_str(), "plan": key.plan.as_str(),
        "sha256": HEXLOWER.encode(&key.digest), "disabled": options.disabled,
        "allowed_ips": texts(options.allowed_ips.iter().map(ToString::to_string).collect()),
        "allowed_models": texts(options.allowed_models.iter().map(ToString::to_string).collect()),
    });
    if let Some(name) = &options.name {
        members["name"] = (&**name).into();
    }
    if let Some(environment) = options.environment {
        members["environment"] = environment.as_str().into();
    }
    if let Some(at) = options.expires_at {
        let time = jiff::Timestamp::from_nanosecond(at.as_nanos().into()).expect("a time");
        members["expires_at"] = time.to_string().into();
    }
    format!("{members}\n")
}

fn read(file: &str, content: &[u8]) -> Result<Vec<KeyEntry>, Report> {
    key_list::parse(Path::new(file), content, Known::of(configuration()))
}

fn plans() -> Vec<&'static str> {
    configuration().plans.iter().map(|plan| plan.name().as_str()).collect()
}

/// What lists are read against.
fn configuration() -> &'static Config {
    static CONFIGURATION: OnceLock<Config> = OnceLock::new();
    CONFIGURATION.get_or_init(|| {
        let (id, digest) = (INLINE.0, HEXLOWER.encode(&INLINE.1));
        let text = format!("keys: [{{id: {id}, account: acme, plan: free, sha256: '{digest}'}}]\n");
        config::parse(&text, "gateway.yaml", &BTreeMap::new(), Path::new("")).expect("a configuration")
    })
}
