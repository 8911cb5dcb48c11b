//! `todoke reconcile`

use clap::Args;
use serde_json::Value;

use super::Globals;
use super::exit::Exit;
use super::out::Out;
use super::way::Way;
use crate::desk::{CompareRequest, Request, Trouble};
use crate::model::ids::{AccountId, InsurerCode};

/// Recompute a day's books from the journal, and hold the ledger against the disk. Ends with 1 when something differs.
#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The books of this day (2026-11-22) [default: the last day that is closed]
    #[arg(long)]
    day: Option<String>,
    /// Only this insurer's
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// Only this account's
    #[arg(long, conflicts_with = "insurer")]
    account: Option<AccountId>,
    /// Check the hash of everything, rather than of a sample
    #[arg(long)]
    deep: bool,
}

impl Reconcile {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let Self { day, insurer, account, deep } = self;
        let answer = way.ask(Request::Compare(CompareRequest { day, insurer, account, deep }))?;
        let out = globals.out().zone(way.config.gateway.zone);
        if out.is_json() {
            return out.thing(&answer);
        }
        print(&out, &answer.value)?;
        Ok(out.end(&answer))
    }
}

fn print(out: &Out, found: &Value) -> Result<(), Trouble> {
    let text = |key: &str| out.cell(key, &found[key]);
    // Before the first day is over there are none, as the note says.
    if !found["day"].is_null() {
        out.line(&format!("books of {}: {} compared, {} rows", text("day"), text("books"), text("rows")))?;
    }
    for (word, total) in found["totals"].as_object().into_iter().flatten() {
        out.line(&format!("  {word:<22}{:>8}", out.cell("rows", &total["rows"])))?;
    }
    out.line(&format!(
        "on disk: {} submissions, {} documents, {} blobs ({} hashed), {} folders in spools",
        text("submissions"),
        text("documents"),
        text("blobs"),
        text("hashed"),
        text("folders")
    ))?;
    for finding in found["findings"].as_array().into_iter().flatten() {
        let cell = |key: &str| out.cell(key, &finding[key]);
        let goes = match &finding["goes_at"] {
            Value::Null => String::new(),
            at => format!(" (from {})", out.local_cell(at)),
        };
        let severity = if finding["severity"] == "difference" { "DIFFERENCE" } else { "leftover  " };
        out.line(&format!("{severity} {} {}: {}{goes}", cell("code"), cell("what"), cell("text")))?;
    }
    out.line(&format!("{} differences", text("differences")))
}
