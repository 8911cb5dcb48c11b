//! `todoke check`: filings offline, by the same rules as at intake. A folder is checked as the set that it will be sent as.

mod folder;
mod print;

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};

use chrono_tz::Tz;
use clap::{Args, ValueEnum};

use super::Globals;
use super::exit::Exit;
use super::out;
use crate::config::{Places, source};
use crate::desk::{Kind as TroubleKind, Trouble};
use crate::filing::report;
use crate::filing::rules::RuleSet;
use crate::filing::set;
use crate::filing::tables::{Profile, TableError};
use crate::filing::{self, Context, Findings, LISTED_MAX, Summary};
use crate::model::escape::terminal;
use crate::model::finding::{Language, Severity};
use crate::model::ids::InsurerCode;
use crate::model::time::{Clock as _, SystemClock};
use crate::signed::manifest::Manifest;
use crate::signed::names::FileName;

/// Files from this size on show progress on a terminal.
const PROGRESS_BYTES: u64 = 4 << 20;
/// So much of a file tells which kind it is.
const HEAD_BYTES: u64 = 4096;
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

/// What all paths came to.
#[derive(Default)]
struct Outcome {
    findings: Findings,
    checked: Vec<Checked>,
}

/// By what it is checked.
struct Basis {
    rules: RuleSet,
    /// Days are the gateway's where its configuration is at hand.
    zone: Tz,
}

impl Check {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let basis = Basis { rules: rules(globals, self.insurer.as_ref())?, zone: zone(globals)? };
        let mut outcome = Outcome::default();
        let Outcome { findings, checked } = &mut outcome;
        for path in &self.path {
            if path.is_dir() {
                self.folder(path, &basis, findings, checked)?;
            } else {
                self.file(path, &basis, findings, checked)?;
            }
        }
        let format = if globals.json { Format::Json } else { self.format };
        let language = Language::from(globals.lang);
        let Outcome { findings, checked } = &outcome;
        let text = match format {
            Format::Json => print::as_json(&outcome)?,
            Format::Csv => report::findings_csv(findings, language),
            Format::Html => report::findings_html(
                &print::page_head(checked, self.insurer.as_ref(), basis.zone, language),
                findings,
                language,
            ),
            Format::Text => print::as_text(findings, checked, language),
        };
        out::tolerate(io::stdout().lock().write_all(text.as_bytes()))?;
        Ok(if findings.is_ok() { Exit::Done } else { Exit::Refused })
    }

    /// One file by itself: a PDF, or a filing whatever its name.
    fn file(
        &self,
        path: &Path,
        basis: &Basis,
        sink: &mut Findings,
        checked: &mut Vec<Checked>,
    ) -> Result<(), Trouble> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if BESIDE.contains(&name.as_str()) {
            return Ok(());
        }
        let shown = path.display().to_string();
        let rules = &basis.rules;
        let mut own = Findings::listing(LISTED_MAX);
        let parsed = FileName::parse(&name);
        if let Some(name) = parsed.as_ref().ok().filter(|name| set::wants_pdf_check(name)) {
            set::check_attachment(&folder::of_attachment(path, name.clone())?, rules, &mut own);
            own.change(|finding| finding.file = Some(shown.clone()));
            sink.take_in(own);
            checked.push(Checked { path: path.to_owned(), summary: None });
            return Ok(());
        }
        let summary = self.filing(path, shown, basis, None, sink)?;
        checked.push(Checked { path: path.to_owned(), summary: Some(summary) });
        Ok(())
    }

    fn filing(
        &self,
        path: &Path,
        file: String,
        basis: &Basis,
        manifest: Option<&Manifest>,
        sink: &mut Findings,
    ) -> Result<Summary, Trouble> {
        let mut context = Context::on(SystemClock.now().date_in(basis.zone));
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
        if manifest.is_none() && context.profile == Profile::Kpfd {
            draft_name(path, &basis.rules, sink);
        }
        let bar = if size < PROGRESS_BYTES {
            indicatif::ProgressBar::hidden()
        } else {
            indicatif::ProgressBar::new(size)
        };
        let reader = bar.wrap_read(io::Cursor::new(head).chain(content));
        let summary = filing::check(reader, &basis.rules, &context, sink).map_err(wrong);
        bar.finish_and_clear();
        summary
    }
}

/// A draft is checked under any name; that it cannot be sent under this one is told in time. Claims go elsewhere, under names of
/// their own.
fn draft_name(path: &Path, rules: &RuleSet, sink: &mut Findings) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut own = Findings::listing(LISTED_MAX);
    match FileName::parse(&name) {
        Ok(name) => set::check_draft_name(&name, rules, &mut own),
        Err(error) => own.push(Severity::Warning, || set::unfit_name(Severity::Warning, &name, &error)),
    }
    own.change(|finding| finding.file = Some(path.display().to_string()));
    sink.take_in(own);
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

/// The zone of this gateway, where its configuration is at hand: days and windows are then those of its intake.
fn zone(globals: &Globals) -> Result<Tz, Trouble> {
    if globals.file().exists() { Ok(globals.load()?.gateway.zone) } else { Ok(chrono_tz::Asia::Tokyo) }
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
