//! What travels together: the filing, its cover sheet, its attachments, and when they come. Values in, findings out.

mod cover;

use chrono::NaiveDateTime;
use unicode_normalization::UnicodeNormalization as _;

use super::calendar::{Outside, Window};
use super::catalog::{Rule, fill};
use super::check::{FILING_NAME, Summary};
use super::findings::Findings;
use super::masked::masked;
use super::other::{Content, OtherFacts, OtherType};
use super::pdf::PdfFacts;
use super::rules::RuleSet;
use crate::model::escape::excerpt;
use crate::model::finding::{Finding, Severity, Text};
use crate::model::ids::Number;
use crate::signed::manifest::Kind;
use crate::signed::names::{FileName, NameError};

pub use cover::{CoverCounts, cover_counts};

/// The code of a name that cannot be sent.
const NAME: &str = "SET-NAME";

/// One file of the set.
#[derive(Debug, Clone)]
pub struct SetFile {
    /// Its name.
    pub name: FileName,
    /// Bytes.
    pub bytes: u64,
    /// What [`super::inspect_pdf`] saw; none when it was not asked (see [`wants_pdf_check`]).
    pub pdf: Option<PdfFacts>,
    /// What [`cover_counts`] read; none when it was not asked.
    pub cover_counts: Option<CoverCounts>,
    /// What [`super::other::inspect_other`] saw; none when it was not asked (of filings).
    pub other: Option<OtherFacts>,
}

/// A set as its manifest describes it.
#[derive(Debug, Clone)]
pub struct Set<'a> {
    /// Filing or other.
    pub kind: Kind,
    /// `# subject:`
    pub subject: Option<&'a str>,
    /// `# comment:`
    pub comment: Option<&'a str>,
    /// `# cover:`
    pub cover: Option<&'a FileName>,
    /// The files, in the manifest's order.
    pub files: &'a [SetFile],
}

/// What each file is, by its place in [`Set::files`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roles {
    /// `KPFD0006.CSV`.
    pub filing: Option<usize>,
    /// The cover sheet.
    pub cover: Option<usize>,
    /// All others.
    pub attachments: Vec<usize>,
}

/// What is to be done with a set that has no error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetVerdict {
    /// What each file is.
    pub roles: Roles,
    /// Outside the window, by policy: to be held until this day.
    pub held_until: Option<NaiveDateTime>,
}

/// Lower case and half width, for comparing names and words.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().flat_map(char::to_lowercase).collect()
}

fn has_extension(name: &FileName, extension: &str) -> bool {
    folded(name.as_str()).rsplit_once('.').is_some_and(|(_, last)| last == extension)
}

/// Whether a file's content must be looked at by [`super::inspect_pdf`]: all that says it is a PDF.
pub fn wants_pdf_check(name: &FileName) -> bool {
    has_extension(name, "pdf")
}

/// Which file is what: by `# cover:`, else by the policy's parts of names; the first that fits.
pub fn roles_of(set: &Set<'_>, rules: &RuleSet) -> Roles {
    let filing = set.files.iter().position(|file| file.name.as_str() == FILING_NAME);
    let marks: Vec<String> = rules.policy().cover.names.iter().map(|name| folded(name)).collect();
    let cover = match set.cover {
        Some(cover) => set.files.iter().position(|file| file.name == *cover),
        None => set.files.iter().enumerate().position(|(i, file)| {
            let name = folded(file.name.as_str());
            Some(i) != filing && marks.iter().any(|mark| name.contains(mark.as_str()))
        }),
    };
    let attachments = (0..set.files.len()).filter(|i| Some(*i) != filing && Some(*i) != cover).collect();
    Roles { filing, cover, attachments }
}

struct Report<'a> {
    rules: &'a RuleSet,
    sink: &'a mut Findings,
}

