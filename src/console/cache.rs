//! The page of what the cache keeps for an account: to be searched, and forgotten.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::accounts::people::rights::{Right, may};
use crate::auth::model_glob::ModelGlob;
use crate::cache::key::EntryKey;
use crate::console::Console;
use crate::console::address::address;
use crate::console::answers::{Shell, page, told};
use crate::console::asked::{Asked, Member};
use crate::console::entering::Shared;
use crate::console::measures::size;
use crate::console::ranges::chosen;
use crate::console::settings::{Notice, Section};
use crate::ids::AccountId;
use crate::store::answer::{PromptHash, Which};
use crate::store::cursor;
use crate::store::entries::{EntryKind, ListedEntry, Page, PageOf, Place};
use crate::store::failure::{StoreError, Trouble};
use crate::store::proxied::Purge;

/// Entries on a page.
const ENTRIES: u32 = 50;

/// The longest text that is searched for, in bytes; a glob may have a few more.
const LONGEST_SEARCH: usize = 200;

#[derive(Template)]
#[template(path = "cache.html")]
struct Cache {
    shell: Shell,
    form_token: String,
    account: Option<String>,
    notice: Option<Notice>,
    search: String,
    kind: &'static str,
    stored: String,
    /// Answers of upstreams are kept on the disk; else they are in memory alone, and not listed.
    has_disk: bool,
    entries: Vec<EntryRow>,
    /// Where the list goes on; empty: this is its end.
    behind: String,
    /// Where an entry of this page is forgotten.
    here: String,
    is_first: bool,
    can_change: bool,
}

