//! A source file as the rules see it: its lines with and without strings and comments, and where its tests begin.

/// One Rust file.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// Relative to the root, with `/`.
    pub(super) path: String,
    /// Its lines as they are.
    pub(super) lines: Vec<String>,
    /// The same lines with comments removed and the contents of strings and characters blanked.
    pub(super) code: Vec<String>,
    /// The index of the first line of test code; the number of lines if there is none.
    pub(super) tests_from: usize,
}

impl SourceFile {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        let code = blank(text).lines().map(str::to_owned).collect();
        let is_all_tests =
            path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let inline = || lines.iter().position(|line| line.trim() == "#[cfg(test)]").unwrap_or(lines.len());
        let tests_from = if is_all_tests { 0 } else { inline() };
        Self { path: path.to_owned(), lines, code, tests_from }
    }

    /// The top-level module that the file belongs to, if it is one of the library's; `lib` and `main` are not.
    pub(super) fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let module = inside.split('/').next()?.trim_end_matches(".rs");
        (module != "lib" && module != "main").then_some(module)
    }

    /// Code lines outside tests, numbered from 1.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered_code().take(self.tests_from)
    }

    /// Code lines of tests, numbered from 1.
    pub(super) fn tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.numbered_code().skip(self.tests_from)
    }

    /// All code lines, numbered from 1.
    pub(super) fn numbered_code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.iter().map(String::as_str))
    }
}

/// Replaces comments by nothing and what strings and characters hold by spaces; keeps every line break.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, shown) = match token(rest) {
            Token::Comment(length) => (length, Some("")),
            Token::Quoted(length) => (length, Some("\"\"")),
            Token::Word(length) => (length, None),
            Token::Plain => (first.len_utf8(), None),
        };
        let (read, unread) = rest.split_at(length);
        match shown {
            Some(instead) => {
                out.push_str(instead);
                out.extend(read.chars().filter(|c| *c == '\n'));
            }
            None => out.push_str(read),
        }
        rest = unread;
    }
    out
}

/// What the text begins with, and how long that is in bytes.
enum Token {
    Comment(usize),
    Quoted(usize),
    Word(usize),
    Plain,
}

fn token(text: &str) -> Token {
    if text.starts_with("//") {
        return Token::Comment(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Token::Comment(text.find("*/").map_or(text.len(), |end| end + 2));
    }
    for prefix in ["br", "cr", "r"] {
        if let Some(length) = text.strip_prefix(prefix).and_then(raw_string) {
            return Token::Quoted(prefix.len() + length);
        }
    }
    for prefix in ["", "b", "c"] {
        if let Some(inside) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('"')) {
            return Token::Quoted(prefix.len() + 1 + end_of_quote(inside, '"'));
        }
    }
    let word = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if word > 0 {
        return Token::Word(word);
    }
    character(text).map_or(Token::Plain, Token::Quoted)
}

/// The length of a raw string from its hashes on, or `None` if this is none.
fn raw_string(text: &str) -> Option<usize> {
    let unhashed = text.trim_start_matches('#');
    let hashes = text.len() - unhashed.len();
    let inside = unhashed.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = inside.find(&close).map_or(inside.len(), |at| at + close.len());
    Some(hashes + 1 + end)
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    let mut characters = inside.chars();
    let is_literal = characters.next()? == '\\' || characters.next() == Some('\'');
    is_literal.then(|| 1 + end_of_quote(inside, '\''))
}

/// How far it is to the end of a quoted text, its closing mark included.
fn end_of_quote(inside: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == mark {
            return at + c.len_utf8();
        }
    }
    inside.len()
}

#[cfg(test)]
mod tests {
    use super::{SourceFile, blank};

    #[test]
    fn strings_and_comments_are_blanked_line_by_line() {
        for (text, expected) in [
            ("a // b\nc", "a \nc"),
            ("a /* b\n c */ d", "a \n d"),
            (r#"f("a\"b // c") // d"#, r#"f("") "#),
            ("r#\"x \"y\" z\"# + 1", "\"\" + 1"),
            ("bar(\"a\nb\") b\"x\" br\"y\"", "bar(\"\"\n) \"\" \"\""),
            (r"'\'' 'a' &'a str '\u{1F600}'", "\"\" \"\" &'a str \"\""),
            ("for r in x", "for r in x"),
        ] {
            assert_eq!(blank(text), expected, "{text}");
        }
    }

    #[test]
    fn tests_begin_where_the_file_says() {
        let file = SourceFile::new("src/a.rs", "//! A\nfn f() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!((file.product().count(), file.tests().count()), (2, 3));
        assert_eq!(SourceFile::new("tests/it/a.rs", "//! A\nfn f() {}\n").product().count(), 0);
    }
}
