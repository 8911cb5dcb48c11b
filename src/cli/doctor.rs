//! `todoke doctor`: looks for what is wrong and says what to do. Changes nothing, opens no store.

mod files;
mod peers;
mod revocation;
mod running;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::Globals;
use super::exit::Exit;
use crate::config::Config;
use crate::desk::{Answer, Trouble};
use crate::model::time::{Clock as _, SystemClock, Timestamp};

/// Look for what is wrong; changes nothing.
#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Error,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
struct Line {
    verdict: Verdict,
    /// What was looked at.
    check: String,
    /// What was found.
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
}

/// The report so far.
#[derive(Default)]
struct Report(Vec<Line>);

impl Report {
    fn add(&mut self, verdict: Verdict, check: &str, found: impl Into<String>, action: &str) {
        let line = Line { verdict, check: check.to_owned(), found: found.into(), action: action.to_owned() };
        self.0.push(line);
    }

    fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.add(Verdict::Ok, check, found, "");
    }

    fn warn(&mut self, check: &str, found: impl Into<String>, action: &str) {
        self.add(Verdict::Warn, check, found, action);
    }

    fn error(&mut self, check: &str, found: impl Into<String>, action: &str) {
        self.add(Verdict::Error, check, found, action);
    }
}

impl Doctor {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let Self {} = self;
        let mut report = Report::default();
        match globals.load() {
            Ok(config) => examine(&config, SystemClock.now(), &mut report),
            Err(trouble) => {
                for line in trouble.text.lines() {
                    report.error(
                        "configuration",
                        line,
                        "correct the file; every key is explained in the default todoke.toml",
                    );
                }
            }
        }
        print(globals, &report)
    }
}

fn examine(config: &Config, now: Timestamp, report: &mut Report) {
    report.ok("configuration", config.places.file.display().to_string());
    let rules = files::tables(config, report);
    files::insurers(config, rules.as_ref(), now, report);
    files::root(config, report);
    files::keys(config, report);
    files::authorities(config, now, report);
    revocation::lists(config, now, report);
    files::spools(config, report);
    files::journal(config, now, running::is_held(config), report);
    running::daemon(config, report);
    peers::scanner(config, now, report);
    peers::mail(config, report);
    peers::bounces(config, report);
}

fn print(globals: &Globals, report: &Report) -> Result<Exit, Trouble> {
    let out = globals.out();
    let bad = |verdict| report.0.iter().filter(|line| line.verdict == verdict).count();
    let (errors, warnings) = (bad(Verdict::Error), bad(Verdict::Warn));
    let exit = if errors > 0 { Exit::Refused } else { Exit::Done };
    if out.is_json() {
        out.thing(&Answer::of(json!({ "errors": errors, "warnings": warnings, "checks": report.0 })))?;
        return Ok(exit);
    }
    for line in &report.0 {
        let verdict = match line.verdict {
            Verdict::Ok => "ok   ",
            Verdict::Warn => "warn ",
            Verdict::Error => "ERROR",
        };
        out.line(&format!("{verdict} {}: {}", line.check, line.found))?;
        if !line.action.is_empty() {
            out.line(&format!("      -> {}", line.action))?;
        }
    }
    out.line(&format!("{errors} errors, {warnings} warnings"))?;
    Ok(exit)
}
