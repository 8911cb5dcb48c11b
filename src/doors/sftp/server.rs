//! Accepting connections, watching over them, and letting them go.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use russh::Disconnect;
use russh::keys::PrivateKey;
use russh::server::Config;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::config::{Limits, ssh_config};
use super::connection::{Connection, Farewell};
use super::handler::Handler;
use super::port::Gate;
use super::queue::Budget;
use super::session::{self, Lingerers};
use super::startups::Startups;
use super::stream::{Ahead, Stream};
use super::texts::{self, Parting};
use crate::model::ids::AccountId;
use crate::model::time::{Clock, Timestamp};

/// How long `accept` rests after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client has to take our last words and go: on its channels, then by a disconnect.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often a drain looks whether a session has come to rest.
const DRAIN_TICK: Duration = Duration::from_millis(50);

/// A session, for `todoke status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Unique in this process; the same as in logs.
    pub id: u64,
    /// Who; none before login.
    pub account: Option<AccountId>,
    /// From where.
    pub address: SocketAddr,
    /// Since when it is connected.
    pub since: Timestamp,
    /// Bytes of SFTP received.
    pub bytes_in: u64,
    /// Bytes of SFTP sent.
    pub bytes_out: u64,
    /// Open handles and requests at work.
    pub busy: usize,
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Sessions that came to rest and were ended.
    pub ended: usize,
    /// Sessions that were cut off at the deadline with transfers under way.
    pub cut: usize,
}

/// The running server. Dropping it stops nothing; see [`ServerHandle::drain`].
#[derive(Clone)]
pub struct ServerHandle(Arc<Server>);

struct Server {
    limits: Arc<Limits>,
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
    config: Mutex<Arc<Config>>,
    budget: Arc<Budget>,
    lingerers: Arc<Lingerers>,
    places: Arc<Semaphore>,
    startups: Arc<Startups<Weak<Connection>>>,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
    last_id: AtomicU64,
    stopping: watch::Sender<bool>,
}

