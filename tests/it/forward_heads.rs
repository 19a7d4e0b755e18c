//! Heads on the way through, both ways and on both paths: what is kept, swapped, added and dropped.

use crate::support::client::Answer;
use crate::support::front::{CACHED, CHAT, House, PASSED, PATHS, Plans, unstored};
use crate::support::upstream::{Request, Upstream};

/// Fields of a request, and what becomes of fields on the way.
struct Case {
    name: &'static str,
    sent: &'static [(&'static str, &'static str)],
    arrives: &'static [(&'static str, Option<&'static str>)],
}

const REQUESTS: &[Case] = &[
    Case {
        name: "fields of the message",
        sent: &[("User-Agent", "ua/1"), ("X-Custom", "a  b"), ("Accept", "*/*"), ("openai-beta", "x")],
        arrives: &[
            ("user-agent", Some("ua/1")),
            ("x-custom", Some("a  b")),
            ("accept", Some("*/*")),
            ("openai-beta", Some("x")),
        ],
    },
    Case {
        name: "the client's credentials",
        sent: &[("X-Api-Key", "k"), ("Api-Key", "k"), ("Proxy-Authorization", "Basic a"), ("Cookie", "a=b")],
        arrives: &[
            ("authorization", Some("Bearer of-the-upstream")),
            ("x-api-key", None),
            ("api-key", None),
            ("proxy-authorization", None),
            ("cookie", None),
        ],
    },
    Case {
        name: "an untrusted client's word on others",
        sent: &[
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "gopher"),
            ("X-Forwarded-Host", "evil.example"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
        ],
        arrives: &[("forwarded", None), ("x-real-ip", None)],
    },
    Case {
        name: "a request id",
        sent: &[("X-Request-Id", "the-clients-own")],
        arrives: &[("x-request-id", Some("the-clients-own"))],
    },
    Case {
        name: "what the operator sets and removes",
        sent: &[("X-Set", "the client's"), ("X-Remove", "1")],
        arrives: &[("x-set", Some("the operator's")), ("x-remove", None)],
    },
];

/// These can only be sent over HTTP/1.1.
const HOPS: &[Case] = &[
    Case {
        name: "hop-by-hop fields",
        sent: &[
            ("Keep-Alive", "timeout=9"),
            ("Proxy-Connection", "keep-alive"),
            ("TE", "trailers"),
            ("Trailer", "X-T"),
            ("Upgrade", "h2c"),
            ("Proxy-Authenticate", "Basic"),
        ],
        arrives: &[
            ("keep-alive", None),
            ("proxy-connection", None),
            ("te", None),
            ("trailer", None),
            ("upgrade", None),
            ("proxy-authenticate", None),
            ("connection", None),
        ],
    },
    Case {
        name: "fields that Connection names",
        sent: &[("Connection", "X-Drop, x-drop-too ,keep-alive"), ("X-Drop", "1"), ("X-Drop-Too", "1")],
        arrives: &[("x-drop", None), ("x-drop-too", None), ("connection", None)],
    },
    Case {
        name: "a Connection that names credentials",
        sent: &[("Connection", "authorization"), ("X-Keep", "1")],
        arrives: &[("authorization", Some("Bearer of-the-upstream")), ("x-keep", Some("1"))],
    },
    Case {
        name: "a Connection that names a length",
        sent: &[("Connection", "content-length"), ("X-Keep", "1")],
        arrives: &[("connection", None), ("x-keep", Some("1"))],
    },
    Case {
        name: "a Connection that names the request id",
        sent: &[("Connection", "x-request-id"), ("X-Request-Id", "the-clients-own")],
        arrives: &[("x-request-id", Some("the-clients-own"))],
    },
];

const PLANS: Plans<'static> = Plans {
    upstream: ", authorization: Bearer of-the-upstream, \
               headers: {set: {X-Set: \"the operator's\"}, remove: [X-Remove]}",
    route: "",
    more: "",
};

