//! Framing, contract §3.1, byte by byte: what is refused, that nothing of it arrives upstream, and that the
//! connection ends.

use std::io::Read;

use crate::support::gateway::{Gateway, key, secret};
use crate::support::upstream::Upstream;

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"]}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ))
}

/// A request's bytes: `%K` stands for the line with the key, `|` for CRLF.
fn raw(template: &str) -> String {
    let key = format!("Authorization: Bearer {}|", secret("one"));
    template.replace("%K", &key).replace('|', "\r\n")
}

/// Everything that comes back until the connection ends.
fn exchange(gateway: &Gateway, bytes: &str) -> String {
    let mut client = gateway.connect();
    client.try_send(bytes);
    let mut answer = Vec::new();
    let _ = client.stream().read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Each is refused with 400, with a body that says `why` (empty: the engine's own, bare), and ends its connection.
fn all_refused(cases: &[(&str, &str)]) {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let mut wrong = Vec::new();
    for (template, why) in cases {
        let answer = exchange(&gateway, &raw(template));
        let is_alone = answer.matches("HTTP/1.1 ").count() == 1;
        let says_why = if why.is_empty() { answer.ends_with("\r\n\r\n") } else { answer.contains(why) };
        if !answer.starts_with("HTTP/1.1 400 ") || !is_alone || !says_why {
            wrong.push(format!("{template:?}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(upstream.count(), 0, "{:?}", upstream.requests());
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_length_beside_a_transfer_encoding_is_refused() {
    const WHY: &str = "Content-Length and Transfer-Encoding must not be sent together";
    const CASES: &[&str] = &[
        "POST /v1/chat/completions HTTP/1.1|Host: g|%KContent-Length: 5|Transfer-Encoding: chunked||0||",
        "POST /v1/chat/completions HTTP/1.1|Host: g|%KTransfer-Encoding: chunked|Content-Length: 5||0||",
        "POST /v1/files HTTP/1.1|Host: g|%Ktransfer-encoding: chunked|content-length: 5||0||",
        "POST /v1/files HTTP/1.1|CONTENT-LENGTH:5|Host: g|%KTRANSFER-ENCODING:chunked||0||",
        "POST /v1/files HTTP/1.1|cOnTeNt-LeNgTh:\t5|Host: g|%KTransfer-Encoding: Chunked||0||",
        "POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 0|Transfer-Encoding: CHUNKED||0||",
        "POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 5|Content-Length: 5|Transfer-Encoding: chunked||0||",
        "GET /v1/models HTTP/1.1|Host: g|%KContent-Length: 0|Transfer-Encoding: chunked||0||",
        "POST /v1/files HTTP/1.1|Host: g|%KTransfer-Encoding: chunked|Content-Length: 44||0||GET /v1/smuggled \
         HTTP/1.1|Host: g|X: ||",
    ];
    all_refused(&CASES.iter().map(|case| (*case, WHY)).collect::<Vec<_>>());
    // Without a key, too: framing comes first.
    all_refused(&[("POST / HTTP/1.1|Host: g|Content-Length: 5|Transfer-Encoding: chunked||0||", WHY)]);
}

#[test]
fn a_request_without_host_is_refused() {
    const WHY: &str = "The Host header is required";
    all_refused(&[
        ("GET /v1/models HTTP/1.1|%K|", WHY),
        ("GET /healthz HTTP/1.1||", WHY),
        ("GET /v1/models HTTP/1.0|%K|", WHY),
        ("POST /v1/chat/completions HTTP/1.1|%KContent-Length: 2||{}", WHY),
        ("GET /v1/models HTTP/1.1|Host: a|Host: b|%K|", ""),
        ("GET http://other/v1/models HTTP/1.1|Host: g|%K|", ""),
    ]);
}

#[test]
fn an_ambiguous_path_is_refused() {
    const WHY: &str = "The path must not contain dot segments, empty segments, %2e or %2f";
    const PATHS: &[&str] = &[
        "/v1/../admin",
        "/v1/..",
        "/v1/.",
        "/v1/./models",
        "/../v1/models",
        "/v1/%2e%2e/admin",
        "/v1/%2E%2e/admin",
        "/v1/.%2e/admin",
        "/v1/a%2fb",
        "/v1/a%2Fb",
        "/v1%2fmodels",
        "//v1/models",
        "/v1//models",
        "/v1/models//",
        "http://g/v1/../admin",
        "http://g//v1/models",
    ];
    let requests: Vec<_> = PATHS.iter().map(|path| format!("GET {path} HTTP/1.1|Host: g|%K|")).collect();
    all_refused(&requests.iter().map(|request| (request.as_str(), WHY)).collect::<Vec<_>>());
}

#[test]
fn dots_and_slashes_that_mean_nothing_pass() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let paths =
        ["/v1/models?up=../..//%2e%2f", "/v1/gpt-4.1", "/v1/...", "/v1/.hidden", "/v1/a..b/", "/v1/%20%25"];
    for path in paths {
        assert_eq!(gateway.connect().get(path, &secret("one")).status, 200, "{path}");
    }
    let arrived: Vec<_> = upstream.requests().into_iter().map(|request| request.line).collect();
    let sent: Vec<_> = paths.iter().map(|path| format!("GET {path} HTTP/1.1")).collect();
    assert_eq!(arrived, sent);
}

#[test]
fn a_head_that_is_not_http_is_refused() {
    all_refused(&[
        ("GET /v1/models HTTP/1.1|Host: g|%KX-Folded: a| b||", ""),
        ("GET /v1/models HTTP/1.1|Host: g|%KX-Folded: a|\tb||", ""),
        ("GET /v1/models HTTP/1.1|Host : g|%K|", ""),
        ("GET /v1/models HTTP/1.1|Host: g|%KNo-Colon||", ""),
        ("GET /v1/models HTTP/1.1|Host: g|%KX: a\0b||", ""),
        ("GET /v1/models HTTP/1.1|Host: g|%KX: a\rb||", ""),
        ("GET /v1/models HTTP/9.1|Host: g|%K|", ""),
        ("G\u{e4}T /v1/models HTTP/1.1|Host: g|%K|", ""),
        ("GET /v1/models|Host: g|%K|", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 2|Content-Length: 3||abc", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KContent-Length: +2||ab", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 0x2||ab", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KContent-Length: -2||ab", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 99999999999999999999999||ab", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KTransfer-Encoding: identity||ab", ""),
        ("POST /v1/files HTTP/1.1|Host: g|%KTransfer-Encoding: chunked, gzip||0||", ""),
        ("POST /v1/files HTTP/1.0|Host: g|%KTransfer-Encoding: chunked||0||", ""),
        ("\u{16}\u{3}\u{1}||", ""),
    ]);
}

#[test]
fn a_body_that_is_badly_framed_is_refused_and_reaches_no_model() {
    const HEAD: &str = "POST /v1/chat/completions HTTP/1.1|Host: g|%KTransfer-Encoding: chunked||";
    const WHY: &str = "The request body broke off or is badly framed";
    let long = format!("2|ab|0|X: {}||", "x".repeat(70_000));
    let bodies = [
        long.as_str(),
        "zz|ab|0||",
        "-1|ab|0||",
        "|ab|0||",
        "2;a\n0|ab|0||",
        "2|abc|0||",
        "2|ab0||",
        "2|ab|0|X: \0||",
        "fffffffffffffffe|ab|0||",
        "ffffffffffffffffff|ab|0||",
    ];
    let requests: Vec<_> = bodies.iter().map(|body| format!("{HEAD}{body}")).collect();
    all_refused(&requests.iter().map(|request| (request.as_str(), WHY)).collect::<Vec<_>>());
}

#[test]
fn what_is_pipelined_is_not_served() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let firsts = [
        "POST /v1/chat/completions HTTP/1.1|Host: g|%KContent-Length: 2||{}",
        "POST /v1/files HTTP/1.1|Host: g|%KContent-Length: 2||{}",
        "POST /v1/files HTTP/1.1|Host: g|%KTransfer-Encoding: chunked||2|{}|0||",
        "GET /v1/models HTTP/1.1|Host: g|%K|",
    ];
    for (number, first) in firsts.iter().enumerate() {
        let both = raw(&format!("{first}GET /v1/second HTTP/1.1|Host: g|%K|"));
        let answer = exchange(&gateway, &both);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{first}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{first}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{first}: {answer}");
        assert_eq!(upstream.count(), number + 1, "{first}");
    }
    assert!(upstream.requests().iter().all(|request| !request.line.contains("second")));
    // So it is after a refusal and after a health check.
    for first in ["GET /healthz HTTP/1.1|Host: g||", "GET /v1/models HTTP/1.1|Host: g||"] {
        let answer = exchange(&gateway, &raw(&format!("{first}GET /v1/second HTTP/1.1|Host: g|%K|")));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{first}: {answer}");
    }
    assert_eq!(upstream.count(), firsts.len());
}

#[test]
fn an_old_client_is_served_once_unless_it_asks_for_more() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    for path in ["/v1/chat/completions", "/v1/files"] {
        let request = format!("POST {path} HTTP/1.0|Host: g|%KContent-Length: 2||{{}}");
        let answer = exchange(&gateway, &raw(&request));
        assert!(answer.contains(" 200 ") && answer.ends_with("{}"), "{answer}");
        assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    }
    let mut kept = gateway.connect();
    for _ in 0..2 {
        kept.send(raw("GET /v1/models HTTP/1.0|Host: g|Connection: keep-alive|%K|"));
        assert_eq!(kept.answer().status, 200);
    }
    let asked = exchange(&gateway, &raw("GET /v1/models HTTP/1.1|Host: g|Connection: close|%K|"));
    assert!(asked.starts_with("HTTP/1.1 200 "), "{asked}");
}

#[test]
fn a_bare_line_feed_ends_a_line_and_hides_nothing() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    let fine = raw("GET /v1/models HTTP/1.1|Host: g|%KConnection: close||").replace("\r\n", "\n");
    assert!(exchange(&gateway, &fine).starts_with("HTTP/1.1 200 "));
    let hidden = raw("POST /v1/files HTTP/1.1|Host: g\nContent-Length: 5|%KTransfer-Encoding: chunked||0||");
    let answer = exchange(&gateway, &hidden);
    assert!(answer.contains("Content-Length and Transfer-Encoding must not be sent together"), "{answer}");
    assert_eq!(upstream.count(), 1);
}

/// RFC 9112 §3: where a request line is divided must not be guessed.
#[test]
fn a_target_with_white_space_or_a_control_is_refused() {
    let targets =
        ["/v1/mod els", " /v1/models", "/v1/models ", "/v1/mod\tels", "/v1/models?\0", "/v1/\u{7f}"];
    let requests: Vec<_> =
        targets.iter().map(|target| format!("GET {target} HTTP/1.1|Host: g|%K|")).collect();
    all_refused(&requests.iter().map(|request| (request.as_str(), "")).collect::<Vec<_>>());
}

/// Some servers drop a fragment, or take bytes beyond ASCII for letters; not every one does.
#[test]
fn a_target_beyond_ascii_or_with_a_fragment_is_refused() {
    const WHY: &str = "The request target must be of ASCII characters, without a fragment";
    let targets =
        ["/v1/m\u{f6}dels", "/v1/models?q=\u{f6}", "/v1/models#x", "/v1/models?q#x", "http://g/v1/models#x"];
    let requests: Vec<_> =
        targets.iter().map(|target| format!("GET {target} HTTP/1.1|Host: g|%K|")).collect();
    all_refused(&requests.iter().map(|request| (request.as_str(), WHY)).collect::<Vec<_>>());
    all_refused(&[("|GET /v1/models#x HTTP/1.1|Host: g|%K|", WHY)]);
}

/// Two servers could read a list of equal lengths in two ways, or refuse it.
#[test]
fn a_length_that_is_not_one_number_is_refused() {
    const WHY: &str = "The Content-Length header must be one number";
    let mut requests = Vec::new();
    for path in ["/v1/chat/completions", "/v1/files"] {
        for length in ["2|Content-Length: 2", "2|Content-Length: 02", "2, 2", "2,2"] {
            requests.push(format!("POST {path} HTTP/1.1|Host: g|%KContent-Length: {length}||{{}}"));
        }
    }
    all_refused(&requests.iter().map(|request| (request.as_str(), WHY)).collect::<Vec<_>>());
}

/// An upstream that obeys TRACE as RFC 9110 §9.3.8 has it would send the key back that the gateway put into it.
#[test]
fn trace_and_connect_reach_no_upstream() {
    let upstream = Upstream::start(|request, exchange| {
        let echo = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        exchange.answer("200 OK", "message/http", echo.collect::<String>());
    });
    let gateway = Gateway::start(&format!(
        "upstreams: {{llm: {{servers: [\"{}\"], authorization: Bearer the-upstreams-own}}}}\n\
         routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}}}]\nkeys:\n{}",
        upstream.url(),
        key("one", "")
    ));
    for (method, key) in [("TRACE", "%K"), ("TRACE", ""), ("trace", "%K"), ("Trace", "%K")] {
        for path in ["/v1/models", "/v1/chat/completions", "/healthz", "/elsewhere"] {
            let answer = exchange(&gateway, &raw(&format!("{method} {path} HTTP/1.1|Host: g|{key}|")));
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            let lower = answer.to_lowercase();
            assert!(
                lower.contains("\r\nallow: get, head, post, put, patch, delete, options\r\n"),
                "{answer}"
            );
            assert!(answer.contains(r#"{"error":"Method not allowed","#), "{answer}");
        }
    }
    // A target that is no path is no head.
    for (target, status) in [("upstream:443", "400"), ("/v1/models", "405")] {
        let answer = exchange(&gateway, &raw(&format!("CONNECT {target} HTTP/1.1|Host: g|%K|")));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    assert_eq!(upstream.connections(), 0, "{:?}", upstream.requests());
}

#[test]
fn a_host_that_is_none_is_refused() {
    const WHY: &str = "The Host header must be a host, with or without a port";
    let hosts =
        ["a b", "a\tb", "", "user@host", "host:port", "host:80:80", "a/b", "a,b c", "[::1", ":80", "a?b"];
    let requests: Vec<_> =
        hosts.iter().map(|host| format!("GET /v1/models HTTP/1.1|Host: {host}|%K|")).collect();
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    for request in &requests {
        let answer = exchange(&gateway, &raw(request));
        // Some the engine refuses by itself.
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(answer.contains(WHY) || answer.ends_with("\r\n\r\n"), "{request}: {answer}");
    }
    assert!(exchange(&gateway, &raw(&requests[0])).contains(WHY));
    for host in ["host", "host:8080", "127.0.0.1:80", "[::1]:80", "a-b.c_d.example"] {
        let answer =
            exchange(&gateway, &raw(&format!("GET /v1/models HTTP/1.1|Host: {host}|Connection: close|%K|")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    let named: Vec<_> = upstream.requests();
    assert_eq!(named[3].header("x-forwarded-host"), Some("[::1]:80"));
    assert_eq!(named.len(), 5);
}

/// A coding that the gateway cannot take off would reach the upstream without its name.
#[test]
fn a_transfer_coding_beside_chunked_is_refused() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    for path in ["/v1/chat/completions", "/v1/files"] {
        for coding in ["gzip, chunked", "GZIP,chunked", "gzip|Transfer-Encoding: chunked", "chunked, chunked"]
        {
            let request = format!("POST {path} HTTP/1.1|Host: g|%KTransfer-Encoding: {coding}||2|{{}}|0||");
            let answer = exchange(&gateway, &raw(&request));
            let is_ours = answer.starts_with("HTTP/1.1 501 ") && answer.contains("x-should-retry: false");
            // Some the engine refuses by itself.
            assert!(is_ours || answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
            assert!(is_ours || !coding.starts_with("gzip, "), "{request}: {answer}");
        }
        let fine = format!(
            "POST {path} HTTP/1.1|Host: g|Connection: close|%KTransfer-Encoding: Chunked ||2|{{}}|0||"
        );
        assert!(exchange(&gateway, &raw(&fine)).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_expectation_that_cannot_be_met_is_refused() {
    let upstream = Upstream::json("{}");
    let gateway = gateway(&upstream);
    for path in ["/v1/chat/completions", "/v1/files"] {
        for expects in ["200-ok", "100-continue, 200-ok", "100-continue|Expect: 200-ok", ""] {
            let request = format!("POST {path} HTTP/1.1|Host: g|%KExpect: {expects}|Content-Length: 2||{{}}");
            let answer = exchange(&gateway, &raw(&request));
            assert!(answer.starts_with("HTTP/1.1 417 "), "{request}: {answer}");
        }
    }
    assert_eq!(upstream.count(), 0);
    let fine =
        "POST /v1/files HTTP/1.1|Host: g|Connection: close|%KExpect: 100-Continue|Content-Length: 2||{}";
    assert!(exchange(&gateway, &raw(fine)).contains("HTTP/1.1 200 "));
}
