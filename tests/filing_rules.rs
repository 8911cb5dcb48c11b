//! Every rule of filings has a case that passes and one that fails, by its id.

#![allow(
    clippy::unwrap_used,
    clippy::single_match_else,
    reason = "a test's helper may panic as the test does"
)]

use std::collections::BTreeSet;

use chrono::NaiveDate;
use todoke::filing::sample::{self, SampleFiling};
use todoke::filing::{Context, Findings, Profile, RuleSet, Summary, check};
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

#[test]
fn an_individual_number_is_never_shown() {
    let rules = RuleSet::builtin().unwrap();
    let form = rules.form(Profile::Kpfd, "2200700").unwrap();
    let good = sample::record(form, 37, 1, today());
    let mut seen = 0;
    for at in 0..good.len() {
        for number in ["123456789018", "12345678901a", "1234567890180"] {
            let mut record = good.clone();
            record[12] = number.into();
            record[at] = number.into();
            let filing = SampleFiling { records: vec![record], ..SampleFiling::head(today()) };
            let (findings, _) = run(&filing.bytes(), &rules, &context(Profile::Kpfd));
            let json = serde_json::to_string(&findings).unwrap();
            assert!(!json.contains("123456789018"), "{json}");
            seen += findings.len();
        }
    }
    assert!(seen > 100);
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
        let text = format!("[filing.severity]\nKPFD-FIELD-COUNT = \"{level}\"\nKPFD-RECORD-SHORT = \"{level}\"\n");
        let rules = builtin.for_insurer("x", &text).unwrap();
        for code in FORMS {
            assert_eq!(longer(&rules, code), expected, "{code} {level}");
            let (findings, _) = changed(&rules, code, |record| record.truncate(9));
            assert_eq!(findings.first().map(|f| f.severity), expected, "{code} {level}");
        }
    }
}
