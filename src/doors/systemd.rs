//! The service manager's door: the `sd_notify` protocol and its watchdog. Without `NOTIFY_SOCKET` nothing is said.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::model::health::{Health, Late};

/// Speaks to the service manager. A message that cannot be delivered is logged, and the daemon goes on.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    socket: Option<OsString>,
}

impl Notifier {
    /// To the socket that the service manager named, if it did.
    pub fn from_env() -> Self {
        Self { socket: std::env::var_os("NOTIFY_SOCKET").filter(|s| !s.is_empty()) }
    }

    /// To this socket: a path, or `@name` for an abstract one (containers use those).
    pub fn to(socket: impl Into<OsString>) -> Self {
        Self { socket: Some(socket.into()) }
    }

    /// Started: filings are taken. Only now does the service manager start what waits for this.
    pub fn ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.say(&[NotifyState::Status(&one_line(status))]);
    }

    /// Configuration is being read again; [`Self::ready`] must follow, also when it was refused.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "systemd: no monotonic time, reload not announced"),
        }
    }

    /// On the way out.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// Alive.
    pub fn watchdog(&self) {
        self.say(&[NotifyState::Watchdog]);
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        let message = lines.join("\n") + "\n";
        if let Err(error) = send(socket.as_bytes(), message.as_bytes()) {
            tracing::warn!(%error, "systemd: message not delivered");
        }
    }
}

fn send(socket: &[u8], message: &[u8]) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    let datagram = UnixDatagram::unbound()?;
    // A full queue must not stop the daemon; the next message says it again.
    datagram.set_nonblocking(true)?;
    datagram.send_to_addr(message, &address).map(drop)
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How often the service manager wants to hear from this process (`WATCHDOG_USEC`); none when it does not.
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

/// Reports as long as every watched loop makes progress. Silence is the alarm: then the service manager ends the process
/// and starts it anew. Runs until `stop` turns true or its sender is gone.
pub async fn run_watchdog(
    notifier: Notifier,
    health: Arc<Health>,
    period: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(period / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known: Vec<&'static str> = Vec::new();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = ticks.tick() => {}
        }
        let late = health.late(Instant::now());
        if late.is_empty() {
            notifier.watchdog();
        }
        let names: Vec<_> = late.iter().map(|l| l.name).collect();
        if names != known {
            tell(&notifier, &late);
            known = names;
        }
    }
}

/// Says once what has become late, or that all is well again.
fn tell(notifier: &Notifier, late: &[Late]) {
    if late.is_empty() {
        tracing::info!("watchdog: every loop makes progress again");
        notifier.status("running");
        return;
    }
    for Late { name, silent_seconds, allowed_seconds } in late {
        tracing::error!(name, silent_seconds, allowed_seconds, "watchdog: a loop makes no progress");
    }
    let names: Vec<_> = late.iter().map(|l| l.name).collect();
    notifier.status(&format!("no progress: {}", names.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen() -> (UnixDatagram, Notifier, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        (socket, Notifier::to(path), dir)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn messages_are_those_of_the_protocol() {
        let (socket, notifier, _dir) = listen();
        notifier.ready("3 accounts\nREADY=0");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=3 accounts READY=0\n");
        notifier.reloading();
        let reloading = heard(&socket);
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(usec.parse::<u64>().unwrap() > 0);
        notifier.status("idle");
        assert_eq!(heard(&socket), "STATUS=idle\n");
        notifier.stopping();
        assert_eq!(heard(&socket), "STOPPING=1\n");
    }

    #[test]
    fn abstract_sockets_work_and_absent_ones_do_no_harm() {
        let name = format!("todoke-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(format!("@{name}")).watchdog();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        Notifier::to("/nonexistent/notify").stopping();
        Notifier::default().ready("nobody listens");
    }

    #[tokio::test]
    async fn the_watchdog_is_silent_while_a_loop_is_stuck() {
        let (socket, notifier, _dir) = listen();
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
        let next = async || {
            let mut buffer = [0; 1024];
            let got = tokio::time::timeout(Duration::from_mins(1), socket.recv(&mut buffer)).await;
            String::from_utf8(buffer[..got.unwrap().unwrap()].to_vec()).unwrap()
        };
        let health = Arc::new(Health::default());
        let (stop, stopped) = watch::channel(false);
        let period = Duration::from_millis(30);
        let task = tokio::spawn(run_watchdog(notifier, Arc::clone(&health), period, stopped));
        assert_eq!(next().await, "WATCHDOG=1\n");

        health.watch("deliver", Duration::ZERO, Instant::now());
        while next().await != "STATUS=no progress: deliver\n" {}
        // Nothing more while it is stuck, however many periods pass.
        let silence = tokio::time::timeout(period * 5, next()).await;
        assert!(silence.is_err(), "{silence:?}");
        health.unwatch("deliver");
        assert_eq!(next().await, "WATCHDOG=1\n");
        assert_eq!(next().await, "STATUS=running\n");
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_mins(1), task).await.unwrap().unwrap();
    }
}
