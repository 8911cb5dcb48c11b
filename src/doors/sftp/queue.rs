//! What a client has sent and the engine has not taken: one buffer of bytes per channel, framed and counted as it
//! comes in. Bounded in bytes per channel and over all channels.
//!
//! `russh` calls the handler from the one task that also writes to the socket and that refills the client's window
//! on receipt (which it does not enforce either). So waiting here is the only way to slow a client down, and waiting
//! at the wrong time is a deadlock. The rule: wait only while the engine is at work on input, because that ends by
//! itself. While the engine stands still because its own output is not read, never wait: take what comes up to the
//! bound, and beyond it the client is sent away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::config::{Limits, PACKET_BYTES_MAX, QUEUE_BYTES_FLOOR};

/// Bytes queued over all channels of the server.
#[derive(Debug, Default)]
pub(crate) struct Budget(AtomicUsize);

impl Budget {
    pub(crate) fn queued(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What became of bytes that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// Queued.
    Taken,
    /// Not queued: full for now, and the engine is at work. Wait for [`Queue::room`] and try again.
    Full,
    /// Not queued: full, and the engine stands still. Disconnect.
    Flood,
    /// A packet is announced that is empty or over-long: nothing behind it can be trusted. Disconnect.
    Malformed,
}

/// What the engine is doing, as far as the queue must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Waiting for a whole packet.
    Idle,
    /// Has packets to work on, or works on them.
    Busy,
    /// Has packets but no room for replies.
    Stalled,
}

/// The queue of one channel.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// A whole packet, or the end, has come in.
    pub(crate) input: Notify,
    /// There may be room again.
    pub(crate) room: Notify,
    /// Wakes a thread in [`Queue::linger`].
    lingerer: Condvar,
    budget: Arc<Budget>,
    soft: usize,
    hard: usize,
    total: usize,
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    /// How many of `bytes` form whole packets.
    whole: usize,
    /// Bytes that the engine took and has not finished.
    taken: usize,
    /// The buffer of a finished batch, for reuse.
    spare: Vec<u8>,
    engine: Engine,
    lingering: bool,
    ended: bool,
}

impl Queue {
    pub(crate) fn new(limits: &Limits, budget: Arc<Budget>) -> Self {
        let soft = limits.queue_bytes_soft();
        Self {
            inner: Mutex::new(Inner {
                bytes: Vec::new(),
                whole: 0,
                taken: 0,
                spare: Vec::new(),
                engine: Engine::Idle,
                lingering: false,
                ended: false,
            }),
            input: Notify::new(),
            room: Notify::new(),
            lingerer: Condvar::new(),
            budget,
            soft,
            hard: limits.queue_bytes_max.max(soft),
            total: limits.queue_bytes_total_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues bytes as they come from the channel; packets may begin and end anywhere in them.
    pub(crate) fn push(&self, data: &[u8]) -> Pushed {
        let mut inner = self.lock();
        if inner.ended {
            return Pushed::Taken;
        }
        let own = inner.bytes.len() + inner.taken + data.len();
        let crowded = own > QUEUE_BYTES_FLOOR && self.budget.queued() + data.len() > self.total;
        if inner.engine == Engine::Busy && (own > self.soft || crowded) {
            return Pushed::Full;
        }
        if own > self.hard || crowded {
            return Pushed::Flood;
        }
        inner.bytes.extend_from_slice(data);
        self.budget.0.fetch_add(data.len(), Ordering::Relaxed);
        match frame(&inner.bytes, inner.whole) {
            None => return Pushed::Malformed,
            Some(whole) => inner.whole = whole,
        }
        if inner.whole > 0 && inner.engine == Engine::Idle {
            inner.engine = Engine::Busy;
            self.wake(inner);
        }
        Pushed::Taken
    }

    /// The client sends no more.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        self.wake(inner);
    }

    /// Something other than input needs the engine.
    pub(crate) fn nudge(&self) {
        let inner = self.lock();
        self.wake(inner);
    }

    fn wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let lingering = std::mem::take(&mut inner.lingering);
        drop(inner);
        if lingering {
            self.lingerer.notify_one();
        } else {
            self.input.notify_one();
        }
    }

    /// Blocks the engine's thread for a moment in case there is more to do at once: true when there is. Requests that
    /// follow each other one by one then cost one wake-up each and not a way through the runtime. `nudged` says whether
    /// something that [`Queue::nudge`] tells of is there already.
    pub(crate) fn linger(&self, at_most: Duration, nudged: impl FnOnce() -> bool) -> bool {
        let mut inner = self.lock();
        if inner.whole > 0 || nudged() {
            return true;
        }
        if inner.ended {
            return false;
        }
        inner.lingering = true;
        let waited = self.lingerer.wait_timeout_while(inner, at_most, |inner| inner.lingering);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // Still set: nobody came.
        !std::mem::take(&mut inner.lingering)
    }

    /// The client sends no more, and all that it sent was taken.
    pub(crate) fn is_ended(&self) -> bool {
        let inner = self.lock();
        inner.ended && inner.whole == 0
    }

    /// There is a whole packet.
    pub(crate) fn has_packets(&self) -> bool {
        self.lock().whole > 0
    }

