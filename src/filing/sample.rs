//! Sample filings of any size, all fictitious, and known ways to break them: for the demo, for tests, and for offices that want
//! to see what a finding looks like. Nothing here is used by a check.

mod rare;

use std::io::{self, Write};

use chrono::{Datelike as _, Days, NaiveDate};

use super::era;
use super::rules::RuleSet;
use super::tables::{Class, DateDigits, FieldRule, Form, Profile};

const FAMILIES: [(&str, &str); 10] = [
    ("ﾐﾎﾝ", "見本"),
    ("ﾃﾎﾝ", "手本"),
    ("ﾋﾅｶﾞﾀ", "雛形"),
    ("ﾓﾊﾝ", "模範"),
    ("ﾚｲﾀﾞ", "例田"),
    ("ｼｻｸ", "試作"),
    ("ｶﾘﾉ", "仮野"),
    ("ﾋﾖｳﾎﾝ", "標本"),
    ("ｼﾖｼｷ", "書式"),
    ("ﾄﾄﾞｹﾃﾞ", "届出"),
];
const GIVEN: [(&str, &str); 10] = [
    ("ﾀﾛｳ", "太郎"),
    ("ﾊﾅｺ", "花子"),
    ("ｲﾁﾛｳ", "一郎"),
    ("ｼﾞﾛｳ", "次郎"),
    ("ﾖｼｺ", "良子"),
    ("ｻｸﾗ", "桜"),
    ("ｼﾞﾕﾝ", "潤"),
    ("ﾐﾅﾐ", "南"),
    ("ｱｵｲ", "葵"),
    ("ﾋｶﾙ", "光"),
];

/// A filing, taken apart: changed as wanted, then written.
#[derive(Debug, Clone)]
pub struct SampleFiling {
    /// Line 1.
    pub media: Vec<String>,
    /// Line 3.
    pub agent: Vec<String>,
    /// The office records.
    pub offices: Vec<Vec<String>>,
    /// The data records.
    pub records: Vec<Vec<String>>,
}

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|v| (*v).to_owned()).collect()
}

impl SampleFiling {
    /// A filing of office 1234 with this many records of each form, as of this day.
    pub fn new(rules: &RuleSet, forms: &[&str], records_each: u64, today: NaiveDate) -> Self {
        Self::starting_at(rules, forms, 0, records_each, today)
    }

    /// The same about other people: beginning with the one of this number.
    pub fn starting_at(
        rules: &RuleSet,
        forms: &[&str],
        first: u64,
        records_each: u64,
        today: NaiveDate,
    ) -> Self {
        let records = forms
            .iter()
            .filter_map(|code| rules.form(Profile::Kpfd, code))
            .flat_map(|form| {
                (first..first + records_each).map(move |i| record(form, last_count(form), i, today))
            })
            .collect();
        Self { records, ..Self::head(today) }
    }

    /// The same without records.
    pub fn head(today: NaiveDate) -> Self {
        Self {
            media: strings(&["1234", "001", &today.format("%Y%m%d").to_string(), "", "", "", "", ""]),
            agent: strings(&["", "001"]),
            offices: vec![strings(&[
                "1234",
                "100",
                "0001",
                "東京都千代田区見本町１－２－３",
                "株式会社見本工業",
                "見本　一郎",
                "03",
                "0000",
                "0000",
            ])],
            records: vec![],
        }
    }

    /// The file's text, CR LF.
    pub fn text(&self) -> String {
        let mut lines = vec![self.media.join(","), "[kanri]".into(), self.agent.join(",")];
        lines.extend(self.offices.iter().map(|office| office.join(",")));
        lines.push("[data]".into());
        lines.extend(self.records.iter().map(|record| record.join(",")));
        lines.push(String::new());
        lines.join("\r\n")
    }

    /// The file's bytes, CP932.
    pub fn bytes(&self) -> Vec<u8> {
        encode(&self.text())
    }
}

fn encode(text: &str) -> Vec<u8> {
    encoding_rs::SHIFT_JIS.encode(text).0.into_owned()
}

fn last_count(form: &Form) -> usize {
    form.counts.last().copied().unwrap_or(0)
}

/// Writes a filing of so many records of one form without holding it: for large files.
pub fn write_filing(to: &mut impl Write, form: &Form, records: u64, today: NaiveDate) -> io::Result<()> {
    to.write_all(&SampleFiling::head(today).bytes())?;
    for i in 0..records {
        let mut line = record(form, last_count(form), i, today).join(",");
        line.push_str("\r\n");
        to.write_all(&encode(&line))?;
    }
    Ok(())
}

