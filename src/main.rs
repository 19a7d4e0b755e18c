//! The `safecache` binary.

fn main() -> std::process::ExitCode {
    safecache::cli::main()
}
