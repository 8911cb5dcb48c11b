//! `todoke check`: filings offline, by the same rules as at intake. A folder is checked as the set that it will be sent as.

mod print;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Globals;
use super::exit::Exit;
use super::out;
use crate::config::{Places, source};
use crate::desk::{Kind as TroubleKind, Trouble};
use crate::filing::report;
use crate::filing::rules::{CoverType, RuleSet};
use crate::filing::set::{self, Set, SetFile};
use crate::filing::tables::{Profile, TableError};
use crate::filing::{self, Context, FILING_NAME, Findings, LISTED_MAX, Summary, inspect_pdf};
use crate::model::escape::{excerpt, terminal};
use crate::model::finding::{Finding, Language, Severity, Text};
use crate::model::ids::InsurerCode;
use crate::model::time::{Clock as _, SystemClock};
use crate::rules::calendar;
use crate::signed::manifest::{Manifest, ManifestLimits};
use crate::signed::names::FileName;

/// Files from this size on show progress on a terminal.
const PROGRESS_BYTES: u64 = 4 << 20;
/// So much of a file tells which kind it is.
const HEAD_BYTES: u64 = 4096;
/// Most files of a folder; a manifest names fewer.
const FOLDER_FILES_MAX: usize = 1_000;
/// The manifest and its signatures: part of a set, but none of its files.
const BESIDE: [&str; 3] = ["SHA256SUMS", "SHA256SUMS.sig", "SHA256SUMS.p7s"];

/// Check filings offline.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Filings and PDFs, each by itself; or folders, each as the set that is sent (with what SHA256SUMS says of it)
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// By this insurer's rules (conf/insurers/CODE.toml)
    #[arg(long, value_name = "CODE")]
    insurer: Option<InsurerCode>,
    /// Which kind of file it is; told by the first line when left out
    #[arg(long, value_enum)]
    profile: Option<ProfileName>,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for a terminal
    Text,
    /// One object: verdict, findings, files
    Json,
    /// A table for a spreadsheet
    Csv,
    /// A page to print
    Html,
}

/// Which kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// A filing (届出)
    Kpfd,
    /// Claims (国保連)
    Claims,
}

impl From<TableError> for Trouble {
    fn from(error: TableError) -> Self {
        let text = format!("{}:{}: {}", error.file, error.line, error.reason);
        Self::new(TroubleKind::Usage, "RULE-TABLE", text)
    }
}

/// What was checked.
struct Checked {
    path: PathBuf,
    /// None of a file that is no filing.
    summary: Option<Summary>,
}

/// All paths' findings.
#[derive(Default)]
struct Outcome {
    findings: Vec<Finding>,
    more: u64,
    errors: u64,
    checked: Vec<Checked>,
}

