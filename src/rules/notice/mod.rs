//! What a notice says (K9): the office first, since mailboxes are shared; then the insurer, what it is about, the last
//! day, whom to ask, and what to do next. Never a link, a person, or a title.

mod dkim;
mod kinds;
mod letter;
mod template;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::finding::Language;
use crate::model::time::Timestamp;

pub use dkim::{Dkim, DkimError};
pub use kinds::{
    AbsenceNotice, AddressNotice, Addressed, AgainMail, ApplicationMail, ArrivalNotice, ArrivalPart,
    CertificateEndsNotice, ExpiringNotice, KINDS, Kind, LoginNotice, Notice, PasswordEndsNotice,
    ProfileNotice, RecallNotice, RefusalNotice, RefusalReason, ReminderNotice, RenewalList, RenewalRow,
    SweptNotice, WithdrawnNotice, summarise,
};
pub use letter::{Letter, LetterError, compose};
use template::Template;
pub use template::TemplateError;
use words::{COLUMNS, LIST_LINES_MAX, fold, fold_lines};
pub use words::{Values, clean, last_day};

/// Something an operator should see; always English.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmNotice {
    /// Stable and ASCII, such as `SCANNER-PATTERNS-STALE`.
    pub code: String,
    /// The machine.
    pub host: String,
    /// When it was noticed.
    pub at: Timestamp,
    /// One line.
    pub summary: String,
    /// Further lines: what is known, what to do.
    pub details: Vec<String>,
}

/// A text, ready to be put into a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// One line, no control characters.
    pub subject: String,
    /// Lines ended by LF.
    pub body: String,
}

impl Rendered {
    /// Says that it concerns a test account (H3): first in the subject, and above the text.
    pub fn mark_test(&mut self, language: Language) {
        let (mark, line) = match language {
            Language::Ja => {
                ("【テスト】", "テスト用アカウントへのお知らせです。実際の届出・通知ではありません。")
            }
            Language::En => {
                ("[TEST] ", "This concerns a test account. Nothing of it is a real filing or document.")
            }
        };
        self.subject = format!("{mark}{}", self.subject);
        self.body = format!("{line}\n\n{}", self.body);
    }
}

/// The texts in use.
#[derive(Debug, Clone)]
pub struct Templates(BTreeMap<&'static str, Template>);

impl Templates {
    /// Those that come with the program. The error is a fault of the build; a test keeps it from happening.
    pub fn builtin() -> Result<Self, TemplateError> {
        let parse = |kind: &&'static Kind| {
            let template = Template::parse(&kind.file_name(), kind.default_text, kind.slots)?;
            Ok((kind.name, template))
        };
        KINDS.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Replaces the texts of one kind; `file` is named in errors.
    pub fn set(&mut self, kind: &'static Kind, file: &str, text: &str) -> Result<(), TemplateError> {
        let template = Template::parse(file, text, kind.slots)?;
        self.0.insert(kind.name, template);
        Ok(())
    }

    /// Fills in.
    pub fn render(&self, notice: &dyn Notice, language: Language) -> Rendered {
        self.fill(notice.kind(), &notice.values(language))
    }

    /// Fills in for readers of several languages, one text below the other.
    pub fn render_all(&self, notice: &dyn Notice, languages: &[Language]) -> Rendered {
        let texts: Vec<Rendered> = languages.iter().map(|language| self.render(notice, *language)).collect();
        let subjects: Vec<&str> = texts.iter().map(|text| text.subject.as_str()).collect();
        let bodies: Vec<&str> = texts.iter().map(|text| text.body.as_str()).collect();
        let between = format!("\n{}\n\n", "-".repeat(COLUMNS));
        Rendered { subject: clean(&subjects.join(" / "), SUBJECT_CHARS_MAX), body: bodies.join(&between) }
    }

    /// A kind's texts, filled with its sample: to look at before anybody gets it.
    pub fn preview(&self, kind: &'static Kind, language: Language) -> Rendered {
        self.fill(kind, &(kind.sample)(language))
    }

    fn fill(&self, kind: &'static Kind, values: &Values) -> Rendered {
        let Some(template) = self.0.get(kind.name) else {
            // A kind that is not listed; a test keeps it from happening.
            return Rendered { subject: kind.name.to_owned(), body: String::new() };
        };
        let both = match values.language() {
            Language::Ja => &template.ja,
            Language::En => &template.en,
        };
        Rendered {
            subject: clean(&both.subject.fill_subject(values), SUBJECT_CHARS_MAX),
            body: fold_lines(&both.body.fill(values)),
        }
    }
}

/// Characters of a filled-in subject.
const SUBJECT_CHARS_MAX: usize = 200;

/// The operator's mail.
pub fn render_alarm(alarm: &AlarmNotice) -> Rendered {
    let (code, host, summary) = (clean(&alarm.code, 60), clean(&alarm.host, 80), clean(&alarm.summary, 120));
    let mut body = format!("{code}\n{summary}\n\nHost:  {host}\nSince: {}\n", alarm.at);
    for (at, detail) in alarm.details.iter().take(LIST_LINES_MAX).enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let _ = writeln!(body, "{gap}{}", fold(&clean(detail, 400), 0));
    }
    if alarm.details.len() > LIST_LINES_MAX {
        let _ = writeln!(body, "... and {} more.", alarm.details.len() - LIST_LINES_MAX);
    }
    body.push_str("\n`todoke status` and `todoke doctor` show what is so now.\n");
    Rendered { subject: clean(&format!("[todoke] {host}: {code}: {summary}"), SUBJECT_CHARS_MAX), body }
}
