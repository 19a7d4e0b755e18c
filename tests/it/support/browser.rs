//! A browser without a screen: keeps its cookie, sends forms as one does, and comes from an address of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::support::client::{Answer, Client};
use crate::support::gateway::Gateway;

/// What a page of the console itself sends with a form.
pub(crate) const FROM_HERE: &str = "Origin: http://console\r\nSec-Fetch-Site: same-origin\r\n";

/// A browser.
pub(crate) struct Browser {
    address: SocketAddr,
    from: IpAddr,
    /// `NAME=VALUE`, once it was told one.
    pub(crate) cookie: Option<String>,
}

impl Browser {
    /// One on 127.0.0.`last`.
    pub(crate) fn at(gateway: &Gateway, last: u8) -> Self {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        Self { address: gateway.running().admin_address(), from, cookie: None }
    }

    /// Sends a request whose `head` is everything between the first line's target and the empty line, but for the host
    /// and the cookie.
    pub(crate) fn ask(&mut self, line: &str, head: &str, body: &[u8]) -> Answer {
        let cookie = self.cookie.as_ref().map(|cookie| format!("Cookie: a=b; {cookie}\r\n"));
        let mut request = format!(
            "{line} HTTP/1.1\r\nHost: console\r\n{}{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
            cookie.unwrap_or_default(),
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let mut client = Client::connect_from(self.from, self.address);
        client.try_send(request);
        let answer = client.answer();
        if let Some(cookie) = answer.header("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        answer
    }

    /// Opens a page.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "Sec-Fetch-Site: none\r\n", b"")
    }

    /// Sends a form, with what its pages hold of its session.
    pub(crate) fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.form_token();
        let own = [("form_token", token.as_str())];
        let fields: Vec<_> = own.iter().filter(|(_, token)| !token.is_empty()).chain(fields).collect();
        self.send(path, FROM_HERE, &form(fields.into_iter()))
    }

    /// Sends a form that is written out.
    pub(crate) fn send(&mut self, path: &str, head: &str, body: &str) -> Answer {
        let head = format!("{head}Content-Type: application/x-www-form-urlencoded\r\n");
        self.ask(&format!("POST {path}"), &head, body.as_bytes())
    }

    /// What every form of its session holds; empty: it has none.
    pub(crate) fn form_token(&mut self) -> String {
        if self.cookie.is_none() {
            return String::new();
        }
        let page = self.get("/settings").text();
        value_of(&page, "form_token").unwrap_or_default()
    }
}

/// What a hidden field of a page says.
pub(crate) fn value_of(page: &str, field: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{field}\" value=\""))?;
    rest.split('"').next().map(str::to_owned)
}

fn form<'a>(fields: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let encoded = |text: &str| -> String {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect()
    };
    fields.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}
