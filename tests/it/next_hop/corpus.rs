//! Odd requests, by the section of the RFC that they try, and what becomes of each.

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// It arrives as `METHOD TARGET` with this body, and its client gets its answer.
    Passed(&'static str, &'static str),
    /// The gateway refuses it with this status, in its own words.
    Refused(u16),
    /// The engine refuses it: 400 without a body.
    Bare,
    /// Its head does not come to its end: its connection ends without a word.
    Silence,
    /// Its body does not: its client has left, and is told nothing.
    Left,
    /// On a cached path the one, where bodies are passed on as they come the other.
    Either(&'static Expected, &'static Expected),
}

use Expected::{Bare, Either, Left, Passed, Refused, Silence};

/// Requests that try one section.
pub(super) struct Section {
    /// RFC and section.
    pub(super) rfc: &'static str,
    /// What it asks of a reader.
    pub(super) rule: &'static str,
    /// Requests and their fate. In a request `|` is CRLF and a character up to U+00FF one byte; `%P` is the path, `%K`
    /// the lines with the key and a request id, `%H` these behind a Host and `Connection: close`, `%L` 9000 times an
    /// x. After a closing `$` the client says that it has said all; others wait.
    pub(super) cases: &'static [(&'static str, Expected)],
}

const GET: Expected = Passed("GET %P", "");
const POST: Expected = Passed("POST %P", "");
const AB: Expected = Passed("POST %P", "ab");

