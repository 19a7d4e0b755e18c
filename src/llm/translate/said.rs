//! What has been said of one member so far: by a whole answer at once, or by chunk after chunk.

use std::borrow::Cow;

use crate::llm::json::{JsonFault, Kind, Value};
use crate::llm::translate::Untranslatable;
use crate::llm::translate::compact;

/// The most members that one object may have. Those of a chat completion are a dozen.
const MAX_MEMBERS: usize = 64;

/// The most of them that may be unknown and null, so that these and all that are known fit into one object.
const MAX_NULLS: usize = 32;

/// What is known of a member: nothing, that it is `null`, or what it is. A later null takes nothing back.
#[derive(Clone, Debug)]
pub(super) struct Said<T> {
    is_there: bool,
    this: Option<T>,
}

/// Any value, said in one go: compact JSON.
pub(super) type Whole = Said<String>;

/// A string, said bit by bit: what stands between its quotes.
pub(super) type Text = Said<String>;

/// An array, said bit by bit: its elements, each compact JSON.
pub(super) type List = Said<Vec<String>>;

/// Members that nobody knows and that are `null`: they say nothing, and are carried along. Names without escapes, in
/// the order in which they were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Nulls(Vec<String>);

// === impl Said ===

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self { is_there: false, this: None }
    }
}

impl<T: Default> Said<T> {
    /// `None`: the member is not there. `Some(None)`: it is null.
    pub(super) fn told(&self) -> Option<Option<&T>> {
        self.is_there.then_some(self.this.as_ref())
    }

    /// What it is, if it is more than null.
    pub(super) fn this(&self) -> Option<&T> {
        self.this.as_ref()
    }

    /// What a member is that must be there.
    pub(super) fn required(&self) -> Result<&T, Untranslatable> {
        self.this.as_ref().ok_or(Untranslatable::Missing)
    }

    /// What `value`, of this kind, is to be added to; `None` if it is null.
    pub(super) fn place(&mut self, value: Value<'_>, kind: Kind) -> Result<Option<&mut T>, Untranslatable> {
        self.is_there = true;
        if value.is_null() {
            return Ok(None);
        }
        if value.kind() != kind {
            return Err(Untranslatable::Shape);
        }
        Ok(Some(self.this.get_or_insert_default()))
    }
}

// === impl Whole and Text ===

impl Said<String> {
    /// A value that every chunk repeats.
    pub(super) fn same(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        let compact = self.compact(value);
        match (&self.this, compact) {
            (Some(this), Some(compact)) if *this != compact => return Err(Untranslatable::Conflict),
            (None, Some(compact)) => self.this = Some(compact),
            _ => {}
        }
        Ok(())
    }

    /// A value of which the first that is said counts.
    pub(super) fn first(&mut self, value: Value<'_>) {
        let compact = self.compact(value);
        self.this = self.this.take().or(compact);
    }

    /// A value that one chunk says; others may leave it open with null or an empty string.
    pub(super) fn once(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        let is_open = |compact: &String| compact == "\"\"";
        let compact = self.compact(value);
        match (&self.this, compact) {
            (Some(this), Some(compact)) if !is_open(this) && !is_open(&compact) => {
                return Err(Untranslatable::Conflict);
            }
            (Some(this), compact) if !is_open(this) || compact.is_none() => {}
            (_, compact) => self.this = compact,
        }
        Ok(())
    }

    /// Adds a string to a text.
    pub(super) fn append(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        self.is_there = true;
        match value.kind() {
            Kind::Null => {}
            Kind::Plain | Kind::Escaped | Kind::Respelled => {
                self.this.get_or_insert_default().push_str(value.inner());
            }
            _ => return Err(Untranslatable::Shape),
        }
        Ok(())
    }

    /// `value` as compact JSON; `None` if it is null.
    fn compact(&mut self, value: Value<'_>) -> Option<String> {
        self.is_there = true;
        (!value.is_null()).then(|| compact::text(value))
    }
}

// === impl List ===

impl Said<Vec<String>> {
    /// Adds the elements of an array.
    pub(super) fn extend(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        if let Some(elements) = self.place(value, Kind::Array)? {
            elements.extend(value.elements().map(compact::text));
        }
        Ok(())
    }

    /// Takes an array whose elements come all at once.
    pub(super) fn once(&mut self, value: Value<'_>) -> Result<(), Untranslatable> {
        let has_elements = self.this.as_ref().is_some_and(|elements| !elements.is_empty());
        if has_elements && value.elements().next().is_some() {
            return Err(Untranslatable::Conflict);
        }
        self.extend(value)
    }
}

// === impl Nulls ===

impl Nulls {
    /// Takes a member that has no place of its own.
    ///
    /// Errors: [`Untranslatable::Unknown`] if it says anything, or if its name is spelled with escapes.
    pub(super) fn take(&mut self, name: Value<'_>, value: Value<'_>) -> Result<(), Untranslatable> {
        if !value.is_null() || name.kind() != Kind::Plain {
            return Err(Untranslatable::Unknown);
        }
        let name = name.inner();
        if !self.0.iter().any(|known| known == name) {
            if self.0.len() == MAX_NULLS {
                return Err(Untranslatable::TooLarge);
            }
            self.0.push(name.to_owned());
        }
        Ok(())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// One member of an object: its name unescaped and as it is written, and its value.
pub(super) type Member<'t> = (Cow<'t, str>, Value<'t>, Value<'t>);

/// The members of an object, each name there once.
///
/// Errors: [`Untranslatable::Shape`] for anything else, [`Untranslatable::TooLarge`] for more than [`MAX_MEMBERS`].
pub(super) fn members<'t>(object: Value<'t>) -> Result<Vec<Member<'t>>, Untranslatable> {
    if object.kind() != Kind::Object {
        return Err(Untranslatable::Shape);
    }
    let mut members: Vec<Member<'t>> = Vec::new();
    for (key, value) in object.members() {
        let name = key.as_str().ok_or(Untranslatable::Unknown)?;
        if members.iter().any(|(known, ..)| *known == name) {
            return Err(Untranslatable::Json(JsonFault::Duplicate));
        }
        if members.len() == MAX_MEMBERS {
            return Err(Untranslatable::TooLarge);
        }
        members.push((name, key, value));
    }
    Ok(members)
}
