//! What the gateway reads of LLM traffic: a few request fields, the canonical form, answers, streams, the way
//! from one to the other, and usage.

pub mod answer;
pub mod canonical;
pub mod json;
pub mod number;
pub mod request;
pub mod sse;
pub mod translate;
pub mod usage;
