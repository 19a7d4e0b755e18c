//! People: who comes in, what each may do, and what nobody can tell apart. Each rule of the service has its test here.
//!
//! - `entering`: sign-up, log-in, sessions; `limits`: attempts, and work that is the same for everybody.
//! - `roles`: who may do what with whom; `links`: invitations, resets, the first operator.

mod entering;
mod limits;
mod links;
mod roles;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use safecache::accounts::people::PeopleService;
use safecache::accounts::people::entering::{Caller, LoggedIn, Newcomer, Visitor};
use safecache::accounts::people::refusal::Refusal;
use safecache::clock::{Clock, ManualClock, UnixTime};
use safecache::ids::AccountId;
use safecache::secret::Secret;
use safecache::store::Store;
use safecache::store::folder::FolderLock;
use safecache::store::people::People;
use safecache::store::people::person::Role;
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use tempfile::TempDir;

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A service, and the time that it goes by.
struct House {
    service: PeopleService,
    time: ManualClock,
}

/// Runs a test against a service over an empty store.
fn with_house<F: Future<Output = ()>>(test: impl FnOnce(Arc<House>) -> F) {
    let folder = TempDir::new().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let lock = FolderLock::take(folder.path()).expect("a lock");
        let store = SqliteStore::open(lock, Bounds::default()).await.expect("a store");
        let (clock, time) = Clock::manual(NOW);
        let people: Arc<dyn People> = Arc::clone(store.directory()) as Arc<dyn People>;
        test(Arc::new(House { service: PeopleService::new(people, clock), time })).await;
        store.close().await;
    });
}

/// Somebody's good password.
fn password(of: &str) -> Secret {
    Secret::new(format!("correct horse of {of}"))
}

fn newcomer(name: &str) -> Newcomer {
    Newcomer { login: name.into(), name: String::new(), password: password(name) }
}

/// From so many addresses that none is tried too often, but where a test wants it.
fn from(last: u8) -> Caller<'static> {
    Caller { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), agent: Some("a browser") }
}

impl House {
    async fn log_in(&self, name: &str, password: &Secret) -> Result<LoggedIn, Refusal> {
        self.service.log_in(name, password, from(1)).await
    }

    /// Whose session it is.
    async fn visitor(&self, of: &LoggedIn) -> Option<Visitor> {
        self.service.visitor(of.token.expose()).await.expect("the store works")
    }

    /// Somebody who has signed up and logged in.
    async fn owner(&self, name: &str) -> Visitor {
        self.service.sign_up(newcomer(name), from(2)).await.expect("a sign-up");
        let logged_in = self.log_in(name, &password(name)).await.expect("a log-in");
        self.visitor(&logged_in).await.expect("a visitor")
    }

    /// Somebody whom `owner` has let into their account.
    async fn member(&self, owner: &Visitor, name: &str, role: Role) -> Visitor {
        let link = self.service.invite(owner, &account_of(owner), role).await.expect("a link");
        self.joined(&link, name).await
    }

    async fn joined(&self, link: &Secret, name: &str) -> Visitor {
        let logged_in = self.service.join(link.expose(), newcomer(name), from(3)).await.expect("somebody");
        self.visitor(&logged_in).await.expect("a visitor")
    }

    /// The first operator.
    async fn operator(&self, name: &str) -> Visitor {
        let link = self.service.first_operator(None).await.expect("the store works").expect("a link");
        self.joined(&link, name).await
    }
}

fn account_of(visitor: &Visitor) -> AccountId {
    visitor.person.membership.as_ref().expect("a membership").account.clone()
}
