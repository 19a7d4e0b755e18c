//! A gateway with a plain and a TLS listener, and one way to ask it over HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, key, secret};
use crate::support::h2::{Frame, H2, HasBody, Stream};
use crate::support::tls::{Authority, GATEWAY};
use crate::support::upstream::Upstream;

/// The path whose answers go through `fetch` and a recording.
pub(crate) const CACHED: &str = "/v1/chat/completions";
/// A path that is passed on as it comes.
pub(crate) const PASSED: &str = "/v1/plain";
/// Both.
pub(crate) const PATHS: [&str; 2] = [CACHED, PASSED];

/// A running gateway.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) authority: Authority,
}

/// What is changed of the usual configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Plans<'a> {
    /// Members of the upstream after its servers.
    pub(crate) upstream: &'a str,
    /// Members of the route.
    pub(crate) route: &'a str,
    /// Further lines.
    pub(crate) more: &'a str,
}

impl House {
    /// A gateway before `servers`.
    pub(crate) fn before(servers: &[String]) -> Self {
        Self::build(servers, Plans::default(), Authority::new())
    }

    /// The same, otherwise configured.
    pub(crate) fn planned(servers: &[String], plans: Plans<'_>) -> Self {
        Self::build(servers, plans, Authority::new())
    }

    /// The same, with an authority that the test knows already; its certificate is in `ca.pem`.
    pub(crate) fn build(servers: &[String], plans: Plans<'_>, authority: Authority) -> Self {
        Self::build_in(TempDir::new().expect("a temporary folder"), servers, plans, authority)
    }

    /// The same in a folder that the test has filled already.
    pub(crate) fn build_in(
        folder: TempDir,
        servers: &[String],
        plans: Plans<'_>,
        authority: Authority,
    ) -> Self {
        authority.identity(GATEWAY).write(folder.path());
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("written");
        let servers: Vec<_> = servers
            .iter()
            .map(|server| if server.starts_with('{') { server.clone() } else { format!("\"{server}\"") })
            .collect();
        let yaml = format!(
            "listen: [\"127.0.0.1:0\", {{address: \"127.0.0.2:0\", tls: {{cert: cert.pem, key: key.pem}}}}]\n\
             upstreams: {{llm: {{servers: [{}]{}}}}}\n\
             routes: [{{path: /v1/*, upstream: llm, cache: {{ttl: 1h}}{}}}]\n{}\nkeys:\n{}",
            servers.join(", "),
            plans.upstream,
            plans.route,
            plans.more,
            key("one", "")
        );
        Self { gateway: Gateway::start_in(folder, &yaml), authority }
    }

    /// Ends this one in order, and starts another on its folder; it begins at the same time of day.
    pub(crate) fn followed_by(self, servers: &[String], plans: Plans<'_>) -> Self {
        Self::build_in(self.gateway.into_folder(), servers, plans, self.authority)
    }

    /// Where TLS is spoken.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.gateway.running().data_addresses()[1]
    }

    /// A client over HTTP/1.1.
    pub(crate) fn h1(&self) -> Front {
        Front::H1(Box::new(self.gateway.connect()))
    }

    /// A client over HTTP/2.
    pub(crate) fn h2(&self) -> Front {
        Front::H2(Box::new(self.http2()), None)
    }

    /// The same with nothing begun.
    pub(crate) fn http2(&self) -> H2 {
        H2::connect(self.tls_address(), &self.authority)
    }

    /// One of each.
    pub(crate) fn fronts(&self) -> [Front; 2] {
        [self.h1(), self.h2()]
    }
}

/// A client over either protocol, one request at a time.
pub(crate) enum Front {
    /// HTTP/1.1.
    H1(Box<Client>),
    /// HTTP/2, and the request that is under way.
    H2(Box<H2>, Option<Box<Stream>>),
}

/// What comes of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The next bytes.
    Bytes(Vec<u8>),
    /// Its proper end.
    End,
    /// It will not come to its end.
    Broken,
}

impl Front {
    /// Its protocol, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::H1(_) => "HTTP/1.1",
            Self::H2(..) => "HTTP/2",
        }
    }

    /// Sends a request with the house's key. A POST has a body, if only an empty one.
    pub(crate) fn send(&mut self, line: &str, fields: &[(&str, &str)], body: &[u8]) {
        match self {
            Self::H1(client) => {
                let fields: String =
                    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                client.request(line, &secret("one"), &fields, body);
            }
            Self::H2(h2, stream) => {
                let has_body = if body.is_empty() { HasBody::No } else { HasBody::Yes };
                let mut opened = h2.open(H2::request(line, &secret("one"), fields), has_body);
                if !body.is_empty() {
                    h2.send(&mut opened, body);
                }
                *stream = Some(Box::new(opened));
            }
        }
    }

    /// The final head.
    pub(crate) fn head(&mut self) -> Answer {
        match self {
            Self::H1(client) => loop {
                let head = client.head();
                if head.status >= 200 {
                    return head;
                }
            },
            Self::H2(h2, stream) => {
                h2.head(stream.as_mut().expect("a request")).expect("the head of an answer")
            }
        }
    }

    /// The next piece of a body without length.
    pub(crate) fn piece(&mut self) -> Piece {
        match self {
            Self::H1(client) => match client.chunk() {
                None => Piece::Broken,
                Some(bytes) if bytes.is_empty() => Piece::End,
                Some(bytes) => Piece::Bytes(bytes),
            },
            Self::H2(h2, stream) => match h2.frame(stream.as_mut().expect("a request")) {
                Frame::Data(bytes) => Piece::Bytes(bytes),
                Frame::End => Piece::End,
                Frame::Broken => Piece::Broken,
            },
        }
    }

    /// The body that follows `answer`.
    pub(crate) fn body_of(&mut self, answer: &mut Answer) {
        if let Self::H1(client) = self {
            return client.body_of(answer);
        }
        answer.is_whole = loop {
            match self.piece() {
                Piece::Bytes(bytes) => answer.body.extend(bytes),
                Piece::End => break true,
                Piece::Broken => break false,
            }
        };
    }

    /// The whole answer to what was sent.
    pub(crate) fn head_and_body(&mut self) -> Answer {
        let mut answer = self.head();
        self.body_of(&mut answer);
        answer
    }

    /// A request and its answer.
    pub(crate) fn ask(&mut self, line: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(line, fields, body);
        let mut answer = self.head();
        if !line.starts_with("HEAD") {
            self.body_of(&mut answer);
        }
        answer
    }

    /// A POST of a chat request to `path`, and its answer.
    pub(crate) fn chat(&mut self, path: &str) -> Answer {
        self.ask(&format!("POST {path}"), JSON, CHAT.as_bytes())
    }

    /// The same with a call of its own, whoever asks the same at the time.
    pub(crate) fn alone(&mut self, path: &str) -> Answer {
        self.ask(&format!("POST {path}"), ALONE, CHAT.as_bytes())
    }
}

/// An upstream whose answers nobody would store.
pub(crate) fn unstored() -> Upstream {
    Upstream::start(|_, exchange| exchange.answer("200 OK", "text/plain", "{}"))
}

/// The fields of a request with JSON.
pub(crate) const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The same for one that wants a call of its own.
pub(crate) const ALONE: &[(&str, &str)] =
    &[("content-type", "application/json"), ("cache-control", "no-cache")];

/// A request's JSON.
pub(crate) const CHAT: &str = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
