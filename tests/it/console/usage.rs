//! What Overview and Usage say of an account.

use std::time::Duration;

use super::{ANSWER, CHAT, account_of, before, chat, member, new_key, operator, owner};
use crate::support::browser::Browser;
use crate::support::upstream::Upstream;

/// What the table of a chart says at a time, by the heads of its columns.
#[track_caller]
fn numbers(page: &str, chart: &str, at: &str) -> Vec<(String, String)> {
    let (_, rest) =
        page.split_once(&format!("id=\"chart-{chart}\"")).unwrap_or_else(|| panic!("no {chart}: {page}"));
    let table = rest.split("</table>").next().unwrap_or_default();
    let texts = |row: &str, end: &str| -> Vec<String> {
        let cells = row.split(end).filter_map(|cell| cell.rsplit_once('>').map(|(_, text)| text.to_owned()));
        cells.collect()
    };
    let heads = table.split("</thead>").next().unwrap_or_default();
    let (_, heads) = heads.split_once("</th>").unwrap_or_default();
    let (_, row) =
        table.split_once(&format!("<time datetime=\"{at}\">")).unwrap_or_else(|| panic!("no {at}: {table}"));
    let (_, row) = row.split("</tr>").next().and_then(|row| row.split_once("</th>")).expect("a row");
    texts(heads, "</th>").into_iter().zip(texts(row, "</td>")).filter(|(_, text)| text != "0").collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn what_keys_asked_is_charted_by_the_hour_and_by_the_day() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "plans: {free: {requests_per_minute: 1, burst: 4}}");
    let mut ada = owner(&gateway, 11, "ada");
    let page = ada.get("/").text();
    assert!(page.contains("What to do next") && !page.contains("<figure"), "nothing was asked yet: {page}");
    let key = new_key(&mut ada, "app");
    let mut client = gateway.connect();
    for (question, status) in [("a", 200), ("a", 200), ("b", 200)] {
        assert_eq!(client.post(CHAT, &key, &chat("gpt-4o", question)).status, status);
    }
    gateway.clock.advance(Duration::from_secs(3600));
    for status in [200, 200, 200, 200, 429] {
        assert_eq!(client.post(CHAT, &key, &chat("gpt-4o", "a")).status, status);
    }
    let page = ada.get("/").text();
    assert!(!page.contains("What to do next"), "{page}");
    let first = pairs(&[("Hits", "1"), ("Misses", "2")]);
    let second = pairs(&[("Hits", "3"), ("Misses", "1"), ("Rate limited", "1")]);
    assert_eq!(numbers(&page, "requests", "2027-01-15T08:00:00Z"), first);
    assert_eq!(numbers(&page, "requests", "2027-01-15T09:00:00Z"), second);
    assert_eq!(numbers(&page, "hit-rate", "2027-01-15T08:00:00Z"), pairs(&[("Hit rate", "33.3 %")]));
    assert_eq!(numbers(&page, "hit-rate", "2027-01-15T07:00:00Z"), pairs(&[("Hit rate", "–")]));
    let tokens = pairs(&[("Saved", "34"), ("Prompt", "60"), ("Completion", "8")]);
    assert_eq!(numbers(&page, "tokens", "2027-01-15T08:00:00Z"), tokens);
    assert!(page.contains("<strong>8</strong> <span class=\"quiet\">1 refused or failed"), "{page}");
    assert!(page.contains("<strong>57.1 %</strong> <span class=\"quiet\">4 hits, 3 misses"), "{page}");
    let both = pairs(&[("Hits", "4"), ("Misses", "3"), ("Rate limited", "1")]);
    for range in ["30d", "90d"] {
        let page = ada.get(&format!("/?range={range}")).text();
        assert_eq!(numbers(&page, "requests", "2027-01-15"), both, "{range}");
        assert_eq!(page.matches("<figure").count(), 3);
    }
    let page = ada.get("/usage?range=7d").text();
    assert_eq!(numbers(&page, "requests", "2027-01-15T09:00:00Z"), second);
    assert!(
        page.contains("<th scope=\"row\">gpt-4o</th><td>7</td><td>57.1 %</td><td>102</td><td>136</td>"),
        "{page}"
    );
    assert!(page.contains("<th scope=\"row\">app<br>"), "{page}");
}

