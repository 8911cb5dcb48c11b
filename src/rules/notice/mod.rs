//! What a notice says (K9): the office first, since mailboxes are shared; then the insurer, what it is about, the last
//! day, and whom to ask. Never a link, a person, or a title.

mod letter;
mod template;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use chrono::{Datelike, NaiveDate, Weekday};
use chrono_tz::Tz;

use crate::model::finding::{Finding, Language, Severity, Text};
use crate::model::ids::Number;
use crate::model::time::Timestamp;

pub use letter::{Letter, LetterError, compose};
pub use template::TemplateError;
use template::{Need, Slot, Template};

/// Documents arrived for an office (K9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivalNotice {
    /// Name of the office.
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// Types of document, and how many of each.
    pub counts: Vec<(String, u64)>,
    /// The last whole day on which all of them can be fetched: [`last_day`] of the first to expire.
    pub last_day: NaiveDate,
    /// Whom to ask; may have several lines.
    pub contact: String,
    /// Where they are, such as `/outbox/1234/`.
    pub folder: String,
}

/// A submission was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalNotice {
    /// Name of the office.
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// The submission.
    pub number: Number,
    /// Why; see [`summarise`].
    pub reasons: Vec<RefusalReason>,
    /// Where the findings are, such as `/receipts/1-000123-3.findings.csv`.
    pub findings_file: String,
    /// Whom to ask; may have several lines.
    pub contact: String,
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

/// Files of an unfinished set were removed from the drop-box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptNotice {
    /// Name of the office (of the account, where it acts for several).
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// How many files.
    pub files: u64,
    /// Whole days the set was waited for.
    pub days: u32,
    /// Local day on which the last of it had arrived.
    pub sent_on: NaiveDate,
    /// Whom to ask; may have several lines.
    pub contact: String,
}

/// A document was taken back (誤配信).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallNotice {
    /// Name of the office.
    pub office_name: String,
    /// Name of the insurer.
    pub insurer_name: String,
    /// Type of the document.
    pub kind: String,
    /// Its file name in the outbox, which names no person.
    pub file: String,
    /// Local day on which it was placed.
    pub placed_on: NaiveDate,
    /// Somebody had fetched it.
    pub fetched: bool,
    /// Whom to ask; may have several lines.
    pub contact: String,
}

/// A notice to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// See there.
    Arrival(ArrivalNotice),
    /// See there.
    Refusal(RefusalNotice),
    /// See there.
    Swept(SweptNotice),
    /// See there.
    Recall(RecallNotice),
}

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

/// The kinds of notice that have a text of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// `arrival.toml`
    Arrival,
    /// `refusal.toml`
    Refusal,
    /// `swept.toml`
    Swept,
    /// `recall.toml`
    Recall,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Arrival, Self::Refusal, Self::Swept, Self::Recall];

    /// Its file under `conf/notices/`.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival.toml",
            Self::Refusal => "refusal.toml",
            Self::Swept => "swept.toml",
            Self::Recall => "recall.toml",
        }
    }

    /// The text that comes with the program; also what `init` writes.
    pub fn default_text(self) -> &'static str {
        match self {
            Self::Arrival => include_str!("../../../conf/notices/arrival.toml"),
            Self::Refusal => include_str!("../../../conf/notices/refusal.toml"),
            Self::Swept => include_str!("../../../conf/notices/swept.toml"),
            Self::Recall => include_str!("../../../conf/notices/recall.toml"),
        }
    }

    fn slots(self) -> &'static [Slot] {
        const fn slot(name: &'static str, in_subject: Need, in_body: Need) -> Slot {
            Slot { name, in_subject, in_body }
        }
        use Need::{May, Must, Never};
        match self {
            Self::Arrival => {
                &const {
                    [
                        slot("office", Must, Must),
                        slot("insurer", May, Must),
                        slot("total", May, May),
                        slot("counts", Never, Must),
                        slot("last_day", May, Must),
                        slot("folder", Never, Must),
                        slot("contact", Never, Must),
                    ]
                }
            }
            Self::Refusal => {
                &const {
                    [
                        slot("office", Must, Must),
                        slot("insurer", May, Must),
                        slot("number", May, Must),
                        slot("reasons", Never, Must),
                        slot("findings_file", Never, Must),
                        slot("contact", Never, Must),
                    ]
                }
            }
            Self::Swept => {
                &const {
                    [
                        slot("office", Must, Must),
                        slot("insurer", May, Must),
                        slot("files", May, Must),
                        slot("days", May, Must),
                        slot("sent_on", May, Must),
                        slot("contact", Never, Must),
                    ]
                }
            }
            Self::Recall => {
                &const {
                    [
                        slot("office", Must, Must),
                        slot("insurer", May, Must),
                        slot("kind", May, May),
                        slot("file", Never, Must),
                        slot("placed_on", May, May),
                        slot("fetched", Never, Must),
                        slot("contact", Never, Must),
                    ]
                }
            }
        }
    }
}

