//! The current snapshot, behind one atomic pointer.
