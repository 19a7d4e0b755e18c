//! The page where people look after themselves and, as owners and operators, after others.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::people::refusal::Refusal;
use crate::accounts::people::rights::{Right, may, require_over};
use crate::console::Console;
use crate::console::address::address;
use crate::console::answers::{Shell, failed, hinted, page, see_other, sentence, status_of};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::ids::AccountId;
use crate::store::people::MOST_PEOPLE;
use crate::store::people::link::{Link, Purpose};
use crate::store::people::person::{Person, Role};
use crate::store::people::session::Session;

/// Where on the page something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Password,
    Sessions,
    People,
    /// On the page of keys.
    Keys,
    /// On the page of the cache.
    Cache,
}

/// What is said there.
pub(super) struct Notice {
    pub(super) section: Section,
    pub(super) is_problem: bool,
    pub(super) text: String,
}

/// A link, at its one showing.
pub(super) struct Shown {
    pub(super) purpose: &'static str,
    /// Behind the console's own address.
    pub(super) path: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    shell: Shell,
    form_token: String,
    login: String,
    password_changed_at: String,
    notice: Option<Notice>,
    shown: Option<Shown>,
    sessions: Vec<SessionRow>,
    people: Vec<PersonRow>,
    links: Vec<LinkRow>,
    account: String,
    /// Whose people are shown, if it is an account that an operator has chosen.
    of_another: Option<String>,
    /// Where there are more people; `None`: these are the last.
    behind: Option<String>,
    can_deal: bool,
    is_operator: bool,
}

struct SessionRow {
    id: String,
    is_this: bool,
    address: String,
    agent: String,
    created_at: String,
    seen_at: String,
}

struct PersonRow {
    id: String,
    name: String,
    login: String,
    account: String,
    role: Option<Role>,
    is_operator: bool,
    is_disabled: bool,
    is_self: bool,
    can_change: bool,
}

struct LinkRow {
    id: String,
    purpose: String,
    made_by: String,
    ends_at: String,
}

impl Settings {
    /// What is to be said in a section, if anything.
    fn notice_in(&self, section: &str) -> Option<&Notice> {
        let name = |section: Section| match section {
            Section::Password => "password",
            Section::Sessions => "sessions",
            Section::People => "people",
            Section::Keys => "keys",
            Section::Cache => "cache",
        };
        self.notice.as_ref().filter(|notice| name(notice.section) == section)
    }
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let chosen = asked.account(&member)?.filter(|_| !asked.in_query("account").is_empty());
    let view = View { account: chosen, after: asked.in_query("after").into() };
    match gather(&console, &member, view, (None, None)).await {
        Ok(settings) => Ok(page(StatusCode::OK, &settings)),
        Err(refusal) => Err(failed(&refusal)),
    }
}

/// The page, with what became of a form.
pub(super) async fn render(
    console: &Console,
    member: &Member,
    (status, notice, shown): (StatusCode, Option<Notice>, Option<Shown>),
) -> Response {
    match gather(console, member, View::default(), (notice, shown)).await {
        Ok(settings) => page(status, &settings),
        Err(refusal) => failed(&refusal),
    }
}

/// The page, with why a form was refused beside it.
pub(super) async fn refused(
    console: &Console,
    member: &Member,
    section: Section,
    refusal: &Refusal,
) -> Response {
    let notice = Notice { section, is_problem: true, text: sentence(refusal) };
    hinted(refusal, render(console, member, (status_of(refusal), Some(notice), None)).await)
}

/// The page, with what was done.
pub(super) async fn done(console: &Console, member: &Member, section: Section, text: &str) -> Response {
    let notice = Notice { section, is_problem: false, text: text.to_owned() };
    render(console, member, (StatusCode::OK, Some(notice), None)).await
}

/// Whom somebody looks at.
#[derive(Default)]
struct View {
    /// The people of this account, which is another's; `None`: of one's own, or, for operators, everybody.
    account: Option<AccountId>,
    /// Of everybody, those behind this person.
    after: Box<str>,
}

