//! The demo LLM.
