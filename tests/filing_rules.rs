//! Every rule of filings has a case that passes and one that fails, by its id.

#![allow(
    clippy::unwrap_used,
    clippy::single_match_else,
    reason = "a test's helper may panic as the test does"
)]

use std::collections::BTreeSet;

use chrono::NaiveDate;
use todoke::filing::level::Certainty;
use todoke::filing::sample::{self, SampleFiling};
use todoke::filing::tables::{Check, DateDigits, FieldRule, Form, Test};
use todoke::filing::{Context, Findings, Profile, RuleSet, Summary, check, check_observed};
use todoke::model::finding::{Finding, Severity};
use todoke::model::ids::OfficeCode;

const FORMS: [&str; 5] = ["2200700", "2201700", "2221700", "2225700", "2265700"];

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 23).unwrap()
}

fn run(bytes: &[u8], rules: &RuleSet, context: &Context) -> (Vec<Finding>, Summary) {
    let mut findings = Findings::default();
    let summary = check(bytes, rules, context, &mut findings).unwrap();
    (findings.into_listed(), summary)
}

fn context(profile: Profile) -> Context {
    Context { profile, ..Context::on(today()) }
}

#[test]
fn what_the_generator_writes_is_accepted() {
    let rules = RuleSet::builtin().unwrap();
    let filing = SampleFiling::new(&rules, &FORMS, 200, today());
    let (findings, summary) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
    assert_eq!(findings, []);
    assert_eq!(summary.records, 1000);
    assert_eq!(summary.office.unwrap().as_str(), "1234");
    let forms: Vec<_> = summary.forms.iter().map(|f| (f.code.as_str(), f.count)).collect();
    assert_eq!(forms, FORMS.map(|form| (form, 200)));
    for month in 1..=12 {
        let day = NaiveDate::from_ymd_opt(2027, month, 1).unwrap();
        let filing = SampleFiling::new(&rules, &FORMS, 20, day);
        assert_eq!(run(&filing.bytes(), &rules, &Context::on(day)).0, [], "{day}");
    }
    let form = rules.form(Profile::Kpfd, "2200700").unwrap();
    let records = (0..50).map(|i| sample::record(form, 36, i, today())).collect();
    let filing = SampleFiling { records, ..SampleFiling::head(today()) };
    assert_eq!(run(&filing.bytes(), &rules, &context(Profile::Kpfd)).0, []);
    let claims = sample::claims_bytes(&sample::claims(100));
    let (findings, summary) = run(&claims, &rules, &context(Profile::Claims));
    assert_eq!((findings, summary.records), (vec![], 100));
}

/// Rules that need to be told something about the world, and rules of the set (`set.rs` tests those).
const ELSEWHERE: [&str; 6] = [
    "KPFD-NAME",
    "KPFD-SHFD",
    "KPFD-JKK",
    "KPFD-OFFICE-FOREIGN",
    "KPFD-OFFICE-MISMATCH",
    "KPFD-FORM-REFUSED",
];

#[test]
fn every_rule_of_a_file_has_a_failing_case() {
    let rules = RuleSet::builtin().unwrap();
    let mut without = BTreeSet::new();
    let mut count = 0;
    for (id, level) in rules.rule_ids() {
        if id.starts_with("SET-") || ELSEWHERE.contains(&id.as_str()) {
            continue;
        }
        let Some((profile, bytes)) = sample::broken(&rules, &id, today()) else {
            without.insert(format!("{id}: no case"));
            continue;
        };
        let (findings, _) = run(&bytes, &rules, &context(profile));
        match findings.iter().find(|finding| finding.rule == id) {
            Some(finding) => {
                assert!(id == "KPFD-FIELD-COUNT" || level.severity() == Some(finding.severity), "{id}");
                for text in [&finding.message, &finding.action] {
                    assert!(
                        !text.ja.is_empty() && !text.en.is_empty() && !text.ja.contains('{'),
                        "{finding:?}"
                    );
                }
            }
            None => {
                let rules: BTreeSet<_> = findings.iter().map(|f| f.rule.clone()).collect();
                without.insert(format!("{id}: not found, but {rules:?}"));
            }
        }
        count += 1;
    }
    assert_eq!(without, BTreeSet::new());
    assert!(count > 300, "{count} rules");
}

#[test]
fn offices_are_those_of_the_account() {
    let rules = RuleSet::builtin().unwrap();
    let bytes = SampleFiling::new(&rules, &["2200700"], 1, today()).bytes();
    let office = |code: &str| OfficeCode::parse(code).unwrap();
    let ids = |context: &Context, rules: &RuleSet| {
        run(&bytes, rules, context).0.into_iter().map(|f| f.rule).collect::<Vec<_>>()
    };
    let own = Context {
        account_offices: Some([office("1234")].into()),
        office: Some(office("1234")),
        ..Context::on(today())
    };
    assert_eq!(ids(&own, &rules), [""; 0]);
    let foreign = Context { account_offices: Some([office("1")].into()), ..Context::on(today()) };
    assert_eq!(ids(&foreign, &rules), ["KPFD-OFFICE-FOREIGN"]);
    let stated = Context { office: Some(office("1")), ..Context::on(today()) };
    assert_eq!(ids(&stated, &rules), ["KPFD-OFFICE-MISMATCH"]);
    let fewer = rules.for_insurer("x.toml", "[filing]\nforms = [\"2265700\"]\n").unwrap();
    assert_eq!(ids(&own, &fewer), ["KPFD-FORM-REFUSED"]);
}

