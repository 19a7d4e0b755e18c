//! The hot-reloaded key list, YAML or JSON lines.
//!
//! Both forms become the same tree and pass the same rules, so that a key means the same in either. A list with
//! any problem yields no keys at all: whoever reads it keeps the last good one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Occupancy;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use ahash::RandomState;

use crate::auth::key::{Digest, KeyEntry, KeyOptions};
use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::config::Config;
use crate::config::json_lines;
use crate::config::key_rules::{self, GENERATED_ACCOUNT};
use crate::config::node::{Kind, Node, Place, Scene};
use crate::config::plain_key::PlainKey;
use crate::config::problem::{MOST_LISTED, Report, Sink};
use crate::config::raw::RawKey;
use crate::config::scalar::{Flag, Slot, Text};
use crate::config::{de, yaml};
use crate::ids::{AccountId, KeyId, PlanName};
use crate::limits::plan::Plan;

/// Why a list must not be empty.
const LOCKED_OUT: &str = "a list without keys would lock everyone out";

/// What a list looks like.
const LIST: &str = "write `keys:` and a list below it";

/// What a list is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The plans that keys may name.
    pub plans: &'a [Arc<Plan>],
    /// The keys written in the configuration itself; the list may not repeat their ids or hashes.
    pub keys: &'a [KeyEntry],
}

impl<'a> Known<'a> {
    /// Everything that `config` knows.
    pub fn of(config: &'a Config) -> Self {
        Self { plans: &config.plans, keys: &config.keys }
    }
}

/// Reads a key list as it was found at `path`: JSON lines if the name ends in `.jsonl`, else YAML.
///
/// # Errors
/// Everything that is wrong with it; an empty list and text that is not UTF-8 are wrong.
pub fn parse(path: &Path, content: &[u8], known: Known<'_>) -> Result<Vec<KeyEntry>, Report> {
    let file = path.display().to_string();
    let Ok(text) = std::str::from_utf8(content) else {
        return Err(Report::of_file(&file, "the file is not UTF-8 text", "save it as UTF-8"));
    };
    match path.extension() {
        Some(extension) if extension == "jsonl" => parse_jsonl(text, &file, known),
        _ => parse_yaml(text, &file, known),
    }
}

/// Reads a key list in YAML: a mapping with the one key `keys`. `file` is its name in problems.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_yaml(text: &str, file: &str, known: Known<'_>) -> Result<Vec<KeyEntry>, Report> {
    let sink = Sink::with_limit(file, MOST_LISTED);
    let mut list = List::new(known);
    if let Some(root) = yaml::parse(text, yaml::Document::KeyList, &sink) {
        let scene = Scene { root: &root, sink: &sink };
        match &root.kind {
            Kind::Null => scene.refuse(&Place::Root, "the key list is empty", LOCKED_OUT),
            Kind::Map(entries) => {
                for entry in entries.iter().filter(|entry| entry.key != "keys") {
                    let message = format!("unknown key `{}`", entry.key.escape_debug());
                    sink.add(
                        (entry.line, entry.column),
                        entry.key.clone().into_owned(),
                        message,
                        "a key list holds `keys` alone".into(),
                    );
                }
                list.read_all(&scene, Least::One);
            }
            _ => scene.refuse(
                &Place::Root,
                format!("expected a mapping with `keys`, found {}", root.describe()),
                LIST,
            ),
        }
    }
    list.finish(sink)
}

/// Reads a key list of JSON objects, one a line, each line with its newline. Blank lines are refused.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_jsonl(text: &str, file: &str, known: Known<'_>) -> Result<Vec<KeyEntry>, Report> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let sink = Sink::with_limit(file, MOST_LISTED);
    let mut list = List::new(known);
    list.expect(memchr::memchr_iter(b'\n', text.as_bytes()).count());
    if text.is_empty() {
        sink.add((1, 1), String::new(), "the key list is empty".into(), LOCKED_OUT.into());
    }
    let (mut number, mut rest) = (0, text);
    while !rest.is_empty() {
        number += 1;
        // A search by bytes: that by characters takes as long as reading a key.
        let end = memchr::memchr(b'\n', rest.as_bytes());
        let (line, next) = end.and_then(|end| rest.split_at_checked(end + 1)).unwrap_or((rest, ""));
        rest = next;
        match line.strip_suffix('\n') {
            Some(line) => {
                let is_read = PlainKey::read(line).is_some_and(|key| list.take(key, number));
                if !is_read && let Some(node) = json_lines::parse(line, number, &sink) {
                    list.read_key(&Scene { root: &node, sink: &sink }, &Place::Root, &node);
                }
            }
            None => sink.add(
                (number, u32::try_from(line.chars().count() + 1).unwrap_or(u32::MAX)),
                String::new(),
                "the last line has no newline".into(),
                "the file may not have been written to its end".into(),
            ),
        }
    }
    list.finish(sink)
}

