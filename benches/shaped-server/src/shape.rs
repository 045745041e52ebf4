//! A connection that is as slow as it is told to be.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that may pass at once; small against what a rate gives in a second.
const BURST_BYTES: usize = 64 * 1024;

/// When the next byte may pass, at a rate.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: f64,
    free_at: Mutex<Instant>,
}

impl Rate {
    pub(crate) fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(Instant::now()) }
    }

    /// Books `bytes` and says when they have passed.
    fn book(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "at most a burst")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second);
        // A timer is late by a millisecond or so: what was missed may be caught up with.
        let earliest = Instant::now().checked_sub(Duration::from_millis(5)).unwrap_or_else(Instant::now);
        *free_at = (*free_at).max(earliest) + takes;
        *free_at
    }
}

/// One direction of a connection: its own rate and the one all share.
struct Lane {
    rates: Vec<Arc<Rate>>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Lane {
    fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        Poll::Ready(())
    }

    fn passed(&mut self, bytes: usize) {
        if let Some(until) = self.rates.iter().map(|rate| rate.book(bytes)).max()
            && until > Instant::now()
        {
            self.wait = Some(Box::pin(sleep_until(until)));
        }
    }
}

/// A TCP connection with a bandwidth in each direction.
pub(crate) struct Shaped {
    stream: TcpStream,
    down: Lane,
    up: Lane,
}

impl Shaped {
    /// `connection`: bytes a second of this connection in each direction; `all`: what all share.
    pub(crate) fn new(
        stream: TcpStream,
        connection: Option<f64>,
        all: Option<(Arc<Rate>, Arc<Rate>)>,
    ) -> Self {
        let lane = |shared: Option<Arc<Rate>>| Lane {
            rates: connection.map(|rate| Arc::new(Rate::new(rate))).into_iter().chain(shared).collect(),
            wait: None,
        };
        let (down, up) = all.map_or((None, None), |(down, up)| (Some(down), Some(up)));
        Self { stream, down: lane(down), up: lane(up) }
    }
}

impl AsyncRead for Shaped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.up.poll_free(cx));
        let mut bytes = vec![0; BURST_BYTES];
        let room = buf.remaining().min(BURST_BYTES);
        let mut part = ReadBuf::new(bytes.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.put_slice(part.filled());
        this.up.passed(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shaped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.down.poll_free(cx));
        let part = buf.get(..buf.len().min(BURST_BYTES)).unwrap_or(buf);
        let count = ready!(Pin::new(&mut this.stream).poll_write(cx, part))?;
        this.down.passed(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
