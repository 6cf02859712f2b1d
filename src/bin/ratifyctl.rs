//! The doorway to [`ratify::cli`].

fn main() -> std::process::ExitCode {
    ratify::cli::main()
}
