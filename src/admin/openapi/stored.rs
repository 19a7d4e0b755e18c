//! The operations about accounts, their keys, people, and the trail of changes.

use serde_json::{Value, json};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{Object, ObjectBuilder, Required, Type};

use crate::accounts::keys::MOST_A_PAGE;
use crate::accounts::request::MOST_REQUEST;
use crate::admin::input::{IDEMPOTENCY_KEY, NO_SUCH_ID, PER_PAGE};
use crate::admin::openapi::{operators, refused};
use crate::admin::people::ResetLink;
use crate::auth::key::Environment;
use crate::outcome::openapi::schemas::whole;
use crate::outcome::openapi::{Call, JSON, json_body, json_of, schema_ref};
use crate::store::directory::edit::Denial;
use crate::store::directory::key::State;
use crate::store::people::edit::Denial as PersonDenial;

/// What a request can be refused with beside what every one of the operator's is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Neither a body nor a query.
    Nothing,
    /// A query.
    Query,
    /// A body that has to be there.
    Body,
    /// A body that may be left out.
    OptionalBody,
}

pub(super) fn calls() -> [Call<'static, Operation>; 18] {
    let key = |method, operation: OperationBuilder| ("/admin/v1/keys/{id}", method, with_id(operation));
    let of_key = |path, operation: OperationBuilder| (path, HttpMethod::Post, with_id(operation));
    let account = |method, operation| ("/admin/v1/accounts/{id}", method, with_id(operation));
    [
        ("/admin/v1/keys", HttpMethod::Get, list_keys()),
        ("/admin/v1/keys", HttpMethod::Post, create_key()),
        key(HttpMethod::Get, plain("show_key", "A key", ("Key", key_example()), Takes::Nothing)),
        key(HttpMethod::Patch, changed_key("rename_key", "Give a key another name", Takes::Body)),
        key(HttpMethod::Delete, deleted_key()),
        of_key("/admin/v1/keys/{id}/rotate", rotate_key()),
        of_key(
            "/admin/v1/keys/{id}/end-overlap",
            changed_key("end_overlap", "End all secrets of a key but the newest", Takes::Nothing),
        ),
        of_key(
            "/admin/v1/keys/{id}/revoke",
            changed_key("revoke_key", "Have a key refused for good", Takes::Nothing),
        ),
        ("/admin/v1/accounts", HttpMethod::Get, list_accounts()),
        ("/admin/v1/accounts", HttpMethod::Post, create_account()),
        account(
            HttpMethod::Get,
            plain("show_account", "An account", ("Account", account_example()), Takes::Nothing),
        ),
        account(HttpMethod::Patch, change_account()),
        of_key(
            "/admin/v1/accounts/{id}/suspend",
            changed_account(
                "suspend_account",
                "Have all keys of an account refused, those of the key list too",
            ),
        ),
        of_key(
            "/admin/v1/accounts/{id}/resume",
            changed_account("resume_account", "Have the keys of a suspended account pass again"),
        ),
        ("/admin/v1/audit", HttpMethod::Get, audit()),
        ("/admin/v1/plans", HttpMethod::Get, plans()),
        ("/admin/v1/people", HttpMethod::Get, people()),
        ("/admin/v1/people/{login}/reset", HttpMethod::Post, reset_person()),
    ]
}

/// An operation that answers 200 with a schema and its example.
fn plain(id: &str, summary: &str, (schema, example): (&str, Value), takes: Takes) -> OperationBuilder {
    let ok = json_body(schema_ref(schema), vec![("done".to_owned(), example)]);
    let mut operation = operators(id, summary, ok)
        .response("500", refused("The store failed; the log says why.", FAILED))
        .response("503", refused("The store is busy or full, or the gateway is ending.", FAILED));
    if takes != Takes::Nothing {
        operation = operation.response("400", refused("The query or the body is not understood.", BAD));
    }
    if matches!(takes, Takes::Body | Takes::OptionalBody) {
        operation = operation
            .response("413", refused("The body is over 64 KiB.", "Failed to buffer the request body"))
            .response("415", refused("The body is not said to be JSON.", NO_JSON))
            .response(
                "422",
                refused("What is asked for cannot be.", "expires: it would have expired already"),
            );
    }
    operation
}

const FAILED: &str = "nothing was changed, as accounts and keys cannot be used: is busy; try again";
const BAD: &str = "Failed to deserialize query string: limit: from 1 to 100";
const NO_JSON: &str = "Expected request with `Content-Type: application/json`";

