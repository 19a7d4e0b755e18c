//! Servers that answer before they have the whole request.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use data_encoding::HEXLOWER;
use safecache::auth::token::digest;

use crate::support::client::DEADLINE;
use crate::support::front::{House, PATHS};
use crate::support::tls::{Authority, TlsFront};
use crate::support::upstream::{Exchange, Request, Upstream};

/// More than all socket buffers on the way take.
const SIZE: usize = 24 * 1024 * 1024;

/// A server that answers as `how` says when it has a head, reads none of the body, and tells how much of it came
/// before its connection ended.
fn deaf(how: fn(&mut Exchange)) -> (Upstream, Receiver<usize>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::eager(move |_, exchange| {
        how(exchange);
        // It goes on only when the gateway has ended the connection.
        let came = exchange.body(2 * SIZE).len();
        exchange.close();
        // A test that is over does not listen any more.
        let _ = tell.lock().expect("no script panicked").send(came);
    });
    (upstream, told)
}

#[test]
fn an_early_answer_is_passed_on_and_its_connection_closed() {
    let (upstream, told) =
        deaf(|exchange| exchange.answer("413 Payload Too Large", "text/plain", "too much"));
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            let answer = client.ask(&format!("POST {path}"), &[], &vec![b'x'; SIZE]);
            let case = format!("{} {path}", client.name());
            assert_eq!((answer.status, answer.text().as_str()), (413, "too much"), "{case}");
            let came = told.recv_timeout(DEADLINE).expect("the connection ends");
            assert!(came < SIZE, "{case}: {came}");
        }
    }
}

#[test]
fn an_early_answer_is_passed_on_when_its_server_has_closed() {
    let upstream = Upstream::eager(|_, exchange| {
        exchange.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        // The rest of the request meets a closed socket.
        exchange.close();
    });
    let house = House::before(&[upstream.url()]);
    for path in PATHS {
        for mut client in house.fronts() {
            let answer = client.ask(&format!("POST {path}"), &[], &vec![b'x'; SIZE]);
            assert_eq!((answer.status, answer.text().as_str()), (401, "no"), "{} {path}", client.name());
        }
    }
}

/// Its head comes early, its body only when it has the whole request.
#[test]
fn what_an_early_head_leaves_of_the_request_is_still_sent() {
    let begin = |exchange: &mut Exchange| {
        exchange.begin("application/octet-stream");
    };
    whole_requests_arrive(begin);
}

#[test]
fn interim_answers_do_not_end_the_request() {
    let begin = |exchange: &mut Exchange| {
        exchange.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        exchange.begin("application/octet-stream");
    };
    whole_requests_arrive(begin);
}

/// A server begins its answer as `begin` says before it reads the body, and ends it with the body's hash.
fn whole_requests_arrive(begin: fn(&mut Exchange)) {
    let upstream = Upstream::eager(move |request: &Request, exchange| {
        begin(exchange);
        let length = request.header("content-length").expect("a length").parse().expect("a number");
        let body = exchange.body(length);
        exchange.chunk(HEXLOWER.encode(&digest(&body)));
        exchange.chunk("");
    });
    let authority = Authority::new();
    let front = TlsFront::before(upstream.address(), &authority.identity("model.test"));
    let plans = crate::support::front::Plans {
        upstream: ", tls: {ca: ca.pem, server_name: model.test}",
        ..Default::default()
    };
    let houses = [House::before(&[upstream.url()]), House::build(&[front.url()], plans, authority)];
    let body: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let length = SIZE.to_string();
    for house in &houses {
        for path in PATHS {
            for mut client in house.fronts() {
                let length = [("content-length", length.as_str())];
                let fields = if client.name() == "HTTP/2" { &length[..] } else { &[] };
                let answer = client.ask(&format!("POST {path}"), fields, &body);
                assert_eq!(answer.text(), HEXLOWER.encode(&digest(&body)), "{} {path}", client.name());
            }
        }
    }
}
