//! Reads a request's body within its bounds of length, time and memory.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, timeout_at};

use super::limits::Limits;
use super::pool::{NoRoom, Room};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over the limit.
    TooLarge,
    /// It did not come in time.
    TimedOut,
    /// No room in the pool in time, or others had a better claim to it.
    Overloaded,
    /// The client went away or broke the protocol.
    Disconnected,
}

/// Room is asked for in steps of this.
const STEP: usize = 64 << 10;

/// Reads the body to its end. All of it holds room, unless it is no longer than
/// `free`.
pub(super) async fn read<B>(
    body: B,
    limits: &Limits,
    free: usize,
    room: &mut Room,
    deadline: Instant,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(BodyError::TooLarge);
    }
    let reading = Reading { body, limit: limits.body_bytes, free, room, deadline };
    match timeout_at(deadline, reading.finish()).await {
        Ok(read) => read,
        Err(_) if room.waits() => Err(BodyError::Overloaded),
        Err(_) => Err(BodyError::TimedOut),
    }
}

struct Reading<'a, B> {
    body: B,
    limit: usize,
    free: usize,
    room: &'a mut Room,
    deadline: Instant,
}

impl<B> Reading<'_, B>
where
    B: Body<Data = Bytes> + Unpin,
{
    async fn finish(mut self) -> Result<Bytes, BodyError> {
        let first = self.data().await?.unwrap_or_default();
        self.make_room(first.len()).await?;
        if self.body.is_end_stream() {
            return Ok(first);
        }
        let mut whole = first.to_vec();
        drop(first);
        while let Some(data) = self.data().await? {
            let length = whole.len() + data.len();
            self.make_room(length).await?;
            if length > whole.capacity() {
                // Twice as much, as a vector would, but never beyond the limit.
                let capacity = (whole.capacity() * 2).clamp(length, self.limit.max(length));
                whole.reserve_exact(capacity - whole.len());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.into())
    }

    async fn make_room(&mut self, length: usize) -> Result<(), BodyError> {
        if length > self.limit {
            return Err(BodyError::TooLarge);
        }
        if length <= self.free {
            return Ok(());
        }
        let steps = length.div_ceil(STEP) * STEP;
        self.room.grow(steps.min(self.limit), self.deadline).await.map_err(|NoRoom| BodyError::Overloaded)
    }

    /// The next piece; trailers are passed over.
    async fn data(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame,
                () = self.room.taken() => return Err(BodyError::Overloaded),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => return Ok(Some(data)),
                Some(Ok(Err(_trailers))) => {}
                Some(Err(_)) => return Err(BodyError::Disconnected),
                None => return Ok(None),
            }
        }
    }
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
    use crate::server::pool::Pool;

    const UNIT: usize = STEP;

    fn limits() -> Limits {
        Limits {
            body: Duration::from_millis(60),
            body_bytes: 40 * UNIT,
            small_body_bytes: 4 * UNIT,
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

    fn pool() -> Pool {
        Pool::new(64 * UNIT, 32 * UNIT)
    }

    async fn read_by<B: Body<Data = Bytes> + Unpin>(
        body: B,
        pool: &Pool,
        last: u8,
    ) -> Result<(Bytes, Room), BodyError> {
        let (limits, mut room) = (limits(), pool.room_of(last));
        let deadline = Instant::now() + limits.body;
        let bytes = read(body, &limits, limits.small_body_bytes, &mut room, deadline).await?;
        Ok((bytes, room))
    }

    fn whole(units: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b'x'; units * UNIT]))
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_not() {
        let pool = pool();
        for (length, fits) in [(0, true), (UNIT + 1, true), (40 * UNIT, true), (40 * UNIT + 1, false)] {
            let declared = Full::new(Bytes::from(vec![b'x'; length]));
            let read_declared = read_by(declared, &pool, 1).await.map(|(bytes, _)| bytes.len());
            let (sender, body) = piecewise();
            for piece in vec![b'x'; length].chunks(1000) {
                sender.send(Ok(Bytes::copy_from_slice(piece))).unwrap();
            }
            drop(sender);
            let read_piecewise = read_by(body, &pool, 1).await.map(|(bytes, _)| bytes.len());
            let expected = if fits { Ok(length) } else { Err(BodyError::TooLarge) };
            assert_eq!(read_declared, expected);
            assert_eq!(read_piecewise, expected);
        }
        assert_eq!(pool.free(), 64 * UNIT);
    }

    #[tokio::test]
    async fn a_small_body_takes_nothing_of_the_pool_and_a_large_one_its_length() {
        let pool = pool();
        let small = read_by(whole(4), &pool, 1).await.unwrap();
        assert_eq!(pool.free(), 64 * UNIT);
        let large = read_by(whole(5), &pool, 1).await.unwrap();
        assert_eq!(pool.free(), 59 * UNIT);
        drop((small, large));
        assert_eq!(pool.free(), 64 * UNIT);
    }

    #[tokio::test]
    async fn a_body_takes_room_as_it_comes_and_not_for_what_was_announced() {
        let pool = pool();
        let (sender, body) = piecewise();
        let reading = tokio::spawn({
            let pool = pool.clone();
            async move { read_by(body, &pool, 1).await.map(|(bytes, _)| bytes.len()) }
        });
        for came in 1..8 {
            sender.send(Ok(Bytes::from(vec![b'x'; UNIT]))).unwrap();
            while !sender.is_closed() && pool.free() != (64 - if came > 4 { came } else { 0 }) * UNIT {
                tokio::task::yield_now().await;
            }
        }
        drop(sender);
        assert_eq!(reading.await.unwrap(), Ok(7 * UNIT));
    }

    #[tokio::test]
    async fn a_body_that_stands_still_loses_its_room_to_another_address() {
        let pool = pool();
        let mut standing = Vec::new();
        for last in [1, 1, 2, 2] {
            let (sender, body) = piecewise();
            sender.send(Ok(Bytes::from(vec![b'x'; 16 * UNIT]))).unwrap();
            let pool = pool.clone();
            standing.push((sender, tokio::spawn(async move { read_by(body, &pool, last).await.map(|_| ()) })));
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.free(), 0);
        assert_eq!(read_by(whole(5), &pool, 3).await.unwrap().0.len(), 5 * UNIT);
        let mut ends = Vec::new();
        for (sender, body) in standing {
            let end = body.await.unwrap();
            drop(sender);
            ends.push(end.unwrap_err());
        }
        assert_eq!(ends.iter().filter(|end| **end == BodyError::Overloaded).count(), 1, "{ends:?}");
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_ends_in_time() {
        let (sender, body) = piecewise();
        sender.send(Ok(Bytes::from_static(b"{"))).unwrap();
        assert_eq!(read_by(body, &pool(), 1).await.err(), Some(BodyError::TimedOut));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_an_error() {
        let (sender, body) = piecewise();
        sender.send(Ok(Bytes::from_static(b"{"))).unwrap();
        sender.send(Err(io::ErrorKind::ConnectionReset.into())).unwrap();
        assert_eq!(read_by(body, &pool(), 1).await.err(), Some(BodyError::Disconnected));
    }
}