/// A record names an office of its own (K8 E13): one that the account may not act for refuses the filing.
#[test]
fn a_record_is_of_an_office_that_the_account_may_act_for() {
    let rules = RuleSet::builtin().unwrap();
    let office = |code: &str| OfficeCode::parse(code).unwrap();
    let account =
        Context { account_offices: Some([office("1234"), office("1235")].into()), ..Context::on(today()) };
    for code in FORMS {
        let of_record = |number: &str, context: &Context| {
            let mut filing = SampleFiling::new(&rules, &[code], 1, today());
            let at = filing.records[0].len() - 3;
            filing.records[0][at] = number.into();
            let mut findings = Findings::default();
            let mut offices = Vec::new();
            let bytes = filing.bytes();
            let summary = check_observed(&bytes[..], &rules, context, &mut findings, &mut |key| {
                offices.push(String::from_utf8(key.office.to_vec()).unwrap());
            });
            // Whatever it names, it is compared with what was filed for the file's office (K53).
            assert_eq!(offices, ["1234"], "{code} {number}");
            let told: Vec<_> = findings.listed().iter().map(|f| (f.rule.clone(), f.severity)).collect();
            (told, summary.unwrap().record_offices)
        };
        let error = |rule: &str| (rule.to_owned(), Severity::Error);
        let warning = |rule: &str| (rule.to_owned(), Severity::Warning);
        assert_eq!(of_record("", &account), (vec![], vec![]));
        assert_eq!(of_record("1234", &account), (vec![], vec![]));
        let foreign = (vec![error("KPFD-OFFICE-FOREIGN")], vec![office("9999")]);
        assert_eq!(of_record("9999", &account), foreign);
        let other = vec![warning("KPFD-RECORD-OFFICE")];
        assert_eq!(of_record("1235", &account), (other.clone(), vec![office("1235")]));
        assert_eq!(of_record("9999", &Context::on(today())), (other, vec![office("9999")]));
        let (told, offices) = of_record("12345", &account);
        assert!(told.contains(&error("KPFD-OFFICE-FOREIGN")) && offices.is_empty(), "{told:?}");
    }
}

#[test]
fn the_same_person_form_and_date_twice_in_a_file_is_said_with_both_lines() {
    let rules = RuleSet::builtin().unwrap();
    let mut filing = SampleFiling::new(&rules, &FORMS, 2, today());
    let twin = |filing: &SampleFiling| {
        let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
        findings.into_iter().map(|f| (f.rule, f.line.unwrap(), f.message.en)).collect::<Vec<_>>()
    };
    // Loss and acquisition of one person on one day (同日得喪) are two forms.
    assert_eq!(twin(&filing), []);
    let mut again = filing.records[0].clone();
    again[6] = again[6].replace(' ', "  ");
    again[22] = String::new();
    again[20] = String::new();
    again[21] = String::new();
    filing.records.push(again);
    let told = twin(&filing);
    let (rule, line, message) = told.last().unwrap();
    assert_eq!((rule.as_str(), *line), ("KPFD-TWICE", 16));
    assert!(message.contains("Lines 6 and 16"), "{message}");
}

#[test]
fn an_individual_number_is_never_shown() {
    let rules = RuleSet::builtin().unwrap();
    let form = rules.form(Profile::Kpfd, "2200700").unwrap();
    let good = sample::record(form, 37, 1, today());
    let mut seen = 0;
    for at in 0..good.len() {
        for number in [
            "123456789018",
            "12345678901a",
            "1234567890180",
            "1234-5678-9018",
            "1234 5678 9018",
            "１２３４５６７８９０１８",
            "１２３４－５６７８－９０１８",
            "１２３４　５６７８　９０１８",
            "1234-5678 ９０１８",
        ] {
            let mut record = good.clone();
            record[12] = number.into();
            record[at] = number.into();
            let filing = SampleFiling { records: vec![record], ..SampleFiling::head(today()) };
            let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
            let json = serde_json::to_string(&findings).unwrap();
            assert!(!json.contains("9018") && !json.contains("９０１８"), "{at}: {json}");
            seen += findings.len();
        }
    }
    assert!(seen > 100);
    // Nor by a sum of which it would be a part.
    let moved = [("money", "123456789018"), ("in_kind", ""), ("total", "1")];
    let found = told("2200700", &moved);
    assert!(found.iter().any(|(rule, ..)| rule == "2200700-TOTAL"));
    assert!(found.iter().all(|(.., message)| !message.contains("123456789018")), "{found:?}");
}

