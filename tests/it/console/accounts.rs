//! What operators do under Accounts.

use super::{account_of, between, key, open_gateway, operator, owner};
use crate::support::browser::{Browser, FROM_HERE};
use crate::support::gateway::{Gateway, secret};

/// The row of an account.
#[track_caller]
fn row(browser: &mut Browser, account: &str) -> String {
    let page = browser.get("/accounts").text();
    let row = page.split("<li>").find(|row| row.contains(&format!("<code>{account}</code> ·")));
    row.unwrap_or_else(|| panic!("no {account}: {page}")).to_owned()
}

#[track_caller]
fn key_of(browser: &mut Browser, account: &str) -> String {
    let page = browser.post("/keys", &[("account", account)]).text();
    between(&page, "<code data-copy>", "<").to_owned()
}

/// How many rows the trail of an account has.
fn changes(browser: &mut Browser, account: &str) -> usize {
    let page = browser.get(&format!("/accounts/audit?account={account}")).text();
    page.matches("<th scope=\"row\">").count()
}

fn limit(gateway: &Gateway, key: &str) -> (u16, Option<String>) {
    let answer = gateway.connect().get("/api/v1/usage", key);
    (answer.status, answer.header("x-ratelimit-limit").map(str::to_owned))
}

#[test]
fn an_account_is_made_renamed_and_put_on_another_plan() {
    let gateway = open_gateway();
    let mut root = operator(&gateway, 11, "root");
    let made = root.post("/accounts", &[("id", "shop"), ("name", "The <shop>"), ("plan", "free")]);
    assert_eq!(made.status, 200);
    assert!(made.text().contains("Account shop is made."), "{}", made.text());
    let key = key_of(&mut root, "shop");
    let shown = row(&mut root, "shop");
    for said in
        ["The &#60;shop&#62;", ">free<", ">active<", "1 of at most 20 keys · 0 people", "2027-01-15T08:00:00"]
    {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    for page in ["/keys", "/usage", "/cache", "/accounts/audit"] {
        assert!(shown.contains(&format!("href=\"{page}?account=shop\"")), "{page}: {shown}");
    }
    assert_eq!(limit(&gateway, &key), (200, Some("60".to_owned())));
    let change = |root: &mut Browser, name: &str, plan: &str| {
        root.post(
            "/accounts/change",
            &[("account", "shop"), ("deed", "change"), ("name", name), ("plan", plan)],
        )
    };
    assert_eq!(change(&mut root, "Shop", "pro").status, 200);
    let shown = row(&mut root, "shop");
    assert!(shown.contains("<strong>Shop</strong>") && shown.contains(">pro</span>"), "{shown}");
    assert_eq!(limit(&gateway, &key), (200, Some("600".to_owned())), "the plan is in force");
    let before = changes(&mut root, "shop");
    let same = change(&mut root, "Shop", "pro");
    assert!(same.text().contains("has this name and this plan already"), "{}", same.text());
    assert_eq!(changes(&mut root, "shop"), before, "nothing was changed");
    for (name, plan, at, said) in [
        ("", "pro", "name-shop", "A name has 1 to 128 bytes"),
        ("Shop", "gold", "plan-shop", "No plan is named &#34;gold&#34;"),
    ] {
        let refused = change(&mut root, name, plan);
        let page = refused.text();
        assert_eq!(refused.status, 422, "{at}");
        let problem =
            between(&page, &format!("<p id=\"{at}-problem\" class=\"problem\" role=\"alert\">"), "<");
        assert!(problem.starts_with(said), "{problem}");
        assert!(page.contains(&format!("aria-describedby=\"{at}-problem\" aria-invalid=\"true\"")), "{page}");
    }
    assert_eq!(changes(&mut root, "shop"), before, "nothing was changed");
}

#[test]
fn a_refused_account_is_told_at_its_field_and_keeps_what_was_typed() {
    let gateway = open_gateway();
    let mut root = operator(&gateway, 11, "root");
    for (id, plan, at, said) in [
        ("", "free", "id", "An account has 1 to 128 visible ASCII characters."),
        ("a b", "free", "id", "An account has 1 to 128 visible ASCII characters."),
        ("acct_mine", "free", "id", "Ids that begin with acct_ are made by the gateway."),
        ("shop", "gold", "plan", "No plan is named"),
    ] {
        let refused = root.post("/accounts", &[("id", id), ("name", "Our shop"), ("plan", plan)]);
        let page = refused.text();
        assert_eq!(refused.status, 422, "{id} {plan}");
        let problem =
            between(&page, &format!("<p id=\"{at}-problem\" class=\"problem\" role=\"alert\">"), "<");
        assert!(problem.starts_with(said), "{problem}");
        assert!(page.contains("value=\"Our shop\"") && page.contains(&format!("value=\"{id}\"")), "{page}");
        assert_eq!(page.matches("aria-invalid").count(), 1, "{page}");
    }
    assert_eq!(root.post("/accounts", &[("id", "shop"), ("plan", "pro")]).status, 200);
    let twice = root.post("/accounts", &[("id", "shop"), ("plan", "pro")]);
    assert_eq!(twice.status, 409);
    let page = twice.text();
    assert!(
        page.contains("role=\"alert\">That was not done: there is an account with this id already."),
        "{page}"
    );
    for fields in [[("account", "nobody"), ("deed", "suspend")], [("account", "nobody"), ("deed", "change")]]
    {
        let refused = root.post("/accounts/change", &fields);
        assert_eq!(refused.status, 404, "{fields:?}");
        assert!(refused.text().contains("there is no such account"), "{}", refused.text());
    }
    assert_eq!(root.post("/accounts/change", &[("account", "shop"), ("deed", "explode")]).status, 400);
}

#[test]
fn a_suspended_account_has_its_keys_refused_until_it_is_resumed() {
    let gateway = open_gateway();
    let mut ada = owner(&gateway, 11, "ada");
    let account = account_of(&ada.get("/settings").text());
    let mut root = operator(&gateway, 12, "root");
    let key = key_of(&mut root, &account);
    let shown = row(&mut root, &account);
    assert!(shown.contains(">by sign-up<") && shown.contains("1 person"), "{shown}");
    let (before, _) = shown.split_once("value=\"suspend\"").expect("a button");
    let (_, asked) = before.rsplit_once("<details class=\"sure\">").expect("inside its own");
    assert!(
        !asked.contains("</details>") && asked.contains("Every key of the account is refused at once"),
        "{asked}"
    );
    let before = changes(&mut root, &account);
    let deal = |root: &mut Browser, deed: &str| {
        assert_eq!(
            root.post("/accounts/change", &[("account", &account), ("deed", deed)]).status,
            200,
            "{deed}"
        );
    };
    deal(&mut root, "suspend");
    assert_eq!(limit(&gateway, &key).0, 401);
    let shown = row(&mut root, &account);
    assert!(shown.contains(">suspended<") && shown.contains("Its keys are refused since"), "{shown}");
    assert!(ada.get("/keys").text().contains(">suspended<"), "its people can still look");
    deal(&mut root, "resume");
    assert_eq!(limit(&gateway, &key).0, 200);
    assert!(row(&mut root, &account).contains(">active<"));
    assert_eq!(changes(&mut root, &account), before + 2);
    let trail = root.get(&format!("/accounts/audit?account={account}")).text();
    let newest: Vec<_> = trail.split("<th scope=\"row\">").skip(1).take(2).collect();
    assert!(newest[0].starts_with("root</th><td>resumed the account<"), "{trail}");
    assert!(newest[1].starts_with("root</th><td>suspended the account<"), "{trail}");
}

#[test]
fn accounts_are_turned_over_and_looked_for_by_how_their_ids_begin() {
    let gateway = Gateway::start(&format!("keys:\n{}", key("one", "")));
    assert_eq!(limit(&gateway, &secret("one")).0, 200);
    let mut root = operator(&gateway, 11, "root");
    let token = root.form_token();
    let make = |root: &mut Browser, id: &str| {
        assert_eq!(root.send("/accounts", FROM_HERE, &format!("form_token={token}&id={id}")).status, 200);
    };
    for number in 100..149 {
        make(&mut root, &format!("shop-{number}"));
    }
    make(&mut root, "shop");
    let ids = |page: &str| -> Vec<String> {
        let rows = page.split("<p class=\"quiet\"><code>").skip(1);
        rows.map(|row| row.split('<').next().unwrap_or_default().to_owned()).collect()
    };
    let all = root.get("/accounts?begins=shop").text();
    assert_eq!((ids(&all).len(), all.contains("Next accounts")), (50, false), "{all}");
    make(&mut root, "shop-149");
    let first = root.get("/accounts?begins=shop").text();
    assert!(first.contains("Accounts that begin with <code>shop</code>"), "{first}");
    assert_eq!(ids(&first)[..2], ["shop", "shop-100"]);
    let next = between(&first, "<a class=\"button plain\" href=\"/accounts?", "\"").replace("&#38;", "&");
    let second = root.get(&format!("/accounts?{next}")).text();
    assert_eq!((ids(&first).len(), ids(&second)), (50, vec!["shop-149".to_owned()]), "{second}");
    assert!(!second.contains("Next accounts"), "{second}");
    assert_eq!(ids(&root.get("/accounts?begins=shop-14").text()).len(), 10);
    for (begins, said) in
        [("shop-2", "There is none"), ("a%20b", "There is none"), ("%C3%A9", "There is none")]
    {
        let page = root.get(&format!("/accounts?begins={begins}")).text();
        assert!(ids(&page).is_empty() && page.contains(said), "{begins}: {page}");
    }
    assert!(root.get("/accounts?after=zzz").text().contains("There is none behind these."));
    // Who changes an account sees the page again that they came from.
    let fields = [("account", "shop-149"), ("deed", "suspend"), ("begins", "shop"), ("after", "shop-148")];
    assert_eq!(ids(&root.post("/accounts/change", &fields).text()), ["shop-149"]);
}

#[test]
fn where_there_is_no_account_yet_the_page_says_how_one_is_made() {
    let gateway = Gateway::start("");
    let mut root = operator(&gateway, 11, "root");
    let page = root.get("/accounts").text();
    assert!(page.contains("There is none yet.") && page.contains("Make the account"), "{page}");
}

#[test]
fn an_account_that_the_list_alone_names_is_there_and_can_be_suspended() {
    let gateway = open_gateway();
    let mut root = operator(&gateway, 11, "root");
    let page = root.get("/accounts").text();
    assert!(page.contains("of the key list") && page.contains("1 key of the list"), "{page}");
    let asks = || gateway.connect().get("/api/v1/usage", &secret("one")).status;
    assert_eq!(asks(), 200);
    for (deed, status) in [("suspend", 401), ("resume", 200)] {
        let answer = root.post("/accounts/change", &[("account", "acme"), ("deed", deed)]);
        assert_eq!((answer.status, asks()), (200, status), "{deed}: {}", answer.text());
    }
    assert!(!root.get("/accounts").text().contains("of the key list<"), "it is in the store now");
}
