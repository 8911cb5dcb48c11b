//! One SFTP session on one channel: a task that runs batches through the engine on blocking threads, and a pump that
//! sends what could not be sent at once. Neither waits for the other except through [`Queue`] and [`Output`].

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::server::Msg;
use russh::{ChannelWriteHalf, Disconnect};
use tokio::sync::watch;

use super::config::Limits;
use super::connection::{Connection, Login};
use super::engine::{Engine, Pause, Verdicts};
use super::output::{Chunk, Output};
use super::queue::Queue;
use super::texts::{self, Parting};

/// After this long without a request a session gives back its buffers.
const SHRINK_AFTER: Duration = Duration::from_secs(2);
/// How long an engine's thread waits for the next request before it leaves.
const LINGER: Duration = Duration::from_millis(100);

/// What the parts of one SFTP channel share.
pub(crate) struct Channel {
    pub(crate) connection: Arc<Connection>,
    pub(crate) login: Arc<Login>,
    pub(crate) queue: Queue,
    pub(crate) output: Output,
    pub(crate) verdicts: Verdicts,
    /// This channel's share of what a drain waits for.
    load: AtomicUsize,
    /// The channel is closed: nothing of it is wanted any more.
    abandoned: watch::Sender<bool>,
}

impl Channel {
    pub(crate) fn new(connection: Arc<Connection>, login: Arc<Login>, to: ChannelWriteHalf<Msg>) -> Self {
        Self {
            queue: Queue::new(&connection.limits, connection.budget.clone()),
            output: Output::new(to, connection.limits.output_bytes_max),
            verdicts: Verdicts::default(),
            load: AtomicUsize::new(0),
            abandoned: watch::Sender::new(false),
            connection,
            login,
        }
    }

    /// The channel is closed; both tasks end.
    pub(crate) fn abandon(&self) {
        self.queue.end();
        self.abandoned.send_replace(true);
    }

    /// It is closed, by whichever side.
    pub(crate) fn is_over(&self) -> bool {
        *self.abandoned.borrow()
    }

    /// Waits until the channel or the connection is over.
    async fn over(&self) {
        let mut abandoned = self.abandoned.subscribe();
        tokio::select! {
            () = self.connection.over() => {}
            // The sender lives as long as `self`.
            _ = abandoned.wait_for(|abandoned| *abandoned) => {}
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.connection.limits
    }

    /// Says how much a drain has to wait for here.
    fn set_load(&self, load: usize) {
        let before = self.load.swap(load, Ordering::Relaxed);
        self.connection.set_busy(before, load);
    }

    fn count_sent(&self) {
        let sent = self.output.take_sent();
        if sent > 0 {
            self.connection.bytes_out.fetch_add(sent, Ordering::Relaxed);
            self.connection.touch();
        }
    }
}

/// Begins the session; both tasks end with the channel or the connection.
pub(crate) fn begin(channel: &Arc<Channel>) {
    let welcome = std::mem::take(&mut *channel.login.welcome.lock().unwrap_or_else(PoisonError::into_inner));
    for line in welcome {
        channel.output.push(Chunk::Stderr(Bytes::from(line + "\r\n")));
    }
    tokio::spawn(run(channel.clone()));
    tokio::spawn(pump(channel.clone()));
}

async fn run(channel: Arc<Channel>) {
    let mut engine = Some(Box::new(Engine::new(channel.clone())));
    let connection = channel.connection.clone();
    let over = channel.over();
    tokio::pin!(over);
    while let Some(working) = engine.take() {
        let channel_there = channel.clone();
        let worked = tokio::task::spawn_blocking(move || work(&channel_there, working));
        let Ok((worked, pause)) = worked.await else {
            tracing::error!(session = connection.id, "an SFTP session panicked");
            connection.close(Disconnect::ByApplication, &texts::INTERNAL);
            break;
        };
        engine = Some(worked);
        let go_on = match pause {
            Pause::Drained => {
                tokio::select! {
                    () = &mut over => false,
                    more = idle(&channel) => more,
                }
            }
            Pause::OutputFull => {
                channel.queue.set_stalled(true);
                let go_on = tokio::select! {
                    () = &mut over => false,
                    () = channel.output.drained() => true,
                };
                channel.queue.set_stalled(false);
                go_on
            }
            Pause::Verdict => tokio::select! {
                () = &mut over => false,
                () = channel.queue.input.notified() => true,
            },
            Pause::Broken(message) => {
                connection.close(Disconnect::ProtocolError, message);
                false
            }
        };
        if !go_on {
            break;
        }
    }
    channel.set_load(0);
    channel.output.end();
    // Whatever is still open is dropped, not closed; that may touch the disk.
    if let Some(engine) = engine {
        tokio::task::spawn_blocking(move || drop(engine));
    }
}

/// On a blocking thread: runs the engine while there is something to do, and a moment longer.
fn work(channel: &Channel, mut engine: Box<Engine>) -> (Box<Engine>, Pause) {
    loop {
        channel.set_load(engine.load() + 1);
        let pause = engine.run();
        channel.set_load(engine.load());
        channel.count_sent();
        if !matches!(pause, Pause::Drained) || channel.is_over() {
            return (engine, pause);
        }
        let Some(_place) = channel.connection.lingerers.enter() else { return (engine, pause) };
        if !channel.queue.linger(LINGER, || !channel.verdicts.is_empty()) {
            return (engine, pause);
        }
    }
}

/// How many threads may linger at once, so that idle hands never fill the pool of blocking threads.
#[derive(Debug, Default)]
pub(crate) struct Lingerers(AtomicUsize);

/// Few enough to leave most of the runtime's 512 blocking threads to work.
const LINGERERS_MAX: usize = 64;

pub(crate) struct LingererPlace<'a>(&'a Lingerers);

