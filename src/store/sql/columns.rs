//! A row of any database, by the names of its columns.

use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// What stands in a row. Columns that are not asked for are passed over, so that a newer minor version may add some.
pub(in crate::store) trait Columns {
    /// A text that is always there.
    fn text(&self, column: &str) -> Result<String, sqlx::Error>;

    /// A text, if there is one.
    fn maybe_text(&self, column: &str) -> Result<Option<String>, sqlx::Error>;

    /// A number that is always there.
    fn number(&self, column: &str) -> Result<i64, sqlx::Error>;

    /// A number, if there is one.
    fn maybe_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;

    /// Whether something is so.
    fn flag(&self, column: &str) -> Result<bool, sqlx::Error>;
}

macro_rules! columns_of {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: &str) -> Result<String, sqlx::Error> {
                self.try_get(column)
            }

            fn maybe_text(&self, column: &str) -> Result<Option<String>, sqlx::Error> {
                self.try_get(column)
            }

            fn number(&self, column: &str) -> Result<i64, sqlx::Error> {
                self.try_get(column)
            }

            fn maybe_number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
                self.try_get(column)
            }

            fn flag(&self, column: &str) -> Result<bool, sqlx::Error> {
                self.try_get(column)
            }
        }
    };
}

columns_of!(SqliteRow);
columns_of!(PgRow);

/// A value that nothing here writes: what it stands for is not guessed, as it could allow more than was meant.
pub(in crate::store) fn unknown(value: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{value:?} is not understood").into())
}