#[test]
fn bad_input_gives_clear_findings() {
    let rules = RuleSet::builtin().unwrap();
    let sound = SampleFiling::new(&rules, &["2200700"], 3, today());
    let has = |bytes: &[u8], id: &str| {
        let (findings, _) = run(bytes, &rules, &context(Profile::Kpfd));
        assert!(findings.iter().any(|f| f.rule == id && f.severity == Severity::Error), "{id}: {findings:?}");
    };
    has(&[sound.bytes(), vec![b'x'; 10 << 20]].concat(), "KPFD-LINE-LENGTH");
    has(&[sound.bytes(), vec![b','; 60_000], b"\r\n".to_vec()].concat(), "KPFD-FORM-UNKNOWN");
    has(
        &[sound.bytes(), b"2200700".to_vec(), vec![b','; 60_000], b"\r\n".to_vec()].concat(),
        "KPFD-FIELD-COUNT",
    );
    has(
        &[sound.bytes(), b"2200700".to_vec(), vec![b','; 100_000], b"\r\n".to_vec()].concat(),
        "KPFD-LINE-LENGTH",
    );
    for cut in [1, 10, 40, 60] {
        has(&sound.bytes()[..cut], "KPFD-DATA-MARK");
    }
    let amount = |value: &str| {
        let mut filing = sound.clone();
        for at in 20..=22 {
            filing.records[0][at] = value.into();
        }
        let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
        findings.into_iter().map(|f| f.rule).collect::<BTreeSet<_>>()
    };
    assert!(amount(&"9".repeat(30)).contains("2200700-TOTAL-LENGTH"));
    assert!(amount("9999999").contains("2200700-TOTAL"));

    let mut million = Findings::default();
    let mut bytes = SampleFiling::head(today()).bytes();
    bytes.extend_from_slice(&b"9,x\r\n".repeat(1_000_000));
    check(&bytes[..], &rules, &context(Profile::Kpfd), &mut million).unwrap();
    assert_eq!(
        (million.listed().len(), million.more()),
        (1000, 999_000 + u64::from(bytes.len() > 4_500_000))
    );
}

#[test]
fn old_kanji_are_explained_by_character_and_column() {
    let rules = RuleSet::builtin().unwrap();
    let mut filing = SampleFiling::new(&rules, &["2200700"], 1, today());
    filing.records[0][7] = "髙見　﨑子".into();
    let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
    let told: Vec<_> =
        findings.iter().map(|f| (f.rule.as_str(), f.value.as_deref().unwrap(), f.column.unwrap())).collect();
    assert_eq!(told, [("KPFD-OLD-KANJI", "髙", 1), ("KPFD-OLD-KANJI", "﨑", 4)]);
    assert!(findings[0].action.ja.contains("PDF"));
    assert_eq!((findings[0].line, findings[0].field), (Some(6), Some(8)));
    assert!(findings.iter().all(|f| f.severity == Severity::Warning));
}

proptest::proptest! {
    #[test]
    fn any_bytes_give_findings_or_a_filing(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        let rules = RuleSet::builtin().unwrap();
        for profile in [Profile::Kpfd, Profile::Claims] {
            let (findings, _) = run(&bytes, &rules, &context(profile));
            proptest::prop_assert!(!findings.is_empty());
        }
    }

    #[test]
    fn damaged_filings_never_panic(
        flips in proptest::collection::vec((0usize..4000, proptest::prelude::any::<u8>()), 0..20),
        cut in 0usize..4000,
    ) {
        let rules = RuleSet::builtin().unwrap();
        let mut bytes = SampleFiling::new(&rules, &FORMS, 2, today()).bytes();
        for (at, byte) in flips {
            let len = bytes.len();
            bytes[at % len] = byte;
        }
        let (findings, summary) = run(&bytes, &rules, &context(Profile::Kpfd));
        proptest::prop_assert!(summary.records > 0 || !findings.is_empty());
        run(&bytes[..cut.min(bytes.len())], &rules, &context(Profile::Kpfd));
    }
}

/// A filing of two records of this form, of which the first was changed.
fn changed(rules: &RuleSet, code: &str, change: impl Fn(&mut Vec<String>)) -> (Vec<Finding>, Summary) {
    let mut filing = SampleFiling::new(rules, &[code], 2, today());
    change(&mut filing.records[0]);
    run(&filing.bytes(), rules, &context(Profile::Kpfd))
}

#[test]
fn a_record_that_is_not_whole_is_an_error_of_every_form_and_not_counted_as_checked() {
    let rules = RuleSet::builtin().unwrap();
    for code in FORMS {
        let (findings, summary) = changed(&rules, code, |record| {
            record[6] = "not checked".into();
            record.truncate(record.len() - 2);
        });
        let told: Vec<_> = findings.iter().map(|f| (f.rule.as_str(), f.severity, f.line)).collect();
        assert_eq!(told, [("KPFD-RECORD-SHORT", Severity::Error, Some(6))], "{code}");
        assert!(findings[0].message.ja.contains("確認していません"));
        assert!(findings[0].message.en.contains("not checked"));
        assert_eq!((summary.records, summary.unchecked), (2, 1));
        let (findings, _) = changed(&rules, code, |record| record.truncate(1));
        assert_eq!(findings[0].rule, "KPFD-RECORD-SHORT", "{code}");
    }
}

