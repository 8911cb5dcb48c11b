//! The claims profile: control, data and end records with serial numbers (KPFD.md, last section). Fields are its tables'.

use super::catalog::Rule;
use super::check::{Checker, Place, shown};
use super::record::Record;
use super::tables::Profile;

/// Which family of files one is of, by its first bytes. Claims begin with their control record, whatever the number of its
/// fields; a filing's media record, which may begin with office 1, is followed by `[kanri]`.
pub fn profile_of(head: &[u8]) -> Profile {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).take(5);
    let first = lines.next().unwrap_or_default();
    let mut lines = lines.peekable();
    let goes_on = lines.peek().is_some_and(|line| line.starts_with(b"2,") || line.starts_with(b"3,"));
    let kind = first.split(|byte| *byte == b',').nth(4).unwrap_or_default();
    let control = first.starts_with(b"1,") && (goes_on || matches!(kind, b"711" | b"821"));
    let marked = lines.any(|line| line.starts_with(b"[kanri]") || line.starts_with(b"[data]"));
    if control && !marked { Profile::Claims } else { Profile::Kpfd }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    lines: u64,
    control: bool,
    ended: bool,
    /// The last line's.
    serial: u64,
    data: u64,
    stated: Option<String>,
}

impl Checker<'_> {
    /// One line of a claims file.
    pub(super) fn claims(&mut self, record: Record<'_>) {
        let kind = record.at(0);
        let control = kind == b"1";
        if control && self.claims.control {
            let (ja, en) = (
                "コントロールレコード(1 で始まる行)が 2 つあります",
                "There are two control records (beginning with 1)",
            );
            self.report_in_both(Rule::ClaimsFirst, &[ja], &[en], Place::default());
        } else if self.claims.lines == 0 && !control {
            let (ja, en) = (
                "先頭がコントロールレコード(1 で始まる行)ではありません",
                "The first line is not the control record (beginning with 1)",
            );
            self.report_in_both(Rule::ClaimsFirst, &[ja], &[en], Place::default());
        }
        self.claims.lines += 1;
        if self.claims.ended {
            self.report(Rule::ClaimsEnd, &[], Place::default());
        }
        self.claims.control |= control;
        self.claims.ended = kind == b"3";
        let (expected, serial) = (self.claims.serial.saturating_add(1), record.at(1));
        let read = std::str::from_utf8(serial).ok().filter(|t| t.len() <= 18).and_then(|t| t.parse().ok());
        // What follows a line that was lost counts on from where it stands.
        self.claims.serial = read.unwrap_or(expected);
        if read != Some(expected) {
            let shown = shown(serial);
            let place = Place { field: Some(2), value: Some(shown.clone()), ..Place::default() };
            self.report(Rule::ClaimsSerial, &[&shown, &expected.to_string()], place);
        }
        let rules = self.rules;
        let Some(form) = rules.forms(Profile::Claims).find(|form| form.code.as_bytes() == kind) else {
            let shown = shown(kind);
            let place = Place { field: Some(1), value: Some(shown.clone()), ..Place::default() };
            return self.report(Rule::ClaimsKind, &[&shown], place);
        };
        match kind {
            b"1" => self.claims.stated = Some(shown(record.at(3))),
            b"2" => self.claims.data += 1,
            _ => {}
        }
        self.count_claims(form);
        self.record(form, record);
    }

    /// What only the whole file shows.
    pub(super) fn claims_end(&mut self) {
        if !self.claims.ended {
            self.report(Rule::ClaimsEnd, &[], Place::default());
        }
        let data = self.claims.data;
        if let Some(stated) = self.claims.stated.take()
            && stated.parse() != Ok(data)
        {
            self.report(Rule::ClaimsCount, &[&stated, &data.to_string()], Place::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_known_by_their_control_record_whatever_its_length() {
        let control = "1,1,0,2,711,0,0,1310000001,0,7,202611,1";
        for (head, expected) in [
            (format!("{control}\r\n2,2,7111\r\n"), Profile::Claims),
            (format!("{control},\r\n2,2,7111\r\n"), Profile::Claims),
            ("1,1,0,2\r\n3,2\r\n".into(), Profile::Claims),
            ("1,001,20261123,,711,,,\r\n[kanri]\r\n,001\r\n".into(), Profile::Kpfd),
            ("1,001,20261123,,,,,\r\n".into(), Profile::Kpfd),
            (String::new(), Profile::Kpfd),
        ] {
            assert_eq!(profile_of(head.as_bytes()), expected, "{head}");
        }
    }
}
