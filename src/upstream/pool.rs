//! The choice of a server.