#[test]
fn a_file_that_was_cut_off_says_so_whatever_its_form() {
    let rules = RuleSet::builtin().unwrap();
    for code in FORMS {
        let bytes = SampleFiling::new(&rules, &[code], 3, today()).bytes();
        let begins = bytes.windows(7).rposition(|seven| seven == code.as_bytes()).unwrap();
        for cut in [bytes.len() - 40, begins + 30, begins + 7, begins + 3] {
            let (findings, summary) = run(&bytes[..cut], &rules, &context(Profile::Kpfd));
            let told: Vec<_> = findings.iter().map(|f| (f.rule.as_str(), f.severity, f.line)).collect();
            assert_eq!(told, [("KPFD-CUT-OFF", Severity::Error, Some(8))], "{code} {cut}");
            assert_eq!((summary.records, summary.unchecked), (3, 1));
        }
        for (cut, expected) in [(1, "KPFD-LAST-CRLF"), (2, "KPFD-LAST-CRLF")] {
            let (findings, _) = run(&bytes[..bytes.len() - cut], &rules, &context(Profile::Kpfd));
            let told: Vec<_> = findings.iter().map(|f| f.rule.as_str()).collect();
            assert_eq!(told, [expected], "{code} {cut}");
        }
    }
}

#[test]
fn the_first_fields_of_a_longer_record_are_checked() {
    let rules = RuleSet::builtin().unwrap();
    for (code, severity) in
        [("2200700", Severity::Error), ("2201700", Severity::Warning), ("2221700", Severity::Warning)]
    {
        let (findings, summary) = changed(&rules, code, |record| {
            let kana = record.iter().position(|value| value.contains(' ')).unwrap();
            record[kana] = "ア".into();
            record.push("9".into());
        });
        let told: Vec<_> = findings.iter().map(|f| (f.rule.as_str(), f.severity)).collect();
        assert_eq!(told[0], ("KPFD-FIELD-COUNT", severity), "{code}");
        assert_eq!(told[1].0, format!("{code}-KANA-CHARS"));
        assert_eq!((summary.records, summary.unchecked), (2, 0));
    }
    // A layout that the table knows and the insurer does not take is read by its own places.
    let only = rules.for_insurer("x", "[filing.counts]\n2200700 = [37]\n").unwrap();
    let record = sample::record(rules.form(Profile::Kpfd, "2200700").unwrap(), 36, 1, today());
    let filing = SampleFiling { records: vec![record], ..SampleFiling::head(today()) };
    let (findings, _) = run(&filing.bytes(), &only, &context(Profile::Kpfd));
    let told: Vec<_> = findings.iter().map(|f| (f.rule.as_str(), f.severity)).collect();
    assert_eq!(told, [("KPFD-FIELD-COUNT", Severity::Error)]);
}

#[test]
fn an_insurer_sets_what_the_number_of_fields_does_both_ways() {
    let builtin = RuleSet::builtin().unwrap();
    let longer = |rules: &RuleSet, code: &str| {
        let (findings, _) = changed(rules, code, |record| record.push(String::new()));
        findings.iter().find(|f| f.rule == "KPFD-FIELD-COUNT").map(|f| f.severity)
    };
    for (level, expected) in
        [("error", Some(Severity::Error)), ("warning", Some(Severity::Warning)), ("off", None)]
    {
        let text =
            format!("[filing.severity]\nKPFD-FIELD-COUNT = \"{level}\"\nKPFD-RECORD-SHORT = \"{level}\"\n");
        let rules = builtin.for_insurer("x", &text).unwrap();
        for code in FORMS {
            assert_eq!(longer(&rules, code), expected, "{code} {level}");
            let (findings, _) = changed(&rules, code, |record| record.truncate(9));
            assert_eq!(findings.first().map(|f| f.severity), expected, "{code} {level}");
        }
    }
}

/// What is found of one sound record of this form with these fields changed: rule, severity and message.
fn told(code: &str, edits: &[(&str, &str)]) -> Vec<(String, Severity, String)> {
    let rules = RuleSet::builtin().unwrap();
    let form = rules.form(Profile::Kpfd, code).unwrap();
    let mut record = sample::record(form, *form.counts.last().unwrap(), 0, today());
    for (key, value) in edits {
        record[form.field(key).unwrap()] = (*value).into();
    }
    let filing = SampleFiling { records: vec![record], ..SampleFiling::head(today()) };
    let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
    findings.into_iter().map(|f| (f.rule, f.severity, f.message.ja)).collect()
}

fn ids(code: &str, edits: &[(&str, &str)]) -> Vec<String> {
    told(code, edits).into_iter().map(|(rule, ..)| rule).collect()
}