impl Lingerers {
    fn enter(&self) -> Option<LingererPlace<'_>> {
        let place = LingererPlace(self);
        (self.0.fetch_add(1, Ordering::Relaxed) < LINGERERS_MAX).then_some(place)
    }
}

impl Drop for LingererPlace<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits for something to do; false when the client has sent its last and all of it is done.
async fn idle(channel: &Channel) -> bool {
    let mut shrunk = false;
    loop {
        if !channel.verdicts.is_empty() || channel.queue.has_packets() {
            return true;
        }
        if channel.queue.is_ended() {
            return false;
        }
        if shrunk {
            channel.queue.input.notified().await;
        } else if tokio::time::timeout(SHRINK_AFTER, channel.queue.input.notified()).await.is_err() {
            channel.queue.shrink();
            channel.output.shrink();
            shrunk = true;
        }
    }
}

/// Says why the connection ends and closes the channel, over whatever was still to be sent. To be bounded in time: a client that
/// does not read keeps it waiting.
pub(crate) async fn part(channel: &Channel, why: &Parting) {
    channel.output.give_up();
    let to = channel.output.to();
    let line = why.line(channel.login.language) + "\r\n";
    let _ = to.extended_data_bytes(1, Bytes::from(line)).await;
    let _ = to.exit_status(1).await;
    let _ = to.eof().await;
    let _ = to.close().await;
    channel.abandon();
}

async fn pump(channel: Arc<Channel>) {
    tokio::select! {
        biased;
        () = channel.over() => {}
        () = send_all(&channel) => {
            // All is said; the client may be gone by now, which is as good.
            let to = channel.output.to();
            let _ = to.exit_status(0).await;
            let _ = to.eof().await;
            let _ = to.close().await;
            channel.abandon();
        }
    }
}

async fn send_all(channel: &Channel) {
    let stall = channel.limits().stall();
    while let Some((sending, length)) = channel.output.next().await {
        match tokio::time::timeout(stall, sending).await {
            Ok(Ok(())) => {}
            // russh has ended; the connection says so to everybody.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => {
                channel.connection.close(Disconnect::ByApplication, &texts::STALLED);
                return std::future::pending().await;
            }
        }
        channel.output.sent(length);
        channel.count_sent();
    }
}