async fn gather(
    console: &Console,
    member: &Member,
    view: View,
    (notice, shown): (Option<Notice>, Option<Shown>),
) -> Result<Settings, Refusal> {
    let (people, visitor) = (&console.people, &member.visitor);
    let person = &visitor.person;
    let account = person.membership.as_ref().map(|place| &place.account);
    let can_deal = person.is_operator || account.is_some_and(|account| may(person, Right::People, account));
    let of = view.account.as_ref().or(account.filter(|_| !person.is_operator));
    let listed = match of {
        Some(account) => people.people(visitor, account).await?,
        None if person.is_operator => people.everybody(visitor, &view.after, MOST_PEOPLE).await?,
        None => Vec::new(),
    };
    let links = if can_deal { people.links(visitor, of).await? } else { Vec::new() };
    let is_cut = of.is_none() && listed.len() >= MOST_PEOPLE as usize;
    let behind =
        listed.last().filter(|_| is_cut).map(|last| address("/settings", &[("after", last.id.as_str())]));
    let name_of = |id: &str| listed.iter().find(|person| person.id.as_str() == id);
    let link_row = |link: &Link| LinkRow {
        id: link.id.to_string(),
        purpose: purpose(&link.purpose, &name_of),
        made_by: name_of(&link.made_by)
            .map_or_else(|| link.made_by.to_string(), |person| person.name.to_string()),
        ends_at: link.ends_at.rfc3339(),
    };
    Ok(Settings {
        shell: Shell::of("Settings", member),
        form_token: member.form_token.clone(),
        login: person.login.to_string(),
        password_changed_at: person.password_changed_at.rfc3339(),
        notice,
        shown,
        sessions: people.sessions(visitor).await?.iter().map(|one| session_row(one, member)).collect(),
        people: listed.iter().map(|one| person_row(one, member)).collect(),
        links: links.iter().map(link_row).collect(),
        account: view.account.as_ref().or(account).map(ToString::to_string).unwrap_or_default(),
        of_another: view.account.as_ref().map(ToString::to_string),
        behind,
        can_deal,
        is_operator: person.is_operator,
    })
}

fn session_row(session: &Session, member: &Member) -> SessionRow {
    SessionRow {
        id: session.id.to_string(),
        is_this: session.id == member.visitor.session.id,
        address: session.address.to_string(),
        agent: session.agent.as_deref().map_or_else(|| "a browser that did not say".to_owned(), browser),
        created_at: session.created_at.rfc3339(),
        seen_at: session.seen_at.rfc3339(),
    }
}

/// A browser and its system by their names, as far as what it says of itself is understood; else that.
fn browser(agent: &str) -> String {
    // Those that say more than one name come before those whose name they say as well.
    let browsers = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let systems = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let named = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (named(&browsers), named(&systems)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        _ => agent.to_owned(),
    }
}

fn person_row(person: &Person, member: &Member) -> PersonRow {
    let membership = person.membership.as_ref();
    PersonRow {
        id: person.id.to_string(),
        name: person.name.to_string(),
        login: person.login.to_string(),
        account: membership.map(|place| place.account.to_string()).unwrap_or_default(),
        role: membership.map(|place| place.role),
        is_operator: person.is_operator,
        is_disabled: person.disabled_at.is_some(),
        is_self: person.id == member.visitor.person.id,
        can_change: require_over(&member.visitor.person, person).is_ok(),
    }
}

/// What a link is for, as its row says it.
fn purpose<'a>(purpose: &Purpose, name_of: &impl Fn(&str) -> Option<&'a Person>) -> String {
    match purpose {
        Purpose::Invite(place) => format!("joins {} as {}", place.account, place.role),
        Purpose::Operator | Purpose::FirstOperator(_) => "becomes an operator".to_owned(),
        Purpose::Reset(id) => match name_of(id.as_str()) {
            Some(person) => format!("sets the password of {}", person.login),
            None => "sets a password".to_owned(),
        },
    }
}

/// Sets one's own password.
pub(super) async fn change_password(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let (old, new) = (asked.secret("old_password"), asked.secret("password"));
    let changed = console.people.change_password(&member.visitor, (&old, &new), asked.caller()).await;
    Ok(match changed {
        Ok(()) => {
            let text = "Your password is changed, and your other sessions are ended.";
            done(&console, &member, Section::Password, text).await
        }
        Err(refusal) => refused(&console, &member, Section::Password, &refusal).await,
    })
}

/// Ends one of one's sessions, or all others. Who ends the session that they are here by is logged out.
pub(super) async fn end_sessions(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let session = asked.text("session");
    let ended = if session == "others" {
        console.people.end_other_sessions(&member.visitor).await
    } else {
        console.people.end_session(&member.visitor, session).await
    };
    Ok(match ended {
        Ok(()) if session == member.visitor.session.id.as_ref() => see_other("/log-in"),
        Ok(()) => done(&console, &member, Section::Sessions, "Ended.").await,
        Err(refusal) => refused(&console, &member, Section::Sessions, &refusal).await,
    })
}