/// Reads the keys that stand in the configuration itself. There may be none.
pub(super) fn read_inline(scene: &Scene<'_>, plans: &[Arc<Plan>]) -> Vec<KeyEntry> {
    let mut list = List::new(Known { plans, keys: &[] });
    list.read_all(scene, Least::None);
    list.entries
}

/// Whether a list may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Least {
    None,
    One,
}

/// The line that each was seen in.
type Seen<K> = HashMap<K, u32, RandomState>;

/// A list while it is read.
struct List<'a> {
    plans: Vec<&'a PlanName>,
    accounts: HashMap<String, AccountId, RandomState>,
    /// The line of each id and hash; 0 for those of the configuration.
    ids: Seen<Cow<'a, str>>,
    digests: Seen<Digest>,
    entries: Vec<KeyEntry>,
}

impl<'a> List<'a> {
    fn new(known: Known<'a>) -> Self {
        Self {
            plans: known.plans.iter().map(|plan| plan.name()).collect(),
            accounts: HashMap::default(),
            ids: known.keys.iter().map(|key| (Cow::Borrowed(key.id.as_str()), 0)).collect(),
            digests: known.keys.iter().map(|key| (key.digest, 0)).collect(),
            entries: Vec::new(),
        }
    }

    /// Makes room for so many keys at once: growing would hash every id again.
    fn expect(&mut self, keys: usize) {
        self.ids.reserve(keys);
        self.digests.reserve(keys);
        self.entries.reserve(keys);
    }

    fn finish(self, sink: Sink) -> Result<Vec<KeyEntry>, Report> {
        if sink.count() == 0 { Ok(self.entries) } else { Err(sink.into_report()) }
    }

    /// Reads the list under the key `keys` of the document.
    fn read_all(&mut self, scene: &Scene<'_>, least: Least) {
        let root = Place::Root;
        let place = root.key("keys");
        match place.find(scene.root).map(|node| &node.kind) {
            Some(Kind::Seq(items)) => {
                if items.is_empty() && least == Least::One {
                    scene.refuse(&place, "the key list is empty", LOCKED_OUT);
                }
                for (index, item) in items.iter().enumerate() {
                    self.read_key(scene, &place.index(index), item);
                }
            }
            Some(Kind::Refused) => {}
            Some(_) => {
                scene.refuse(&place, format!("expected a list of keys, found {}", scene.quote(&place)), LIST)
            }
            None => scene.refuse(&place, "is missing", LIST),
        }
    }

    /// Takes a key of line `number`; false, and nothing is taken, if something is wrong with it among the others.
    fn take(&mut self, key: PlainKey<'a>, number: u32) -> bool {
        let Some(plan) = self.known_plan(key.plan) else { return false };
        if key.account.starts_with(GENERATED_ACCOUNT) {
            return false;
        }
        // Borrowed: a second count of each id would be changed, and changed back, all over the memory.
        let places = (self.ids.entry(Cow::Borrowed(key.id)), self.digests.entry(key.digest));
        let (Occupancy::Vacant(of_id), Occupancy::Vacant(of_digest)) = places else { return false };
        of_id.insert(number);
        of_digest.insert(number);
        let account = self.one_text(key.account);
        let PlainKey { id, digest, options, .. } = key;
        self.entries.push(KeyEntry { id: KeyId::new(id), account, plan: plan.clone(), digest, options });
        true
    }

    fn read_key(&mut self, scene: &Scene<'_>, place: &Place<'_>, node: &Node<'_>) {
        let Some(raw) = de::read::<RawKey>(node, place, scene.sink) else { return };
        let at = KeyAt { scene, place };
        let id = at.required(raw.id, "id").and_then(|text| at.id(text));
        let account = at.required(raw.account, "account").and_then(|text| self.account(text, &at));
        let plan = at.required(raw.plan, "plan").and_then(|text| self.plan(&text.0, &at));
        let digest = at.required(raw.sha256, "sha256").and_then(|text| at.digest(&text.0));
        let options = KeyOptions {
            name: raw.name.given().and_then(|text| at.name(text)),
            environment: raw.environment.given().map(Into::into),
            expires_at: raw.expires_at.given().and_then(|text| at.expiry(&text.0)),
            allowed_ips: raw
                .allowed_ips
                .or(Vec::new())
                .into_iter()
                .filter_map(|n| Some(n.given()?.0))
                .collect(),
            allowed_models: at.models(raw.allowed_models),
            disabled: raw.disabled.or(Flag(false)).0,
        };
        if let Some(id) = &id {
            refuse_twice(&mut self.ids, Cow::Owned(id.as_str().to_owned()), &at, "id");
        }
        if let Some(digest) = digest {
            refuse_twice(&mut self.digests, digest, &at, "sha256");
        }
        if let (Some(id), Some(account), Some(plan), Some(digest)) = (id, account, plan, digest) {
            self.entries.push(KeyEntry { id, account, plan, digest, options });
        }
    }

