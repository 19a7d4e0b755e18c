//! YAML text to a tree that knows its lines. The only file that knows YAML.
//!
//! Read is one document of YAML 1.2 with the core schema: `yes`, `off` and the like are text. Aliases are
//! followed within [`MOST_NODES`]; merge keys (`<<`) and tags other than `!!str` are not part of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use crate::config::node::{Entry, Kind, Node, Place};
use crate::config::problem::Sink;

/// Most values in a document, those counted again that an alias repeats.
pub const MOST_NODES: usize = 1_000_000;

/// The same for a key list; a hundred thousand keys stay well below it.
const MOST_NODES_OF_LIST: usize = 4_000_000;

/// Deepest nesting of lists and mappings.
pub const MOST_DEPTH: usize = 64;

/// What a document is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A configuration: at most [`MOST_NODES`] values.
    Configuration,
    /// A key list, which may be long.
    KeyList,
}

/// Reads `text` into a tree; an empty text is [`Kind::Null`].
///
/// Returns `None` if there is no tree to go on with; then, and for every key written twice, `sink` holds a problem.
pub fn parse<'a>(text: &'a str, document: Document, sink: &Sink) -> Option<Node<'a>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let most_nodes = match document {
        Document::Configuration => MOST_NODES,
        Document::KeyList => MOST_NODES_OF_LIST,
    };
    let (open, anchors) = (Vec::new(), HashMap::new());
    let mut tree = Tree { open, anchors, root: None, nodes: 0, most_nodes, last: end_of(text), sink };
    match tree.read(text) {
        Ok(()) => Some(tree.root.unwrap_or(Node::new((1, 1), Kind::Null))),
        Err(Stop { at, message, hint }) => {
            sink.add(at, String::new(), message, hint.to_owned());
            None
        }
    }
}

/// Why reading cannot go on.
struct Stop {
    at: (u32, u32),
    message: String,
    hint: &'static str,
}

/// A list or mapping whose end has not come yet.
struct Open<'a> {
    node: Node<'a>,
    anchor: usize,
    nodes_before: usize,
    key: Option<(Cow<'a, str>, (u32, u32))>,
    seen: HashSet<Cow<'a, str>>,
}

/// A finished value that aliases may name, and how many values it holds.
struct Anchored<'a> {
    node: Node<'a>,
    nodes: usize,
}

struct Tree<'a, 's> {
    open: Vec<Open<'a>>,
    anchors: HashMap<usize, Anchored<'a>>,
    root: Option<Node<'a>>,
    nodes: usize,
    most_nodes: usize,
    /// Where the text ends.
    last: (u32, u32),
    sink: &'s Sink,
}

impl<'a> Tree<'a, '_> {
    fn read(&mut self, text: &'a str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| Stop {
                at: self.place(error.marker()),
                message: format!("not YAML: {}", error.info()),
                hint: "indent with spaces alone; quote a text with `: ` or ` #` in it, or that begins with a sign",
            })?;
            let at = self.place(&span.start);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return stop(
                            at,
                            "a second document begins",
                            "one file holds one document: remove `---`",
                        );
                    }
                }
                Event::Alias(id) => self.alias(id, at)?,
                Event::Scalar(value, style, anchor, tag) => {
                    let kind = scalar(value, style, tag.as_deref(), at)?;
                    self.add(Node::new(at, kind), anchor, 1)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    self.begin(Kind::Seq(Vec::new()), anchor, tag.as_deref(), at)?
                }
                Event::MappingStart(anchor, tag) => {
                    self.begin(Kind::Map(Vec::new()), anchor, tag.as_deref(), at)?
                }
                Event::SequenceEnd | Event::MappingEnd => self.end()?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    /// Where a mark stands. The parser sees a line more where the last one does not end: that is the text's end.
    fn place(&self, mark: &Marker) -> (u32, u32) {
        let at = (number(mark.line()), number(mark.col() + 1));
        if at.0 <= self.last.0 { at } else { self.last }
    }

    fn begin(
        &mut self,
        kind: Kind<'a>,
        anchor: usize,
        tag: Option<&Tag>,
        at: (u32, u32),
    ) -> Result<(), Stop> {
        if tag.is_some() {
            return stop(at, "a tag stands before a list or mapping", "remove it");
        }
        if self.open.len() >= MOST_DEPTH {
            return stop(at, format!("nested deeper than {MOST_DEPTH}"), "no setting is so deep");
        }
        let waits_for_key =
            matches!(self.open.last(), Some(Open { node: Node { kind: Kind::Map(_), .. }, key: None, .. }));
        if waits_for_key {
            return stop(
                at,
                "a list or mapping stands where a key is due",
                "`{…}` and `[…]` at the beginning of a value must be quoted",
            );
        }
        let nodes_before = self.nodes;
        self.count(1, at)?;
        self.open.push(Open {
            node: Node::new(at, kind),
            anchor,
            nodes_before,
            key: None,
            seen: HashSet::new(),
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(done) = self.open.pop() else { return Ok(()) };
        let nodes = self.nodes - done.nodes_before;
        self.nodes = done.nodes_before;
        self.add(done.node, done.anchor, nodes)
    }

    fn alias(&mut self, id: usize, at: (u32, u32)) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            return stop(at, "an alias names something that has not ended yet", "it cannot hold itself");
        };
        let nodes = anchored.nodes;
        if self.nodes + nodes > self.most_nodes {
            return stop(
                at,
                format!("more than {} values, aliases counted", self.most_nodes),
                "write fewer aliases",
            );
        }
        if self.open.len() + depth(&anchored.node) > MOST_DEPTH {
            return stop(
                at,
                format!("nested deeper than {MOST_DEPTH}, aliases followed"),
                "no setting is so deep",
            );
        }
        let mut node = anchored.node.clone();
        (node.line, node.column) = at;
        self.add(node, 0, nodes)
    }

    fn count(&mut self, nodes: usize, at: (u32, u32)) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > self.most_nodes {
            return stop(
                at,
                format!("more than {} values, aliases counted", self.most_nodes),
                "write fewer aliases",
            );
        }
        Ok(())
    }

    /// Puts a finished value where it belongs: it is a key, a member, an element or the root.
    fn add(&mut self, node: Node<'a>, anchor: usize, nodes: usize) -> Result<(), Stop> {
        self.count(nodes, (node.line, node.column))?;
        if anchor != 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes });
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.kind {
            Kind::Seq(items) => items.push(node),
            Kind::Map(entries) => match open.key.take() {
                None => open.key = Some(key(node)?),
                Some((key, (line, column))) => {
                    // A short mapping is searched; a set would cost every key of a long list an allocation.
                    let is_twice = if entries.len() < 16 {
                        entries.iter().any(|e| e.key == key)
                    } else {
                        if open.seen.is_empty() {
                            open.seen = entries.iter().map(|e| e.key.clone()).collect();
                        }
                        !open.seen.insert(key.clone())
                    };
                    if is_twice {
                        self.refuse_twice(&key, (line, column));
                    } else {
                        entries.push(Entry { key, line, column, value: node });
                    }
                }
            },
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Str(_) | Kind::Refused => {}
        }
        Ok(())
    }

    fn refuse_twice(&self, key: &str, at: (u32, u32)) {
        let around = self.open.split_last().map_or(&[][..], |(_, around)| around);
        let message = format!("the key `{}` is written twice", key.escape_debug());
        self.sink.add(at, path_of(around, &Place::Root, key), message, "remove one of them".to_owned());
    }
}

