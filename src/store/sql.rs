//! What is alike in every database: the way that an edit goes, and what a row means. A database adds the SQL alone.
//!
//! - `directory`, `people`: the edits of each, over a trait of what they ask of the tables, and its rows.
//! - `columns`: a row of any database, by the names of its columns.
//! - `trail`: the row that each change leaves.

/// What is denied leaves the function that an edit is made in.
macro_rules! granted {
    ($verdict:expr) => {
        match $verdict {
            Ok(done) => done,
            Err(denial) => return Ok(Err(denial)),
        }
    };
}

pub(super) mod columns;
pub(super) mod directory;
pub(super) mod people;
pub(super) mod trail;
