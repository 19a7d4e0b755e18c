//! What a move moves, table by table: what is called the same on both sides, and what is not kept in the same way.
//!
//! All SQL of a move is made of these names, of nothing that anybody writes.

use crate::store::sqlite::file::FileKind;

/// One table.
#[derive(Debug)]
pub(in crate::store) struct Table {
    /// Its name, on both sides.
    pub(in crate::store) name: &'static str,
    /// The file that it is in.
    pub(in crate::store) file: FileKind,
    /// Its columns, those of the key first and in the key's order.
    pub(in crate::store) columns: &'static [Column],
    /// How many of them are the key.
    pub(in crate::store) key: usize,
    /// The columns of which the sums are compared.
    pub(in crate::store) sums: &'static [&'static str],
    /// How its rows come about.
    pub(in crate::store) way: Way,
}

/// How the rows of a table come about in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Way {
    /// They are put.
    Put,
    /// They are put, and the database numbers those that come later.
    Numbered,
    /// They are there, and get the values of those that are moved.
    Set,
    /// The database makes them of what is put elsewhere.
    Made,
}

/// A column.
#[derive(Debug)]
pub(in crate::store) struct Column {
    /// Its name, in PostgreSQL.
    pub(in crate::store) name: &'static str,
    /// What it holds.
    pub(in crate::store) kind: Kind,
}

/// What a column holds, and how that is kept on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// Text on both.
    Text,
    /// Bytes on both.
    Bytes,
    /// A number on both.
    Number,
    /// A number where rows of before may have none: zero then.
    Sum,
    /// 0 or 1, a truth value in PostgreSQL.
    Truth,
    /// Text that clients wrote, bytes in PostgreSQL.
    Written,
    /// How often a stored answer was used: in a table of its own in SQLite.
    Uses,
    /// The checksum of a stored answer: those of before have none, and get one.
    Checksum,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

const fn bytes(name: &'static str) -> Column {
    column(name, Kind::Bytes)
}

const fn number(name: &'static str) -> Column {
    column(name, Kind::Number)
}

const fn sum(name: &'static str) -> Column {
    column(name, Kind::Sum)
}

const fn written(name: &'static str) -> Column {
    column(name, Kind::Written)
}

const fn table(name: &'static str, file: FileKind, columns: &'static [Column]) -> Table {
    Table { name, file, columns, key: 1, sums: &[], way: Way::Put }
}

/// All that is summed of requests.
const SUMS: &[&str] = &[
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "saved_prompt_tokens",
    "saved_cached_tokens",
    "saved_completion_tokens",
    "cost",
    "cost_saved",
];

/// The columns of a table of sums by this time.
const fn sums_by(time: &'static str) -> [Column; 14] {
    [
        text("account"),
        number(time),
        text("key"),
        written("model"),
        text("class"),
        number("requests"),
        number("prompt_tokens"),
        number("cached_tokens"),
        number("completion_tokens"),
        number("saved_prompt_tokens"),
        sum("saved_cached_tokens"),
        number("saved_completion_tokens"),
        sum("cost"),
        sum("cost_saved"),
    ]
}

const ACCOUNTS: &[Column] =
    &[text("id"), text("name"), text("plan"), number("created_at"), number("suspended_at")];

const KEYS: &[Column] = &[
    text("id"),
    text("account"),
    text("name"),
    text("environment"),
    text("plan"),
    number("expires_at"),
    text("allowed_ips"),
    text("allowed_models"),
    number("created_at"),
    number("revoked_at"),
    number("deleted_at"),
    number("revision"),
    text("request"),
];

const KEY_SECRETS: &[Column] =
    &[bytes("digest"), text("key"), text("public_id"), number("created_at"), number("ends_at")];

const REQUESTS: &[Column] = &[text("maker"), text("name"), bytes("content"), text("key"), number("at")];

const AUDIT: &[Column] = &[
    number("id"),
    number("at"),
    text("actor"),
    text("action"),
    text("account"),
    text("subject"),
    text("detail"),
];

const PEOPLE: &[Column] = &[
    text("id"),
    text("login"),
    text("name"),
    text("account"),
    text("role"),
    column("is_operator", Kind::Truth),
    text("password"),
    number("password_changed_at"),
    number("created_at"),
    number("disabled_at"),
];

const SESSIONS: &[Column] = &[
    bytes("digest"),
    text("id"),
    text("person"),
    number("created_at"),
    number("seen_at"),
    number("ends_at"),
    text("address"),
    text("agent"),
];

const LINKS: &[Column] = &[
    bytes("digest"),
    text("id"),
    text("kind"),
    text("account"),
    text("role"),
    text("person"),
    text("made_by"),
    number("created_at"),
    number("ends_at"),
    number("used_at"),
];

