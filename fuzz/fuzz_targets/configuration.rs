//! Feeds what the fuzzer makes up to the property that tests/it/fuzzed/configuration.rs holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzzed/configuration.rs"]
mod property;

fuzz_target!(|data: &[u8]| property::check(data));