/// One sound record; the same `i` gives the same record. What is rare comes once in a dozen.
pub fn record(form: &Form, count: usize, i: u64, today: NaiveDate) -> Vec<String> {
    // Spreads consecutive numbers; any odd constant would do.
    let mixed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let pick = |shift: u32, of: u64| (mixed >> shift) % of;
    let before = |days: u64| today.checked_sub_days(Days::new(days)).unwrap_or(today);
    // No two people of one name are born on one day.
    let birth = before(20 * 365 + (i / 100 * 11_619 + i % 100 * 37) % (40 * 365));
    let event = before(1 + pick(20, 20));
    let money = 180_000 + 1_000 * pick(30, 400);
    let in_kind = 10_000 * pick(36, 2);
    let rare = rare::fields(form, i, event, (money, money + in_kind));
    let seen = |key: &str| match rare.iter().rev().find(|(rare, _)| *rare == key) {
        Some((_, value)) => value.clone(),
        None => value(form, key, i, birth, event, money, in_kind, today),
    };
    form.fields
        .iter()
        .filter(|field| field.only_with.is_none_or(|with| with == count))
        .map(|field| if field.is_code { form.code.clone() } else { seen(&field.key) })
        .collect()
}

#[allow(
    clippy::too_many_arguments,
    clippy::match_same_arms,
    reason = "the facts of one person, in the order of the forms"
)]
fn value(
    form: &Form,
    key: &str,
    i: u64,
    birth: NaiveDate,
    event: NaiveDate,
    money: u64,
    in_kind: u64,
    today: NaiveDate,
) -> String {
    let at = |of: &[(&'static str, &'static str); 10], n: u64| of[usize::try_from(n % 10).unwrap_or(0)];
    let (family, given) = (at(&FAMILIES, i), at(&GIVEN, i / 10));
    let era = |day: NaiveDate| era::written(day).0.to_string();
    let ymd = |day: NaiveDate| era::written(day).1;
    let yearly = form.code == "2225700";
    // The month from which new pay applies: September, or the present month.
    let (year, month) = if yearly { (today.year() - 1, 9) } else { (today.year(), today.month()) };
    let applies = NaiveDate::from_ymd_opt(year, month, 1).unwrap_or(today);
    let paid = |n: u32| if yearly { 3 + n } else { (applies.month() + 8 + n - 1) % 12 + 1 };
    let total = money + in_kind;
    match key {
        "prefecture" => "21".into(),
        "district" => "01".into(),
        "symbol" => "ｱｲ".into(),
        "office_number" => "12345".into(),
        "insured" => format!("{}", i % 999_999 + 1),
        "kana" => format!("{} {}", family.0, given.0),
        "kanji" => format!("{}　{}", family.1, given.1),
        "birth_era" => era(birth),
        "birth_ymd" => ymd(birth),
        "acquired_era" | "paid_era" => era(event),
        "acquired_ymd" | "paid_ymd" => ymd(event),
        "lost_era" => era(event),
        "lost_ymd" => ymd(event),
        "left_era" => era(event.pred_opt().unwrap_or(event)),
        "left_ymd" => ymd(event.pred_opt().unwrap_or(event)),
        "cause" => "4".into(),
        "kind" | "acquisition_kind" => "1".into(),
        "dependants" => (i % 2).to_string(),
        "money" => money.to_string(),
        "in_kind" => in_kind.to_string(),
        "total" if form.code == "2265700" => (total / 1000 * 1000).to_string(),
        "total" => total.to_string(),
        "postcode1" => "100".into(),
        "postcode2" => "0001".into(),
        "address_kana" => "ﾁﾖﾀﾞｸ ﾐﾎﾝﾁﾖｳ 1-2".into(),
        "address" => "千代田区見本町１－２".into(),
        "applies_era" | "former_era" => era(applies),
        "applies_yy" => ymd(applies)[..2].to_owned(),
        "applies_mm" => ymd(applies)[2..4].to_owned(),
        "former_yy" => ymd(applies)[..2].to_owned(),
        "former_mm" => "01".into(),
        "former_health" | "former_pension" => (money / 1000).to_string(),
        "month1" => format!("{:02}", paid(1)),
        "month2" => format!("{:02}", paid(2)),
        "month3" => format!("{:02}", paid(3)),
        "days1" | "days2" | "days3" => "30".into(),
        "money1" | "money2" | "money3" => money.to_string(),
        "in_kind1" | "in_kind2" | "in_kind3" => in_kind.to_string(),
        "total1" | "total2" | "total3" | "mean" => total.to_string(),
        "grand_total" => (3 * total).to_string(),
        "society_office" => "1234".into(),
        "society_card" => format!("{:07}", i % 9_999_999),
        _ => String::new(),
    }
}