const STORED_ANSWERS: &[Column] = &[
    number("id"),
    text("account"),
    bytes("prompt_hash"),
    written("model"),
    number("tokens"),
    number("bytes"),
    number("created_at"),
    number("expires_at"),
    column("uses", Kind::Uses),
    written("metadata"),
    written("answer"),
    column("crc", Kind::Checksum),
];

const KEY_USES: &[Column] =
    &[text("account"), text("key"), number("last_at"), text("name"), text("environment")];

const REVISIONS: &[Column] = &[text("of"), number("revision")];

const STORED_TOTALS: &[Column] = &[text("account"), number("bytes")];

const USAGE_HOURS: &[Column] = &sums_by("hour");

const USAGE_DAYS: &[Column] = &sums_by("day");

const USAGE_MODELS: &[Column] = &[text("account"), written("model"), number("last_hour")];

const USAGE_BATCHES: &[Column] = &[bytes("id"), number("at")];

/// All of them, in the order in which they are moved. What is cached of upstreams is not among
/// them: it is made anew.
pub(in crate::store) const TABLES: &[Table] = &[
    Table { sums: &["revision"], way: Way::Set, ..table("revisions", FileKind::Accounts, REVISIONS) },
    Table { sums: &["suspended_at"], ..table("accounts", FileKind::Accounts, ACCOUNTS) },
    Table { sums: &["revision", "revoked_at", "deleted_at"], ..table("keys", FileKind::Accounts, KEYS) },
    Table { sums: &["created_at", "ends_at"], ..table("key_secrets", FileKind::Accounts, KEY_SECRETS) },
    Table { key: 2, sums: &["at"], ..table("requests", FileKind::Accounts, REQUESTS) },
    Table { sums: &["id"], way: Way::Numbered, ..table("audit", FileKind::Accounts, AUDIT) },
    Table { sums: &["password_changed_at", "disabled_at"], ..table("people", FileKind::Accounts, PEOPLE) },
    Table { sums: &["created_at", "ends_at"], ..table("sessions", FileKind::Accounts, SESSIONS) },
    Table { sums: &["created_at", "used_at"], ..table("links", FileKind::Accounts, LINKS) },
    Table {
        sums: &["id", "bytes", "uses", "expires_at"],
        way: Way::Numbered,
        ..table("stored_answers", FileKind::Answers, STORED_ANSWERS)
    },
    Table { sums: &["bytes"], way: Way::Made, ..table("stored_totals", FileKind::Answers, STORED_TOTALS) },
    Table { key: 5, sums: SUMS, ..table("usage_hours", FileKind::Answers, USAGE_HOURS) },
    Table { key: 5, sums: SUMS, ..table("usage_days", FileKind::Answers, USAGE_DAYS) },
    Table { key: 2, sums: &["last_at"], ..table("key_uses", FileKind::Answers, KEY_USES) },
    Table { key: 2, sums: &["last_hour"], ..table("usage_models", FileKind::Answers, USAGE_MODELS) },
    Table { sums: &["at"], ..table("usage_batches", FileKind::Answers, USAGE_BATCHES) },
];

// === impl Column ===

impl Column {
    /// What SQLite is asked for it.
    fn in_sqlite(&self) -> String {
        let name = self.name;
        match self.kind {
            Kind::Text | Kind::Bytes | Kind::Number | Kind::Truth | Kind::Checksum => format!("\"{name}\""),
            Kind::Sum => format!("coalesce(\"{name}\", 0)"),
            // Bytes that are no text are damage, to be seen by who reads them.
            Kind::Written => format!("CAST(\"{name}\" AS BLOB)"),
            Kind::Uses => "coalesce((SELECT uses FROM stored_uses WHERE answer = id), 0)".into(),
        }
    }

    /// What an array of its values is in PostgreSQL.
    fn array(&self) -> &'static str {
        match self.kind {
            Kind::Text => "text[]",
            Kind::Bytes | Kind::Written => "bytea[]",
            Kind::Truth => "boolean[]",
            Kind::Number | Kind::Sum | Kind::Uses | Kind::Checksum => "bigint[]",
        }
    }
}

// === impl Table ===

impl Table {
    /// The columns of its key.
    pub(in crate::store) fn keys(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().take(self.key)
    }

    /// True if its rows are read and put.
    pub(in crate::store) fn is_moved(&self) -> bool {
        self.way != Way::Made
    }

    /// Asks SQLite for the rows from the beginning, in the order of the key, as many as its last parameter says.
    pub(in crate::store) fn select_first(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(Column::in_sqlite).collect();
        let key = self.key_columns();
        format!("SELECT {} FROM \"{}\" ORDER BY {key} LIMIT ?1", columns.join(", "), self.name)
    }