#[test]
fn money_is_shown_where_there_are_prices() {
    let upstream = Upstream::json(ANSWER);
    let prices = "prices: {gpt-4o: {prompt: 2.5, completion: 10}}";
    let gateway = before(&upstream, prices);
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "app");
    for _ in 0..3 {
        assert_eq!(gateway.connect().post(CHAT, &key, &chat("gpt-4o", "a")).status, 200);
    }
    let page = ada.get("/usage").text();
    assert!(page.contains("<strong>0.000230</strong> <span class=\"quiet\">beside 0.000115 spent"), "{page}");
    assert!(page.contains("<td>0.000115</td><td>0.000230</td>"), "{page}");
}

#[test]
fn keys_come_page_by_page() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "plans: {free: {requests_per_minute: 60, burst: 100, max_keys: 50}}");
    let mut ada = owner(&gateway, 11, "ada");
    for number in 0..21 {
        let key = new_key(&mut ada, &format!("key-{number}-"));
        assert_eq!(gateway.connect().post(CHAT, &key, &chat("m", "a")).status, 200);
    }
    let first = ada.get("/usage").text();
    let named = |page: &str| page.matches("<th scope=\"row\">key-").count();
    assert!(
        named(&first) == 20 && first.contains("page=2#keys") && !first.contains("rel=\"prev\""),
        "{first}"
    );
    let second = ada.get("/usage?range=24h&page=2").text();
    assert!(
        named(&second) == 1 && second.contains("page=1#keys") && !second.contains("rel=\"next\""),
        "{second}"
    );
    for page in ["0", "-1", "x", "1000001"] {
        assert_eq!(ada.get(&format!("/usage?page={page}")).status, 400, "{page}");
    }
}

#[test]
fn each_sees_their_own_account_and_operators_any() {
    let upstream = Upstream::json(ANSWER);
    let gateway = before(&upstream, "");
    let mut ada = owner(&gateway, 11, "ada");
    let key = new_key(&mut ada, "of-ada");
    assert_eq!(gateway.connect().post(CHAT, &key, &chat("gpt-4o", "a")).status, 200);
    let account = account_of(&ada.get("/settings").text());
    let mut viewer = member(&gateway, &mut ada, (12, "viewer", "viewer"));
    let mut stranger = owner(&gateway, 13, "stranger");
    let mut root = operator(&gateway, 14, "root");
    let pages = ["/", "/usage", "/cache", "/playground"];
    for path in pages {
        let of_it = format!("{path}?account={account}");
        assert_eq!((ada.get(&of_it).status, viewer.get(&of_it).status), (200, 200), "{path}");
        assert_eq!((stranger.get(&of_it).status, root.get(&of_it).status), (403, 200), "{path}");
        let unknown = stranger.get(&format!("{path}?account=nobody")).text();
        assert_eq!(
            stranger.get(&of_it).text(),
            unknown,
            "{path}: whether there is such an account is not told"
        );
    }
    let seen = |browser: &mut Browser, path: &str| browser.get(path).text().contains(">gpt-4o<");
    assert!(seen(&mut viewer, "/usage") && seen(&mut root, &format!("/usage?account={account}")));
    assert!(!seen(&mut stranger, "/usage") && !seen(&mut root, "/usage"));
    let page = root.get(&format!("/usage?account={account}")).text();
    assert!(
        page.contains(&format!("/usage?range=7d&#38;account={}", account.replace('_', "%5F"))),
        "links stay with the account: {page}"
    );
    assert!(root.get("/usage").text().contains("You belong to no account"));
}
