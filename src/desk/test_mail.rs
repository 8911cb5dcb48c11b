//! A mail that shows the operator whether mail works, or how a kind of notice is read; past the queue, recorded nowhere.

use crate::config::Config;
use crate::doors::smtp::SmtpMailer;
use crate::model::finding::Language;
use crate::model::time::Timestamp;
use crate::rules::notice::{Letter, Rendered, compose};
use crate::work::ports::{Delivery, Envelope, Mailer as _};

use super::trouble::{Kind, Trouble};

/// Sends it over a connection of its own, with the settings in force; the mail server's answer. A notice's text goes as
/// notices do: the same headers, signed if they are.
pub(super) fn send_test_mail(
    config: &Config,
    to: &str,
    text: Option<&Rendered>,
    language: Language,
    now: Timestamp,
) -> Result<String, Trouble> {
    if to.parse::<lettre::Address>().is_err() {
        return Err(Trouble::new(Kind::Usage, "MAIL-ADDRESS", "that is not one mail address"));
    }
    let wrong = |text: String| Trouble::new(Kind::Usage, "MAIL-CONFIG", text);
    let settings = config.mail.smtp_config(&config.places).map_err(wrong)?;
    let mailer = SmtpMailer::new(settings).map_err(|error| wrong(error.to_string()))?;
    let from = &config.mail.from;
    let envelope = Envelope { from: Some(from.clone()), to: to.to_owned(), id: None };
    let message = match text {
        None => plain(from, to, now).into_bytes(),
        Some(text) => {
            let dkim = config.mail.dkim(&config.places).map_err(wrong)?;
            let letter = Letter {
                from_name: &config.gateway.name,
                from,
                to,
                message_id: &format!("test-{}@{}", now.0, domain(from)),
                at: now,
                languages: &[language],
            };
            compose(&letter, text, dkim.as_ref()).map_err(|error| wrong(error.to_string()))?
        }
    };
    match mailer.send(&envelope, &message) {
        Delivery::Sent { reply } => Ok(reply),
        Delivery::Deferred { reply } => {
            Err(Trouble::new(Kind::NotNow, "MAIL-DEFERRED", format!("the mail server said: {reply}")))
        }
        Delivery::Failed { reply } => {
            Err(Trouble::refused("MAIL-FAILED", format!("the mail server refused it: {reply}")))
        }
    }
}

fn domain(from: &str) -> &str {
    from.rsplit_once('@').map_or("localhost", |(_, domain)| domain)
}

fn plain(from: &str, to: &str, now: Timestamp) -> String {
    let domain = domain(from);
    [
        format!("From: <{from}>"),
        format!("To: <{to}>"),
        "Subject: todoke: test mail".to_owned(),
        format!("Date: {}", now.utc().to_rfc2822()),
        format!("Message-ID: <test-{}@{domain}>", now.0),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=us-ascii".to_owned(),
        String::new(),
        "This mail was sent by `todoke mail test`. Nothing needs to be done.".to_owned(),
        String::new(),
    ]
    .join("\r\n")
}
