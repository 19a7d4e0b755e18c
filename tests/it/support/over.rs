//! Says to threads that go on until they are told that the test has come to its end, also when it fails.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised when dropped.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
