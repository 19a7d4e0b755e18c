//! A real Redis, and all that it says to one client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::support::redis::{Redis, written};

pub(crate) struct Server {
    stream: BufReader<TcpStream>,
    _redis: Redis,
}

impl Server {
    pub(crate) fn start() -> Self {
        let redis = Redis::start();
        let stream = BufReader::new(TcpStream::connect(redis.address()).expect("a connection"));
        Self { stream, _redis: redis }
    }

    /// One command, and its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Reply {
        self.stream.get_mut().write_all(written(words).as_bytes()).expect("sent");
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
