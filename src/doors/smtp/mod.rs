//! The mail host's door: hands one message at a time to the next host, over SMTP, STARTTLS or TLS.
//!
//! lettre's connection is used step by step rather than its transport, since only that tells *whom* an answer is about: 5xx
//! to RCPT or DATA is about this mail and final; 5xx to anything before is about the gateway's own settings, and must not
//! cost a mail. Replies are kept as code and enhanced code; their text may name somebody.

mod config;
mod line_stream;
mod reply;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter, RcptParameter};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use self::config::Checked;
pub use self::config::{Bounds, Login, SmtpConfig, SmtpConfigError, SmtpUrl, SmtpUrlError, TlsMode};
use self::line_stream::LineStream;
use self::reply::{Failure, RCPT, failure, is_about_us, is_gone, reply_of};
use crate::model::metric;
use crate::work::ports::{Delivery, Envelope, Mailer, is_sendable, reply as word, step};

/// Idle connections kept.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Mails over one connection; some hosts refuse more.
const MAILS_PER_CONNECTION_MAX: u32 = 100;
/// To say RSET or QUIT and hear the answer.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Hands mail to one host. Calls block; may be used from many threads, but not from async code.
pub struct SmtpMailer {
    host: Checked,
    idle: Arc<Mutex<Vec<Open>>>,
    runtime: Option<Runtime>,
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpMailer({})", self.host.url)
    }
}

/// A connection, greeted, encrypted and logged in.
struct Open {
    connection: AsyncSmtpConnection,
    mails: u32,
    used: Instant,
    /// The host sends reports as it is asked to (RFC 3461); unknown until the first mail that asks.
    dsn: Option<bool>,
}

impl SmtpMailer {
    /// Checks the settings; connects to nothing.
    pub fn new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        let host = Checked::try_from(config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mail")
            .enable_io()
            .enable_time()
            .build()?;
        let idle = Arc::<Mutex<Vec<Open>>>::default();
        runtime.spawn(reap(Arc::clone(&idle), host.bounds.idle_max.max(Duration::from_millis(100))));
        Ok(Self { host, idle, runtime: Some(runtime) })
    }

    /// One attempt; what is left of the connection comes back with how it ended.
    async fn attempt(
        &self,
        envelope: (Option<Address>, Address),
        id: Option<&str>,
        message: &[u8],
    ) -> (Delivery, Option<(Open, After)>) {
        let deferred = |failure: Failure| match failure {
            Failure::Answer { reply, .. } => Delivery::Deferred { reply },
            Failure::Word(why) => Delivery::Deferred { reply: why.into() },
        };
        let (from, to) = envelope;
        let mut open = match self.begin(from, id, message).await {
            Ok(open) => open,
            Err(Failure::Word(why)) if why == word::MESSAGE => {
                return (Delivery::Failed { reply: why.into() }, None);
            }
            // The sender is the gateway's own: whatever is wrong with it is not this mail's fault.
            Err(failure) => return (deferred(failure), None),
        };
        let reports = id.is_some() && open.dsn == Some(true);
        match hand_over(&mut open.connection, to, reports, message).await {
            Ok(reply) => (Delivery::Sent { reply }, Some((open, After::Keep))),
            Err(Refusal { failure, gone }) => {
                let after = (!gone).then_some((open, After::Reset));
                match failure {
                    Failure::Answer { permanent: true, reply } if !is_about_us(&reply) => {
                        (Delivery::Failed { reply }, after)
                    }
                    other => (deferred(other), after),
                }
            }
        }
    }

    /// A connection on which MAIL FROM was accepted: one from before, or a new one where the host has dropped that.
    async fn begin(&self, from: Option<Address>, id: Option<&str>, message: &[u8]) -> Result<Open, Failure> {
        while let Some(mut open) = self.take_idle() {
            if open.used.elapsed() > self.host.bounds.idle_max {
                close_connection(open.connection).await;
                continue;
            }
            match self.mail_from(&mut open, from.clone(), id, message).await {
                Ok(()) => return Ok(open),
                // The host has dropped it meanwhile, which says nothing about this mail.
                Err(refusal) if refusal.gone => {}
                Err(refusal) => return Err(refusal.close(open).await),
            }
        }
        let mut open = self.host.connect().await?;
        match self.mail_from(&mut open, from, id, message).await {
            Ok(()) => Ok(open),
            Err(refusal) => Err(refusal.close(open).await),
        }
    }

