//! The callbacks of `russh` for one connection: who may log in, which channels there are, where bytes go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use russh::keys::Certificate;
use russh::keys::ssh_key::{Algorithm, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey};
use russh::{ChannelId, ChannelOpenFailure, ChannelWriteHalf, Disconnect, Pty, Sig};
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::config::ACCOUNT_BYTES_MAX;
use super::connection::{Connection, Login, WeakLink};
use super::engine::one_line;
use super::enrol::Enrolled;
use super::factors::{self, Ask, Factors, First, Step};
use super::port::{Admission, Credential, Fault, Gate, PasswordAnswer, Second};
use super::queue::Pushed;
use super::session::{self, Channel};
use super::startups::Startups;
use super::texts;
use crate::model::ids::ApplicationId;

/// Requests of any kind in one login, per refused one that is allowed: probes that are answered with "yes" cost too.
const REQUESTS_PER_ATTEMPT: usize = 4;

/// Channels that one connection may open one after the other: russh keeps a little of each that we close first.
const CHANNELS_EVER_MAX: usize = 10_000;

/// Answers that a client may give at once: old password, new one, and again.
const ANSWERS_MAX: usize = 3;

/// How long a client that was not admitted has to read why and to go by itself.
const REFUSAL_LINGER: Duration = Duration::from_secs(3);

/// What is said after the first of two factors waits so long: paramiko's `ServiceRequestingTransport` (its other one cannot show
/// two factors here, since it asks for the service anew before each) begins to listen only after it has sent its request, and
/// a faster answer is lost to it.
const SECOND_PAUSE: Duration = Duration::from_millis(100);

/// How `FileZilla` calls itself.
const FILEZILLA: &[u8] = b"SSH-2.0-FileZilla";

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

