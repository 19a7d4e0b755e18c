//! All policy of one moment.
