//! How a stream's bytes end, so that one that breaks off can be finished.

/// The last two bytes of a stream, which tell what is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail([u8; 2]);

impl Tail {
    /// Takes the next piece into account.
    pub(super) fn note(&mut self, piece: &[u8]) {
        for byte in piece.iter().skip(piece.len().saturating_sub(2)) {
            self.0 = [self.0[1], *byte];
        }
    }

    /// What ends the open line, and the event that it belongs to.
    pub(super) fn completion(self) -> &'static str {
        match self.0 {
            [b'\n', b'\n'] | [0, 0] => "",
            [_, b'\n'] => "\n",
            _ => "\n\n",
        }
    }
}
