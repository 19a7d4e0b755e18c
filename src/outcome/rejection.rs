//! Everything a client may be told instead of an answer: the one table.
