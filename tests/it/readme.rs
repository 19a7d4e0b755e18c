//! The README says what the code does.

use std::path::Path;

use safecache::outcome::rejection::{Rejection, RetryHint};

const BEGIN: &str = "<!-- rejections: written by `UPDATE_EXPECT=1 cargo test --test it readme` -->\n";
const END: &str = "<!-- end of rejections -->\n";

/// The table of everything that a client may be told, in Markdown.
fn table() -> String {
    let mut table =
        String::from("\n| Status | `error` | `message` | `code`, with `errors: openai` | Try again |\n");
    table += "|---|---|---|---|---|\n";
    for rejection in Rejection::ALL {
        let row = rejection.row();
        let again = match (rejection, rejection.retry_hint()) {
            (Rejection::RateLimited(_), _) => "after `retry-after-ms`",
            (_, RetryHint::Never) => "no: `x-should-retry: false`",
            (_, RetryHint::After(1)) => "after a second",
            (_, RetryHint::NeverSoon(60)) => "not for a minute",
            (_, RetryHint::Unsaid) if row.status >= 500 => "yes: nothing was sent",
            (_, RetryHint::Unsaid) => "",
            (_, other) => panic!("no words for {other:?}"),
        };
        table +=
            &format!("| {} | {} | {} | `{}` | {again} |\n", row.status, row.title, row.message, row.code);
    }
    table + "\n"
}

#[test]
fn the_table_of_rejections_is_the_codes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the table's beginning");
    let (written, after) = rest.split_once(END).expect("the table's end");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, [before, BEGIN, &table(), END, after].concat()).unwrap();
    } else {
        assert_eq!(written, table(), "UPDATE_EXPECT=1 writes it anew");
    }
}

#[test]
fn what_the_documents_link_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "docs/api.md"] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("](").skip(1) {
            let (link, _) = rest.split_once(')').expect("a link's end");
            let (file, _) = link.split_once('#').unwrap_or((link, ""));
            let is_there = link.starts_with("https://") || path.with_file_name(file).exists();
            assert!(is_there, "{document} links to {link}");
        }
    }
}
