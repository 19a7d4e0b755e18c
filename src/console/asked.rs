//! What is read of a request: who asks, from where, and what the form says.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::accounts::people::entering::{Caller, Visitor};
use crate::accounts::people::rights::require_operator;
use crate::auth::client_address::{BadForwardedFor, Trust, resolve};
use crate::config::key_rules::is_visible;
use crate::console::answers::{failed, see_other, told};
use crate::console::{Console, Peer, Transport};
use crate::form;
use crate::ids::AccountId;
use crate::secret::Secret;

/// The largest form: of the longest question of the playground, in which each character may take nine bytes.
const MOST_BYTES: usize = 80 * 1024;

/// How long a form may take to come.
const LONGEST: Duration = Duration::from_secs(10);

/// The name of the field by which a form says that it was made for this session.
const FORM_TOKEN: &str = "form_token";

/// The name of the field by which operators say whose page they want.
const ACCOUNT: &str = "account";

/// A request, as far as a page wants to know.
pub(super) struct Asked {
    /// Where it comes from.
    pub(super) address: IpAddr,
    /// How its browser reaches the console.
    pub(super) transport: Transport,
    agent: Option<String>,
    /// What the session is recognised by.
    pub(super) session: Option<Secret>,
    query: Vec<(String, Zeroizing<String>)>,
    form: Vec<(String, Zeroizing<String>)>,
    is_change: bool,
}

/// Somebody who is logged in, and what their forms have to say.
pub(super) struct Member {
    /// Who.
    pub(super) visitor: Visitor,
    /// What is in every form of their session.
    pub(super) form_token: String,
}

impl FromRequest<Arc<Console>> for Asked {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Arc<Console>) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let Some(ConnectInfo(Peer(peer))) = parts.extensions.get::<ConnectInfo<Peer>>() else {
            return Err(told(StatusCode::INTERNAL_SERVER_ERROR, "Nobody knows where this comes from."));
        };
        let is_change = !parts.method.is_safe();
        let trusted = &console.accounts.config().trusted_proxies;
        let seen = resolve(peer.ip().to_canonical(), &parts.headers, trusted).map_err(|BadForwardedFor| {
            told(StatusCode::BAD_REQUEST, "The X-Forwarded-For header holds something that is no address.")
        })?;
        let transport = match (console.transport, seen.trust) {
            (Transport::Plain, Trust::Trusted) => forwarded_transport(&parts.headers),
            (transport, _) => transport,
        };
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: seen.client,
            transport,
            agent: agent.map(str::to_owned),
            session: cookie(&parts.headers, cookie_name(transport)),
            query: fields(parts.uri.query().unwrap_or_default())
                .ok_or_else(|| told(StatusCode::BAD_REQUEST, "This address is not text."))?,
            form: if is_change { read(&parts.headers, body).await? } else { Vec::new() },
            is_change,
        })
    }
}

