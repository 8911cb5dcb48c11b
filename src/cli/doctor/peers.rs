//! The virus scanner and the mail server.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use rustix::fs::Access;

use super::Report;
use crate::config::Config;
use crate::doors::clamd::{self, ScannerAddress};
use crate::doors::smtp::SmtpMailer;
use crate::model::time::Timestamp;
use crate::work::ports::PatternAge;

/// A greeting is asked for once and not waited for long.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Bytes of a greeting.
const GREETING_BYTES_MAX: u64 = 4096;

pub(super) fn scanner(config: &Config, now: Timestamp, report: &mut Report) {
    let policy = &config.scanner;
    if policy.address == ScannerAddress::None {
        let action = "set scanner.address to clamd's socket; every receipt says that nothing was scanned";
        report.warn("virus scanner", "switched off (scanner.address = \"none\")", action);
        return;
    }
    let patterns = match clamd::scanner(&policy.address, policy.bounds).patterns() {
        Ok(patterns) => patterns,
        Err(error) => {
            let action = "start clamd, or correct scanner.address; submissions wait meanwhile";
            report.error("virus scanner", error.to_string(), action);
            return;
        }
    };
    match patterns.age(now, policy.patterns_days_max) {
        PatternAge::Fresh => report.ok("virus scanner", patterns.engine),
        PatternAge::Stale { days } => {
            let found =
                format!("{}: patterns are {days} days old (K32 asks for daily ones)", patterns.engine);
            report.error("virus scanner", found, "look at freshclam, or at the mirror it uses");
        }
        PatternAge::Unknown => {
            let found = format!("{}: it does not tell how old its patterns are", patterns.engine);
            report.warn("virus scanner", found, "look at clamd's database folder");
        }
    }
}

pub(super) fn mail(config: &Config, report: &mut Report) {
    let action = "correct [mail], or start the mail server; mails wait meanwhile. `todoke mail test ADDRESS` shows more";
    let settings = match config.mail.smtp_config(&config.places) {
        Ok(settings) => settings,
        Err(text) => {
            report.error("mail server", text, action);
            return;
        }
    };
    let url = settings.url.clone();
    let name = format!("{}:{}", url.host, url.port);
    if let Err(error) = SmtpMailer::new(settings) {
        report.error("mail server", error.to_string(), action);
        return;
    }
    match greeting(&url.host, url.port, url.implicit_tls, config.mail.bounds.connect_max) {
        Ok(()) => report.ok("mail server", name),
        Err(error) => report.error("mail server", format!("{name}: {error}"), action),
    }
}

/// The Maildir of what comes back: there, and open to who reads it. The mail server makes it with the first mail.
pub(super) fn bounces(config: &Config, report: &mut Report) {
    let Some(maildir) = &config.mail.bounce_maildir else {
        if config.mail.bounces.is_some() {
            let action = "name the Maildir that they are delivered to, or take mail.bounces out";
            report.warn(
                "bounces",
                "mail.bounces is set and mail.bounce_maildir is not: nobody reads them",
                action,
            );
        }
        return;
    };
    let maildir = config.places.resolve(maildir);
    if let Err(error) = std::fs::read_dir(&maildir) {
        let found = format!("{}: {error}", maildir.display());
        if error.kind() == std::io::ErrorKind::NotFound {
            report.warn("bounces", found, "the mail server makes it with the first mail; correct mail.bounce_maildir if there were some");
        } else {
            report.error("bounces", found, "make it readable for the daemon's user");
        }
        return;
    }
    for name in ["new", "cur"] {
        let folder = maildir.join(name);
        let listed = std::fs::read_dir(&folder).map(drop);
        let open = rustix::fs::access(&folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
        match listed.and(open.map_err(Into::into)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                let action = "give it to the daemon's user: what was read is moved from new/ to cur/, and removed in time";
                report.error("bounces", format!("{}: {error}", folder.display()), action);
                return;
            }
            Ok(()) => {}
        }
    }
    report.ok("bounces", maildir.display().to_string());
}

/// Whether a mail server answers there: its greeting begins with 220. Under TLS only the connection is tried.
fn greeting(host: &str, port: u16, tls: bool, connect_max: Duration) -> std::io::Result<()> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, connect_max.min(GREETING_MAX)) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        if tls {
            return Ok(());
        }
        stream.set_read_timeout(Some(GREETING_MAX))?;
        let mut line = Vec::new();
        BufReader::new(&stream).take(GREETING_BYTES_MAX).read_until(b'\n', &mut line)?;
        let _ = stream.write_all(b"QUIT\r\n");
        if line.starts_with(b"220") {
            return Ok(());
        }
        last = std::io::Error::new(std::io::ErrorKind::InvalidData, "it does not greet like a mail server");
    }
    Err(last)
}
