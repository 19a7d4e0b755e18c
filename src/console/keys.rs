//! The page where people make an account's keys, and end them: of their own account, or, as operators, of any.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::Standing;
use crate::accounts::keys::{Absent, Changed, Listed, Made, Rotation, Wanted};
use crate::accounts::people::rights::{Right, may};
use crate::accounts::refused::{Kind, Refused};
use crate::auth::key::Environment;
use crate::clock::UnixTime;
use crate::console::Console;
use crate::console::address::address;
use crate::console::answers::{Shell, page, told};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::measures::counted;
use crate::console::new_key::NewKey;
use crate::console::refusals::{Problem, failed};
use crate::console::settings::{Notice, Section};
use crate::dice::uuid_v7;
use crate::ids::{AccountId, KeyId};
use crate::store::directory::edit::{Author, Which};
use crate::store::directory::key::{KeysOf, State as KeyState};
use crate::units::parse_duration;

/// Keys that a page shows.
const A_PAGE: usize = 50;

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    shell: Shell,
    form_token: String,
    account: String,
    /// Whether the account is another than the visitor's.
    is_anothers: bool,
    /// Whether nobody has made the account yet.
    is_unmade: bool,
    is_suspended: bool,
    /// Keys of the list, if the account has any.
    listed_keys: Option<String>,
    /// Tells the forms of this page from those of others, so that none is done twice.
    request: String,
    can_change: bool,
    notice: Option<Notice>,
    shown: Option<Shown>,
    form: NewKey,
    keys: Vec<KeyRow>,
    /// Behind which key the page begins; empty: with the first.
    after: String,
    first: Option<String>,
    next: Option<String>,
}

/// What an operator sees who belongs to no account and has named none.
#[derive(Template)]
#[template(path = "keys_of_whom.html")]
struct KeysOfWhom {
    shell: Shell,
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
    /// The same, as it is to be changed.
    own_name: String,
    environment: Option<&'static str>,
    plan: String,
    state: &'static str,
    is_active: bool,
    is_revoked: bool,
    created_at: String,
    last_used_at: Option<String>,
    expires_at: Option<String>,
    /// Until when an older secret is valid as well.
    overlap: Option<String>,
    bound_to: String,
    problem: Option<Problem>,
}

impl KeyRow {
    fn problem_at(&self, field: &str) -> Option<&str> {
        self.problem.as_ref().and_then(|problem| problem.at(field))
    }
}

/// What became of a form.
#[derive(Default)]
struct Became {
    status: StatusCode,
    notice: Option<Notice>,
    shown: Option<Shown>,
    form: NewKey,
    /// A key that was not changed, and why; and what it was to be called.
    unchanged: Option<(KeyId, Problem, String)>,
}

/// Whose keys somebody looks at, and from where on.
struct View<'a> {
    member: &'a Member,
    account: AccountId,
    after: &'a str,
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let Some(account) = asked.account(&member)? else { return Ok(of_whom(&member, StatusCode::OK)) };
    let view = View { member: &member, account, after: asked.in_query("after") };
    Ok(render(&console, view, Became::default()).await)
}

/// Makes a key, and shows it this once.
pub(super) async fn create(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let view = keeping(&member, &asked)?;
    let form = NewKey::of(&asked);
    let (account, draft) = (view.account.to_string(), form.draft());
    let wanted = Wanted { account, draft, request: asked.request(), absent: Absent::Made };
    let became = match console.accounts.create_key(author(&member), wanted).await {
        Ok(made) => became_made(made),
        Err(refused) => {
            Became { status: refused.status(), form: form.refused(&refused), ..Became::default() }
        }
    };
    Ok(render(&console, view, became).await)
}

/// Renames, rotates, revokes or deletes a key.
pub(super) async fn change(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let view = keeping(&member, &asked)?;
    let key = KeyId::new(asked.text("key"));
    let which = Which { id: key.clone(), within: Some(view.account.clone()) };
    let (accounts, author) = (&console.accounts, author(&member));
    let named = asked.text("name").trim();
    let became = match asked.text("deed") {
        "rotate" => match parse_duration(asked.text("overlap")) {
            Some(overlap) => {
                match accounts.rotate_key(author, which, Rotation { overlap, request: asked.request() }).await
                {
                    Ok(made) => became_made(made),
                    Err(refused) => became_refused(key, &refused, named),
                }
            }
            None => became_unchanged(key, Problem::of_field("overlap", "A span such as 24h or 0s.")),
        },
        "rename" => {
            let name = Some(named.to_owned()).filter(|name| !name.is_empty());
            let renamed = accounts.rename_key(author, which, name).await;
            became_changed("The key is renamed.", key, renamed, named)
        }
        "end_overlap" => {
            let ended = accounts.end_overlap(author, which).await;
            became_changed("Its newest secret alone is valid now.", key, ended, named)
        }
        "revoke" => {
            let revoked = accounts.revoke_key(author, which).await;
            became_changed("The key is refused from now on, for good.", key, revoked, named)
        }
        "delete" => {
            let deleted = accounts.delete_key(author, which).await;
            became_changed("The key is deleted.", key, deleted, named)
        }
        _ => {
            let text = "This form is not understood. Open the page anew, and try again.";
            return Err(told(StatusCode::BAD_REQUEST, text));
        }
    };
    Ok(render(&console, view, became).await)
}