/// The handler of one connection. What is kept of a login between its requests belongs to one user name ([`Factors`]).
pub(crate) struct Handler {
    connection: Arc<Connection>,
    gate: Arc<dyn Gate>,
    startups: Arc<Startups<Weak<Connection>>>,
    requests: usize,
    factors: Factors,
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
        Self {
            connection,
            gate,
            startups,
            requests: 0,
            factors: Factors::default(),
            login: None,
            slots: HashMap::new(),
            opened: 0,
        }
    }

    /// Counts a request of the login; false when there were too many.
    fn count(&mut self) -> bool {
        self.requests += 1;
        let most = self.connection.limits.auth_attempts_max.max(1).saturating_mul(REQUESTS_PER_ATTEMPT);
        if self.requests > most {
            self.connection.close(Disconnect::NoMoreAuthMethodsAvailable, &texts::LOGIN_ATTEMPTS);
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

    /// Asks the gate something on a thread where it may block; none when it panicked.
    async fn ask<T: Send + 'static>(
        &self,
        what: impl FnOnce(&dyn Gate, SocketAddr) -> T + Send + 'static,
    ) -> Option<T> {
        let (gate, peer) = (self.gate.clone(), self.connection.peer);
        tokio::task::spawn_blocking(move || what(gate.as_ref(), peer)).await.ok()
    }

    /// Somebody proved a key or certificate: lets them in, asks for the second factor, or tells why not.
    async fn proven(&mut self, user: &str, credential: Credential) -> Auth {
        match self.may_enter(user, &credential).await {
            Admission::Welcome => {}
            Admission::Told(fault) => {
                self.not_admitted(one_line(&fault));
                return Auth::Accept;
            }
            Admission::Refused => return refused(user),
        }
        let (name, of) = (user.to_owned(), credential.clone());
        let second = self.ask(move |gate, peer| gate.after_key(&name, &of, peer)).await;
        if !matches!(second, Some(Second::Enough)) {
            sleep(SECOND_PAUSE).await;
        }
        match second {
            Some(Second::Enough) => self.enter(user, &credential, false).await,
            Some(Second::Password(language)) => {
                return self.factors.shown(First { user: user.to_owned(), credential, language });
            }
            Some(Second::Refused(fault)) => self.not_admitted(one_line(&fault)),
            None => self.not_admitted(texts::INTERNAL.both()),
        }
        Auth::Accept
    }

    /// A password for somebody whose key is proven; `Err` says what was wrong with it.
    async fn answer(&mut self, first: First, ask: Ask) -> Result<Auth, PasswordWrong> {
        let given = match &ask {
            Ask::Password(given) => given.clone(),
            Ask::Change { old, .. } => old.clone(),
        };
        let (user, credential) = (first.user.clone(), first.credential.clone());
        let answer = self.ask(move |gate, peer| match &ask {
            Ask::Password(given) => gate.password(&user, &credential, given, peer),
            Ask::Change { old, new } => gate.change_password(&user, &credential, old, new, peer),
        });
        match answer.await {
            Some(PasswordAnswer::Right) => self.enter(&first.user, &first.credential, true).await,
            Some(PasswordAnswer::MustChange(why)) => {
                if let Some(auth) = self.factors.must_change(&first, given, &why) {
                    return Ok(auth);
                }
                self.not_admitted(factors::change_needed(first.language, &why));
            }
            Some(PasswordAnswer::Wrong(why)) => return Err(PasswordWrong(first, one_line(&why))),
            Some(PasswordAnswer::Refused(fault)) => self.not_admitted(one_line(&fault)),
            None => self.not_admitted(texts::INTERNAL.both()),
        }
        Ok(Auth::Accept)
    }

    /// A password of an enrolment login, which needs no key.
    async fn enrolment(&mut self, user: &str, given: &str) -> Auth {
        let (name, given) = (user.to_owned(), Zeroizing::new(given.to_owned()));
        match self.ask(move |gate, peer| gate.enrolment(&name, &given, peer)).await {
            Some(Enrolled::In(entered)) => {
                self.admit(Login::of(entered));
                Auth::Accept
            }
            Some(Enrolled::Busy) => {
                self.not_admitted(texts::BUSY.both());
                Auth::Accept
            }
            Some(Enrolled::Refused(fault)) => {
                self.not_admitted(one_line(&fault));
                Auth::Accept
            }
            Some(Enrolled::Wrong | Enrolled::Not) | None => {
                let name = user.to_owned();
                self.ask(move |gate, peer| gate.password_without_key(&name, peer)).await;
                factors::enrolment()
            }
        }
    }

    /// The session begins.
    fn admit(&mut self, login: Login) {
        // Only one login succeeds in one connection.
        let _ = self.connection.account.set(login.account.clone());
        self.login = Some(Arc::new(login));
        self.connection.touch();
        self.connection.admitted.notify_one();
        self.startups.remove(self.connection.peer.ip(), self.connection.id);
    }

    /// Without the first factor, a password is refused unseen.
    async fn key_first(&mut self, user: &str) -> Auth {
        if is_account(user) && self.connection.is_open() {
            let user = user.to_owned();
            self.ask(move |gate, peer| gate.password_without_key(&user, peer)).await;
        }
        factors::key_first()
    }

    /// Begins the session of someone who showed all that is asked for.
    async fn enter(&mut self, user: &str, credential: &Credential, with_password: bool) {
        let (gate, connection) = (self.gate.clone(), self.connection.clone());
        let (user, credential) = (user.to_owned(), credential.clone());
        let begun = tokio::task::spawn_blocking(move || -> Result<Login, Fault> {
            let link = Arc::new(WeakLink(Arc::downgrade(&connection)));
            let entered =
                gate.enter(&user, &credential, with_password, connection.peer, connection.id, link)?;
            Ok(Login::of(entered))
        });
        match begun.await {
            Ok(Ok(login)) => self.admit(login),
            Ok(Err(fault)) => self.not_admitted(one_line(&fault)),
            Err(_) => self.not_admitted(texts::INTERNAL.both()),
        }
    }

    /// Says what was wrong with a password and asks again; too many times, and the dialogue is over.
    fn wrong(&mut self, first: &First, why: String) -> Auth {
        let new = self.factors.asks_for_new();
        if let Some(auth) = self.factors.again(first, why.clone()) {
            return auth;
        }
        if !new {
            return factors::password_next();
        }
        // The old one was right: this is not a guess, and the words are worth more than another round.
        self.not_admitted(why);
        Auth::Accept
    }

    /// Authentication succeeds all the same: only on a channel can words reach everybody's eyes. The connection keeps
    /// counting as one that has not logged in.
    fn not_admitted(&self, line: String) {
        tracing::info!(session = self.connection.id, peer = %self.connection.peer, line, "login not admitted");
        // Only one login succeeds in one connection.
        let _ = self.connection.refusal.set(line);
    }

    /// Says a line on the channel's stderr and ends it with exit status 1. `client` is what it calls itself: `FileZilla` shows
    /// nothing of stderr and gives up when the channel ends, but shows the words of a disconnect.
    fn refuse(&mut self, id: ChannelId, line: String, client: &[u8]) {
        let by_disconnect = client.starts_with(FILEZILLA);
        let over = Arc::new(AtomicBool::new(false));
        let slot = Slot::Refused(over.clone());
        let Some(Slot::Fresh(write_half)) = self.slots.insert(id, slot) else { return };
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let said = async {
                let _ = write_half.extended_data_bytes(1, Bytes::from(line + "\r\n")).await;
                let _ = write_half.exit_status(1).await;
                if let Some(line) = connection.refusal.get().filter(|_| by_disconnect) {
                    connection.close(Disconnect::ByApplication, line.clone());
                    return;
                }
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
        self.refuse(id, line, session.remote_sshid());
        Ok(())
    }
}

/// A password that was not taken, whose it was to be, and why.
struct PasswordWrong(First, String);

/// What somebody typed. Bytes that are no UTF-8 are no password, and stay wrong.
fn text(answer: &Bytes) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(answer).into_owned())
}

