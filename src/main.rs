//! The `stowage` binary; everything it does is in [`stowage::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::tend();
    stowage::cli::main()
}

/// What glibc keeps of the memory that it was given back. Both calls are offered to C only.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the calls below; the library forbids any")]
mod allocator {
    use std::{thread, time::Duration};

    /// Memory is to be back within a minute of a peak.
    const EVERY: Duration = Duration::from_secs(30);

    /// Has large blocks returned to the system as soon as they are free, and everything else now and then.
    ///
    /// Left alone glibc takes the size of the largest block that was freed, up to 32 MiB, for one to keep: after a few
    /// bodies of 20 MB a server held 65 MiB for good, and with the bound 16. Small blocks it keeps for ever: 8,000 small
    /// bodies left 19 MiB.
    ///
    /// One arena for all threads: what is kept of policies, and what reading them lets go, otherwise lie in several, each
    /// with holes of its own (2 MiB among 5,000 policies).
    pub(super) fn tend() {
        // SAFETY: two numbers each and no pointer. A refusal changes nothing.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
        let trim = || {
            loop {
                thread::sleep(EVERY);
                // SAFETY: one number; it takes the allocator's own locks.
                unsafe {
                    libc::malloc_trim(0);
                }
            }
        };
        // Without the thread more memory is kept, and all else is as it was.
        let _ = thread::Builder::new().name("trim".to_owned()).spawn(trim);
    }
}

/// Other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod allocator {
    pub(super) fn tend() {}
}
