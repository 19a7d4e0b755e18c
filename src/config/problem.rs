//! What is wrong with a configuration, all of it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;

/// One mistake, where it stands, and what would be right.
///
/// Texts never hold a value that came from the environment or from a file, nor that of a secret field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it.
    pub file: Arc<str>,
    /// The line, from 1; 0: the file as a whole.
    pub line: u32,
    /// The column in characters, from 1; 0: the line as a whole.
    pub column: u32,
    /// The key, such as `routes[2].upstream`; empty: the document itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column != 0 {
            write!(f, ":{}", self.column)?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        write!(f, " (hint: {})", self.hint)
    }
}

/// All problems of a configuration or key list, in the order of the text; one a line when displayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    problems: Vec<Problem>,
    unlisted: usize,
}

impl Report {
    /// The problems, ordered by file, line and column.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more there are that are not listed (key lists stop listing at [`MOST_LISTED`]).
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty() && self.unlisted == 0
    }

    /// A report of one problem with a file as a whole, such as one that cannot be read.
    pub fn of_file(file: &str, message: impl Into<String>, hint: &str) -> Self {
        let sink = Sink::new(file);
        sink.add((0, 0), String::new(), message.into(), hint.to_owned());
        sink.into_report()
    }

    /// Puts the problems of `other` behind these.
    pub fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.unlisted += other.unlisted;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        if self.unlisted != 0 {
            writeln!(f, "and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// A report of a key list names this many problems and counts the others.
pub const MOST_LISTED: usize = 100;

/// Where problems are gathered while one file is read.
#[derive(Debug)]
pub struct Sink {
    file: Arc<str>,
    limit: usize,
    problems: RefCell<Vec<Problem>>,
    unlisted: Cell<usize>,
}

impl Sink {
    /// Gathers every problem of `file`.
    pub fn new(file: &str) -> Self {
        Self::with_limit(file, usize::MAX)
    }

    /// Gathers the first `limit` problems of `file` and counts the others.
    pub fn with_limit(file: &str, limit: usize) -> Self {
        Self { file: Arc::from(file), limit, problems: RefCell::default(), unlisted: Cell::new(0) }
    }

    /// Adds a problem at `(line, column)`.
    pub fn add(&self, (line, column): (u32, u32), path: String, message: String, hint: String) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < self.limit {
            problems.push(Problem { file: Arc::clone(&self.file), line, column, path, message, hint });
        } else {
            self.unlisted.set(self.unlisted.get() + 1);
        }
    }

    /// How many there are so far, listed or not.
    pub fn count(&self) -> usize {
        self.problems.borrow().len() + self.unlisted.get()
    }

    /// Ends the gathering: the problems in the order of the text.
    pub fn into_report(self) -> Report {
        let mut problems = self.problems.into_inner();
        problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        Report { problems, unlisted: self.unlisted.get() }
    }
}