    /// All whole packets there are; none leaves the engine idle.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        let mut inner = self.lock();
        if inner.whole == 0 {
            inner.engine = Engine::Idle;
            return None;
        }
        inner.engine = Engine::Busy;
        let mut rest = std::mem::take(&mut inner.spare);
        rest.clear();
        rest.extend_from_slice(&inner.bytes[inner.whole..]);
        let whole = std::mem::take(&mut inner.whole);
        inner.bytes.truncate(whole);
        inner.taken += whole;
        let batch = std::mem::replace(&mut inner.bytes, rest);
        drop(inner);
        Some(batch)
    }

    /// So many of the taken bytes are done with.
    pub(crate) fn finished(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        {
            let mut inner = self.lock();
            inner.taken = inner.taken.saturating_sub(bytes);
        }
        self.budget.0.fetch_sub(bytes, Ordering::Relaxed);
        self.room.notify_one();
    }

    /// Keeps the buffer of a finished batch for the next one.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        let mut inner = self.lock();
        if buffer.capacity() > inner.spare.capacity() && buffer.capacity() <= self.soft {
            inner.spare = buffer;
        }
    }

    /// Gives back memory that an idle session does not need.
    pub(crate) fn shrink(&self) {
        let mut inner = self.lock();
        inner.spare = Vec::new();
        inner.bytes.shrink_to_fit();
    }

    /// Says that the engine stands still, or goes on; either may concern whoever waits for room.
    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.lock().engine = if stalled { Engine::Stalled } else { Engine::Busy };
        self.room.notify_one();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.0.fetch_sub(inner.bytes.len() + inner.taken, Ordering::Relaxed);
    }
}

/// Where the last whole packet of `bytes` ends, `whole` being known already. `None`: a packet is empty or over-long.
fn frame(bytes: &[u8], mut whole: usize) -> Option<usize> {
    while let Some((length, rest)) = bytes[whole..].split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > PACKET_BYTES_MAX {
            return None;
        }
        if rest.len() < length {
            break;
        }
        whole += 4 + length;
    }
    Some(whole)
}

/// The packets of a batch made by [`Queue::take`]: the content of the one at `at`, and where the next begins.
pub(crate) fn packet_at(batch: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (length, rest) = batch.get(at..)?.split_first_chunk()?;
    let length = u32::from_be_bytes(*length) as usize;
    Some((rest.get(..length)?, at + 4 + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn queue(limits: &Limits) -> Queue {
        Queue::new(limits, Arc::default())
    }

    fn packet(length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.resize(4 + length, 7);
        bytes
    }

    #[test]
    fn empty_and_over_long_packets_are_caught_before_they_are_stored() {
        assert_eq!(queue(&Limits::default()).push(&[0, 0, 0, 0]), Pushed::Malformed);
        assert_eq!(queue(&Limits::default()).push(&[0, 4, 0, 1]), Pushed::Malformed);
        assert_eq!(queue(&Limits::default()).push(&[0xff; 4]), Pushed::Malformed);
        assert_eq!(queue(&Limits::default()).push(&[0, 4, 0, 0]), Pushed::Taken);
    }

    #[test]
    fn a_busy_engine_makes_the_client_wait_and_a_stalled_one_sends_it_away() {
        let limits = Limits { queue_bytes_max: 4 << 20, ..Limits::default() };
        let queue = queue(&limits);
        let piece = packet(PACKET_BYTES_MAX);
        let mut sent = 0;
        while queue.push(&piece) == Pushed::Taken {
            sent += piece.len();
        }
        assert_eq!(queue.push(&piece), Pushed::Full);
        assert!(sent <= limits.queue_bytes_soft());
        queue.set_stalled(true);
        while queue.push(&piece) == Pushed::Taken {
            sent += piece.len();
        }
        assert_eq!(queue.push(&piece), Pushed::Flood);
        assert!(sent <= limits.queue_bytes_max && sent > limits.queue_bytes_max / 2);
    }

    #[test]
    fn the_total_is_bounded_but_everyone_may_hold_a_packet() {
        let limits = Limits { queue_bytes_total_max: 1 << 20, ..Limits::default() };
        let budget = Arc::new(Budget::default());
        let one = Queue::new(&limits, budget.clone());
        let other = Queue::new(&limits, budget.clone());
        let piece = packet(PACKET_BYTES_MAX);
        while one.push(&piece) == Pushed::Taken {}
        assert!(budget.queued() <= limits.queue_bytes_total_max);
        assert_eq!(other.push(&piece), Pushed::Taken);
        assert_eq!(other.push(&piece), Pushed::Taken);
        assert_eq!(other.push(&piece), Pushed::Full);
        let batch = other.take().unwrap();
        other.finished(batch.len());
        assert_eq!(other.push(&piece), Pushed::Taken);
        drop(one);
        drop(other);
        assert_eq!(budget.queued(), 0);
    }

    proptest! {
        /// However the bytes are cut, the packets that come out are those that went in.
        #[test]
        fn framing_does_not_depend_on_the_cuts(
            lengths in proptest::collection::vec(1usize..3000, 1..20),
            cuts in proptest::collection::vec(1usize..4000, 1..40),
        ) {
            let queue = queue(&Limits::default());
            let stream: Vec<u8> = lengths.iter().flat_map(|length| packet(*length)).collect();
            let mut rest = stream.as_slice();
            let mut cuts = cuts.iter().cycle();
            let mut got = Vec::new();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                prop_assert_eq!(queue.push(head), Pushed::Taken);
                rest = tail;
                if let Some(batch) = queue.take() {
                    let mut at = 0;
                    while let Some((content, next)) = packet_at(&batch, at) {
                        got.push(content.len());
                        at = next;
                    }
                    prop_assert_eq!(at, batch.len());
                    queue.finished(batch.len());
                    queue.recycle(batch);
                }
            }
            prop_assert_eq!(got, lengths);
            prop_assert_eq!(queue.budget.queued(), 0);
        }
    }
}
