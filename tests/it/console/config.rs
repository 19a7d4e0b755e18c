//! What operators see and do under Config.

use tempfile::TempDir;

use super::{between, key, open_gateway, operator};
use crate::support::front::{House, PATHS, unstored};
use crate::support::gateway::{Gateway, secret};
use crate::support::upstream::Upstream;

fn yaml(ids: &[&str]) -> String {
    format!("keys:\n{}", ids.iter().map(|id| key(id, "")).collect::<String>())
}

#[test]
fn the_policy_in_force_is_shown_and_reloaded() {
    let gateway = Gateway::start(&yaml(&["one"]));
    let mut root = operator(&gateway, 11, "root");
    let page = root.get("/config").text();
    for fact in
        ["<dt>Generation</dt><dd>1<", "<dt>Keys</dt><dd>1<", "<dt>Plans</dt><dd>3<", "<dt>Routes</dt><dd>0<"]
    {
        assert!(page.contains(fact), "{fact}: {page}");
    }
    assert!(page.contains(&format!("<dt>Version</dt><dd>{}<", env!("CARGO_PKG_VERSION"))), "{page}");
    assert!(page.contains("<dt>Running since</dt><dd><time datetime=\"2027-01-15T08:00:00"), "{page}");
    assert!(page.contains(&gateway.folder.path().join("gateway.yaml").display().to_string()), "{page}");
    for empty in
        ["There was none since the start.", "Nothing: what was read last is in force.", "None is configured"]
    {
        assert!(page.contains(empty), "{empty}: {page}");
    }
    gateway.rewrite(&yaml(&["one", "two"]));
    let reloaded = root.post("/config/reload", &[]);
    assert_eq!(reloaded.status, 200);
    let page = reloaded.text();
    assert!(page.contains("role=\"status\">Reloaded: generation 2: 2 keys (1 added, 0 removed)."), "{page}");
    assert!(page.contains("<dt>Generation</dt><dd>2<"), "{page}");
    assert_eq!(gateway.connect().get("/api/v1/usage", &secret("two")).status, 200);
    let later = root.get("/config").text();
    assert!(later.contains("was taken:") && later.contains("<pre>generation 2: 2 keys"), "{later}");
}

#[test]
fn a_refused_reload_says_each_thing_that_is_wrong_until_it_is_mended() {
    let gateway = Gateway::start(&yaml(&["one"]));
    let mut root = operator(&gateway, 11, "root");
    gateway.rewrite(&format!("shut: down\nthreads: many\n{}", yaml(&["one"])));
    let refused = root.post("/config/reload", &[]);
    assert_eq!(refused.status, 422);
    let page = refused.text();
    let told = between(&page, "<div class=\"problem\" role=\"alert\">", "</div>");
    assert!(told.contains("<pre>") && told.contains("shut") && told.contains("threads"), "{told}");
    assert!(page.contains("<dt>Generation</dt><dd>1<"), "{page}");
    let later = root.get("/config").text();
    assert!(later.contains("was <strong>refused</strong>; <a href=\"#problems\">"), "{later}");
    let standing = between(&later, "<strong>Configuration</strong>", "</li>");
    assert!(
        standing.contains("<time datetime=\"2027-01-15T08:") && standing.contains("threads"),
        "{standing}"
    );
    gateway.rewrite(&yaml(&["one"]));
    assert_eq!(root.post("/config/reload", &[]).status, 200);
    assert!(root.get("/config").text().contains("Nothing: what was read last is in force."));
}

#[test]
fn a_list_that_shrank_is_taken_where_that_is_wanted() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("keys.yaml");
    let ids: Vec<String> = (0..20).map(|number| format!("key-{number}")).collect();
    let list = |count: usize| yaml(&ids.iter().take(count).map(String::as_str).collect::<Vec<_>>());
    std::fs::write(&path, list(20)).expect("a list");
    let gateway = Gateway::start_in(folder, "keys_file: keys.yaml\n");
    let mut root = operator(&gateway, 11, "root");
    std::fs::write(&path, list(9)).expect("a list");
    let refused = root.post("/config/reload", &[]);
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("would lose 11 of its 20 keys"), "{}", refused.text());
    let forced = root.post("/config/reload", &[("force", "yes")]);
    assert_eq!(forced.status, 200);
    assert!(forced.text().contains("9 keys (0 added, 11 removed)"), "{}", forced.text());
    assert!(forced.text().contains("keys.yaml</code> as well"), "{}", forced.text());
}

#[test]
fn upstream_servers_are_up_or_down() {
    let bad = Upstream::start(|_, exchange| exchange.close());
    let good = unstored();
    let house = House::before(&[bad.url(), good.url()]);
    for _ in 0..6 {
        house.h1().alone(PATHS[0]);
    }
    let mut root = operator(&house.gateway, 11, "root");
    let page = root.get("/config").text();
    for (server, tag) in
        [(&bad, "<span class=\"tag warn\">down</span>"), (&good, "<span class=\"tag\">up</span>")]
    {
        let row = between(&page, &format!("<th scope=\"row\">{}</th>", server.url()), "</tr>");
        assert_eq!(row, format!("<td>llm</td><td>{tag}</td>"));
    }
}

#[test]
fn nobody_but_operators_reloads() {
    let gateway = open_gateway();
    let mut ada = super::owner(&gateway, 11, "ada");
    gateway.rewrite(&yaml(&["one", "two"]));
    assert_eq!(ada.post("/config/reload", &[("force", "yes")]).status, 403);
    assert_eq!(gateway.connect().get("/api/v1/usage", &secret("two")).status, 401);
}
