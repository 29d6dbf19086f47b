//! How much a client may take.

use std::time::Duration;

/// The server's bounds. [`Limits::default`] is what `serve` uses; tests pass
/// shorter times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once, handshakes included. An API server keeps 25
    /// idle ones and makes more under load.
    pub connections: usize,
    /// From accept to the end of the TLS handshake, which takes two round
    /// trips and a signature.
    pub handshake: Duration,
    /// From the first byte of a request's head to its last. API servers send
    /// it in one segment.
    pub header: Duration,
    /// From the end of the head to the end of the body, the wait for the pool
    /// included. Longer than `timeoutSeconds` of our registration (2 s): when
    /// the API server gives up first it closes the connection, which ends the
    /// wait as well; this bound is for those who do not.
    pub body: Duration,
    /// Without a request for this long a connection is closed. Longer than the
    /// 90 s of Go's clients, so that they close first and no request is lost
    /// on a connection that is just being closed.
    pub idle: Duration,
    /// After the word to close, how long a client may take to go away.
    pub linger: Duration,
    /// After the listener has closed, how long requests in flight may take.
    pub drain: Duration,
    /// The longest body in bytes. A legal pod of 1.3 MB was seen to arrive as
    /// 7.8 MB: JSON escapes `<` six-fold.
    pub body_bytes: usize,
    /// A body longer than this takes its length from the pool.
    pub small_body_bytes: usize,
    /// What all longer bodies together may hold in memory.
    pub pool_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(5),
            body: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(15),
            body_bytes: 24 << 20,
            small_body_bytes: 64 << 10,
            pool_bytes: 64 << 20,
        }
    }
}

impl Limits {
    /// Connections open at once from one source address: a quarter of all, so
    /// that no single client can keep the API servers out.
    #[must_use]
    pub fn connections_per_address(&self) -> usize {
        (self.connections / 4).max(1)
    }
}
