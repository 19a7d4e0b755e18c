//! PostgreSQL: a real server in a temporary folder, without privileges, on a free port of this machine. One is started for
//! all tests of this process when the first asks for it, and ends with the process, however that ends.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use safecache::secret::Secret;
use safecache::store::Store;
use safecache::store::postgres::PostgresStore;
use safecache::store::postgres::connections::Bounds;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

use crate::support::client::eventually;
use crate::support::fault_proxy::FaultProxy;
use crate::support::nobody::{NOBODY, give};
use crate::support::tls::Identity;

/// Where Debian keeps servers, by their versions, beside what `PATH` names.
const SERVERS: &str = "/usr/lib/postgresql";

/// What nobody may read anywhere.
pub(crate) const PASSWORD: &str = "never-to-be-seen";

/// Starts a server for each line that it reads, and ends the last one with its own input: with the process that holds it.
const LIFELINE: &str = "while read -r port; do \"$@\" -p \"$port\" >>log 2>&1 </dev/null & server=$!; done; \
                        kill -QUIT $server; wait; cd /; rm -rf \"$0\"";

/// Speed before safety: what these servers hold is nobody's.
const SETTINGS: [&str; 9] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "max_connections=300",
    "shared_buffers=64MB",
    "wal_level=minimal",
    "max_wal_senders=0",
];

/// A server.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    lifeline: Mutex<Option<ChildStdin>>,
    shell: Child,
}

impl Server {
    /// The one of this process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// One of its own, for who stops it.
    pub(crate) fn start() -> Self {
        Self::begin(&[], |_| {})
    }

    /// One of its own, that takes connections over TLS as well and shows this certificate.
    pub(crate) fn secured(identity: &Identity) -> Self {
        Self::begin(&["ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem"], |data| {
            identity.write(data);
            for name in ["cert.pem", "key.pem"] {
                let file = data.join(name);
                fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a file of ours");
                give(&file);
            }
        })
    }

    /// One with more `settings`, and whatever `put` puts into its folder.
    fn begin(settings: &[&str], put: impl FnOnce(&Path)) -> Self {
        let programs = programs();
        let folder = TempDir::new().expect("a temporary folder").keep();
        make(&programs, &folder);
        put(&folder.join("data"));
        let server = unprivileged(&programs.join("postgres"));
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(LIFELINE).arg(&folder).arg(server.get_program()).args(server.get_args());
        let settings = SETTINGS.iter().chain(settings);
        shell.args(["-D", "data"]).args(settings.flat_map(|setting| ["-c", setting]));
        // Of its own group, so that what ends the tests from a keyboard does not end it before it has tidied up.
        shell
            .current_dir(&folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .process_group(0)
            .stdin(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        let lifeline = Mutex::new(shell.stdin.take());
        let mut server = Self { folder, port: 0, lifeline, shell };
        // Another process may take the port before the server does: then it ends, and another port is tried.
        for _ in 0..5 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            server.port = listener.local_addr().expect("an address").port();
            drop(listener);
            if server.up() {
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.log());
    }

    /// Starts the server that was stopped, at the same place.
    pub(crate) fn again(&self) {
        assert!(self.up(), "PostgreSQL does not start again: {}", self.log());
    }

    /// Starts it; false if it ended at once.
    fn up(&self) -> bool {
        let before = self.log().len();
        let mut lifeline = self.lifeline.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(lifeline.as_mut().expect("it is piped"), "{}", self.port).expect("the shell reads");
        let mut is_up = false;
        eventually("PostgreSQL is ready", || {
            is_up = self.status().is_some_and(|(_, status)| status == "ready");
            is_up || self.log().get(before..).is_some_and(|log| log.lines().any(is_its_end))
        });
        is_up
    }

    /// Stops it, as an administrator would: whoever is connected is cut off.
    pub(crate) fn stop(&self) {
        let (process, _) = self.status().expect("it runs");
        kill_process(process, Signal::INT).expect("it is there");
        eventually("PostgreSQL has ended", || self.status().is_none());
    }

    /// Its process, and what that says of itself.
    fn status(&self) -> Option<(Pid, String)> {
        let file = fs::read_to_string(self.folder.join("data/postmaster.pid")).ok()?;
        let lines: Vec<_> = file.lines().collect();
        Some((Pid::from_raw(lines.first()?.parse().ok()?)?, lines.get(7)?.trim().to_owned()))
    }

    /// Where it keeps all that it has.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it said.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The address of a database, as an operator writes it.
    pub(crate) fn address(&self, database: &str) -> Secret {
        Secret::new(format!("postgres://safecache:{PASSWORD}@127.0.0.1:{}/{database}", self.port))
    }
}

/// True if a line of the log says why the server ended, and not why a client was turned away.
fn is_its_end(line: &str) -> bool {
    line.contains("FATAL:") && !line.contains("the database system is ")
}

/// Ends the server and takes its folder away.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.lifeline.lock().unwrap_or_else(PoisonError::into_inner).take());
        // An error means that it has ended already.
        let _ = self.shell.wait();
    }
}

