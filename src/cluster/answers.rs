//! Answers that gateways share, in Redis: kept there until their time is over, whichever gateway brought them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use crate::cache::entries::Slot;
use crate::clock::Waited;
use crate::cluster::answers::scripts::Scripts;
use crate::cluster::link::{Link, Unanswered};
use crate::cluster::room::Room;
use crate::ids::AccountId;
use crate::shelf::shared::{
    Begins, Boarded, Fence, Flight, Found, Lock, Logged, MOST_LOGGED, Mark, NewShared, News, Position,
    Release, SharedAnswers, Tag, Unshared,
};
use crate::store::proxied::Purge;

mod logged;
mod scripts;
mod value;

/// How long a lock holds that is not renewed: so long may a gateway that is gone keep others waiting.
pub const LOCK_TIME: Duration = Duration::from_secs(2);

/// How long it is known that there will be no answer to share: longer than between two questions of who waits.
const APART_TIME: Duration = Duration::from_millis(500);

/// The longest value, in bytes: a longer one would be on its way for longer than a question may take.
const LONGEST: usize = 4 * 1024 * 1024;

/// Answers at the other end of a link.
pub struct RedisAnswers {
    link: Arc<Link>,
    room: Arc<Room>,
    scripts: Scripts,
}

impl RedisAnswers {
    /// Those at the other end of `link`, as far as there is `room`.
    pub fn new(link: Arc<Link>, room: Arc<Room>) -> Self {
        Self { link, room, scripts: Scripts::new() }
    }
}

impl From<Unanswered> for Unshared {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Late => Self::Late,
            other => Self::Failed(other.to_string()),
        }
    }
}

fn not_understood() -> Unshared {
    Unshared::Failed("what it answered is not understood".to_owned())
}

