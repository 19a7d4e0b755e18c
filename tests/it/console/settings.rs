//! What is done under Settings.

use super::{
    account_of, leads_to, link_in, log_in, member, open_gateway, operator, owner, password, person_id,
};
use crate::support::browser::{Browser, value_of};

#[test]
fn a_password_is_changed_with_the_old_one_and_ends_other_sessions() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut elsewhere = Browser::at(&gateway, 12);
    leads_to(&log_in(&mut elsewhere, "ada"), "/");
    let wrong = ada.post("/settings/password", &[("old_password", "wrong"), ("password", &password("new"))]);
    assert_eq!(wrong.status, 422);
    assert!(wrong.text().contains("The current password is wrong."), "{}", wrong.text());
    let fields = [("old_password", &*password("ada")), ("password", &*password("new"))];
    let changed = ada.post("/settings/password", &fields);
    assert_eq!(changed.status, 200);
    assert!(changed.text().contains("Your password is changed"), "{}", changed.text());
    assert!(!changed.text().contains("horse"), "no page shows a password");
    assert_eq!(ada.get("/").status, 200);
    leads_to(&elsewhere.get("/"), "/log-in");
    assert_eq!(log_in(&mut elsewhere, "ada").status, 422);
}

#[test]
fn sessions_are_listed_and_ended() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut elsewhere = Browser::at(&gateway, 12);
    leads_to(&log_in(&mut elsewhere, "ada"), "/");
    let page = ada.get("/settings").text();
    assert!(page.contains("127.0.0.11 <span class=\"tag\">this one</span>"), "{page}");
    let row = page.split("<li>").find(|row| row.contains("127.0.0.12")).expect("the other");
    let session = value_of(row, "session").expect("its id");
    assert_eq!(ada.post("/settings/sessions", &[("session", &session)]).status, 200);
    leads_to(&elsewhere.get("/"), "/log-in");
    assert_eq!(ada.post("/settings/sessions", &[("session", &session)]).status, 404);
    leads_to(&log_in(&mut elsewhere, "ada"), "/");
    assert_eq!(ada.post("/settings/sessions", &[("session", "others")]).status, 200);
    leads_to(&elsewhere.get("/"), "/log-in");
    let own = value_of(&ada.get("/settings").text(), "session").expect("its id");
    leads_to(&ada.post("/settings/sessions", &[("session", &own)]), "/log-in");
    leads_to(&ada.get("/"), "/log-in");
}

#[test]
fn an_owner_gives_roles_disables_resets_and_removes() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let mut eve = member(&gateway, &mut ada, (12, "eve", "viewer"));
    let id = person_id(&ada.get("/settings").text(), "eve");
    let mut deal = |deed: &str, role: &str| {
        ada.post("/settings/people", &[("person", &id), ("deed", deed), ("role", role)])
    };
    assert_eq!(deal("role", "admin").status, 200);
    assert!(eve.get("/").text().contains("admin of acct_"));
    assert_eq!(deal("disable", "").status, 200);
    leads_to(&eve.get("/"), "/log-in");
    assert_eq!(log_in(&mut eve, "eve").status, 422);
    assert_eq!(deal("enable", "").status, 200);
    leads_to(&log_in(&mut eve, "eve"), "/");
    for (deed, role) in [("role", "emperor"), ("promote", "admin"), ("", "")] {
        assert_eq!(deal(deed, role).status, 400, "{deed} {role}");
    }
    let made = ada.post("/settings/links", &[("purpose", "reset"), ("person", &id)]);
    let link = link_in(&made.text());
    let mut elsewhere = Browser::at(&gateway, 13);
    assert!(elsewhere.get(&link).text().contains("value=\"eve\""));
    leads_to(&elsewhere.post(&link, &[("password", &password("new"))]), "/");
    leads_to(&eve.get("/"), "/log-in");
    let removed = ada.post("/settings/people", &[("person", &id), ("deed", "remove")]);
    assert_eq!(removed.status, 200);
    assert!(!removed.text().contains("quiet\">eve "), "{}", removed.text());
    leads_to(&elsewhere.get("/"), "/log-in");
}