/// A database of a test's own, dropped with it.
pub(crate) struct Database {
    name: String,
    address: Secret,
    server: &'static Server,
}

impl Database {
    /// One with all tables, and nothing in them.
    pub(crate) fn fresh() -> Self {
        static TEMPLATE: OnceLock<Database> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let database = Self::empty();
            let address = database.address();
            apart(async move {
                let store = PostgresStore::open(&address, Bounds::default()).await.expect("a store");
                store.close().await;
            });
            database
        });
        Self::made(&format!("TEMPLATE {}", template.name))
    }

    /// One without tables.
    pub(crate) fn empty() -> Self {
        Self::made("")
    }

    fn made(how: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let server = Server::shared();
        let name = format!("of_test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        let database = Self { address: server.address(&name), name, server };
        database.manage(format!("CREATE DATABASE {} {how}", database.name));
        database
    }

    /// Where it is, as an operator writes it.
    pub(crate) fn address(&self) -> Secret {
        self.address.clone()
    }

    /// Where it is for who is led over `line`, which is before its server.
    pub(crate) fn over(&self, line: &FaultProxy) -> Secret {
        let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.port)).to_string();
        Secret::new(self.address.expose().replace(&direct, &line.address().to_string()))
    }

    /// A line to its server.
    pub(crate) fn line(&self) -> FaultProxy {
        FaultProxy::before(SocketAddr::from((Ipv4Addr::LOCALHOST, self.server.port)))
    }

    /// The number that a query of it tells.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        number(self.address(), sql.to_owned())
    }

    /// Another's connection to it.
    pub(crate) async fn connect(&self) -> PgConnection {
        connect(&self.address).await
    }

    /// Ends every connection to it.
    pub(crate) fn cut(&self) {
        self.manage(format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{}'",
            self.name
        ));
    }

    /// Asks the server for something about it.
    fn manage(&self, sql: String) {
        let address = self.server.address("postgres");
        apart(async move {
            let mut connection = connect(&address).await;
            sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut connection).await.expect(&sql);
            connection.close().await.expect("closed");
        });
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.manage(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        }
    }
}

async fn connect(address: &Secret) -> PgConnection {
    let options = PgConnectOptions::from_str(address.expose()).expect("an address");
    options.disable_statement_logging().connect().await.expect("a connection")
}

/// Makes what a server keeps, in `folder`.
fn make(programs: &Path, folder: &Path) {
    fs::write(folder.join("password"), PASSWORD).expect("written");
    give(folder);
    give(&folder.join("password"));
    // In an order of words that is not the order of bytes, as many databases are.
    let made = unprivileged(&programs.join("initdb"))
        .args(["-D", "data", "-U", "safecache", "--auth=scram-sha-256", "--pwfile=password", "-E", "UTF8"])
        .args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync"])
        .current_dir(folder)
        .output()
        .expect("initdb runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The number that a query of the database at `address` tells.
pub(crate) fn number(address: Secret, sql: String) -> i64 {
    apart(async move {
        let mut connection = connect(&address).await;
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect("a number")
    })
}

/// Runs `work` to its end beside whatever runtime the caller may be in.
fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let done = std::thread::spawn(move || runtime().block_on(work)).join();
    done.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

/// The folder of the newest server's programs.
fn programs() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut packaged: Vec<_> =
        fs::read_dir(SERVERS).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    packaged.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let found = packaged.into_iter().map(|folder| folder.join("bin")).chain(std::env::split_paths(&path));
    let is_whole = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| folder.join(name).exists());
    let missing = || panic!("PostgreSQL is missing; as root, `tools/need postgres` installs it");
    found.into_iter().find(is_whole).unwrap_or_else(missing)
}

/// A program that runs as nobody, if the tests run as root: PostgreSQL refuses to be root's.
fn unprivileged(program: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command
}
