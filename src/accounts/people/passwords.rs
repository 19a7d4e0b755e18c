//! Passwords: what one may be, and their hashing with argon2id, which takes 19 MiB and some 20 ms of a core.
//!
//! That is done on threads that block nobody, two at a time. Some may wait, for a while; whoever comes then is told that it
//! is busy, before anything is looked up for them.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::accounts::people::refusal::{Broken, Refusal, Unfit};
use crate::dice;
use crate::secret::Secret;
use crate::store::people::person::{LoginName, PasswordHash};

/// Passwords that are hashed at the same time.
pub const AT_ONCE: usize = 2;

/// Those that wait for it.
pub const WAITING: usize = 16;

/// How long one waits.
const WAIT: Duration = Duration::from_secs(5);

/// OWASP's choice for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// What no password is known to hash to, at the cost of those that are: what is checked where nobody has the name.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Takes a password that may be one of `login`'s.
///
/// # Errors
/// Which rule it breaks.
pub fn fit(password: &Secret, login: &LoginName) -> Result<(), Unfit> {
    let length = password.expose().chars().count();
    if length < 12 {
        return Err(Unfit::Short);
    }
    if length > 128 {
        return Err(Unfit::Long);
    }
    if password.expose().eq_ignore_ascii_case(login.as_str()) {
        return Err(Unfit::SameAsLogin);
    }
    Ok(())
}

/// Whether a password is the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
}

/// Who hashes passwords, and who waits for it.
#[derive(Debug)]
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// A place among those whose passwords are hashed.
pub(super) struct Place {
    place: Arc<OwnedSemaphorePermit>,
    running: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            running: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// A place, or [`Refusal::Busy`].
    pub(super) fn place(&self) -> Result<Place, Refusal> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Refusal::Busy)?;
        Ok(Place { place: Arc::new(place), running: Arc::clone(&self.running) })
    }
}

impl Place {
    /// Hashes a password, with a salt of its own.
    pub(super) async fn hash(&self, password: &Secret) -> Result<PasswordHash, Refusal> {
        let mut salt = [0_u8; 16];
        dice::fill(&mut salt).map_err(|_| Refusal::Broken(Broken::Randomness))?;
        let password = password.clone();
        let hashed = self.run(move || {
            let hash = argon2()?.hash_password_with_salt(password.expose().as_bytes(), &salt)?;
            Ok(PasswordHash(hash.to_string().into()))
        });
        hashed.await?.map_err(|_: Error| Refusal::Broken(Broken::Hash))
    }

    /// Checks a password against a hash; without one, against nobody's, which takes as long.
    pub(super) async fn check(
        &self,
        password: &Secret,
        hash: Option<&PasswordHash>,
    ) -> Result<Checked, Refusal> {
        let hash: Box<str> = hash.map_or_else(|| NOBODYS.into(), |hash| hash.0.clone());
        let password = password.clone();
        let checked =
            self.run(move || argon2()?.verify_password(password.expose().as_bytes(), hash.as_ref()));
        match checked.await? {
            Ok(()) => Ok(Checked::Right),
            Err(Error::PasswordInvalid) => Ok(Checked::Wrong),
            Err(_) => Err(Refusal::Broken(Broken::Hash)),
        }
    }

    /// Does the work when its turn comes. It keeps its place until it is done, though nobody waits for it any more.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let turn = tokio::time::timeout(WAIT, Arc::clone(&self.running).acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok).ok_or(Refusal::Busy)?;
        let place = Arc::clone(&self.place);
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((turn, place));
            done
        });
        done.await.map_err(|_| Refusal::Broken(Broken::Hash))
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::ParamsInvalid)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}