impl Cache {
    /// True if only that kind is looked for.
    fn is_of(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

struct EntryRow {
    kind: &'static str,
    model: String,
    hash: String,
    short_hash: String,
    size: String,
    created_at: String,
    expires_at: String,
}

/// What is looked for.
struct Search {
    text: String,
    kind: Option<EntryKind>,
    models: Box<[ModelGlob]>,
    hash: Option<PromptHash>,
    after: Option<Place>,
}

impl Search {
    /// Reads the address: 64 hexadecimal digits are a hash, anything else a part of a model's name, in which `*` stands for
    /// anything.
    #[expect(clippy::result_large_err, reason = "what is refused is answered as it is, once a request")]
    fn read(asked: &Asked) -> Result<Self, Response> {
        let text = asked.in_query("q").trim();
        if text.len() > LONGEST_SEARCH {
            return Err(told(StatusCode::BAD_REQUEST, "That is too much to search for."));
        }
        let after = match asked.in_query("after") {
            "" => None,
            text => match cursor::decode(text) {
                Some(place) => Some(place),
                None => return Err(told(StatusCode::BAD_REQUEST, "There is no such page of entries.")),
            },
        };
        let hash = PromptHash::of_hex(text);
        let glob = ModelGlob::new(&format!("*{text}*")).filter(|_| !text.is_empty() && hash.is_none());
        Ok(Self {
            text: text.to_owned(),
            kind: kind_of(asked.in_query("kind")),
            models: glob.into_iter().collect(),
            hash,
            after,
        })
    }
}

/// The kinds, as addresses name them.
const KINDS: [(&str, EntryKind); 2] = [("stored", EntryKind::Stored), ("proxied", EntryKind::Proxied)];

fn kind_of(name: &str) -> Option<EntryKind> {
    KINDS.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
}

fn kind_name(wanted: EntryKind) -> &'static str {
    KINDS.into_iter().find(|(_, kind)| *kind == wanted).map_or("", |(name, _)| name)
}

/// The page.
pub(super) async fn show(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    render(&console, &asked, &member, (StatusCode::OK, None)).await
}

/// Forgets an entry, or all of them.
pub(super) async fn forget(State(console): Shared, asked: Asked) -> Result<Response, Response> {
    let member = asked.member(&console).await?;
    let Some(account) = asked.account(&member)? else { return Err(not_understood()) };
    if !may(&member.visitor.person, Right::Keys, &account) {
        let text = "Owners and admins of an account alone say what its cache forgets.";
        return Err(told(StatusCode::FORBIDDEN, text));
    }
    let hash = match asked.text("hash") {
        "all" => None,
        text => Some(PromptHash::of_hex(text).ok_or_else(not_understood)?),
    };
    let (is_problem, text, status) = match forget_both(&console, account, hash).await {
        Ok(0) => (false, "There is nothing of that any more.".to_owned(), StatusCode::OK),
        Ok(1) => (false, "One entry is forgotten.".to_owned(), StatusCode::OK),
        Ok(forgotten) => (false, format!("{forgotten} entries are forgotten."), StatusCode::OK),
        Err(error) => {
            tracing::error!(%error, "the console could not delete cached answers");
            let text = match error.trouble {
                Trouble::Untold(_) => {
                    "This gateway has forgotten; others will once they can be told, which is tried again."
                }
                _ => "Memory has forgotten, but the disk could not be changed; try again.",
            };
            (true, text.to_owned(), StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    let notice = Notice { section: Section::Cache, is_problem, text };
    render(&console, &asked, &member, (status, Some(notice))).await
}

fn not_understood() -> Response {
    told(StatusCode::BAD_REQUEST, "This form is not understood. Open the page anew, and try again.")
}

/// Forgets stored and proxied answers: all of an account's, or those that a hash finds. If one half fails, the other may
/// be done.
async fn forget_both(
    console: &Console,
    account: AccountId,
    hash: Option<PromptHash>,
) -> Result<u64, StoreError> {
    let all = Box::default();
    let purge = match hash {
        Some(hash) => {
            Purge::Key { account: account.clone(), key: EntryKey::from_bytes(hash.0), allowed_models: all }
        }
        None => Purge::Account { account: account.clone(), allowed_models: all },
    };
    let which = Which { account, prompt_hash: hash, allowed_models: Box::default() };
    let stored = console.store.delete_answers(which).await?;
    let proxied = (console.purge)(purge).await?;
    Ok(stored.saturating_add(proxied))
}

async fn render(
    console: &Console,
    asked: &Asked,
    member: &Member,
    (status, notice): (StatusCode, Option<Notice>),
) -> Result<Response, Response> {
    let search = Search::read(asked)?;
    let account = asked.account(member)?;
    let listed = match account.clone() {
        Some(account) => list(console, &search, account).await.map_err(|error| {
            tracing::error!(%error, "the console could not list cached answers");
            let text = "The entries could not be listed. Try again; the gateway's log says why.";
            told(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?,
        None => Listed { page: PageOf { entries: Vec::new(), next: None }, stored: String::new() },
    };
    let person = &member.visitor.person;
    let chosen = account.as_ref().map(|account| chosen(account, member)).unwrap_or_default();
    let kind = search.kind.map(kind_name).unwrap_or_default();
    let behind = listed.page.next.as_ref().map(|place| {
        let after = cursor::encode(place);
        address("/cache", &[("q", &search.text), ("kind", kind), ("account", chosen), ("after", &after)])
    });
    let after = asked.in_query("after");
    let here = address(
        "/cache/forget",
        &[("q", &search.text), ("kind", kind), ("account", chosen), ("after", after)],
    );
    let cache = Cache {
        here,
        shell: Shell::of("Cache", member),
        form_token: member.form_token.clone(),
        notice,
        kind,
        stored: listed.stored,
        has_disk: console.accounts.config().cache.disk.as_u64() > 0,
        entries: listed.page.entries.iter().map(row).collect(),
        behind: behind.unwrap_or_default(),
        is_first: search.after.is_none(),
        can_change: account.as_ref().is_some_and(|account| may(person, Right::Keys, account)),
        search: search.text,
        account: account.map(|account| account.to_string()),
    };
    Ok(page(status, &cache))
}

struct Listed {
    page: PageOf,
    stored: String,
}

async fn list(console: &Console, search: &Search, account: AccountId) -> Result<Listed, StoreError> {
    let stored = size(console.store.stored_bytes(&account).await?);
    let page = Page {
        account,
        allowed_models: search.models.clone(),
        hash: search.hash.map(|hash| hash.0),
        kind: search.kind,
        after: search.after.clone(),
        limit: ENTRIES,
    };
    Ok(Listed { page: console.store.list_entries(page, console.accounts.now()).await?, stored })
}

fn row(entry: &ListedEntry) -> EntryRow {
    let (kind, hash) = entry.key.parts();
    let hash = data_encoding::HEXLOWER.encode(hash);
    EntryRow {
        kind: match kind {
            EntryKind::Stored => "stored",
            EntryKind::Proxied => "answer of a model",
        },
        model: entry.model.as_deref().unwrap_or("no model was named").to_owned(),
        short_hash: hash.chars().take(12).collect(),
        hash,
        size: size(entry.size),
        created_at: entry.created_at.rfc3339(),
        expires_at: entry.expires_at.rfc3339(),
    }
}