fn with_id(operation: OperationBuilder) -> Operation {
    with_named("id", NO_SUCH_ID, operation)
}

/// What is named in the path, and what is said if there is none of that name.
fn with_named(name: &str, absent: &str, operation: OperationBuilder) -> Operation {
    let id = ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).min_length(Some(1))));
    operation
        .parameter(id)
        .response("404", refused("There is no such thing, or no token is configured.", absent))
        .build()
}

fn query(name: &str, description: &str, schema: Object) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> Object {
    Object::with_type(Type::String)
}

fn limit() -> Parameter {
    let least = format!("The most entries wanted; {PER_PAGE} if it is not said.");
    query("limit", &least, whole(1, Some(u64::from(MOST_A_PAGE))))
}

fn after() -> Parameter {
    query("after", "Those behind this id: `next` of the page before.", text())
}

fn of_account() -> Parameter {
    query("account", "Those of this account alone.", text())
}

fn body(schema: &str, example: Value, required: Required) -> RequestBody {
    let content = json_body(schema_ref(schema), vec![("request".to_owned(), example)]);
    RequestBodyBuilder::new().content(JSON, content).required(Some(required)).build()
}

fn list_keys() -> Operation {
    let page = json!({"items": [key_example()], "next": null});
    plain("list_keys", "Keys, in the order of their ids", ("KeyList", page), Takes::Query)
        .parameter(of_account())
        .parameter(query("state", "Those in this state alone.", one_of(&STATES)))
        .parameter(query("environment", "Those of this environment alone.", one_of(&ENVIRONMENTS)))
        .parameter(after())
        .parameter(limit())
        .build()
}

const STATES: [&str; 4] =
    [State::Active.as_str(), State::Suspended.as_str(), State::Expired.as_str(), State::Revoked.as_str()];
const ENVIRONMENTS: [&str; 3] =
    [Environment::Development.as_str(), Environment::Staging.as_str(), Environment::Production.as_str()];

fn one_of(names: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied())).build()
}

/// The name that a request may be given; what becomes of it then.
fn named(description: &str) -> Parameter {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MOST_REQUEST))
        .pattern(Some("^[!-~]+$"));
    ParameterBuilder::new()
        .name(IDEMPOTENCY_KEY)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(format!(
            "{description} Another request with it is refused. It is known for 30 days."
        )))
        .schema(Some(name))
        .build()
}

fn create_key() -> Operation {
    let made = json_body(schema_ref("MadeKey"), vec![("made".to_owned(), made_example(SECRET.into()))]);
    let made = ResponseBuilder::new().description("It is made.").content(JSON, made).build();
    let name = "A name for this request: sent again with it, it makes no second key, and shows no secret.";
    let new = json!({"account": "acme", "create_account": true, "name": "production backend",
                     "environment": "production", "expires": "90d"});
    let most = Denial::TooManyKeys { most: 20 }.to_string();
    plain("create_key", "Make a key", ("MadeKey", made_example(Value::Null)), Takes::Body)
        .parameter(named(name))
        .request_body(Some(body("NewKey", new, Required::True)))
        .response("201", made)
        .response(
            "404",
            refused("No such account, or no token is configured.", &Denial::NoAccount.to_string()),
        )
        .response("409", refused("The account has as many keys as its plan allows.", &most))
        .build()
}

fn changed_key(id: &str, summary: &str, takes: Takes) -> OperationBuilder {
    let example = json!({"live": true, "key": key_example()});
    let operation = plain(id, summary, ("ChangedKey", example), takes);
    match takes {
        Takes::Body => {
            operation.request_body(Some(body("KeyChange", json!({"name": "backend"}), Required::True)))
        }
        _ => operation,
    }
}

fn deleted_key() -> OperationBuilder {
    let example = json!({"live": true, "key": null});
    plain("delete_key", "Revoke a key and list it no more", ("ChangedKey", example), Takes::Nothing)
}

fn rotate_key() -> OperationBuilder {
    let rotation = body("Rotation", json!({"overlap": "24h"}), Required::False);
    plain(
        "rotate_key",
        "Give a key a new secret",
        ("MadeKey", made_example(SECRET.into())),
        Takes::OptionalBody,
    )
    .parameter(named(
        "A name for this request: sent again with it, it rotates no second time, and shows no secret.",
    ))
    .request_body(Some(rotation))
    .response(
        "409",
        refused("The key is revoked or has expired, or has too many secrets.", &Denial::Revoked.to_string()),
    )
}

