//! What operators see: metrics, the access log, start-up.

mod access_line;
pub mod access_log;
pub mod init;
pub mod metrics;
