//! Requests that were made before, by the names that their makers gave them.

use crate::ids::KeyId;
use crate::store::directory::edit::{Denial, Edit, Request};
use crate::store::sql::directory::edits::{Signed, Verdict};
use crate::store::sql::directory::tables::DirectoryTables;

/// The key that the same request was about, if it was made before.
pub(super) async fn made_before(
    signed: &Signed,
    request: &Request,
    tables: &mut dyn DirectoryTables,
) -> Verdict<Option<KeyId>> {
    match tables.request(&signed.author.to_string(), &request.name).await? {
        Some((content, key)) if content == request.content => Ok(Ok(Some(key))),
        Some(_) => Ok(Err(Denial::OtherRequest)),
        // What one that an older build has made asked for is not known.
        None => match &signed.edit {
            Edit::CreateKey(new) => tables.older_request(&new.account, &request.name).await.map(Ok),
            _ => Ok(Ok(None)),
        },
    }
}