impl Report<'_> {
    fn say(&mut self, rule: Rule, file: Option<&FileName>, args: &[&str]) {
        self.say_at_most(Severity::Error, rule, file, args);
    }

    fn say_at_most(&mut self, most: Severity, rule: Rule, file: Option<&FileName>, args: &[&str]) {
        let Some(severity) = self.rules.level(rule).severity().map(|severity| severity.min(most)) else {
            return;
        };
        let def = rule.def();
        self.sink.push(severity, || {
            let message = Text::new(fill(def.ja, args), fill(def.en, args));
            let action = Text::new(fill(def.do_ja, args), fill(def.do_en, args));
            let file = file.map(|name| name.as_str().to_owned());
            Finding { file, ..Finding::new(severity, def.id, message, action) }
        });
    }
}

/// Judges a set. `summary` is the filing's, when it was checked; `now` is what the insurer's wall clock shows.
pub fn check_set(
    set: &Set<'_>,
    summary: Option<&Summary>,
    rules: &RuleSet,
    now: NaiveDateTime,
    sink: &mut Findings,
) -> SetVerdict {
    let mut report = Report { rules, sink };
    let parts = roles_of(set, rules);
    for file in set.files {
        if file.bytes == 0 && file.name.as_str() != FILING_NAME {
            report.say(Rule::SetEmptyFile, Some(&file.name), &[file.name.as_str()]);
        }
    }
    match set.kind {
        Kind::Other => other(set, &parts, &mut report),
        Kind::Filing => filing(set, &parts, summary, &mut report),
    }
    // The window is one for filings (E).
    let calendar = rules.policy().calendar.filter(|_| set.kind == Kind::Filing);
    let window = calendar.map_or(Window::Open, |calendar| calendar.window(now));
    let held_until = match window {
        Window::Open => None,
        Window::Closed { opens, outside } => {
            let rule = if outside == Outside::Hold { Rule::SetHeld } else { Rule::SetClosed };
            report.say(rule, None, &[&opens.format("%Y-%m-%d %H:%M").to_string()]);
            (outside == Outside::Hold).then_some(opens)
        }
    };
    SetVerdict { roles: parts, held_until }
}

fn filing(set: &Set<'_>, roles: &Roles, summary: Option<&Summary>, report: &mut Report<'_>) {
    if roles.filing.is_none() {
        misnamed(set, report);
    }
    words(set, report);
    cover::check(set, roles, summary, report);
    for (at, file) in set.files.iter().enumerate() {
        if roles.filing != Some(at) {
            number_form(file, report);
        }
    }
    let policy = &report.rules.policy().attachments;
    let (count, most) = (roles.attachments.len(), policy.files_max);
    if count > most {
        report.say(Rule::SetFiles, None, &[&count.to_string(), &most.to_string()]);
    }
    for at in &roles.attachments {
        let file = &set.files[*at];
        if roles.filing.is_none() && misnamed_rule(&file.name).is_some() {
            continue;
        }
        if !wants_pdf_check(&file.name) {
            report.say(Rule::SetAttachmentType, Some(&file.name), &[file.name.as_str()]);
            continue;
        }
        pdf(file, report);
    }
}

/// 個人番号届, マイナンバー and the like in a file's name (K54), however it is spaced, whatever the file is said to be.
fn number_form(file: &SetFile, report: &mut Report<'_>) {
    let name: String = folded(file.name.as_str()).chars().filter(|c| c.is_alphanumeric()).collect();
    let words = ["個人番号", "マイナンバ", "まいなんば", "mynumber", "kojinbango"];
    if words.iter().any(|word| name.contains(word)) {
        report.say(Rule::SetNumberPdf, Some(&file.name), &[file.name.as_str()]);
    }
}

