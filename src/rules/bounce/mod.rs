//! What came back: delivery reports (RFC 3464) and the texts of hosts that write none, complaints (RFC 5965), and answers
//! that people's machines give (RFC 3834). The only place that uses the mail parser.
//!
//! Nothing that is read here is believed for itself: a bounce speaks of one of our mails only if it knows that mail's
//! [`Mark`], whose second half nobody can guess.

mod marks;
mod report;
mod words;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use mail_parser::{Message, MessageParser, MimeHeaders as _, PartType};

pub use marks::Mark;
pub use words::blame;

use super::smtp_code::{Fault, Status, fault};

/// What somebody's host or machine says about a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It could not be delivered.
    Failed(Fault),
    /// It is still being tried.
    Delayed,
    /// It went on to a host that sends no reports.
    Relayed,
    /// It is in the mailbox.
    Delivered,
    /// Somebody marked it as unwanted.
    Complaint,
    /// An automatic answer: out of office, received, read.
    AutoReply,
    /// Something else; nobody reads it here.
    Other,
}

/// One message that came back, as far as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameBack {
    /// What it says.
    pub said: Said,
    /// The status it gives, or the one that its words stand for.
    pub status: Option<Status>,
    /// Marks found in it, those in better places first: the address it was sent to, the envelope id, the returned part,
    /// anywhere.
    pub marks: Vec<Mark>,
    /// Whose mailbox it speaks of, where it says so.
    pub recipient: Option<String>,
    /// Whose mailbox it ended at (RFC 3464's final recipient): somebody else's where an alias or a list stands behind the
    /// address.
    pub reached: Option<String>,
}

/// Parts of a message that are looked at; a bomb has more.
const PARTS_MAX: usize = 64;
/// Bytes of text in which words are looked for.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Reads one message. None where it is none at all.
pub fn read(raw: &[u8]) -> Option<CameBack> {
    let message = MessageParser::default().parse(raw)?;
    let head = Head::of(&message);
    let mut parts = Vec::new();
    collect(&message, 0, &mut parts);
    let find = |kind: &str| parts.iter().find(|part| part.kind == kind);

    let mut marks = Vec::new();
    for name in ["delivered-to", "x-original-to", "envelope-to", "to"] {
        head.all(name).for_each(|value| marks::find(value, &mut marks));
    }
    let text: String = parts
        .iter()
        .filter(|part| part.kind.starts_with("text/") && !part.returned)
        .map(Part::text)
        .collect::<Vec<_>>()
        .join("\n");
    let text: String = text.chars().take(TEXT_BYTES_MAX).collect();

    let mut found = if let Some(part) = find("message/feedback-report") {
        let complaint = report::field(&part.text(), "feedback-type")
            .is_none_or(|kind| kind.trim() != "not-spam" && kind.trim() != "auth-failure");
        let said = if complaint { Said::Complaint } else { Said::Other };
        CameBack { said, status: None, marks: Vec::new(), recipient: None, reached: None }
    } else if let Some(part) =
        find("message/delivery-status").or_else(|| find("message/global-delivery-status"))
    {
        report::delivery_status(&part.text(), &text, &mut marks)
    } else if find("message/disposition-notification").is_some() {
        CameBack { said: Said::AutoReply, status: None, marks: Vec::new(), recipient: None, reached: None }
    } else {
        words::judge(&head, &text)
    };

    for part in &parts {
        if part.returned {
            marks::find(&part.text(), &mut marks);
        }
    }
    for name in ["in-reply-to", "references"] {
        head.all(name).for_each(|value| marks::find(value, &mut marks));
    }
    marks::find(&text, &mut marks);
    found.marks = marks;
    Some(found)
}

/// The head of a message: names in small letters, values unfolded.
struct Head(Vec<(String, String)>);

impl Head {
    fn of(message: &Message<'_>) -> Self {
        let fields = message.headers_raw().take(200).map(|(name, value)| {
            let value = value.replace(['\r', '\n'], "");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let mut fields: Vec<(String, String)> = fields.filter(|(name, _)| name != "subject").collect();
        // With its encoded words read.
        fields.extend(message.subject().map(|subject| ("subject".to_owned(), subject.to_owned())));
        Self(fields)
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }
}

/// One leaf.
struct Part<'a> {
    /// `text/plain`, in small letters.
    kind: String,
    /// It is (the head of) the mail that came back, or inside it.
    returned: bool,
    bytes: Cow<'a, [u8]>,
}

impl Part<'_> {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.bytes.len().min(TEXT_BYTES_MAX)]).into_owned()
    }
}

fn collect<'a>(message: &'a Message<'_>, depth: usize, into: &mut Vec<Part<'a>>) {
    for part in &message.parts {
        if into.len() >= PARTS_MAX {
            return;
        }
        let kind = part.content_type().map_or_else(
            || "text/plain".to_owned(),
            |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("plain")).to_ascii_lowercase(),
        );
        let head_only = kind == "text/rfc822-headers" || kind == "message/global-headers";
        match &part.body {
            PartType::Message(inner) if kind.ends_with("/rfc822") || kind == "message/global" => {
                // Its head first, as text: the Message-ID stands there.
                let raw = inner.raw_message();
                into.push(Part {
                    kind,
                    returned: true,
                    bytes: Cow::Borrowed(&raw[..raw.len().min(TEXT_BYTES_MAX)]),
                });
            }
            PartType::Message(inner) if depth < 4 => collect(inner, depth + 1, into),
            // Too deep, or only a frame.
            PartType::Message(_) | PartType::Multipart(_) => {}
            PartType::Text(text) | PartType::Html(text) => {
                into.push(Part { kind, returned: head_only, bytes: Cow::Borrowed(text.as_bytes()) });
            }
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
                into.push(Part { kind, returned: head_only, bytes: Cow::Borrowed(bytes) });
            }
        }
    }
}

/// What a failure with this status says.
fn failed(status: Option<Status>) -> Said {
    Said::Failed(status.map_or(Fault::Passing, fault))
}
