//! Every key's bucket, kept across reloads.
