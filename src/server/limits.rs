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
    /// and for a turn to be decided on included. Longer than `timeoutSeconds` of our registration (2 s): when
    /// the API server gives up first it closes the connection, which ends the
    /// wait as well; this bound is for those who do not.
    pub body: Duration,
    /// From an answer to its last byte's acceptance by the client's side.
    pub answer: Duration,
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
    /// A body up to this is free, one at a time on each connection; every other
    /// one takes its length from the pool, and so does its answer. A decision
    /// on a longer one runs where it holds up no other connection.
    pub small_body_bytes: usize,
    /// What all of those together may hold in memory; half of it from one
    /// address.
    pub pool_bytes: usize,
    /// How many decisions on long bodies run at once; one less for one address.
    pub decisions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            header: Duration::from_secs(5),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            idle: Duration::from_secs(120),
            linger: Duration::from_secs(1),
            drain: Duration::from_secs(15),
            body_bytes: 24 << 20,
            small_body_bytes: 64 << 10,
            pool_bytes: 64 << 20,
            decisions: 2,
        }
    }
}

impl Limits {
    /// Connections that an address which has had answers keeps when others want
    /// in: most of what one API server has open, and so few that 64 addresses
    /// can have them.
    #[must_use]
    pub fn kept_places(&self) -> usize {
        (self.connections / 64).max(1)
    }

    /// Connections open at once from one source address: a quarter of all, so
    /// that no single client can keep the API servers out.
    #[must_use]
    pub fn connections_per_address(&self) -> usize {
        (self.connections / 4).max(1)
    }
}