impl Check {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let rules = rules(globals, self.insurer.as_ref())?;
        let mut outcome = Outcome::default();
        for path in &self.path {
            let mut sink = Findings::listing(LISTED_MAX.saturating_sub(outcome.findings.len()));
            if path.is_dir() {
                self.folder(path, &rules, &mut sink, &mut outcome.checked)?;
            } else {
                self.file(path, &rules, &mut sink, &mut outcome.checked)?;
            }
            outcome.more = outcome.more.saturating_add(sink.more());
            outcome.errors = outcome.errors.saturating_add(sink.errors());
            outcome.findings.extend(sink.into_listed());
        }
        let format = if globals.json { Format::Json } else { self.format };
        let language = Language::from(globals.lang);
        let Outcome { findings, more, errors, checked } = &outcome;
        let text = match format {
            Format::Json => print::as_json(&outcome)?,
            Format::Csv => report::findings_csv(findings, *more, language),
            Format::Html => report::findings_html(
                &print::page_head(checked, self.insurer.as_ref(), language),
                findings,
                *more,
                language,
            ),
            Format::Text => print::as_text(findings, *more, checked, language),
        };
        out::tolerate(io::stdout().lock().write_all(text.as_bytes()))?;
        Ok(if *errors == 0 { Exit::Done } else { Exit::Refused })
    }

    /// One file by itself: a PDF, or a filing whatever its name.
    fn file(
        &self,
        path: &Path,
        rules: &RuleSet,
        sink: &mut Findings,
        checked: &mut Vec<Checked>,
    ) -> Result<(), Trouble> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if BESIDE.contains(&name.as_str()) {
            return Ok(());
        }
        let shown = path.display().to_string();
        let parsed = FileName::parse(&name).ok();
        if let Some(name) = parsed.filter(set::wants_pdf_check) {
            let mut own = Findings::listing(LISTED_MAX);
            set::check_attachment(&set_file(path, name, None)?, rules, &mut own);
            push(sink, own, |finding| finding.file = Some(shown.clone()));
            checked.push(Checked { path: path.to_owned(), summary: None });
            return Ok(());
        }
        let summary = self.filing(path, shown, rules, None, sink)?;
        checked.push(Checked { path: path.to_owned(), summary: Some(summary) });
        Ok(())
    }

    /// A folder, as the set that its files are.
    fn folder(
        &self,
        folder: &Path,
        rules: &RuleSet,
        sink: &mut Findings,
        checked: &mut Vec<Checked>,
    ) -> Result<(), Trouble> {
        let mut own = Findings::listing(LISTED_MAX);
        let manifest = manifest(folder, &mut own)?.unwrap_or_default();
        let mut files = Vec::new();
        let mut filing = None;
        for (path, name) in names(folder, &mut own)? {
            if name.as_str() == FILING_NAME {
                filing = Some(path.clone());
            }
            files.push(set_file(&path, name, Some(rules))?);
        }
        let summary = filing
            .map(|path| {
                let file = FILING_NAME.to_owned();
                let summary = self.filing(&path, file, rules, Some(&manifest), &mut own)?;
                checked.push(Checked { path, summary: Some(summary.clone()) });
                Ok::<_, Trouble>(summary)
            })
            .transpose()?;
        for named in manifest.files.iter().filter(|named| !files.iter().any(|file| file.name == named.name)) {
            own.push(Severity::Error, || missing(&named.name));
        }
        let set = Set {
            kind: manifest.kind,
            subject: manifest.subject.as_deref(),
            comment: manifest.comment.as_deref(),
            cover: manifest.cover.as_ref(),
            files: &files,
        };
        let clock = calendar::reading(SystemClock.now(), chrono_tz::Asia::Tokyo);
        set::check_set(&set, summary.as_ref(), rules, clock, &mut own);
        if summary.is_none() {
            checked.push(Checked { path: folder.to_owned(), summary: None });
        }
        push(sink, own, |finding| {
            if let Some(file) = &mut finding.file {
                *file = folder.join(&file).display().to_string();
            }
        });
        Ok(())
    }

    fn filing(
        &self,
        path: &Path,
        file: String,
        rules: &RuleSet,
        manifest: Option<&Manifest>,
        sink: &mut Findings,
    ) -> Result<Summary, Trouble> {
        let mut context = Context::on(SystemClock.now().date_in(chrono_tz::Asia::Tokyo));
        context.file = Some(file);
        context.office = manifest.and_then(|manifest| manifest.office.clone());
        let (mut content, size) = open(path)?;
        let wrong = |error| unreadable(path, &error);
        let mut head = Vec::new();
        Read::by_ref(&mut content).take(HEAD_BYTES).read_to_end(&mut head).map_err(wrong)?;
        context.profile = match self.profile {
            Some(ProfileName::Kpfd) => Profile::Kpfd,
            Some(ProfileName::Claims) => Profile::Claims,
            None => filing::profile_of(&head),
        };
        let bar = if size < PROGRESS_BYTES {
            indicatif::ProgressBar::hidden()
        } else {
            indicatif::ProgressBar::new(size)
        };
        let reader = bar.wrap_read(io::Cursor::new(head).chain(content));
        let summary = filing::check(reader, rules, &context, sink).map_err(wrong);
        bar.finish_and_clear();
        summary
    }
}

/// Takes one path's findings in, changed by `change`.
fn push(sink: &mut Findings, own: Findings, mut change: impl FnMut(&mut Finding)) {
    let (errors, warnings) = (own.errors(), own.warnings());
    let (mut listed_errors, mut listed_warnings) = (0, 0);
    for mut finding in own.into_listed() {
        match finding.severity {
            Severity::Error => listed_errors += 1,
            Severity::Warning => listed_warnings += 1,
        }
        change(&mut finding);
        sink.push(finding.severity, || finding);
    }
    sink.count_unlisted(errors - listed_errors, warnings - listed_warnings);
}

/// The manifest of a folder, if it has one; what is wrong with it is said.
fn manifest(folder: &Path, sink: &mut Findings) -> Result<Option<Manifest>, Trouble> {
    let path = folder.join(BESIDE[0]);
    let limits = ManifestLimits::default();
    let mut bytes = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(limits.bytes_max as u64 + 1).read_to_end(&mut bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    }
    .map_err(|error| unreadable(&path, &error))?;
    match Manifest::parse_within(&bytes, &limits) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => {
            let action =
                Text::new("SHA256SUMS を作り直し、署名してください。", "Make SHA256SUMS anew and sign it.");
            let line = error.line.map(|line| line as u64);
            sink.push(Severity::Error, || finding(error.code(), BESIDE[0], line, error.text(), action));
            Ok(None)
        }
    }
}

