//! The `safecache` binary.

use tikv_jemallocator::Jemalloc;

/// Takes a seventh less CPU a request than the system's (docs/measurements.md).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> std::process::ExitCode {
    safecache::cli::main()
}
