//! The doorway to [`ratify::daemon`].

fn main() -> std::process::ExitCode {
    ratify::daemon::main()
}
