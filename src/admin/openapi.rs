//! The operator's API, as OpenAPI 3.1: `docs/openapi/admin.json`. What it says of accounts and keys is in `stored`.

use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Object, ObjectBuilder, OpenApi, Required, Response,
    SecurityRequirement, Type,
};

use crate::admin::answers::{ConfigState, NotApplied, Nowhere, Problem, Purged, ReloadEnd, Reloaded};
use crate::admin::holders::{AccountChange, NewAccount};
use crate::admin::keys::{KeyChange, NewKey, Rotation};
use crate::admin::listed::{AccountList, AuditTrail, ChangedAccount, ChangedKey, KeyList, MadeKey, PlanList};
use crate::admin::people::{PersonList, ResetLink};
use crate::admin::{API_OFF, EITHER, NO_RELOAD, NO_TOKEN};
use crate::outcome::openapi::refusals::EXAMPLE_TIME;
use crate::outcome::openapi::schemas::Schemas;
use crate::outcome::openapi::{self, JSON, json_body, json_of, schema_ref, text_header, with_headers};
use crate::runtime::journal::{Change, Part};

mod stored;

/// The document as it is committed, and served.
pub const COMMITTED: &str = include_str!("../../docs/openapi/admin.json");

const DESCRIPTION: &str = "The admin listener of a safecache gateway. What is under `/admin/v1/` wants the operator's \
    token, `admin.token` of the configuration, in `Authorization: Bearer TOKEN`; without one configured it is not there. \
    Every GET answers HEAD as well, without a body. A path asked with another method answers with the response \
    `MethodNotAllowed`.";

/// The document as the code has it.
pub fn document() -> OpenApi {
    let calls = [
        ("/metrics", HttpMethod::Get, metrics()),
        ("/healthz", HttpMethod::Get, open("health", "Whether the process lives", "200", "text/plain")),
        ("/readyz", HttpMethod::Get, ready()),
        ("/admin/v1/config", HttpMethod::Get, config()),
        ("/admin/v1/reload", HttpMethod::Post, reload()),
        ("/admin/v1/cache", HttpMethod::Delete, purge()),
        ("/admin/v1/openapi.json", HttpMethod::Get, description()),
    ];
    let calls = calls.into_iter().chain(stored::calls());
    openapi::document("safecache admin", DESCRIPTION, calls, components())
}

fn components() -> Components {
    let mut components = Components::new();
    components.schemas = Schemas::default()
        .written::<ConfigState>()
        .written::<Reloaded>()
        .written::<Purged>()
        .written::<NotApplied>()
        .written::<Nowhere>()
        .written::<KeyList>()
        .written::<MadeKey>()
        .written::<ChangedKey>()
        .written::<AccountList>()
        .written::<ChangedAccount>()
        .written::<AuditTrail>()
        .written::<PlanList>()
        .written::<PersonList>()
        .written::<ResetLink>()
        .written::<NewKey>()
        .written::<KeyChange>()
        .written::<Rotation>()
        .written::<NewAccount>()
        .written::<AccountChange>()
        .always("Reloaded", "applied", true)
        .always("Purged", "applied", true)
        .always("NotApplied", "applied", false)
        .into_map();
    let allow = text_header("The methods that the path takes.", "GET, HEAD");
    let challenge = text_header("How to say who is asking.", "Bearer realm=\"safecache admin\"");
    components.headers.insert("Allow".to_owned(), allow.into());
    components.headers.insert("WWW-Authenticate".to_owned(), challenge.into());
    let examples = vec![("other_method".to_owned(), json_of(&Nowhere::METHOD))];
    let other_method = ResponseBuilder::new()
        .description(Nowhere::METHOD.message)
        .content(JSON, json_body(schema_ref("Nowhere"), examples));
    let other_method = with_headers(other_method, &["Allow"]).build();
    components.responses.insert("MethodNotAllowed".to_owned(), other_method.into());
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("operator", SecurityScheme::Http(token));
    components
}

fn text(media_type: &'static str) -> (&'static str, Content) {
    (media_type, ContentBuilder::new().schema(Some(Object::with_type(Type::String))).build())
}

fn open_to_all(id: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).summary(Some(summary))
}

