//! Requests that were made before, by the names that their makers gave them.

use sqlx::sqlite::SqliteConnection;

use crate::ids::KeyId;
use crate::store::directory::edit::{Denial, Edit, Request};
use crate::store::number::kept_time;
use crate::store::sqlite::directory::edits::{Signed, Verdict};

/// The key that the same request was about, if it was made before.
pub(super) async fn made_before(
    signed: &Signed,
    request: &Request,
    connection: &mut SqliteConnection,
) -> Verdict<Option<KeyId>> {
    let find = "SELECT content, key FROM requests WHERE maker = ?1 AND name = ?2";
    let find = sqlx::query_as::<_, (Vec<u8>, String)>(find).bind(signed.author.to_string());
    match find.bind(request.name.as_ref()).fetch_optional(&mut *connection).await? {
        Some((content, key)) if content == request.content => Ok(Ok(Some(KeyId::new(&key)))),
        Some(_) => Ok(Err(Denial::OtherRequest)),
        None => made_by_an_older_build(signed, request, connection).await.map(Ok),
    }
}

/// What such a one asked for is not known.
async fn made_by_an_older_build(
    signed: &Signed,
    request: &Request,
    connection: &mut SqliteConnection,
) -> Result<Option<KeyId>, sqlx::Error> {
    let Edit::CreateKey(new) = &signed.edit else { return Ok(None) };
    let find = "SELECT id FROM keys WHERE account = ?1 AND request = ?2 AND deleted_at IS NULL";
    let find = sqlx::query_scalar::<_, String>(find).bind(new.account.as_str()).bind(request.name.as_ref());
    Ok(find.fetch_optional(connection).await?.map(|id| KeyId::new(&id)))
}

/// Notes a request that was made.
pub(super) async fn remember(
    signed: &Signed,
    (request, key): (&Request, &KeyId),
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO requests (maker, name, content, key, at) VALUES (?1, ?2, ?3, ?4, ?5)";
    let insert = sqlx::query(insert).bind(signed.author.to_string()).bind(request.name.as_ref());
    let insert = insert.bind(request.content.as_slice()).bind(key.as_str()).bind(kept_time(signed.now));
    insert.execute(connection).await.map(drop)
}

/// Forgets the requests that were about a key: one that makes it may be made again.
pub(super) async fn forget(key: &KeyId, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let delete = sqlx::query("DELETE FROM requests WHERE key = ?1").bind(key.as_str());
    delete.execute(connection).await.map(drop)
}
