//! People, sessions, plans and suspensions are those of all gateways; and what people are told where none can be kept.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::engines::{ANSWER, member, members, until, yaml};
use crate::stored_keys::{done, make};
use crate::support::browser::Browser;
use crate::support::client::Answer;
use crate::support::gateway::{Gateway, secret};
use crate::support::postgres::Database;
use crate::support::redis::Redis;
use crate::support::upstream::Upstream;

/// Within what a change is in force everywhere.
const BOUND: Duration = Duration::from_secs(2);

const PASSWORD: &str = "correct horse of ada";

fn sign_up(browser: &mut Browser) -> Answer {
    browser.post("/sign-up", &[("login", "ada"), ("name", ""), ("password", PASSWORD)])
}

fn log_in(browser: &mut Browser) -> Answer {
    browser.post("/log-in", &[("login", "ada"), ("password", PASSWORD)])
}

#[test]
fn an_account_that_is_suspended_at_one_gateway_is_so_at_all() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let (_, stored) = make(&members[0], &json!({}));
    until(&members, &stored, 200);
    for (at, deed, status) in [(0, "suspend", 401), (1, "resume", 200), (2, "suspend", 401)] {
        done(&members[at], &format!("POST /admin/v1/accounts/acme/{deed}"), &Value::Null);
        let took = [&stored, &secret("listed")].map(|key| until(&members, key, status));
        println!("measured an account's suspension: {deed} is in force at 3 gateways after {took:?}");
        assert!(took[0] + took[1] < BOUND, "{deed}: {took:?}");
    }
}

#[test]
fn a_plan_that_is_changed_at_one_gateway_is_the_plan_at_all() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    let (_, stored) = make(&members[0], &json!({}));
    until(&members, &stored, 200);
    done(&members[1], "PATCH /admin/v1/accounts/acme", &json!({"plan": "few"}));
    for member in &members {
        member.eventually("it is on the other plan", |member| {
            let answer = member.connect().get("/v1/models", &stored);
            answer.header("ratelimit-policy").is_some_and(|policy| policy.starts_with("\"few\";"))
        });
    }
}

#[test]
fn who_signs_up_at_one_gateway_logs_in_at_another_and_is_known_at_a_third() {
    let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
    let members = members(&upstream, &database);
    assert_eq!(sign_up(&mut Browser::at(&members[0], 11)).status, 200);
    let mut ada = Browser::at(&members[1], 11);
    let logged_in = log_in(&mut ada);
    assert_eq!((logged_in.status, logged_in.header("location")), (303, Some("/")), "{}", logged_in.text());
    let mut elsewhere = Browser::at(&members[2], 11);
    elsewhere.cookie.clone_from(&ada.cookie);
    let made = elsewhere.post("/keys", &[("name", "by ada")]);
    assert_eq!(made.status, 200, "{}", made.text());
    let page = made.text();
    let (_, key) = page.split_once("<code data-copy>").expect("a key is shown");
    let took = until(&members, key.split('<').next().unwrap(), 200);
    assert!(took < BOUND, "{took:?}");
    assert!(ada.get("/keys").text().contains("by ada"));
    // Who logs out at one has done so at all.
    assert_eq!(elsewhere.post("/log-out", &[]).status, 303);
    let out = ada.get("/keys");
    assert_eq!((out.status, out.header("location").map(|at| at.starts_with("/log-in"))), (303, Some(true)));
}

#[test]
fn the_link_that_each_of_them_shows_makes_the_first_operator() {
    for chosen in 0..3 {
        let (upstream, database) = (Upstream::json(ANSWER), Database::fresh());
        let members = members(&upstream, &database);
        let links: Vec<String> = members
            .iter()
            .map(|member| {
                let url =
                    member.running().first_operator_url(None).expect("the store works").expect("a link");
                let (_, token) = url.split_once("/link/").expect("a link");
                format!("/link/{token}")
            })
            .collect();
        let joins = |number: usize, login: &str| {
            let fields = [("login", login), ("name", ""), ("password", PASSWORD)];
            Browser::at(&members[(number + 1) % 3], 11).post(&links[number], &fields)
        };
        let joined = joins(chosen, "root");
        assert!(matches!(joined.status, 200 | 303), "{}", joined.text());
        for number in 0..3 {
            let late = joins(number, "another");
            assert!(!matches!(late.status, 200 | 303), "{}", late.text());
        }
    }
}

/// What a page says to people, without its elements.
fn said(answer: &Answer) -> String {
    let mut text = String::new();
    let mut is_element = false;
    for letter in answer.text().chars() {
        match letter {
            '<' => is_element = true,
            '>' => is_element = false,
            _ if !is_element => text.push(letter),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn is_told_why(what: &str, answer: &Answer) {
    let told = said(answer);
    assert_eq!(answer.status, 409, "{what}: {told}");
    assert!(told.contains("several gateways share Redis alone"), "{what}: {told}");
}

/// Somebody who is known from the time when the gateway was alone, and somebody who would come.
#[test]
fn with_redis_alone_the_console_says_why_nothing_can_be_made() {
    let (upstream, redis) = (Upstream::json(ANSWER), Redis::start());
    let engines = format!("redis: 'redis://{}'", redis.address());
    let clustered = yaml(&upstream, &engines, "");
    let (before, rest) = clustered.split_once("cluster:").unwrap();
    let (_, keys) = rest.split_once('\n').unwrap();
    let alone = Gateway::start_in(TempDir::new().unwrap(), &format!("{before}{keys}"));
    assert_eq!(sign_up(&mut Browser::at(&alone, 11)).status, 200);
    let gateway = Gateway::start_in(alone.into_folder(), &clustered);
    let mut ada = Browser::at(&gateway, 11);
    assert_eq!(log_in(&mut ada).status, 303, "who is known may look");
    assert_eq!(ada.get("/keys").status, 200);
    is_told_why("a key", &ada.post("/keys", &[("name", "new")]));
    is_told_why("a link", &ada.post("/settings/links", &[("purpose", "invite"), ("role", "viewer")]));
    let fresh = member(&upstream, &engines);
    is_told_why("a person", &sign_up(&mut Browser::at(&fresh, 12)));
}
