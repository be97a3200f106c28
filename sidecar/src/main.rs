//! The program `keypod`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    keypod::cli::run()
}
