//! The line that `ls -l` would print, which `SSH_FXP_NAME` carries for each entry and stock clients show as it is.

use std::io::Write as _;

use super::port::Attributes;

const DAY: u64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes lines for one listing; dates are UTC, with the time of day for the last half year and the year before that,
/// as `ls` has it.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    account: &'a str,
    now: u64,
    /// The day last converted: entries of one listing often share it.
    day: (u64, Date),
}

#[derive(Debug, Clone, Copy)]
struct Date {
    year: u64,
    month: usize,
    day: u64,
}

impl<'a> Lines<'a> {
    /// `now` in seconds since 1970.
    pub(crate) fn new(account: &'a str, now: u64) -> Self {
        Self { account, now, day: (0, civil(0)) }
    }

    pub(crate) fn write(&mut self, into: &mut Vec<u8>, name: &str, attributes: &Attributes) {
        into.push(if attributes.folder { b'd' } else { b'-' });
        for shift in [6, 3, 0] {
            let bits = attributes.mode >> shift;
            into.push(if bits & 4 != 0 { b'r' } else { b'-' });
            into.push(if bits & 2 != 0 { b'w' } else { b'-' });
            into.push(if bits & 1 != 0 { b'x' } else { b'-' });
        }
        let day = attributes.modified / DAY;
        if day != self.day.0 {
            self.day = (day, civil(day));
        }
        let Date { year, month, day } = self.day.1;
        let second = attributes.modified % DAY;
        let recent = attributes.modified <= self.now + DAY && attributes.modified + 182 * DAY > self.now;
        let (account, size, month) = (self.account, attributes.size, MONTHS[month]);
        // Writing to a Vec cannot fail.
        let _ = write!(into, "    1 {account:<8} {account:<8} {size:>12} {month} {day:>2} ");
        let _ = if recent {
            write!(into, "{:02}:{:02} {name}", second / 3600, second / 60 % 60)
        } else {
            write!(into, "{year:>5} {name}")
        };
    }
}

/// A day since 1970-01-01 in the Gregorian calendar; `month` from 0.
fn civil(day: u64) -> Date {
    // Years are counted from March, so that the leap day is the last of the year, in eras of 400 years.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = usize::try_from((march_month + 2) % 12).unwrap_or(0);
    Date {
        year: era * 400 + year + u64::from(month < 2),
        month,
        day: of_year - (153 * march_month + 2) / 5 + 1,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike};
    use expect_test::expect;

    use super::*;

    #[test]
    fn lines_look_like_ls() {
        let now = 1_795_400_000;
        let mut lines = Lines::new("K0001", now);
        let mut text = Vec::new();
        for (folder, size, mode, modified) in
            [(false, 1234, 0o440, now - 60), (true, 0, 0o755, now - 400 * DAY), (false, u64::MAX, 0, 0)]
        {
            lines.write(&mut text, "届け.pdf", &Attributes { folder, size, mode, modified });
            text.push(b'\n');
        }
        expect![[r"
            -r--r-----    1 K0001    K0001            1234 Nov 23 02:12 届け.pdf
            drwxr-xr-x    1 K0001    K0001               0 Oct 19  2025 届け.pdf
            ----------    1 K0001    K0001    18446744073709551615 Jan  1  1970 届け.pdf
        "]]
        .assert_eq(&String::from_utf8(text).unwrap());
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        for day in (0..80_000).step_by(13).chain(11_000..11_400) {
            let date = DateTime::from_timestamp(i64::try_from(day * DAY).unwrap(), 0).unwrap();
            let ours = civil(day);
            assert_eq!(
                (i32::try_from(ours.year).unwrap(), ours.month, ours.day),
                (date.year(), date.month0() as usize, u64::from(date.day())),
            );
        }
        civil(u64::MAX / DAY);
    }
}
