//! A real redis-server on a socket in a folder of its own, for one client.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

pub(crate) struct Server {
    process: Child,
    stream: BufReader<UnixStream>,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let socket = folder.path().join("redis.sock");
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let log = BufReader::new(process.stdout.take().expect("its log"));
        let is_ready =
            log.lines().map_while(Result::ok).any(|line| line.contains("eady to accept connections"));
        assert!(is_ready, "redis-server ended");
        let stream = BufReader::new(UnixStream::connect(&socket).expect("a connection"));
        Self { process, stream, _folder: folder }
    }

    /// One command, and its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Reply {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(command.as_bytes()).expect("sent");
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a reply");
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            ":" => Reply::Number(rest.parse().expect("a number")),
            "+" => Reply::Text(rest.to_owned()),
            "-" => Reply::Error(rest.to_owned()),
            "$" if rest == "-1" => Reply::Nil,
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().expect("a length") + 2];
                self.stream.read_exact(&mut text).expect("a text");
                text.truncate(text.len() - 2);
                Reply::Text(String::from_utf8(text).expect("text"))
            }
            "*" => Reply::List((0..rest.parse().expect("a count")).map(|_| self.reply()).collect()),
            _ => panic!("{line:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ended");
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Number(i64),
    Text(String),
    Error(String),
    Nil,
    List(Vec<Reply>),
}

impl Reply {
    /// A list of numbers.
    pub(crate) fn numbers(&self) -> Vec<i64> {
        let Self::List(list) = self else { panic!("{self:?}") };
        let number = |reply: &Self| match reply {
            Self::Number(number) => *number,
            other => panic!("{other:?}"),
        };
        list.iter().map(number).collect()
    }
}
