//! From a reply or a broken connection to what is kept: codes and words, never text.

use std::error::Error as _;
use std::fmt;
use std::io;

use lettre::transport::smtp::Error as SmtpError;

use crate::rules::bounce;
use crate::rules::smtp_code::{Status, is_temporary};
use crate::work::ports::reply;

/// How a step failed, before it is known what that means for the mail.
pub(super) enum Failure {
    /// 4xx or 5xx.
    Answer { permanent: bool, reply: String },
    /// No answer.
    Word(&'static str),
}

/// The connection will take no more commands: it broke, or the host said 421.
pub(super) fn is_gone(error: &SmtpError) -> bool {
    error.status().is_none_or(|code| code.to_string() == "421")
}

/// The step whose answer is about the recipient; it is named in no reply.
pub(super) const RCPT: &str = "";

/// What a step's error says, without its text. `step` is named where the answer cannot be about the recipient.
pub(super) fn failure(error: &SmtpError, step: &str) -> Failure {
    if let Some(code) = error.status() {
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        let mut reply = reply_of(&code.to_string(), &text);
        // Whatever its class: some greylisting hosts say `550 4.7.1`.
        let told = text.split_whitespace().next().and_then(Status::parse);
        if step != RCPT {
            reply = format!("{reply} ({step})");
        } else if matches!(&*reply, "550" | "551" | "553")
            && told.is_none()
            && let Some(status) = bounce::blame(&text)
        {
            reply = format!("{reply} {status}");
        }
        let number = code.to_string().parse().unwrap_or(0);
        let permanent = !is_temporary(number, told, &text);
        return Failure::Answer { permanent, reply };
    }
    if error.is_response() {
        let cut = error.source().is_some_and(|s| s.to_string() == "incomplete response");
        return Failure::Word(if cut { reply::DISCONNECTED } else { reply::GARBLED });
    }
    if error.is_timeout() {
        return Failure::Word(reply::TIMEOUT);
    }
    if error.is_tls() {
        return Failure::Word(reply::TLS);
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => return Failure::Word(reply::TLS),
                Some(inner) if inner.is::<TooMuch>() => return Failure::Word(reply::GARBLED),
                _ => {}
            }
            return Failure::Word(match io.kind() {
                io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => reply::UNREACHABLE,
                io::ErrorKind::InvalidData => reply::GARBLED,
                _ => reply::DISCONNECTED,
            });
        }
        source = cause.source();
    }
    Failure::Word(reply::DISCONNECTED)
}

/// `451 4.7.1` from a reply's code and text; the code alone where the text does not begin with an enhanced code of the
/// same class (RFC 3463).
pub(super) fn reply_of(code: &str, text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or("");
    let parts: Vec<&str> = word.split('.').collect();
    let number = |p: &&str| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
    let enhanced =
        parts.len() == 3 && parts.iter().all(number) && parts[0].len() == 1 && code.starts_with(parts[0]);
    if enhanced { format!("{code} {word}") } else { code.to_owned() }
}

/// Answers that come at RCPT or DATA yet speak of the gateway's login, TLS or order of commands.
pub(super) fn is_about_us(reply: &str) -> bool {
    let code = reply.split(' ').next().unwrap_or("");
    matches!(code, "500" | "502" | "503" | "504" | "530" | "534" | "535" | "538")
}

/// The host said more than any host has to say.
#[derive(Debug)]
pub(super) struct TooMuch;
impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the mail host says too much")
    }
}
impl std::error::Error for TooMuch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_keep_codes_and_no_text() {
        for (code, text, kept) in [
            ("250", "2.0.0 Ok: queued as 4F1A", "250 2.0.0"),
            ("451", "4.7.1 <soumu@example.jp>: greylisted", "451 4.7.1"),
            ("550", "soumu@example.jp unknown", "550"),
            ("550", "4.1.1 wrong class", "550"),
            ("550", "5.1.1234 too long", "550"),
            ("550", "", "550"),
            ("550", "5.1 x", "550"),
        ] {
            assert_eq!(reply_of(code, text), kept);
        }
    }
}