#[test]
fn request_fields_are_rewritten_alike_on_both_paths() {
    assert_eq!(CHAT.len(), 60);
    let upstream = unstored();
    let house = House::planned(&[upstream.url()], PLANS);
    for path in PATHS {
        for case in REQUESTS.iter().chain(HOPS) {
            let answer = house.h1().ask(&format!("POST {path}"), case.sent, CHAT.as_bytes());
            assert_eq!(answer.status, 200, "{path}: {}", case.name);
            let arrived = only(&upstream);
            assert_eq!(arrived.body, CHAT.as_bytes(), "{path}: {}", case.name);
            arrives(&arrived, case, path);
            assert_eq!(arrived.header("x-forwarded-for"), Some("127.0.0.1"), "{path}: {}", case.name);
            assert_eq!(arrived.header("x-forwarded-proto"), Some("http"), "{path}: {}", case.name);
            assert_eq!(arrived.header("x-forwarded-host"), Some("gateway"), "{path}: {}", case.name);
        }
        for case in REQUESTS {
            let answer = house.h2().ask(&format!("POST {path}"), case.sent, CHAT.as_bytes());
            assert_eq!(answer.status, 200, "HTTP/2 {path}: {}", case.name);
            let arrived = only(&upstream);
            arrives(&arrived, case, path);
            assert_eq!(arrived.header("x-forwarded-for"), Some("127.0.0.1"), "HTTP/2 {path}");
            assert_eq!(arrived.header("x-forwarded-proto"), Some("https"), "HTTP/2 {path}");
            assert_eq!(arrived.header("x-forwarded-host"), Some("gateway.test"), "HTTP/2 {path}");
        }
    }
}

#[test]
fn no_credentials_arrive_where_the_upstream_has_none() {
    let upstream = unstored();
    for empty in ["", ", authorization: \"\"", ", authorization: \"Bearer \""] {
        let house = House::planned(&[upstream.url()], Plans { upstream: empty, ..Plans::default() });
        for path in PATHS {
            house.h1().chat(path);
            assert_eq!(only(&upstream).header("authorization"), None, "{path} {empty}");
        }
    }
}

#[test]
fn identity_is_asked_for_on_cached_paths_alone() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    for (path, arrives) in [(CACHED, "identity"), (PASSED, "gzip, br")] {
        house.h1().ask(&format!("POST {path}"), &[("Accept-Encoding", "gzip, br")], CHAT.as_bytes());
        assert_eq!(only(&upstream).header("accept-encoding"), Some(arrives), "{path}");
    }
}

#[test]
fn a_trusted_peers_word_is_extended() {
    let upstream = unstored();
    let plans = Plans { more: "trusted_proxies: [127.0.0.0/8]", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let sent = [
        ("X-Forwarded-For", "203.0.113.7, 198.51.100.2"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "front.example"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Real-IP", "203.0.113.7"),
    ];
    for path in PATHS {
        house.h1().ask(&format!("POST {path}"), &sent, CHAT.as_bytes());
        let arrived = only(&upstream);
        let chain = Some("203.0.113.7, 198.51.100.2, 127.0.0.1");
        assert_eq!(arrived.header("x-forwarded-for"), chain, "{path}");
        assert_eq!(arrived.header("x-forwarded-proto"), Some("https"), "{path}");
        assert_eq!(arrived.header("x-forwarded-host"), Some("front.example"), "{path}");
        assert_eq!(arrived.header("forwarded"), Some("for=203.0.113.7"), "{path}");
        assert_eq!(arrived.header("x-real-ip"), Some("203.0.113.7"), "{path}");
    }
}

#[test]
fn the_target_and_the_method_arrive_as_they_came() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let target = format!("{path}/a%20b%3Fc;v=1/%e2%82%AC/?x=%2F&y=a+b&&z=%41");
        for mut client in house.fronts() {
            for (method, body) in
                [("GET", ""), ("POST", "{}"), ("PUT", "{}"), ("PATCH", "{}"), ("DELETE", ""), ("REPORT", "")]
            {
                client.ask(&format!("{method} {target}"), &[], body.as_bytes());
                assert_eq!(only(&upstream).line, format!("{method} {target} HTTP/1.1"), "{}", client.name());
            }
        }
    }
}

#[test]
fn a_target_in_absolute_form_arrives_as_a_path() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let mut client = house.gateway.connect();
        let answer = client
            .send(format!(
                "POST http://front.example{path}?q=%41b HTTP/1.1\r\nHost: front.example\r\n\
                 Authorization: Bearer {}\r\nContent-Length: 2\r\n\r\n{{}}",
                crate::support::gateway::secret("one")
            ))
            .answer();
        assert_eq!(answer.status, 200, "{path}");
        let arrived = only(&upstream);
        assert_eq!(arrived.line, format!("POST {path}?q=%41b HTTP/1.1"));
        assert_eq!(arrived.header("host"), Some(upstream.address().to_string().as_str()), "{path}");
        assert_eq!(arrived.header("x-forwarded-host"), Some("front.example"), "{path}");
    }
}

