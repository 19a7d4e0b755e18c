//! Accounts and keys in any database.
//!
//! - `edits`: the way that an edit goes; `accounts`, `requests`: its part for accounts, and what is not done twice.
//! - `tables`: what an edit asks of the database.
//! - `rows`: what rows mean.

pub(in crate::store) mod accounts;
pub(in crate::store) mod edits;
mod requests;
pub(in crate::store) mod rows;
pub(in crate::store) mod tables;
