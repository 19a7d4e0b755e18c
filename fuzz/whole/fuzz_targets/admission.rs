//! Feeds what the fuzzer makes up to the property that tests/it/fuzzed/admission.rs holds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../tests/it/fuzzed/head.rs"]
mod head;
#[path = "../../../tests/it/fuzzed/admission.rs"]
mod property;

/// As much of the tests' support as the property stands on.
#[path = "../../../tests/it/support"]
mod support {
    #[expect(dead_code, reason = "the tests use more of it")]
    pub(crate) mod client;
    pub(crate) mod strict;
}

thread_local! {
    static DOOR: property::Door = property::Door::open();
}

fuzz_target!(|data: &[u8]| DOOR.with(|door| door.check(data)));
