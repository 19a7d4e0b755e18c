//! One entry, every form: an answer that the cache has in another form is given in the one that is asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use crate::cache::control::RequestControl;
use crate::cache::entries::{Entries, Entry, Slot};
use crate::cache::recording::{AnswerHead, Recording, complete};
use crate::clock::Monotonic;
use crate::llm::translate::{AnswerForm, translate};
use crate::memory::Permit;
use crate::shelf::Shelf;

/// Longer answers are translated on a thread that may take its time, in bytes.
const LONGEST_AT_ONCE: u64 = 64 * 1024;

/// What a translation may hold beside the answer that it is made from, in bytes of that answer: what was read of it, and
/// what is written.
const WORK: u64 = 4;

/// What a translation goes by.
pub(super) struct Wanted<'a> {
    pub(super) entries: &'a Entries,
    pub(super) shelf: &'a Shelf,
    pub(super) slot: &'a Slot,
    pub(super) control: RequestControl,
    pub(super) now: Monotonic,
    /// The largest entry, in bytes.
    pub(super) most: usize,
    /// Counts the memory that the translation takes.
    pub(super) memory: Permit,
}

impl Wanted<'_> {
    /// The entry, made of one in another form and put beside it; it is as old as that.
    ///
    /// # Errors
    /// There is none that can be translated. The forms in which there is one that cannot.
    pub(super) async fn find(mut self) -> Result<(Arc<Entry>, Duration), Vec<AnswerForm>> {
        let mut apart = Vec::new();
        for from in self.slot.others().filter(|other| self.entries.may_have(other)) {
            let found = self.entries.find(&from, self.now);
            let Some((source, age)) = found.filter(|(_, age)| self.control.accepts(*age)) else { continue };
            let recording = match self.translated(&source.recording, from.form).await {
                Translation::Made(recording) => recording,
                Translation::Impossible => {
                    apart.push(from.form);
                    continue;
                }
                Translation::NoRoom => continue,
            };
            let Entry { stored, aged, ttl, usage, epoch, .. } = *source;
            let origin = source.origin.clone();
            let entry = Arc::new(Entry { recording, stored, aged, ttl, usage, epoch, origin });
            self.shelf.put_translated(*self.slot, &entry, &from, &source);
            return Ok((entry, age));
        }
        Err(apart)
    }

    async fn translated(&mut self, source: &Recording, from: AnswerForm) -> Translation {
        let Some((head, body)) = source.head().zip(source.body()) else { return Translation::Impossible };
        let (to, most) = (self.slot.form, self.most);
        let translation =
            move || translate(&body, from, to, most).ok().map(|text| Bytes::from(text.into_owned()));
        let size = source.written();
        if !self.memory.try_grow_to(size.saturating_mul(WORK)) {
            return Translation::NoRoom;
        }
        let body = match size <= LONGEST_AT_ONCE {
            true => translation(),
            false => tokio::task::spawn_blocking(translation).await.ok().flatten(),
        };
        body.map_or(Translation::Impossible, |body| Translation::Made(self.recorded(&head, body)))
    }

    /// `body` in the form that is asked for, under a head like `source`.
    fn recorded(&self, source: &AnswerHead, body: Bytes) -> Arc<Recording> {
        let (content_type, length) = match self.slot.form {
            AnswerForm::Json => ("application/json", Some(body.len() as u64)),
            AnswerForm::Stream(_) => ("text/event-stream", None),
        };
        let mut head = AnswerHead { length, ..source.clone() };
        for (_, value) in head.fields.iter_mut().filter(|(name, _)| *name == CONTENT_TYPE) {
            *value = HeaderValue::from_static(content_type);
        }
        complete(head, body)
    }
}

/// What comes of a translation.
enum Translation {
    /// The answer in the form that is asked for.
    Made(Arc<Recording>),
    /// It cannot be given in that form.
    Impossible,
    /// There is no memory for it now.
    NoRoom,
}