#[test]
fn the_last_owner_is_told_why_they_stay() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let id = person_id(&ada.get("/settings").text(), "ada");
    for (deed, role) in [("role", "viewer"), ("disable", ""), ("remove", "")] {
        let answer = ada.post("/settings/people", &[("person", &id), ("deed", deed), ("role", role)]);
        assert_eq!(answer.status, 409, "{deed}");
        assert!(answer.text().contains("This is the account&#39;s last owner"), "{}", answer.text());
    }
    assert_eq!(ada.get("/").status, 200);
}

#[test]
fn a_link_that_waits_is_listed_and_revoked() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let made = ada.post("/settings/links", &[("purpose", "invite"), ("role", "owner")]).text();
    let link = link_in(&made);
    let id = value_of(&made, "link").expect("its id");
    assert_eq!(ada.post("/settings/links/end", &[("link", &id)]).status, 200);
    assert_eq!(Browser::at(&gateway, 12).get(&link).status, 404);
    assert_eq!(ada.post("/settings/links/end", &[("link", &id)]).status, 404);
    assert!(ada.get("/settings").text().contains("None. A link that you make is shown once"));
}

#[test]
fn an_operator_invites_into_any_account_and_other_operators() {
    let gateway = open_gateway();
    let mut root = operator(&gateway, 11, "root");
    let fields = [("purpose", "invite"), ("role", "owner"), ("account", "acme")];
    let link = link_in(&root.post("/settings/links", &fields).text());
    let mut wile = super::joined(&gateway, 12, "wile", &link);
    assert!(wile.get("/").text().contains("owner of acme"));
    for (account, status) in [("", 400), ("a b", 422), ("é", 422), (&"x".repeat(129), 422)] {
        let fields = [("purpose", "invite"), ("role", "owner"), ("account", account)];
        assert_eq!(root.post("/settings/links", &fields).status, status, "{account}");
    }
    let link = link_in(&root.post("/settings/links", &[("purpose", "operator")]).text());
    let mut second = super::joined(&gateway, 13, "second", &link);
    assert!(second.get("/").text().contains("You operate this gateway"));
    assert_eq!(wile.post("/settings/links", &[("purpose", "operator")]).status, 403);
}

#[test]
fn what_people_write_is_text_on_every_page() {
    let gateway = open_gateway();
    let mut ada = Browser::at(&gateway, 11);
    let name = "<script>\"'&";
    ada.post("/sign-up", &[("login", "ada"), ("name", name), ("password", &password("ada"))]);
    leads_to(&log_in(&mut ada, "ada"), "/");
    ada.ask("GET /log-in", "User-Agent: <b>browser\r\n", b"");
    for path in ["/", "/settings"] {
        let page = ada.get(path).text();
        assert!(page.contains("&#60;script&#62;&#34;&#39;&#38;"), "{page}");
        assert!(!page.contains("<script>\""), "{page}");
    }
}

#[test]
fn operators_come_to_the_people_of_each_account() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    owner(&gateway, 12, "bob");
    let mut root = operator(&gateway, 13, "root");
    let account = account_of(&ada.get("/settings").text());
    let page = root.get(&format!("/settings?account={account}")).text();
    assert!(page.contains("quiet\">ada ") && !page.contains("quiet\">bob "), "{page}");
    assert!(page.contains(&format!("name=\"account\" value=\"{account}\"")), "{page}");
    let everybody = root.get("/settings").text();
    assert!(["ada", "bob", "root"].iter().all(|name| everybody.contains(&format!("quiet\">{name} "))));
    let first = everybody.split("name=\"person\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    let behind = root.get(&format!("/settings?after={}", first.expect("somebody"))).text();
    assert!(behind.matches("quiet\">").count() < everybody.matches("quiet\">").count(), "{behind}");
    assert_eq!(ada.get("/settings?account=acme").status, 403);
    for nowhere in ["nobody-has-made-it", "two words"] {
        let invited =
            root.post("/settings/links", &[("purpose", "invite"), ("role", "owner"), ("account", nowhere)]);
        assert!(
            invited.status == 422 && invited.text().contains("There is no account of this id"),
            "{nowhere}"
        );
    }
    let invited =
        root.post("/settings/links", &[("purpose", "invite"), ("role", "owner"), ("account", "acme")]);
    assert_eq!(invited.status, 200, "the list names it");
}
