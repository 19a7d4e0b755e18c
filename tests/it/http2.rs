//! The TLS listener and what is HTTP/2's own.

use rustls::version::{TLS12, TLS13};

use crate::support::front::{CHAT, Front, House, JSON, PASSED, PATHS, Plans, unstored};
use crate::support::gateway::secret;
use crate::support::h2::{Frame, H2, HasBody};
use crate::support::tls::TlsClient;
use crate::support::upstream::Upstream;

#[test]
fn tls_of_both_versions_is_spoken_with_the_protocol_that_the_client_prefers() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    for (version, name) in
        [(&TLS12, rustls::ProtocolVersion::TLSv1_2), (&TLS13, rustls::ProtocolVersion::TLSv1_3)]
    {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["h2"], Some("h2")),
            (&["http/1.1"], Some("http/1.1")),
            (&[], None),
        ] {
            let config = house.authority.client(&[version], offered);
            let mut client = TlsClient::connect(house.tls_address(), config).expect("a handshake");
            assert_eq!(client.version(), Some(name));
            assert_eq!(client.alpn().as_deref(), agreed, "{offered:?}");
            if agreed == Some("h2") {
                continue;
            }
            client.send(format!(
                "POST {PASSED} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
                 Content-Length: 2\r\n\r\n{{}}",
                secret("one")
            ));
            let (answer, is_clean) = client.rest();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
            assert!(is_clean, "the end of TLS is told");
        }
    }
    let seen = upstream.requests();
    assert!(seen.iter().all(|request| request.header("x-forwarded-proto") == Some("https")));
}

#[test]
fn a_protocol_that_is_not_spoken_is_refused_in_the_handshake() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let config = house.authority.client(rustls::ALL_VERSIONS, &["spdy/3"]);
    assert!(TlsClient::connect(house.tls_address(), config).is_err());
    assert_eq!(house.h2().chat(PASSED).status, 200, "others are served on");
}

#[test]
fn all_clients_that_still_send_read_their_401() {
    const CONNECTIONS: usize = 4;
    const EACH: usize = 25;
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let body = vec![b'x'; 5 * 1024 * 1024];
    let told: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (house, body) = (&house, &body);
                scope.spawn(move || {
                    let mut h2 = H2::connect(house.tls_address(), &house.authority);
                    let path = PATHS[connection % 2];
                    let tell = |_| {
                        let request = H2::request(&format!("POST {path}"), "no-key-of-anybody", JSON);
                        let answer = h2.upload(request, body).expect("an answer");
                        let is_told = answer.status == 401 && answer.text().contains("Invalid API key");
                        usize::from(is_told)
                    };
                    (0..EACH).map(tell).sum::<usize>()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no client panicked")).sum()
    });
    assert_eq!(told, 100);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn streams_of_one_connection_that_still_send_read_their_401_side_by_side() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let Front::H2(mut h2, _) = house.h2() else { unreachable!("it is HTTP/2") };
    let mut streams: Vec<_> = (0..10)
        .map(|_| h2.open(H2::request("POST /v1/plain", "no-key-of-anybody", JSON), HasBody::Yes))
        .collect();
    for stream in &mut streams {
        h2.send(stream, &[b'x'; 40_000]);
    }
    for stream in &mut streams {
        assert_eq!(h2.head(stream).expect("a head").status, 401);
        assert!(matches!(h2.frame(stream), Frame::Data(_)));
        assert!(matches!(h2.frame(stream), Frame::End));
    }
    assert_eq!(house.h2().chat(PASSED).status, 200);
}

#[test]
fn a_request_without_authority_is_refused() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let Front::H2(mut h2, _) = house.h2() else { unreachable!("it is HTTP/2") };
    for host in [None, Some("gateway.test")] {
        let mut request = http::Request::builder()
            .version(http::Version::HTTP_11)
            .method("GET")
            .uri("/v1/plain")
            .header("authorization", format!("Bearer {}", secret("one")));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let mut stream = h2.open(request.body(()).expect("a request"), HasBody::No);
        assert_eq!(h2.head(&mut stream).expect("a head").status, 400, "{host:?}");
    }
    assert_eq!(upstream.count(), 0);
    let mut stream = h2.open(H2::request("GET /v1/plain", &secret("one"), &[]), HasBody::No);
    assert_eq!(h2.head(&mut stream).expect("a head").status, 200, "the connection is served on");
}

#[test]
fn answers_carry_no_field_of_a_connection() {
    let upstream = Upstream::start(|_, exchange| {
        exchange.begin("text/event-stream");
        exchange.chunk("data: 1\n\n");
        exchange.chunk("");
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        let mut client = house.h2();
        for line in [format!("POST {path}"), "GET /nothing".to_owned()] {
            let answer =
                client.ask(&line, JSON, if line.starts_with("POST") { CHAT.as_bytes() } else { b"" });
            for name in ["connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection"] {
                assert_eq!(answer.header(name), None, "{line}");
            }
        }
    }
}

#[test]
fn ambiguous_paths_and_large_heads_are_refused() {
    let upstream = unstored();
    let house = House::before(&[upstream.url()]);
    let mut client = house.h2();
    for path in ["/v1/../admin", "/v1/%2e/x", "/v1/a%2Fb", "/v1//x"] {
        assert_eq!(client.ask(&format!("GET {path}"), &[], b"").status, 400, "{path}");
    }
    let many: Vec<_> = (0..101).map(|number| (format!("x-{number}"), "1")).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(client.ask("GET /v1/plain", &many, b"").status, 431);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_http2_client_that_says_nothing_is_cut_in_the_time_of_a_head() {
    let upstream = unstored();
    let plans = Plans { more: "limits: {head: {timeout: 300ms}}", ..Plans::default() };
    let house = House::planned(&[upstream.url()], plans);
    let config = house.authority.client(&[&TLS13], &["h2"]);
    let client = TlsClient::connect(house.tls_address(), config).expect("a handshake");
    house.gateway.eventually("the silent one is counted and cut", |gateway| {
        gateway.metric("safecache_heads_refused_total") == 1.0
            && gateway.metric("safecache_connections") == 0.0
    });
    drop(client);
    let mut talking = house.h2();
    assert_eq!(talking.chat(PASSED).status, 200, "who talks is served");
}
