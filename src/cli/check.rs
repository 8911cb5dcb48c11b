//! `todoke check`: filings offline, by the same rules as at intake.

use std::fs::File;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::Globals;
use super::exit::Exit;
use super::out;
use crate::config::{Places, source};
use crate::desk::{Kind, Trouble};
use crate::filing::report::{self, PageHead};
use crate::filing::rules::RuleSet;
use crate::filing::tables::{Profile, TableError};
use crate::filing::{self, Context, FILING_NAME, Findings, Summary};
use crate::model::escape::terminal;
use crate::model::finding::{Finding, Language};
use crate::model::ids::InsurerCode;
use crate::model::time::{Clock as _, SystemClock};

/// Findings listed of each file; more are only counted.
const LISTED_MAX: usize = 1_000;
/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Check filings offline.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// KPFD0006.CSV, or a folder that holds it
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// By this insurer's rules (conf/insurers/CODE.toml)
    #[arg(long, value_name = "CODE")]
    insurer: Option<InsurerCode>,
    /// Which kind of file it is
    #[arg(long, value_enum, default_value_t = ProfileName::Kpfd)]
    profile: ProfileName,
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
        Self::new(Kind::Usage, "RULE-TABLE", text)
    }
}

impl Check {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let rules = rules(globals, self.insurer.as_ref())?;
        let mut context = Context::on(SystemClock.now().date_in(chrono_tz::Asia::Tokyo));
        context.profile = match self.profile {
            ProfileName::Kpfd => Profile::Kpfd,
            ProfileName::Claims => Profile::Claims,
        };
        let (mut findings, mut more, mut errors, mut files) = (Vec::new(), 0, 0, Vec::new());
        for path in &self.path {
            let path = if path.is_dir() { path.join(FILING_NAME) } else { path.clone() };
            context.file = Some(path.display().to_string());
            let mut sink = Findings::listing(LISTED_MAX);
            let summary = check_file(&path, &rules, &context, &mut sink)?;
            more += sink.more();
            errors += sink.errors();
            files.push((path, summary));
            findings.extend(sink.into_listed());
        }
        let ok = errors == 0;
        let format = if globals.json { Format::Json } else { self.format };
        let language = Language::from(globals.lang);
        let text = match format {
            Format::Json => as_json(ok, &findings, more, &files)?,
            Format::Csv => report::findings_csv(&findings, more, language),
            Format::Html => {
                let rows =
                    files.iter().map(|(path, _)| ("File".to_owned(), path.display().to_string())).collect();
                report::findings_html(&PageHead { rows }, &findings, more, language)
            }
            Format::Text => as_text(&findings, more, &files, language),
        };
        out::tolerate(std::io::stdout().lock().write_all(text.as_bytes()))?;
        Ok(if ok { Exit::Done } else { Exit::Refused })
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
        return Ok(rules);
    }
    Ok(rules.for_insurer(&file.display().to_string(), &source::read_text(&file)?)?)
}

fn check_file(
    path: &Path,
    rules: &RuleSet,
    context: &Context,
    sink: &mut Findings,
) -> Result<Summary, Trouble> {
    let wrong =
        |error: std::io::Error| Trouble::new(Kind::Usage, "FILE", format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(wrong)?;
    let size = file.metadata().map_err(wrong)?.len();
    let bar = indicatif::ProgressBar::new(size);
    let reader = BufReader::with_capacity(BUFFER_BYTES, bar.wrap_read(file));
    let summary = filing::check(reader, rules, context, sink).map_err(wrong);
    bar.finish_and_clear();
    summary
}

fn as_json(
    ok: bool,
    findings: &[Finding],
    more: u64,
    files: &[(PathBuf, Summary)],
) -> Result<String, Trouble> {
    let files: Vec<Value> = files
        .iter()
        .map(|(path, summary)| {
            let forms = summary
                .forms
                .iter()
                .map(|form| json!({ "code": form.code, "name": form.name, "count": form.count }));
            json!({
                "file": path,
                "offices": summary.offices,
                "forms": forms.collect::<Vec<_>>(),
                "records": summary.records,
                "bytes": summary.bytes,
            })
        })
        .collect();
    let verdict = if ok { "ok" } else { "error" };
    let value = json!({ "verdict": verdict, "findings": findings, "more_findings": more, "files": files });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn as_text(findings: &[Finding], more: u64, files: &[(PathBuf, Summary)], language: Language) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&report::finding_text(finding, language));
        text.push('\n');
    }
    if more > 0 {
        text.push_str(&report::more(more, language));
        text.push('\n');
    }
    for (path, summary) in files {
        let name = terminal(&path.display().to_string());
        let forms = summary.forms.iter().map(|form| format!("{} {}", form.name.get(language), form.count));
        let forms = forms.collect::<Vec<_>>().join(", ");
        let line = match language {
            Language::Ja => format!("{name}: {} 件を確認しました（{forms}）。\n", summary.records),
            Language::En => format!("{name}: {} records checked ({forms}).\n", summary.records),
        };
        text.push_str(&line);
    }
    text
}
