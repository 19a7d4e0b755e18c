//! Style and scripts, as they are compiled in.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::console::answers::told;
use axum::http::StatusCode;

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Our own: another build may have another one under the same name, so browsers ask anew with each page.
const OWN: &str = "no-cache";

/// Others', whose version is in their name.
const VENDORED: &str = "public, max-age=31536000, immutable";

/// Name, media type, for how long it may be kept, and what it is.
const ASSETS: [(&str, &str, &str, &str); 7] = [
    ("console.css", STYLE, OWN, include_str!("assets/console.css")),
    ("console.js", SCRIPT, OWN, include_str!("assets/console.js")),
    ("charts.js", SCRIPT, OWN, include_str!("assets/charts.js")),
    ("playground.js", SCRIPT, OWN, include_str!("assets/playground.js")),
    ("htmx-4.0.1.js", SCRIPT, VENDORED, include_str!("assets/vendored/htmx-4.0.1.js")),
    ("uplot-1.6.32.js", SCRIPT, VENDORED, include_str!("assets/vendored/uplot-1.6.32.js")),
    ("uplot-1.6.32.css", STYLE, VENDORED, include_str!("assets/vendored/uplot-1.6.32.css")),
];

/// One of them.
pub(super) async fn show(Path(name): Path<String>) -> Response {
    match ASSETS.iter().find(|(known, ..)| *known == name) {
        Some((_, media_type, kept, text)) => {
            ([(CONTENT_TYPE, *media_type), (CACHE_CONTROL, *kept)], *text).into_response()
        }
        None => told(StatusCode::NOT_FOUND, "There is nothing at this address."),
    }
}
