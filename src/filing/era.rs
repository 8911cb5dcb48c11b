//! Dates as filings write them: an era's digit and YYMMDD.

use chrono::{Datelike as _, NaiveDate};

use crate::model::finding::Text;

/// Why era and digits are no date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EraError {
    /// The era's digit is not 1, 3, 5, 7 or 9.
    Era,
    /// Not as many digits as wanted.
    Digits,
    /// No such day in any calendar.
    NoSuchDay,
    /// The day exists but belongs to another era.
    OtherEra,
    /// One part is there and another is not.
    Half,
}

/// Year, month, day.
type Ymd = (i32, u32, u32);

/// An era: its digit and names, the year before its first, its first and last day.
struct Era {
    digit: u8,
    ja: &'static str,
    en: &'static str,
    offset: i32,
    first: Ymd,
    last: Ymd,
}

const ERAS: [Era; 5] = [
    Era { digit: b'1', ja: "明治", en: "Meiji", offset: 1867, first: (1868, 1, 25), last: (1912, 7, 29) },
    Era { digit: b'3', ja: "大正", en: "Taisho", offset: 1911, first: (1912, 7, 30), last: (1926, 12, 24) },
    Era { digit: b'5', ja: "昭和", en: "Showa", offset: 1925, first: (1926, 12, 25), last: (1989, 1, 7) },
    Era { digit: b'7', ja: "平成", en: "Heisei", offset: 1988, first: (1989, 1, 8), last: (2019, 4, 30) },
    Era { digit: b'9', ja: "令和", en: "Reiwa", offset: 2018, first: (2019, 5, 1), last: (9999, 12, 31) },
];

/// First year's offset, first and last day of an era: M1 T3 S5 H7 R9.
fn era(digit: u8) -> Option<(i32, Ymd, Ymd)> {
    ERAS.iter().find(|era| era.digit == digit).map(|era| (era.offset, era.first, era.last))
}

/// From when to when an era's years are counted, as a sentence's end: `昭和は 1 年 12 月 25 日から 64 年 1 月 7 日まで`.
pub(crate) fn period(era_digit: &[u8]) -> Option<Text> {
    let era = ERAS.iter().find(|era| era_digit == [era.digit])?;
    let (ja, en) = (era.ja, era.en);
    let year = |of: Ymd| of.0 - era.offset;
    let (from, to) = (era.first, era.last);
    let (y, m, d) = (year(from), from.1, from.2);
    let (ty, tm, td) = (year(to), to.1, to.2);
    Some(if to.0 == 9999 {
        Text::new(format!("{ja}は {y} 年 {m} 月 {d} 日から"), format!("{en} begins {y:02}-{m:02}-{d:02}"))
    } else {
        Text::new(
            format!("{ja}は {y} 年 {m} 月 {d} 日から {ty} 年 {tm} 月 {td} 日まで"),
            format!("{en} is {y:02}-{m:02}-{d:02} to {ty:02}-{tm:02}-{td:02}"),
        )
    })
}

/// A day for people, with what a filing writes: `令和8年4月1日(9-080401)`.
pub(crate) fn told(date: NaiveDate) -> Text {
    let (digit, ymd) = written(date);
    let (y, m, d) = (date.year(), date.month(), date.day());
    let era = ERAS.iter().find(|era| char::from(era.digit) == digit);
    let year = match era.map_or(0, |era| y - era.offset) {
        1 => "元".to_owned(),
        year => year.to_string(),
    };
    let ja = format!("{}{year}年{m}月{d}日({digit}-{ymd})", era.map_or("", |era| era.ja));
    Text::new(ja, format!("{y}-{m:02}-{d:02} ({digit}-{ymd})"))
}

/// The day that digits of another era mean, if they are a day at all: 平成 31 年 5 月 1 日 is 2019-05-01.
pub(crate) fn meant(era_digit: &[u8], yymmdd: &[u8]) -> Option<NaiveDate> {
    let [digit] = era_digit else { return None };
    let [y1, y2, m1, m2, d1, d2] = yymmdd else { return None };
    let (year, month, day) = (two(&[*y1, *y2])?, two(&[*m1, *m2])?, two(&[*d1, *d2])?);
    let (offset, ..) = era(*digit)?;
    (year > 0).then(|| NaiveDate::from_ymd_opt(offset + i32::try_from(year).ok()?, month, day)).flatten()
}

fn two(digits: &[u8]) -> Option<u32> {
    match digits {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some(u32::from(a - b'0') * 10 + u32::from(b - b'0')),
        _ => None,
    }
}

/// The day that an era's digit and `YYMMDD` name.
pub(crate) fn day(era_digit: &[u8], yymmdd: &[u8]) -> Result<NaiveDate, EraError> {
    let [digit] = era_digit else { return Err(EraError::Era) };
    let (offset, first, last) = era(*digit).ok_or(EraError::Era)?;
    let (Some(y), Some(m), Some(d)) =
        (yymmdd.get(..2).and_then(two), yymmdd.get(2..4).and_then(two), yymmdd.get(4..).and_then(two))
    else {
        return Err(EraError::Digits);
    };
    // At most 99: fits.
    let year = offset + i32::try_from(y).unwrap_or(0);
    let date = NaiveDate::from_ymd_opt(year, m, d).ok_or(EraError::NoSuchDay)?;
    let at = (year, m, d);
    if y == 0 || at < first || at > last { Err(EraError::OtherEra) } else { Ok(date) }
}

