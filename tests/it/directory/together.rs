//! Promises about edits that are made at the same time over two open stores, as two gateways do, or one and the command
//! line: every bound holds, what can be done once is done once, and who follows misses nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join, join_all};
use safecache::auth::key::StoredKey;
use safecache::ids::{AccountId, KeyId, PersonId};
use safecache::store::Store;
use safecache::store::directory::edit::{Author, Denial, Edit, Edited, NewKey, Which};
use safecache::store::directory::{Cursor, Directory};
use safecache::store::folder::FolderLock;
use safecache::store::people::edit::{Actor, Denial as PeopleDenial, NewPerson, PeopleEdit};
use safecache::store::people::link::{NewLink, Purpose};
use safecache::store::people::person::{LoginName, Membership, PasswordHash, PeopleOf, Role};
use safecache::store::people::session::NewSession;
use safecache::store::people::{MOST_LINKS, MOST_PEOPLE, MOST_SESSIONS, People, TokenDigest};
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use tempfile::TempDir;

use super::{NOW, account, actions, later, new_key, plan, postgres, request, run, secret, which};
use crate::support::postgres::Database;

macro_rules! promises {
    ($run:path) => {
        crate::directory::together::promises!($run:
            an_account_gets_no_more_keys_than_it_may, a_key_gets_no_more_secrets_than_it_may,
            a_request_makes_one_key_however_often_it_comes, who_follows_misses_nothing, a_suspension_misses_no_key,
            one_of_two_owners_stays, one_of_two_operators_stays, a_name_is_taken_once, an_account_gets_no_more_people_than_it_may,
            somebody_has_no_more_sessions_than_they_may, a_maker_has_no_more_links_than_they_may, a_link_lets_one_in,
        );
    };
    ($run:path: $($promise:ident,)+) => { $(
        #[test]
        fn $promise() {
            $run(crate::directory::together::$promise);
        }
    )+ };
}
use promises;

mod on_sqlite {
    super::promises!(crate::directory::together::with_sqlite);
}

mod on_postgres {
    super::promises!(crate::directory::together::with_postgres);
}

/// Two open stores of the same content.
pub(crate) struct Two {
    directories: [Arc<dyn Directory>; 2],
    people: [Arc<dyn People>; 2],
}

fn with_sqlite<F: Future<Output = ()>>(promise: impl FnOnce(Arc<Two>) -> F) {
    let folder = TempDir::new().expect("a temporary folder");
    run(async {
        let lock = FolderLock::take(folder.path()).expect("a lock");
        let first = SqliteStore::open(lock, Bounds::default()).await.expect("a store");
        let second = SqliteStore::beside(folder.path(), Bounds::default()).await.expect("a store");
        let stores = [first.directory(), second.directory()].map(Arc::clone);
        let two = Two {
            people: stores.clone().map(|store| store as _),
            directories: stores.map(|store| store as _),
        };
        promise(Arc::new(two)).await;
        second.close().await;
        first.close().await;
    });
}

fn with_postgres<F: Future<Output = ()>>(promise: impl FnOnce(Arc<Two>) -> F) {
    let database = Database::fresh();
    run(async {
        let (first, second) = (postgres(&database).await, postgres(&database).await);
        let stores = [first.directory(), second.directory()].map(Arc::clone);
        let two = Two {
            people: stores.clone().map(|store| store as _),
            directories: stores.map(|store| store as _),
        };
        promise(Arc::new(two)).await;
        second.close().await;
        first.close().await;
    });
}

impl Two {
    /// Every other time the other store.
    async fn edit(&self, turn: usize, edit: Edit) -> Result<Edited, Denial> {
        self.directories[turn % 2].edit(edit, Author::Operator, NOW).await.expect("the store works")
    }

    /// All of them at the same time.
    async fn edit_all(&self, edits: impl IntoIterator<Item = Edit>) -> Vec<Result<Edited, Denial>> {
        join_all(edits.into_iter().enumerate().map(|(turn, edit)| self.edit(turn, edit))).await
    }

    async fn edit_people(
        &self,
        turn: usize,
        edit: PeopleEdit,
        by: Actor,
    ) -> Result<Option<PersonId>, PeopleDenial> {
        self.people[turn % 2].edit_people(edit, by, NOW).await.expect("the store works")
    }

