//! From a presented key to its record, or a refusal.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ipnet::IpNet;

use crate::auth::key::KeyOptions;
use crate::auth::key_record::KeyRecord;
use crate::auth::key_ring::KeyRing;
use crate::auth::token::{PresentedFailure, digest, looks_valid, presented};
use crate::clock::UnixTime;

/// Why nobody was recognised. Clients learn the first three apart, never the reason within the third.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// No key was presented.
    Missing,
    /// What was presented has no form that a key could have.
    Malformed,
    /// A key was looked up and refused.
    Invalid(InvalidReason),
}

/// Why a key that was looked up is refused: for operators only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidReason {
    /// It has the form of a key made here, but not its checksum.
    Checksum,
    /// Nobody has it.
    Unknown,
    /// The list says so, it was revoked, or its account is suspended.
    Disabled,
    /// Its time has come.
    Expired,
}

impl AuthFailure {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Malformed,
        Self::Invalid(InvalidReason::Checksum),
        Self::Invalid(InvalidReason::Unknown),
        Self::Invalid(InvalidReason::Disabled),
        Self::Invalid(InvalidReason::Expired),
    ];

    /// The label of `safecache_auth_failures_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Invalid(InvalidReason::Checksum) => "checksum",
            Self::Invalid(InvalidReason::Unknown) => "unknown",
            Self::Invalid(InvalidReason::Disabled) => "disabled",
            Self::Invalid(InvalidReason::Expired) => "expired",
        }
    }
}

impl From<PresentedFailure> for AuthFailure {
    fn from(failure: PresentedFailure) -> Self {
        match failure {
            PresentedFailure::Missing => Self::Missing,
            PresentedFailure::Malformed => Self::Malformed,
        }
    }
}

/// Whose request this is. Every presented key takes the same way: it is hashed and looked up whatever its
/// checksum, and each reason to refuse it is asked, so that the time taken tells none from another.
///
/// # Errors
/// [`AuthFailure`], the same on every call for the same key and state.
pub fn authenticate(
    ring: &KeyRing,
    headers: &HeaderMap,
    now: UnixTime,
) -> Result<Arc<KeyRecord>, AuthFailure> {
    let token = presented(headers)?;
    let has_wrong_checksum = !looks_valid(token);
    let found = ring.find(&digest(token));
    let options = found.and_then(|record| record.options());
    let is_disabled = options.is_some_and(|options| options.disabled) | ring.is_suspended(found);
    let is_expired = options.and_then(|options| options.expires_at).is_some_and(|end| end <= now);
    let reasons = [
        has_wrong_checksum.then_some(InvalidReason::Checksum),
        is_disabled.then_some(InvalidReason::Disabled),
        is_expired.then_some(InvalidReason::Expired),
    ];
    match (found, reasons.into_iter().flatten().next()) {
        (Some(record), None) => Ok(Arc::clone(record)),
        (_, reason) => Err(AuthFailure::Invalid(reason.unwrap_or(InvalidReason::Unknown))),
    }
}

/// True if the key may be used from `address`. An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) counts as IPv4, in
/// the list as well.
pub fn allows_address(record: &KeyRecord, address: IpAddr) -> bool {
    let address = address.to_canonical();
    let allowed = record.options().map(|options: &KeyOptions| &*options.allowed_ips).unwrap_or_default();
    allowed.is_empty() || allowed.iter().any(|net| contains(net, address))
}

/// True if the key may ask for `model`; a key that may not ask for all must name one.
pub fn allows_model(record: &KeyRecord, model: Option<&str>) -> bool {
    let allowed = record.options().map(|options: &KeyOptions| &*options.allowed_models).unwrap_or_default();
    allowed.is_empty() || model.is_some_and(|model| allowed.iter().any(|glob| glob.matches(model)))
}

/// True if `net` holds `address`, or, written as IPv6, the mapped form of it.
fn contains(net: &IpNet, address: IpAddr) -> bool {
    match (net, address) {
        (IpNet::V6(net), IpAddr::V4(address)) => {
            net.prefix_len() >= 96 && net.contains(&address.to_ipv6_mapped())
        }
        _ => net.contains(&address),
    }
}
