//! How a check is told: for a terminal, a program, a spreadsheet, a printer.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::{Checked, Outcome};
use crate::desk::Trouble;
use crate::filing::report::{self, PageHead};
use crate::filing::{Findings, Summary};
use crate::model::escape::terminal;
use crate::model::finding::Language;
use crate::model::ids::{InsurerCode, OfficeCode};
use crate::model::time::{Clock as _, SystemClock};

pub(super) fn page_head(
    checked: &[Checked],
    insurer: Option<&InsurerCode>,
    zone: Tz,
    language: Language,
) -> PageHead {
    let label = |ja: &str, en: &str| match language {
        Language::Ja => ja.to_owned(),
        Language::En => en.to_owned(),
    };
    let mut rows = vec![(label("確認日", "Checked on"), SystemClock.now().date_in(zone).to_string())];
    if let Some(insurer) = insurer {
        rows.push((label("健康保険組合", "Insurer"), insurer.to_string()));
    }
    for one in checked {
        rows.push((label("ファイル", "File"), one.path.display().to_string()));
        if let Some(summary) = &one.summary {
            let offices: Vec<&str> = summary.offices.iter().map(OfficeCode::as_str).collect();
            if !offices.is_empty() {
                rows.push((label("事業所番号", "Office"), offices.join(", ")));
            }
            rows.push((label("届書", "Forms"), forms(summary, language)));
            if summary.unchecked > 0 {
                let label = label("確認できなかったレコード", "Records not checked");
                rows.push((label, summary.unchecked.to_string()));
            }
        }
    }
    PageHead { rows }
}

fn forms(summary: &Summary, language: Language) -> String {
    let each = summary.forms.iter().map(|form| match language {
        Language::Ja => format!("{} {} 件", form.name.ja, form.count),
        Language::En => format!("{} {}", form.name.en, form.count),
    });
    each.collect::<Vec<_>>().join(if language == Language::Ja { "、" } else { ", " })
}

pub(super) fn as_json(outcome: &Outcome) -> Result<String, Trouble> {
    let files: Vec<Value> = outcome
        .checked
        .iter()
        .map(|one| {
            let Some(summary) = &one.summary else { return json!({ "file": one.path }) };
            let forms = summary
                .forms
                .iter()
                .map(|form| json!({ "code": form.code, "name": form.name, "count": form.count }));
            json!({
                "file": one.path,
                "offices": summary.offices,
                "forms": forms.collect::<Vec<_>>(),
                "records": summary.records,
                "unchecked": summary.unchecked,
                "bytes": summary.bytes,
            })
        })
        .collect();
    let findings = &outcome.findings;
    let verdict = if findings.is_ok() { "ok" } else { "error" };
    let value = json!({
        "verdict": verdict,
        "errors": findings.errors(),
        "warnings": findings.warnings(),
        "findings": findings.listed(),
        "more_findings": findings.more(),
        "files": files,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// How many records were checked, and how many were not.
fn counted(summary: &Summary, language: Language) -> String {
    let (unchecked, forms) = (summary.unchecked, forms(summary, language));
    let checked = summary.records.saturating_sub(unchecked);
    match (language, checked, unchecked) {
        (Language::Ja, 0, 0) => "確認できるレコードがありませんでした。".to_owned(),
        (Language::Ja, _, 0) => format!("{checked} 件を確認しました（{forms}）。"),
        (Language::Ja, ..) => format!("{checked} 件を確認しました。{unchecked} 件は確認できませんでした。"),
        (Language::En, 0, 0) => "there was no record to check.".to_owned(),
        (Language::En, _, 0) => format!("{checked} records checked ({forms})."),
        (Language::En, ..) => format!("{checked} records checked, {unchecked} could not be checked."),
    }
}

pub(super) fn as_text(findings: &Findings, checked: &[Checked], language: Language) -> String {
    let mut text = String::new();
    for finding in findings.listed() {
        text.push_str(&report::finding_text(finding, language));
        text.push('\n');
    }
    if findings.more() > 0 {
        text.push_str(&report::more(findings.more(), language));
        text.push('\n');
    }
    for one in checked {
        let Some(summary) = &one.summary else { continue };
        let name = terminal(&one.path.display().to_string());
        text.push_str(&format!("{name}: {}\n", counted(summary, language)));
    }
    text.push_str(&report::verdict(findings, language));
    text.push('\n');
    text
}