    /// MAIL FROM, after asking once whether the host sends reports, where one is wanted.
    async fn mail_from(
        &self,
        open: &mut Open,
        from: Option<Address>,
        id: Option<&str>,
        message: &[u8],
    ) -> Result<(), Refusal> {
        if id.is_some() && open.dsn.is_none() {
            // The client below does not tell of this extension; EHLO may be said again at any time.
            let answer = open.connection.command(Ehlo::new(self.host.ehlo.clone())).await;
            let answer = answer.map_err(|e| Refusal::of(&e, "ehlo"))?;
            open.dsn = Some(answer.message().any(|line| line.trim().eq_ignore_ascii_case("DSN")));
        }
        let id = id.filter(|_| open.dsn == Some(true));
        mail_from(&mut open.connection, from, id, message).await
    }

    fn take_idle(&self) -> Option<Open> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps the connection for the next mail, or takes leave. Bounded, and whatever goes wrong is forgotten: the mail's
    /// fate is decided.
    async fn settle(&self, mut open: Open, after: After) {
        if after == After::Reset {
            let reset = tokio::time::timeout(LEAVE_MAX, open.connection.command(Rset)).await;
            if !matches!(reset, Ok(Ok(_))) {
                return;
            }
        }
        open.mails += 1;
        open.used = Instant::now();
        if open.mails < MAILS_PER_CONNECTION_MAX {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_CONNECTIONS_MAX {
                idle.push(open);
                return;
            }
        }
        close_connection(open.connection).await;
    }
}

/// What a connection needs before it can take the next mail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing.
    Keep,
    /// RSET: a mail was begun on it.
    Reset,
}

/// A step failed; `gone`: the connection will take no more commands.
struct Refusal {
    failure: Failure,
    gone: bool,
}

impl Refusal {
    fn of(error: &SmtpError, step: &str) -> Self {
        Self { failure: failure(error, step), gone: is_gone(error) }
    }

    /// An answer that does not fit the question: nobody knows where the host thinks we are.
    fn garbled() -> Self {
        Self { failure: Failure::Word(word::GARBLED), gone: true }
    }

    async fn close(self, open: Open) -> Failure {
        if !self.gone {
            close_connection(open.connection).await;
        }
        self.failure
    }
}