    fn account(&mut self, text: Text, at: &KeyAt<'_>) -> Option<AccountId> {
        if let Some(account) = self.accounts.get(&text.0) {
            return Some(account.clone());
        }
        at.visible("account", &text.0)?;
        if text.0.starts_with(GENERATED_ACCOUNT) {
            at.refuse(
                "account",
                format!("accounts that begin with `{GENERATED_ACCOUNT}` are made in the console"),
                "choose another name",
            );
            return None;
        }
        Some(self.one_text(&text.0))
    }

    /// One text for each account, however many keys name it.
    fn one_text(&mut self, account: &str) -> AccountId {
        if let Some(known) = self.accounts.get(account) {
            return known.clone();
        }
        let id = AccountId::new(account);
        self.accounts.insert(account.to_owned(), id.clone());
        id
    }

    fn known_plan(&self, name: &str) -> Option<&'a PlanName> {
        self.plans.iter().copied().find(|plan| plan.as_str() == name)
    }

    fn plan(&self, name: &str, at: &KeyAt<'_>) -> Option<PlanName> {
        let plan = self.known_plan(name);
        if plan.is_none() {
            let names: Vec<&str> = self.plans.iter().map(|plan| plan.as_str()).collect();
            let place = at.place.key("plan");
            let message = format!("no plan is named {}", at.scene.quote(&place));
            at.scene.refuse(&place, message, de::suggest(name, &names, "defined are"));
        }
        plan.cloned()
    }
}

/// Notes an id or hash; refuses one that was there before.
fn refuse_twice<K: Hash + Eq>(seen: &mut Seen<K>, value: K, at: &KeyAt<'_>, key: &str) {
    match seen.entry(value) {
        Occupancy::Vacant(vacant) => {
            vacant.insert(at.place.position(at.scene.root).0);
        }
        Occupancy::Occupied(first) => {
            let first = match *first.get() {
                0 => "a key of the configuration has it".to_owned(),
                line => format!("the key of line {line} has it"),
            };
            at.refuse(key, format!("this {key} is taken: {first}"), "every key needs its own");
        }
    }
}

/// One key of the list, for its problems.
struct KeyAt<'s> {
    scene: &'s Scene<'s>,
    place: &'s Place<'s>,
}

impl KeyAt<'_> {
    fn refuse(&self, key: &str, message: impl Into<String>, hint: &str) {
        self.scene.refuse(&self.place.key(key), message, hint);
    }

    fn required(&self, slot: Slot<Text>, key: &str) -> Option<Text> {
        if matches!(slot, Slot::Absent) {
            let hint = match key {
                "id" => "a name of your choice, such as acme-prod",
                "account" => "the owner, such as acme",
                "plan" => "a plan's name, such as free",
                _ => "the line that `safecache hash-key` prints",
            };
            self.refuse(key, "is missing", hint);
        }
        slot.given()
    }

    /// Checks 1 to 128 visible ASCII characters.
    fn visible(&self, key: &str, text: &str) -> Option<()> {
        let is_visible = key_rules::is_visible(text);
        if !is_visible {
            self.refuse(key, "must be 1 to 128 visible ASCII characters without spaces", "such as acme-prod");
        }
        is_visible.then_some(())
    }

    fn id(&self, text: Text) -> Option<KeyId> {
        self.visible("id", &text.0)?;
        Some(KeyId::new(&text.0))
    }

    fn name(&self, text: Text) -> Option<Box<str>> {
        let is_name = key_rules::is_name(&text.0);
        if !is_name {
            self.refuse(
                "name",
                "must be 1 to 128 bytes without control characters",
                "such as production backend",
            );
        }
        is_name.then(|| text.0.into())
    }

    fn digest(&self, text: &str) -> Option<Digest> {
        let digest = key_rules::digest(text);
        if digest.is_none() {
            self.refuse(
                "sha256",
                "must be 64 hexadecimal digits",
                "the line that `safecache hash-key` prints",
            );
        }
        digest
    }

    fn expiry(&self, text: &str) -> Option<UnixTime> {
        let time = UnixTime::of_rfc3339(text);
        if time.is_none() {
            self.refuse(
                "expires_at",
                "must be a time in RFC 3339 form, 1970 to 2554",
                "such as 2027-01-01T00:00:00Z",
            );
        }
        time
    }

    fn models(&self, slot: Slot<Vec<Slot<Text>>>) -> Box<[ModelGlob]> {
        let place = self.place.key("allowed_models");
        let mut globs = Vec::new();
        for (index, text) in slot.or(Vec::new()).into_iter().enumerate() {
            let Some(Text(text)) = text.given() else { continue };
            match ModelGlob::new(&text) {
                Some(glob) => globs.push(glob),
                None => self.scene.refuse(&place.index(index), "must be 1 to 256 bytes", "such as gpt-4o*"),
            }
        }
        globs.into()
    }
}
