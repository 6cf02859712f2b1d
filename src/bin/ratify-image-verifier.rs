//! The doorway to [`ratify::shim`].

fn main() -> std::process::ExitCode {
    ratify::shim::main()
}
