//! A stream as it was recorded, but with or without its usage: every chunk stays, and each as it is otherwise.

use crate::llm::json::{Kind, Value};
use crate::llm::translate::chunks::DONE;
use crate::llm::translate::compact;
use crate::llm::translate::events::each_chunk;
use crate::llm::translate::object::Object;
use crate::llm::translate::said::{Member, members};
use crate::llm::translate::{StreamUsage, Untranslatable};

/// The members that every chunk repeats.
const REPEATED: [&str; 6] = ["id", "object", "created", "model", "service_tier", "system_fingerprint"];

/// The stream with its usage where `usage` wants it. Members keep their order; `usage` comes last. It grows by some
/// bytes a chunk at most.
///
/// Errors: [`Untranslatable::NoUsage`] if it is to be included and no chunk has it.
pub(super) fn write(stream: &[u8], usage: StreamUsage) -> Result<String, Untranslatable> {
    let mut out = String::new();
    let mut usage_chunk = None;
    each_chunk(stream, |root| {
        let chunk = Chunk::read(root)?;
        match usage {
            StreamUsage::Omitted if chunk.is_usage_alone() => {}
            StreamUsage::Omitted => chunk.write(None, &mut out),
            StreamUsage::Included => {
                if let Some(alone) = chunk.usage_chunk()
                    && usage_chunk.replace(alone).is_some()
                {
                    return Err(Untranslatable::Conflict);
                }
                if !chunk.is_usage_alone() {
                    chunk.write(Some("null"), &mut out);
                }
            }
        }
        Ok(())
    })?;
    if usage == StreamUsage::Included {
        out.push_str(&usage_chunk.ok_or(Untranslatable::NoUsage)?);
    }
    out.push_str(DONE);
    Ok(out)
}

/// One chunk, its usage apart.
struct Chunk<'t> {
    members: Vec<Member<'t>>,
    /// If it has one that is not null.
    usage: Option<Value<'t>>,
    has_choices: bool,
}

impl<'t> Chunk<'t> {
    fn read(root: Value<'t>) -> Result<Self, Untranslatable> {
        let mut members = members(root)?;
        let choices = members.iter().find(|(name, ..)| name == "choices").ok_or(Untranslatable::Missing)?;
        if choices.2.kind() != Kind::Array {
            return Err(Untranslatable::Shape);
        }
        let has_choices = choices.2.elements().next().is_some();
        let usage = members.iter().find(|(name, ..)| name == "usage").map(|(.., value)| *value);
        members.retain(|(name, ..)| name != "usage");
        Ok(Self { members, usage: usage.filter(|usage| !usage.is_null()), has_choices })
    }

    /// True if nothing is lost without it but the usage.
    fn is_usage_alone(&self) -> bool {
        let says_nothing_more = |(name, _, value): &Member<'_>| {
            value.is_null() || name == "choices" || name == "obfuscation" || REPEATED.contains(&name.as_ref())
        };
        self.usage.is_some() && !self.has_choices && self.members.iter().all(says_nothing_more)
    }

    /// The chunk that tells the usage alone, if this one tells it: this one, or one made from it.
    fn usage_chunk(&self) -> Option<String> {
        let usage = compact::text(self.usage?);
        if self.is_usage_alone() {
            let mut out = String::new();
            self.write(Some(&usage), &mut out);
            return Some(out);
        }
        let repeated = self.members.iter().filter(|(name, ..)| REPEATED.contains(&name.as_ref()));
        let mut out = String::from("data: ");
        let mut object = Object::open(&mut out);
        for (name, _, value) in repeated {
            compact::write(*value, object.name(name));
        }
        object.raw("choices", "[]");
        object.raw("usage", &usage);
        object.close();
        out.push_str("\n\n");
        Some(out)
    }

    fn write(&self, usage: Option<&str>, out: &mut String) {
        out.push_str("data: ");
        let mut object = Object::open(out);
        for (_, key, value) in &self.members {
            compact::write(*value, object.name(key.inner()));
        }
        if let Some(usage) = usage {
            object.raw("usage", usage);
        }
        object.close();
        out.push_str("\n\n");
    }
}
