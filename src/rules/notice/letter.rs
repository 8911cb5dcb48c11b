//! From a text to the bytes that are sealed and sent (RFC 5322, 7-bit).

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Body, Mailbox};
use lettre::{Address, Message};

use super::dkim::Dkim;
use super::{Rendered, clean};
use crate::model::finding::Language;
use crate::model::time::Timestamp;

/// Everything about one mail but its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter<'a> {
    /// The name that readers see as the sender.
    pub from_name: &'a str,
    /// The gateway's address.
    pub from: &'a str,
    /// The account's one address (K5).
    pub to: &'a str,
    /// `Message-ID` without the angle brackets.
    pub message_id: &'a str,
    /// `Date`.
    pub at: Timestamp,
    /// Of the text, in their order.
    pub languages: &'a [Language],
}

/// Why a letter cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// Sender or recipient. The text is not repeated, it names somebody.
    #[error("the {0} address is not one that mail can be sent to")]
    Address(&'static str),
    /// Not `left@right` in plain ASCII.
    #[error("the Message-ID {0:?} is not of the form left@right")]
    MessageId(String),
    /// The mail library refused.
    #[error("the mail could not be put together: {0}")]
    Build(String),
}

/// A letter's text and its languages, as [`compose`] was given them; none where these bytes are no letter of ours.
pub fn read(raw: &[u8]) -> Option<(Rendered, Vec<Language>)> {
    let message = mail_parser::MessageParser::default().parse(raw)?;
    let subject = message.subject()?.to_owned();
    let body = message.body_text(0)?.replace("\r\n", "\n");
    let languages = message.header_raw("Content-Language").unwrap_or_default();
    let languages = languages.split(',').filter_map(|word| match word.trim() {
        "ja" => Some(Language::Ja),
        "en" => Some(Language::En),
        _ => None,
    });
    Some((Rendered { subject, body }, languages.collect()))
}

/// Longest message id: the header line stays far below 998.
const MESSAGE_ID_BYTES_MAX: usize = 250;

/// Writes the mail and signs it. Same input, same bytes, but for the time in the signature.
pub fn compose(letter: &Letter<'_>, text: &Rendered, dkim: Option<&Dkim>) -> Result<Vec<u8>, LetterError> {
    let address = |text: &str, which| match text.parse::<Address>() {
        Ok(address) if text.is_ascii() && text.len() <= 254 => Ok(address),
        _ => Err(LetterError::Address(which)),
    };
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._+=".contains(&b);
    let side = |s: &str| !s.is_empty() && s.bytes().all(fine);
    let id = letter.message_id;
    if id.len() > MESSAGE_ID_BYTES_MAX || !id.split_once('@').is_some_and(|(l, r)| side(l) && side(r)) {
        return Err(LetterError::MessageId(id.chars().take(80).collect()));
    }
    let languages: Vec<&str> = letter
        .languages
        .iter()
        .map(|language| match language {
            Language::Ja => "ja",
            Language::En => "en",
        })
        .collect();
    let raw = |name, value: &str| HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned());
    let at = UNIX_EPOCH + Duration::from_secs(letter.at.unix_seconds());
    let name = Some(clean(letter.from_name, 60)).filter(|name| !name.is_empty());
    let mut message = Message::builder()
        .from(Mailbox::new(name, address(letter.from, "sender's")?))
        .to(Mailbox::new(None, address(letter.to, "recipient's")?))
        .subject(&*text.subject)
        .date(at)
        .message_id(Some(format!("<{id}>")))
        .raw_header(raw("Auto-Submitted", "auto-generated"))
        .raw_header(raw("X-Auto-Response-Suppress", "All"))
        .raw_header(raw("Content-Language", &languages.join(", ")))
        // Not as a part, whose headers no signature would cover.
        .header(MIME_VERSION_1_0)
        .header(ContentType::TEXT_PLAIN)
        .body(Body::new(text.body.clone()))
        .map_err(|e| LetterError::Build(e.to_string()))?;
    if let Some(dkim) = dkim {
        dkim.sign(&mut message);
    }
    Ok(message.formatted())
}
