//! The `stowage` binary; everything it does is in [`stowage::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::bound();
    stowage::cli::main()
}

/// What glibc keeps of the memory that it was given back. Both calls are offered to C only.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the two calls below; the library forbids any")]
mod allocator {
    /// Has large blocks returned to the system as soon as they are free.
    ///
    /// Left alone glibc takes the size of the largest block that was freed, up to 32 MiB, for one to keep: after a few
    /// bodies of 20 MB a server held 65 MiB for good, and with the bound 16.
    pub(super) fn bound() {
        // SAFETY: two numbers and no pointer. A refusal changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
        }
    }
}

/// Other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(super) fn bound() {}
}