    /// All of them at the same time; how many were made, and why the others were not.
    async fn edit_all_people(&self, edits: Vec<(PeopleEdit, Actor)>) -> (usize, Vec<PeopleDenial>) {
        let edits = edits.into_iter().enumerate();
        let done = join_all(edits.map(|(turn, (edit, by))| self.edit_people(turn, edit, by))).await;
        let denied: Vec<_> = done.iter().filter_map(|done| done.as_ref().err().copied()).collect();
        (done.len() - denied.len(), denied)
    }

    async fn sign_up(&self, number: u32) {
        let sign_up = sign_up(number, &format!("person{number}"));
        self.edit_people(0, sign_up, Actor::Visitor).await.expect("somebody");
    }

    /// Makes a link that lets somebody in.
    async fn invite(&self, number: u32, purpose: Purpose, by: Actor) {
        self.edit_people(0, PeopleEdit::MakeLink(new_link(number, purpose)), by).await.expect("a link");
    }
}

fn person(number: u32) -> PersonId {
    PersonId::new(&format!("prsn_{number:04}"))
}

fn of_person(number: u32) -> AccountId {
    account(&format!("acct_{number:04}"))
}

fn new_person(number: u32, login: &str) -> NewPerson {
    NewPerson {
        id: person(number),
        login: LoginName::new(login).expect("a login name"),
        name: login.into(),
        password: PasswordHash("a hash".into()),
    }
}

fn sign_up(number: u32, login: &str) -> PeopleEdit {
    PeopleEdit::SignUp {
        account: of_person(number),
        account_name: "an account".into(),
        plan: plan("free"),
        owner: new_person(number, login),
    }
}

fn token(number: u32) -> TokenDigest {
    let mut digest = [3; 32];
    digest[..4].copy_from_slice(&number.to_be_bytes());
    digest
}

fn new_link(number: u32, purpose: Purpose) -> NewLink {
    NewLink { digest: token(number), id: format!("link_{number:04}").into(), purpose, ends_at: later(100) }
}

fn join_as(link: u32, number: u32) -> (PeopleEdit, Actor) {
    let person = new_person(number, &format!("person{number}"));
    (PeopleEdit::Join { link: token(link), person }, Actor::Visitor)
}

fn place(number: u32, role: Role) -> Purpose {
    Purpose::Invite(Membership { account: of_person(number), role })
}

fn made(done: &[Result<Edited, Denial>]) -> usize {
    done.iter().filter(|done| done.as_ref().is_ok_and(|edited| edited.is_new)).count()
}

pub(crate) async fn an_account_gets_no_more_keys_than_it_may(two: Arc<Two>) {
    let done =
        two.edit_all((1..=20).map(|number| Edit::CreateKey(NewKey { most: 10, ..new_key(number) }))).await;
    assert_eq!(made(&done), 10);
    let denied: Vec<_> = done.into_iter().filter_map(Result::err).collect();
    assert_eq!(denied, [Denial::TooManyKeys { most: 10 }; 10]);
    assert_eq!(two.directories[1].account(&account("acme")).await.unwrap().unwrap().keys, 10);
    let trail = actions(&*two.directories[0]).await;
    assert_eq!(
        trail,
        [vec!["account.create"], vec!["key.create"; 10]].concat(),
        "each with its row, and no other"
    );
    assert_eq!(two.directories[0].revisions().await.unwrap().keys, 10);
}

pub(crate) async fn a_key_gets_no_more_secrets_than_it_may(two: Arc<Two>) {
    two.edit(0, Edit::CreateKey(new_key(1))).await.expect("a key");
    let rotate = |number| Edit::RotateKey {
        which: which(1),
        secret: secret(number),
        ends_at: later(60),
        request: None,
    };
    let done = two.edit_all((2..=14).map(rotate)).await;
    assert_eq!(made(&done), 7, "and the one that it was made with");
    let key = two.directories[1].key(&new_key(1).id).await.unwrap().unwrap();
    assert_eq!(
        (key.secrets.len(), key.secrets.iter().filter(|secret| secret.ends_at.is_none()).count()),
        (8, 1)
    );
}

