//! What only some people's records have: each rule whose condition is rare has its sound record among the first dozen.

use chrono::{Days, Months, NaiveDate};

use crate::filing::era;
use crate::filing::tables::Form;

/// After so many records the rare ones come again.
const ROUND: u64 = 12;

/// The fields in which the record of this number differs from most; `amounts` are pay in money, and money and kind together.
pub(super) fn fields(
    form: &Form,
    i: u64,
    event: NaiveDate,
    (money, total): (u64, u64),
) -> Vec<(&'static str, String)> {
    match i % ROUND {
        3 => everything(i, total),
        5 => over_70(form, i, event),
        8 => without_kind(money),
        9 => short_time(form, total),
        10 => part_time(form, total),
        11 => of_75(form, i, event, total),
        _ => Vec::new(),
    }
}

fn set(fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    fields.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

/// Somebody of this age on the day, or older: of those who share a name and are that old by turns, no two are born on one day,
/// whichever of the last twenty days `on` is.
fn aged(years: u32, on: NaiveDate, i: u64) -> [(&'static str, String); 2] {
    let latest = on.checked_sub_months(Months::new(12 * years)).unwrap_or(on);
    let (era, ymd) = era::written(latest.checked_sub_days(Days::new(i / 300 % 440 * 21)).unwrap_or(latest));
    [("birth_era", era.to_string()), ("birth_ymd", ymd)]
}

/// All that is optional and agrees with anything.
fn everything(i: u64, total: u64) -> Vec<(&'static str, String)> {
    let mut fields = set(&[
        ("pension_area", "1234"),
        ("pension_serial", "567890"),
        ("two_offices", "1"),
        ("reemployed", "1"),
        ("remarks", "見本の備考"),
        ("cards", "1"),
        ("cards_lost", "0"),
        ("wants_card", "1"),
        ("raise_month", "04"),
        ("raise_kind", "1"),
        ("backpay_month", "05"),
        ("backpay", "10000"),
        ("reason", "基本給の変更"),
        ("health_only", "1"),
        ("change_planned", "1"),
        ("joined", "1"),
        ("yearly", "1"),
        ("first_payday", "10"),
        ("society_item", "見本"),
    ]);
    // Plainly nobody's.
    fields.push(("individual_number", format!("{:012}", i % 1000)));
    fields.push(("adjusted_mean", total.to_string()));
    fields
}

fn over_70(form: &Form, i: u64, event: NaiveDate) -> Vec<(&'static str, String)> {
    let mut fields = set(&[("over70", "1"), ("only_over70", "1"), ("over70_months", "0405")]);
    fields.extend(aged(70, event, i));
    if form.code == "2201700" {
        let (era, ymd) = era::written(event);
        fields.extend([("over70_era", era.to_string()), ("over70_ymd", ymd)]);
    }
    fields
}

/// Pay in money alone: pay in kind is blank. One who died, where it matters.
fn without_kind(money: u64) -> Vec<(&'static str, String)> {
    let blank = ["in_kind", "in_kind1", "in_kind2", "in_kind3", "kanji"];
    let mut fields: Vec<_> = blank.map(|key| (key, String::new())).to_vec();
    fields.push(("cause", "5".into()));
    for key in ["total", "total1", "total2", "total3", "mean"] {
        fields.push((key, money.to_string()));
    }
    fields.push(("grand_total", (3 * money).to_string()));
    fields
}

/// Of 算定基礎 the first and the third month count.
fn two_months(form: &Form, total: u64, days: [&str; 3]) -> Vec<(&'static str, String)> {
    let mut fields = set(&[("days1", days[0]), ("days2", days[1]), ("days3", days[2])]);
    if form.code == "2225700" {
        fields.extend([("grand_total", (2 * total).to_string()), ("mean", total.to_string())]);
    }
    fields
}

fn short_time(form: &Form, total: u64) -> Vec<(&'static str, String)> {
    let days = if form.code == "2225700" { ["11", "10", "16"] } else { ["11", "12", "31"] };
    let mut fields = two_months(form, total, days);
    fields.push(("short_time", "1".into()));
    fields
}

/// And one who lives abroad for another reason, and one whose insurance ends for a disability.
fn part_time(form: &Form, total: u64) -> Vec<(&'static str, String)> {
    let mut fields = set(&[
        ("part_time", "1"),
        ("no_address", "3"),
        ("no_address_note", "見本の理由"),
        ("address", ""),
        ("address_kana", ""),
        ("cause", "9"),
        ("left_era", ""),
        ("left_ymd", ""),
    ]);
    if form.code == "2225700" {
        fields.extend(two_months(form, total, ["15", "14", "16"]));
    }
    fields
}

/// And, of 算定基礎, one on leave in the second month.
fn of_75(form: &Form, i: u64, event: NaiveDate, total: u64) -> Vec<(&'static str, String)> {
    let mut fields =
        set(&[("cause", "7"), ("left_era", ""), ("left_ymd", ""), ("no_address", "1"), ("leave", "1")]);
    fields.extend(aged(75, event, i));
    if form.code == "2225700" {
        fields.extend(two_months(form, total, ["30", "00", "17"]));
    }
    fields
}
