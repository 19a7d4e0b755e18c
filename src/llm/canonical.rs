//! Canonical JSON, fed to a hash: two spellings of one request have one form, two requests never do.
//!
//! It is RFC 8785 (members in the order of their UTF-16 code units, ECMAScript numbers, one spelling of each string)
//! but for whole numbers, which keep all their digits: RFC 8785 rounds them to doubles, and so gives 2⁵³ and 2⁵³+1,
//! two different seeds, one form. Text that is canonical already is handed on as it lies in the body, in one piece.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use crate::llm::json::{Document, JsonFault, Kind, Value};
use crate::llm::number::write_ecmascript;

/// Feeds the canonical form of `document` to `sink`, in pieces of any size. Members of the outermost object whose
/// unescaped name `is_left_out` are not fed, but looked through like the others.
///
/// Errors: [`JsonFault::Duplicate`] before all others, then [`Document::fault`]; what the sink got is void then.
pub fn write<'t>(
    document: Document<'t>,
    is_left_out: &dyn Fn(&[u8]) -> bool,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), JsonFault> {
    let mut writer = Writer::new(document, is_left_out, sink);
    writer.value(document.root(), Place::Outermost)?;
    writer.flush();
    document.fault().map_or(Ok(()), Err)
}

/// Feeds the canonical form of the member `name` of the outermost object alone to `sink`, and looks through all the
/// others. Without such a member, or where the outermost value is no object, nothing is fed.
///
/// Errors: as of [`write()`], wherever in the document the fault is.
pub fn write_member<'t>(
    document: Document<'t>,
    name: &str,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), JsonFault> {
    let mut writer = Writer::new(document, &|_| false, sink);
    writer.sorted_members(document.root(), 0)?;
    for index in 0..writer.members.len() {
        let Some(member) = writer.members.get(index) else { break };
        let value = member.value;
        if *member.unescaped == *name.as_bytes() {
            writer.value(value, Place::Within)?;
        } else {
            writer.left_out(value)?;
        }
    }
    writer.flush();
    document.fault().map_or(Ok(()), Err)
}

/// The order of RFC 8785 §3.2.3, by UTF-16 code units, for names in UTF-8. It is the order of the bytes but for
/// characters from U+10000 on (lead bytes from 0xF0): their surrogates come before U+E000 to U+FFFF (0xEE, 0xEF).
pub fn utf16_order(left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xee | 0xef) { byte + 0x10 } else { byte };
    match left.iter().zip(right).find(|(l, r)| l != r) {
        Some((&l, &r)) => rank(l).cmp(&rank(r)),
        None => left.len().cmp(&right.len()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outermost,
    Within,
}

/// Room for the open objects' members that does for most requests.
const MEMBERS: usize = 16;

type Sink<'s> = dyn FnMut(&[u8]) + 's;

struct Member<'t> {
    unescaped: Cow<'t, [u8]>,
    name: Value<'t>,
    value: Value<'t>,
}

struct Writer<'t, 's> {
    bytes: &'t [u8],
    /// Text of the body that is due to be fed, kept back because what follows may lie right behind it.
    run: Range<usize>,
    /// The members of all the objects that are open, the innermost object's last.
    members: Vec<Member<'t>>,
    respelling: Vec<u8>,
    /// `None` inside of a member that is left out.
    sink: Option<&'s mut Sink<'s>>,
    is_left_out: &'s dyn Fn(&[u8]) -> bool,
}

impl<'t, 's> Writer<'t, 's> {
    fn new(
        document: Document<'t>,
        is_left_out: &'s dyn Fn(&[u8]) -> bool,
        sink: &'s mut dyn FnMut(&[u8]),
    ) -> Self {
        Self {
            bytes: document.text().as_bytes(),
            run: 0..0,
            members: Vec::with_capacity(MEMBERS),
            respelling: Vec::new(),
            sink: Some(sink),
            is_left_out,
        }
    }