/// 電子申請以外 (K55): kinds and sizes by policy; neither a filing nor what belongs to one travels so.
fn other(set: &Set<'_>, roles: &Roles, report: &mut Report<'_>) {
    let policy = report.rules.other();
    if !policy.taken {
        return report.say(Rule::SetOtherClosed, None, &[]);
    }
    if policy.subject_required && set.subject.is_none() {
        report.say(Rule::SetOtherSubject, None, &[]);
    }
    if set.files.len() > policy.files_max {
        report.say(Rule::SetFiles, None, &[&set.files.len().to_string(), &policy.files_max.to_string()]);
    }
    if let (Some(at), None) = (roles.cover, roles.filing) {
        report.say(Rule::SetOtherCover, Some(&set.files[at].name), &[set.files[at].name.as_str()]);
    }
    for file in set.files {
        other_file(file, report);
        number_form(file, report);
    }
}

fn other_file(file: &SetFile, report: &mut Report<'_>) {
    let policy = report.rules.other();
    let name = file.name.as_str();
    let of_a_filing = file.other.is_some_and(|facts| facts.content == Content::Filing);
    if of_a_filing || name == FILING_NAME || misnamed_rule(&file.name).is_some() {
        return report.say(Rule::SetOtherFiling, Some(&file.name), &[]);
    }
    let extension = folded(name).rsplit_once('.').map(|(_, end)| end.to_owned()).unwrap_or_default();
    let Some(named) = OtherType::named(&extension).filter(|named| policy.types.contains(named)) else {
        let types: Vec<_> = policy.types.iter().map(|kind| kind.extension()).collect();
        return report.say(Rule::SetOtherType, Some(&file.name), &[name, &types.join(", ")]);
    };
    if file.bytes > policy.bytes_max {
        let args = [name, &file.bytes.to_string(), &policy.bytes_max.to_string()];
        report.say(Rule::SetFileSize, Some(&file.name), &args);
    }
    let Some(facts) = file.other.filter(|_| file.bytes > 0) else { return };
    if !facts.fits(named) {
        report.say(Rule::SetOtherContent, Some(&file.name), &[name, &extension]);
    } else if facts.macros {
        report.say(Rule::SetOtherMacros, Some(&file.name), &[name]);
    } else if named == OtherType::Pdf && !facts.pdf.ends {
        report.say(Rule::SetPdfCut, Some(&file.name), &[name]);
    } else if named == OtherType::Pdf && facts.pdf.encrypted {
        report.say(Rule::SetPdfEncrypted, Some(&file.name), &[name]);
    }
}

/// No filing: a file that is nearly one gets the better message.
fn misnamed(set: &Set<'_>, report: &mut Report<'_>) {
    let found = set.files.iter().find_map(|file| misnamed_rule(&file.name).map(|rule| (rule, file)));
    match found {
        Some((rule, file)) => report.say(rule, Some(&file.name), &[file.name.as_str()]),
        None => report.say(Rule::SetNoFiling, None, &[]),
    }
}

fn misnamed_rule(name: &FileName) -> Option<Rule> {
    let folded = folded(name.as_str());
    if folded.starts_with("shfd") || folded.starts_with("knfd") {
        Some(Rule::Shfd)
    } else if has_extension(name, "jkk") {
        Some(Rule::WorkFile)
    } else if folded.contains("kpfd") {
        Some(Rule::Name)
    } else {
        None
    }
}

/// 訂正 and 取消 in subject, comment or a file's name are only a warning (K53).
fn words(set: &Set<'_>, report: &mut Report<'_>) {
    let texts = set
        .subject
        .into_iter()
        .chain(set.comment)
        .map(|text| (text, None))
        .chain(set.files.iter().map(|file| (file.name.as_str(), Some(&file.name))));
    for (text, file) in texts.collect::<Vec<_>>() {
        if let Some(word) = ["訂正", "取消", "取り消"].into_iter().find(|word| folded(text).contains(word))
        {
            report.say(Rule::SetCorrection, file, &[&excerpt(&masked(text), 40), word]);
        }
    }
}

