//! What the gateway reads of LLM traffic: a few request fields, the canonical form, streams and usage.

pub mod canonical;
pub mod request;
pub mod sse;
pub mod usage;
