//! The way to keys and people from the command line: through the running gateway if it can be asked, else in its data folder.

use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context, bail};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::accounts::people::PeopleService;
use crate::accounts::{self, Accounts, Late};
use crate::admin::desk::Desk;
use crate::auth::key_ring::listed::ListedAccounts;
use crate::cli::operator::{Operator, Unasked, message};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::Store;
use crate::store::directory::Directory;
use crate::store::directory::edit::Author;
use crate::store::failure::{StoreError, Trouble};
use crate::store::folder::FolderLock;
use crate::store::people::People;
use crate::store::postgres::{PostgresStore, connections};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::writer::Bounds;

/// `text` as a part of a path or a query.
pub fn part(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Where keys and people are changed: both take the same calls.
pub enum Door {
    /// In the running gateway, which has the folder.
    Running(Operator),
    /// In the folder itself, or in PostgreSQL, if that is configured.
    Folder {
        /// Asked as the gateway's listener would be.
        desk: Desk,
        /// What is changed.
        store: Arc<dyn Store>,
        /// What drives it.
        runtime: Runtime,
    },
}

impl Door {
    /// The running gateway of `config` if it can be asked, else its data folder.
    ///
    /// # Errors
    /// Neither can be used.
    pub fn open(config: Config) -> anyhow::Result<Self> {
        match Operator::of(&config) {
            Ok(operator) => match operator.connect() {
                Ok(_) => return Ok(Self::Running(operator)),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("the gateway's admin listener cannot be reached"),
            },
            Err(Unasked::NoToken | Unasked::Tls) => {}
        }
        Self::folder(config)
    }

    fn folder(config: Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let Kept { store, directory, people, standing } = runtime.block_on(Kept::open(&config))?;
        let config = Arc::new(config);
        let accounts = Accounts::new(accounts::Parts {
            directory,
            store: Arc::clone(&store),
            // If no gateway runs, the next one begins with what is there.
            publish: Box::new(move |_| Box::pin(async move { standing })),
            // No command asks for what the list alone names.
            listed: Box::new(ListedAccounts::default),
            config: Box::new(move || Arc::clone(&config)),
            clock: Clock::system(),
        });
        let people = PeopleService::new(people, Clock::system());
        let (accounts, people) = (Arc::new(accounts), Arc::new(people));
        let desk = Desk { accounts, people, author: Author::CommandLine };
        Ok(Self::Folder { desk, store, runtime })
    }

    /// What is said to a call that succeeds.
    ///
    /// # Errors
    /// Why it does not.
    pub fn ask(&self, method: Method, target: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let (status, said) = match self {
            Self::Running(operator) => operator.ask(operator.connect()?, (method, target), body)?,
            Self::Folder { desk, runtime, .. } => runtime.block_on(desk.ask(method, target, body)),
        };
        match status {
            status if status.is_success() => Ok(said),
            StatusCode::UNAUTHORIZED => {
                bail!("the running gateway has another admin.token than this configuration")
            }
            _ => bail!("{}", message(&said)),
        }
    }

    /// All entries of a list, page by page; `target` ends within its query.
    ///
    /// # Errors
    /// As [`Door::ask`]'s.
    pub fn all(&self, target: &str) -> anyhow::Result<Vec<Value>> {
        let mut after = String::new();
        let mut all = Vec::new();
        loop {
            let mut page =
                self.ask(Method::GET, &format!("{target}limit=100&after={}", part(&after)), None)?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                all.extend(items);
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = next.to_owned(),
                None => return Ok(all),
            }
        }
    }

    /// Commits what waits.
    pub fn close(self) {
        if let Self::Folder { store, runtime, .. } = self {
            runtime.block_on(store.close());
        }
    }
}

/// What lasts, and whether a change of it is in force at once.
struct Kept {
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    people: Arc<dyn People>,
    standing: Result<(), Late>,
}

impl Kept {
    /// Opens PostgreSQL, if that is configured, or else the data folder.
    async fn open(config: &Config) -> Result<Self, StoreError> {
        if let Some(url) = config.postgres() {
            let store = PostgresStore::open(url.secret(), connections::Bounds::default()).await?;
            let (directory, people) =
                (Arc::clone(store.directory()) as _, Arc::clone(store.directory()) as _);
            // Gateways hear of it, or look themselves.
            return Ok(Self { store: Arc::new(store), directory, people, standing: Err(Late) });
        }
        let (store, standing) = match FolderLock::take(&config.data_dir) {
            Ok(lock) => (SqliteStore::open(lock, Bounds::default()).await?, Ok(())),
            // A gateway that cannot be asked looks itself for what has changed.
            Err(StoreError { trouble: Trouble::InUse(_), .. }) => {
                (SqliteStore::beside(&config.data_dir, Bounds::default()).await?, Err(Late))
            }
            Err(error) => return Err(error),
        };
        if config.cluster.is_some() {
            store.directory().keep_as_it_is();
        }
        let (directory, people) = (Arc::clone(store.directory()) as _, Arc::clone(store.directory()) as _);
        Ok(Self { store: Arc::new(store), directory, people, standing })
    }
}