impl Asked {
    /// Where it comes from.
    pub(super) fn caller(&self) -> Caller<'_> {
        Caller { address: self.address, agent: self.agent.as_deref() }
    }

    /// What the form's field `name` says; empty: nothing, or it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        value(&self.form, name)
    }

    /// The same of the address's query.
    pub(super) fn in_query(&self, name: &str) -> &str {
        value(&self.query, name)
    }

    /// The account that a page is about: `account` of the form or the query, which operators alone may choose; else
    /// one's own; `None`: an operator who has none and has chosen none.
    #[expect(clippy::result_large_err, reason = "what is refused is answered as it is, once a request")]
    pub(super) fn account(&self, member: &Member) -> Result<Option<AccountId>, Response> {
        let own = member.visitor.person.membership.as_ref().map(|place| &place.account);
        let chosen = [self.text(ACCOUNT), self.in_query(ACCOUNT)].into_iter().find(|text| !text.is_empty());
        let Some(chosen) = chosen else { return Ok(own.cloned()) };
        let of_theirs = own.is_some_and(|own| own.as_str() == chosen);
        if !of_theirs && !member.visitor.person.is_operator {
            return Err(told(StatusCode::FORBIDDEN, "Operators alone look after the accounts of others."));
        }
        if !is_visible(chosen) {
            return Err(told(StatusCode::BAD_REQUEST, "No account has such an id."));
        }
        Ok(Some(AccountId::new(chosen)))
    }

    /// What tells the form from others, so that it is not done twice.
    pub(super) fn request(&self) -> Option<String> {
        Some(self.text("request").to_owned()).filter(|request| !request.is_empty())
    }

    /// What a field says that must not be seen.
    pub(super) fn secret(&self, name: &str) -> Secret {
        Secret::new(self.text(name).to_owned())
    }

    /// Who is logged in; `None`: nobody.
    pub(super) async fn visitor(&self, console: &Console) -> Result<Option<Member>, Response> {
        let Some(session) = &self.session else { return Ok(None) };
        let visitor = console.people.visitor(session.expose()).await.map_err(|refusal| failed(&refusal))?;
        Ok(visitor.map(|visitor| Member { visitor, form_token: form_token(session) }))
    }

    /// Who is logged in; who is not is sent to the log-in. A change wants the session's form token as well.
    pub(super) async fn member(&self, console: &Console) -> Result<Member, Response> {
        let Some(member) = self.visitor(console).await? else { return Err(see_other("/log-in")) };
        let sent = self.text(FORM_TOKEN).as_bytes();
        let is_theirs: bool = member.form_token.as_bytes().ct_eq(sent).into();
        if self.is_change && !is_theirs {
            return Err(told(
                StatusCode::FORBIDDEN,
                "This form is of another session. Open the page anew, and try again.",
            ));
        }
        Ok(member)
    }

    /// The same of an operator; everybody else is told that the page is for them alone.
    pub(super) async fn operator(&self, console: &Console) -> Result<Member, Response> {
        let member = self.member(console).await?;
        require_operator(&member.visitor.person).map_err(|refusal| failed(&refusal))?;
        Ok(member)
    }
}

/// How a trusted proxy says that it was reached itself.
fn forwarded_transport(headers: &HeaderMap) -> Transport {
    match headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => Transport::Tls,
        _ => Transport::Plain,
    }
}

fn value<'a>(fields: &'a [(String, Zeroizing<String>)], name: &str) -> &'a str {
    let field = fields.iter().find(|(field, _)| field == name);
    field.map_or("", |(_, value)| value.as_str())
}

/// What the cookie of a session is called. Over TLS the name itself has browsers refuse it from anywhere else.
pub(super) fn cookie_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Plain => "safecache_session",
        Transport::Tls => "__Host-safecache_session",
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lists = headers.get_all(COOKIE).iter().filter_map(|list| list.to_str().ok());
    let mut pairs = lists.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| Secret::new(value.to_owned()))
}

/// What the forms of a session hold: nobody who does not know the session can know it, and it does not tell the session.
fn form_token(session: &Secret) -> String {
    let hash = Sha256::new().chain_update(b"safecache form\0").chain_update(session.expose().as_bytes());
    data_encoding::HEXLOWER.encode(&hash.finalize())
}

/// The fields of a form, within its bounds.
async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<(String, Zeroizing<String>)>, Response> {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !media_type.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded") {
        return Err(told(StatusCode::UNSUPPORTED_MEDIA_TYPE, "This takes forms alone."));
    }
    let bytes = match tokio::time::timeout(LONGEST, to_bytes(body, MOST_BYTES)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(told(StatusCode::PAYLOAD_TOO_LARGE, "This form is too large.")),
        Err(_) => return Err(told(StatusCode::REQUEST_TIMEOUT, "This form did not come to its end.")),
    };
    let fields = std::str::from_utf8(&bytes).ok().and_then(fields);
    fields.ok_or_else(|| told(StatusCode::BAD_REQUEST, "This form is not text."))
}

/// The fields of a form or a query; `None`: they are not text.
fn fields(encoded: &str) -> Option<Vec<(String, Zeroizing<String>)>> {
    let field = |(name, value): (Vec<u8>, &str)| {
        let value = String::from_utf8(form::decoded(value)).ok()?;
        Some((String::from_utf8(name).ok()?, Zeroizing::new(value)))
    };
    form::pairs(encoded).map(field).collect()
}