pub(crate) async fn a_request_makes_one_key_however_often_it_comes(two: Arc<Two>) {
    let asked = |number| NewKey { request: Some(request("mine", 1)), ..new_key(number) };
    let done = two.edit_all((1..=8).map(|number| Edit::CreateKey(asked(number)))).await;
    assert_eq!(made(&done), 1);
    let keys: Vec<_> = done.into_iter().map(|done| done.expect("it is the same request").key).collect();
    assert!(keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");
    assert_eq!(two.directories[0].account(&account("acme")).await.unwrap().unwrap().keys, 1);
}

/// Whoever asks what has changed behind what they have seen, again and again while others write, ends with what there is.
pub(crate) async fn who_follows_misses_nothing(two: Arc<Two>) {
    const KEYS: u8 = 40;
    let written = AtomicUsize::new(0);
    let write = async |writer: u8| {
        for number in (0..KEYS).filter(|number| number % 2 == writer) {
            let new = NewKey { most: 1000, ..new_key(number) };
            // Each of the five over a store of its own, and so over a connection of its own.
            let turn = usize::from(writer);
            two.edit(turn, Edit::CreateKey(new)).await.expect("a key");
            let rename = Edit::RenameKey { which: which(number), name: Some("another".into()) };
            let older = KeyId::new(&format!("key_{:03}", number / 2));
            let again = Edit::RenameKey {
                which: Which { id: older, within: None },
                name: Some(format!("{number}").into()),
            };
            let (renamed, _) = join(two.edit(turn, rename), two.edit(turn + 1, again)).await;
            renamed.expect("it is there");
            if number % 3 == 0 {
                two.edit(turn + 1, Edit::RevokeKey(which(number))).await.expect("it is there");
            }
            let rename = Edit::RenameKey { which: which(number), name: Some("the last".into()) };
            two.edit(turn, rename).await.expect("it is there");
            two.edit(turn, Edit::EndOverlap(which(number))).await.expect("it is there");
        }
        written.fetch_add(1, Ordering::Relaxed);
    };
    let follow = async {
        let (mut seen, mut cursor) = (BTreeMap::new(), Cursor::default());
        loop {
            let is_last = written.load(Ordering::Relaxed) == 2;
            let followed = two.directories[0].follow(&cursor, 7, NOW).await.expect("the store works");
            if followed.keys.is_empty() && is_last {
                return seen;
            }
            assert!(cursor.revision <= followed.cursor.revision);
            cursor = followed.cursor;
            seen.extend(followed.keys.into_iter().map(by_id));
        }
    };
    let (seen, _) = join(follow, join(write(0), write(1))).await;
    let all = two.directories[1].follow(&Cursor::default(), 1000, NOW).await.unwrap().keys;
    assert_eq!(all.len(), usize::from(KEYS));
    let all: BTreeMap<_, _> = all.into_iter().map(by_id).collect();
    assert_eq!(seen, all);
}

fn by_id(key: StoredKey) -> (KeyId, StoredKey) {
    (key.id.clone(), key)
}

/// Neither one that is made at the same time.
pub(crate) async fn a_suspension_misses_no_key(two: Arc<Two>) {
    let make = Edit::CreateAccount { id: account("acme"), name: "Acme".into(), plan: plan("free") };
    two.edit(0, make).await.expect("an account");
    let mut cursor = Cursor::default();
    let mut edits: Vec<_> = (1..=10).map(|number| Edit::CreateKey(new_key(number))).collect();
    edits.insert(5, Edit::SuspendAccount { id: account("acme"), new_account: None });
    assert_eq!(made(&two.edit_all(edits).await), 11);
    let mut seen = BTreeMap::new();
    loop {
        let followed = two.directories[1].follow(&cursor, 3, NOW).await.unwrap();
        if followed.keys.is_empty() {
            break;
        }
        cursor = followed.cursor;
        seen.extend(followed.keys.into_iter().map(by_id));
    }
    let is_disabled = |key: &StoredKey| key.entries.iter().all(|entry| entry.options.disabled);
    assert_eq!((seen.len(), seen.values().all(is_disabled)), (10, true));
}

pub(crate) async fn one_of_two_owners_stays(two: Arc<Two>) {
    for (first, second) in [(1, 11), (2, 12), (3, 13), (4, 14), (5, 15)] {
        two.sign_up(first).await;
        two.invite(first, place(first, Role::Owner), Actor::Person(person(first))).await;
        let (join, by) = join_as(first, second);
        two.edit_people(1, join, by).await.expect("another owner");
        let by = |who, whom| (PeopleEdit::Remove(person(whom)), Actor::Person(person(who)));
        let done = two.edit_all_people(vec![by(first, second), by(second, first)]).await;
        assert_eq!(done, (1, vec![PeopleDenial::LastOwner]));
        let of = PeopleOf { account: Some(of_person(first)), limit: 9, ..PeopleOf::default() };
        assert_eq!(two.people[0].people(of).await.unwrap().len(), 1);
    }
}

pub(crate) async fn one_of_two_operators_stays(two: Arc<Two>) {
    for number in [1, 2] {
        two.invite(number, Purpose::Operator, Actor::Gateway).await;
        let (join, by) = join_as(number, number);
        two.edit_people(1, join, by).await.expect("an operator");
    }
    for _ in 0..5 {
        let disable = |whom| (PeopleEdit::Disable(person(whom)), Actor::Operator);
        let done = two.edit_all_people(vec![disable(1), disable(2)]).await;
        assert_eq!(done, (1, vec![PeopleDenial::LastOperator]));
        assert_eq!(two.people[0].has_operator().await, Ok(true));
        for number in [1, 2] {
            let enabled = two.edit_people(1, PeopleEdit::Enable(person(number)), Actor::Operator).await;
            enabled.expect("they are there");
        }
    }
}

pub(crate) async fn a_name_is_taken_once(two: Arc<Two>) {
    let sign_ups = (1..=8).map(|number| (sign_up(number, "the-same"), Actor::Visitor)).collect();
    assert_eq!(two.edit_all_people(sign_ups).await, (1, vec![PeopleDenial::NameTaken; 7]));
    let mut accounts = Vec::new();
    for number in 1..=8 {
        accounts.extend(two.directories[0].account(&of_person(number)).await.unwrap());
    }
    assert_eq!(accounts.len(), 1, "who was denied has left none");
    let trail = actions(&*two.directories[0]).await;
    assert_eq!(trail.iter().filter(|action| *action == "person.sign_up_refused").count(), 7);
}

pub(crate) async fn an_account_gets_no_more_people_than_it_may(two: Arc<Two>) {
    two.sign_up(1).await;
    // So many that nobody has too many links.
    for number in 2..=MOST_PEOPLE + 10 {
        let by = Actor::Person(person(number / (MOST_LINKS - 10)));
        two.invite(number, place(1, Role::Viewer), by).await;
    }
    let early = (2..=MOST_PEOPLE - 5).map(|number| join_as(number, number)).collect();
    assert_eq!(two.edit_all_people(early).await.1, []);
    let late = (MOST_PEOPLE - 4..=MOST_PEOPLE + 10).map(|number| join_as(number, number)).collect();
    assert_eq!(two.edit_all_people(late).await, (5, vec![PeopleDenial::TooManyPeople; 10]));
    assert_eq!(
        two.people[1].count_people(&[of_person(1)]).await,
        Ok(vec![(of_person(1), u64::from(MOST_PEOPLE))])
    );
}

pub(crate) async fn somebody_has_no_more_sessions_than_they_may(two: Arc<Two>) {
    two.sign_up(1).await;
    let begin = |number: u32| {
        let session = NewSession {
            digest: token(number),
            id: format!("sess_{number:04}").into(),
            ends_at: later(1000),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            agent: None,
        };
        (PeopleEdit::BeginSession { person: person(1), session }, Actor::Person(person(1)))
    };
    assert_eq!(two.edit_all_people((0..MOST_SESSIONS + 15).map(begin).collect()).await.1, []);
    let mut known = 0;
    for number in 0..MOST_SESSIONS + 15 {
        known += u32::from(two.people[0].known(&token(number), NOW).await.unwrap().is_some());
    }
    assert_eq!(known, MOST_SESSIONS);
}

pub(crate) async fn a_maker_has_no_more_links_than_they_may(two: Arc<Two>) {
    two.sign_up(1).await;
    let make = |number| {
        let link = new_link(number, place(1, Role::Viewer));
        (PeopleEdit::MakeLink(link), Actor::Person(person(1)))
    };
    let done = two.edit_all_people((0..MOST_LINKS + 9).map(make).collect()).await;
    assert_eq!(done, (MOST_LINKS as usize, vec![PeopleDenial::TooManyLinks; 9]));
    assert_eq!(two.people[1].links(Some(&of_person(1)), 100, NOW).await.unwrap().len(), MOST_LINKS as usize);
}

pub(crate) async fn a_link_lets_one_in(two: Arc<Two>) {
    two.sign_up(1).await;
    for link in 1..=3 {
        two.invite(link, place(1, Role::Admin), Actor::Person(person(1))).await;
        let joins = (0..6).map(|number| join_as(link, link * 10 + number)).collect();
        assert_eq!(two.edit_all_people(joins).await, (1, vec![PeopleDenial::NoLink; 5]));
    }
    let of = PeopleOf { account: Some(of_person(1)), limit: 99, ..PeopleOf::default() };
    assert_eq!(two.people[1].people(of).await.unwrap().len(), 1 + 3);
}
