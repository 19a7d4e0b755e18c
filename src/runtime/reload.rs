//! Prepare, then swap: everything that can fail fails before.
