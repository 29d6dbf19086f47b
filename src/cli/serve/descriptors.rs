//! How many descriptors the process may have open, and what that leaves for connections.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than any number of connections that can be asked for needs.
const ENOUGH: u64 = 1 << 17;
/// What is not for connections: the admin port's 64, 64 connections that take leave, files, clients, the runtime.
const KEPT: u64 = 192;

/// Raises the soft limit, which several container runtimes leave at 1,024, to the hard one; gives what is allowed then.
pub(super) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let current = limit.current.unwrap_or(ENOUGH);
    if current >= wanted {
        return current;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    match raised.map_err(io::Error::from) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, current, wanted, "raising the limit on descriptors");
            current
        }
    }
}

/// How many connections may be open at once, of those that were asked for.
pub(super) fn connections(wanted: usize, descriptors: u64) -> usize {
    let left = descriptors - KEPT.min(descriptors / 2);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest() {
        for (wanted, descriptors, allowed) in
            [(1024, 1 << 17, 1024), (1024, 1024, 832), (1024, 64, 32), (16, 64, 16), (4, 1, 1)]
        {
            assert_eq!(connections(wanted, descriptors), allowed, "{wanted} of {descriptors}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let allowed = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, Some(allowed));
        assert!(allowed >= limit.maximum.unwrap_or(ENOUGH).min(ENOUGH));
    }
}
