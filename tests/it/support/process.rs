//! The real binary as a process of its own: its addresses, its output, signals to it, its end.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use safecache::clock::{Clock, Monotonic};

use crate::support::client::{Answer, Client, DEADLINE};

/// A running `safecache`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Output>,
    stderr: Arc<Output>,
    clock: Clock,
    told: Monotonic,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// All of its output.
    pub(crate) stdout: String,
    /// All of its diagnostics.
    pub(crate) stderr: String,
    /// From the last signal sent, or from its start if there was none, to its end.
    pub(crate) took: Duration,
}

/// The binary, without the environment of the tests; `folder` is its working folder.
pub(crate) fn safecache(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safecache"));
    command.env_clear().current_dir(folder);
    command
}

/// Writes `folder/gateway.yaml`: `yaml`, and free ports and a data folder where it names none.
pub(crate) fn write_config(folder: &Path, yaml: &str) -> PathBuf {
    let names = |key: &str| yaml.lines().any(|line| line.starts_with(key));
    let mut text = String::new();
    if !names("listen:") {
        text += "listen: 127.0.0.1:0\n";
    }
    if !names("admin:") {
        text += "admin: {listen: \"127.0.0.1:0\"}\n";
    }
    if !names("data_dir:") {
        text += "data_dir: ./data\n";
    }
    let path = folder.join("gateway.yaml");
    std::fs::write(&path, text + yaml).expect("the configuration is written");
    path
}

impl Process {
    /// Starts `command` with pipes on all sides.
    pub(crate) fn start(command: &mut Command) -> Self {
        let clock = Clock::system();
        let told = clock.monotonic();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdin = child.stdin.take();
        let stdout = Output::of(child.stdout.take().expect("a pipe"));
        let stderr = Output::of(child.stderr.take().expect("a pipe"));
        Self { child, stdin, stdout, stderr, clock, told }
    }

    /// `safecache serve` in `folder` with `yaml` (see [`write_config`]), once it serves.
    pub(crate) fn serve(folder: &Path, yaml: &str) -> Self {
        write_config(folder, yaml);
        let process = Self::start(safecache(folder).arg("serve"));
        process.stderr.wait_for("admin: ");
        process
    }

    /// `safecache demo` on free ports, once it serves; its temporary folder is made in `folder`.
    pub(crate) fn demo(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = safecache(folder);
        command.env("TMPDIR", folder).args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let process = Self::start(command.args(arguments));
        process.stdout.wait_for("# 3.");
        process
    }

    /// Runs a command that ends by itself, with `input` on its stdin.
    pub(crate) fn run<A: AsRef<OsStr>>(folder: &Path, arguments: &[A], input: &str) -> Ended {
        let mut process = Self::start(safecache(folder).args(arguments));
        process.input(input);
        process.wait()
    }

    /// Writes `text` to its stdin and closes that.
    pub(crate) fn input(&mut self, text: &str) {
        if let Some(mut stdin) = self.stdin.take() {
            // A command that reads nothing may have ended already.
            let _ = stdin.write_all(text.as_bytes());
        }
    }

    /// Where its first data listener is, as `serve` and `demo` print it.
    pub(crate) fn gateway(&self) -> SocketAddr {
        self.printed("gateway: ")
    }

    /// Where its admin listener is.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.printed("admin: ")
    }

    fn printed(&self, name: &str) -> SocketAddr {
        let both = [self.stdout.text(), self.stderr.text()];
        let mut lines = both.iter().flat_map(|text| text.lines());
        let url = lines.find_map(|line| line.strip_prefix(name)).expect("its addresses are printed");
        let (_, address) = url.split_once("://").expect("a URL");
        address.parse().expect("an address")
    }

    /// A new connection to its data listener.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.gateway())
    }

    /// What a path of the admin listener answers, without a token.
    pub(crate) fn ask_admin(&self, path: &str) -> Answer {
        Client::connect(self.admin())
            .send(format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"))
            .answer()
    }

    /// What its metrics say of a series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let metrics = self.ask_admin("/metrics").text();
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series}"))
    }

    /// A line of the system's account of it, in bytes.
    pub(crate) fn account(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kibibytes = line.expect("a line").trim().trim_end_matches(" kB");
        kibibytes.parse::<usize>().expect("a number") * 1024
    }

    /// Sends a signal. Only before [`Process::wait`], so that its number is still its own.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.told = self.clock.monotonic();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it still runs");
    }

    /// Its output so far.
    pub(crate) fn stdout(&self) -> &Output {
        &self.stdout
    }

    /// Its diagnostics so far.
    pub(crate) fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// Its number. Only before [`Process::wait`], so that it is still its own.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while it runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits, at most [`DEADLINE`], until it has ended.
    pub(crate) fn wait(mut self) -> Ended {
        drop(self.stdin.take());
        let stdout = self.stdout.wait_until(|text| text.is_over);
        let stderr = self.stderr.wait_until(|text| text.is_over);
        assert!(stdout && stderr, "it runs on:\n{}\n{}", self.stdout.text(), self.stderr.text());
        let status = self.child.wait().expect("a child");
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            took: self.clock.monotonic().saturating_since(self.told),
        }
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) -> Ended {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process writes to one of its pipes, gathered as it comes.
pub(crate) struct Output {
    written: Mutex<Written>,
    more: Condvar,
}

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    is_over: bool,
}

impl Output {
    fn of(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self { written: Mutex::default(), more: Condvar::new() });
        let writing = Arc::clone(&output);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let read = pipe.read(&mut buffer).unwrap_or(0);
                let mut written = writing.written.lock().expect("no reader panicked");
                written.bytes.extend_from_slice(&buffer[..read]);
                written.is_over = read == 0;
                drop(written);
                writing.more.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        output
    }

    /// All of it so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("no reader panicked").bytes).into_owned()
    }

    /// Waits, at most [`DEADLINE`], until a line holds `text`, and returns that line.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let line = |bytes: &[u8]| {
            let so_far = String::from_utf8_lossy(bytes).into_owned();
            let (whole, _) = so_far.rsplit_once('\n')?;
            whole.lines().find(|line| line.contains(text)).map(str::to_owned)
        };
        self.wait_until(|written| written.is_over || line(&written.bytes).is_some());
        let written = self.written.lock().expect("no reader panicked");
        let shown = || String::from_utf8_lossy(&written.bytes).into_owned();
        line(&written.bytes).unwrap_or_else(|| panic!("{text:?} was not written, but:\n{}", shown()))
    }

    /// False if the deadline came first.
    fn wait_until(&self, is_so: impl Fn(&Written) -> bool) -> bool {
        let written = self.written.lock().expect("no reader panicked");
        let waited = self.more.wait_timeout_while(written, DEADLINE, |written| !is_so(written));
        !waited.expect("no reader panicked").1.timed_out()
    }
}