#[test]
fn a_sum_neither_stands_without_its_parts_nor_they_without_it() {
    const MONTHS: [&str; 11] = [
        "money1",
        "money2",
        "money3",
        "in_kind1",
        "in_kind2",
        "in_kind3",
        "total1",
        "total2",
        "total3",
        "grand_total",
        "mean",
    ];
    let no_parts = [("money", ""), ("in_kind", ""), ("total", "300000")];
    let found = told("2200700", &no_parts);
    assert_eq!((found[0].0.as_str(), found[0].1), ("2200700-TOTAL", Severity::Error));
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains("「報酬月額(通貨)」「報酬月額(現物)」が空欄"), "{}", found[0].2);
    assert_eq!(ids("2265700", &no_parts), ["2265700-TOTAL"]);
    let no_total = told("2200700", &[("money", "200000"), ("in_kind", ""), ("total", "")]);
    assert!(no_total[0].2.contains("正しくは 200000"), "{no_total:?}");
    // A blank part counts as nothing.
    assert_eq!(ids("2200700", &[("money", "200000"), ("in_kind", ""), ("total", "200000")]), [""; 0]);
    for odd in ["abc", "３０００００"] {
        let found = told("2200700", &[("money", odd), ("in_kind", "0"), ("total", "300000")]);
        let sum = found.iter().find(|(rule, ..)| rule == "2200700-TOTAL").unwrap();
        assert_eq!(sum.1, Severity::Error);
        assert!(sum.2.contains("「報酬月額(通貨)」を数として読めない"), "{}", sum.2);
    }
    assert!(ids("2200700", &[("total", "x")]).contains(&"2200700-TOTAL".to_owned()));

    let blank: Vec<_> = MONTHS.iter().map(|key| (*key, "")).collect();
    assert_eq!(ids("2221700", &blank), ["2221700-AMOUNTS"]);
    assert_eq!(ids("2221700", &[("mean", "")]), ["2221700-MEAN"]);
    assert_eq!(ids("2221700", &[("grand_total", "")]), ["2221700-GRAND-TOTAL", "2221700-MEAN"]);
    // Nothing was paid for, or the change of pay is filed by itself.
    assert_eq!(ids("2225700", &blank), [""; 0]);
    let found = told("2225700", &[("grand_total", ""), ("mean", "")]);
    assert_eq!((found.len(), found[0].0.as_str()), (1, "2225700-MEAN"));
    assert!(found[0].2.contains("平均額"), "{}", found[0].2);
}

#[test]
fn a_mean_follows_from_the_months_that_count() {
    let three = |days: [&'static str; 3]| {
        let mut edits = vec![("money1", "100"), ("money2", "200"), ("money3", "401")];
        edits.extend([("in_kind1", ""), ("in_kind2", ""), ("in_kind3", "")]);
        edits.extend([("total1", "100"), ("total2", "200"), ("total3", "401")]);
        edits.extend([("days1", days[0]), ("days2", days[1]), ("days3", days[2])]);
        edits
    };
    let cases = [
        (["17", "17", "17"], "", "701", "233"),
        (["16", "17", "17"], "", "601", "300"),
        (["16", "17", "17"], "part_time", "601", "300"),
        (["15", "14", "16"], "part_time", "501", "250"),
        (["11", "10", "16"], "short_time", "501", "250"),
        (["17", "10", "17"], "short_time", "501", "250"),
    ];
    for (days, mark, total, mean) in cases {
        let with = |total: &'static str, mean: &'static str| {
            let mut edits = three(days);
            edits.extend([("grand_total", total), ("mean", mean)]);
            if !mark.is_empty() {
                edits.push((mark, "1"));
            }
            ids("2225700", &edits)
        };
        assert_eq!(with(total, mean), [""; 0], "{days:?} {mark}");
        assert_eq!(with(total, "1"), ["2225700-MEAN"], "{days:?} {mark}");
        assert_eq!(with("1", mean), ["2225700-MEAN"], "{days:?} {mark}");
        assert_eq!(with("", ""), ["2225700-MEAN"], "{days:?} {mark}");
    }
    let mut none = three(["10", "10", "10"]);
    none.extend([("grand_total", ""), ("mean", "")]);
    assert_eq!(ids("2225700", &none), [""; 0]);
}

#[test]
fn names_in_kana_and_base_months_are_what_they_say() {
    for kana in ["Taro YAMADA9", "ﾐﾎﾝ ﾀﾛｳ2", "ﾐﾎﾝ/ﾀﾛｳ ｲ"] {
        assert_eq!(ids("2200700", &[("kana", kana)]), ["2200700-KANA-CHARS"], "{kana}");
    }
    for kana in ["ﾐﾎﾝ ﾀﾛｳ", "ﾐﾎﾝ ｼﾞｵﾝ-ﾎﾟｰﾙ", "ｵ'ﾐﾎﾝ ﾀﾛｳ"] {
        assert!(!ids("2200700", &[("kana", kana)]).contains(&"2200700-KANA-CHARS".into()), "{kana}");
    }
    assert_eq!(ids("2200700", &[("address_kana", "ﾁﾖﾀﾞｸ A-2")]), [""; 0]);
    let months = |value: &str| ids("2225700", &[("over70", "1"), ("over70_months", value)]);
    for bad in ["040", "9999", "0504", "07"] {
        assert_eq!(months(bad), ["2225700-OVER70-MONTHS-VALUE"], "{bad}");
    }
    for good in ["04", "0405", "0406", "06"] {
        assert_eq!(months(good), [""; 0], "{good}");
    }
}