/// The files of a folder with their names, in order; those that cannot be sent by their names are said.
fn names(folder: &Path, sink: &mut Findings) -> Result<Vec<(PathBuf, FileName)>, Trouble> {
    let wrong = |error| unreadable(folder, &error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_file() && !path.file_name().is_some_and(|name| BESIDE.iter().any(|beside| name == *beside))
        {
            paths.push(path);
        }
        if paths.len() > FOLDER_FILES_MAX {
            let text = format!("{} holds more than {FOLDER_FILES_MAX} files; no set does", folder.display());
            return Err(Trouble::new(TroubleKind::Usage, "FOLDER", text));
        }
    }
    paths.sort();
    let mut named = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // What an editor or a file manager leaves, and nobody sends.
        if name.starts_with('.') {
            continue;
        }
        match FileName::parse(&name) {
            Ok(name) => named.push((path, name)),
            Err(error) => {
                let shown = excerpt(&name, 80);
                let text = Text::new(
                    format!("「{shown}」という名前のファイルは送れません({error})。"),
                    format!("A file named {shown} cannot be sent: {error}."),
                );
                let action = Text::new("名前を変えてください。", "Rename it.");
                sink.push(Severity::Error, || finding("SET-NAME", &shown, None, text, action));
            }
        }
    }
    Ok(named)
}

/// What the rules of the set want to know of a file. With rules, a cover sheet in CSV is counted.
fn set_file(path: &Path, name: FileName, rules: Option<&RuleSet>) -> Result<SetFile, Trouble> {
    let (content, bytes) = open(path)?;
    let wrong = |error| unreadable(path, &error);
    let pdf = set::wants_pdf_check(&name).then(|| inspect_pdf(&content)).transpose().map_err(wrong)?;
    let cover = rules.map(|rules| &rules.policy().cover).filter(|cover| {
        let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        csv && name.as_str() != FILING_NAME && cover.types.contains(&CoverType::Csv)
    });
    let cover_counts =
        cover.map(|cover| set::cover_counts(&content, cover.csv)).transpose().map_err(wrong)?;
    Ok(SetFile { name, bytes, pdf, cover_counts, other: None })
}

fn open(path: &Path) -> Result<(File, u64), Trouble> {
    let wrong = |error| unreadable(path, &error);
    let file = File::open(path).map_err(wrong)?;
    let size = file.metadata().map_err(wrong)?.len();
    Ok((file, size))
}

fn unreadable(path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(TroubleKind::Usage, "FILE", format!("{}: {error}", path.display()))
}

fn missing(name: &FileName) -> Finding {
    let text = Text::new(
        format!("SHA256SUMS にある「{name}」がありません。"),
        format!("SHA256SUMS names {name}, which is not there."),
    );
    let action = Text::new(
        "ファイルを加えるか、SHA256SUMS を作り直して署名してください。",
        "Add the file, or make SHA256SUMS anew and sign it.",
    );
    finding("SET-MISSING", name.as_str(), None, text, action)
}

fn finding(rule: &str, file: &str, line: Option<u64>, message: Text, action: Text) -> Finding {
    Finding {
        severity: Severity::Error,
        rule: rule.to_owned(),
        file: Some(file.to_owned()),
        line,
        form: None,
        field: None,
        field_name: None,
        insured: None,
        value: None,
        column: None,
        message,
        action,
    }
}

/// The tables of this gateway's `conf/forms` where there are some, else those that come with todoke.
fn rules(globals: &Globals, insurer: Option<&InsurerCode>) -> Result<RuleSet, Trouble> {
    let places = Places::of(&globals.file(), "spool");
    let forms = places.conf.join("forms");
    let rules = if forms.is_dir() { RuleSet::load(&forms)? } else { RuleSet::builtin()? };
    let Some(code) = insurer else { return Ok(rules) };
    let file = places.insurer_file(code);
    if !file.exists() {
        // A slip in the number must not pass for a clean check.
        let note = format!("todoke: no {}; the general rules are applied\n", file.display());
        out::tolerate(io::stderr().lock().write_all(terminal(&note).as_bytes()))?;
        return Ok(rules);
    }
    Ok(rules.for_insurer(&file.display().to_string(), &source::read_text(&file)?)?)
}
