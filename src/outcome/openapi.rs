//! What the OpenAPI documents of both listeners are made of. They say what the code says: schemas are derived from what
//! is serialised, refusals come from the one table, examples are what the code answers.
//!
//! - `schemas`: gathers schemas, and closes those of what the gateway writes.
//! - `refusals`: the table of rejections, as responses.
//! - `share`: what many operations answer stands in a document once.
//!
//! The documents are committed under `docs/openapi` and served as they stand there; a test holds them to this code.

use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{HttpMethod, Operation};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{
    Components, Content, ContentBuilder, Header, Info, Object, OpenApi, PathItem, Paths, Ref, RefOr, Schema,
    Type,
};

use crate::outcome::openapi::share::share_responses;

pub mod refusals;
pub mod schemas;
pub mod share;

/// What JSON is sent as.
pub const JSON: &str = "application/json";

/// A response's body in JSON by a schema, with examples: a name and a body each.
pub fn json_body(schema: RefOr<Schema>, examples: Vec<(String, Value)>) -> Content {
    let example = |(name, value): (String, Value)| {
        (name, utoipa::openapi::example::ExampleBuilder::new().value(Some(value)).build())
    };
    ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples.into_iter().map(example)).build()
}

/// A reference to a schema by its name.
pub fn schema_ref(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

/// `response` with headers that stand among the document's components.
pub fn with_headers(response: ResponseBuilder, names: &[&str]) -> ResponseBuilder {
    names.iter().fold(response, |response, name| {
        response.header_ref(*name, Ref::new(format!("#/components/headers/{name}")))
    })
}

/// A header that holds a whole number.
pub fn number_header(description: &str) -> Header {
    HeaderBuilder::new().schema(Some(schemas::whole(0, None))).description(Some(description)).build()
}

/// A header that holds text.
pub fn text_header(description: &str, example: &str) -> Header {
    HeaderBuilder::new()
        .schema(Some(Object::with_type(Type::String)))
        .description(Some(description))
        .example(Some(example.into()))
        .build()
}

/// One operation of a document: its path, its method, and what it does.
pub type Call<'a, O> = (&'a str, HttpMethod, O);

/// A document of these operations and components; what many of them answer is told once.
pub fn document<O: Into<Operation>>(
    title: &str,
    description: &str,
    calls: impl IntoIterator<Item = Call<'static, O>>,
    components: Components,
) -> OpenApi {
    let mut info = Info::new(title, env!("CARGO_PKG_VERSION"));
    info.description = Some(description.to_owned());
    info.license = Some(
        utoipa::openapi::info::LicenseBuilder::new()
            .name("Apache-2.0")
            .identifier(Some("Apache-2.0"))
            .build(),
    );
    let mut document = OpenApi::new(info, Paths::new());
    for (path, method, operation) in calls {
        let item = document.paths.paths.entry(path.to_owned()).or_default();
        item.merge_operations(PathItem::new(method, operation));
    }
    document.components = Some(components);
    share_responses(&mut document);
    document
}

/// `document` as JSON. What the code makes of it always can be.
pub fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