fn open(id: &str, summary: &str, status: &str, media_type: &'static str) -> Operation {
    let (media_type, content) = text(media_type);
    let ok = ResponseBuilder::new().description("Done.").content(media_type, content).build();
    open_to_all(id, summary).response(status, ok).build()
}

fn metrics() -> Operation {
    let (media_type, content) = text("text/plain");
    let ok = ResponseBuilder::new()
        .description("In Prometheus' text format.")
        .content(media_type, content)
        .build();
    let failed = ResponseBuilder::new().description("They could not be written; the log says why.").build();
    open_to_all("metrics", "Metrics").response("200", ok).response("500", failed).build()
}

fn ready() -> Operation {
    let said = |description: &str| {
        let (media_type, content) = text("text/plain");
        ResponseBuilder::new().description(description).content(media_type, content).build()
    };
    open_to_all("ready", "Whether the data port accepts")
        .response("200", said("It does."))
        .response("503", said("It is starting, or draining."))
        .build()
}

fn config() -> Operation {
    let message = "gateway.yaml:12:3: limitz: unknown key";
    let example = ConfigState {
        generation: 7,
        keys: 120,
        plans: 3,
        routes: 2,
        upstreams: 1,
        last_reload: Some(ReloadEnd {
            at: EXAMPLE_TIME.rfc3339(),
            applied: false,
            message: message.to_owned(),
        }),
        problems: vec![Problem {
            source: Part::Configuration.as_str(),
            at: EXAMPLE_TIME.rfc3339(),
            message: message.to_owned(),
        }],
    };
    let ok = json_body(schema_ref("ConfigState"), vec![("state".to_owned(), json_of(&example))]);
    operators("config", "The state of the configuration", ok).build()
}

fn reload() -> Operation {
    let change = Change { generation: 8, keys: 121, added: 1, removed: 0, certificates: 0 };
    let ok =
        json_body(schema_ref("Reloaded"), vec![("reloaded".to_owned(), json_of(&Reloaded::of(&change)))]);
    let force = ParameterBuilder::new()
        .name("force")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some("Takes a key list that loses over half of its ids, too."))
        .schema(Some(ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into()))));
    operators("reload", "Reload configuration, keys and certificates", ok)
        .parameter(force)
        .response(
            "400",
            refused(
                "The query is not understood.",
                "Failed to deserialize query string: force: provided string was not `true` or `false`",
            ),
        )
        .response(
            "422",
            refused(
                "Something is wrong with what was read. The last good policy stays.",
                "needs a restart: listen",
            ),
        )
        .response("500", refused("The reload broke off; the log says why.", NO_RELOAD))
        .build()
}

fn purge() -> Operation {
    let ok = json_body(schema_ref("Purged"), vec![("purged".to_owned(), json_of(&Purged::of(12)))]);
    let of = |name: &str, description: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
    };
    let full = "memory has forgotten, but the disk could not be changed: data/answers.sqlite: no space left on its disk; \
                make room";
    operators("purge", "Forget cached answers: all, an account's or a route's", ok)
        .parameter(of("account", "Those of this account alone."))
        .parameter(of("route", "Those of this route alone, by its path in the configuration."))
        .response("400", refused("The query is not understood, or names both.", EITHER))
        .response("500", refused("Memory has forgotten them, but not the disk.", full))
        .build()
}

fn description() -> Operation {
    let any = ContentBuilder::new().schema(Some(Object::with_type(Type::Object))).build();
    operators("describe", "This document", any).build()
}

/// An operation that wants the operator's token.
fn operators(id: &str, summary: &str, ok: Content) -> OperationBuilder {
    let ok = ResponseBuilder::new().description("Done.").content(JSON, ok).build();
    let unknown =
        ResponseBuilder::new().description("No token, or another.").content(JSON, not_applied(NO_TOKEN));
    open_to_all(id, summary)
        .response("200", ok)
        .response("401", with_headers(unknown, &["WWW-Authenticate"]).build())
        .response("404", refused("No token is configured.", API_OFF))
        .security(SecurityRequirement::new("operator", [""; 0]))
}

fn refused(description: &str, message: &str) -> Response {
    ResponseBuilder::new().description(description).content(JSON, not_applied(message)).build()
}

fn not_applied(message: &str) -> Content {
    let example = json_of(&NotApplied::because(message));
    json_body(schema_ref("NotApplied"), vec![("refused".to_owned(), example)])
}
