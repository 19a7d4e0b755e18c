//! What a request is known by if it is sent again (`Idempotency-Key`): its name, and what it asks for.

use sha2::{Digest, Sha256};

use crate::accounts::draft::KeyDraft;
use crate::accounts::keys::{Absent, Rotation, Wanted};
use crate::accounts::refused::Refused;
use crate::ids::KeyId;
use crate::store::directory::edit::Request;

/// The longest name of a request, in bytes.
pub const MOST_REQUEST: usize = 128;

/// A request that makes a key.
pub(super) fn of_creation(wanted: &Wanted) -> Result<Option<Request>, Refused> {
    let Wanted { account, draft, request, absent } = wanted;
    named(request.as_deref(), || {
        let KeyDraft { name, environment, plan, expires, allowed_ips, allowed_models } = draft;
        let absent = match absent {
            Absent::Made => "made",
            Absent::Refused => "refused",
        };
        // As it is written: what `90d` comes to is another time each time.
        let mut content = Content::of("create");
        [Some(account), name.as_ref(), environment.as_ref(), plan.as_ref(), expires.as_ref()]
            .into_iter()
            .for_each(|text| content.part(text.map(String::as_str)));
        content.part(Some(absent));
        content.list(allowed_ips);
        content.list(allowed_models);
        content
    })
}

/// A request that rotates a key.
pub(super) fn of_rotation(key: &KeyId, rotation: &Rotation) -> Result<Option<Request>, Refused> {
    let Rotation { overlap, request } = rotation;
    named(request.as_deref(), || {
        let mut content = Content::of("rotate");
        content.part(Some(key.as_str()));
        content.part(Some(&overlap.as_nanos().to_string()));
        content
    })
}

fn named(name: Option<&str>, content: impl FnOnce() -> Content) -> Result<Option<Request>, Refused> {
    let Some(name) = name else { return Ok(None) };
    if !(1..=MOST_REQUEST).contains(&name.len()) {
        return Err(Refused::wrong("idempotency-key", format!("it has 1 to {MOST_REQUEST} bytes")));
    }
    Ok(Some(Request { name: name.into(), content: content().0.finalize().into() }))
}

/// The hash of what a request asks for. Each part is preceded by how long it is, so that no two requests are alike.
struct Content(Sha256);

impl Content {
    fn of(what: &str) -> Self {
        let mut content = Self(Sha256::new());
        content.part(Some(what));
        content
    }

    fn part(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.0.update([0]) };
        self.0.update([1]);
        self.count(text.len());
        self.0.update(text);
    }

    fn list(&mut self, texts: &[String]) {
        self.count(texts.len());
        texts.iter().for_each(|text| self.part(Some(text)));
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }
}
