//! The unencrypted connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::reply::TooMuch;

/// What a host may say over one unencrypted connection; 100 mails need about 20 KB.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// A connection that is read at most one line at a time, and not for ever.
///
/// The client above keeps what it has read ahead in a buffer that survives STARTTLS. Whoever sits between could append
/// answers to the go-ahead, and they would count as said under TLS ("250 taken", say). Read line by line, they are still
/// here when TLS begins, where they are no TLS record.
#[derive(Debug)]
pub(super) struct LineStream {
    inner: TcpStream,
    ahead: Vec<u8>,
    left: usize,
}

impl LineStream {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self { inner, ahead: Vec::new(), left: REPLY_BYTES_MAX }
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            let mut storage = [0; 4096];
            let mut buffer = ReadBuf::new(&mut storage);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer))?;
            let got = buffer.filled();
            let Some(left) = this.left.checked_sub(got.len()) else {
                return Poll::Ready(Err(io::Error::other(TooMuch)));
            };
            this.left = left;
            this.ahead.extend_from_slice(got);
        }
        let line = this.ahead.iter().position(|b| *b == b'\n').map_or(this.ahead.len(), |at| at + 1);
        let count = line.min(out.remaining());
        out.put_slice(&this.ahead[..count]);
        this.ahead.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}
