//! Edits of people, sessions and links in the queue of the writer.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use crate::ids::PersonId;
use crate::store::people::edit::Denial;
use crate::store::sql::people::edits::{Signed, Verdict};
use crate::store::sqlite::writer::Change;
use crate::units::ByteSize;

/// What an edit holds while it waits, about: none of its texts is long.
const SIZE: ByteSize = ByteSize::kib(2);

#[async_trait]
impl Change for Signed {
    type Done = Result<Option<PersonId>, Denial>;

    fn size(&self) -> ByteSize {
        SIZE
    }

    async fn apply(&self, connection: &mut SqliteConnection) -> Verdict<Option<PersonId>> {
        self.carry_out(connection).await
    }
}
