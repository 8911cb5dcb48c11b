//! Holidays as a table, in the form in which the Cabinet Office publishes the Japanese ones (`syukujitsu.csv`): a day and its
//! name on each line. The published file can be put in its place as it is (CP932).

use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};

/// The Japanese table that comes with the program.
pub const JA: &str = include_str!("../../../conf/holidays/ja.csv");
/// Bytes of a table's file.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// Days that are nobody's business days, by name. 振替休日 and 国民の休日 stand in the table like any other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holidays(BTreeMap<NaiveDate, String>);

/// A line that is none of a table's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: must be a day and its name, such as 2026/11/23,勤労感謝の日")]
pub struct HolidaysError {
    /// From 1.
    pub line: usize,
}

impl Holidays {
    /// Reads a table: UTF-8 (with BOM or without) or CP932; `2026/1/1` or `2026-01-01`, a comma, a name. The first line may
    /// be a heading; lines that begin with `#` are remarks.
    pub fn parse(bytes: &[u8]) -> Result<Self, HolidaysError> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => encoding_rs::SHIFT_JIS.decode_without_bom_handling(bytes).0,
        };
        let mut days = BTreeMap::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (day, name) = line.split_once(',').unwrap_or((line, ""));
            match day_of(day.trim()) {
                Some(day) => {
                    days.insert(day, name.trim_matches(['"', ' ', ',']).to_owned());
                }
                None if at == 0 => {}
                None => return Err(HolidaysError { line: at + 1 }),
            }
        }
        Ok(Self(days))
    }

    /// The name of a holiday.
    pub fn name(&self, day: NaiveDate) -> Option<&str> {
        self.0.get(&day).map(String::as_str)
    }

    /// The last day that the table speaks of: the end of its last year. None of an empty one.
    pub fn ends(&self) -> Option<NaiveDate> {
        let (last, _) = self.0.last_key_value()?;
        NaiveDate::from_ymd_opt(last.year(), 12, 31)
    }
}

fn day_of(text: &str) -> Option<NaiveDate> {
    let text = text.trim_matches('"');
    ["%Y/%m/%d", "%Y-%m-%d"].iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok())
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike as _, Days, Weekday};

    use super::*;

    /// What the law says (国民の祝日に関する法律), with the equinoxes as astronomers reckon them ahead.
    fn by_law(year: i32) -> BTreeMap<NaiveDate, String> {
        let day = |month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let monday = |month, n| NaiveDate::from_weekday_of_month_opt(year, month, Weekday::Mon, n).unwrap();
        // In millionths of a day.
        let equinox = |first: i64| {
            let years = i64::from(year - 1980);
            u32::try_from((first + 242_194 * years) / 1_000_000 - years / 4).unwrap()
        };
        let named: BTreeMap<NaiveDate, String> = [
            (day(1, 1), "元日"),
            (monday(1, 2), "成人の日"),
            (day(2, 11), "建国記念の日"),
            (day(2, 23), "天皇誕生日"),
            (day(3, equinox(20_843_100)), "春分の日"),
            (day(4, 29), "昭和の日"),
            (day(5, 3), "憲法記念日"),
            (day(5, 4), "みどりの日"),
            (day(5, 5), "こどもの日"),
            (monday(7, 3), "海の日"),
            (day(8, 11), "山の日"),
            (monday(9, 3), "敬老の日"),
            (day(9, equinox(23_248_800)), "秋分の日"),
            (monday(10, 2), "スポーツの日"),
            (day(11, 3), "文化の日"),
            (day(11, 23), "勤労感謝の日"),
        ]
        .map(|(day, name)| (day, name.to_owned()))
        .into();
        let mut all = named.clone();
        for sunday in named.keys().filter(|day| day.weekday() == Weekday::Sun) {
            let free = (1..9).map(|n| *sunday + Days::new(n)).find(|day| !named.contains_key(day));
            all.insert(free.unwrap(), "休日".to_owned());
        }
        for before in named.keys() {
            let (between, after) = (*before + Days::new(1), *before + Days::new(2));
            if named.contains_key(&after) && !all.contains_key(&between) && between.weekday() != Weekday::Sun
            {
                all.insert(between, "休日".to_owned());
            }
        }
        all
    }

    #[test]
    fn the_table_is_what_the_law_says() {
        let table = Holidays::parse(JA.as_bytes()).unwrap();
        let years: Vec<i32> = table.0.keys().map(chrono::Datelike::year).collect();
        let (first, last) = (*years.first().unwrap(), *years.last().unwrap());
        assert!(last - first >= 5);
        let law: BTreeMap<_, _> = (first..=last).flat_map(by_law).collect();
        assert_eq!(table.0, law);
        assert_eq!(table.ends(), NaiveDate::from_ymd_opt(last, 12, 31));
    }

    #[test]
    fn the_published_form_is_read_and_a_slip_is_named() {
        let text = "国民の祝日・休日月日,国民の祝日・休日名称\r\n2026/1/1,元日\r\n2026/9/22,休日\r\n";
        let cp932 = encoding_rs::SHIFT_JIS.encode(text).0;
        let ours = "\u{feff}# 2026\n2026-01-01,元日\n\"2026-09-22\",\"休日\"\n";
        let table = Holidays::parse(&cp932).unwrap();
        assert_eq!(Holidays::parse(ours.as_bytes()).unwrap(), table);
        assert_eq!(table.name(NaiveDate::from_ymd_opt(2026, 9, 22).unwrap()), Some("休日"));
        assert_eq!(Holidays::parse(b"day,name\n2026/1/1,x\n1/2/2026,y\n"), Err(HolidaysError { line: 3 }));
        assert_eq!(Holidays::parse(b"").unwrap().ends(), None);
    }
}