/// All of them.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        rfc: "RFC 9112 §2.2",
        rule: "Lines end in CRLF; a lone LF may be taken for an end, a lone CR never, and a line before the request \
               may be empty.",
        cases: &[
            ("GET %P HTTP/1.1\nHost: g\nConnection: close\n%K\n", GET),
            ("POST %P HTTP/1.1\n%HContent-Length: 2\n\nab", AB),
            ("POST %P HTTP/1.1|%HX: a\nContent-Length: 2||ab", AB),
            ("POST %P HTTP/1.1|%HX: a\nTransfer-Encoding: chunked||2|ab|0||", AB),
            ("POST %P HTTP/1.1|%HContent-Length: 2|\nabGET /v1/smuggled HTTP/1.1||", AB),
            ("GET %P HTTP/1.1\r%H|", Bare),
            ("GET %P HTTP/1.1|%HX: a\rContent-Length: 2||ab", Bare),
            ("GET %P HTTP/1.1|%HX: a\r|", Bare),
            ("GET %P HTTP/1.1\r\r\n%H|", Bare),
            ("GET %P HTTP/1.1|%H\r\r\n|", Bare),
            ("|GET %P HTTP/1.1|%H|", GET),
            ("||\n|POST %P HTTP/1.1|%HContent-Length: 2||ab", AB),
            (" |GET %P HTTP/1.1|%H|", Bare),
            ("\0GET %P HTTP/1.1|%H|", Bare),
            ("GET %P HTTP/1.1| X: a|%H|", Bare),
            ("GET %P HTTP/1.1|\tTransfer-Encoding: chunked|%H|", Bare),
            ("GET %P HTTP/1.1|%H$", Silence),
            ("POST %P HTTP/1.1|%HContent-Length: 2|", Silence),
        ],
    },
    Section {
        rfc: "RFC 9112 §2.3",
        rule: "A version is HTTP/ and two digits with a dot between; another major version is another protocol.",
        cases: &[
            ("GET %P HTTP/1.2|%H|", Bare),
            ("GET %P HTTP/2.0|%H|", Bare),
            ("GET %P HTTP/0.9|%H|", Bare),
            ("GET %P HTTP/1.10|%H|", Bare),
            ("GET %P HTTP/01.1|%H|", Bare),
            ("GET %P HTTP/1,1|%H|", Bare),
            ("GET %P HTTP/1|%H|", Bare),
            ("GET %P http/1.1|%H|", Bare),
            ("GET %P HTTP/1.1 |%H|", Bare),
            ("GET %P|%H|", Bare),
            ("GET %P||", Bare),
            ("PRI * HTTP/2.0||SM||", Bare),
            ("\u{16}\u{3}\u{1}\u{2}\0\u{1}||", Bare),
        ],
    },
    Section {
        rfc: "RFC 9112 §3",
        rule: "A request line is a method, a target and a version with one space between them; what has more may be \
               refused.",
        cases: &[
            ("GET\t%P\tHTTP/1.1|%H|", Bare),
            (" GET %P HTTP/1.1|%H|", Bare),
            ("GET  %P HTTP/1.1|%H|", Bare),
            ("GET %P  HTTP/1.1|%H|", Bare),
            ("GET %P HTTP/1.1 HTTP/1.1|%H|", Bare),
            ("GET %P x HTTP/1.1|%H|", Bare),
            ("GET HTTP/1.1|%H|", Bare),
            ("GET|%H|", Bare),
            ("%P HTTP/1.1|%H|", Bare),
            ("G\0T %P HTTP/1.1|%H|", Bare),
            ("GET: %P HTTP/1.1|%H|", Bare),
            ("G\u{e4}T %P HTTP/1.1|%H|", Bare),
            ("M-SEARCH %P HTTP/1.1|%H|", Passed("M-SEARCH %P", "")),
            ("HEAD %P HTTP/1.1|%H|", Passed("HEAD %P", "")),
        ],
    },
    Section {
        rfc: "RFC 9112 §3.2",
        rule: "A target has one of four forms, and a request one Host, which an absolute target must not contradict.",
        cases: &[
            ("GET http://g%P HTTP/1.1|%H|", GET),
            ("POST HTTP://g%P HTTP/1.1|%HContent-Length: 2||ab", AB),
            ("GET http://other%P HTTP/1.1|%H|", Bare),
            ("GET http://user@g%P HTTP/1.1|%H|", Bare),
            ("GET http://g:80%P HTTP/1.1|%H|", Bare),
            ("GET https://g%P HTTP/1.1|%H|", GET),
            ("GET http://g HTTP/1.1|%H|", Refused(404)),
            ("GET ftp://g%P HTTP/1.1|%H|", GET),
            ("GET http:%P HTTP/1.1|%H|", Bare),
            ("GET http://%P HTTP/1.1|%H|", Bare),
            ("OPTIONS * HTTP/1.1|%H|", Refused(404)),
            ("GET * HTTP/1.1|%H|", Refused(404)),
            ("GET g:80 HTTP/1.1|%H|", Refused(404)),
            ("GET v1/models HTTP/1.1|%H|", Refused(404)),
            ("GET %P#x HTTP/1.1|%H|", Refused(400)),
            ("GET %P?a=//../%2e|%H|", Bare),
            ("GET %P?a=//../%2e%00 HTTP/1.1|%H|", Passed("GET %P?a=//../%2e%00", "")),
            ("GET %P?\0 HTTP/1.1|%H|", Bare),
            ("GET %P\u{7f} HTTP/1.1|%H|", Bare),
            ("GET %P\tx HTTP/1.1|%H|", Bare),
            ("GET %P\u{c3}\u{a4} HTTP/1.1|%H|", Refused(400)),
            ("GET %P\u{e4} HTTP/1.1|%H|", Bare),
            ("GET %P\\..\\x HTTP/1.1|%H|", Passed("GET %P\\..\\x", "")),
            ("GET %P/../x HTTP/1.1|%H|", Refused(400)),
            ("GET %P/%2E%2E/x HTTP/1.1|%H|", Refused(400)),
            ("GET /%P HTTP/1.1|%H|", Refused(400)),
            ("GET %P HTTP/1.1|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host:|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host: g|%H|", Bare),
            ("GET %P HTTP/1.1|Host: other|%H|", Bare),
            ("GET %P HTTP/1.1|%HHOST: other||", Bare),
            ("GET %P HTTP/1.1|Host: g, other|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host: user@g|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host: g/x|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host: g:0x50|Connection: close|%K|", Refused(400)),
            ("GET %P HTTP/1.1|Host: g\0|Connection: close|%K|", Bare),
            ("GET %P HTTP/1.1|Host : g|Connection: close|%K|", Bare),
            ("GET %P HTTP/1.1|X: a| Host: g|Connection: close|%K|", Bare),
        ],
    },
    Section {
        rfc: "RFC 9112 §5.1",
        rule: "No white space stands between a field's name and its colon: such a request is refused.",
        cases: &[
            ("POST %P HTTP/1.1|%HContent-Length : 2||ab", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding : chunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding\t: chunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2|Transfer-Encoding : chunked||0||", Bare),
            ("GET %P HTTP/1.1|%H: a||", Bare),
            ("GET %P HTTP/1.1|%HNo-Colon||", Bare),
            ("GET %P HTTP/1.1|%HX(: a||", Bare),
            ("POST %P HTTP/1.1|%H\0Content-Length: 2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length\0: 2||ab", Bare),
            ("POST %P HTTP/1.1|%H\u{b}Transfer-Encoding: chunked||0||", Bare),
            ("POST %P HTTP/1.1|%HContent_Length: 2|Content-Length: 0||", POST),
            ("POST %P HTTP/1.1|%HTransfer_Encoding: chunked|Content-Length: 2||ab", AB),
        ],
    },
    Section {
        rfc: "RFC 9112 §5.2",
        rule: "A value that goes on in a line that begins with white space is refused, or each such break is made a \
               space.",
        cases: &[
            ("GET %P HTTP/1.1|%HX: a| b||", Bare),
            ("GET %P HTTP/1.1|%HX: a|\tb||", Bare),
            ("GET %P HTTP/1.1|%HX: a\n b||", Bare),
            ("GET %P HTTP/1.1|%HX: a| |", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding:| chunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HContent-Length:|\t2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2| 0||ab", Bare),
            ("POST %P HTTP/1.1|%HX: a| Transfer-Encoding: chunked|Content-Length: 2||ab", Bare),
        ],
    },
    Section {
        rfc: "RFC 9110 §5.5",
        rule: "A field value holds neither NUL nor CR nor LF; bytes above ASCII have no meaning and do no harm.",
        cases: &[
            ("GET %P HTTP/1.1|%HX: a\0b||", Bare),
            ("GET %P HTTP/1.1|%HX: \u{1}||", Bare),
            ("GET %P HTTP/1.1|%HX: \u{7f}||", Bare),
            ("GET %P HTTP/1.1|%HX: \u{ff}\u{80}||", GET),
            ("GET %P HTTP/1.1|%HX:||", GET),
            ("GET %P HTTP/1.1|%HX:\t a \t||", GET),
        ],
    },
    Section {
        rfc: "RFC 9112 §6.1",
        rule: "A Transfer-Encoding that is not understood, or that does not end in chunked, or that an HTTP/1.0 \
               client sends, leaves no way to tell the body's end.",
        cases: &[
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0||", AB),
            ("POST %P HTTP/1.1|%Htransfer-ENCODING:\tCHUNKED \t||2|ab|0||", AB),
            ("GET %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0||", Passed("GET %P", "ab")),
            ("GET %P HTTP/1.1|%HTransfer-Encoding: chunked||0||", GET),
            ("POST %P HTTP/1.1|%HTransfer-Encoding:||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: identity||ab", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: cow||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: xchunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunke||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: \"chunked\"||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked;q=1||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: \u{b}chunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked\u{a0}||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: ,chunked||2|ab|0||", Refused(501)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked,||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked, identity||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: identity, chunked||2|ab|0||", Refused(501)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: gzip, chunked||2|ab|0||", Refused(501)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked, chunked||2|ab|0||", Refused(501)),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Transfer-Encoding: chunked||2|ab|0||",
                Refused(501),
            ),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: identity|Transfer-Encoding: chunked||2|ab|0||",
                Refused(501),
            ),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Transfer-Encoding: identity||2|ab|0||", Bare),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Transfer-Encoding:||2|ab|0||", Bare),
            ("POST %P HTTP/1.0|%HTransfer-Encoding: chunked||2|ab|0||", Bare),
            ("POST %P HTTP/1.0|%HTransfer-Encoding: chunked|Content-Length: 2||ab", Bare),
            ("POST %P HTTP/1.1|%HTE: chunked|Content-Length: 2||ab", AB),
        ],
    },
    Section {
        rfc: "RFC 9112 §6.2",
        rule: "A Content-Length is digits; several values, or anything else in one, are an error unless all are equal.",
        cases: &[
            ("POST %P HTTP/1.1|%HContent-Length: 2||ab", AB),
            ("POST %P HTTP/1.1|%HContent-Length:\t2 \t||ab", AB),
            ("POST %P HTTP/1.1|%HContent-Length: 02||ab", AB),
            ("POST %P HTTP/1.1|%HContent-Length: 2|Content-Length: 2||ab", Refused(400)),
            ("POST %P HTTP/1.1|%HContent-Length: 2|Content-Length: 02||ab", Refused(400)),
            ("POST %P HTTP/1.1|%HContent-Length: 2|content-length: 3||abc", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 0|Content-Length: 2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2, 2||ab", Refused(400)),
            ("POST %P HTTP/1.1|%HContent-Length: 2,3||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: +2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: -2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: -0||", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 0x2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2 2||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2a||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2.0||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 1e1||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: \"2\"||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 2\u{b}||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: \u{b2}||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length:||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 18446744073709551618||ab", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 99999999999||ab$", Either(&Refused(413), &Left)),
            ("GET %P HTTP/1.1|%HContent-Length: 2||ab", Passed("GET %P", "ab")),
            ("POST %P HTTP/1.1|%HContent-Length: 0||", POST),
            ("POST %P HTTP/1.1|%HContent-Length: 4||ab$", Left),
        ],
    },
    Section {
        rfc: "RFC 9112 §6.3",
        rule: "A length beside a Transfer-Encoding is how requests are smuggled; without either there is no body.",
        cases: &[
            ("POST %P HTTP/1.1|%HContent-Length: 5|Transfer-Encoding: chunked||0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Content-Length: 5||0||", Refused(400)),
            ("POST %P HTTP/1.1|Content-Length: 5|%HTransfer-Encoding: chunked||0||", Refused(400)),
            ("POST %P HTTP/1.1|%HContent-Length:5|X: a|TRANSFER-ENCODING:chunked||0||", Refused(400)),
            ("POST %P HTTP/1.1|%HcOnTeNt-LeNgTh:\t5|Transfer-Encoding: Chunked||0||", Refused(400)),
            ("POST %P HTTP/1.1|%HContent-Length: 5|Transfer-Encoding: chunked, identity||0||", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 5|Transfer-Encoding: identity||ab|0|", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 5|Transfer-Encoding:||0||", Bare),
            ("POST %P HTTP/1.1|%HContent-Length: 5|Transfer-Encoding: xchunked||0||", Bare),
            ("POST %P HTTP/1.1|%HX: a\nContent-Length: 5|Transfer-Encoding: chunked||0||", Refused(400)),
            (
                "POST %P HTTP/1.1|%HContent-Length: 5|Content-Length: 5|Transfer-Encoding: chunked||0||",
                Refused(400),
            ),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Content-Length: 2, 3||0||", Refused(400)),
            ("GET %P HTTP/1.1|%HContent-Length: 0|Transfer-Encoding: chunked||0||", Refused(400)),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked|Content-Length: 44||0||\
                 GET /v1/smuggled HTTP/1.1|Host: g|%K|",
                Refused(400),
            ),
            (
                "POST %P HTTP/1.1|%HContent-Length: 4|Transfer-Encoding: chunked||\
                 3d|GET /v1/smuggled HTTP/1.1|%H|0||",
                Refused(400),
            ),
            ("POST %P HTTP/1.1|%H|", POST),
            ("POST %P HTTP/1.1|%H|GET /v1/smuggled HTTP/1.1|%H|", POST),
        ],
    },
    Section {
        rfc: "RFC 9112 §7.1",
        rule: "A chunk is its size in hexadecimal digits, which may not overflow, a line's end, so many bytes, and a \
               line's end.",
        cases: &[
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||1|a|1|b|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||000002|ab|000||", AB),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked||A|0123456789|0||",
                Passed("POST %P", "0123456789"),
            ),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked||a|0123456789|0||",
                Passed("POST %P", "0123456789"),
            ),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||0x2|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||+2|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||-2|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|| 2|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2 |ab|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2\t|ab|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2 3|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2_|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2\0|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked|||ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||zz|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||10000000000000002|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||fffffffffffffffe|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2\nab\n0\n\n", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2\rab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab\n0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|abc|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|a|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|$", Left),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|$", Left),
        ],
    },
    Section {
        rfc: "RFC 9112 §7.1.1",
        rule: "A chunk's extension is skipped; it ends where its line ends and has a bound.",
        cases: &[
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a=b|ab|0;c||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a=\"b;c\"|ab|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2 ; a|ab|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||;a|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a\nab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a\n0|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a\rb|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a\0|ab|0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;a=\"|ab|0||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2;%L%L%L%L%L%L%L%L|ab|0||", Refused(400)),
        ],
    },
    Section {
        rfc: "RFC 9112 §7.1.2",
        rule: "Trailers are no part of the head: what frames, routes or authorises is not taken from them, and they \
               may be left out.",
        cases: &[
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|X: y||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|Content-Length: 9||", AB),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|Transfer-Encoding: identity|Host: other||",
                AB,
            ),
            ("POST %P HTTP/1.1|Host: g|Transfer-Encoding: chunked||2|ab|0|%K|", Refused(401)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|no colon||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|X: a| b||", AB),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|X: a\0||", Refused(400)),
            ("POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|GET /v1/smuggled HTTP/1.1|%H|", AB),
            (
                "POST %P HTTP/1.1|%HTransfer-Encoding: chunked||2|ab|0|\
                 X: %L%L|X: %L%L|X: %L%L|X: %L%L||",
                Refused(400),
            ),
        ],
    },
    Section {
        rfc: "RFC 9112 §9.3",
        rule: "Whether another request may follow depends on the version and on Connection; what follows is a request \
               of its own.",
        cases: &[
            ("POST %P HTTP/1.0|%HContent-Length: 2||ab", AB),
            ("POST %P HTTP/1.0|Host: g|%KContent-Length: 2||ab", AB),
            ("GET %P HTTP/1.0|Host: g|%K|", GET),
            ("GET %P HTTP/1.0|Host: g|Connection: keep-alive|%K|", GET),
            ("GET %P HTTP/1.0|%K|", Refused(400)),
            ("POST %P HTTP/1.0|Host: g|Connection: keep-alive|%K|GET /v1/second HTTP/1.0|Host: g|%K|", POST),
            ("GET %P HTTP/1.1|Host: g|%K|", GET),
            ("GET %P HTTP/1.1|Host: g|Connection: keep-alive, close|%K|", GET),
            ("POST %P HTTP/1.1|Host: g|%KContent-Length: 2||abPOST /v1/second HTTP/1.1|Host: g|%K|", AB),
            ("POST %P HTTP/1.1|Host: g|%KContent-Length: 2||ab|POST /v1/second HTTP/1.1|Host: g|%K|", AB),
            ("POST %P HTTP/1.1|Host: g|%KContent-Length: 0||GET /v1/second HTTP/1.1|Host: g|%K|", POST),
            ("GET %P HTTP/1.1|Host: g|%K|GET /v1/second HTTP/1.1|Host: g|%K|", GET),
            (
                "POST %P HTTP/1.1|Host: g|%KTransfer-Encoding: chunked||2|ab|0||GET /v1/second HTTP/1.1|Host: g|%K|",
                AB,
            ),
            ("GET %P HTTP/1.1|Host: g||GET /v1/second HTTP/1.1|Host: g|%K|", Refused(401)),
            ("GET /healthz/x HTTP/1.1|Host: g|%K|GET /v1/second HTTP/1.1|Host: g|%K|", Refused(404)),
            ("GET %P HTTP/1.1|Host: g|%K|GET /v1/half", GET),
            ("GET %P HTTP/1.1|Host: g|%K|\0\0\0", GET),
        ],
    },
    Section {
        rfc: "RFC 9110 §7.6.1",
        rule: "What Connection names concerns this connection and is not sent on, but for what frames or routes.",
        cases: &[
            ("POST %P HTTP/1.1|%HConnection: Content-Length|Content-Length: 2||ab", AB),
            ("POST %P HTTP/1.1|%HConnection: Transfer-Encoding|Transfer-Encoding: chunked||2|ab|0||", AB),
            ("POST %P HTTP/1.1|%HConnection: Host, Content-Type|Content-Length: 2||ab", AB),
            ("GET %P HTTP/1.1|%HConnection: X-Forwarded-For, Authorization, X|X: a||", GET),
            (
                "POST %P HTTP/1.1|%HKeep-Alive: timeout=9|Proxy-Connection: keep-alive|TE: trailers|Content-Length: 2||ab",
                AB,
            ),
        ],
    },
    Section {
        rfc: "RFC 9110 §7.8",
        rule: "Upgrade asks for another protocol; a server that does not change it answers as if it were not there.",
        cases: &[
            (
                "GET %P HTTP/1.1|Host: g|Connection: Upgrade, HTTP2-Settings|Upgrade: h2c|HTTP2-Settings: AAMAAABk|%K|",
                GET,
            ),
            ("POST %P HTTP/1.1|Host: g|Connection: Upgrade|Upgrade: h2c|%KContent-Length: 2||ab", AB),
            ("GET %P HTTP/1.1|Host: g|Connection: Upgrade|Upgrade: TLS/1.0|%K|", GET),
            (
                "GET %P HTTP/1.1|Host: g|Connection: Upgrade|Upgrade: websocket|%K|GET /v1/second HTTP/1.1|Host: g|%K|",
                GET,
            ),
            (
                "GET /socket/x HTTP/1.1|Host: g|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==|%K|\
                 GET /v1/second HTTP/1.1|Host: g|%K|",
                Passed("GET /socket/x", ""),
            ),
            (
                "GET /socket/x HTTP/1.1|Host: g|Connection: Upgrade|Upgrade: h2c|%K|PRI * HTTP/2.0||SM||",
                Passed("GET /socket/x", ""),
            ),
        ],
    },
    Section {
        rfc: "RFC 9110 §9.3.6",
        rule: "CONNECT asks for a tunnel, and TRACE for what a server was sent; neither is for a gateway to pass on.",
        cases: &[
            ("CONNECT g:443 HTTP/1.1|%H|", Refused(405)),
            ("CONNECT %P HTTP/1.1|%H|", Refused(405)),
            ("CONNECT g:443 HTTP/1.1|%HContent-Length: 2||ab", Refused(405)),
            ("connect %P HTTP/1.1|%H|GET /v1/second HTTP/1.1|%H|", Refused(405)),
            ("TRACE %P HTTP/1.1|%H|", Refused(405)),
            ("TRACE %P HTTP/1.1|%HContent-Length: 2||ab", Refused(405)),
        ],
    },
    Section {
        rfc: "RFC 9110 §10.1.1",
        rule: "A client that expects to be told to go on is told so or refused; another expectation is refused.",
        cases: &[
            ("POST %P HTTP/1.1|%HExpect: 100-continue|Content-Length: 2||ab", AB),
            ("POST %P HTTP/1.1|%HExpect: 100-CONTINUE|Transfer-Encoding: chunked||2|ab|0||", AB),
            ("POST %P HTTP/1.1|%HExpect: 200-ok|Content-Length: 2||ab", Refused(417)),
            ("POST %P HTTP/1.1|%HExpect: 100-continue, x|Content-Length: 2||ab", Refused(417)),
            (
                "POST %P HTTP/1.1|%HExpect: 100-continue|Expect: 100-continue|Content-Length: 2||ab",
                Refused(417),
            ),
            ("POST %P HTTP/1.1|%HExpect:|Content-Length: 2||ab", Refused(417)),
            ("POST %P HTTP/1.1|%HExpect: 100-continue|Content-Length: 4||GET ", Passed("POST %P", "GET ")),
        ],
    },
];
