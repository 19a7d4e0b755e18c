//! The integration tests: one binary, one file an area.
#![cfg(test)]

mod demo_llm;
mod tidy;