#[test]
fn host_is_the_servers_and_its_base_path_takes_the_place_of_the_prefix() {
    let upstream = unstored();
    let plans = Plans { route: ", strip_prefix: /v1", ..Plans::default() };
    let house = House::planned(&[format!("{}/open/api", upstream.url())], plans);
    for path in PATHS {
        for mut client in house.fronts() {
            client.ask(&format!("POST {path}?q=%2F"), &[], CHAT.as_bytes());
            let arrived = only(&upstream);
            let rest = path.strip_prefix("/v1").expect("a prefix");
            assert_eq!(arrived.line, format!("POST /open/api{rest}?q=%2F HTTP/1.1"), "{}", client.name());
            assert_eq!(arrived.header("host"), Some(upstream.address().to_string().as_str()));
        }
    }
}

#[test]
fn answer_fields_are_rewritten_alike_on_both_paths() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
             Connection: X-Drop, keep-alive\r\nX-Drop: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Authenticate: Basic\r\nTrailer: X-T\r\nUpgrade: h2c\r\nProxy-Connection: close\r\n\
             X-RateLimit-Limit-Requests: 3\r\nx-ratelimit-limit: 3\r\nRateLimit: \"a\";r=1\r\n\
             RateLimit-Policy: \"a\";q=1;w=1\r\nX-Request-Id: req-of-upstream\r\nX-Cache: HIT\r\nAge: 9\r\n\
             Cache-Status: other; hit\r\nX-Multi: 1\r\nX-Multi: 2\r\nServer: model/1\r\n\
             openai-processing-ms: 12\r\nSet-Cookie: a=b\r\n\r\nok",
        );
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            let answer = client.ask(&format!("POST {path}"), &[("x-request-id", "mine")], CHAT.as_bytes());
            let case = format!("{} {path}", client.name());
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{case}");
            let gone = ["x-drop", "keep-alive", "proxy-authenticate", "trailer", "upgrade", "age"];
            for name in gone.iter().chain(&["proxy-connection", "x-ratelimit-limit-requests"]) {
                assert_eq!(answer.header(name), None, "{case} {name}");
            }
            assert_eq!(answer.header("x-ratelimit-limit"), Some("6000"), "{case}");
            assert_eq!(answer.header("ratelimit-policy"), Some("\"enterprise\";q=10000;w=100"), "{case}");
            assert_eq!(values(&answer, "ratelimit").len(), 1, "{case}");
            assert_eq!(values(&answer, "x-request-id"), ["mine"], "{case}");
            assert_eq!(answer.header("x-upstream-request-id"), Some("req-of-upstream"), "{case}");
            assert_eq!(values(&answer, "x-multi"), ["1", "2"], "{case}");
            assert_eq!(answer.header("server"), Some("model/1"), "{case}");
            assert_eq!(answer.header("openai-processing-ms"), Some("12"), "{case}");
            let cookie = (path == PASSED).then_some("a=b");
            assert_eq!(answer.header("set-cookie"), cookie, "{case}");
            assert!(!values(&answer, "cache-status").contains(&"other; hit"), "{case}");
        }
    }
}

#[test]
fn continue_is_said_by_the_gateway_on_a_cached_path() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let mut client = house.gateway.connect();
    client.send(format!(
        "POST {CACHED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Length: {}\r\n\r\n",
        crate::support::gateway::secret("one"),
        CHAT.len()
    ));
    assert_eq!(client.head().status, 100);
    assert_eq!(upstream.count(), 0);
    assert_eq!(client.send(CHAT).answer().status, 200);
    let arrived = only(&upstream);
    assert_eq!((arrived.header("expect"), arrived.body.as_slice()), (None, CHAT.as_bytes()));
}

fn arrives(arrived: &Request, case: &Case, path: &str) {
    for (name, value) in case.arrives {
        assert_eq!(arrived.header(name), *value, "{path}: {}: {name}", case.name);
    }
}

fn values<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
}

fn only(upstream: &Upstream) -> Request {
    let mut arrived = upstream.take();
    assert_eq!(arrived.len(), 1);
    arrived.remove(0)
}