/// The view of somebody who may change the keys that they see.
#[expect(clippy::result_large_err, reason = "what is refused is answered as it is, once a request")]
fn keeping<'a>(member: &'a Member, asked: &'a Asked) -> Result<View<'a>, Response> {
    let Some(account) = asked.account(member)? else {
        return Err(of_whom(member, StatusCode::UNPROCESSABLE_ENTITY));
    };
    if !may(&member.visitor.person, Right::Keys, &account) {
        let text = "Owners and admins of an account alone change its keys.";
        return Err(told(StatusCode::FORBIDDEN, text));
    }
    Ok(View { member, account, after: asked.text("after") })
}

fn of_whom(member: &Member, status: StatusCode) -> Response {
    page(status, &KeysOfWhom { shell: Shell::of("API Keys", member) })
}

fn author(member: &Member) -> Author {
    Author::Person(member.visitor.person.id.clone())
}

fn became_made(Made { key, secret, standing }: Made) -> Became {
    let Some(secret) = secret else {
        let text =
            "This form has done that already; the key was shown then, and is not shown again.".to_owned();
        return Became {
            notice: Some(Notice { section: Section::Keys, is_problem: true, text }),
            ..Became::default()
        };
    };
    let is_live = standing == Standing::Live;
    let shown = Shown { name: name_of(&key), key: secret.expose().to_owned(), is_live };
    Became { shown: Some(shown), ..Became::default() }
}

fn became_changed(done: &str, key: KeyId, changed: Result<Changed, Refused>, named: &str) -> Became {
    let text = match changed {
        Ok(changed) if changed.standing == Standing::Live => done.to_owned(),
        Ok(_) => format!("{done} It is in force in a moment."),
        Err(refused) => return became_refused(key, &refused, named),
    };
    Became { notice: Some(Notice { section: Section::Keys, is_problem: false, text }), ..Became::default() }
}

fn became_refused(key: KeyId, refused: &Refused, named: &str) -> Became {
    let problem = Problem::of(refused, &["name", "overlap"]);
    let unchanged = Some((key, problem, named.to_owned()));
    Became { status: refused.status(), unchanged, ..Became::default() }
}

fn became_unchanged(key: KeyId, problem: Problem) -> Became {
    let unchanged = Some((key, problem, String::new()));
    Became { status: StatusCode::UNPROCESSABLE_ENTITY, unchanged, ..Became::default() }
}

async fn render(console: &Console, view: View<'_>, became: Became) -> Response {
    match gather(console, view, became).await {
        Ok((status, keys)) => page(status, &keys),
        Err(refused) => failed(&refused),
    }
}

async fn gather(
    console: &Console,
    View { member, account, after }: View<'_>,
    became: Became,
) -> Result<(StatusCode, Keys), Refused> {
    let Became { status, mut notice, shown, form, unchanged } = became;
    let person = &member.visitor.person;
    let is_anothers = person.membership.as_ref().is_none_or(|place| place.account != account);
    let holder = match console.accounts.account(&account).await {
        Ok(holder) => Some(holder),
        Err(refused) if refused.kind() == Kind::Absent => None,
        Err(refused) => return Err(refused),
    };
    let listed_keys = holder.as_ref().map_or(0, |holder| holder.listed_keys);
    let limit = u32::try_from(A_PAGE + 1).unwrap_or(u32::MAX);
    let of = KeysOf { account: Some(account.clone()), after: after.into(), limit, ..KeysOf::default() };
    let listed = console.accounts.keys(of).await?;
    let now = console.accounts.now();
    let mut keys: Vec<KeyRow> = listed.iter().take(A_PAGE).map(|key| row(key, now)).collect();
    if let Some((id, problem, named)) = unchanged {
        match keys.iter_mut().find(|key| key.id == id.as_str()) {
            Some(key) => {
                if problem.at("name").is_some() {
                    key.own_name = named;
                }
                key.problem = Some(problem);
            }
            None => {
                let text = problem.text;
                notice = Some(Notice { section: Section::Keys, is_problem: true, text });
            }
        }
    }
    let chosen = if is_anothers { account.as_str() } else { "" };
    let last = keys.last().filter(|_| listed.len() > A_PAGE);
    let next = last.map(|key| address("/keys", &[("account", chosen), ("after", &key.id)]));
    let keys = Keys {
        shell: Shell::of("API Keys", member),
        form_token: member.form_token.clone(),
        is_anothers,
        is_unmade: holder.is_none(),
        is_suspended: holder.is_some_and(|holder| holder.suspended_at.is_some()),
        listed_keys: (listed_keys > 0).then(|| counted(listed_keys, "key")),
        request: uuid_v7(now).to_string(),
        can_change: may(person, Right::Keys, &account),
        notice,
        shown,
        form,
        keys,
        after: after.to_owned(),
        first: (!after.is_empty()).then(|| address("/keys", &[("account", chosen)])),
        next,
        account: account.to_string(),
    };
    Ok((status, keys))
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
        own_name: key.terms.name.as_deref().unwrap_or_default().to_owned(),
        environment: key.terms.environment.map(Environment::as_str),
        plan: key.plan.to_string(),
        state: state.as_str(),
        is_active: state == KeyState::Active,
        is_revoked: key.revoked_at.is_some(),
        created_at: key.created_at.rfc3339(),
        last_used_at: listed.last_used_at.map(|at| at.rfc3339()),
        expires_at: key.terms.expires_at.map(|at| at.rfc3339()),
        overlap: older.max().map(|at| at.rfc3339()),
        bound_to: texts.collect::<Vec<_>>().join(", "),
        problem: None,
    }
}