/// The texts in use.
#[derive(Debug, Clone)]
pub struct Templates([Template; 4]);

impl Templates {
    /// Those that come with the program. The error is a fault of the build; a test keeps it from happening.
    pub fn builtin() -> Result<Self, TemplateError> {
        let parse = |kind: NoticeKind| Template::parse(kind.file_name(), kind.default_text(), kind.slots());
        let [arrival, refusal, swept, recall] = NoticeKind::ALL.map(parse);
        Ok(Self([arrival?, refusal?, swept?, recall?]))
    }

    /// Replaces the texts of one kind; `file` is named in errors.
    pub fn set(&mut self, kind: NoticeKind, file: &str, text: &str) -> Result<(), TemplateError> {
        self.0[kind as usize] = Template::parse(file, text, kind.slots())?;
        Ok(())
    }

    /// Fills in.
    pub fn render(&self, notice: &Notice, language: Language) -> Rendered {
        let template = &self.0[notice.kind() as usize];
        let both = match language {
            Language::Ja => &template.ja,
            Language::En => &template.en,
        };
        let values = notice.values(language);
        Rendered {
            subject: clean(&both.subject.fill(&values), SUBJECT_CHARS_MAX),
            body: both.body.fill(&values),
        }
    }
}

/// Characters of a filled-in subject.
const SUBJECT_CHARS_MAX: usize = 200;
/// Characters of one value.
const VALUE_CHARS_MAX: usize = 100;
/// Lines of a list; the rest is counted.
const LIST_LINES_MAX: usize = 30;
/// Columns of a line, a Japanese character taking two.
const COLUMNS: usize = 72;

impl Notice {
    /// Which texts it takes.
    pub fn kind(&self) -> NoticeKind {
        match self {
            Self::Arrival(_) => NoticeKind::Arrival,
            Self::Refusal(_) => NoticeKind::Refusal,
            Self::Swept(_) => NoticeKind::Swept,
            Self::Recall(_) => NoticeKind::Recall,
        }
    }

    fn values(&self, language: Language) -> Vec<(&'static str, String)> {
        let line = |text: &str| clean(text, VALUE_CHARS_MAX);
        match self {
            Self::Arrival(n) => vec![
                ("office", line(&n.office_name)),
                ("insurer", line(&n.insurer_name)),
                ("total", n.counts.iter().map(|(_, count)| count).sum::<u64>().to_string()),
                ("counts", counts(&n.counts, language)),
                ("last_day", day(n.last_day, language)),
                ("folder", line(&n.folder)),
                ("contact", block(&n.contact)),
            ],
            Self::Refusal(n) => vec![
                ("office", line(&n.office_name)),
                ("insurer", line(&n.insurer_name)),
                ("number", n.number.to_string()),
                ("reasons", reasons(&n.reasons, language)),
                ("findings_file", line(&n.findings_file)),
                ("contact", block(&n.contact)),
            ],
            Self::Swept(n) => vec![
                ("office", line(&n.office_name)),
                ("insurer", line(&n.insurer_name)),
                ("files", n.files.to_string()),
                ("days", n.days.to_string()),
                ("sent_on", day(n.sent_on, language)),
                ("contact", block(&n.contact)),
            ],
            Self::Recall(n) => vec![
                ("office", line(&n.office_name)),
                ("insurer", line(&n.insurer_name)),
                ("kind", line(&n.kind)),
                ("file", line(&n.file)),
                ("placed_on", day(n.placed_on, language)),
                ("fetched", fetched(n.fetched).get(language).to_owned()),
                ("contact", block(&n.contact)),
            ],
        }
    }
}

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

