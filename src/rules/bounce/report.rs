//! `message/delivery-status` (RFC 3464).

use super::words;
use super::{CameBack, Mark, Said, failed, marks};
use crate::rules::smtp_code::Status;

/// Recipients looked at; our mails have one.
const GROUPS_MAX: usize = 50;

/// The value of the first field of this name, unfolded; names compare without case.
pub(super) fn field(group: &str, name: &str) -> Option<String> {
    let mut value: Option<String> = None;
    for line in group.lines() {
        match &mut value {
            Some(value) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            Some(_) => break,
            None => {
                let Some((there, rest)) = line.split_once(':') else { continue };
                if there.trim().eq_ignore_ascii_case(name) {
                    value = Some(rest.trim().to_owned());
                }
            }
        }
    }
    value
}

/// Reads the report. `text` is what the host wrote for people: where the report is vague (exim says 5.0.0 and nothing
/// else), its words are asked.
pub(super) fn delivery_status(report: &str, text: &str, found: &mut Vec<Mark>) -> CameBack {
    let report = report.replace("\r\n", "\n");
    if let Some(envelope) = field(&report, "original-envelope-id") {
        marks::find(&envelope, found);
    }
    let groups = report.split("\n\n").filter(|group| field(group, "action").is_some()).take(GROUPS_MAX);
    let worst = groups.map(|group| recipient(group, text)).max_by_key(|said| rank(said.said));
    worst.unwrap_or_else(|| {
        // A report without recipients: its words are all there is.
        let status = words::status(text);
        let said = if status.is_some() { failed(status) } else { Said::Other };
        CameBack { said, status, marks: Vec::new(), recipient: None, reached: None }
    })
}

fn rank(said: Said) -> u8 {
    match said {
        Said::Failed(_) => 3,
        Said::Delayed => 2,
        Said::Relayed => 1,
        _ => 0,
    }
}

fn recipient(group: &str, text: &str) -> CameBack {
    let action = field(group, "action").unwrap_or_default().to_ascii_lowercase();
    let action = action.split_whitespace().next().unwrap_or_default();
    let address = |name: &str| {
        let value = field(group, name)?;
        let address =
            value.rsplit(';').next()?.trim().trim_start_matches('<').trim_end_matches('>').to_owned();
        address.contains('@').then_some(address)
    };
    let reached = address("final-recipient");
    let mailbox = address("original-recipient").or_else(|| reached.clone());
    let status = field(group, "status").and_then(|value| Status::find(&value));
    let diagnostic = field(group, "diagnostic-code").unwrap_or_default();
    // What the last host said is better than a status that says only "failed".
    let told = Status::find(&diagnostic).filter(|told| !told.is_bare());
    let status = match status {
        Some(status) if status.is_bare() => told
            .filter(|told| told.class == status.class)
            .or_else(|| words::status(&diagnostic))
            .or_else(|| words::status(text))
            .or(Some(status)),
        None => told.or_else(|| words::status(&diagnostic)).or_else(|| words::status(text)),
        known => known,
    };
    let said = match action {
        "delayed" => Said::Delayed,
        "delivered" | "expanded" => Said::Delivered,
        "relayed" => Said::Relayed,
        _ => failed(status),
    };
    CameBack { said, status, marks: Vec::new(), recipient: mailbox, reached }
}
