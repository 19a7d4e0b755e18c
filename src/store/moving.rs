//! What is in a data folder moved into PostgreSQL, once and for all: `safecache migrate`.
//!
//! - `tables`: what is moved; `page`: some rows of it on their way; `standing`: how far a move has come.
//! - The rows come from [`crate::store::sqlite::source`] and go to [`crate::store::postgres::target`].
//!
//! A page is put and noted in one transaction, so a move that breaks off, however that happens, goes on where it was,
//! and puts no row twice. Nobody changes the folder meanwhile: its lock is held, and both files are locked for writing
//! against commands that work beside a gateway. A folder that was changed after its move had broken off is refused, since
//! what was put already is of before. At the end both sides are counted.

use std::path::Path;

use crate::clock::UnixTime;
use crate::dice;
use crate::secret::Secret;
use crate::store::failure::{StoreError, Trouble};
use crate::store::moving::standing::{MovedTo, Standing};
use crate::store::moving::tables::TABLES;
use crate::store::postgres::target::Target;
use crate::store::sqlite::source::Source;

pub(in crate::store) mod page;
pub mod standing;
pub(in crate::store) mod tables;

/// A move that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where to, and when.
    pub to: MovedTo,
    /// What was moved: tables and how many rows each has. Empty: it had been done before, and nothing was changed.
    pub tables: Vec<(&'static str, u64)>,
}

/// Moves what is in `folder`, which no gateway uses, into the PostgreSQL at `address`, or goes on with that. The database is
/// empty, or holds a move of the same folder. The folder stays as it is, but for a note of it.
///
/// # Errors
/// There is no store in the folder, or it is in use, damaged or newer than this version; the database cannot be reached, or
/// holds something else, or gateways run on it; what is there at the end is not what was moved. What was put stays, and the
/// database is refused by gateways until its move is done.
pub async fn move_to(folder: &Path, address: &Secret, now: UnixTime) -> Result<Moved, StoreError> {
    let mut source = Source::open(folder).await?;
    let target = Target::open(address).await?;
    let moved = carry(&mut source, &target, now).await;
    target.close().await;
    let closed = source.close().await;
    moved.and_then(|moved| closed.map(|()| moved))
}

async fn carry(source: &mut Source, target: &Target, now: UnixTime) -> Result<Moved, StoreError> {
    let known = source.id().await?;
    let (mut noted, mut standing) = match target.standing().await? {
        Some((_, standing)) if Some(&standing.source) != known.as_ref() => {
            return Err(target.wrong(Trouble::AnothersMove));
        }
        Some((_, standing)) if let Some(at) = standing.done_at() => {
            let to = MovedTo { place: target.place(), at };
            source.hold().await?;
            // Unless it broke off between the two notes, the folder has one.
            if !source.is_noted().await? {
                source.note(&to).await?;
            }
            return Ok(Moved { to, tables: Vec::new() });
        }
        Some((noted, standing)) => {
            target.refuse_in_use().await?;
            source.hold().await?;
            if standing.tallies != source.tallies().await? {
                return Err(source.wrong(Trouble::ChangedSince));
            }
            (noted, standing)
        }
        None => {
            target.refuse_filled().await?;
            let id = match known {
                Some(id) => id,
                None => source.name(&dice::uuid_v7(now).simple().to_string()).await?,
            };
            source.hold().await?;
            let standing = Standing::new(id, source.tallies().await?);
            let noted = standing.text();
            target.begin(&noted).await?;
            (noted, standing)
        }
    };
    let open: Vec<_> = standing.open().collect();
    for table in open {
        loop {
            let page = source.page(table, standing.behind(table)).await?;
            if page.is_empty() {
                break;
            }
            standing = standing.put(table, page.last.clone());
            let text = standing.text();
            target.put(table, &page, (&noted, &text)).await?;
            noted = text;
        }
    }
    target.finish(&standing, (&noted, &standing.done(now).text())).await?;
    let to = MovedTo { place: target.place(), at: now };
    source.note(&to).await?;
    let rows = |name| standing.tallies.get(name).map_or(0, |tally| tally.rows);
    Ok(Moved { to, tables: TABLES.iter().map(|table| (table.name, rows(table.name))).collect() })
}
