//! Recordings under way, by key: single flight.
