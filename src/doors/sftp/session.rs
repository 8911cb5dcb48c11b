//! One SFTP session on one channel: a task that runs batches through the engine on blocking threads, and a pump that
//! sends the output. Neither waits for the other except through [`Queue`] and [`Output`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::server::Msg;
use russh::{ChannelWriteHalf, Disconnect};

use tokio::sync::watch;

use super::config::Limits;
use super::connection::{Connection, Login};
use super::engine::{Engine, Pause, Verdicts};
use super::output::{Chunk, Output};
use super::queue::Queue;
use super::texts;

/// After this long without a request a session gives back its buffers.
const SHRINK_AFTER: Duration = Duration::from_secs(2);
/// The pump sends pieces of at most this size; one of them in the stall time is progress.
const SEND_BYTES: usize = 128 * 1024;

/// What the parts of one SFTP channel share.
pub(crate) struct Channel {
    pub(crate) connection: Arc<Connection>,
    pub(crate) login: Arc<Login>,
    pub(crate) queue: Queue,
    pub(crate) output: Output,
    pub(crate) verdicts: Verdicts,
    /// The client closed the channel: nothing of it is wanted any more.
    abandoned: watch::Sender<bool>,
}

impl Channel {
    pub(crate) fn new(connection: Arc<Connection>, login: Arc<Login>) -> Self {
        Self {
            queue: Queue::new(&connection.limits, connection.budget.clone()),
            output: Output::new(connection.limits.output_bytes_max),
            verdicts: Verdicts::default(),
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
}

/// Begins the session; both tasks end with the channel or the connection.
pub(crate) fn begin(channel: &Arc<Channel>, write_half: ChannelWriteHalf<Msg>) {
    tokio::spawn(run(channel.clone()));
    tokio::spawn(pump(channel.clone(), write_half));
}

async fn run(channel: Arc<Channel>) {
    let mut engine = Some(Box::new(Engine::new(channel.clone())));
    let mut load = 0;
    let connection = channel.connection.clone();
    let over = channel.over();
    tokio::pin!(over);
    while let Some(mut working) = engine.take() {
        connection.set_busy(load, load + 1);
        let worked = tokio::task::spawn_blocking(move || {
            let pause = working.run();
            (working, pause)
        });
        let Ok((worked, pause)) = worked.await else {
            tracing::error!(session = connection.id, "an SFTP session panicked");
            connection.set_busy(load + 1, 0);
            load = 0;
            let text = texts::INTERNAL.line(channel.login.language);
            connection.close(Disconnect::ByApplication, text);
            break;
        };
        connection.set_busy(load + 1, worked.load());
        load = worked.load();
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
                connection.close(Disconnect::ProtocolError, message.line(channel.login.language));
                false
            }
        };
        if !go_on {
            break;
        }
    }
    connection.set_busy(load, 0);
    channel.output.end();
    // Whatever is still open is dropped, not closed; that may touch the disk.
    if let Some(engine) = engine {
        tokio::task::spawn_blocking(move || drop(engine));
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
            shrunk = true;
        }
    }
}

async fn pump(channel: Arc<Channel>, write_half: ChannelWriteHalf<Msg>) {
    tokio::select! {
        () = channel.over() => {}
        () = send_all(&channel, &write_half) => {
            // All is said; the client may be gone by now, which is as good.
            let _ = write_half.exit_status(0).await;
            let _ = write_half.eof().await;
            let _ = write_half.close().await;
        }
    }
}

async fn send_all(channel: &Channel, write_half: &ChannelWriteHalf<Msg>) {
    let stall = channel.limits().stall();
    while let Some(chunk) = channel.output.next().await {
        let (mut rest, stderr) = match chunk {
            Chunk::Data(bytes) => (bytes, false),
            Chunk::Stderr(bytes) => (bytes, true),
        };
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(SEND_BYTES));
            let length = piece.len();
            let sending = async {
                if stderr {
                    write_half.extended_data_bytes(1, piece).await
                } else {
                    write_half.data_bytes(piece).await
                }
            };
            match tokio::time::timeout(stall, sending).await {
                Ok(Ok(())) => {}
                // russh has ended; the connection says so to everybody.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => {
                    let text = texts::STALLED.line(channel.login.language);
                    channel.connection.close(Disconnect::ByApplication, text);
                    return std::future::pending().await;
                }
            }
            channel.output.sent(length);
            channel.connection.bytes_out.fetch_add(length as u64, Ordering::Relaxed);
            channel.connection.touch();
        }
    }
}
