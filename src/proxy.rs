//! The data port.

pub mod auth_failures;
