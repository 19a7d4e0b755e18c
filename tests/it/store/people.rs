//! Promises about people, sessions and links.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use safecache::clock::UnixTime;
use safecache::ids::{PersonId, PlanName};
use safecache::store::directory::Directory;
use safecache::store::directory::audit::AuditOf;
use safecache::store::people::edit::{Actor, Denial, NewPerson, PeopleEdit};
use safecache::store::people::link::{NewLink, Purpose};
use safecache::store::people::person::{LoginName, Membership, PasswordHash, PeopleOf, Role};
use safecache::store::people::session::NewSession;
use safecache::store::people::{MOST_LINKS, MOST_PEOPLE, MOST_SESSIONS, People, TokenDigest};
use safecache::store::{Store, sqlite::SqliteStore};
use tempfile::TempDir;

use super::{NOW, account, later, postgres, run, sqlite};
use crate::support::postgres::Database;

/// The two doors to one store.
pub(super) struct Doors {
    people: Arc<dyn People>,
    directory: Arc<dyn Directory>,
}

pub(super) fn with_sqlite<F: Future<Output = ()>>(promise: impl FnOnce(Doors) -> F) {
    let folder = TempDir::new().expect("a temporary folder");
    run(async {
        let store: SqliteStore = sqlite(Path::new(folder.path())).await;
        promise(Doors {
            people: Arc::clone(store.directory()) as Arc<dyn People>,
            directory: Arc::clone(store.directory()) as Arc<dyn Directory>,
        })
        .await;
        store.close().await;
    });
}

pub(super) fn with_postgres<F: Future<Output = ()>>(promise: impl FnOnce(Doors) -> F) {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        promise(Doors {
            people: Arc::clone(store.directory()) as Arc<dyn People>,
            directory: Arc::clone(store.directory()) as Arc<dyn Directory>,
        })
        .await;
        store.close().await;
    });
}

fn id(name: &str) -> PersonId {
    PersonId::new(&format!("prsn_{name}"))
}

fn login(name: &str) -> LoginName {
    LoginName::new(name).expect("a login name")
}

fn hash(of: &str) -> PasswordHash {
    PasswordHash(format!("hash of {of}").into())
}

fn new_person(name: &str) -> NewPerson {
    NewPerson { id: id(name), login: login(name), name: name.to_uppercase().into(), password: hash(name) }
}