    /// The same of those behind a key, which is its further parameters.
    pub(in crate::store) fn select_behind(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(Column::in_sqlite).collect();
        let parameters: Vec<_> = (0..self.key).map(|number| format!("?{}", number + 2)).collect();
        let key = self.key_columns();
        format!(
            "SELECT {} FROM \"{}\" WHERE ({key}) > ({}) ORDER BY {key} LIMIT ?1",
            columns.join(", "),
            self.name,
            parameters.join(", ")
        )
    }

    /// Has PostgreSQL put rows; a parameter a column, an array of its values.
    pub(in crate::store) fn insert(&self) -> String {
        let arrays =
            self.columns.iter().zip(1..).map(|(column, number)| format!("${number}::{}", column.array()));
        let arrays: Vec<_> = arrays.collect();
        let names: Vec<_> = self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let insert = format!(
            "INSERT INTO \"{}\" ({}) SELECT * FROM unnest({})",
            self.name,
            names.join(", "),
            arrays.join(", ")
        );
        if self.way != Way::Set {
            return insert;
        }
        let others = self.columns.iter().skip(self.key);
        let set: Vec<_> =
            others.map(|Column { name, .. }| format!("\"{name}\" = excluded.\"{name}\"")).collect();
        format!("{insert} ON CONFLICT ({}) DO UPDATE SET {}", self.key_columns(), set.join(", "))
    }

    /// Has SQLite count the rows and add up [`Table::sums`].
    pub(in crate::store) fn tally_in_sqlite(&self) -> String {
        let of = |name: &str| self.columns.iter().find(|column| column.name == name).map(Column::in_sqlite);
        self.tally(self.sums.iter().filter_map(|name| of(name)))
    }

    /// The same of PostgreSQL.
    pub(in crate::store) fn tally_in_postgres(&self) -> String {
        self.tally(self.sums.iter().map(|name| format!("\"{name}\"")))
    }

    /// Each sum in two parts, so that none of whole numbers is too large.
    fn tally(&self, sums: impl Iterator<Item = String>) -> String {
        let halves = sums.map(|sum| {
            format!(
                ", CAST(coalesce(sum(coalesce({sum}, 0) >> 32), 0) AS BIGINT), \
                 CAST(coalesce(sum(coalesce({sum}, 0) & 4294967295), 0) AS BIGINT)"
            )
        });
        format!("SELECT count(*){} FROM \"{}\"", halves.collect::<String>(), self.name)
    }

    fn key_columns(&self) -> String {
        self.keys().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Kind, TABLES, Way};
    use crate::store::migrations::{ACCOUNTS, ANSWERS};

    /// What of the folder's tables is not moved as it is: what is said elsewhere here, and what is made anew.
    const LEFT: [&str; 4] = ["meta", "stored_uses", "proxied_answers", "proxied_total"];

    /// A table or a column that a step adds is moved, or named here.
    #[test]
    fn every_table_and_column_is_moved() {
        let (mut kept, mut moved) = (BTreeSet::new(), BTreeSet::new());
        for step in ACCOUNTS.iter().chain(ANSWERS) {
            for statement in step.sql.split(";\n") {
                let lines: Vec<_> = statement.lines().filter(|line| !line.starts_with("--")).collect();
                let text = lines.join(" ");
                let words: Vec<_> = text.split_whitespace().collect();
                match words.as_slice() {
                    ["CREATE", "TABLE", table, ..] => {
                        for line in lines.iter().filter_map(|line| line.strip_prefix("    ")) {
                            let column = line.split(' ').next().unwrap();
                            if column != "PRIMARY" {
                                kept.insert(((*table).to_owned(), column.to_owned()));
                            }
                        }
                    }
                    ["ALTER", "TABLE", table, "ADD", "COLUMN", column, ..] => {
                        kept.insert(((*table).to_owned(), (*column).to_owned()));
                    }
                    _ => {}
                }
            }
        }
        kept.retain(|(table, _)| !LEFT.contains(&table.as_str()));
        for table in TABLES {
            let columns = table.columns.iter().filter(|column| column.kind != Kind::Uses);
            moved.extend(columns.map(|column| (table.name.to_owned(), column.name.to_owned())));
        }
        assert_eq!(kept, moved);
        assert!(kept.len() > 100, "{}", kept.len());
    }

    #[test]
    fn every_sum_is_of_a_column_and_every_key_is_whole() {
        for table in TABLES {
            for sum in table.sums {
                assert!(table.columns.iter().any(|column| column.name == *sum), "{}.{sum}", table.name);
            }
            assert!(0 < table.key && table.key <= table.columns.len(), "{}", table.name);
        }
        assert_eq!(TABLES.iter().filter(|table| table.way == Way::Numbered).count(), 2);
    }
}