/// The name of an enrolment login.
fn is_enrolment(user: &str) -> bool {
    ApplicationId::parse(user).is_ok()
}

/// What may go on after nothing, or after a key that is not let in.
fn refused(user: &str) -> Auth {
    if is_enrolment(user) { factors::enrolment() } else { factors::key_first() }
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

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        self.count();
        Ok(if self.factors.first(user).is_some() { factors::password_next() } else { refused(user) })
    }

    /// `russh` answers a request to change the password (RFC 4252 section 8) by itself, with no; keyboard-interactive does
    /// that here.
    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        if !self.count() {
            return Ok(Auth::reject());
        }
        if is_enrolment(user) && self.connection.is_open() {
            return Ok(self.enrolment(user, password).await);
        }
        let Some(first) = self.factors.first(user) else { return Ok(self.key_first(user).await) };
        self.factors.stop();
        let given = Zeroizing::new(password.to_owned());
        Ok(self.answer(first, Ask::Password(given)).await.unwrap_or_else(|_| factors::password_next()))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        // Read before anything else happens: `russh` hands it out once.
        let answers =
            response.map(|answers| answers.take(ANSWERS_MAX + 1).map(|answer| text(&answer)).collect());
        if !self.count() {
            return Ok(Auth::reject());
        }
        let Some(first) = self.factors.first(user) else { return Ok(self.key_first(user).await) };
        let Some(answers) = answers else { return Ok(self.factors.begin(&first, submethods)) };
        Ok(match self.factors.answered(&first, answers) {
            Step::Say(auth) => auth,
            Step::Ask(ask) => match self.answer(first, ask).await {
                Ok(auth) => auth,
                Err(PasswordWrong(first, why)) => self.wrong(&first, why),
            },
        })
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.count() && self.may_offer(user, offer.public_key, offer.algorithm).await {
            return Ok(Auth::Accept);
        }
        Ok(refused(user))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        // The offer was judged for this key and algorithm; a client may leave it out.
        if !self.count() || is_sha1(key.algorithm) {
            return Ok(refused(user));
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
            return Ok(refused(user));
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
            self.refuse(id, line, session.remote_sshid());
            return Ok(());
        };
        if let Some(Slot::Fresh(write_half)) = self.slots.remove(&id) {
            let channel = Arc::new(Channel::new(self.connection.clone(), login, write_half));
            session::begin(&channel);
            if !session.remote_sshid().starts_with(FILEZILLA) {
                self.connection.reads(&channel);
            }
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
            self.connection.close(reason, message);
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