fn list_accounts() -> Operation {
    let page = json!({"items": [account_example()], "next": null});
    plain(
        "list_accounts",
        "Accounts of store and key list, in the order of their ids",
        ("AccountList", page),
        Takes::Query,
    )
    .parameter(after())
    .parameter(limit())
    .build()
}

fn create_account() -> Operation {
    let made = json_body(schema_ref("Account"), vec![("made".to_owned(), account_example())]);
    let made = ResponseBuilder::new().description("It is made.").content(JSON, made).build();
    let mut operation =
        plain("create_account", "Make an account", ("Account", account_example()), Takes::Body)
            .request_body(Some(body("NewAccount", json!({"id": "acme", "plan": "pro"}), Required::True)))
            .response("409", refused("There is one with this id.", &Denial::AccountExists.to_string()))
            .build();
    operation.responses.responses.remove("200");
    operation.responses.responses.insert("201".to_owned(), made.into());
    operation
}

fn change_account() -> OperationBuilder {
    let example = json!({"live": true, "account": account_example()});
    plain("change_account", "Give an account another name or plan", ("ChangedAccount", example), Takes::Body)
        .request_body(Some(body("AccountChange", json!({"plan": "pro"}), Required::True)))
}

fn changed_account(id: &str, summary: &str) -> OperationBuilder {
    let example = json!({"live": true, "account": account_example()});
    plain(id, summary, ("ChangedAccount", example), Takes::Nothing)
}

fn audit() -> Operation {
    let row = json!({"id": 7, "at": "2027-01-15T08:00:00Z", "actor": "operator", "action": "key.revoke",
                     "account": "acme", "subject": "key_0a1B2c3D4e", "detail": null});
    let page = json!({"items": [row], "next": null});
    plain("audit", "Who changed what, the newest first", ("AuditTrail", page), Takes::Query)
        .parameter(of_account())
        .parameter(query("before", "Those before this number: `next` of the page before.", whole(0, None)))
        .parameter(limit())
        .build()
}

fn plans() -> Operation {
    let plan = json!({"name": "free", "requests_per_minute": 60, "burst": 100, "per": "key", "max_keys": 20,
                      "stored_bytes": 268_435_456});
    let ok = json_body(schema_ref("PlanList"), vec![("plans".to_owned(), json!({"items": [plan]}))]);
    operators("plans", "The plans of the configuration", ok).build()
}

fn people() -> Operation {
    let person = json!({"id": "prsn_0a1B2c3D4e5F6g7H", "login": "ada", "name": "Ada", "account": "acme",
                        "role": "owner", "is_operator": false, "created_at": "2027-01-15T08:00:00Z",
                        "disabled_at": null});
    let page = json!({"items": [person], "next": null});
    plain("people", "Who may log in, in the order of their ids", ("PersonList", page), Takes::Query)
        .parameter(of_account())
        .parameter(after())
        .parameter(limit())
        .build()
}

fn reset_person() -> Operation {
    let link = json_of(&ResetLink::of("5uQ0bqkJYd8nL2c1mVt7xWz3aRfE9hGpK4sNoTiUyBA"));
    let summary = "Make a one-time link that sets somebody's password: an operator's, too";
    let call = plain("reset_person", summary, ("ResetLink", link), Takes::Nothing);
    let call = call.response(
        "409",
        refused("As many links wait to be used as may.", &PersonDenial::TooManyLinks.to_string()),
    );
    with_named("login", &PersonDenial::NoPerson.to_string(), call)
}

fn key_example() -> Value {
    json!({
        "id": "key_0a1B2c3D4e", "account": "acme", "name": "production backend", "environment": "production",
        "plan": "free", "state": "active", "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-04-15T08:00:00Z", "revoked_at": null, "last_used_at": "2027-01-15T09:30:00Z",
        "allowed_ips": ["10.0.0.0/8"], "allowed_models": ["gpt-4o*"],
        "secrets": [{"public_id": "0a1B2c3D4e", "created_at": "2027-01-15T08:00:00Z", "ends_at": null}],
    })
}

const SECRET: &str = "sk-sc-0a1B2c3D4e_0123456789abcdefghijABCDEFGHIJ0144yCrV";

fn made_example(secret: Value) -> Value {
    json!({"secret": secret, "live": true, "key": key_example()})
}

fn account_example() -> Value {
    json!({"id": "acme", "origin": "both", "name": "Acme Inc", "plan": "free",
           "created_at": "2027-01-15T08:00:00Z", "suspended_at": null, "keys": 1, "listed_keys": 3})
}
