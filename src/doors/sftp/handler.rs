//! The callbacks of `russh` for one connection: who may log in, which channels there are, where bytes go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use russh::keys::Certificate;
use russh::keys::ssh_key::{Algorithm, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Pty, Sig};
use tokio::time::sleep;

use super::config::ACCOUNT_BYTES_MAX;
use super::connection::{Connection, Login, WeakLink};
use super::engine::one_line;
use super::port::{Admission, Credential, Fault, Gate};
use super::queue::Pushed;
use super::session::{self, Channel};
use super::startups::Startups;
use super::texts;

/// Requests of any kind in one login, per refused one that is allowed: probes that are answered with "yes" cost too.
const REQUESTS_PER_ATTEMPT: usize = 4;

/// Channels that one connection may open one after the other: russh keeps a little of each that we close first.
const CHANNELS_EVER_MAX: usize = 10_000;

/// How long a client that was not admitted has to read why and to go by itself.
const REFUSAL_LINGER: Duration = Duration::from_secs(3);

/// A channel of this connection.
enum Slot {
    /// Opened; nothing was requested on it yet.
    Fresh(ChannelWriteHalf<Msg>),
    /// Speaks SFTP.
    Sftp(Arc<Channel>),
    /// Was told why not; true when it is closed.
    Refused(Arc<AtomicBool>),
}

impl Slot {
    /// Closed by us. russh does not tell when the client answers that.
    fn is_over(&self) -> bool {
        match self {
            Self::Fresh(_) => false,
            Self::Sftp(channel) => channel.is_over(),
            Self::Refused(over) => over.load(Ordering::Relaxed),
        }
    }
}

/// The handler of one connection. Nothing about a login is kept between its requests: the user name may change.
pub(crate) struct Handler {
    connection: Arc<Connection>,
    gate: Arc<dyn Gate>,
    startups: Arc<Startups<Weak<Connection>>>,
    requests: usize,
    login: Option<Arc<Login>>,
    slots: HashMap<ChannelId, Slot>,
    opened: usize,
}

impl Handler {
    pub(crate) fn new(
        connection: Arc<Connection>,
        gate: Arc<dyn Gate>,
        startups: Arc<Startups<Weak<Connection>>>,
    ) -> Self {
        Self { connection, gate, startups, requests: 0, login: None, slots: HashMap::new(), opened: 0 }
    }

    /// Counts a request of the login; false when there were too many.
    fn count(&mut self) -> bool {
        self.requests += 1;
        let most = self.connection.limits.auth_attempts_max.max(1).saturating_mul(REQUESTS_PER_ATTEMPT);
        if self.requests > most {
            self.connection.close(Disconnect::NoMoreAuthMethodsAvailable, texts::LOGIN_ATTEMPTS.both());
        }
        self.requests <= most
    }

    /// Asks the gate about an offered key, on a thread where it may block.
    async fn may_offer(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> bool {
        if is_sha1(algorithm) || !is_account(user) || !self.connection.is_open() {
            return false;
        }
        let (gate, peer) = (self.gate.clone(), self.connection.peer);
        let (user, key) = (user.to_owned(), key.clone());
        tokio::task::spawn_blocking(move || gate.may_offer(&user, &key, peer)).await.unwrap_or(false)
    }

    /// Asks the gate about a credential whose possession was proven.
    async fn may_enter(&self, user: &str, credential: &Credential) -> Admission {
        if !is_account(user) || !self.connection.is_open() {
            return Admission::Refused;
        }
        let (gate, peer) = (self.gate.clone(), self.connection.peer);
        let (user, credential) = (user.to_owned(), credential.clone());
        let asked = tokio::task::spawn_blocking(move || gate.may_enter(&user, &credential, peer));
        asked.await.unwrap_or(Admission::Refused)
    }

    /// Lets in whoever proved a credential, or tells why not.
    async fn proven(&mut self, user: &str, credential: Credential) -> Auth {
        match self.may_enter(user, &credential).await {
            Admission::Welcome => {
                self.enter(user, credential).await;
                Auth::Accept
            }
            Admission::Told(fault) => {
                self.not_admitted(one_line(&fault));
                Auth::Accept
            }
            Admission::Refused => Auth::reject(),
        }
    }

    /// Begins the session of someone who proved a credential.
    async fn enter(&mut self, user: &str, credential: Credential) {
        let (gate, connection) = (self.gate.clone(), self.connection.clone());
        let user = user.to_owned();
        let begun = tokio::task::spawn_blocking(move || -> Result<Login, Fault> {
            let link = Arc::new(WeakLink(Arc::downgrade(&connection)));
            let entered = gate.enter(&user, &credential, connection.peer, connection.id, link)?;
            let language = entered.tree.language();
            Ok(Login { account: entered.account, tree: entered.tree, language, guard: entered.guard })
        });
        match begun.await {
            Ok(Ok(login)) => {
                // Only one login succeeds in one connection.
                let _ = self.connection.account.set(login.account.clone());
                self.login = Some(Arc::new(login));
                self.connection.touch();
                self.connection.admitted.notify_one();
                self.startups.remove(self.connection.peer.ip(), self.connection.id);
            }
            Ok(Err(fault)) => self.not_admitted(one_line(&fault)),
            Err(_) => self.not_admitted(texts::INTERNAL.both()),
        }
    }

    /// Authentication succeeds all the same: only on a channel can words reach everybody's eyes. The connection keeps
    /// counting as one that has not logged in.
    fn not_admitted(&self, line: String) {
        tracing::info!(session = self.connection.id, peer = %self.connection.peer, line, "login not admitted");
        // Only one login succeeds in one connection.
        let _ = self.connection.refusal.set(line);
    }

    /// Says a line on the channel's stderr and ends it with exit status 1.
    fn refuse(&mut self, id: ChannelId, line: String) {
        let over = Arc::new(AtomicBool::new(false));
        let slot = Slot::Refused(over.clone());
        let Some(Slot::Fresh(write_half)) = self.slots.insert(id, slot) else { return };
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let said = async {
                let _ = write_half.extended_data_bytes(1, Bytes::from(line + "\r\n")).await;
                let _ = write_half.exit_status(1).await;
                let _ = write_half.eof().await;
                let _ = write_half.close().await;
                over.store(true, Ordering::Relaxed);
                if let Some(line) = connection.refusal.get() {
                    sleep(REFUSAL_LINGER).await;
                    connection.close(Disconnect::ByApplication, line.clone());
                }
            };
            tokio::select! {
                () = connection.over() => {}
                () = said => {}
            }
        });
    }

    fn is_fresh(&self, id: ChannelId) -> bool {
        matches!(self.slots.get(&id), Some(Slot::Fresh(_)))
    }

    /// `exec` and `shell`: accepted only to be told that there is none.
    fn no_shell(&mut self, id: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if !self.is_fresh(id) {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let line = self.connection.refusal.get().cloned().unwrap_or_else(|| texts::SFTP_ONLY.both());
        self.refuse(id, line);
        Ok(())
    }
}