/// A sound claims file with so many data records.
pub fn claims(data: u64) -> Vec<Vec<String>> {
    let mut lines =
        vec![strings(&["1", "1", "0", "", "711", "0", "0", "1310000001", "0", "7", "202611", "1"])];
    lines[0][3] = data.to_string();
    for i in 0..data {
        lines.push(vec!["2".into(), (i + 2).to_string(), "7111".into(), format!("{:010}", i), "見本".into()]);
    }
    lines.push(vec!["3".into(), (data + 2).to_string()]);
    lines
}

/// A claims file's bytes.
pub fn claims_bytes(lines: &[Vec<String>]) -> Vec<u8> {
    encode(&lines.iter().map(|line| line.join(",") + "\r\n").collect::<String>())
}

/// A file that breaks the rule of this id, and its profile; none when there is no such rule of a file (`SET-` rules are about
/// what travels together).
pub fn broken(rules: &RuleSet, id: &str, today: NaiveDate) -> Option<(Profile, Vec<u8>)> {
    for form in rules.forms(Profile::Kpfd) {
        for count in form.counts.clone() {
            let mut record = record(form, count, 7, today);
            if break_record(form, count, id, &mut record, today) {
                let filing = SampleFiling { records: vec![record], ..SampleFiling::head(today) };
                return Some((Profile::Kpfd, filing.bytes()));
            }
        }
    }
    for form in rules.forms(Profile::Claims) {
        let mut lines = claims(2);
        let at = lines.iter().position(|line| line[0] == form.code)?;
        if break_record(form, last_count(form), id, &mut lines[at], today) {
            return Some((Profile::Claims, claims_bytes(&lines)));
        }
    }
    if id.starts_with("CLAIMS-") {
        return broken_claims(id).map(|bytes| (Profile::Claims, bytes));
    }
    broken_file(rules, id, today).map(|bytes| (Profile::Kpfd, bytes))
}

/// Changes a record so that it breaks the rule; false when the rule is not of this form and count.
fn break_record(form: &Form, count: usize, id: &str, record: &mut [String], today: NaiveDate) -> bool {
    let Some(layout) = form.layouts.iter().find(|layout| layout.count == count) else { return false };
    for (i, field) in form.fields.iter().enumerate() {
        let Some(at) = layout.places[i] else { continue };
        for rule in FieldRule::ALL {
            if field.has(rule) && form.field_rule_id(field, rule) == id {
                record[at] = match rule {
                    FieldRule::Required => String::new(),
                    FieldRule::Chars => odd(field.class).to_owned(),
                    FieldRule::Length => long(field.class, field.bytes.1.min(4000) + 1),
                    FieldRule::Value => other(&field.values, field.bytes),
                };
                return true;
            }
        }
    }
    for date in &form.dates {
        if form.date_rule_id(date) == id {
            let mut set = |field: usize, value: &str| {
                if let Some(at) = layout.places[field] {
                    value.clone_into(&mut record[at]);
                }
            };
            match date.digits {
                DateDigits::Day(ymd) => {
                    set(date.era, "9");
                    set(ymd, "080230");
                }
                DateDigits::Month(yy, mm) => {
                    set(date.era, "7");
                    set(yy, "40");
                    set(mm, "09");
                }
            }
            return true;
        }
    }
    let Some(edits) =
        id.strip_prefix(&format!("{}-", form.prefix())).and_then(|rest| edits(&form.code, rest, today))
    else {
        return false;
    };
    for (key, value) in edits {
        if let Some(at) = form.field(key).and_then(|field| layout.places[field]) {
            record[at] = value;
        }
    }
    true
}

fn odd(class: Class) -> &'static str {
    match class {
        Class::Alnum | Class::Symbol => "+",
        Class::Kana | Class::Name => "ア",
        Class::Digits | Class::Wide | Class::Text => "A",
    }
}

fn long(class: Class, bytes: usize) -> String {
    match class {
        Class::Kana | Class::Name | Class::Symbol => "ｱ".repeat(bytes),
        Class::Wide => "亜".repeat(bytes.div_ceil(2)),
        _ => "1".repeat(bytes),
    }
}

/// Digits that fit the length and are none of the values.
fn other(values: &[Box<[u8]>], (least, most): (usize, usize)) -> String {
    let width = least.max(1).min(most);
    (0..10_000_u32)
        .rev()
        .map(|n| format!("{n:0width$}"))
        .find(|text| text.len() <= most && !values.iter().any(|v| **v == *text.as_bytes()))
        .unwrap_or_default()
}

