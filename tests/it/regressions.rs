//! What broke a property of `fuzzed`: the smallest input that showed it, and the rule that it broke.

use std::collections::BTreeMap;
use std::path::Path;

use safecache::config;
use safecache::config::key_list::{self, Known};
use safecache::config::problem::Report;
use safecache::llm::number::write_ecmascript;

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

/// The parser of YAML ends a last line that does not end, and then found fault with the one after it.
#[test]
fn a_problem_of_a_last_line_that_does_not_end_stands_in_that_line() {
    let place = |report: &Report| {
        let problems: Vec<_> =
            report.problems().iter().map(|problem| (problem.line, problem.column)).collect();
        problems
    };
    for (text, expected) in [
        ("plans: {", (1, 9)),
        ("plans: {\n", (2, 1)),
        ("plans:\r\n  [é", (2, 5)),
        ("threads: 1\rplans: {", (2, 9)),
        ("plans: &", (1, 8)),
        ("? ", (1, 3)),
    ] {
        let read = config::parse(text, "gateway.yaml", &BTreeMap::new(), Path::new(""));
        assert_eq!(place(&read.expect_err(text)), [expected], "{text:?}");
        let keys = key_list::parse_yaml(text, "keys.yaml", Known { plans: &[], keys: &[] });
        assert_eq!(place(&keys.expect_err(text)), [expected], "{text:?}");
    }
    // What is not there stands at the end as well.
    let empty = key_list::parse_yaml("---", "keys.yaml", Known { plans: &[], keys: &[] });
    assert_eq!(place(&empty.expect_err("no keys")), [(1, 4)]);
}

/// A Connection with bytes beyond ASCII in it was not read, so that the fields it names were sent on as if they were about
/// the message (RFC 9110 §7.6.1).
#[test]
fn a_connection_with_other_bytes_in_it_still_names_its_fields() {
    let upstream = Upstream::json("{}");
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    for path in ["/v1/chat/completions", "/v1/files"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {}\r\nContent-Length: 2\r\n\
             X-Hop: a\r\nX-Other: b\r\nConnection: ",
            secret("one")
        );
        let request = [head.as_bytes(), b"\xe4, X-Hop, \xff\r\n\r\n{}"].concat();
        assert_eq!(gateway.connect().send(request).answer().status, 200, "{path}");
        let arrived = upstream.take();
        let fields: Vec<_> = arrived.iter().map(|it| (it.header("x-hop"), it.header("x-other"))).collect();
        assert_eq!(fields, [(None, Some("b"))], "{path}");
    }
}

/// Rust's own shortest form of a double in the middle between two takes the greater, which is not the form of RFC 8785
/// §3.2.2.3: that takes the even one.
#[test]
fn a_double_between_two_short_forms_takes_the_even_one() {
    for (text, expected) in [
        ("900719925474099.3", "900719925474099.2"),
        ("1424953923781206.25", "1424953923781206.2"),
        ("900719925474099.75", "900719925474099.8"),
        ("-5.6843418860808015e-14", "-5.684341886080802e-14"),
    ] {
        let mut form = String::new();
        write_ecmascript(text.parse().expect("a double"), &mut form);
        assert_eq!(form, expected, "{text}");
    }
}