/// The same RSA key may be used with SHA-1; that is refused whatever the gate thinks of the key.
fn is_sha1(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { hash: None })
}

/// A name that the gate may be asked about.
fn is_account(user: &str) -> bool {
    !user.is_empty() && user.len() <= ACCOUNT_BYTES_MAX && !user.chars().any(char::is_control)
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        self.count();
        Ok(Auth::reject())
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, Self::Error> {
        self.count();
        Ok(Auth::reject())
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.count() && self.may_offer(user, offer.public_key, offer.algorithm).await {
            return Ok(Auth::Accept);
        }
        Ok(Auth::reject())
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        // The offer was judged for this key and algorithm; a client may leave it out.
        if !self.count() || is_sha1(key.algorithm) {
            return Ok(Auth::reject());
        }
        Ok(self.proven(user, Credential::Key(key.public_key.clone())).await)
    }

    /// `russh` has checked the certificate's own signature, its period and that the client holds the key, and nothing else;
    /// one whose period is over it refuses before anybody is asked. (The probe before it was answered for the bare key inside.)
    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        if !self.count() {
            return Ok(Auth::reject());
        }
        Ok(self.proven(user, Credential::Certificate(Box::new(certificate.clone()))).await)
    }

    async fn channel_open_session(
        &mut self,
        channel: russh::Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.slots.retain(|_, slot| !slot.is_over());
        self.opened += 1;
        if self.opened > CHANNELS_EVER_MAX || self.slots.len() >= self.connection.limits.channels_max.max(1) {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        // Dropping the receiving half makes russh's own bounded channel, which nobody would read, fail at once
        // instead of blocking the connection; bytes come by `data`.
        let id = channel.id();
        let (_, write_half) = channel.split();
        self.slots.insert(id, Slot::Fresh(write_half));
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name != "sftp" || !self.is_fresh(id) {
            return session.channel_failure(id);
        }
        session.channel_success(id)?;
        let Some(login) = self.login.clone() else {
            let line = self.connection.refusal.get().cloned().unwrap_or_default();
            self.refuse(id, line);
            return Ok(());
        };
        if let Some(Slot::Fresh(write_half)) = self.slots.remove(&id) {
            let channel = Arc::new(Channel::new(self.connection.clone(), login, write_half));
            session::begin(&channel);
            self.slots.insert(id, Slot::Sftp(channel));
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        let Some(Slot::Sftp(channel)) = self.slots.get(&id) else { return Ok(()) };
        self.connection.bytes_in.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.connection.touch();
        while self.connection.is_open() {
            let (reason, message) = match channel.queue.push(data) {
                Pushed::Taken => return Ok(()),
                Pushed::Full => {
                    tokio::select! {
                        () = channel.queue.room.notified() => {}
                        () = self.connection.over() => {}
                    }
                    continue;
                }
                Pushed::Flood => (Disconnect::ByApplication, &texts::FLOOD),
                Pushed::Malformed => (Disconnect::ProtocolError, &texts::BAD_PACKET),
            };
            self.connection.close(reason, message.line(channel.login.language));
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        if let Some(Slot::Sftp(channel)) = self.slots.get(&id) {
            channel.queue.end();
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        if let Some(Slot::Sftp(channel)) = self.slots.remove(&id) {
            channel.abandon();
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.no_shell(id, session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.no_shell(id, session)
    }

    // The rest is refused with an answer, so that clients that ask for one do not wait for it.

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn signal(&mut self, id: ChannelId, _: Sig, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.connection.ended();
        // Ending a session may touch the disk.
        if let (Some(login), Ok(runtime)) = (self.login.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(login));
        }
    }
}
