//! The mark of a mail: its number and random digits, on the left of its Message-ID, in its return path and as its envelope
//! id.

use crate::model::ids::MailId;

/// Random hexadecimal digits of a mark.
const SECRET_DIGITS: usize = 16;
/// Marks that are taken out of one message.
const MARKS_MAX: usize = 16;

/// What only who has seen a mail knows of it: `m1-000123-4.0123456789abcdef`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which mail.
    pub mail: MailId,
    /// Digits nobody can guess, in small letters.
    pub secret: String,
}

impl Mark {
    /// Of the left part of a Message-ID (or a whole one).
    pub fn of_message_id(message_id: &str) -> Option<Self> {
        Self::parse(message_id.split('@').next()?)
    }

    /// As it stands in return paths and envelope ids.
    pub fn text(&self) -> String {
        format!("{}.{}", self.mail, self.secret).to_ascii_lowercase()
    }

    fn parse(text: &str) -> Option<Self> {
        let (mail, secret) = text.split_once('.')?;
        let fine = secret.len() == SECRET_DIGITS && secret.bytes().all(|b| b.is_ascii_hexdigit());
        let mail = MailId::parse(&mail.to_ascii_uppercase()).ok()?;
        fine.then(|| Self { mail, secret: secret.to_ascii_lowercase() })
    }
}

/// Adds the marks in a text that are not there yet.
pub(super) fn find(text: &str, into: &mut Vec<Mark>) {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    for word in text.split(|c: char| !part(c)).filter(|word| word.len() > SECRET_DIGITS && word.contains('.'))
    {
        if into.len() >= MARKS_MAX {
            return;
        }
        // `bounce-M1-..` where a host has rewritten the separator, or the mark alone.
        let mut begins =
            word.char_indices().filter(|(_, c)| matches!(c, 'm' | 'M')).map(|(at, _)| at).take(4);
        let found = begins.find_map(|at| Mark::parse(&word[at..]));
        if let Some(mark) = found.filter(|mark| !into.contains(mark)) {
            into.push(mark);
        }
    }
}