/// The last day that is over before this instant: to say "until that day" is then never too late.
pub fn last_day(expires_at: Timestamp, zone: Tz) -> NaiveDate {
    let date = expires_at.date_in(zone);
    date.pred_opt().unwrap_or(date)
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

fn counts(counts: &[(String, u64)], language: Language) -> String {
    let lines = counts.iter().map(|(kind, count)| {
        let kind = clean(kind, VALUE_CHARS_MAX);
        Text::new(format!("  ・{kind}  {count}件"), format!("  - {kind}: {count}")).get(language).to_owned()
    });
    list(lines, counts.len(), language)
}

fn reasons(reasons: &[RefusalReason], language: Language) -> String {
    let lines = reasons.iter().map(|reason| {
        let (code, count) = (clean(&reason.code, 60), reason.count);
        let head = match (language, count) {
            (_, 1) => format!("  {code}"),
            (Language::Ja, _) => format!("  {code} ({count}か所)"),
            (Language::En, _) => format!("  {code} ({count} times)"),
        };
        format!("{head}\n    {}", fold(&clean(reason.action.get(language), 300), 4))
    });
    list(lines, reasons.len(), language)
}

/// The first lines, and how many are left out.
fn list(lines: impl Iterator<Item = String>, count: usize, language: Language) -> String {
    let mut lines: Vec<String> = lines.take(LIST_LINES_MAX).collect();
    if let Some(more) = count.checked_sub(LIST_LINES_MAX).filter(|more| *more > 0) {
        lines.push(
            Text::new(format!("  ほか{more}種類"), format!("  and {more} more")).get(language).to_owned(),
        );
    }
    lines.join("\n")
}

fn fetched(fetched: bool) -> Text {
    if fetched {
        Text::new(
            "この文書はすでに受信されています。保存した控えや印刷したものがあれば、\n\
             内容を見ずに削除・破棄し、下記の窓口へご連絡ください。",
            "This document had been fetched. If you kept or printed a copy, delete and destroy it\n\
             without reading it, and tell the contact below.",
        )
    } else {
        Text::new(
            "この文書は受信される前に取り消されました。お手続きは必要ありません。",
            "This document was taken back before anybody fetched it. There is nothing you need to do.",
        )
    }
}

/// `2027年2月1日(月)`, `Mon 1 February 2027`.
fn day(date: NaiveDate, language: Language) -> String {
    match language {
        Language::Ja => {
            let weekday = match date.weekday() {
                Weekday::Mon => '月',
                Weekday::Tue => '火',
                Weekday::Wed => '水',
                Weekday::Thu => '木',
                Weekday::Fri => '金',
                Weekday::Sat => '土',
                Weekday::Sun => '日',
            };
            format!("{}年{}月{}日({weekday})", date.year(), date.month(), date.day())
        }
        Language::En => date.format("%a %-d %B %Y").to_string(),
    }
}

/// One line that shows what it says: control characters and line breaks become spaces, characters that turn the reading
/// direction or show nothing go, and what is too long is cut.
pub fn clean(text: &str, chars_max: usize) -> String {
    let mut spaced = String::with_capacity(text.len());
    for c in text.chars().filter(|c| !is_invisible(*c)) {
        if !is_break(c) {
            spaced.push(c);
        } else if !spaced.ends_with(' ') {
            spaced.push(' ');
        }
    }
    let line = spaced.trim();
    if line.chars().count() <= chars_max {
        return line.to_owned();
    }
    line.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect()
}

/// Directional marks, overrides and isolates, zero-width characters, byte order mark, interlinear marks, tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_break(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Several lines, each cleaned.
fn block(text: &str) -> String {
    let lines: Vec<String> = text.lines().take(10).map(|l| clean(l, VALUE_CHARS_MAX)).collect();
    lines.join("\n")
}

/// Breaks a line at [`COLUMNS`]: English at spaces, Japanese between characters but never before a closing mark. Further
/// lines are indented.
fn fold(text: &str, indent: usize) -> String {
    let width = |c: char| if c.is_ascii() || ('\u{ff61}'..='\u{ff9f}').contains(&c) { 1 } else { 2 };
    let closing = |c: char| "、。，．）」』】〕・：；！？ー々".contains(c);
    let (mut done, mut line, mut columns) = (String::new(), String::new(), indent);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        line.push(c);
        columns += width(c);
        let wide_next = chars.peek().is_some_and(|n| width(*n) == 2 && !closing(*n));
        let may_break =
            c == ' ' || (width(c) == 2 && chars.peek().is_some_and(|n| !closing(*n))) || wide_next;
        let word: usize = chars.clone().take_while(|n| *n != ' ' && width(*n) == 1).count();
        let next = chars.peek().map_or(0, |n| if width(*n) == 1 { word } else { 2 });
        // Two columns are kept for a closing mark that may have to follow.
        if may_break && columns + next > COLUMNS - 2 {
            let _ = write!(done, "{}\n{:indent$}", line.trim_end(), "");
            line.clear();
            columns = indent;
        }
    }
    done.push_str(line.trim_end());
    done
}
