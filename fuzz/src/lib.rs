//! The gateway's LLM layer, compiled as it is but without the rest: it is pure, and so builds in seconds.

/// What `src/llm.rs` lists, as far as it is fuzzed.
#[path = "../../src/llm"]
pub mod llm {
    pub mod answer;
    pub mod canonical;
    pub mod json;
    pub mod number;
    pub mod request;
    pub mod sse;
    pub mod translate;
    pub mod usage;
}
