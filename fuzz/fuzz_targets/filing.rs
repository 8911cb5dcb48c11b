//! Reader and checker: whatever the bytes are, findings or a filing, never a panic, and never more findings than are listed.
//! The first byte chooses the profile.
#![no_main]

use std::sync::LazyLock;

use chrono::NaiveDate;
use libfuzzer_sys::fuzz_target;
use todoke::filing::report::{PageHead, findings_csv, findings_html};
use todoke::filing::{Context, Findings, LISTED_MAX, Profile, RuleSet, check_observed};
use todoke::model::finding::Language;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::builtin().expect("the tables are sound"));

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else { return };
    let profile = if first % 2 == 0 { Profile::Kpfd } else { Profile::Claims };
    let today = NaiveDate::from_ymd_opt(2026, 11, 23).expect("a day");
    let context = Context { profile, ..Context::on(today) };
    let mut findings = Findings::default();
    let mut keys = 0;
    let summary = check_observed(bytes, &RULES, &context, &mut findings, &mut |_| keys += 1).expect("no I/O error");
    assert!(findings.listed().len() <= LISTED_MAX);
    assert!(!findings.listed().is_empty() || summary.records > 0 || profile == Profile::Claims);
    assert!(summary.bytes <= bytes.len() as u64);
    let csv = findings_csv(&findings, Language::Ja);
    assert!(!csv.contains(['\u{1b}', '\0']));
    let html = findings_html(&PageHead::default(), &findings, Language::En);
    assert!(!html.contains("<script") && !html.contains('\u{1b}'));
});
