//! Addresses, certificates, and the operator's token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::build::Builder;
use crate::config::node::Place;
use crate::config::raw::{RawAdmin, RawListen, RawListenItem, RawListener, RawSignUp};
use crate::config::scalar::{Slot, Text};
use crate::config::{Admin, Listener, SignUp};
use crate::secret::Secret;

/// Clients connect here unless told otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Operators connect here unless told otherwise.
const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091);

/// A shorter token could be guessed.
const LEAST_TOKEN: usize = 16;

impl Builder<'_> {
    /// All listeners; no two of them on one address.
    pub(super) fn listeners(&self, listen: Slot<RawListen>, admin: Slot<RawAdmin>) -> (Vec<Listener>, Admin) {
        let root = Place::Root;
        let place = root.key("listen");
        let mut taken = Vec::new();
        let listen = match listen {
            Slot::Absent => vec![self.occupy(plain(DEFAULT_LISTEN), &place, &mut taken)],
            Slot::Bad => vec![plain(DEFAULT_LISTEN)],
            Slot::Given(RawListen::Text(text)) => {
                self.listener(RawListenItem::Text(text), &place, &mut taken).into_iter().collect()
            }
            Slot::Given(RawListen::Mapping(listener)) => {
                self.listener(RawListenItem::Mapping(listener), &place, &mut taken).into_iter().collect()
            }
            Slot::Given(RawListen::List(items)) => {
                if items.is_empty() {
                    self.scene.refuse(&place, "the list is empty", "remove the key for 127.0.0.1:8080");
                }
                let numbered = items.into_iter().enumerate();
                numbered
                    .filter_map(|(i, item)| self.listener(item.given()?, &place.index(i), &mut taken))
                    .collect()
            }
        };
        let place = root.key("admin");
        let admin = admin.or(RawAdmin::default());
        let admin_listen = match admin.listen {
            Slot::Given(item) => self.listener(item, &place.key("listen"), &mut taken),
            Slot::Absent => Some(self.occupy(plain(DEFAULT_ADMIN), &place.key("listen"), &mut taken)),
            Slot::Bad => None,
        };
        let token = self.token(admin.token, &place.key("token"));
        let sign_up = match admin.sign_up.or(RawSignUp::Closed) {
            RawSignUp::Open => SignUp::Open,
            RawSignUp::Closed => SignUp::Closed,
        };
        (listen, Admin { listen: admin_listen.unwrap_or_else(|| plain(DEFAULT_ADMIN)), token, sign_up })
    }

    fn listener(
        &self,
        item: RawListenItem,
        place: &Place<'_>,
        taken: &mut Vec<SocketAddr>,
    ) -> Option<Listener> {
        let (text, address_at, tls) = match item {
            RawListenItem::Text(text) => (Some(text), *place, Slot::Absent),
            RawListenItem::Mapping(RawListener { address, tls }) => {
                let at = place.key("address");
                (self.required(address, &at, "127.0.0.1:8080"), at, tls)
            }
        };
        let tls = match tls {
            Slot::Given(files) => self.identity(files.cert, files.key, &place.key("tls")),
            Slot::Absent | Slot::Bad => None,
        };
        let address = self.address(&text?.0, &address_at)?;
        Some(self.occupy(Listener { address, tls }, &address_at, taken))
    }

    fn address(&self, text: &str, place: &Place<'_>) -> Option<SocketAddr> {
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let hint = match text.rsplit_once(':') {
            Some(("", port)) if port.parse::<u16>().is_ok() => {
                format!("write 0.0.0.0:{port} for all addresses")
            }
            Some(("localhost", port)) if port.parse::<u16>().is_ok() => format!("write 127.0.0.1:{port}"),
            _ => "write 127.0.0.1:8080 or [::1]:8080".to_owned(),
        };
        let found = self.scene.quote(place);
        self.scene.refuse(place, format!("expected an address and a port, found {found}"), hint);
        None
    }

    /// Notes the listener's address; refuses one that is taken. Port 0 never is: the system chooses another.
    fn occupy(&self, listener: Listener, place: &Place<'_>, taken: &mut Vec<SocketAddr>) -> Listener {
        let address = listener.address;
        let is_taken = |other: &&SocketAddr| {
            let is_same_family = other.is_ipv4() == address.is_ipv4();
            let covers =
                other.ip().is_unspecified() || address.ip().is_unspecified() || other.ip() == address.ip();
            address.port() != 0 && other.port() == address.port() && is_same_family && covers
        };
        if let Some(other) = taken.iter().find(is_taken) {
            let message = match *other == address {
                true => "this address is listened on twice",
                false => "another listener has this port, and one of the two takes all addresses",
            };
            self.scene.refuse(place, message, "choose another port");
        }
        taken.push(address);
        listener
    }

    fn token(&self, slot: Slot<Text>, place: &Place<'_>) -> Option<Secret> {
        let text = slot.given().filter(|text| !text.0.is_empty())?.0;
        if text.len() < LEAST_TOKEN {
            let hint = "take the output of `openssl rand -hex 32`; empty turns the admin API off";
            self.scene.refuse(place, format!("the token is shorter than {LEAST_TOKEN} bytes"), hint);
            return None;
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            self.scene.refuse(
                place,
                "the token holds a space or a character beyond ASCII",
                "no header could carry it",
            );
            return None;
        }
        Some(Secret::new(text))
    }
}

fn plain(address: SocketAddr) -> Listener {
    Listener { address, tls: None }
}
