//! What operators see of who changed what.

use super::{account_of, between, log_in, open_gateway, operator, owner};
use crate::support::admin::{TOKEN, ask};
use crate::support::browser::FROM_HERE;
use crate::support::gateway::Gateway;

#[test]
fn the_trail_names_who_did_what_as_people_know_them() {
    let yaml = format!("admin: {{listen: \"127.0.0.1:0\", sign_up: open, token: {TOKEN}}}\n");
    let gateway = Gateway::start(&yaml);
    let mut ada = owner(&gateway, 11, "ada");
    let account = account_of(&ada.get("/settings").text());
    ada.post("/keys", &[("name", "<b>key")]);
    let mut root = operator(&gateway, 12, "root");
    let suspend = format!("POST /admin/v1/accounts/{account}/suspend");
    assert_eq!(ask(&gateway, &suspend, Some(TOKEN)).status, 200);
    let page = root.get("/accounts/audit").text();
    let rows: Vec<&str> = page.split("<tr>").skip(2).collect();
    for (who, what, of) in [
        ("operator&#39;s token", "suspended the account", &*account),
        ("ada", "made a key", "name &#60;b&#62;key"),
        ("visitor", "signed up", "<td>ada</td>"),
    ] {
        let of_them = format!("<th scope=\"row\">{who}</th><td>{what}</td>");
        let row = rows.iter().find(|row| row.contains(&of_them));
        assert!(
            row.is_some_and(|row| row.contains(of) && row.contains("<time datetime=\"2027-01-15T08:")),
            "{who}: {page}"
        );
    }
    assert!(!page.contains("<b>key"), "{page}");
    let of_root = "<td>joined by a link</td><td></td><td>root</td>";
    assert!(page.contains(of_root), "{page}");
    let page = root.get(&format!("/accounts/audit?account={account}")).text();
    assert!(page.contains("made a key") && !page.contains(of_root), "{page}");
    assert!(root.get("/accounts/audit?account=nobody").text().contains("Nothing yet."));
    for query in ["before=x", "before=-1", "account=a%20b"] {
        assert_eq!(root.get(&format!("/accounts/audit?{query}")).status, 400, "{query}");
    }
}

#[test]
fn the_trail_is_turned_over_from_the_newest_on() {
    let gateway = open_gateway();
    let mut root = operator(&gateway, 11, "root");
    let token = root.form_token();
    for number in 0..60 {
        let form = format!("form_token={token}&id=shop-{number}");
        assert_eq!(root.send("/accounts", FROM_HERE, &form).status, 200);
    }
    let first = root.get("/accounts/audit").text();
    assert_eq!(first.matches("<th scope=\"row\">").count(), 50);
    assert!(first.contains("<td>shop-59</td>") && !first.contains("<td>shop-9</td>"), "{first}");
    let older = between(&first, "<a class=\"button plain\" href=\"", "\"").to_owned();
    let second = root.get(&older).text();
    assert!(second.contains("<td>shop-9</td>") && !second.contains("<td>shop-59</td>"), "{second}");
    assert!(second.contains("href=\"/accounts/audit\">The newest<"), "{second}");
    assert!(root.get("/accounts/audit?before=1").text().contains("There is nothing older."));
    log_in(&mut root, "root");
    assert!(root.get("/accounts/audit").text().contains("<td>logged in</td>"));
}
