//! Accounts, keys and their trail: promises of the trait `Directory`, kept by every implementation.
//!
//! - `together`: promises about edits that are made at the same time over two open stores.
//! - `shared`: what is true of the one that many gateways share.

mod shared;
mod together;

use std::sync::Arc;
use std::time::Duration;

use safecache::auth::key::{Digest, Environment, StoredKey};
use safecache::auth::model_glob::ModelGlob;
use safecache::clock::UnixTime;
use safecache::ids::{AccountId, KeyId, PlanName};
use safecache::store::Store;
use safecache::store::directory::audit::AuditOf;
use safecache::store::directory::edit::{Author, Denial, Edit, Edited, NewKey, Request, Which};
use safecache::store::directory::key::{KeySecret, KeyTerms, KeysOf, NewSecret};
use safecache::store::directory::{Cursor, Directory, MOST_SECRETS, TOMBSTONE};
use safecache::store::folder::FolderLock;
use safecache::store::postgres::{PostgresStore, connections};
use safecache::store::sqlite::SqliteStore;
use safecache::store::sqlite::writer::Bounds;
use tempfile::TempDir;

use crate::support::postgres::Database;

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn later(seconds: u64) -> UnixTime {
    UnixTime::from_secs(NOW.as_secs() + seconds)
}

/// Every promise, against the implementation that `$run` hands a fresh one of.
macro_rules! promises {
    ($run:path) => {
        crate::directory::promises!($run:
            a_key_is_as_it_was_made, an_account_is_made_once_and_changed, an_account_has_so_many_keys,
            a_request_makes_one_key, a_request_rotates_a_key_once, a_key_of_another_is_as_good_as_not_there, what_is_denied_leaves_nothing,
            a_rotated_key_has_two_secrets_until_the_old_one_ends, a_key_has_so_many_valid_secrets,
            a_revoked_key_stays_so,
            a_deleted_key_is_listed_no_more, who_follows_sees_each_change_once, an_account_is_suspended_with_all_its_keys,
            who_is_suspended_is_followed, what_changes_nothing_leaves_no_trail, an_account_is_made_to_be_changed,
            keys_without_a_plan_have_their_accounts, keys_come_in_pages, accounts_are_counted_by_plan,
            the_trail_tells_who_did_what,
            what_nobody_has_to_learn_of_any_more_is_forgotten, no_name_is_too_odd_to_be_asked_for,
        );
    };
    ($run:path: $($promise:ident,)+) => { $(
        #[test]
        fn $promise() {
            $run(crate::directory::$promise);
        }
    )+ };
}
use promises;

mod on_sqlite {
    super::promises!(crate::directory::with_sqlite);
}

