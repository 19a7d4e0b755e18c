//! People, sessions and links in any database.
//!
//! - `edits`: the way that an edit goes; `links`: its part for links.
//! - `tables`: what an edit asks of the database.
//! - `rows`: what rows mean.

pub(in crate::store) mod edits;
mod links;
pub(in crate::store) mod rows;
pub(in crate::store) mod tables;
