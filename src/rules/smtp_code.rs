//! What a mail host's codes mean (RFC 5321 section 4.2, RFC 3463): try again or give up, and whether the address is to
//! blame.

use std::fmt;

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// Such as 1 (address), 2 (mailbox), 7 (policy).
    pub subject: u16,
    /// What about it.
    pub detail: u16,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl Status {
    /// `5.1.1`, and nothing around it.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || -> Option<u16> {
            let part = parts.next()?;
            let fine = (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            if fine { part.parse().ok() } else { None }
        };
        let (class, subject, detail) = (number()?, number()?, number()?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return None;
        }
        Some(Self { class: u8::try_from(class).ok()?, subject, detail })
    }

    /// The first one in a text, such as `550 5.1.1 <...>: user unknown`.
    pub fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find_map(|word| Self::parse(word.trim_matches('.')))
    }

    /// Says no more than its class.
    pub fn is_bare(self) -> bool {
        self.subject == 0
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody reads mail there: no such mailbox or domain, or it was closed. Further mails are pointless.
    Address,
    /// It may work another day: full, refused by a policy, too late.
    Passing,
}

/// Whose fault a failure with this status is. A status of the class 4 is never the address's: the host gave up waiting.
pub fn fault(status: Status) -> Fault {
    match (status.class, status.subject, status.detail) {
        (5, 1, 0..=4 | 6 | 10) | (5, 2, 1) | (5, 4, 4) => Fault::Address,
        _ => Fault::Passing,
    }
}

/// Whether a reply other than 2xx is about this moment. Quirks of real hosts are told in the cases below.
pub fn is_temporary(code: u16, status: Option<Status>, text: &str) -> bool {
    if code / 100 == 4 {
        return true;
    }
    // Some greylisting hosts say 5xx and mean later: their enhanced code or their words tell.
    if status.is_some_and(|status| status.class == 4) || says_later(text) {
        return true;
    }
    // Full (5.2.2). 552 alone meant "too many recipients" to older hosts (RFC 5321 section 4.5.3.1.10), which is 452; too large
    // for this host (5.3.4, 5.2.3) is for good.
    matches!((code, status), (552, None) | (_, Some(Status { class: 5, subject: 2, detail: 2 })))
}

fn says_later(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["greylist", "graylist", "try again later", "try later", "temporarily", "temporary failure"]
        .iter()
        .any(|words| text.contains(words))
}

/// Whether a reply that is kept says that nobody reads mail at the address: `550 5.1.1`. A code alone does not, since hosts
/// answer `550` to whatever they do not like; nor does what was answered at another step than RCPT (`550 5.1.1 (message)`).
pub fn blames_address(reply: &str) -> bool {
    let mut words = reply.split(' ');
    let code: Option<u16> = words.next().and_then(|code| code.parse().ok());
    let status = words.next().and_then(Status::parse);
    match (code, status) {
        (Some(code), Some(status)) => {
            code / 100 == 5 && fault(status) == Fault::Address && words.next().is_none()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> Status {
        Status::parse(text).unwrap()
    }

    #[test]
    fn statuses_are_read() {
        assert_eq!(status("5.1.1").to_string(), "5.1.1");
        for text in ["", "5", "5.1", "5.1.1.1", "3.1.1", "5.1.1234", "5..1", "5.x.1", "10.0.0.1"] {
            assert_eq!(Status::parse(text), None, "{text}");
        }
        assert_eq!(Status::find("smtp; 550 5.1.1 <a@b>: no"), Some(status("5.1.1")));
        assert_eq!(Status::find("host 192.0.2.1 said: 452-4.2.2 full"), Some(status("4.2.2")));
        assert_eq!(Status::find("#5.7.1 smtp;550"), Some(status("5.7.1")));
        assert_eq!(Status::find("nothing 192.0.2.1"), None);
    }

    #[test]
    fn now_or_never() {
        for (code, enhanced, text, temporary) in [
            (450, None, "", true),
            (450, Some("5.1.1"), "class and code differ", true),
            (421, Some("4.7.0"), "", true),
            (550, Some("5.1.1"), "user unknown", false),
            (550, None, "No such user", false),
            (550, Some("4.7.1"), "wait", true),
            (550, None, "Greylisted, see you", true),
            (554, Some("5.7.1"), "service unavailable; try again later", true),
            (554, Some("5.7.1"), "spam", false),
            (552, None, "too many recipients", true),
            (552, Some("5.2.2"), "over quota", true),
            (552, Some("5.3.4"), "too large", false),
            (550, Some("5.2.2"), "full", true),
            (553, None, "", false),
        ] {
            let got = is_temporary(code, enhanced.map(status), text);
            assert_eq!(got, temporary, "{code} {enhanced:?} {text}");
        }
    }

    #[test]
    fn the_address_is_blamed_for_its_own_faults_only() {
        for (text, expected) in [
            ("5.1.1", Fault::Address),
            ("5.1.2", Fault::Address),
            ("5.1.6", Fault::Address),
            ("5.1.10", Fault::Address),
            ("5.2.1", Fault::Address),
            ("5.4.4", Fault::Address),
            ("5.1.8", Fault::Passing),
            ("5.2.2", Fault::Passing),
            ("5.7.1", Fault::Passing),
            ("5.0.0", Fault::Passing),
            ("4.1.1", Fault::Passing),
            ("4.4.1", Fault::Passing),
        ] {
            assert_eq!(fault(status(text)), expected, "{text}");
        }
        for (reply, blamed) in [
            ("550 5.1.1", true),
            ("550", false),
            ("553", false),
            ("550 5.1.1 (message)", false),
            ("550 5.7.1", false),
            ("554", false),
            ("450 5.1.1", false),
            ("550 (mail from)", false),
            ("timeout", false),
            ("expired: 550 5.1.1", false),
        ] {
            assert_eq!(blames_address(reply), blamed, "{reply}");
        }
    }
}
