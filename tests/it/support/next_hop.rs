//! nginx and HAProxy as the next hop, each a process of its own in a temporary folder, without privileges.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::client::eventually;
use crate::support::nobody;

/// Where Debian keeps servers, beside what `PATH` names.
const SERVERS: &str = "/usr/sbin";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nginx.
    Nginx,
    /// HAProxy.
    HaProxy,
}

/// A running server that forwards all that it understands; killed when dropped.
pub(crate) struct NextHop {
    child: Child,
    folder: TempDir,
}

impl NextHop {
    /// Starts a server before `upstream`, once it serves on its [socket](Self::socket).
    pub(crate) fn start(kind: Kind, upstream: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let at = folder.path();
        let mut command = match kind {
            Kind::Nginx => nginx(at, upstream),
            Kind::HaProxy => haproxy(at, upstream),
        };
        nobody::run_in(&mut command, at);
        let log = fs::File::create(at.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("it can be run");
        let mut hop = Self { child, folder };
        eventually("the next hop serves", || {
            let ended = hop.child.try_wait().expect("a child");
            assert!(ended.is_none(), "{kind:?} ended: {}", hop.log());
            UnixStream::connect(hop.socket()).is_ok()
        });
        hop
    }

    /// The socket it serves on: of the file system, where no port can be taken by another.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// What it complained of.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for NextHop {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program from `PATH` or [`SERVERS`].
pub(crate) fn program(name: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([PathBuf::from(SERVERS)])
        .map(|folder| folder.join(name))
        .find(|file| file.exists());
    let found =
        found.unwrap_or_else(|| panic!("{name} is missing; as root, `tools/need {name}` installs it"));
    let mut command = Command::new(found);
    command.env_clear();
    command
}

fn nginx(folder: &Path, upstream: SocketAddr) -> Command {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {what};\n"))
        .collect();
    let configuration = format!(
        "daemon off; master_process off; pid pid; error_log stderr;\nevents {{}}\nhttp {{\naccess_log off; client_max_body_size 0;\n\
         {temporary}upstream recorder {{ server {upstream}; keepalive 8; }}\n\
         server {{ listen unix:socket;\nlocation / {{ proxy_pass http://recorder; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; }} }}\n}}\n"
    );
    fs::write(folder.join("nginx.conf"), configuration).expect("written");
    let mut command = program("nginx");
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    command
}

fn haproxy(folder: &Path, upstream: SocketAddr) -> Command {
    let configuration = format!(
        "global\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
         http-reuse always\nfrontend front\n bind unix@socket\n default_backend recorder\n\
         backend recorder\n server recorder {upstream}\n"
    );
    fs::write(folder.join("haproxy.cfg"), configuration).expect("written");
    let mut command = program("haproxy");
    command.args(["-db", "-f", "haproxy.cfg"]);
    command
}
