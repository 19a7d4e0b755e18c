//! Every page and every call, as everybody and as nobody.

use super::{account_of, leads_to, member, open_gateway, operator, owner, person_id};
use crate::support::browser::{Browser, value_of};

/// All paths that want a session.
const PAGES: [&str; 6] = ["/", "/keys", "/cache", "/usage", "/playground", "/settings"];
const CALLS: [&str; 10] = [
    "/log-out",
    "/keys",
    "/keys/change",
    "/cache/forget",
    "/playground/ask",
    "/settings/password",
    "/settings/sessions",
    "/settings/people",
    "/settings/links",
    "/settings/links/end",
];

#[test]
fn nobody_is_sent_to_the_log_in_by_every_page_and_call() {
    let gateway = open_gateway();
    let mut nobody = Browser::at(&gateway, 11);
    for cookie in [None, Some("safecache_session=".to_owned()), Some("safecache_session=forged".to_owned())] {
        nobody.cookie = cookie;
        for path in PAGES {
            leads_to(&nobody.get(path), "/log-in");
        }
        for path in CALLS {
            leads_to(&nobody.send(path, crate::support::browser::FROM_HERE, "form_token=x"), "/log-in");
        }
    }
}

#[test]
fn each_role_is_let_do_what_it_may_and_nothing_else() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let admin = member(&gateway, &mut ada, (12, "admin", "admin"));
    let viewer = member(&gateway, &mut ada, (13, "viewer", "viewer"));
    member(&gateway, &mut ada, (14, "target", "viewer"));
    let stranger = owner(&gateway, 15, "stranger");
    let root = operator(&gateway, 16, "root");
    let page = ada.post("/settings/links", &[("purpose", "invite"), ("role", "viewer")]).text();
    let (link, account) = (value_of(&page, "link").expect("a link"), account_of(&page));
    let target = person_id(&page, "target");
    let own_session = value_of(&page, "session").expect("a session");
    let role = [("person", &*target), ("deed", "role"), ("role", "viewer")];
    let invite = [("purpose", "invite"), ("role", "viewer"), ("account", &*account)];
    let reset = [("purpose", "reset"), ("person", &*target)];
    // Who, then what each is answered: a role, an invitation, a reset, an operator's invitation, another's session, the
    // end of a link.
    let expected = [
        ("viewer", viewer, [403, 403, 403, 403, 404, 403]),
        ("admin", admin, [403, 403, 403, 403, 404, 403]),
        ("stranger", stranger, [404, 403, 404, 403, 404, 404]),
        ("root", root, [200, 200, 200, 200, 404, 200]),
    ];
    for (who, mut browser, statuses) in expected {
        let operators = [("purpose", "operator")];
        let calls: [(&str, &[(&str, &str)]); 6] = [
            ("/settings/people", &role),
            ("/settings/links", &invite),
            ("/settings/links", &reset),
            ("/settings/links", &operators),
            ("/settings/sessions", &[("session", &own_session)]),
            ("/settings/links/end", &[("link", &link)]),
        ];
        for ((path, fields), status) in calls.into_iter().zip(statuses) {
            assert_eq!(browser.post(path, fields).status, status, "{who}: {path} {fields:?}");
        }
        for path in PAGES {
            assert_eq!(browser.get(path).status, 200, "{who}: {path}");
        }
    }
    assert_eq!(ada.get("/settings").status, 200, "nobody has ended its session");
}

#[test]
fn a_page_shows_one_account_alone() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut viewer = member(&gateway, &mut ada, (12, "viewer", "viewer"));
    let mut stranger = owner(&gateway, 13, "stranger");
    let link = ada.post("/settings/links", &[("purpose", "invite"), ("role", "viewer")]).text();
    let (link, account) = (value_of(&link, "link").expect("a link"), account_of(&link));
    for path in PAGES {
        let page = stranger.get(path).text();
        for foreign in ["quiet\">ada ", "quiet\">viewer ", &account, &link] {
            assert!(!page.contains(foreign), "{path} shows {foreign}: {page}");
        }
    }
    let page = viewer.get("/settings").text();
    assert!(page.contains("quiet\">ada ") && !page.contains("quiet\">stranger "), "{page}");
    for absent in ["Invite somebody", "Change ada", &link, "name=\"person\""] {
        assert!(!page.contains(absent), "a viewer sees {absent}: {page}");
    }
}