/// MAIL FROM.
async fn mail_from(
    connection: &mut AsyncSmtpConnection,
    from: Option<Address>,
    id: Option<&str>,
    message: &[u8],
) -> Result<(), Refusal> {
    let mut parameters = Vec::new();
    if let Some(id) = id {
        let parameter = |keyword: &str, value: &str| MailParameter::Other {
            keyword: keyword.into(),
            value: Some(value.into()),
        };
        parameters.extend([parameter("RET", "HDRS"), parameter("ENVID", id)]);
    }
    if !message.is_ascii() {
        if !connection.server_info().supports_feature(Extension::EightBitMime) {
            return Err(Refusal { failure: Failure::Word(word::MESSAGE), gone: false });
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let answer = connection.command(Mail::new(from, parameters)).await;
    let answer = answer.map_err(|e| Refusal::of(&e, "mail from"))?;
    if is_done(&answer) { Ok(()) } else { Err(Refusal::garbled()) }
}

/// RCPT TO, DATA and the message; the reply code when the host took it.
async fn hand_over(
    connection: &mut AsyncSmtpConnection,
    to: Address,
    reports: bool,
    message: &[u8],
) -> Result<String, Refusal> {
    let wanted = RcptParameter::Other { keyword: "NOTIFY".into(), value: Some("FAILURE,DELAY".into()) };
    let parameters = if reports { vec![wanted] } else { Vec::new() };
    let refused = |step: &'static str| move |e: SmtpError| Refusal::of(&e, step);
    if !is_done(&connection.command(Rcpt::new(to, parameters)).await.map_err(refused(RCPT))?) {
        return Err(Refusal::garbled());
    }
    if !connection.command(Data).await.map_err(refused(step::DATA))?.has_code(354) {
        return Err(Refusal::garbled());
    }
    let taken = connection.message(message).await.map_err(refused(step::MESSAGE))?;
    if !is_done(&taken) {
        return Err(Refusal::garbled());
    }
    Ok(reply_of(&taken.code().to_string(), taken.first_line().unwrap_or("")))
}

/// 2xx; the client below takes 3xx for success as well.
fn is_done(response: &Response) -> bool {
    response.code().severity == Severity::PositiveCompletion
}

/// Takes leave of connections that nobody needed for a while, so that they do not hold the host's slots.
async fn reap(idle: Arc<Mutex<Vec<Open>>>, idle_max: Duration) {
    loop {
        tokio::time::sleep(idle_max).await;
        let old: Vec<Open> = {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.extract_if(.., |open| open.used.elapsed() >= idle_max).collect()
        };
        for open in old {
            close_connection(open.connection).await;
        }
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, envelope: &Envelope, message: &[u8]) -> Delivery {
        if !is_sendable(message) {
            return Delivery::Failed { reply: word::MESSAGE.into() };
        }
        let address = |text: &String| text.parse::<Address>().ok().filter(|a| a.to_string().is_ascii());
        let from = envelope.from.as_ref().map(address);
        let (None | Some(Some(_)), Some(to)) = (&from, address(&envelope.to)) else {
            return Delivery::Failed { reply: word::ADDRESS.into() };
        };
        let Some(runtime) = &self.runtime else {
            return Delivery::Deferred { reply: word::UNREACHABLE.into() };
        };
        let start = Instant::now();
        let delivery = runtime.block_on(async {
            let attempt = self.attempt((from.flatten(), to), envelope.id.as_deref(), message);
            // Dropping the attempt drops its connection: nothing of it can reach the next mail.
            match tokio::time::timeout(self.host.bounds.attempt_max, attempt).await {
                Ok((delivery, Some((open, after)))) => {
                    self.settle(open, after).await;
                    delivery
                }
                Ok((delivery, None)) => delivery,
                Err(_) => Delivery::Deferred { reply: word::TIMEOUT.into() },
            }
        });
        let result = match delivery {
            Delivery::Sent { .. } => "sent",
            Delivery::Deferred { .. } => "deferred",
            Delivery::Failed { .. } => "failed",
        };
        metrics::histogram!(metric::MAIL_ATTEMPT_SECONDS, "result" => result).record(start.elapsed());
        delivery
    }
}

impl Drop for SmtpMailer {
    fn drop(&mut self) {
        // Never waits, and may be dropped from async code.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Checked {
    async fn connect(&self) -> Result<Open, Failure> {
        let greeted = if let (TlsMode::Implicit, Some(tls)) = (self.mode, &self.tls) {
            let (addresses, limit) = (self.addresses().await?, Some(self.bounds.connect_max));
            AsyncSmtpConnection::connect_tokio1(&*addresses, limit, &self.ehlo, Some(tls.clone()), None).await
        } else {
            let stream = Box::new(LineStream::new(self.dial().await?));
            AsyncSmtpConnection::connect_with_transport(stream, &self.ehlo).await
        };
        let mut connection = greeted.map_err(|e| failure(&e, "greeting"))?;
        if let (TlsMode::Opportunistic | TlsMode::Required, Some(tls)) = (self.mode, &self.tls) {
            if connection.can_starttls() {
                connection.starttls(tls.clone(), &self.ehlo).await.map_err(|e| {
                    match failure(&e, "starttls") {
                        // Whatever goes wrong between the go-ahead and the second EHLO is TLS going wrong.
                        Failure::Word(why) if why != word::TIMEOUT => Failure::Word(word::TLS),
                        other => other,
                    }
                })?;
            } else if self.mode == TlsMode::Required {
                close_connection(connection).await;
                return Err(Failure::Word(word::NO_TLS));
            }
        }
        if let Some(login) = &self.login {
            let known = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&known).is_none() {
                close_connection(connection).await;
                return Err(Failure::Word(word::NO_AUTH));
            }
            let credentials = Credentials::new(login.user.clone(), login.password.to_string());
            connection.auth(&known, &credentials).await.map_err(|e| failure(&e, "auth"))?;
        }
        Ok(Open { connection, mails: 0, used: Instant::now(), dsn: None })
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let target = (self.url.host.as_str(), self.url.port);
        let found = tokio::net::lookup_host(target).await.map_err(|_| Failure::Word(word::NO_HOST))?;
        Ok(found.take(8).collect())
    }

    /// The first of the host's addresses that answers.
    async fn dial(&self) -> Result<TcpStream, Failure> {
        let mut why = word::NO_HOST;
        for address in self.addresses().await? {
            match tokio::time::timeout(self.bounds.connect_max, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Without it a mail waits for delayed acknowledgements; failing to set it only costs time.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(_)) => why = word::UNREACHABLE,
                Err(_) => why = word::TIMEOUT,
            }
        }
        Err(Failure::Word(why))
    }
}

async fn close_connection(mut connection: AsyncSmtpConnection) {
    let _ = tokio::time::timeout(LEAVE_MAX, connection.command(Quit)).await;
}
