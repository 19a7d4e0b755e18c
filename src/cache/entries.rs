//! Complete recordings, kept within a bound of bytes.
