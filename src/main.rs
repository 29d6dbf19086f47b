//! The `stowage` binary; everything it does is in [`stowage::cli`].

use std::process::ExitCode;

/// A decision is many small allocations, and after bodies of many megabytes glibc keeps what it was given.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stowage::cli::main()
}
