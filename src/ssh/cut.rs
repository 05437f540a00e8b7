//! A stream that can be cut from outside: russh runs a session in a task of its own that nothing else can end.
//!
//! **Invariant:** after the token is cancelled the stream reads as ended and cannot be written.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How much of the first words of the other side is kept: a line.
const HEARD_BYTES_MAX: usize = 128;

/// A stream and the token that ends it.
pub(crate) struct Cut<S> {
    stream: S,
    token: CancellationToken,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    heard: Arc<Mutex<Vec<u8>>>,
    heard_all: bool,
}

impl<S> Cut<S> {
    pub(crate) fn new(stream: S, token: CancellationToken) -> Self {
        Self {
            stream,
            cancelled: Box::pin(token.clone().cancelled_owned()),
            token,
            heard: Arc::default(),
            heard_all: false,
        }
    }

    /// The first bytes that were read from it.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.heard_all {
            let mut heard = self.heard.lock().expect("nobody panics while holding it");
            heard.extend(buf.filled()[before..].iter().take(HEARD_BYTES_MAX));
            let all = heard.len() >= HEARD_BYTES_MAX;
            drop(heard);
            self.heard_all = all;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.token.is_cancelled() || self.cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.token.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