#[test]
fn a_slip_is_told_once_and_says_what_is_expected() {
    let one = |code: &str, edits: &[(&str, &str)], rule: &str, words: &[&str], without: &[&str]| {
        let found = told(code, edits);
        assert_eq!(found.iter().map(|(rule, ..)| rule.as_str()).collect::<Vec<_>>(), [rule], "{edits:?}");
        for word in words {
            assert!(found[0].2.contains(word), "{word}: {}", found[0].2);
        }
        for word in without {
            assert!(!found[0].2.contains(word), "{word}: {}", found[0].2);
        }
    };
    let codes = "01〜12、21、31〜39、41、42、51〜61、71〜82";
    let prefecture = [codes, "JIS", "13 ではなく 21"];
    one("2200700", &[("prefecture", "13")], "2200700-PREFECTURE-VALUE", &prefecture, &["..."]);
    // Thirty-two days are no number of days; that they are not 17 to 31 is the same slip of another rule.
    let days = told("2221700", &[("days1", "32")]);
    assert!(days[0].0 == "2221700-DAYS1-VALUE" && days[0].2.contains("00〜31"), "{days:?}");
    one("2201700", &[("birth_ymd", "60010")], "2201700-BIRTH-YMD-LENGTH", &["6 バイト"], &["最大桁数超過"]);
    one("2201700", &[("birth_ymd", "6001011")], "2201700-BIRTH-YMD-LENGTH", &["最大桁数超過"], &[]);
    one("2201700", &[("birth_ymd", "H310501")], "2201700-BIRTH-YMD-CHARS", &["半角数字"], &[]);
    one("2201700", &[("birth_era", "")], "2201700-BIRTH-ERA-REQUIRED", &[], &[]);
    one("2200700", &[("birth_era", "4")], "2200700-BIRTH-ERA-VALUE", &[], &[]);
    one("2201700", &[("over70_era", "9")], "2201700-OVER70-DATE", &["揃っていません"], &[]);
    let heisei = ["平成は 1 年 1 月 8 日から 31 年 4 月 30 日まで", "令和元年5月1日(9-010501)"];
    let birth = [("birth_era", "7"), ("birth_ymd", "310501")];
    one("2201700", &birth, "2201700-BIRTH-DATE", &heisei, &["昭和", "大正"]);
    let taisho = ["大正は 1 年 7 月 30 日から 15 年 12 月 24 日まで", "昭和元年12月25日"];
    one("2201700", &[("birth_era", "3"), ("birth_ymd", "151225")], "2201700-BIRTH-DATE", &taisho, &[]);
    let left = [("lost_era", "9"), ("lost_ymd", "080402"), ("left_era", "9"), ("left_ymd", "080331")];
    one("2201700", &left, "2201700-LOST-NEXT-DAY", &["令和8年4月1日(9-080401)"], &[]);
}

#[test]
fn fields_before_the_data_have_names_and_one_cause_each() {
    let rules = RuleSet::builtin().unwrap();
    let office = |at: usize, value: &str| {
        let mut filing = SampleFiling::new(&rules, &["2200700"], 1, today());
        filing.offices[0][at] = value.into();
        let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
        assert_eq!(findings.len(), 1, "{findings:?}");
        let name = findings[0].field_name.clone().unwrap();
        assert!(!name.en.is_empty());
        (findings[0].field.unwrap(), name.ja, findings[0].message.ja.clone())
    };
    let long = "見".repeat(26);
    let cases = [
        (1, "10", 2, "郵便番号(親番号)", "郵便番号"),
        (3, &"見".repeat(38), 4, "事業所所在地", "長すぎます"),
        (4, "", 5, "事業所名称", "事業所名称が空です。"),
        (4, &long, 5, "事業所名称", "長すぎます"),
        (5, "見本一郎", 6, "事業主氏名", "空白が 1 つではありません"),
        (5, &long, 6, "事業主氏名", "長すぎます"),
        (6, "0", 7, "電話番号(市外局番)", "電話番号"),
        (4, "髙見", 5, "事業所名称", "旧字体"),
    ];
    for (at, value, field, name, word) in cases {
        let told = office(at, value);
        assert_eq!((told.0, told.1.as_str()), (field, name), "{value}");
        assert!(told.2.contains(word), "{}", told.2);
        assert!(!(told.2.contains("長すぎ") && told.2.contains('空')), "{}", told.2);
    }
    let mut filing = SampleFiling::new(&rules, &["2200700"], 1, today());
    filing.media[1] = "000".into();
    filing.agent[0] = "髙見".into();
    let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
    let names: Vec<_> = findings.iter().map(|f| f.field_name.clone().unwrap().ja).collect();
    assert_eq!(names, ["媒体通番", "代理人氏名"]);
}

