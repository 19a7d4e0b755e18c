//! What the limiter says, and the headers that tell it.
