//! What a person writes of a key, as text, and what it means.

use ipnet::IpNet;

use crate::accounts::Accounts;
use crate::accounts::refused::Refused;
use crate::auth::key::Environment;
use crate::auth::model_glob::ModelGlob;
use crate::clock::UnixTime;
use crate::config::key_rules::{is_name, is_visible};
use crate::ids::AccountId;
use crate::store::directory::key::KeyTerms;
use crate::units::parse_duration;

/// The most addresses, and the most models, that a key may name.
pub const MOST_LISTED: usize = 100;

/// A key as a person describes it. Everything may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDraft {
    /// What people call it.
    pub name: Option<String>,
    /// `development`, `staging` or `production`.
    pub environment: Option<String>,
    /// Its own plan.
    pub plan: Option<String>,
    /// When it expires: after a span such as `90d`, or at a time (RFC 3339).
    pub expires: Option<String>,
    /// Addresses or networks that may use it.
    pub allowed_ips: Vec<String>,
    /// Globs of the models that it may ask for.
    pub allowed_models: Vec<String>,
}

impl Accounts {
    /// What a draft means.
    pub(super) fn terms(&self, draft: KeyDraft) -> Result<KeyTerms, Refused> {
        let KeyDraft { name, environment, plan, expires, allowed_ips, allowed_models } = draft;
        Ok(KeyTerms {
            name: name.map(key_name).transpose()?,
            environment: environment.as_deref().map(read_environment).transpose()?,
            plan: plan.map(|plan| self.plan_name(&plan)).transpose()?,
            expires_at: expires.map(|text| read_expiry(&text, self.0.clock.unix())).transpose()?,
            allowed_ips: read_all("allowed_ips", &allowed_ips, read_network)?,
            allowed_models: read_all("allowed_models", &allowed_models, |text| {
                ModelGlob::new(text).ok_or_else(|| "a model has 1 to 256 bytes".to_owned())
            })?,
        })
    }
}

/// The name of a key or of an account.
pub(super) fn key_name(name: String) -> Result<Box<str>, Refused> {
    match is_name(&name) {
        true => Ok(name.into()),
        false => Err(Refused::wrong("name", "a name has 1 to 128 bytes and no control characters")),
    }
}

/// The id of an account, as an operator names it.
pub(super) fn account_id(id: &str) -> Result<AccountId, Refused> {
    match is_visible(id) {
        true => Ok(AccountId::new(id)),
        false => Err(Refused::wrong("account", "an account has 1 to 128 visible ASCII characters")),
    }
}

fn read_environment(name: &str) -> Result<Environment, Refused> {
    Environment::of_name(name)
        .ok_or_else(|| Refused::wrong("environment", "it is development, staging or production"))
}

fn read_expiry(text: &str, now: UnixTime) -> Result<UnixTime, Refused> {
    let at = match parse_duration(text) {
        Some(span) => now.saturating_add(span),
        None => UnixTime::of_rfc3339(text).ok_or_else(|| {
            Refused::wrong("expires", "a span such as 90d, or a time such as 2027-01-01T00:00:00Z")
        })?,
    };
    if at <= now {
        return Err(Refused::wrong("expires", "it would have expired already"));
    }
    Ok(at)
}

/// A network, or a single address.
fn read_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    let network =
        network.map_err(|_| format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))?;
    match network.trunc() == network {
        true => Ok(network),
        false => Err(format!("{text} has bits behind its prefix; {} would be the network", network.trunc())),
    }
}

fn read_all<T>(
    field: &'static str,
    texts: &[String],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Box<[T]>, Refused> {
    if texts.len() > MOST_LISTED {
        return Err(Refused::wrong(field, format!("at most {MOST_LISTED} can be listed")));
    }
    texts.iter().map(|text| read(text).map_err(|message| Refused::wrong(field, message))).collect()
}