/// The path of `key` within all that is open around its mapping.
fn path_of(around: &[Open<'_>], parent: &Place<'_>, key: &str) -> String {
    let Some((first, inner)) = around.split_first() else { return parent.key(key).to_string() };
    match (&first.node.kind, &first.key) {
        (Kind::Seq(items), _) => path_of(inner, &parent.index(items.len()), key),
        (_, Some((name, _))) => path_of(inner, &parent.key(name), key),
        (_, None) => path_of(inner, parent, key),
    }
}

fn stop<T>(at: (u32, u32), message: impl Into<String>, hint: &'static str) -> Result<T, Stop> {
    Err(Stop { at, message: message.into(), hint })
}

/// How many lists and mappings are nested in `node`, itself included.
fn depth(node: &Node<'_>) -> usize {
    match &node.kind {
        Kind::Seq(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Kind::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// The text of a key and where it stands. Keys of other types are refused, not turned into text.
fn key(node: Node<'_>) -> Result<(Cow<'_, str>, (u32, u32)), Stop> {
    let at = (node.line, node.column);
    match node.kind {
        Kind::Str(text) => Ok((text, at)),
        _ => stop(at, format!("a key must be text, not {}", node.describe()), "put it in quotes"),
    }
}

/// The place behind the last character.
fn end_of(text: &str) -> (u32, u32) {
    let count = |end: u8| memchr::memchr_iter(end, text.as_bytes()).count();
    let lines = count(b'\n') + count(b'\r') - text.matches("\r\n").count();
    let last = text.rsplit(['\n', '\r']).next().unwrap_or_default();
    (number(lines + 1), number(last.chars().count() + 1))
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// The value of a scalar: text if it is quoted or tagged `!!str`, else by the core schema (YAML 1.2.2, 10.3.2).
fn scalar<'a>(
    value: Cow<'a, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    at: (u32, u32),
) -> Result<Kind<'a>, Stop> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Ok(Kind::Str(value)),
        Some(_) => return stop(at, "a tag stands before a value", "remove it; `!!str` alone is known"),
        None => {}
    }
    if style != ScalarStyle::Plain {
        return Ok(Kind::Str(value));
    }
    Ok(match value.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        text => match parse_number(text) {
            Some(number) => number,
            None => Kind::Str(value),
        },
    })
}

/// A number of the core schema: decimal, `0o17`, `0x1F`, a float, an infinity or `.nan`.
fn parse_number(text: &str) -> Option<Kind<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = *unsigned.as_bytes().first()?;
    if !first.is_ascii_digit() && first != b'.' {
        return None;
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Kind::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" => return Some(Kind::Float(f64::NAN)),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("0o").filter(|d| !d.starts_with('+')) {
        return i64::from_str_radix(digits, 8).ok().map(Kind::Int);
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|d| !d.starts_with('+')) {
        return i64::from_str_radix(digits, 16).ok().map(Kind::Int);
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Kind::Int).or_else(|_| text.parse().map(Kind::Float)).ok();
    }
    let is_float =
        unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
            && unsigned.bytes().any(|b| b.is_ascii_digit());
    is_float.then(|| text.parse().ok().map(Kind::Float)).flatten()
}
