//! An answer written once and followed by any number of readers.
