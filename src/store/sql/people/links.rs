//! Changes of links.

use crate::clock::UnixTime;
use crate::ids::PersonId;
use crate::store::people::edit::{Actor, Denial};
use crate::store::people::link::{NewLink, Purpose};
use crate::store::people::{MOST_LINKS, TokenDigest};
use crate::store::sql::people::edits::{About, Verdict, find};
use crate::store::sql::people::tables::{Joining, PeopleTables};

pub(super) async fn make(
    link: &NewLink,
    actor: &Actor,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<About> {
    let about = match &link.purpose {
        Purpose::Reset(person) => {
            let found = granted!(find(person, tables).await?);
            About::person(person, found)
        }
        Purpose::Invite(membership) | Purpose::FirstOperator(Some(membership)) => {
            About { account: Some(membership.account.clone()), person: None }
        }
        Purpose::Operator | Purpose::FirstOperator(None) => About { account: None, person: None },
    };
    let maker = actor.to_string();
    if tables.waiting_links(&maker, now).await? >= u64::from(MOST_LINKS) {
        return Ok(Err(Denial::TooManyLinks));
    }
    if let Purpose::FirstOperator(_) = link.purpose {
        tables.end_first_operators_links().await?;
    }
    tables.insert_link(link, &about, &maker, now).await?;
    Ok(Ok(about))
}

/// What a link that waits to be used is for.
async fn waiting(digest: &TokenDigest, now: UnixTime, tables: &mut dyn PeopleTables) -> Verdict<Purpose> {
    Ok(tables.waiting_link(digest, now).await?.ok_or(Denial::NoLink))
}

/// What a link lets somebody be.
pub(super) async fn joining(
    digest: &TokenDigest,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<Joining> {
    let purpose = granted!(waiting(digest, now, tables).await?);
    Ok(match purpose {
        Purpose::Invite(membership) => Ok(Joining { membership: Some(membership), is_operator: false }),
        Purpose::Operator => Ok(Joining { membership: None, is_operator: true }),
        Purpose::FirstOperator(membership) => {
            let is_late = tables.has_operator().await?;
            if is_late { Err(Denial::NoLink) } else { Ok(Joining { membership, is_operator: true }) }
        }
        Purpose::Reset(_) => Err(Denial::NoLink),
    })
}

/// Whose password a link sets.
pub(super) async fn resetting(
    digest: &TokenDigest,
    now: UnixTime,
    tables: &mut dyn PeopleTables,
) -> Verdict<PersonId> {
    let purpose = granted!(waiting(digest, now, tables).await?);
    Ok(if let Purpose::Reset(person) = purpose { Ok(person) } else { Err(Denial::NoLink) })
}
