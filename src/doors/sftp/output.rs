//! Replies on their way out: the engine appends, the pump sends. Counted in bytes; above the bound the engine pauses.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

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
}

/// The output of one channel.
#[derive(Debug)]
pub(crate) struct Output {
    inner: Mutex<Inner>,
    ready: Notify,
    room: Notify,
    max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    ended: bool,
}

impl Output {
    pub(crate) fn new(max: usize) -> Self {
        Self { inner: Mutex::default(), ready: Notify::new(), room: Notify::new(), max: max.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends; never refuses, so that a reply under way is never torn. Look at [`Output::is_full`] first.
    pub(crate) fn push(&self, chunk: Chunk) {
        if chunk.len() == 0 {
            return;
        }
        {
            let mut inner = self.lock();
            inner.bytes += chunk.len();
            inner.chunks.push_back(chunk);
        }
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

    /// The next piece, or none after the end. It counts until [`Output::sent`].
    pub(crate) async fn next(&self) -> Option<Chunk> {
        loop {
            {
                let mut inner = self.lock();
                if let Some(chunk) = inner.chunks.pop_front() {
                    return Some(chunk);
                }
                if inner.ended {
                    return None;
                }
                inner.chunks.shrink_to(8);
            }
            self.ready.notified().await;
        }
    }

    /// So many bytes have gone.
    pub(crate) fn sent(&self, bytes: usize) {
        {
            let mut inner = self.lock();
            inner.bytes = inner.bytes.saturating_sub(bytes);
            if inner.bytes > self.max / 2 {
                return;
            }
        }
        self.room.notify_one();
    }
}
