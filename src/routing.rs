//! Which route a request takes: what a route is, and the table that finds it.

pub mod route;
pub mod table;
