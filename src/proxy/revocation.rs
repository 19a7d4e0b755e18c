//! The word to a request whose key is revoked while it runs, where the configuration ends it then.

use crate::auth::cancellation::Cancelled;

/// Whether the word is waited for, and whether it has come.
#[derive(Default)]
pub(super) struct Revocation {
    word: Option<Cancelled>,
    is_heard: bool,
}

impl Revocation {
    /// From now on `word` is waited for.
    pub(super) fn listen(&mut self, word: Cancelled) {
        self.word = Some(word);
    }

    /// True once it has come, and somebody has waited for it.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// What comes of `work`; `None` if the word comes first. It comes once: who has heard it may still tell the client.
    pub(super) async fn unless_said<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let Some(word) = self.word.as_mut().filter(|_| !self.is_heard) else { return Some(work.await) };
        tokio::select! {
            biased;
            () = word => {
                self.is_heard = true;
                None
            }
            done = work => Some(done),
        }
    }
}
