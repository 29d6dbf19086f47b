//! One connection: handshake, then requests until somebody closes it.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{AlertDescription, Error as TlsError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::connections::{ConnectionEntry, ConnectionPlace, Order};
use super::decide::Decide;
use super::route::Webhook;
use super::tls::H2;
use crate::metrics::HandshakeFailure;

/// What a head and the buffered part of a body may take. A usual review (9 KB)
/// fits four times.
const H1_BUFFER: usize = 32 << 10;
/// Calls in flight on one HTTP/2 connection; Go's client opens another
/// connection beyond.
const H2_STREAMS: u32 = 32;
/// What one stream may send unread. A usual review (9 KB) fits.
const H2_STREAM_WINDOW: u32 = 16 << 10;
/// What a connection may send unread, the least that the protocol knows: it is
/// memory that nobody counts, a thousand times. Four bodies that wait for room
/// hold up the others on their connection.
const H2_CONNECTION_WINDOW: u32 = (1 << 16) - 1;
/// What one request's header list may take.
const H2_HEADER_LIST: u32 = 16 << 10;

/// Serves one connection to its end.
pub(super) async fn run<D: Decide>(
    stream: TcpStream,
    tls: TlsAcceptor,
    webhook: Arc<Webhook<D>>,
    place: ConnectionPlace,
) {
    let entry = place.entry();
    // Answers are single small writes: waiting for more only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "setting TCP_NODELAY");
    }
    let limits = webhook.limits();
    let handshake = tokio::select! {
        handshake = timeout(limits.handshake, tls.accept(stream)) => handshake,
        // The place went to another.
        () = entry.aborted() => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            webhook.handshake_failed(reason(&error), &error);
            return;
        }
        Err(_) => {
            let late = io::Error::from(io::ErrorKind::TimedOut);
            webhook.handshake_failed(HandshakeFailure::TimedOut, &late);
            return;
        }
    };
    entry.opened();
    let h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let io = TokioIo::new(WatchedStream { stream, entry: Arc::clone(entry), heads: !h2, shut: false });
    let service = {
        let entry = Arc::clone(entry);
        service_fn(move |request: Request<Incoming>| {
            let (webhook, entry) = (Arc::clone(&webhook), Arc::clone(&entry));
            async move { answer(&webhook, &entry, request).await }
        })
    };
    if h2 {
        let connection = h2_builder().serve_connection(io, service);
        drive(connection, entry, http2::Connection::graceful_shutdown).await;
    } else {
        let connection = http1::Builder::new().max_buf_size(H1_BUFFER).serve_connection(io, service);
        let finish = |connection: Pin<&mut http1::Connection<_, _>>| {
            // hyper closes a connection on which nothing has come yet. It is
            // left open instead: the request that may be on its way gets an
            // answer with `connection: close`, and the sweep ends the rest.
            if !entry.is_fresh() {
                connection.graceful_shutdown();
            }
        };
        drive(connection, entry, finish).await;
    }
}

async fn answer<D: Decide>(
    webhook: &Webhook<D>,
    entry: &Arc<ConnectionEntry>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(webhook.answer(request, entry.begin()).await)
}

/// Polls a connection until it ends, obeying orders.
async fn drive<C>(connection: C, entry: &ConnectionEntry, finish: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(error = &error as &dyn StdError, "connection ended");
                }
                return;
            }
            order = entry.order() => match order {
                Order::Finish => finish(connection.as_mut()),
                Order::Abort => return,
            },
        }
    }
}

fn h2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(H2_HEADER_LIST)
        .max_send_buf_size(H2_STREAM_WINDOW as usize)
        // A client that vanished without a word is noticed in 40 s.
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

fn reason(error: &io::Error) -> HandshakeFailure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate
            // An authority of the right name with another key.
            | AlertDescription::DecryptError,
        )) => HandshakeFailure::Rejected,
        Some(TlsError::InvalidMessage(_) | TlsError::InappropriateMessage { .. }) => {
            HandshakeFailure::NotTls
        }
        Some(TlsError::PeerIncompatible(_) | TlsError::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(_) => HandshakeFailure::Other,
        None => HandshakeFailure::Closed,
    }
}

/// The stream, telling its entry what the sweep must know.
struct WatchedStream {
    stream: TlsStream<TcpStream>,
    entry: Arc<ConnectionEntry>,
    /// Whether bytes outside a request begin a head. Not so in HTTP/2, where
    /// pings and window updates come at any time.
    heads: bool,
    shut: bool,
}

impl Drop for WatchedStream {
    /// Who was cut off, perhaps for not reading, leaves nothing behind in the
    /// system's buffers either.
    fn drop(&mut self) {
        if self.entry.is_aborted() {
            let _ = self.stream.get_ref().0.set_zero_linger();
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.heads && buf.filled().len() > before {
            self.entry.heard();
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Closes our side, then reads what still comes without looking at it.
    ///
    /// Closing a socket with unread bytes in it resets the connection, and a
    /// client in the middle of a body that is too long would lose the answer
    /// that says so. The sweep ends the wait.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
            self.entry.lingers();
        }
        let mut scratch = [0; 4096];
        let socket = self.stream.get_mut().0;
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *socket).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // A client that is gone has nothing more to lose.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
