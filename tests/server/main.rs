//! The server over real sockets and real TLS.

#![expect(clippy::unwrap_used, reason = "what the tests share fails them where it fails")]

mod admin;
mod board;
mod cap;
mod drain;
mod hostile;
mod https;
mod process;
mod serving;
mod standalone;
mod tls_reload;