    fn value(&mut self, value: Value<'t>, place: Place) -> Result<(), JsonFault> {
        match value.kind() {
            Kind::Null | Kind::False | Kind::True | Kind::Plain | Kind::Escaped => {
                self.verbatim(value.span())
            }
            Kind::Integer if value.raw() == "-0" => self.text(b"0"),
            Kind::Integer => self.verbatim(value.span()),
            Kind::Float => self.float(value),
            Kind::Respelled => self.respelled(value),
            Kind::Array => return self.array(value),
            Kind::Object => return self.object(value, place),
        }
        Ok(())
    }

    fn array(&mut self, array: Value<'t>) -> Result<(), JsonFault> {
        self.byte(b'[', array.span().start);
        for (index, element) in array.elements().enumerate() {
            if index != 0 {
                self.byte(b',', self.run.end);
            }
            self.value(element, Place::Within)?;
        }
        self.byte(b']', self.run.end);
        Ok(())
    }

    fn object(&mut self, object: Value<'t>, place: Place) -> Result<(), JsonFault> {
        let first = self.members.len();
        self.sorted_members(object, first)?;
        let past = self.members.len();
        let mut is_first = true;
        self.byte(b'{', object.span().start);
        for index in first..past {
            let Some(member) = self.members.get(index) else { break };
            let (name, value) = (member.name, member.value);
            if place == Place::Outermost && (self.is_left_out)(&member.unescaped) {
                self.left_out(value)?;
                continue;
            }
            if !is_first {
                self.byte(b',', self.run.end);
            }
            is_first = false;
            self.value(name, Place::Within)?;
            self.byte(b':', self.run.end);
            self.value(value, Place::Within)?;
        }
        self.byte(b'}', self.run.end);
        self.members.truncate(first);
        Ok(())
    }

    /// Pushes the members of `object` from index `first` on, in canonical order.
    fn sorted_members(&mut self, object: Value<'t>, first: usize) -> Result<(), JsonFault> {
        for (name, value) in object.members() {
            let unescaped = name.string_bytes().unwrap_or_default();
            self.members.push(Member { unescaped, name, value });
        }
        let members = self.members.get_mut(first..).unwrap_or_default();
        let order = |a: &Member<'_>, b: &Member<'_>| utf16_order(&a.unescaped, &b.unescaped);
        if !members.is_sorted_by(|a, b| order(a, b) == Ordering::Less) {
            members.sort_unstable_by(order);
            let mut neighbours = members.iter().zip(members.iter().skip(1));
            if neighbours.any(|(a, b)| a.unescaped == b.unescaped) {
                return Err(JsonFault::Duplicate);
            }
        }
        Ok(())
    }

    /// Looks through a value for names that stand twice, and feeds nothing.
    fn left_out(&mut self, value: Value<'t>) -> Result<(), JsonFault> {
        self.flush();
        let sink = self.sink.take();
        self.value(value, Place::Within)?;
        self.flush();
        self.sink = sink;
        Ok(())
    }

    fn float(&mut self, value: Value<'t>) {
        let mut text = String::new();
        write_ecmascript(value.as_f64().unwrap_or_default(), &mut text);
        if text == value.raw() {
            self.verbatim(value.span());
        } else {
            self.text(text.as_bytes());
        }
    }

    fn respelled(&mut self, value: Value<'t>) {
        let mut text = std::mem::take(&mut self.respelling);
        text.clear();
        value.respell(&mut text);
        self.text(&text);
        self.respelling = text;
    }

    /// Feeds a piece of the body.
    fn verbatim(&mut self, span: Range<usize>) {
        if span.start != self.run.end {
            self.flush();
            self.run.start = span.start;
        }
        self.run.end = span.end;
    }

    /// Feeds one byte: that of the body at `at`, if it is the same.
    fn byte(&mut self, byte: u8, at: usize) {
        if self.bytes.get(at) == Some(&byte) {
            self.verbatim(at..at + 1);
        } else {
            self.flush();
            self.feed(&[byte]);
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.flush();
        self.feed(text);
    }

    fn flush(&mut self) {
        let run = self.run.clone();
        self.run.start = run.end;
        if let Some(piece) = self.bytes.get(run)
            && !piece.is_empty()
        {
            self.feed(piece);
        }
    }

    fn feed(&mut self, piece: &[u8]) {
        if let Some(sink) = &mut self.sink {
            sink(piece);
        }
    }
}
