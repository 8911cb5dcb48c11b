//! What is said about fields and dates: with the names of errors that users of the pension service's checker know.

use super::era::EraError;
use super::record::Record;
use super::tables::{Class, DateDigits, DateGroup, Field, FieldRule};
use crate::model::finding::Text;

fn class(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Digits => ("半角数字", "digits"),
        Class::Alnum => ("半角英数字", "ASCII letters and digits"),
        Class::Symbol => ("半角英数字・半角カナ", "ASCII letters, digits and half-width kana"),
        Class::Kana => ("半角カナ", "half-width kana"),
        Class::Wide => ("全角文字", "two-byte characters"),
        Class::Text => ("表示できる文字", "printable characters"),
    }
}

/// What was wrong with a field, and what to do.
pub(crate) fn field(field: &Field, rule: FieldRule, value: &[u8], character: Option<&str>) -> (Text, Text) {
    let name = &field.name;
    match rule {
        FieldRule::Required => (
            Text::new(format!("「{}」が記入されていません。", name.ja), format!("The {} is blank.", name.en)),
            Text::new(format!("「{}」を記入してください。", name.ja), format!("Enter the {}.", name.en)),
        ),
        FieldRule::Chars => {
            let (ja, en) = class(field.class);
            let (which_ja, which_en) = match character {
                Some(c) => (format!("「{c}」"), format!(" ({c})")),
                None => (String::new(), String::new()),
            };
            (
                Text::new(
                    format!(
                        "「{}」に使えない文字{which_ja}があります。使えるのは{ja}です。[入力不可文字検出]",
                        name.ja
                    ),
                    format!(
                        "The {} holds a character it cannot have{which_en}; it takes {en}. [入力不可文字検出]",
                        name.en
                    ),
                ),
                Text::new(format!("{ja}で入れ直してください。"), format!("Enter it in {en}.")),
            )
        }
        FieldRule::Length => length(field, value),
        FieldRule::Value => {
            let mut values: Vec<_> =
                field.values.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
            let more = values.len() > 12;
            values.truncate(12);
            let list = |sep: &str| values.join(sep) + if more { " ..." } else { "" };
            (
                Text::new(
                    format!("「{}」に使える値は {} です。", name.ja, list("、")),
                    format!("The {} is one of {}.", name.en, list(", ")),
                ),
                Text::new("値を確かめて、入れ直してください。", "Check the value and enter it again."),
            )
        }
    }
}

fn length(field: &Field, value: &[u8]) -> (Text, Text) {
    let (least, most) = field.bytes;
    let (mut ja, mut en) = if least == most {
        (format!("{most} バイト"), format!("{most} bytes"))
    } else if least <= 1 {
        (format!("{most} バイトまで"), format!("at most {most} bytes"))
    } else {
        (format!("{least}〜{most} バイト"), format!("{least} to {most} bytes"))
    };
    if let Some(chars) = field.chars_max {
        ja = format!("{chars} 文字まで、{ja}");
        en = format!("at most {chars} characters, {en}");
    }
    let len = value.len();
    (
        Text::new(
            format!("「{}」の長さが {len} バイトです({ja})。[最大桁数超過]", field.name.ja),
            format!("The {} has {len} bytes ({en}). [最大桁数超過]", field.name.en),
        ),
        Text::new("桁数を確かめて、入れ直してください。", "Check the length and enter it again."),
    )
}

/// The field that a date's finding points to, and the date's digits as they stand.
pub(crate) fn date_digits(date: &DateGroup, record: &Record<'_>) -> (usize, Vec<u8>) {
    let era = record.get(date.era);
    match date.digits {
        DateDigits::Day(ymd) => (ymd, [era, b"-", record.get(ymd)].concat()),
        DateDigits::Month(yy, mm) => (yy, [era, b"-", record.get(yy), record.get(mm)].concat()),
    }
}

/// What was wrong with a date, and what to do.
pub(crate) fn date(date: &DateGroup, why: EraError) -> (Text, Text) {
    let (ja, en) = match why {
        EraError::NoSuchDay => ("は存在しない日付です", "does not exist"),
        EraError::OtherEra => (
            "は、その元号の期間にない日付です(昭和は 64 年 1 月 7 日まで、平成は 1 年 1 月 8 日から 31 年 4 月 30 日まで、令和は 1 年 5 月 1 日から)",
            "lies outside its era (Showa ends 64-01-07, Heisei is 01-01-08 to 31-04-30, Reiwa begins 01-05-01)",
        ),
        EraError::Era | EraError::Digits => {
            ("は、元号と年月日の両方が揃っていません", "is not complete: it has an era and digits")
        }
    };
    (
        Text::new(format!("「{}」{ja}。", date.name.ja), format!("The {} {en}.", date.name.en)),
        Text::new("元号と年月日を確かめて、直してください。", "Check era and date, and correct them."),
    )
}
