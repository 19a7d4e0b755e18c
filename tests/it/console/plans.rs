//! What operators see under Plans.

use super::{between, operator, owner};
use crate::support::gateway::Gateway;

#[test]
fn plans_are_shown_with_what_they_mean_and_where_they_stand() {
    let yaml = "admin: {listen: \"127.0.0.1:0\", sign_up: open}\n\
                plans:\n\
                \x20 pro: {requests_per_minute: 600, burst: 1000}\n\
                \x20 team: {requests_per_minute: 90000, burst: 1, per: account, max_keys: 1, stored_bytes: 3GiB}\n\
                \x20 odd: {requests_per_minute: 1, burst: 61, stored_bytes: 1000B}\n";
    let gateway = Gateway::start(yaml);
    owner(&gateway, 11, "ada");
    owner(&gateway, 12, "bob");
    let mut root = operator(&gateway, 13, "root");
    let page = root.get("/plans").text();
    for (plan, cells) in [
        ("free", ["60 / min", "100 requests", "key", "20 keys", "256 MiB", "2 accounts"]),
        ("pro", ["600 / min", "1,000 requests", "key", "20 keys", "256 MiB", "0 accounts"]),
        ("team", ["90,000 / min", "1 request", "account", "1 key", "3 GiB", "0 accounts"]),
        ("odd", ["1 / min", "61 requests", "key", "20 keys", "1,000 bytes", "0 accounts"]),
    ] {
        let row = between(&page, &format!("<th scope=\"row\">{plan}</th>"), "</tr>");
        assert_eq!(row, cells.map(|cell| format!("<td>{cell}</td>")).concat(), "{plan}");
    }
    for said in [
        "A rested key may ask 1,000 at once, then 600 a minute; from empty to full takes 1 min 40 s.",
        "All keys of an account together, once rested, may ask 1 at once, then 90,000 a minute; from empty to full takes 1 s.",
        "then 1 a minute; from empty to full takes 1 h 1 min.",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let file = gateway.folder.path().join("gateway.yaml").display().to_string();
    assert!(page.contains(&format!("<code>{file}</code>")), "{page}");
}