#[test]
fn a_quotation_mark_without_partner_is_shown_where_it_is() {
    for (value, column) in [("見本\"c", 3), ("\"abc", 1), ("\"ab\"c", 4)] {
        let rules = RuleSet::builtin().unwrap();
        let (findings, _) = changed(&rules, "2200700", |record| record[27] = value.into());
        assert_eq!(findings.len(), 1, "{findings:?}");
        let one = &findings[0];
        assert_eq!(
            (one.rule.as_str(), one.field, one.column),
            ("KPFD-LONE-QUOTE", Some(28), Some(column)),
            "{value}"
        );
        assert_eq!((one.field_name.clone().unwrap().ja.as_str(), one.value.as_deref()), ("備考", Some("\"")));
        assert_eq!(one.form.as_deref(), Some("2200700"));
    }
}

#[test]
fn a_form_that_exists_is_not_called_unknown() {
    let rules = RuleSet::builtin().unwrap();
    let (findings, summary) = changed(&rules, "2200700", |record| record[0] = "2202700".into());
    assert_eq!((findings.len(), findings[0].rule.as_str()), (1, "KPFD-FORM-REFUSED"));
    assert!(
        findings[0].message.ja.contains("被扶養者異動届")
            && findings[0].message.ja.contains("受け付けていません")
    );
    assert_eq!((summary.records, summary.unchecked), (2, 1));
}

#[test]
fn claims_count_on_after_a_lost_line_and_have_real_months() {
    let rules = RuleSet::builtin().unwrap();
    let ids = |lines: &[Vec<String>]| {
        let (findings, _) = run(&sample::claims_bytes(lines), &rules, &context(Profile::Claims));
        findings.into_iter().map(|f| f.rule).collect::<Vec<_>>()
    };
    let mut lines = sample::claims(50);
    lines.remove(10);
    assert_eq!(ids(&lines), ["CLAIMS-SERIAL", "CLAIMS-COUNT"]);
    for (month, sound) in [("202613", false), ("000000", false), ("202600", false), ("202612", true)] {
        let mut lines = sample::claims(1);
        lines[0][10] = month.into();
        assert_eq!(ids(&lines), if sound { vec![] } else { vec!["CLAIMS1-MONTH"] }, "{month}");
    }
    let mut lines = sample::claims(1);
    lines[0].push(String::new());
    assert_eq!(ids(&lines), ["KPFD-FIELD-COUNT"]);
    let twice = |at: usize| {
        let mut lines = sample::claims(1);
        if at == 0 {
            drop(lines.remove(0));
        } else {
            lines.insert(1, lines[0].clone());
        }
        let (findings, _) = run(&sample::claims_bytes(&lines), &rules, &context(Profile::Claims));
        findings.into_iter().find(|f| f.rule == "CLAIMS-CONTROL").unwrap().message.ja
    };
    assert_eq!(twice(0), "先頭がコントロールレコード(1 で始まる行)ではありません。");
    assert_eq!(twice(1), "コントロールレコード(1 で始まる行)が 2 つあります。");
}

#[test]
fn what_a_society_a_spreadsheet_or_an_old_program_adds_is_called_so() {
    let rules = RuleSet::builtin().unwrap();
    let sound = SampleFiling::new(&rules, &["2200700"], 2, today());
    let ids = |bytes: &[u8]| {
        let (findings, summary) = run(bytes, &rules, &context(Profile::Kpfd));
        assert_eq!(summary.records, 2);
        findings.into_iter().map(|f| (f.rule, f.severity)).collect::<Vec<_>>()
    };
    let one = |id: &str, severity| vec![(id.to_owned(), severity)];
    let mut own = sound.clone();
    for item in ["22223", "A22223"] {
        own.media[7] = item.into();
        assert_eq!(ids(&own.bytes()), []);
    }
    let with = |from: &[u8], to: &[u8]| {
        let bytes = sound.bytes();
        let at = bytes.windows(from.len()).position(|part| part == from).unwrap();
        [&bytes[..at], to, &bytes[at + from.len()..]].concat()
    };
    let end = |more: &[u8]| ids(&[sound.bytes(), more.to_vec()].concat());
    assert_eq!(end(b"\x1a\r\n"), one("KPFD-EOF-MARK", Severity::Warning));
    for blank in [&b"   \r\n"[..], b"\x81\x40 \t\r\n"] {
        assert_eq!(end(blank), one("KPFD-BLANK-LINE", Severity::Warning));
    }
    let saved = one("KPFD-SPREADSHEET", Severity::Error);
    assert_eq!(ids(&with(b"[kanri]", b"[kanri],,,,")), saved);
    assert_eq!(ids(&with(b"[data]", b"[data],,,")), saved);
    assert_eq!(end(b",,,,,\r\n"), saved);
    // As wide as the widest record, as a spreadsheet writes it.
    let width = sound.records[0].len();
    let text = sound.text();
    let padded: Vec<String> =
        text.lines().map(|line| format!("{line}{}", ",".repeat(width - line.split(',').count()))).collect();
    let padded = encoding_rs::SHIFT_JIS.encode(&(padded.join("\r\n") + "\r\n")).0.into_owned();
    assert_eq!(ids(&padded), saved);
}

