//! The page where people make their account's keys, and end them.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::Standing;
use crate::accounts::draft::KeyDraft;
use crate::accounts::keys::{Absent, Listed, MOST_A_PAGE, Made, Rotation, Wanted};
use crate::accounts::people::rights::{Right, may};
use crate::accounts::refused::{Kind, Refused};
use crate::auth::key::Environment;
use crate::clock::UnixTime;
use crate::console::Console;
use crate::console::answers::{Shell, page, told};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::settings::{Notice, Section};
use crate::ids::{AccountId, KeyId};
use crate::store::directory::edit::{Author, Which};
use crate::store::directory::key::{KeysOf, State as KeyState};
use crate::units::parse_duration;

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    shell: Shell,
    form_token: String,
    notice: Option<Notice>,
    shown: Option<Shown>,
    account: Option<String>,
    keys: Vec<KeyRow>,
    is_cut_off: bool,
    can_change: bool,
}

/// A whole key, at its one showing.
struct Shown {
    name: String,
    key: String,
    is_live: bool,
}

struct KeyRow {
    id: String,
    name: String,
    environment: Option<&'static str>,
    plan: String,
    state: &'static str,
    is_active: bool,
    created_at: String,
    last_used_at: Option<String>,
    expires_at: Option<String>,
    /// Until when an older secret is valid as well.
    overlap: Option<String>,
    bound_to: String,
}

/// What became of a form.
#[derive(Default)]
struct Became {
    status: StatusCode,
    notice: Option<Notice>,
    shown: Option<Shown>,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    Ok(render(&console, &member, Became::default()).await)
}

/// Makes a key, and shows it this once.
pub(super) async fn create(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let (member, account) = keeper(&console, &asked).await?;
    let some = |field: &str| Some(asked.text(field).trim().to_owned()).filter(|text| !text.is_empty());
    let listed = |field: &str| {
        let words = asked.text(field).split(|c: char| c.is_whitespace() || c == ',');
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let draft = KeyDraft {
        name: some("name"),
        environment: some("environment"),
        plan: None,
        expires: some("expires"),
        allowed_ips: listed("allowed_ips"),
        allowed_models: listed("allowed_models"),
    };
    let account = account.to_string();
    let wanted = Wanted { account, draft, request: None, absent: Absent::Made };
    let made = console.accounts.create_key(author(&member), wanted).await;
    Ok(render(&console, &member, became_made(made)).await)
}

/// Renames, rotates, revokes or deletes a key.
pub(super) async fn change(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let (member, account) = keeper(&console, &asked).await?;
    let which = Which { id: KeyId::new(asked.text("key")), within: Some(account) };
    let (accounts, author) = (&console.accounts, author(&member));
    let changed = match asked.text("deed") {
        "rotate" => {
            let overlap = parse_duration(asked.text("overlap")).unwrap_or_default();
            let rotation = Rotation { overlap, request: None };
            let made = accounts.rotate_key(author, which, rotation).await;
            return Ok(render(&console, &member, became_made(made)).await);
        }
        "rename" => {
            let name = Some(asked.text("name").trim().to_owned()).filter(|name| !name.is_empty());
            ("The key is renamed.", accounts.rename_key(author, which, name).await)
        }
        "end_overlap" => ("Its newest secret alone is valid now.", accounts.end_overlap(author, which).await),
        "revoke" => ("The key is refused from now on, for good.", accounts.revoke_key(author, which).await),
        "delete" => ("The key is deleted.", accounts.delete_key(author, which).await),
        _ => {
            let text = "This form is not understood. Open the page anew, and try again.";
            return Err(told(StatusCode::BAD_REQUEST, text));
        }
    };
    let became = match changed {
        (text, Ok(changed)) if changed.standing == Standing::Live => done(text.to_owned()),
        (text, Ok(_)) => done(format!("{text} It is in force in a moment.")),
        (_, Err(refused)) => became_refused(&refused),
    };
    Ok(render(&console, &member, became).await)
}

/// Somebody who may change the keys of their account, and that account.
async fn keeper(console: &Console, asked: &Asked) -> Result<(Member, AccountId), Response> {
    let member = asked.member(console).await?;
    let person = &member.visitor.person;
    let account = person.membership.as_ref().map(|place| place.account.clone());
    match account.filter(|account| may(person, Right::Keys, account)) {
        Some(account) => Ok((member, account)),
        None => Err(told(StatusCode::FORBIDDEN, "Owners and admins of an account alone change its keys.")),
    }
}

fn author(member: &Member) -> Author {
    Author::Person(member.visitor.person.id.clone())
}

fn done(text: String) -> Became {
    Became { notice: Some(Notice { section: Section::Keys, is_problem: false, text }), ..Became::default() }
}

fn became_made(made: Result<Made, Refused>) -> Became {
    match made {
        Ok(Made { key, secret, standing }) => Became {
            shown: secret.map(|secret| Shown {
                name: name_of(&key),
                key: secret.expose().to_owned(),
                is_live: standing == Standing::Live,
            }),
            ..Became::default()
        },
        Err(refused) => became_refused(&refused),
    }
}

fn became_refused(refused: &Refused) -> Became {
    let status = match refused.kind() {
        Kind::Wrong => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Absent => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Broken => {
            tracing::error!(?refused, "the console could not use accounts and keys");
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let text = format!("That was not done: {refused}.");
    Became { status, notice: Some(Notice { section: Section::Keys, is_problem: true, text }), shown: None }
}

async fn render(console: &Console, member: &Member, became: Became) -> Response {
    let Became { status, notice, shown } = became;
    let person = &member.visitor.person;
    let account = person.membership.as_ref().map(|place| &place.account);
    let keys = match account {
        Some(account) => {
            let of = KeysOf { account: Some(account.clone()), limit: MOST_A_PAGE, ..KeysOf::default() };
            match console.accounts.keys(of).await {
                Ok(keys) => keys,
                Err(refused) => return told(became_refused(&refused).status, &format!("{refused}.")),
            }
        }
        None => Vec::new(),
    };
    let now = console.accounts.now();
    let keys = Keys {
        shell: Shell::of("API Keys", member),
        form_token: member.form_token.clone(),
        notice,
        shown,
        account: account.map(ToString::to_string),
        is_cut_off: keys.len() >= MOST_A_PAGE as usize,
        keys: keys.iter().map(|key| row(key, now)).collect(),
        can_change: account.is_some_and(|account| may(person, Right::Keys, account)),
    };
    page(status, &keys)
}

fn name_of(listed: &Listed) -> String {
    listed.key.terms.name.as_deref().unwrap_or("Key without a name").to_owned()
}

fn row(listed: &Listed, now: UnixTime) -> KeyRow {
    let (key, state) = (&listed.key, listed.state(now));
    let older = key.secrets.iter().filter_map(|secret| secret.ends_at).filter(|ends_at| now < *ends_at);
    let texts = key.terms.allowed_ips.iter().map(ToString::to_string);
    let texts = texts.chain(key.terms.allowed_models.iter().map(ToString::to_string));
    KeyRow {
        id: key.id.to_string(),
        name: name_of(listed),
        environment: key.terms.environment.map(Environment::as_str),
        plan: key.plan.to_string(),
        state: state.as_str(),
        is_active: state == KeyState::Active,
        created_at: key.created_at.rfc3339(),
        last_used_at: listed.last_used_at.map(|at| at.rfc3339()),
        expires_at: key.terms.expires_at.map(|at| at.rfc3339()),
        overlap: older.max().map(|at| at.rfc3339()),
        bound_to: texts.collect::<Vec<_>>().join(", "),
    }
}