fn random() -> Tag {
    Tag(fastrand::u128(..))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn found(value: Value) -> Found {
    match value {
        Value::BulkString(value) => value::read(&value),
        Value::Int(length @ 1..) => Found::Larger(length.unsigned_abs()),
        _ => Found::Nothing,
    }
}

#[async_trait]
impl SharedAnswers for RedisAnswers {
    fn is_up(&self) -> bool {
        self.link.is_up() && self.room.is_known()
    }

    async fn find(
        &self,
        account: Option<&AccountId>,
        slots: &[Slot],
        (most, waited): (u64, &Waited),
    ) -> Result<Vec<Found>, Unshared> {
        let mut call = self.scripts.find.prepare_invoke();
        for slot in slots {
            call.key(self.link.names().entry(account, slot));
        }
        call.arg(most.min(LONGEST as u64));
        let values: Vec<Value> = self.link.run_for(&call, waited).await?;
        Ok(values.into_iter().map(found).collect())
    }

    async fn put(&self, new: NewShared) -> Result<bool, Unshared> {
        let may_be_kept = |rest: &Vec<u8>| rest.len() < LONGEST && self.room.take(rest.len());
        let Some(rest) = value::written(&new).filter(may_be_kept) else {
            if let Some(lock) = &new.lock {
                self.release(lock, Release::Apart).await?;
            }
            return Ok(false);
        };
        let account = new.account.as_ref();
        let entry = self.link.names().entry(account, &new.slot);
        let mut call = self.scripts.put.key(&entry);
        call.key(self.link.names().calls(account));
        let lock = new.lock.as_ref();
        // Without a lock any name of the account's does: it is not looked at.
        call.key(lock.map_or(entry, |lock| self.link.names().lock(&lock.flight)));
        for slot in &new.replaced {
            call.key(self.link.names().entry(account, slot));
        }
        call.arg(&[value::MAJOR][..]).arg(rest).arg(millis(new.ttl).max(1));
        call.arg(lock.map_or(&[][..], |lock| &lock.fence.0));
        call.arg(lock.map(|lock| logged::tag(lock.holder)).unwrap_or_default());
        Ok(self.link.write(&call).await?)
    }

    async fn delete(&self, account: Option<&AccountId>, slots: &[Slot]) -> Result<Vec<Slot>, Unshared> {
        let mut deleted = Vec::new();
        for slot in slots {
            let mut command = redis::cmd("UNLINK");
            command.arg(self.link.names().entry(account, slot));
            if self.link.ask::<u64>(&command).await? > 0 {
                deleted.push(*slot);
            }
        }
        Ok(deleted)
    }

    async fn log(&self, log: Tag, id: Tag, purge: &Purge) -> Result<bool, Unshared> {
        let mut call = self.scripts.log.key(self.link.names().purges_head());
        call.key(self.link.names().purges()).arg(logged::tag(log));
        call.arg(logged::tag(id) + &logged::written(purge)).arg(MOST_LOGGED);
        Ok(self.link.run(&call).await?)
    }

    async fn news(&self, known: Option<Position>) -> Result<News, Unshared> {
        let mut call = self.scripts.news.key(self.link.names().purges_head());
        call.key(self.link.names().purges())
            .arg(known.map(|known| logged::tag(known.mark.log)).unwrap_or_default());
        call.arg(known.map_or(0, |known| known.mark.number));
        call.arg(known.and_then(|known| known.last).map(logged::tag).unwrap_or_default());
        call.arg(logged::tag(random())).arg(MOST_LOGGED);
        let told: Told = self.link.run(&call).await?;
        news(told, known).ok_or_else(not_understood)
    }

    async fn board(
        &self,
        flight: &Flight,
        dead: Option<&Fence>,
        waited: &Waited,
    ) -> Result<Boarded, Unshared> {
        let holder = random();
        let mut call = self.scripts.board.key(self.link.names().lock(flight));
        call.key(self.link.names().entry(flight.account.as_ref(), &flight.slot));
        call.key(self.link.names().calls(flight.account.as_ref()));
        call.arg(logged::tag(holder)).arg(millis(LOCK_TIME)).arg(dead.map_or(&[][..], |fence| &fence.0));
        let (what, number): (String, Vec<u8>) = self.link.run_for(&call, waited).await?;
        let fence = Fence(number.into());
        match what.as_str() {
            "lead" => Ok(Boarded::Lead(Lock { flight: flight.clone(), holder, fence })),
            "landed" => Ok(Boarded::Landed(fence)),
            "waits" => Ok(Boarded::Waits),
            "unshared" => Ok(Boarded::Unshared),
            _ => Err(not_understood()),
        }
    }

    async fn renew(&self, lock: &Lock) -> Result<bool, Unshared> {
        let mut call = self.scripts.renew.key(self.link.names().lock(&lock.flight));
        call.arg(logged::tag(lock.holder)).arg(millis(LOCK_TIME));
        Ok(self.link.run(&call).await?)
    }

    async fn release(&self, lock: &Lock, release: Release) -> Result<(), Unshared> {
        let mut call = self.scripts.release.key(self.link.names().lock(&lock.flight));
        let told = match release {
            Release::Next => String::new(),
            Release::Apart => millis(APART_TIME).to_string(),
        };
        call.arg(logged::tag(lock.holder)).arg(told);
        let _: u64 = self.link.run(&call).await?;
        Ok(())
    }
}

/// What the script for news returns.
type Told = (Vec<u8>, u64, bool, Vec<Vec<u8>>);

fn news((log, number, goes_on, lines): Told, known: Option<Position>) -> Option<News> {
    let (log, _) = logged::split_tag(&log)?;
    let first = number.checked_sub(lines.len() as u64)?;
    let purges = (first + 1..).zip(&lines).map(|(number, line)| {
        let (id, purge) = logged::split_tag(line)?;
        Some(Logged { number, id, purge: logged::read(purge) })
    });
    let purges = purges.collect::<Option<Vec<_>>>()?;
    let begins = if goes_on { Begins::GoesOn } else { Begins::Anew };
    let before = known.and_then(|known| known.last).filter(|_| goes_on);
    let last = purges.last().map(|logged| logged.id).or(before);
    Some(News { position: Position { mark: Mark { log, number }, last }, begins, purges })
}