/// Which rules of a form a sound record passes because their condition applied, not because there was nothing to ask.
fn applied(form: &Form, count: usize, record: &[String], seen: &mut BTreeSet<String>) {
    let mut at = 0;
    let mut values = Vec::new();
    for field in &form.fields {
        let here = field.only_with.is_none_or(|with| with == count);
        values.push(if here { record[at].as_str() } else { "" });
        at += usize::from(here);
    }
    let filled = |fields: &[usize]| fields.iter().all(|field| !values[*field].is_empty());
    let date = |date: usize| {
        let date = &form.dates[date];
        filled(&[date.era])
            && match date.digits {
                DateDigits::Day(ymd) => filled(&[ymd]),
                DateDigits::Month(yy, mm) => filled(&[yy, mm]),
            }
    };
    for (_, field) in form.fields.iter().enumerate().filter(|(i, _)| filled(&[*i])) {
        let rules = FieldRule::ALL.into_iter().filter(|rule| field.has(*rule));
        seen.extend(rules.map(|rule| form.field_rule_id(field, rule)));
    }
    seen.extend((0..form.dates.len()).filter(|i| date(*i)).map(|i| form.date_rule_id(&form.dates[i])));
    for rule in &form.rules {
        let when = rule.when.as_ref().is_none_or(|when| {
            let value = values[when.field];
            match &when.test {
                Test::Filled(filled) => value.is_empty() != *filled,
                Test::Is(of) => of.iter().any(|v| **v == *value.as_bytes()),
                Test::Not(of) => !value.is_empty() && !of.iter().any(|v| **v == *value.as_bytes()),
            }
        });
        let applies = match &rule.check {
            Check::Sum { parts, total, .. } => filled(&[*total]) && parts.iter().any(|part| filled(&[*part])),
            Check::Mean { total, mean, .. } => filled(&[*total, *mean]),
            Check::QualifyingMean { total, mean, short_time, part_time, .. } => {
                for (field, branch) in [(*short_time, "short"), (*part_time, "part")] {
                    if filled(&[field]) {
                        seen.insert(format!("{} {branch}", rule.id));
                    }
                }
                filled(&[*total, *mean])
            }
            Check::NotFuture { date: at } => date(*at),
            Check::After { date: at, than } | Check::DaysAfter { date: at, than, .. } => {
                date(*at) && date(*than)
            }
            Check::Age { birth, on, .. } => date(*birth) && date(*on),
            Check::Required { fields } | Check::Range { fields, .. } => filled(fields),
            Check::Blank { .. } => true,
            Check::Months { months, next } => filled(months) && filled(&[*next]),
            Check::Month { field }
            | Check::Values { field, .. }
            | Check::Excluded { field, .. }
            | Check::OneBlank { field } => filled(&[*field]),
        };
        if when && applies {
            seen.insert(rule.id.clone());
        }
    }
}

#[test]
fn every_rule_of_a_form_has_a_passing_case_in_which_it_applied() {
    let rules = RuleSet::builtin().unwrap();
    let mut seen = BTreeSet::new();
    for form in rules.forms(Profile::Kpfd) {
        for count in &form.counts {
            let records: Vec<_> = (0..24).map(|i| sample::record(form, *count, i, today())).collect();
            for record in &records {
                applied(form, *count, record, &mut seen);
            }
            let filing = SampleFiling { records, ..SampleFiling::head(today()) };
            assert_eq!(run(&filing.bytes(), &rules, &context(Profile::Kpfd)).0, []);
        }
    }
    let claims = sample::claims(3);
    assert_eq!(run(&sample::claims_bytes(&claims), &rules, &context(Profile::Claims)).0, []);
    for line in &claims {
        let form = rules.form(Profile::Claims, &line[0]).unwrap();
        applied(form, form.counts[0], line, &mut seen);
    }
    let of_forms = rules.forms(Profile::Kpfd).chain(rules.forms(Profile::Claims)).flat_map(Form::rule_ids);
    let mut wanted: BTreeSet<String> = of_forms.map(|(id, _)| id).collect();
    wanted.extend(["2225700-MEAN short".to_owned(), "2225700-MEAN part".to_owned()]);
    assert_eq!(wanted.difference(&seen).collect::<Vec<_>>(), [""; 0]);
    assert!(wanted.len() > 280, "{}", wanted.len());
}

#[test]
fn every_field_has_a_source_and_what_was_inferred_says_so() {
    let rules = RuleSet::builtin().unwrap();
    for form in rules.forms(Profile::Kpfd) {
        for field in &form.fields {
            assert!(
                field.source.starts_with("KPFD.md") || field.certainty == Certainty::Inferred,
                "{}",
                field.key
            );
            let guessed = ["district", "office_number", "no_address_note", "cards", "cards_lost"];
            if guessed.contains(&field.key.as_str()) {
                assert_eq!(field.certainty, Certainty::Inferred, "{} {}", form.code, field.key);
                assert!(field.source.starts_with("inferred"), "{}", field.source);
            }
        }
    }
    let form = rules.form(Profile::Kpfd, "2200700").unwrap();
    let note = form.rules.iter().find(|rule| rule.id == "2200700-NO-ADDRESS-NOTE").unwrap();
    assert_eq!((note.certainty, note.level.severity()), (Certainty::Inferred, Some(Severity::Warning)));
    assert_eq!(form.fields[form.field("society_office").unwrap()].source, "KPFD.md, Lines");
}
