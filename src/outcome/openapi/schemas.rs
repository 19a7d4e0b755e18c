//! Schemas by name. What the gateway writes holds the members that its schema names and no others; what it reads may
//! hold more.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{AdditionalProperties, ArrayItems};
use utoipa::openapi::{Object, ObjectBuilder, RefOr, Schema, Type};

/// Schemas by name.
#[derive(Clone, Default)]
pub struct Schemas(BTreeMap<String, RefOr<Schema>>);

impl Schemas {
    /// With what is read: `T` and all that it is made of, open to members that are not named.
    #[must_use]
    pub fn read<T: ToSchema>(mut self) -> Self {
        self.0.extend(all_of::<T>());
        self
    }

    /// With what is written: `T` and all that it is made of, closed.
    #[must_use]
    pub fn written<T: ToSchema>(mut self) -> Self {
        for (name, mut schema) in all_of::<T>() {
            close(&mut schema);
            self.0.insert(name, schema);
        }
        self
    }

    /// With the member `member` of `name` always being `value`.
    #[must_use]
    pub fn always(mut self, name: &str, member: &str, value: impl Into<Value>) -> Self {
        if let Some(RefOr::T(Schema::Object(object))) = self.0.get_mut(name)
            && let Some(RefOr::T(Schema::Object(property))) = object.properties.get_mut(member)
        {
            property.enum_values = Some(vec![value.into()]);
        }
        self
    }

    /// All of them.
    pub fn into_map(self) -> BTreeMap<String, RefOr<Schema>> {
        self.0
    }
}

fn all_of<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    schemas
}

/// Forbids members that are not named, in an object and in all that stand within it; what says itself what else may be
/// there stays.
fn close(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            if !object.properties.is_empty() && object.additional_properties.is_none() {
                object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
            object.properties.values_mut().for_each(close);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                close(items);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(close),
        Schema::AllOf(all) => all.items.iter_mut().for_each(close),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(close),
        // The crate may come to know more kinds; a document with one of these is looked at by its test.
        _ => {}
    }
}

/// A whole number from `least` to `most`.
pub fn whole(least: u64, most: Option<u64>) -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(most).build()
}

/// One of a few words.
pub fn one_of(words: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).build()
}

/// Text of a form.
pub fn pattern(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}
