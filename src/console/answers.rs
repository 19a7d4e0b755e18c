//! What requests are answered with: pages, and where to go next.

use askama::Template;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::accounts::people::SESSION_LIFE;
use crate::accounts::people::refusal::Refusal;
use crate::console::Transport;
use crate::console::asked::{Member, cookie_name};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::store::people::edit::Denial;

/// What is around every page.
pub(super) struct Shell {
    /// What the page is.
    pub(super) title: &'static str,
    /// Whose it is; `None`: nobody's.
    pub(super) who: Option<Who>,
}

/// Whose page it is.
pub(super) struct Who {
    /// What others see of them.
    pub(super) name: String,
    /// Where they belong, and as what.
    pub(super) place: String,
    /// The account that is theirs.
    pub(super) account: Option<AccountId>,
    /// What is in every form of their session.
    pub(super) form_token: String,
    /// The pages that they have, in their order.
    pub(super) tabs: Vec<Tab>,
}

/// A page that is a click away.
#[derive(Clone, Copy)]
pub(super) struct Tab {
    /// What it is.
    pub(super) title: &'static str,
    /// Where it is.
    pub(super) path: &'static str,
}

/// The pages that everybody has.
const TABS: [Tab; 6] = [
    Tab { title: "Overview", path: "/" },
    Tab { title: "API Keys", path: "/keys" },
    Tab { title: "Cache", path: "/cache" },
    Tab { title: "Usage", path: "/usage" },
    Tab { title: "Playground", path: "/playground" },
    Tab { title: "Settings", path: "/settings" },
];

/// Those that operators have besides.
const OPERATORS_TABS: [Tab; 0] = [];

impl Shell {
    /// Around a page of nobody's.
    pub(super) fn outside(title: &'static str) -> Self {
        Self { title, who: None }
    }

    /// Around a page of somebody's.
    pub(super) fn of(title: &'static str, member: &Member) -> Self {
        let person = &member.visitor.person;
        let role = person.membership.as_ref().map(|place| format!("{} of {}", place.role, place.account));
        let place = match (role, person.is_operator) {
            (Some(role), true) => format!("operator, {role}"),
            (Some(role), false) => role,
            (None, _) => "operator".to_owned(),
        };
        let operators = OPERATORS_TABS.iter().filter(|_| person.is_operator);
        let who = Who {
            name: person.name.to_string(),
            place,
            account: person.membership.as_ref().map(|place| place.account.clone()),
            form_token: member.form_token.clone(),
            tabs: TABS.iter().chain(operators).copied().collect(),
        };
        Self { title, who: Some(who) }
    }

    /// True if that account is the reader's own.
    pub(super) fn is_own(&self, account: &str) -> bool {
        let own = self.who.as_ref().and_then(|who| who.account.as_ref());
        own.is_some_and(|own| own.as_str() == account)
    }
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "told.html")]
struct Told<'a> {
    shell: Shell,
    text: &'a str,
}

/// `page`, as it is.
pub(super) fn page(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page of the console could not be made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page that says why something is not done.
pub(super) fn told(status: StatusCode, text: &str) -> Response {
    page(status, &Told { shell: Shell::outside("That did not work"), text })
}

/// The same, for who is refused something that no form can mend.
pub(super) fn failed(refusal: &Refusal) -> Response {
    hinted(refusal, told(status_of(refusal), &sentence(refusal)))
}

/// On to another page of the console.
pub(super) fn see_other(path: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()
}

/// What a refusal is answered with. Who is limited is told so by 429 and by nothing else.
pub(super) fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::Limited => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::WrongLogin | Refusal::WrongPassword | Refusal::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Forbidden | Refusal::OperatorsOnly | Refusal::OwnReset => StatusCode::FORBIDDEN,
        Refusal::Denied(Denial::NoPerson | Denial::NoSession | Denial::NoLink) => StatusCode::NOT_FOUND,
        Refusal::Denied(_) => StatusCode::CONFLICT,
        Refusal::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a refusal says, as a sentence. What is broken is told to the log as well, in its own words.
pub(super) fn sentence(refusal: &Refusal) -> String {
    if let Refusal::Broken(broken) = refusal {
        tracing::error!(?broken, "the console could not do what it was asked for");
    }
    let text = refusal.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

/// `response`, and when to try again.
pub(super) fn hinted(refusal: &Refusal, mut response: Response) -> Response {
    let seconds = match refusal {
        Refusal::Limited => "60",
        Refusal::Busy => "5",
        _ => return response,
    };
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(seconds));
    response
}

/// `response`, with which a session begins.
pub(super) fn with_session(mut response: Response, token: &Secret, transport: Transport) -> Response {
    let cookie = format!(
        "{}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{}",
        cookie_name(transport),
        token.expose(),
        SESSION_LIFE.as_secs(),
        secure(transport)
    );
    match HeaderValue::try_from(cookie) {
        Ok(mut value) => {
            value.set_sensitive(true);
            response.headers_mut().insert(SET_COOKIE, value);
        }
        Err(_) => tracing::error!("a session could not be told to its browser"),
    }
    response
}

/// `response`, with which the browser forgets its session.
pub(super) fn without_session(mut response: Response, transport: Transport) -> Response {
    let name = cookie_name(transport);
    let cookie = format!("{name}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0{}", secure(transport));
    if let Ok(value) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, value);
    }
    response
}

fn secure(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "",
        Transport::Tls => "; Secure",
    }
}
