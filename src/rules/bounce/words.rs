//! Hosts that write no report, and machines that answer: judged by their heads and words.

use super::{CameBack, Head, Said, failed};
use crate::rules::smtp_code::Status;

/// Words of failures, and the status they stand for. The first that stands in a text counts.
const PHRASES: &[(&str, &str)] = &[
    ("user unknown", "5.1.1"),
    ("unknown user", "5.1.1"),
    ("no such user", "5.1.1"),
    ("no mailbox here by that name", "5.1.1"),
    ("no such mailbox", "5.1.1"),
    ("mailbox unavailable or not found", "5.1.1"),
    ("unknown recipient", "5.1.1"),
    ("recipient unknown", "5.1.1"),
    ("unknown local part", "5.1.1"),
    ("user doesn't exist", "5.1.1"),
    ("user does not exist", "5.1.1"),
    ("does not exist", "5.1.1"),
    ("invalid recipient", "5.1.1"),
    ("wasn't found at", "5.1.1"),
    ("couldn't be found", "5.1.1"),
    ("address rejected: unknown", "5.1.1"),
    ("あて先が見つかりません", "5.1.1"),
    ("宛先が見つかりません", "5.1.1"),
    ("存在しません", "5.1.1"),
    ("unrouteable address", "5.1.2"),
    ("unrouteable mail domain", "5.1.2"),
    ("couldn't find any host named", "5.1.2"),
    ("domain not found", "5.1.2"),
    ("host not found", "5.1.2"),
    ("account disabled", "5.2.1"),
    ("account has been disabled", "5.2.1"),
    ("mailbox disabled", "5.2.1"),
    ("mailbox is full", "5.2.2"),
    ("mailbox full", "5.2.2"),
    ("over quota", "5.2.2"),
    ("quota exceeded", "5.2.2"),
    ("exceeds quota", "5.2.2"),
    ("容量", "5.2.2"),
    ("message too large", "5.3.4"),
    ("retry timeout exceeded", "4.4.7"),
    ("in the queue too long", "4.4.7"),
    ("could not be delivered for more than", "4.4.7"),
    // Vague, and so behind those that say more.
    ("user not found", "5.1.1"),
    ("no such recipient", "5.1.1"),
    ("no such address", "5.1.1"),
    ("no such person", "5.1.1"),
    ("recipient not found", "5.1.1"),
    ("invalid mailbox", "5.1.1"),
    ("mailbox not found", "5.1.1"),
    ("mailbox unavailable", "5.1.1"),
];

/// In an answer to RCPT these speak of us, or of what the host thinks of us, whatever else it says.
const ABOUT_US: &[&str] = &[
    "sender",
    "your ip",
    "client host",
    "helo",
    "block",
    "black",
    "listed",
    "spam",
    "policy",
    "policies",
    "reputation",
    "denied",
    "relay",
    "authenticat",
    "送信元",
    "拒否",
];

/// Subjects of failures.
const FAILURE_SUBJECTS: &[&str] = &[
    "failure notice",
    "undelivered mail",
    "undeliverable",
    "mail delivery failed",
    "delivery failure",
    "delivery status notification",
    "returned mail",
    "mail system error",
    "配信不能",
    "配信できませんでした",
];

/// The status that a text's codes or words stand for.
pub(super) fn status(text: &str) -> Option<Status> {
    let enhanced = lines(text)
        .find_map(|line| Status::find(line).filter(|status| status.class != 2 && !status.is_bare()));
    // Line ends stand anywhere.
    enhanced.or_else(|| phrase(&text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// `flat`: in small letters, on one line.
fn phrase(flat: &str) -> Option<Status> {
    PHRASES.iter().find(|(words, _)| flat.contains(words)).and_then(|(_, status)| Status::parse(status))
}

/// What a host's words at RCPT stand for, where it gave a code alone (`550 User unknown`) and they say that nobody reads
/// mail at the address.
pub fn blame(text: &str) -> Option<Status> {
    // What an address is called says nothing.
    let words = text.split_whitespace().filter(|word| !word.contains('@'));
    let flat = words.collect::<Vec<_>>().join(" ").to_lowercase();
    if ABOUT_US.iter().any(|about| flat.contains(about)) {
        return None;
    }
    phrase(&flat).filter(|status| matches!((status.subject, status.detail), (1 | 2, 1)))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take(400)
}

/// Judges a message without a report.
pub(super) fn judge(head: &Head, text: &str) -> CameBack {
    let from = head.get("from").unwrap_or_default().to_ascii_lowercase();
    let subject = head.get("subject").unwrap_or_default().to_lowercase();
    let automatic = head.get("auto-submitted").unwrap_or_default().to_ascii_lowercase();
    let host = ["mailer-daemon", "postmaster", "mail delivery sub"].iter().any(|name| from.contains(name));
    let failure = FAILURE_SUBJECTS.iter().any(|words| subject.contains(words));
    let failed_recipient = head.get("x-failed-recipients").map(|value| value.trim().to_owned());

    if failed_recipient.is_some()
        || (host && !automatic.starts_with("auto-notified"))
        || (failure && !is_answer(head))
    {
        let status = status(text);
        let delayed = [
            "delayed",
            "warning: could not send",
            "still trying",
            "will be retried",
            "will continue to be retried",
        ];
        let flat = format!("{subject} {}", text.to_lowercase());
        let said = if delayed.iter().any(|words| flat.contains(words)) && !flat.contains("failed permanently")
        {
            Said::Delayed
        } else if status.is_none() && !failure && failed_recipient.is_none() {
            Said::Other
        } else {
            failed(status)
        };
        let recipient = failed_recipient.or_else(|| address_in(text));
        return CameBack { said, status, marks: Vec::new(), reached: recipient.clone(), recipient };
    }
    let said = if is_answer(head) || automatic.starts_with("auto-") { Said::AutoReply } else { Said::Other };
    CameBack { said, status: None, marks: Vec::new(), recipient: None, reached: None }
}

/// An answer that no person wrote (RFC 3834, and what came before it).
fn is_answer(head: &Head) -> bool {
    let says = |name: &str, values: &[&str]| {
        head.get(name).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            values.is_empty() || values.iter().any(|known| value.starts_with(known))
        })
    };
    says("auto-submitted", &["auto-replied"])
        || says("x-auto-response-suppress", &[])
        || says("x-autoreply", &[])
        || says("x-autorespond", &[])
        || says("precedence", &["bulk", "junk", "auto_reply"])
        || head.get("subject").is_some_and(|subject| {
            let subject = subject.to_lowercase();
            ["out of office", "automatic reply", "auto:", "自動応答", "自動返信", "不在"]
                .iter()
                .any(|w| subject.contains(w))
        })
}

/// The first `<local@domain>` that stands in a line of its own, as qmail writes it.
fn address_in(text: &str) -> Option<String> {
    lines(text).find_map(|line| {
        let inner = line.trim().strip_prefix('<')?.split('>').next()?;
        (inner.contains('@') && !inner.contains(char::is_whitespace)).then(|| inner.to_owned())
    })
}