/// Starts serving on these listeners, inside the current runtime, with these host keys.
pub fn start(
    listeners: Vec<TcpListener>,
    host_keys: Vec<PrivateKey>,
    limits: Limits,
    gate: Arc<dyn Gate>,
    clock: Arc<dyn Clock>,
) -> ServerHandle {
    let server = Arc::new(Server {
        gate,
        clock,
        config: Mutex::new(Arc::new(ssh_config(&limits, host_keys))),
        budget: Arc::default(),
        lingerers: Arc::default(),
        places: Arc::new(Semaphore::new(limits.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
        startups: Arc::new(Startups::new(limits.startups_max, limits.startups_per_source_max)),
        connections: Mutex::default(),
        last_id: AtomicU64::new(0),
        stopping: watch::Sender::new(false),
        limits: Arc::new(limits),
    });
    for listener in listeners {
        tokio::spawn(server.clone().accept(listener));
    }
    ServerHandle(server)
}

impl ServerHandle {
    /// Uses other host keys for connections to come.
    pub fn set_host_keys(&self, host_keys: Vec<PrivateKey>) {
        let config = Arc::new(ssh_config(&self.0.limits, host_keys));
        *self.0.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// All connections, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let mut sessions: Vec<_> = self.0.connections().values().map(|connection| info(connection)).collect();
        sessions.sort_by_key(|session| session.id);
        sessions
    }

    /// Connections that have not logged in yet.
    pub fn startups(&self) -> usize {
        self.0.startups.count()
    }

    /// Bytes of requests queued over all sessions.
    pub fn queued_bytes(&self) -> usize {
        self.0.budget.queued()
    }

    /// Ends one session with words; false when there is none of that number.
    pub fn end_session(&self, id: u64) -> bool {
        let connection = self.0.connections().get(&id).cloned();
        connection.is_some_and(|connection| {
            connection.close(Disconnect::ByApplication, &texts::STOPPING);
            true
        })
    }

    /// Stops accepting, lets transfers that are under way come to an end, at the latest after `grace` ends the rest,
    /// and returns when all connections are gone.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let deadline = Instant::now() + grace;
        self.0.stopping.send_replace(true);
        let mut drained = Drained::default();
        let mut told = std::collections::HashSet::new();
        loop {
            let late = Instant::now() >= deadline;
            let connections: Vec<_> = self.0.connections().values().cloned().collect();
            if connections.is_empty() {
                return drained;
            }
            for connection in connections {
                let busy = connection.busy() > 0;
                if (late || !busy) && told.insert(connection.id) {
                    if busy {
                        drained.cut += 1;
                    } else {
                        drained.ended += 1;
                    }
                    connection.close(Disconnect::ByApplication, &texts::STOPPING);
                }
            }
            sleep(DRAIN_TICK).await;
        }
    }
}

fn info(connection: &Connection) -> SessionInfo {
    SessionInfo {
        id: connection.id,
        account: connection.account.get().cloned(),
        address: connection.peer,
        since: connection.since,
        bytes_in: connection.bytes_in.load(Ordering::Relaxed),
        bytes_out: connection.bytes_out.load(Ordering::Relaxed),
        busy: connection.busy(),
    }
}

impl Server {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer),
                Err(error) => {
                    // Out of descriptors, or a connection that was reset in the queue: neither ends the server.
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            // Lines before the version string are allowed (RFC 4253 section 4.2) and shown by clients.
            let _ = stream.try_write(format!("{}\r\n", texts::LOGIN_CROWDED.both()).as_bytes());
            tracing::warn!(%peer, "all connections are taken");
            return;
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "connection went away");
            return;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection::new(
            id,
            peer,
            Stream(Arc::new(stream)),
            self.limits.clone(),
            self.budget.clone(),
            self.lingerers.clone(),
            self.clock.clone(),
        ));
        self.connections().insert(id, connection.clone());
        let displaced = self.startups.add(peer.ip(), id, Arc::downgrade(&connection));
        if let Some(displaced) = displaced.and_then(|displaced| displaced.upgrade()) {
            displaced.close(Disconnect::TooManyConnections, &texts::LOGIN_CROWDED);
        }
        let server = self.clone();
        tokio::spawn(async move {
            let _place = place;
            // However it ends, even by a panic, it is off the lists.
            let _listed = Listed { server: &server, connection: &connection };
            server.serve(&connection).await;
        });
    }

    /// Looks after one connection from its first byte to its last.
    async fn serve(&self, connection: &Arc<Connection>) {
        let grace = Instant::now() + Duration::from_secs(self.limits.login_grace_seconds.max(1));
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let handler = Handler::new(connection.clone(), self.gate.clone(), self.startups.clone());
        let begun = tokio::select! {
            begun = russh::server::run_stream(config, Ahead::of(connection.stream.clone()), handler) => begun,
            () = connection.over() => return connection.stream.cut(),
            () = sleep_until(grace) => return connection.stream.cut(),
        };
        let mut ssh = match begun {
            Ok(ssh) => ssh,
            Err(error) => {
                tracing::debug!(session = connection.id, peer = %connection.peer, %error, "no SSH");
                return;
            }
        };
        loop {
            let admitted = connection.account.get().is_some();
            let next = if admitted { connection.idle_at() } else { grace };
            tokio::select! {
                ended = &mut ssh => {
                    if let Err(error) = ended {
                        tracing::debug!(session = connection.id, peer = %connection.peer, %error, "ended");
                    }
                    return;
                }
                () = connection.over() => break,
                () = connection.admitted.notified() => continue,
                () = sleep_until(next) => {}
            }
            if connection.account.get().is_none() {
                let words =
                    connection.refusal.get().cloned().map_or((&texts::LOGIN_GRACE).into(), Parting::Line);
                connection.close(Disconnect::ByApplication, words);
            } else if connection.idle_at() <= Instant::now() {
                connection.close(Disconnect::ByApplication, &texts::IDLE);
            }
        }
        // russh takes a disconnect like any other message: not during a key exchange, and not while it cannot write.
        // So it is asked, given a moment, and then the socket is cut.
        if let Some(Farewell { reason, words }) = connection.farewell() {
            // OpenSSH shows of a disconnect what is ASCII, but all of stderr; and it goes by itself once its channel is closed.
            // A disconnect right behind would overtake what it has still to print.
            let channels = connection.readers();
            if !channels.is_empty() {
                let parting = async {
                    join_all(channels.iter().map(|channel| session::part(channel, &words))).await;
                    let _ = (&mut ssh).await;
                };
                if timeout(FAREWELL, parting).await.is_ok() {
                    return;
                }
            }
            let handle = ssh.handle();
            let _ = timeout(FAREWELL, handle.disconnect(reason, words.disconnect(), String::new())).await;
        }
        if timeout(FAREWELL, &mut ssh).await.is_err() {
            connection.stream.cut();
            if timeout(FAREWELL, ssh).await.is_err() {
                tracing::warn!(session = connection.id, "a connection does not end");
            }
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

/// A connection's places in the server's lists.
struct Listed<'a> {
    server: &'a Server,
    connection: &'a Connection,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.connection.ended();
        self.server.startups.remove(self.connection.peer.ip(), self.connection.id);
        self.server.connections().remove(&self.connection.id);
    }
}