fn digest(number: u32) -> TokenDigest {
    let mut digest = [3; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

fn new_session(number: u32, ends_at: UnixTime) -> NewSession {
    NewSession {
        digest: digest(number),
        id: format!("sess_{number:04}").into(),
        ends_at,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        agent: Some("a browser".into()),
    }
}

fn new_link(number: u32, purpose: Purpose) -> NewLink {
    NewLink { digest: digest(number), id: format!("link_{number:04}").into(), purpose, ends_at: later(100) }
}

fn acme(role: Role) -> Membership {
    Membership { account: account("acct_acme"), role }
}

fn by(name: &str) -> Actor {
    Actor::Person(id(name))
}

impl Doors {
    async fn at(&self, now: UnixTime, edit: PeopleEdit, actor: Actor) -> Result<Option<PersonId>, Denial> {
        self.people.edit_people(edit, actor, now).await.expect("the store works")
    }

    async fn edit(&self, edit: PeopleEdit) -> Result<Option<PersonId>, Denial> {
        self.at(NOW, edit, Actor::Visitor).await
    }

    async fn sign_up(&self, name: &str) -> Result<Option<PersonId>, Denial> {
        self.edit(PeopleEdit::SignUp {
            account: account(&format!("acct_{name}")),
            account_name: name.into(),
            plan: PlanName::new("free"),
            owner: new_person(name),
        })
        .await
    }

    async fn make_link(&self, number: u32, purpose: Purpose, actor: Actor) -> Result<(), Denial> {
        self.at(NOW, PeopleEdit::MakeLink(new_link(number, purpose)), actor).await.map(drop)
    }

    async fn join(&self, number: u32, name: &str) -> Result<Option<PersonId>, Denial> {
        self.edit(PeopleEdit::Join { link: digest(number), person: new_person(name) }).await
    }

    /// Somebody who has come into account acme.
    async fn member(&self, number: u32, name: &str, role: Role) {
        self.make_link(number, Purpose::Invite(acme(role)), by("acme")).await.expect("a link");
        self.join(number, name).await.expect("somebody");
    }

    async fn operator(&self, number: u32, name: &str) {
        self.make_link(number, Purpose::Operator, Actor::Gateway).await.expect("a link");
        self.join(number, name).await.expect("an operator");
    }

    async fn begin(&self, name: &str, number: u32, begun: UnixTime) -> Result<Option<PersonId>, Denial> {
        let session = new_session(number, later(1000));
        self.at(begun, PeopleEdit::BeginSession { person: id(name), session }, by(name)).await
    }

    /// Who shows this token.
    async fn known(&self, number: u32, now: UnixTime) -> Option<String> {
        let known = self.people.known(&digest(number), now).await.expect("the store works");
        known.map(|known| known.person.login.to_string())
    }

    async fn waits(&self, number: u32, now: UnixTime) -> bool {
        self.people.link(&digest(number), now).await.expect("the store works").is_some()
    }

    async fn role(&self, name: &str) -> Option<Role> {
        let person = self.people.person(&id(name)).await.expect("the store works");
        person.and_then(|person| person.membership).map(|membership| membership.role)
    }

    async fn password(&self, name: &str) -> Option<PasswordHash> {
        let found = self.people.credentials(&login(name)).await.expect("the store works");
        found.map(|found| found.password)
    }

    /// The trail, the oldest first: who, what and more of it.
    async fn trail(&self) -> Vec<(String, String, String)> {
        let of = AuditOf { account: None, before: None, limit: 1000 };
        let rows = self.directory.audit(of).await.expect("the store works");
        let row = |row: &safecache::store::directory::audit::AuditRow| {
            (row.actor.to_string(), row.action.to_string(), row.detail.as_deref().unwrap_or("").to_owned())
        };
        rows.iter().rev().map(row).collect()
    }
}

pub(super) async fn a_sign_up_makes_an_account_and_its_owner(doors: Doors) {
    assert_eq!(doors.sign_up("acme").await, Ok(Some(id("acme"))));
    let made = doors.directory.account(&account("acct_acme")).await.unwrap().expect("an account");
    assert_eq!((made.plan.as_str(), made.name.as_ref(), made.created_at), ("free", "acme", NOW));
    let found = doors.people.credentials(&login("ACME")).await.unwrap().expect("an owner");
    assert_eq!(found.password, hash("acme"));
    let person = found.person;
    assert_eq!(person.membership, Some(acme(Role::Owner)));
    assert_eq!((person.id, person.name.as_ref()), (id("acme"), "ACME"));
    assert_eq!((person.created_at, person.password_changed_at, person.disabled_at), (NOW, NOW, None));
    assert!(!person.is_operator);
}

pub(super) async fn a_taken_name_makes_nothing_and_leaves_a_trail(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    let again = PeopleEdit::SignUp {
        account: account("acct_other"),
        account_name: "other".into(),
        plan: PlanName::new("free"),
        owner: NewPerson { id: id("other"), password: hash("other"), ..new_person("acme") },
    };
    assert_eq!(doors.edit(again.clone()).await, Err(Denial::NameTaken));
    assert_eq!(doors.directory.account(&account("acct_other")).await.unwrap(), None);
    assert_eq!(doors.password("acme").await, Some(hash("acme")));
    let last = doors.trail().await.pop().expect("a row");
    assert_eq!(last, ("visitor".into(), "person.sign_up_refused".into(), "acme".into()));
    let PeopleEdit::SignUp { account_name, plan, owner, .. } = again else { unreachable!() };
    let same_id = PeopleEdit::SignUp {
        account: account("acct_acme"),
        account_name,
        plan,
        owner: NewPerson { login: login("another"), ..owner },
    };
    assert_eq!(doors.edit(same_id).await, Err(Denial::AccountExists));
    assert_eq!(doors.password("another").await, None);
}

pub(super) async fn a_session_is_known_until_its_end(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.begin("acme", 1, NOW).await.unwrap();
    assert_eq!(doors.known(1, later(999)).await.as_deref(), Some("acme"));
    assert_eq!(doors.known(1, later(1000)).await, None);
    assert_eq!(doors.known(2, NOW).await, None);
    doors.people.see(digest(1), later(500), later(2000)).await.unwrap();
    assert_eq!(doors.known(1, later(1999)).await.as_deref(), Some("acme"));
    let sessions = doors.people.sessions(&id("acme"), later(500)).await.unwrap();
    let [session] = sessions.as_slice() else { panic!("one session: {sessions:?}") };
    assert_eq!((session.created_at, session.seen_at, session.ends_at), (NOW, later(500), later(2000)));
    assert_eq!((session.id.as_ref(), session.agent.as_deref()), ("sess_0001", Some("a browser")));
    doors.people.see(digest(1), later(2000), later(9000)).await.unwrap();
    assert_eq!(doors.known(1, later(2000)).await, None, "what has ended does not begin again");
    assert_eq!(doors.people.sessions(&id("acme"), later(2000)).await, Ok(vec![]));
}

pub(super) async fn one_session_too_many_ends_the_oldest(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.sign_up("globex").await.unwrap();
    doors.begin("globex", 5000, NOW).await.unwrap();
    for number in 0..MOST_SESSIONS {
        doors.begin("acme", number, later(number.into())).await.unwrap();
    }
    assert!(doors.known(0, later(50)).await.is_some());
    doors.begin("acme", MOST_SESSIONS, later(60)).await.unwrap();
    assert_eq!(doors.known(0, later(60)).await, None);
    assert!(doors.known(1, later(60)).await.is_some());
    assert!(doors.known(MOST_SESSIONS, later(60)).await.is_some());
    assert!(doors.known(5000, later(60)).await.is_some(), "another's are not counted");
    let sessions = doors.people.sessions(&id("acme"), later(60)).await.unwrap();
    assert_eq!(sessions.len(), MOST_SESSIONS as usize);
    assert_eq!(sessions.first().map(|session| session.created_at), Some(later(60)));
}

pub(super) async fn a_session_is_ended_by_its_person_alone(doors: Doors) {
    for name in ["acme", "globex"] {
        doors.sign_up(name).await.unwrap();
    }
    for number in 1..4 {
        doors.begin("acme", number, NOW).await.unwrap();
    }
    let end = |name: &str| PeopleEdit::EndSession { person: id(name), session: "sess_0001".into() };
    assert_eq!(doors.edit(end("globex")).await, Err(Denial::NoSession));
    assert!(doors.known(1, NOW).await.is_some());
    assert_eq!(doors.edit(end("acme")).await, Ok(Some(id("acme"))));
    assert_eq!(doors.known(1, NOW).await, None);
    assert_eq!(doors.edit(end("acme")).await, Err(Denial::NoSession));
    let others = PeopleEdit::EndOtherSessions { person: id("acme"), but: "sess_0003".into() };
    doors.edit(others).await.unwrap();
    assert_eq!((doors.known(2, NOW).await, doors.known(3, NOW).await.is_some()), (None, true));
}

pub(super) async fn a_new_password_ends_other_sessions_and_resets(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.begin("acme", 1, NOW).await.unwrap();
    doors.begin("acme", 2, NOW).await.unwrap();
    doors.make_link(10, Purpose::Reset(id("acme")), Actor::CommandLine).await.unwrap();
    let password = hash("another");
    let change = PeopleEdit::ChangePassword {
        person: id("acme"),
        password: password.clone(),
        but: "sess_0002".into(),
    };
    doors.at(later(5), change, by("acme")).await.unwrap();
    assert_eq!(doors.password("acme").await, Some(password));
    assert_eq!((doors.known(1, later(5)).await, doors.known(2, later(5)).await.is_some()), (None, true));
    assert!(!doors.waits(10, later(5)).await);
    let person = doors.people.person(&id("acme")).await.unwrap().unwrap();
    assert_eq!((person.created_at, person.password_changed_at), (NOW, later(5)));
}

pub(super) async fn a_link_lets_one_in_once_until_its_end(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    for number in 1..3 {
        let made = doors.make_link(number, Purpose::Invite(acme(Role::Viewer)), by("acme")).await;
        assert_eq!(made, Ok(()));
    }
    assert!(doors.waits(1, later(99)).await);
    assert!(!doors.waits(1, later(100)).await);
    let late = PeopleEdit::Join { link: digest(2), person: new_person("late") };
    assert_eq!(doors.at(later(100), late, Actor::Visitor).await, Err(Denial::NoLink));
    assert_eq!(doors.join(1, "acme").await, Err(Denial::NameTaken));
    assert!(doors.waits(1, NOW).await, "who was denied may try again");
    assert_eq!(doors.join(1, "eve").await, Ok(Some(id("eve"))));
    assert_eq!(doors.role("eve").await, Some(Role::Viewer));
    assert!(!doors.waits(1, NOW).await);
    assert_eq!(doors.join(1, "mallory").await, Err(Denial::NoLink));
    assert_eq!(doors.join(77, "mallory").await, Err(Denial::NoLink));
    let reset = PeopleEdit::Reset { link: digest(2), password: hash("x") };
    assert_eq!(doors.edit(reset).await, Err(Denial::NoLink), "it lets in, and sets nothing");
}

pub(super) async fn a_reset_sets_a_password_once_and_ends_what_was_begun(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.begin("acme", 1, NOW).await.unwrap();
    doors.make_link(5, Purpose::Invite(acme(Role::Owner)), by("acme")).await.unwrap();
    doors.make_link(6, Purpose::Reset(id("acme")), Actor::CommandLine).await.unwrap();
    doors.make_link(7, Purpose::Reset(id("acme")), Actor::CommandLine).await.unwrap();
    assert_eq!(
        doors.make_link(8, Purpose::Reset(id("nobody")), Actor::CommandLine).await,
        Err(Denial::NoPerson)
    );
    assert_eq!(doors.join(6, "eve").await, Err(Denial::NoLink), "it sets a password, and lets nobody in");
    let reset = PeopleEdit::Reset { link: digest(6), password: hash("another") };
    assert_eq!(doors.edit(reset.clone()).await, Ok(Some(id("acme"))));
    assert_eq!(doors.password("acme").await, Some(hash("another")));
    assert_eq!(doors.known(1, NOW).await, None);
    for number in 5..8 {
        assert!(!doors.waits(number, NOW).await, "link {number}");
    }
    assert_eq!(doors.edit(reset).await, Err(Denial::NoLink));
}

pub(super) async fn links_are_listed_and_ended_within_their_account(doors: Doors) {
    for name in ["acme", "globex"] {
        doors.sign_up(name).await.unwrap();
    }
    doors.make_link(1, Purpose::Invite(acme(Role::Admin)), by("acme")).await.unwrap();
    doors.make_link(2, Purpose::Reset(id("acme")), Actor::CommandLine).await.unwrap();
    doors.make_link(3, Purpose::Operator, Actor::Gateway).await.unwrap();
    let listed = async |of: Option<&str>, now| {
        let of = of.map(account);
        let links = doors.people.links(of.as_ref(), 10, now).await.expect("the store works");
        links.iter().map(|link| link.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(Some("acct_acme"), NOW).await, ["link_0002", "link_0001"]);
    assert_eq!(listed(Some("acct_globex"), NOW).await, [""; 0]);
    assert_eq!(listed(None, NOW).await, ["link_0003", "link_0002", "link_0001"]);
    assert_eq!(listed(Some("acct_acme"), later(100)).await, [""; 0]);
    let end = |number: u32, within: Option<&str>| PeopleEdit::EndLink {
        link: format!("link_{number:04}").into(),
        within: within.map(account),
    };
    assert_eq!(doors.edit(end(1, Some("acct_globex"))).await, Err(Denial::NoLink));
    assert_eq!(doors.edit(end(3, Some("acct_acme"))).await, Err(Denial::NoLink));
    assert_eq!(doors.edit(end(1, Some("acct_acme"))).await, Ok(None));
    assert_eq!(doors.edit(end(3, None)).await, Ok(None));
    assert_eq!(doors.join(1, "eve").await, Err(Denial::NoLink));
    assert_eq!(doors.edit(end(1, None)).await, Err(Denial::NoLink));
}

pub(super) async fn there_is_one_first_operator(doors: Doors) {
    let first = || Purpose::FirstOperator(Some(acme(Role::Owner)));
    for number in 1..=MOST_LINKS + 1 {
        let made = PeopleEdit::MakeLink(new_link(number, first()));
        doors.at(later(u64::from(number)), made, Actor::Gateway).await.unwrap();
    }
    assert!(!doors.waits(1, NOW).await, "newer ones are in its place");
    assert_eq!(doors.people.has_operator().await, Ok(false));
    assert_eq!(doors.join(MOST_LINKS + 1, "root").await, Ok(Some(id("root"))));
    assert_eq!(doors.people.has_operator().await, Ok(true));
    let person = doors.people.person(&id("root")).await.unwrap().unwrap();
    assert_eq!((person.is_operator, person.membership), (true, Some(acme(Role::Owner))));
    doors.make_link(900, first(), Actor::Gateway).await.unwrap();
    for link in [MOST_LINKS, 900] {
        assert_eq!(doors.join(link, "second").await, Err(Denial::NoLink));
    }
}

pub(super) async fn links_that_wait_have_a_bound_by_their_maker(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    let invite = || Purpose::Invite(acme(Role::Viewer));
    for number in 0..MOST_LINKS {
        doors.make_link(number, invite(), by("acme")).await.unwrap();
    }
    assert_eq!(doors.make_link(900, invite(), by("acme")).await, Err(Denial::TooManyLinks));
    assert_eq!(doors.make_link(901, invite(), by("another")).await, Ok(()));
    doors.join(0, "eve").await.unwrap();
    assert_eq!(doors.make_link(902, invite(), by("acme")).await, Ok(()), "a used one waits no more");
    let later_on = PeopleEdit::MakeLink(new_link(903, invite()));
    assert_eq!(doors.at(later(100), later_on, by("acme")).await, Ok(None), "nor do ended ones");
}

pub(super) async fn an_account_and_the_operators_have_a_bound(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    for number in 1..MOST_PEOPLE {
        doors.member(number, &format!("m{number:04}"), Role::Viewer).await;
    }
    doors.make_link(900, Purpose::Invite(acme(Role::Viewer)), by("acme")).await.unwrap();
    assert_eq!(doors.join(900, "one-more").await, Err(Denial::TooManyPeople));
    doors.edit(PeopleEdit::Remove(id("m0001"))).await.unwrap();
    assert_eq!(doors.join(900, "one-more").await, Ok(Some(id("one-more"))));
    for number in 1000..1000 + MOST_PEOPLE {
        doors.operator(number, &format!("o{number:04}")).await;
    }
    doors.make_link(2000, Purpose::Operator, Actor::Gateway).await.unwrap();
    assert_eq!(doors.join(2000, "too-many").await, Err(Denial::TooManyPeople));
}

pub(super) async fn the_last_owner_stays(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.member(1, "eve", Role::Admin).await;
    let owner = || id("acme");
    let ending = || {
        [
            PeopleEdit::SetRole { person: owner(), role: Role::Admin },
            PeopleEdit::Disable(owner()),
            PeopleEdit::Remove(owner()),
        ]
    };
    for edit in ending() {
        assert_eq!(doors.edit(edit.clone()).await, Err(Denial::LastOwner), "{edit:?}");
    }
    let same = PeopleEdit::SetRole { person: owner(), role: Role::Owner };
    assert_eq!(doors.edit(same).await, Ok(Some(owner())));
    doors.edit(PeopleEdit::SetRole { person: id("eve"), role: Role::Owner }).await.unwrap();
    doors.edit(PeopleEdit::Disable(id("eve"))).await.unwrap();
    for edit in ending() {
        assert_eq!(
            doors.edit(edit.clone()).await,
            Err(Denial::LastOwner),
            "a disabled one is none: {edit:?}"
        );
    }
    doors.edit(PeopleEdit::Enable(id("eve"))).await.unwrap();
    doors.edit(PeopleEdit::Remove(owner())).await.unwrap();
    assert_eq!(doors.people.person(&owner()).await, Ok(None));
    assert_eq!(doors.edit(PeopleEdit::Remove(id("eve"))).await, Err(Denial::LastOwner));
    assert_eq!(doors.edit(PeopleEdit::Remove(owner())).await, Err(Denial::NoPerson));
}

pub(super) async fn the_last_operator_stays(doors: Doors) {
    doors.operator(1, "root").await;
    for edit in [PeopleEdit::Disable(id("root")), PeopleEdit::Remove(id("root"))] {
        assert_eq!(doors.edit(edit).await, Err(Denial::LastOperator));
    }
    let role = PeopleEdit::SetRole { person: id("root"), role: Role::Owner };
    assert_eq!(doors.edit(role).await, Err(Denial::NoPerson), "there is no account to have a role in");
    doors.operator(2, "second").await;
    doors.edit(PeopleEdit::Disable(id("root"))).await.unwrap();
    assert_eq!(doors.edit(PeopleEdit::Remove(id("second"))).await, Err(Denial::LastOperator));
    doors.edit(PeopleEdit::Remove(id("root"))).await.expect("one who is disabled is not the last");
}

pub(super) async fn who_may_do_less_takes_their_links_along(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    for (number, name, edit) in [
        (10, "removed", PeopleEdit::Remove(id("removed"))),
        (20, "disabled", PeopleEdit::Disable(id("disabled"))),
        (30, "demoted", PeopleEdit::SetRole { person: id("demoted"), role: Role::Admin }),
    ] {
        doors.member(number, name, Role::Owner).await;
        doors.begin(name, number, NOW).await.unwrap();
        doors.make_link(number + 1, Purpose::Invite(acme(Role::Owner)), by(name)).await.unwrap();
        doors.edit(edit).await.unwrap();
        assert_eq!(doors.join(number + 1, "eve").await, Err(Denial::NoLink), "{name}");
        assert_eq!(doors.known(number, NOW).await.is_some(), name == "demoted");
    }
    assert_eq!(doors.begin("disabled", 99, NOW).await, Err(Denial::NoPerson));
    doors.edit(PeopleEdit::Enable(id("disabled"))).await.unwrap();
    assert_eq!(doors.known(20, NOW).await, None, "what was ended stays so");
    doors.begin("disabled", 99, NOW).await.unwrap();
}

pub(super) async fn people_come_in_pages(doors: Doors) {
    for name in ["acme", "globex"] {
        doors.sign_up(name).await.unwrap();
    }
    for (number, name) in [(1, "ada"), (2, "bob"), (3, "eve")] {
        doors.member(number, name, Role::Viewer).await;
    }
    let page = async |of: Option<&str>, after: &str, limit| {
        let of = PeopleOf { account: of.map(account), after: after.into(), limit };
        let people = doors.people.people(of).await.expect("the store works");
        people.iter().map(|person| person.login.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(Some("acct_acme"), "", 3).await, ["acme", "ada", "bob"]);
    assert_eq!(page(Some("acct_acme"), "prsn_bob", 3).await, ["eve"]);
    assert_eq!(page(Some("acct_nobody"), "", 3).await, [""; 0]);
    assert_eq!(page(None, "prsn_bob", 3).await, ["eve", "globex"]);
}

pub(super) async fn people_are_named_and_counted(doors: Doors) {
    for name in ["acme", "globex"] {
        doors.sign_up(name).await.unwrap();
    }
    for (number, name) in [(1, "ada"), (2, "bob")] {
        doors.member(number, name, Role::Viewer).await;
    }
    let asked = [id("bob"), id("nobody"), id("globex")];
    let mut logins = doors.people.logins(&asked).await.expect("the store works");
    logins.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(logins, [(id("bob"), login("bob")), (id("globex"), login("globex"))]);
    assert_eq!(doors.people.logins(&[]).await.expect("the store works"), []);
    let asked = ["acct_acme", "acct_globex", "acct_nobody"].map(account);
    let mut counts = doors.people.count_people(&asked[1..]).await.expect("the store works");
    assert_eq!(counts, [(account("acct_globex"), 1)], "of those alone");
    counts = doors.people.count_people(&asked).await.expect("the store works");
    counts.sort();
    assert_eq!(counts, [(account("acct_acme"), 3), (account("acct_globex"), 1)]);
}

pub(super) async fn every_edit_leaves_a_trail(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.member(1, "eve", Role::Viewer).await;
    doors.begin("eve", 1, NOW).await.unwrap();
    for edit in [
        PeopleEdit::EndOtherSessions { person: id("eve"), but: "sess_0001".into() },
        PeopleEdit::ChangePassword { person: id("eve"), password: hash("x"), but: "sess_0001".into() },
        PeopleEdit::EndSession { person: id("eve"), session: "sess_0001".into() },
        PeopleEdit::SetRole { person: id("eve"), role: Role::Admin },
        PeopleEdit::Disable(id("eve")),
        PeopleEdit::Enable(id("eve")),
    ] {
        doors.at(NOW, edit, by("acme")).await.unwrap();
    }
    doors.make_link(2, Purpose::Reset(id("eve")), Actor::CommandLine).await.unwrap();
    doors.edit(PeopleEdit::Reset { link: digest(2), password: hash("y") }).await.unwrap();
    doors.make_link(3, Purpose::Operator, Actor::Gateway).await.unwrap();
    doors.edit(PeopleEdit::EndLink { link: "link_0003".into(), within: None }).await.unwrap();
    doors.at(NOW, PeopleEdit::Remove(id("eve")), by("acme")).await.unwrap();
    let denied = doors.at(NOW, PeopleEdit::Remove(id("eve")), by("acme")).await;
    assert_eq!(denied, Err(Denial::NoPerson), "which leaves none");
    let row = |(actor, action, detail): &(String, String, String)| format!("{actor}: {action} {detail}");
    let trail: Vec<_> = doors.trail().await.iter().map(row).collect();
    let expected = [
        "visitor: person.sign_up acme",
        "prsn_acme: link.make invite link_0001",
        "visitor: person.join eve",
        "prsn_eve: session.begin sess_0001 from 127.0.0.1",
        "prsn_acme: session.end_others ",
        "prsn_acme: person.change_password ",
        "prsn_acme: session.end sess_0001",
        "prsn_acme: person.set_role admin",
        "prsn_acme: person.disable ",
        "prsn_acme: person.enable ",
        "command line: link.make reset link_0002",
        "visitor: person.reset_password ",
        "gateway: link.make operator link_0003",
        "visitor: link.end link_0003",
        "prsn_acme: person.remove ",
    ];
    assert_eq!(trail, expected);
    let of = AuditOf { account: Some(account("acct_acme")), before: None, limit: 100 };
    let rows = doors.directory.audit(of).await.unwrap();
    let last = rows.first().expect("a row");
    assert_eq!((last.action.as_ref(), last.subject.as_deref()), ("person.remove", Some("prsn_eve")));
}

pub(super) async fn what_has_ended_is_forgotten(doors: Doors) {
    doors.sign_up("acme").await.unwrap();
    doors.begin("acme", 1, NOW).await.unwrap();
    doors.make_link(2, Purpose::Operator, Actor::Gateway).await.unwrap();
    assert_eq!(doors.people.forget_ended(later(99)).await, Ok(0));
    assert_eq!(doors.people.forget_ended(later(100)).await, Ok(1), "the link");
    assert!(doors.known(1, later(100)).await.is_some());
    assert_eq!(doors.people.forget_ended(later(1000)).await, Ok(1), "the session");
    assert_eq!(doors.people.forget_ended(later(1000)).await, Ok(0));
}
