//! Reads a request's body within its bounds of length, time and memory.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::limits::Limits;

/// The memory that all large bodies share, in units of a KiB.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    free: Arc<Semaphore>,
    units: u32,
}

/// A whole body, and what it holds of the pool until it is dropped.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over the limit.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// No room in the pool in time.
    Overloaded,
    /// The client went away or broke the protocol.
    Disconnected,
}

const UNIT: usize = 1024;

impl Pool {
    pub(super) fn new(limits: &Limits) -> Self {
        let units = units(limits.pool_bytes);
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits in turn for room. A body longer than the whole pool takes all of
    /// it, rather than waiting for what can never come.
    async fn room(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, BodyError> {
        let wanted = units(bytes).min(self.units);
        match timeout_at(deadline, Arc::clone(&self.free).acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed, so both mean that none came free.
            Ok(Err(_)) | Err(_) => Err(BodyError::Overloaded),
        }
    }
}

impl Received {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads the body to its end.
pub(super) async fn read<B>(body: B, limits: &Limits, pool: &Pool) -> Result<Received, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let deadline = Instant::now() + limits.body;
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(BodyError::TooLarge);
    }
    // No longer than `body_bytes`, so it fits.
    let declared = declared.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let room = match declared {
        Some(length) if length > limits.small_body_bytes => Some(pool.room(length, deadline).await?),
        _ => None,
    };
    let reading = Reading { body, declared, room, limits, pool, deadline };
    match timeout_at(deadline, reading.finish()).await {
        Ok(read) => read,
        Err(_) => Err(BodyError::TimedOut),
    }
}

struct Reading<'a, B> {
    body: B,
    declared: Option<usize>,
    room: Option<OwnedSemaphorePermit>,
    limits: &'a Limits,
    pool: &'a Pool,
    deadline: Instant,
}

impl<B> Reading<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    async fn finish(mut self) -> Result<Received, BodyError> {
        let first = self.data().await?.unwrap_or_default();
        if first.len() <= self.limits.small_body_bytes && self.body.is_end_stream() {
            return Ok(Received { bytes: first, _room: self.room });
        }
        let mut whole = Vec::with_capacity(self.declared.unwrap_or(0));
        let mut next = Some(first);
        while let Some(data) = next {
            let length = whole.len() + data.len();
            if length > self.limits.body_bytes {
                return Err(BodyError::TooLarge);
            }
            if length > self.limits.small_body_bytes && self.room.is_none() {
                // Its end is unknown, so it takes the most it may become, once:
                // bodies that grew by pieces could each hold a part of the pool
                // and wait for the rest for ever.
                let most = self.limits.body_bytes;
                self.room = Some(self.pool.room(most, self.deadline).await?);
            }
            whole.extend_from_slice(&data);
            next = self.data().await?;
        }
        Ok(Received { bytes: whole.into(), _room: self.room })
    }

    /// The next piece; trailers are passed over.
    async fn data(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = self.body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => return Ok(Some(data)),
                Ok(Err(_trailers)) => {}
                Err(_) => return Err(BodyError::Disconnected),
            }
        }
        Ok(None)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use http_body_util::Full;
    use tokio::sync::mpsc;

    use super::*;

    fn limits() -> Limits {
        Limits {
            body: Duration::from_millis(60),
            body_bytes: 40 * UNIT,
            small_body_bytes: 4 * UNIT,
            pool_bytes: 64 * UNIT,
            ..Limits::default()
        }
    }

    /// A body of unknown length whose pieces the test sends.
    struct Piecewise(mpsc::UnboundedReceiver<io::Result<Bytes>>);

    impl Body for Piecewise {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            self.get_mut().0.poll_recv(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
        }
    }

    fn piecewise() -> (mpsc::UnboundedSender<io::Result<Bytes>>, Piecewise) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Piecewise(receiver))
    }

    fn length_of(read: Result<Received, BodyError>) -> Result<usize, BodyError> {
        read.map(|received| received.bytes().len())
    }

    fn free(pool: &Pool) -> usize {
        pool.free.available_permits()
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_not() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        for (length, fits) in [(0, true), (40 * UNIT, true), (40 * UNIT + 1, false)] {
            let declared = Full::new(Bytes::from(vec![b'x'; length]));
            let read_declared = length_of(read(declared, &limits, &pool).await);
            let (sender, body) = piecewise();
            for piece in vec![b'x'; length].chunks(1000) {
                sender.send(Ok(Bytes::copy_from_slice(piece))).unwrap();
            }
            drop(sender);
            let read_piecewise = length_of(read(body, &limits, &pool).await);
            let expected = if fits { Ok(length) } else { Err(BodyError::TooLarge) };
            assert_eq!(read_declared, expected);
            assert_eq!(read_piecewise, expected);
        }
        assert_eq!(free(&pool), 64);
    }

    #[tokio::test]
    async fn a_small_body_takes_nothing_of_the_pool_and_a_large_one_its_length() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        let body = |units: usize| Full::new(Bytes::from(vec![b'x'; units * UNIT]));
        let small = read(body(4), &limits, &pool).await.unwrap();
        assert_eq!(free(&pool), 64);
        let large = read(body(5), &limits, &pool).await.unwrap();
        assert_eq!(free(&pool), 59);
        drop((small, large));
        assert_eq!(free(&pool), 64);
    }

    #[tokio::test]
    async fn a_large_body_waits_its_turn_and_gives_up_in_time() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        let body = || Full::new(Bytes::from(vec![b'x'; 40 * UNIT]));
        let first = read(body(), &limits, &pool).await.unwrap();
        let refused = read(body(), &limits, &pool).await.unwrap_err();
        assert_eq!(refused, BodyError::Overloaded);
        let second = read(body(), &limits, &pool);
        let release = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(second, release);
        assert_eq!(second.unwrap().bytes().len(), 40 * UNIT);
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_takes_the_most_it_may_become() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        let (sender, body) = piecewise();
        for _ in 0..5 {
            sender.send(Ok(Bytes::from(vec![b'x'; UNIT]))).unwrap();
        }
        drop(sender);
        let read = read(body, &limits, &pool).await.unwrap();
        assert_eq!((read.bytes().len(), free(&pool)), (5 * UNIT, 24));
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_in_time() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        let (sender, body) = piecewise();
        sender.send(Ok(Bytes::from_static(b"{"))).unwrap();
        assert_eq!(read(body, &limits, &pool).await.unwrap_err(), BodyError::TimedOut);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let (limits, pool) = (limits(), Pool::new(&limits()));
        let (sender, body) = piecewise();
        sender.send(Ok(Bytes::from_static(b"{"))).unwrap();
        sender.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        assert_eq!(read(body, &limits, &pool).await.unwrap_err(), BodyError::Disconnected);
    }
}