mod on_postgres {
    super::promises!(crate::directory::with_postgres);
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

fn with_postgres<F: Future<Output = ()>>(promise: impl FnOnce(Arc<dyn Directory>) -> F) {
    let database = Database::fresh();
    run(async {
        let store = postgres(&database).await;
        promise(Arc::clone(store.directory()) as Arc<dyn Directory>).await;
        store.close().await;
    });
}

async fn postgres(database: &Database) -> PostgresStore {
    let opened = PostgresStore::open(&database.address(), connections::Bounds::default()).await;
    opened.unwrap_or_else(|error| panic!("{error}"))
}

fn with_sqlite<F: Future<Output = ()>>(promise: impl FnOnce(Arc<dyn Directory>) -> F) {
    let folder = TempDir::new().expect("a temporary folder");
    run(async {
        let lock = FolderLock::take(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        let opened = SqliteStore::open(lock, Bounds::default()).await;
        let store = opened.unwrap_or_else(|error| panic!("{error}"));
        promise(Arc::clone(store.directory()) as Arc<dyn Directory>).await;
        store.close().await;
    });
}

fn account(name: &str) -> AccountId {
    AccountId::new(name)
}

fn plan(name: &str) -> PlanName {
    PlanName::new(name)
}

fn digest(number: u8) -> Digest {
    [number; 32]
}

fn secret(number: u8) -> NewSecret {
    NewSecret { public_id: format!("public{number:04}").into(), digest: digest(number) }
}

/// Key `number` of acme, whose account is made with it.
fn new_key(number: u8) -> NewKey {
    NewKey {
        id: KeyId::new(&format!("key_{number:03}")),
        account: account("acme"),
        terms: KeyTerms::default(),
        secret: secret(number),
        request: None,
        most: 20,
        new_account: Some(plan("free")),
    }
}

fn which(number: u8) -> Which {
    Which { id: new_key(number).id, within: None }
}

fn request(name: &str, content: u8) -> Request {
    Request { name: name.into(), content: [content; 32] }
}

fn rotation(which: Which, number: u8, ends_at: UnixTime) -> Edit {
    Edit::RotateKey { which, secret: secret(number), ends_at, request: None }
}

fn suspend(name: &str) -> Edit {
    Edit::SuspendAccount { id: account(name), new_account: None }
}

async fn try_at(directory: &dyn Directory, edit: Edit, at: UnixTime) -> Result<Edited, Denial> {
    directory.edit(edit, Author::Operator, at).await.expect("the store")
}

async fn edit(directory: &dyn Directory, edit: Edit) -> Edited {
    try_at(directory, edit, NOW).await.unwrap_or_else(|denial| panic!("{denial}"))
}

async fn make(directory: &dyn Directory, number: u8) -> Edited {
    edit(directory, Edit::CreateKey(new_key(number))).await
}

/// What has changed behind a cursor, which moves.
async fn follow(directory: &dyn Directory, cursor: &mut Cursor, at: UnixTime) -> Vec<StoredKey> {
    let followed = directory.follow(cursor, 100, at).await.expect("the store");
    *cursor = followed.cursor;
    followed.keys
}

/// What the trail tells of, the oldest first.
async fn actions(directory: &dyn Directory) -> Vec<String> {
    let rows = directory.audit(AuditOf { limit: 100, ..AuditOf::default() }).await.expect("the store");
    rows.iter().rev().map(|row| row.action.to_string()).collect()
}

/// The digests that may be used, and those that may not.
fn digests(key: &StoredKey) -> (Vec<u8>, Vec<u8>) {
    let (mut live, mut ended) = (Vec::new(), Vec::new());
    for entry in &key.entries {
        let secrets = if entry.options.disabled { &mut ended } else { &mut live };
        secrets.push(entry.digest[0]);
    }
    ended.extend(key.ended.iter().map(|digest| digest[0]));
    ended.sort_unstable();
    live.sort_unstable();
    (live, ended)
}

pub(crate) async fn a_key_is_as_it_was_made(directory: Arc<dyn Directory>) {
    let terms = KeyTerms {
        name: Some("first, \"quoted\"".into()),
        environment: Some(Environment::Staging),
        plan: Some(plan("pro")),
        expires_at: Some(later(100)),
        allowed_ips: ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).into(),
        allowed_models: ["gpt-*", "a,b;c"].map(|glob| ModelGlob::new(glob).unwrap()).into(),
    };
    let edited = edit(&*directory, Edit::CreateKey(NewKey { terms: terms.clone(), ..new_key(1) })).await;
    assert_eq!((edited.key, edited.is_new), (Some(new_key(1).id), true));
    let key = directory.key(&new_key(1).id).await.unwrap().unwrap();
    assert_eq!((key.terms, key.plan, key.account), (terms.clone(), plan("pro"), account("acme")));
    assert_eq!((key.created_at, key.revoked_at, key.is_suspended), (NOW, None, false));
    assert_eq!(key.secrets, [KeySecret { public_id: "public0001".into(), created_at: NOW, ends_at: None }]);
    let mut cursor = Cursor::default();
    let [stored] = follow(&*directory, &mut cursor, NOW).await.try_into().unwrap();
    let [entry] = stored.entries.try_into().unwrap();
    assert_eq!((entry.id, entry.digest, entry.plan), (new_key(1).id, digest(1), plan("pro")));
    assert_eq!(entry.options.allowed_ips, terms.allowed_ips);
    assert_eq!(entry.options.allowed_models, terms.allowed_models);
    assert_eq!((entry.options.expires_at, entry.options.disabled), (Some(later(100)), false));
}

pub(crate) async fn an_account_is_made_once_and_changed(directory: Arc<dyn Directory>) {
    let make = |id| Edit::CreateAccount { id: account(id), name: "Acme".into(), plan: plan("pro") };
    edit(&*directory, make("acme")).await;
    assert_eq!(try_at(&*directory, make("acme"), NOW).await, Err(Denial::AccountExists));
    let change = |name: Option<&str>, to: Option<&str>| Edit::ChangeAccount {
        id: account("acme"),
        name: name.map(Into::into),
        plan: to.map(plan),
        new_account: None,
    };
    edit(&*directory, change(Some("Acme Inc"), None)).await;
    let found = directory.account(&account("acme")).await.unwrap().unwrap();
    assert_eq!((&*found.name, found.plan.as_str(), found.created_at), ("Acme Inc", "pro", NOW));
    edit(&*directory, change(None, Some("free"))).await;
    let found = directory.account(&account("acme")).await.unwrap().unwrap();
    assert_eq!((&*found.name, found.plan.as_str(), found.keys), ("Acme Inc", "free", 0));
    let absent = Edit::ChangeAccount { id: account("globex"), name: None, plan: None, new_account: None };
    assert_eq!(try_at(&*directory, absent, NOW).await, Err(Denial::NoAccount));
    edit(&*directory, make("globex")).await;
    let ids = async |after: &str| {
        let page = directory.accounts(after, 1).await.unwrap();
        page.iter().map(|found| found.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!([ids("").await, ids("acme").await], [["acme"], ["globex"]]);
    assert!(ids("globex").await.is_empty());
}

pub(crate) async fn an_account_has_so_many_keys(directory: Arc<dyn Directory>) {
    let few = |number| Edit::CreateKey(NewKey { most: 2, ..new_key(number) });
    edit(&*directory, few(1)).await;
    edit(&*directory, few(2)).await;
    assert_eq!(try_at(&*directory, few(3), NOW).await, Err(Denial::TooManyKeys { most: 2 }));
    let others = NewKey { account: account("globex"), most: 2, ..new_key(4) };
    edit(&*directory, Edit::CreateKey(others)).await;
    edit(&*directory, Edit::RevokeKey(which(1))).await;
    edit(&*directory, few(3)).await;
    assert_eq!(directory.account(&account("acme")).await.unwrap().unwrap().keys, 2);
}

pub(crate) async fn a_request_makes_one_key(directory: Arc<dyn Directory>) {
    let asked = |number| NewKey { request: Some(request("mine", 1)), ..new_key(number) };
    let first = edit(&*directory, Edit::CreateKey(asked(1))).await;
    let again = edit(&*directory, Edit::CreateKey(asked(2))).await;
    assert_eq!((first.is_new, again.is_new), (true, false));
    assert_eq!(again.key, first.key);
    assert_eq!(directory.key(&asked(2).id).await.unwrap(), None);
    let other = NewKey { request: Some(request("mine", 2)), ..asked(3) };
    assert_eq!(try_at(&*directory, Edit::CreateKey(other.clone()), NOW).await, Err(Denial::OtherRequest));
    let theirs = directory.edit(Edit::CreateKey(other), Author::CommandLine, NOW).await.unwrap();
    assert!(theirs.unwrap().is_new, "another author's");
    edit(&*directory, Edit::DeleteKey(which(1))).await;
    assert!(edit(&*directory, Edit::CreateKey(asked(2))).await.is_new, "what it made is no more");
    let trail = actions(&*directory).await;
    assert_eq!(trail, ["account.create", "key.create", "key.create", "key.delete", "key.create"]);
}

pub(crate) async fn a_request_rotates_a_key_once(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    let rotate = |number, content| Edit::RotateKey {
        which: which(1),
        secret: secret(number),
        ends_at: later(60),
        request: Some(request("mine", content)),
    };
    let first = edit(&*directory, rotate(2, 1)).await;
    let again = edit(&*directory, rotate(3, 1)).await;
    assert_eq!((first.is_new, again.is_new), (true, false));
    assert_eq!((&again.key, again.revision), (&first.key, first.revision), "in force with the first one");
    assert_eq!(try_at(&*directory, rotate(3, 2), NOW).await, Err(Denial::OtherRequest));
    let new = NewKey { request: Some(request("mine", 3)), ..new_key(4) };
    assert_eq!(try_at(&*directory, Edit::CreateKey(new), NOW).await, Err(Denial::OtherRequest));
    let secrets = directory.key(&new_key(1).id).await.unwrap().unwrap().secrets;
    assert_eq!(
        secrets.iter().map(|secret| &*secret.public_id).collect::<Vec<_>>(),
        ["public0002", "public0001"]
    );
    assert_eq!(actions(&*directory).await, ["account.create", "key.create", "key.rotate"]);
    // Known for as long as a deleted key, and one that is denied never.
    let at = UnixTime::from_secs(NOW.as_secs() + 1 + TOMBSTONE.as_secs());
    directory.forget(NOW, at).await.unwrap();
    assert!(edit(&*directory, rotate(3, 2)).await.is_new);
}

pub(crate) async fn a_key_of_another_is_as_good_as_not_there(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    let which = |id: u8| Which { within: Some(account("globex")), ..which(id) };
    for number in [1, 9] {
        for edit in [
            Edit::RenameKey { which: which(number), name: None },
            rotation(which(number), 7, NOW),
            Edit::EndOverlap(which(number)),
            Edit::RevokeKey(which(number)),
            Edit::DeleteKey(which(number)),
        ] {
            assert_eq!(try_at(&*directory, edit, NOW).await, Err(Denial::NoKey));
        }
    }
    let own = Which { id: new_key(1).id, within: Some(account("acme")) };
    edit(&*directory, Edit::RevokeKey(own)).await;
}

/// Neither a row, nor a revision, nor a trail, whatever else is committed with it.
pub(crate) async fn what_is_denied_leaves_nothing(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    edit(&*directory, Edit::RevokeKey(which(1))).await;
    let mut cursor = Cursor::default();
    let before = follow(&*directory, &mut cursor, NOW).await;
    let rotate = rotation(which(1), 2, later(9));
    let absent = NewKey { account: account("nobody"), new_account: None, ..new_key(3) };
    let none = NewKey { account: account("nobody"), most: 0, ..new_key(3) };
    let denied = [
        (rotate, Denial::Revoked),
        (Edit::CreateKey(absent), Denial::NoAccount),
        (Edit::CreateKey(none), Denial::TooManyKeys { most: 0 }),
        (suspend("nobody"), Denial::NoAccount),
        (Edit::ResumeAccount(account("nobody")), Denial::NoAccount),
    ];
    for (edit, denial) in denied {
        assert_eq!(try_at(&*directory, edit, NOW).await, Err(denial));
    }
    assert_eq!(directory.account(&account("nobody")).await.unwrap(), None);
    assert_eq!(follow(&*directory, &mut cursor, NOW).await, []);
    assert_eq!(follow(&*directory, &mut Cursor::default(), NOW).await, before);
    assert_eq!(actions(&*directory).await, ["account.create", "key.create", "key.revoke"]);
}

pub(crate) async fn a_rotated_key_has_two_secrets_until_the_old_one_ends(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    let rotate = |number, ends| rotation(which(1), number, later(ends));
    edit(&*directory, rotate(2, 60)).await;
    let key = directory.key(&new_key(1).id).await.unwrap().unwrap();
    let secrets: Vec<_> = key.secrets.iter().map(|secret| (&*secret.public_id, secret.ends_at)).collect();
    assert_eq!(secrets, [("public0002", None), ("public0001", Some(later(60)))]);
    let at = async |seconds| {
        let keys = follow(&*directory, &mut Cursor::default(), later(seconds)).await;
        digests(&keys[0])
    };
    assert_eq!(at(59).await, (vec![1, 2], vec![]));
    assert_eq!(at(60).await, (vec![2], vec![1]));
    let keys = follow(&*directory, &mut Cursor::default(), NOW).await;
    let old = keys[0].entries.iter().find(|entry| entry.digest == digest(1)).unwrap();
    assert_eq!(old.options.expires_at, Some(later(60)));
    // Another rotation leaves what was promised, and an end of the overlap ends all of it.
    try_at(&*directory, rotate(3, 90), later(10)).await.unwrap();
    assert_eq!(at(10).await, (vec![1, 2, 3], vec![]));
    try_at(&*directory, Edit::EndOverlap(which(1)), later(20)).await.unwrap();
    assert_eq!(at(20).await, (vec![3], vec![1, 2]));
}

pub(crate) async fn a_key_has_so_many_valid_secrets(directory: Arc<dyn Directory>) {
    let terms = KeyTerms { expires_at: Some(later(500)), ..KeyTerms::default() };
    edit(&*directory, Edit::CreateKey(NewKey { terms, ..new_key(1) })).await;
    let rotate = |number| rotation(which(1), number, later(60));
    for number in 2..=MOST_SECRETS as u8 {
        edit(&*directory, rotate(number)).await;
    }
    assert_eq!(try_at(&*directory, rotate(90), later(59)).await, Err(Denial::TooManySecrets));
    try_at(&*directory, rotate(90), later(60)).await.unwrap();
    assert_eq!(try_at(&*directory, rotate(91), later(500)).await, Err(Denial::Expired));
}

pub(crate) async fn a_revoked_key_stays_so(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    edit(&*directory, Edit::RevokeKey(which(1))).await;
    try_at(&*directory, Edit::RevokeKey(which(1)), later(5)).await.unwrap();
    edit(&*directory, Edit::RenameKey { which: which(1), name: Some("gone".into()) }).await;
    let key = directory.key(&new_key(1).id).await.unwrap().unwrap();
    assert_eq!((key.revoked_at, key.terms.name.as_deref()), (Some(NOW), Some("gone")));
    let keys = follow(&*directory, &mut Cursor::default(), NOW).await;
    assert_eq!(digests(&keys[0]), (vec![], vec![1]));
}

pub(crate) async fn a_deleted_key_is_listed_no_more(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    make(&*directory, 2).await;
    let mut cursor = Cursor::default();
    follow(&*directory, &mut cursor, NOW).await;
    edit(&*directory, Edit::DeleteKey(which(1))).await;
    assert_eq!(directory.key(&new_key(1).id).await.unwrap(), None);
    let all = directory.keys(KeysOf { limit: 9, ..KeysOf::default() }).await.unwrap().keys;
    assert_eq!(all.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["key_002"]);
    let [gone] = follow(&*directory, &mut cursor, NOW).await.try_into().unwrap();
    assert_eq!(digests(&gone), (vec![], vec![1]), "who follows learns of it");
    assert_eq!(try_at(&*directory, Edit::DeleteKey(which(1)), NOW).await, Err(Denial::NoKey));
}

pub(crate) async fn who_follows_sees_each_change_once(directory: Arc<dyn Directory>) {
    for number in 1..=5 {
        make(&*directory, number).await;
    }
    // All of one revision, and more of them than a page holds.
    edit(&*directory, suspend("acme")).await;
    let mut cursor = Cursor::default();
    let mut seen = Vec::new();
    loop {
        let page = directory.follow(&cursor, 2, NOW).await.unwrap();
        assert!(page.keys.len() <= 2);
        if page.keys.is_empty() {
            assert_eq!(page.cursor, cursor);
            break;
        }
        seen.extend(page.keys.iter().map(|key| key.id.to_string()));
        cursor = page.cursor;
    }
    assert_eq!(seen, ["key_001", "key_002", "key_003", "key_004", "key_005"]);
    let edited = edit(&*directory, Edit::RevokeKey(which(3))).await;
    let changed = follow(&*directory, &mut cursor, NOW).await;
    assert_eq!(changed.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["key_003"]);
    assert_eq!(cursor.revision, edited.revision);
}

pub(crate) async fn an_account_is_suspended_with_all_its_keys(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    make(&*directory, 2).await;
    edit(&*directory, Edit::CreateKey(NewKey { account: account("globex"), ..new_key(3) })).await;
    let disabled = async || {
        let keys = follow(&*directory, &mut Cursor::default(), NOW).await;
        let mut ids: Vec<_> = keys
            .iter()
            .filter(|key| key.entries.iter().any(|entry| entry.options.disabled))
            .map(|key| key.id.to_string())
            .collect();
        ids.sort();
        ids
    };
    edit(&*directory, suspend("acme")).await;
    try_at(&*directory, suspend("acme"), later(9)).await.unwrap();
    assert_eq!(disabled().await, ["key_001", "key_002"]);
    assert_eq!(directory.account(&account("acme")).await.unwrap().unwrap().suspended_at, Some(NOW));
    assert!(directory.key(&new_key(1).id).await.unwrap().unwrap().is_suspended);
    edit(&*directory, Edit::ResumeAccount(account("acme"))).await;
    assert!(disabled().await.is_empty());
    assert_eq!(directory.account(&account("acme")).await.unwrap().unwrap().suspended_at, None);
}

pub(crate) async fn who_is_suspended_is_followed(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    let suspended = async || {
        let mut ids = directory.suspended().await.unwrap();
        ids.sort();
        ids.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let before = directory.revisions().await.unwrap();
    let rename = Edit::RenameKey { which: which(1), name: Some("other".into()) };
    let renamed = edit(&*directory, rename).await;
    let after = directory.revisions().await.unwrap();
    assert_eq!((after.keys, after.suspended), (renamed.revision, before.suspended));
    assert!(after.keys > before.keys);
    assert!(suspended().await.is_empty());
    // One without keys, too: the list may have some.
    let keyless = Edit::CreateAccount { id: account("globex"), name: "Globex".into(), plan: plan("free") };
    edit(&*directory, keyless).await;
    assert_eq!(directory.revisions().await.unwrap(), after, "of no concern");
    let edited = edit(&*directory, suspend("globex")).await;
    edit(&*directory, suspend("acme")).await;
    let now = directory.revisions().await.unwrap();
    assert!(edited.revision > after.keys && now.keys > edited.revision && now.suspended > after.suspended);
    assert_eq!(suspended().await, ["acme", "globex"]);
    edit(&*directory, Edit::ResumeAccount(account("globex"))).await;
    assert!(directory.revisions().await.unwrap().suspended > now.suspended);
    assert_eq!(suspended().await, ["acme"]);
}

/// Neither a trail nor a revision; whoever waits until it is in force waits for what made it so.
pub(crate) async fn what_changes_nothing_leaves_no_trail(directory: Arc<dyn Directory>) {
    let named = KeyTerms { name: Some("first".into()), ..KeyTerms::default() };
    edit(&*directory, Edit::CreateKey(NewKey { terms: named, ..new_key(1) })).await;
    let change = |name: &str, to: &str| Edit::ChangeAccount {
        id: account("acme"),
        name: Some(name.into()),
        plan: Some(plan(to)),
        new_account: Some(plan("pro")),
    };
    let rename = |name: &str| Edit::RenameKey { which: which(1), name: Some(name.into()) };
    let mut expected = vec!["account.create".to_owned(), "key.create".to_owned()];
    for (change, is_change) in [
        (rename("first"), false),
        (change("acme", "free"), false),
        (Edit::ResumeAccount(account("acme")), false),
        (Edit::EndOverlap(which(1)), false),
        (rename("second"), true),
        (rename("second"), false),
        (change("Acme", "free"), true),
        (change("Acme", "free"), false),
        (suspend("acme"), true),
        (suspend("acme"), false),
        (Edit::ResumeAccount(account("acme")), true),
        (Edit::RevokeKey(which(1)), true),
        (Edit::RevokeKey(which(1)), false),
        (Edit::DeleteKey(which(1)), true),
    ] {
        let before = directory.revisions().await.unwrap();
        let action = change.action().to_owned();
        let edited = edit(&*directory, change.clone()).await;
        assert_eq!(edited.is_new, is_change, "{change:?}");
        if is_change {
            expected.push(action);
        } else {
            assert_eq!(directory.revisions().await.unwrap(), before, "{change:?}");
            assert_eq!(edited.revision, before.keys, "{change:?}");
        }
    }
    assert_eq!(actions(&*directory).await, expected);
}

/// One that the key list names may not be in the store yet.
pub(crate) async fn an_account_is_made_to_be_changed(directory: Arc<dyn Directory>) {
    let listed = |name| Edit::SuspendAccount { id: account(name), new_account: Some(plan("free")) };
    edit(&*directory, listed("acme")).await;
    let made = directory.account(&account("acme")).await.unwrap().unwrap();
    assert_eq!((&*made.name, made.plan, made.suspended_at), ("acme", plan("free"), Some(NOW)));
    edit(&*directory, listed("acme")).await;
    let change = Edit::ChangeAccount {
        id: account("globex"),
        name: Some("Globex".into()),
        plan: None,
        new_account: Some(plan("free")),
    };
    edit(&*directory, change).await;
    assert_eq!(&*directory.account(&account("globex")).await.unwrap().unwrap().name, "Globex");
    let expected = ["account.create", "account.suspend", "account.create", "account.change"];
    assert_eq!(actions(&*directory).await, expected);
}

pub(crate) async fn keys_without_a_plan_have_their_accounts(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    let own = KeyTerms { plan: Some(plan("enterprise")), ..KeyTerms::default() };
    edit(&*directory, Edit::CreateKey(NewKey { terms: own, ..new_key(2) })).await;
    let mut cursor = Cursor::default();
    follow(&*directory, &mut cursor, NOW).await;
    let change =
        Edit::ChangeAccount { id: account("acme"), name: None, plan: Some(plan("pro")), new_account: None };
    edit(&*directory, change).await;
    let keys = follow(&*directory, &mut cursor, NOW).await;
    let plans: Vec<_> = keys.iter().map(|key| key.entries[0].plan.as_str()).collect();
    assert_eq!(plans, ["pro", "enterprise"]);
    assert_eq!(directory.key(&new_key(1).id).await.unwrap().unwrap().plan, plan("pro"));
}

pub(crate) async fn keys_come_in_pages(directory: Arc<dyn Directory>) {
    for number in 1..=3 {
        make(&*directory, number).await;
    }
    edit(&*directory, Edit::CreateKey(NewKey { account: account("globex"), ..new_key(4) })).await;
    let page = async |name: Option<&str>, after: &str| {
        let of = KeysOf { account: name.map(account), after: after.into(), limit: 2, ..KeysOf::default() };
        let keys = directory.keys(of).await.unwrap().keys;
        keys.iter().map(|key| key.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, "").await, ["key_001", "key_002"]);
    assert_eq!(page(None, "key_002").await, ["key_003", "key_004"]);
    assert_eq!(page(Some("acme"), "key_002").await, ["key_003"]);
    assert_eq!(page(Some("globex"), "").await, ["key_004"]);
    assert!(page(Some("nobody"), "").await.is_empty());
}

pub(crate) async fn accounts_are_counted_by_plan(directory: Arc<dyn Directory>) {
    for (name, on) in [("a", "free"), ("b", "pro"), ("c", "free")] {
        edit(&*directory, Edit::CreateAccount { id: account(name), name: name.into(), plan: plan(on) }).await;
    }
    let count = async |most| {
        let mut counts = directory.count_by_plan(most).await.expect("the store works");
        counts.sort();
        counts
    };
    assert_eq!(count(100).await, [(plan("free"), 2), (plan("pro"), 1)]);
    let bounded: u64 = count(2).await.iter().map(|(_, count)| count).sum();
    assert_eq!(bounded, 2);
}

pub(crate) async fn the_trail_tells_who_did_what(directory: Arc<dyn Directory>) {
    let by = async |author, edit| directory.edit(edit, author, NOW).await.unwrap().unwrap();
    by(Author::CommandLine, Edit::CreateKey(new_key(1))).await;
    by(Author::Operator, Edit::RevokeKey(which(1))).await;
    by(Author::Operator, suspend("acme")).await;
    let other = Edit::CreateAccount { id: account("globex"), name: "Globex".into(), plan: plan("pro") };
    by(Author::Operator, other).await;
    let trail = async |name: Option<&str>, before, limit| {
        let of = AuditOf { account: name.map(account), before, limit };
        let rows = directory.audit(of).await.unwrap();
        rows.into_iter()
            .map(|row| (row.id, format!("{} {} {}", row.actor, row.action, row.subject.unwrap_or_default())))
            .collect::<Vec<_>>()
    };
    let acme = trail(Some("acme"), None, 9).await;
    let told: Vec<_> = acme.iter().map(|(_, told)| told.as_str()).collect();
    let expected = [
        "operator account.suspend acme",
        "operator key.revoke key_001",
        "command line key.create key_001",
        "command line account.create acme",
    ];
    assert_eq!(told, expected);
    assert_eq!(trail(Some("acme"), Some(acme[0].0), 1).await, acme[1..2]);
    assert_eq!(trail(None, None, 1).await[0].1, "operator account.create globex");
}

pub(crate) async fn what_nobody_has_to_learn_of_any_more_is_forgotten(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    make(&*directory, 2).await;
    let rotate = rotation(which(2), 3, later(1));
    edit(&*directory, rotate).await;
    edit(&*directory, Edit::DeleteKey(which(1))).await;
    let known = async || {
        let keys = follow(&*directory, &mut Cursor::default(), later(2)).await;
        keys.iter().map(digests).collect::<Vec<_>>()
    };
    assert_eq!(known().await, [(vec![3], vec![2]), (vec![], vec![1])]);
    let at = later(Duration::from_secs(1).as_secs() + TOMBSTONE.as_secs());
    assert_eq!(directory.forget(NOW, UnixTime::from_secs(at.as_secs() - 2)).await, Ok(0));
    assert_eq!(known().await.len(), 2);
    assert_eq!(directory.forget(later(1), later(5 + TOMBSTONE.as_secs())).await, Ok(5 + 2 + 1));
    assert_eq!(known().await, [(vec![3], vec![])]);
    assert!(directory.audit(AuditOf { limit: 9, ..AuditOf::default() }).await.unwrap().is_empty());
}

/// An operator may write anything into an address, and so may who guesses.
pub(crate) async fn no_name_is_too_odd_to_be_asked_for(directory: Arc<dyn Directory>) {
    make(&*directory, 1).await;
    make(&*directory, 2).await;
    for odd in ["acme\0", "\0", "acme\0x", "ä", "'; DROP TABLE keys; --", &"x".repeat(10_000)] {
        assert_eq!(directory.account(&account(odd)).await, Ok(None), "{odd:?}");
        assert_eq!(directory.key(&KeyId::new(odd)).await, Ok(None), "{odd:?}");
        let of = KeysOf { account: Some(account(odd)), limit: 9, ..KeysOf::default() };
        assert!(directory.keys(of).await.unwrap().keys.is_empty(), "{odd:?}");
        let of = AuditOf { account: Some(account(odd)), limit: 9, ..AuditOf::default() };
        assert!(directory.audit(of).await.unwrap().is_empty(), "{odd:?}");
        assert_eq!(try_at(&*directory, suspend(odd), NOW).await, Err(Denial::NoAccount), "{odd:?}");
        for which in [
            Which { id: KeyId::new(odd), within: None },
            Which { id: new_key(1).id, within: Some(account(odd)) },
        ] {
            assert_eq!(try_at(&*directory, Edit::RevokeKey(which), NOW).await, Err(Denial::NoKey), "{odd:?}");
        }
    }
    let of = KeysOf { after: "key_001\0".into(), limit: 9, ..KeysOf::default() };
    let behind = directory.keys(of).await.unwrap().keys;
    assert_eq!(behind.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["key_002"]);
    assert_eq!(directory.accounts("acmd\0", 9).await.unwrap().len(), 1);
    let asked = |number| NewKey { request: Some(request("odd\0", 1)), ..new_key(number) };
    let first = edit(&*directory, Edit::CreateKey(asked(3))).await;
    let again = edit(&*directory, Edit::CreateKey(asked(4))).await;
    assert_eq!((first.is_new, again.is_new, again.key), (true, false, first.key));
}
