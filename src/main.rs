//! The `lockturn` command.

fn main() -> std::process::ExitCode {
    lockturn::cli::main()
}
