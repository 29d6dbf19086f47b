//! The `stowage` binary; everything it does is in [`stowage::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    stowage::cli::main()
}
