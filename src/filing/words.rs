//! What is said about fields and dates: with the names of errors that users of the pension service's checker know.

use super::era::{self, EraError};
use super::masked::masked_sum;
use super::record::{self, Broken, Record};
use super::tables::{Check, Class, DateDigits, DateGroup, Field, FieldRule, Form, RecordRule};
use crate::model::finding::Text;

fn class(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Digits => ("半角数字", "digits"),
        Class::Alnum => ("半角英数字", "ASCII letters and digits"),
        Class::Symbol => ("半角英数字・半角カナ", "ASCII letters, digits and half-width kana"),
        Class::Name => ("半角カナ", "half-width kana"),
        Class::Kana => ("半角カナ・半角英数字", "half-width kana, ASCII letters and digits"),
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
            let hint = |of: fn(&Text) -> &str| field.hint.as_ref().map_or("", of);
            let (ja, en) = (ranges(&field.values, "、", "〜"), ranges(&field.values, ", ", "-"));
            (
                Text::new(
                    format!("「{}」に使える値は {ja} です。{}", name.ja, hint(|hint| &hint.ja)),
                    format!("The {} is one of {en}. {}", name.en, hint(|hint| &hint.en)).trim_end(),
                ),
                Text::new("値を確かめて、入れ直してください。", "Check the value and enter it again."),
            )
        }
    }
}

/// Values as a clerk would list them, numbers that follow one another as a range: `01〜12、21、31〜39`.
fn ranges(values: &[Box<[u8]>], separator: &str, dash: &str) -> String {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let follows = |a: &[u8], b: &[u8]| {
        let number = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<u32>().ok();
        a.len() == b.len() && number(a).is_some_and(|a| Some(a.saturating_add(1)) == number(b))
    };
    let mut runs: Vec<(&[u8], &[u8], usize)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((_, last, count)) if follows(last, value) => (*last, *count) = (value, *count + 1),
            _ => runs.push((value, value, 1)),
        }
    }
    let run = |(first, last, count): &(&[u8], &[u8], usize)| match count {
        1 => text(first),
        2 => text(first) + separator + &text(last),
        _ => text(first) + dash + &text(last),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(separator)
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
    // What the checker's users know it by; there is no such name for what is too short.
    let tag = if len < least { "" } else { "[最大桁数超過]" };
    (
        Text::new(
            format!("「{}」の長さが {len} バイトです({ja})。{tag}", field.name.ja),
            format!("The {} has {len} bytes ({en}). {tag}", field.name.en).trim_end(),
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
pub(crate) fn date(date: &DateGroup, why: EraError, record: &Record<'_>) -> (Text, Text) {
    let own = |ja: &str, en: &str| Text::new(ja, en);
    let what = match why {
        EraError::NoSuchDay => own("は存在しない日付です", "does not exist"),
        EraError::OtherEra => other_era(date, record),
        EraError::Half => {
            own("は、元号と年月日の両方が揃っていません", "is not complete: it has an era and digits")
        }
        EraError::Era | EraError::Digits => own(
            "は日付として読めません(元号 1 桁と、年・月・日 2 桁ずつ)",
            "is no date: an era's digit, and two digits each",
        ),
    };
    (
        Text::new(format!("「{}」{}。", date.name.ja, what.ja), format!("The {} {}.", date.name.en, what.en)),
        Text::new("元号と年月日を確かめて、直してください。", "Check era and date, and correct them."),
    )
}

/// From when to when the era was, and what the day is called if it is one.
fn other_era(date: &DateGroup, record: &Record<'_>) -> Text {
    let digit = record.get(date.era);
    let period = era::period(digit).unwrap_or_default();
    let meant = match date.digits {
        DateDigits::Day(ymd) => era::meant(digit, record.get(ymd)).map(era::told),
        DateDigits::Month(..) => None,
    };
    let (ja, en) = meant.map_or_else(Default::default, |day| {
        (format!("。この日は{}です", day.ja), format!("; that day is {}", day.en))
    });
    Text::new(
        format!("は、その元号の期間にない日付です({}){ja}", period.ja),
        format!("lies outside its era ({}){en}", period.en),
    )
}

/// What was wrong across fields, what to do, and the field to look at.
pub(crate) fn rule(
    form: &Form,
    rule: &RecordRule,
    broken: &Broken,
    record: &Record<'_>,
) -> (Text, Text, usize) {
    let name = |field: usize| &form.fields[field].name;
    let at = name(rule.at);
    match broken {
        Broken::Plain => (rule.message.clone(), rule.action.clone(), pointed(rule, record)),
        Broken::Expected(value) => {
            let message = Text::new(
                rule.message.ja.replace("{expected}", &masked_sum(&value.ja)),
                rule.message.en.replace("{expected}", &masked_sum(&value.en)),
            );
            (message, rule.action.clone(), rule.at)
        }
        Broken::NoNumber(field) => {
            let part = name(*field);
            let message = Text::new(
                format!("「{}」を数として読めないため、「{}」を確かめられません。[総計不正]", part.ja, at.ja),
                format!("The {} cannot be checked: the {} is no number. [総計不正]", at.en, part.en),
            );
            let action = Text::new(
                format!("「{}」を半角数字だけで入れ直してください。", part.ja),
                format!("Enter the {} in digits.", part.en),
            );
            (message, action, *field)
        }
        Broken::NoParts(parts) => {
            let ja: String = parts.iter().map(|part| format!("「{}」", name(*part).ja)).collect();
            let en = parts.iter().map(|part| name(*part).en.as_str()).collect::<Vec<_>>().join(", ");
            let message = Text::new(
                format!("「{}」が記入されていますが、その元になる{ja}が空欄です。[総計不正]", at.ja),
                format!("The {} is filled in, but what it follows from is blank: {en}. [総計不正]", at.en),
            );
            let action = Text::new(
                format!("{ja}を記入するか、「{}」を消してください。", at.ja),
                format!("Enter {en}, or remove the {}.", at.en),
            );
            (message, action, rule.at)
        }
    }
}

/// Of several fields, the one that is out of range or blank.
fn pointed(rule: &RecordRule, record: &Record<'_>) -> usize {
    let found = match &rule.check {
        Check::Range { fields, .. } => record::out_of_range(&rule.check, fields, record),
        Check::Required { fields } if !record.get(rule.at).is_empty() => {
            fields.iter().copied().find(|field| record.get(*field).is_empty())
        }
        _ => None,
    };
    found.unwrap_or(rule.at)
}
