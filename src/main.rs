//! The `todoke` command.

use std::process::ExitCode;

use todoke::cli;

fn main() -> ExitCode {
    cli::run(cli::parse()).into()
}
