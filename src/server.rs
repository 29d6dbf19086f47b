//! The webhook's server: HTTPS in, one decision per request, an answer out.
//!
//! ```text
//! listener -> connections (who may stay) -> connection (TLS, HTTP/1.1 or h2)
//!          -> route (path, method, type)  -> body (limit, pool) -> Decide
//! ```
//!
//! It knows nothing of policies: the decision is a [`Decide`] that the caller
//! brings, with the socket and the word when to stop.

pub mod admin;
pub mod board;
mod body;
mod connection;
mod connections;
mod decide;
mod limits;
mod listener;
mod pool;
pub mod readiness;
pub mod reload;
mod route;
pub mod tls;

pub use self::decide::{Decide, HttpAnswer};
pub use self::limits::Limits;
pub use self::listener::serve;
