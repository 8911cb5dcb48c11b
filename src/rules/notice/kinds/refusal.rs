//! A submission was refused after its client had been told "received".

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, must};
use crate::model::finding::{Finding, Language, Severity, Text};
use crate::model::ids::Number;
use crate::rules::notice::words::{Values, clean};

pub(super) static KIND: Kind = Kind {
    name: "refusal",
    default_text: include_str!("../../../../conf/notices/refusal.toml"),
    slots: &[OFFICE, INSURER, must("number"), body("reasons"), body("findings_file"), CONTACT],
    sample: |language| {
        let action = Text::new("総括表を添付してください。", "Attach the cover sheet (総括表).");
        RefusalNotice {
            to: Addressed::sample(),
            number: Number { epoch: 1, serial: 123 },
            reasons: vec![RefusalReason { code: "SET-COVER-MISSING".to_owned(), count: 1, action }],
            findings_file: "/receipts/1-000123-6.findings.csv".to_owned(),
        }
        .values(language)
    },
};

/// A submission was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalNotice {
    /// Its office.
    pub to: Addressed,
    /// The submission.
    pub number: Number,
    /// Why; see [`summarise`].
    pub reasons: Vec<RefusalReason>,
    /// Where the findings are, such as `/receipts/1-000123-3.findings.csv`.
    pub findings_file: String,
}

/// One code among the findings that refused a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalReason {
    /// The rule, such as `KPFD-FIELD-COUNT`.
    pub code: String,
    /// How often.
    pub count: u64,
    /// What to do.
    pub action: Text,
}

impl Notice for RefusalNotice {
    fn kind(&self) -> &'static Kind {
        &KIND
    }
    fn values(&self, language: Language) -> Values {
        self.to
            .values(language)
            .number("number", self.number)
            .list("reasons", self.reasons.iter().map(|reason| line(reason, language)))
            .line("findings_file", &self.findings_file)
    }
}

fn line(reason: &RefusalReason, language: Language) -> String {
    let (code, count) = (clean(&reason.code, 60), reason.count);
    let head = match (language, count) {
        (_, 1) => format!("  {code}"),
        (Language::Ja, _) => format!("  {code} ({count}か所)"),
        (Language::En, _) => format!("  {code} ({count} times)"),
    };
    format!("{head}\n    {}", clean(reason.action.get(language), 300))
}

/// Errors among the findings, one for each code, in the order of their first appearance.
pub fn summarise(findings: &[Finding]) -> Vec<RefusalReason> {
    let mut reasons: Vec<RefusalReason> = Vec::new();
    for finding in findings.iter().filter(|f| f.severity == Severity::Error) {
        if let Some(known) = reasons.iter_mut().find(|r| r.code == finding.rule) {
            known.count += 1;
        } else {
            reasons.push(RefusalReason {
                code: finding.rule.clone(),
                count: 1,
                action: finding.action.clone(),
            });
        }
    }
    reasons
}
