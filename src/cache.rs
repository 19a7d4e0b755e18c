//! Answers kept: which may be, under what key, how they are recorded, stored and shared while they come in.

pub mod admit;
pub mod control;
pub mod entries;
pub mod flights;
pub mod key;
pub mod memo;
pub mod packed;
pub mod policy;
pub mod recording;
