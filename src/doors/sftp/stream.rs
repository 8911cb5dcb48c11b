//! The socket under a connection, shared so that the server can cut it whatever `russh` is waiting for.

use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One side's hold on a socket.
#[derive(Debug, Clone)]
pub(crate) struct Stream(pub(crate) Arc<TcpStream>);

impl Stream {
    /// Ends the connection now: reads see its end, writes fail.
    pub(crate) fn cut(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Both);
    }
}

/// After a read of at least so many bytes only the next packet's beginning is read ahead: more would be copied twice.
const LARGE_BYTES: usize = 8 * 1024;
/// Holds a packet's length and the first block, whatever the cipher.
const BEGINNING_BYTES: usize = 64;
/// After a smaller read: some small packets.
const AHEAD_BYTES: usize = 4 * 1024;

/// A socket as `russh` reads it, which asks for a packet's first few bytes and then for the rest: what lies behind the rest
/// comes with it, so that each packet costs one system call and not two.
#[derive(Debug)]
pub(crate) struct Ahead {
    stream: Stream,
    /// Read and not asked for yet, from `at` on. Takes no room while nothing comes.
    bytes: Vec<u8>,
    at: usize,
}

impl Ahead {
    pub(crate) fn of(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new(), at: 0 }
    }

    /// Gives what was read ahead; false when nothing was.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let given = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..given]);
        self.at += given;
        given > 0
    }
}

impl AsyncRead for Ahead {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.give(buf) {
            return Poll::Ready(Ok(()));
        }
        this.bytes.clear();
        this.at = 0;
        loop {
            if this.stream.0.poll_read_ready(cx)?.is_pending() {
                this.bytes = Vec::new();
                return Poll::Pending;
            }
            let asked = buf.initialize_unfilled();
            this.bytes.resize(if asked.len() >= LARGE_BYTES { BEGINNING_BYTES } else { AHEAD_BYTES }, 0);
            let wanted = asked.len();
            let parts = &mut [IoSliceMut::new(asked), IoSliceMut::new(&mut this.bytes)];
            let read = this.stream.0.try_read_vectored(parts);
            this.bytes.truncate(read.as_ref().map_or(0, |read| read.saturating_sub(wanted)));
            match read {
                Ok(read) => {
                    buf.advance(read.min(wanted));
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.0.poll_write_ready(cx))?;
            match self.stream.0.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match rustix::net::shutdown(&*self.stream.0, rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn whatever_is_asked_for_the_bytes_are_the_same() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (here, _) = listener.accept().await.unwrap();
        let mut ahead = Ahead::of(Stream(Arc::new(here)));
        let sent: Vec<u8> =
            (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let bytes = sent.clone();
        let sending = tokio::spawn(async move {
            for piece in bytes.chunks(100_003) {
                there.write_all(piece).await.unwrap();
            }
            // A reply, which the reader sends in between.
            let mut reply = [0; 5];
            there.read_exact(&mut reply).await.unwrap();
            assert_eq!(&reply, b"hello");
            there.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        for (at, size) in [4, 16, 1, 32_000, 64, 5_000, 9_000, 0, 2_000, 300_000].iter().cycle().enumerate() {
            let mut piece = vec![0; (*size).min(sent.len() - got.len())];
            ahead.read_exact(&mut piece).await.unwrap();
            got.extend_from_slice(&piece);
            if at == 7 {
                ahead.write_all(b"hello").await.unwrap();
            }
            if got.len() == sent.len() {
                break;
            }
        }
        assert!(got == sent);
        let mut rest = [0; 10];
        assert_eq!(ahead.read(&mut rest).await.unwrap(), 0);
        sending.await.unwrap();
    }
}
