//! What may be written in the configuration.