/// Judges one PDF by itself, as an attachment.
pub fn check_attachment(file: &SetFile, rules: &RuleSet, sink: &mut Findings) {
    let mut report = Report { rules, sink };
    if file.bytes == 0 {
        report.say(Rule::SetEmptyFile, Some(&file.name), &[file.name.as_str()]);
    }
    pdf(file, &mut report);
    number_form(file, &mut report);
}

/// The name of a filing that is checked by itself: a draft may have any, but one that would be taken for a misnamed filing
/// is told in time.
pub fn check_draft_name(name: &FileName, rules: &RuleSet, sink: &mut Findings) {
    if name.as_str() == FILING_NAME {
        return;
    }
    if let Some(rule) = misnamed_rule(name) {
        Report { rules, sink }.say_at_most(Severity::Warning, rule, Some(name), &[name.as_str()]);
    }
}

/// Whether a finding says that a file's name must be changed before it is sent.
pub(super) fn is_about_name(finding: &Finding) -> bool {
    [Rule::Name, Rule::Shfd, Rule::WorkFile].iter().any(|rule| rule.id() == finding.rule)
        || finding.rule == NAME
}

/// The finding for a file whose name cannot be sent.
pub fn unfit_name(severity: Severity, name: &str, error: &NameError) -> Finding {
    let shown = excerpt(&masked(name), 80);
    let message = Text::new(
        format!("「{shown}」という名前のファイルは送れません({error})。"),
        format!("A file named {shown} cannot be sent: {error}."),
    );
    let action = Text::new("名前を変えてください。", "Rename it.");
    Finding::new(severity, NAME, message, action).in_file(shown)
}

/// The finding for a file whose bytes are not those of the manifest.
pub fn hash_differs(name: &FileName) -> Finding {
    let message = Text::new(
        format!("「{name}」の内容が SHA256SUMS のハッシュ値と違います。"),
        format!("The content of {name:?} is not what SHA256SUMS says."),
    );
    let action = Text::new(
        "ファイルを変えたときは SHA256SUMS を作り直して署名し、バイナリモードで全部を送り直してください。",
        "If the file was changed, make SHA256SUMS anew and sign it; send everything again in binary mode.",
    );
    Finding::new(Severity::Error, "UPLOAD-HASH", message, action).in_file(name.as_str())
}

fn pdf(file: &SetFile, report: &mut Report<'_>) {
    let most = report.rules.policy().attachments.bytes_max;
    if file.bytes > most {
        let args = [file.name.as_str(), &file.bytes.to_string(), &most.to_string()];
        report.say(Rule::SetFileSize, Some(&file.name), &args);
    }
    let Some(facts) = file.pdf.filter(|_| file.bytes > 0) else { return };
    let name = [file.name.as_str()];
    if !facts.begins {
        report.say(Rule::SetNotPdf, Some(&file.name), &name);
    } else if !facts.ends {
        report.say(Rule::SetPdfCut, Some(&file.name), &name);
    } else if facts.encrypted {
        report.say(Rule::SetPdfEncrypted, Some(&file.name), &name);
    }
}

/// The finding for a record whose person, form and date were filed before by submission `earlier` (K53), which is accepted
/// or `held`; the caller remembers them. None when the insurer has switched the rule off.
pub fn repeated(
    rules: &RuleSet,
    (line, form, insured): (u64, &str, Option<String>),
    earlier: Number,
    held: bool,
) -> Option<Finding> {
    let rule = if held { Rule::SetRepeatedHeld } else { Rule::SetRepeated };
    let severity = rules.level(rule).severity()?;
    let (def, earlier) = (rule.def(), earlier.to_string());
    let text = |ja, en| Text::new(fill(ja, &[&earlier]), fill(en, &[&earlier]));
    Some(Finding {
        severity,
        rule: def.id.into(),
        file: Some(FILING_NAME.into()),
        line: Some(line),
        form: Some(form.to_owned()),
        field: None,
        field_name: None,
        insured,
        value: None,
        column: None,
        message: text(def.ja, def.en),
        action: text(def.do_ja, def.do_en),
    })
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
