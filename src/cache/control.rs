//! The request's Cache-Control and the answer's Cache-Status.
