//! Which requests are looked up and which answers are stored.
