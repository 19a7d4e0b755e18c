//! What operators see: metrics, the access log, start-up.

pub mod access_log;
pub mod init;
pub mod metrics;