/// The first day of the month that an era's digit, `YY` and `MM` name. A month in which the era changes belongs to both.
pub(crate) fn month(era_digit: &[u8], yy: &[u8], mm: &[u8]) -> Result<NaiveDate, EraError> {
    let [digit] = era_digit else { return Err(EraError::Era) };
    let (offset, first, last) = era(*digit).ok_or(EraError::Era)?;
    let (Some(y), Some(m)) = (two(yy), two(mm)) else { return Err(EraError::Digits) };
    let year = offset + i32::try_from(y).unwrap_or(0);
    let date = NaiveDate::from_ymd_opt(year, m, 1).ok_or(EraError::NoSuchDay)?;
    let at = (year, m);
    if y == 0 || at < (first.0, first.1) || at > (last.0, last.1) {
        Err(EraError::OtherEra)
    } else {
        Ok(date)
    }
}

/// A day as filings write it: the era's digit and `YYMMDD`. Days before Meiji's first are written as that day.
pub(crate) fn written(date: NaiveDate) -> (char, String) {
    let at = (date.year(), date.month(), date.day());
    let digit = ['9', '7', '5', '3', '1']
        .into_iter()
        .find(|digit| u8::try_from(*digit).ok().and_then(era).is_some_and(|(_, first, _)| at >= first))
        .unwrap_or('1');
    let offset = u8::try_from(digit).ok().and_then(era).map_or(0, |(offset, ..)| offset);
    (digit, format!("{:02}{:02}{:02}", (date.year() - offset).clamp(1, 99), date.month(), date.day()))
}

/// The first day on which somebody born on `birth` is `years` old: the day before the birthday (年齢計算ニ関スル法律).
pub(crate) fn reaches(birth: NaiveDate, years: i32) -> Option<NaiveDate> {
    let year = birth.year().checked_add(years)?;
    let birthday = NaiveDate::from_ymd_opt(year, birth.month(), birth.day())
        .or_else(|| NaiveDate::from_ymd_opt(year, 3, 1))?;
    birthday.pred_opt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(y: i32, m: u32, d: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(y, m, d).unwrap()
    }

    #[test]
    fn eras_change_on_their_day() {
        let cases = [
            ("5", "640107", Ok(date(1989, 1, 7))),
            ("5", "640108", Err(EraError::OtherEra)),
            ("7", "010107", Err(EraError::OtherEra)),
            ("7", "010108", Ok(date(1989, 1, 8))),
            ("7", "310430", Ok(date(2019, 4, 30))),
            ("7", "310501", Err(EraError::OtherEra)),
            ("9", "010430", Err(EraError::OtherEra)),
            ("9", "010501", Ok(date(2019, 5, 1))),
            ("9", "080230", Err(EraError::NoSuchDay)),
            ("9", "080229", Err(EraError::NoSuchDay)),
            ("9", "060229", Ok(date(2024, 2, 29))),
            ("9", "001231", Err(EraError::OtherEra)),
            ("3", "010730", Ok(date(1912, 7, 30))),
            ("1", "450730", Err(EraError::OtherEra)),
            ("2", "010101", Err(EraError::Era)),
            ("9", "0801", Err(EraError::Digits)),
            ("9", "08010a", Err(EraError::Digits)),
            ("9", "0801011", Err(EraError::Digits)),
            ("", "080101", Err(EraError::Era)),
        ];
        for (era, ymd, expected) in cases {
            assert_eq!(day(era.as_bytes(), ymd.as_bytes()), expected, "{era} {ymd}");
        }
        assert_eq!(month(b"7", b"31", b"04"), Ok(date(2019, 4, 1)));
        assert_eq!(month(b"9", b"01", b"04"), Err(EraError::OtherEra));
        assert_eq!(month(b"9", b"08", b"13"), Err(EraError::NoSuchDay));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for at in [date(1989, 1, 7), date(1989, 1, 8), date(2019, 4, 30), date(2019, 5, 1), date(1920, 2, 29)]
        {
            let (era, ymd) = written(at);
            assert_eq!(day(era.to_string().as_bytes(), ymd.as_bytes()), Ok(at));
        }
    }

    #[test]
    fn a_day_is_told_with_its_era_and_an_era_with_its_days() {
        let text = |at| (told(at).ja, told(at).en);
        let expected = ("令和8年4月1日(9-080401)".to_owned(), "2026-04-01 (9-080401)".to_owned());
        assert_eq!(text(date(2026, 4, 1)), expected);
        assert_eq!(text(date(2019, 5, 1)).0, "令和元年5月1日(9-010501)");
        assert_eq!(meant(b"7", b"310501"), Some(date(2019, 5, 1)));
        assert_eq!(
            (meant(b"7", b"000501"), meant(b"7", b"310231"), meant(b"7", b"3105")),
            (None, None, None)
        );
        assert_eq!(period(b"3").unwrap().ja, "大正は 1 年 7 月 30 日から 15 年 12 月 24 日まで");
        assert_eq!(period(b"9").unwrap().en, "Reiwa begins 01-05-01");
        assert_eq!(period(b"4"), None);
    }

    #[test]
    fn one_is_a_year_older_the_day_before_the_birthday() {
        assert_eq!(reaches(date(1956, 4, 1), 70), Some(date(2026, 3, 31)));
        assert_eq!(reaches(date(1956, 2, 29), 70), Some(date(2026, 2, 28)));
    }
}
