//! Replies on their way out. Counted in bytes; above the bound the engine pauses.
//!
//! Mostly the engine's own thread hands a piece to `russh` at once. What `russh` does not take, because the client's
//! window or russh's own queue is full, and all that follows it, is left to the pump, which may wait.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::server::Msg;
use tokio::sync::Notify;

/// Pieces are handed over in parts of at most this size; one of them in the stall time is progress.
const PART_BYTES: usize = 128 * 1024;
/// Buffers of sent replies that are kept for the next ones, and how large one of them may be.
const SPARES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// A part that `russh` is taking. Fails when `russh` is gone.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<(), russh::Error>> + Send>>;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// Replies.
    Data(Bytes),
    /// Words for the person, on the channel's stderr.
    Stderr(Bytes),
}

impl Chunk {
    fn len(&self) -> usize {
        match self {
            Self::Data(bytes) | Self::Stderr(bytes) => bytes.len(),
        }
    }

    /// Cuts off what goes in one part.
    fn part(&mut self) -> Self {
        match self {
            Self::Data(bytes) => Self::Data(bytes.split_to(bytes.len().min(PART_BYTES))),
            Self::Stderr(bytes) => Self::Stderr(bytes.split_to(bytes.len().min(PART_BYTES))),
        }
    }
}

/// The output of one channel.
pub(crate) struct Output {
    inner: Mutex<Inner>,
    to: Arc<ChannelWriteHalf<Msg>>,
    ready: Notify,
    room: Notify,
    max: usize,
    spares: Arc<Spares>,
}

#[derive(Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    /// Begun by the engine's thread, to be ended by the pump.
    begun: Option<(Sending, usize)>,
    /// The pump is sending something; whatever comes must queue behind it.
    pumping: bool,
    /// Not handed over yet.
    bytes: usize,
    sent: u64,
    ended: bool,
    /// Nothing is sent any more.
    given_up: bool,
}

impl Output {
    pub(crate) fn new(to: ChannelWriteHalf<Msg>, max: usize) -> Self {
        Self {
            inner: Mutex::default(),
            to: Arc::new(to),
            ready: Notify::new(),
            room: Notify::new(),
            max: max.max(1),
            spares: Arc::default(),
        }
    }

    /// Where the output goes.
    pub(crate) fn to(&self) -> &ChannelWriteHalf<Msg> {
        &self.to
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, part: Chunk) -> Sending {
        let to = self.to.clone();
        Box::pin(async move {
            match part {
                Chunk::Data(bytes) => to.data_bytes(bytes).await,
                Chunk::Stderr(bytes) => to.extended_data_bytes(1, bytes).await,
            }
        })
    }

    /// Sends, or queues behind what could not be sent yet; never refuses, so that a reply under way is never torn.
    /// Look at [`Output::is_full`] first.
    pub(crate) fn push(&self, mut chunk: Chunk) {
        let mut inner = self.lock();
        if inner.given_up {
            return;
        }
        if inner.chunks.is_empty() && inner.begun.is_none() && !inner.pumping {
            while chunk.len() > 0 {
                let part = chunk.part();
                let length = part.len();
                let mut sending = self.send(part);
                match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    // When russh is gone, so is everybody who would care.
                    Poll::Ready(_) => inner.sent += length as u64,
                    Poll::Pending => {
                        inner.bytes += length;
                        inner.begun = Some((sending, length));
                        break;
                    }
                }
            }
            if inner.begun.is_none() {
                return;
            }
        }
        if chunk.len() > 0 {
            inner.bytes += chunk.len();
            inner.chunks.push_back(chunk);
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// No more replies should be made for now, `more` being made already.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        self.lock().bytes + more >= self.max
    }

    /// Waits until half of the room is free again.
    pub(crate) async fn drained(&self) {
        while self.lock().bytes > self.max / 2 {
            self.room.notified().await;
        }
    }

    /// Nothing will be appended any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.ready.notify_one();
    }

    /// Nothing is sent any more, and what was not sent yet is forgotten.
    pub(crate) fn give_up(&self) {
        let mut inner = self.lock();
        inner.given_up = true;
        inner.chunks.clear();
        inner.begun = None;
    }

    /// The next part for the pump to send, with its size, or none after the end; to be followed by [`Output::sent`].
    pub(crate) async fn next(&self) -> Option<(Sending, usize)> {
        loop {
            {
                let mut inner = self.lock();
                inner.pumping = true;
                if let Some(begun) = inner.begun.take() {
                    return Some(begun);
                }
                if let Some(chunk) = inner.chunks.front_mut() {
                    let part = chunk.part();
                    if chunk.len() == 0 {
                        inner.chunks.pop_front();
                    }
                    let length = part.len();
                    return Some((self.send(part), length));
                }
                inner.pumping = false;
                if inner.ended {
                    return None;
                }
            }
            self.ready.notified().await;
        }
    }

    /// The part was taken.
    pub(crate) fn sent(&self, bytes: usize) {
        {
            let mut inner = self.lock();
            inner.sent += bytes as u64;
            inner.bytes = inner.bytes.saturating_sub(bytes);
            if inner.bytes > self.max / 2 {
                return;
            }
        }
        self.room.notify_one();
    }

    /// How many bytes were sent since this was last asked.
    pub(crate) fn take_sent(&self) -> u64 {
        std::mem::take(&mut self.lock().sent)
    }

    /// A buffer to build replies in.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.spares.lock().pop().unwrap_or_default()
    }

    /// The built replies, whose buffer comes back when they have gone.
    pub(crate) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        // Small ones are not worth the way back, and would fill the places of large ones.
        if bytes.capacity() < 16 * 1024 || bytes.capacity() > SPARE_BYTES_MAX {
            return Bytes::from(bytes);
        }
        Bytes::from_owner(Lent { bytes, home: Arc::downgrade(&self.spares) })
    }

    /// Gives back memory that an idle session does not need.
    pub(crate) fn shrink(&self) {
        *self.spares.lock() = Vec::new();
        let mut inner = self.lock();
        inner.chunks.shrink_to_fit();
    }
}

/// Buffers that may be used again.
#[derive(Default)]
struct Spares(Mutex<Vec<Vec<u8>>>);

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer on its way out.
struct Lent {
    bytes: Vec<u8>,
    home: Weak<Spares>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut spares = home.lock();
            if spares.len() < SPARES_MAX {
                let mut bytes = std::mem::take(&mut self.bytes);
                bytes.clear();
                spares.push(bytes);
            }
        }
    }
}
