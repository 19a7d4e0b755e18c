//! What holds for every page: what a browser may do with it, and that no other site changes anything.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::console::answers::told;

/// Nothing from elsewhere, no script or style in a page, nobody's frame, and forms go home alone.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The longest that an answer may take; passwords are waited for within it.
const LONGEST: Duration = Duration::from_secs(30);

/// Refuses what another site asks to be changed, and says to browsers what they may do with the answer.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let is_safe = request.method().is_safe();
    let mut response = if is_safe || is_from_here(request.headers()) {
        next.run(request).await
    } else {
        told(StatusCode::FORBIDDEN, "This form was not sent from this console. Go back, and try again here.")
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Bounds how long an answer may take.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(LONGEST, next.run(request)).await;
    answered.unwrap_or_else(|_| told(StatusCode::SERVICE_UNAVAILABLE, "This took too long; try again."))
}

/// True if a page of this very origin has sent the request, as browsers say it: in `Sec-Fetch-Site`, or, where that is
/// missing, as it is over plain HTTP to anywhere but this machine, in `Origin`. Who says neither is no browser of today.
fn is_from_here(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let host_of = |origin: &str| origin.split_once("://").map(|(_, host)| host.to_owned());
    match (text(ORIGIN).and_then(host_of), text(HOST)) {
        (Some(origin), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}