/// What to change for the rules across fields.
fn edits(form: &str, rule: &str, today: NaiveDate) -> Option<Vec<(&'static str, String)>> {
    let tomorrow = today.succ_opt().unwrap_or(today);
    let (era, ymd) = era::written(tomorrow);
    let future = |e: &'static str, y: &'static str| vec![(e, era.to_string()), (y, ymd.clone())];
    let set = |edits: &[(&'static str, &str)]| {
        edits.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    };
    Some(match (form, rule) {
        (_, "KANA-BLANK") => set(&[("kana", "ﾐﾎﾝﾀﾛｳ")]),
        (_, "DISTRICT-ZERO") => set(&[("district", "00")]),
        (_, "TOTAL") => set(&[("total", "1")]),
        (_, "TOTAL1") => set(&[("total1", "1")]),
        (_, "TOTAL2") => set(&[("total2", "1")]),
        (_, "TOTAL3") => set(&[("total3", "1")]),
        ("2200700", "ACQUIRED-FUTURE") => future("acquired_era", "acquired_ymd"),
        ("2200700", "OVER70-AGE") => set(&[("over70", "1")]),
        ("2200700", "NO-ADDRESS-NOTE") => set(&[("no_address", "3"), ("no_address_note", "")]),
        ("2201700", "LEFT-REQUIRED") => set(&[("cause", "5"), ("left_era", ""), ("left_ymd", "")]),
        ("2201700", "LEFT-BLANK") => set(&[("cause", "9")]),
        ("2201700", "LOST-NEXT-DAY") => set(&[("left_era", "9"), ("left_ymd", "080101")]),
        ("2201700", "AGE75") => set(&[("cause", "7"), ("left_era", ""), ("left_ymd", "")]),
        ("2201700", "LOST-AFTER-BIRTH") => future("birth_era", "birth_ymd"),
        ("2221700", "AMOUNTS") => {
            set(&[("money2", ""), ("in_kind2", ""), ("total2", ""), ("grand_total", ""), ("mean", "")])
        }
        ("2221700", "MONTHS") => set(&[("month1", "01"), ("month2", "03"), ("month3", "05")]),
        ("2221700", "DAYS") => set(&[("days2", "16")]),
        ("2221700", "DAYS-SHORT") => set(&[("short_time", "1"), ("days2", "10")]),
        ("2221700", "GRAND-TOTAL") => set(&[("grand_total", "1")]),
        ("2221700" | "2225700", "MEAN") => set(&[("mean", "1")]),
        ("2225700", "OVER70-MONTHS") => set(&[("over70_months", "0405")]),
        ("1", "MONTH") => set(&[("month", "202613")]),
        ("2265700", "PAID-FUTURE") => future("paid_era", "paid_ymd"),
        _ => return None,
    })
}

fn broken_claims(id: &str) -> Option<Vec<u8>> {
    let mut lines = claims(2);
    match id {
        "CLAIMS-CONTROL" => drop(lines.remove(0)),
        "CLAIMS-SERIAL" => lines[2][1] = "9".into(),
        "CLAIMS-END" => drop(lines.pop()),
        "CLAIMS-COUNT" => lines[0][3] = "5".into(),
        "CLAIMS-KIND" => lines[1][0] = "4".into(),
        _ => return None,
    }
    Some(claims_bytes(&lines))
}

/// A file that breaks a rule of the file's structure.
fn broken_file(rules: &RuleSet, id: &str, today: NaiveDate) -> Option<Vec<u8>> {
    let mut filing = SampleFiling::new(rules, &["2200700"], 2, today);
    let text = filing.text();
    let with = |change: &dyn Fn(&mut SampleFiling)| {
        let mut filing = filing.clone();
        change(&mut filing);
        Some(filing.bytes())
    };
    let office = |at: usize, value: &'static str| with(&|f| f.offices[0][at] = value.into());
    match id {
        "KPFD-EMPTY" => Some(vec![]),
        "KPFD-SIZE" => {
            filing.records[0][27] = "1".repeat(60_000);
            let one = filing.records[0].clone();
            let most = usize::try_from(rules.policy().filing_bytes_max).unwrap_or(usize::MAX);
            filing.records = vec![one; most / 60_000 + 1];
            Some(filing.bytes())
        }
        "KPFD-BOM" => Some([b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat()),
        "KPFD-UTF16" => Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        "KPFD-UTF8" => Some(text.into_bytes()),
        "KPFD-EUC-JP" => Some(encoding_rs::EUC_JP.encode(&text).0.into_owned()),
        "KPFD-ISO-2022-JP" => Some(encoding_rs::ISO_2022_JP.encode(&text).0.into_owned()),
        "KPFD-SPREADSHEET" => Some(encode(&text.replace("[kanri]", "[kanri],,,,,,,"))),
        "KPFD-LF" => Some(encode(&text.replace("\r\n", "\n"))),
        "KPFD-LAST-CRLF" => Some(encode(text.trim_end())),
        "KPFD-CUT-OFF" => filing.bytes().split_last_chunk::<40>().map(|(cut, _)| cut.to_vec()),
        "KPFD-EOF-MARK" => Some(encode(&(text + "\x1a"))),
        "KPFD-BLANK-LINE" => Some(encode(&(text + "\r\n"))),
        "KPFD-QUOTED" => with(&|f| f.records[0][27] = "\"a,\"\"b\"".into()),
        "KPFD-LONE-QUOTE" => with(&|f| f.records[0][27] = "\"a".into()),
        "KPFD-LINE-LENGTH" => with(&|f| f.records[0][27] = "1".repeat(70_000)),
        "KPFD-CONTROL" => with(&|f| f.records[0][27] = "a\u{7}b".into()),
        "KPFD-CP932" => Some([filing.bytes(), b"2200700,\xff\r\n".to_vec()].concat()).map(|mut bytes| {
            // A byte of the office's name is damaged: what follows it no longer pairs.
            if let Some(at) = bytes.windows(2).position(|pair| pair == encode("株").as_slice()) {
                bytes[at] = 0xa0;
            }
            bytes
        }),
        "KPFD-OLD-KANJI" => with(&|f| f.records[0][7] = "髙見　太郎".into()),
        "KPFD-GAIJI" => {
            filing.records[0][7] = "外外".into();
            // The first user-defined character; no encoder writes it.
            let (gaiji, mut bytes) = (encode("外外"), filing.bytes());
            let at = bytes.windows(4).position(|four| four == gaiji.as_slice())?;
            bytes[at..at + 2].copy_from_slice(b"\xf0\x40");
            Some(bytes)
        }
        "KPFD-MEDIA" => with(&|f| f.media.truncate(6)),
        "KPFD-MEDIA-22223" => with(&|f| f.media = strings(&["21", "01", "ｱｲ", "001", "20261123", "22223"])),
        "KPFD-MEDIA-OFFICE" => with(&|f| f.media[0] = "12345".into()),
        "KPFD-MEDIA-OFFICE-OTHER" => with(&|f| f.media[0] = "9999".into()),
        "KPFD-TWICE" => with(&|f| f.records.push(f.records[0].clone())),
        "KPFD-MEDIA-SERIAL" => with(&|f| f.media[1] = "000".into()),
        "KPFD-MEDIA-DATE" => with(&|f| f.media[2] = "20260230".into()),
        "KPFD-KANRI" => Some(encode(&text.replace("[kanri]", "[KANRI]"))),
        "KPFD-AGENT" => with(&|f| f.agent.push("1".into())),
        "KPFD-OFFICE-COUNT" => with(&|f| f.agent[1] = "002".into()),
        "KPFD-OFFICE" => with(&|f| drop(f.offices[0].pop())),
        "KPFD-OFFICE-NUMBER" => office(0, "12345"),
        "KPFD-OFFICE-POSTCODE" => office(1, "10"),
        "KPFD-OFFICE-ADDRESS" => with(&|f| f.offices[0][3] = "亜".repeat(38)),
        "KPFD-OFFICE-NAME" => office(4, ""),
        "KPFD-OFFICE-EMPLOYER" => office(5, "見本一郎"),
        "KPFD-OFFICE-PHONE" => office(6, "0"),
        "KPFD-DATA-MARK" => Some(encode(text.split("[data]").next().unwrap_or(""))),
        "KPFD-NO-RECORDS" => with(&|f| f.records.clear()),
        "KPFD-FORM-OLD" => with(&|f| f.records[0][0] = "22007041".into()),
        "KPFD-FORM-UNKNOWN" => with(&|f| f.records[0][0] = "9999999".into()),
        "KPFD-RECORD-SHORT" => with(&|f| drop(f.records[0].pop().and_then(|_| f.records[0].pop()))),
        "KPFD-FIELD-COUNT" => with(&|f| f.records[0].push(String::new())),
        "KPFD-OFFICES" => with(&|f| {
            let mut second = f.offices[0].clone();
            second[0] = "1235".into();
            f.offices.push(second);
            f.agent[1] = "2".into();
        }),
        "KPFD-RECORD-OFFICE" => with(&|f| {
            if let Some(at) = f.records[0].len().checked_sub(3) {
                f.records[0][at] = "9999".into();
            }
        }),
        _ => None,
    }
}
