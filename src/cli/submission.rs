//! `todoke submission`

use std::fmt::Write as _;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::party::Yes;
use super::way::Way;
use crate::desk::{Request, SubmissionRequest, Trouble};
use crate::model::finding::{Finding, Language};
use crate::model::ids::{AccountId, InsurerCode, Number};
use crate::model::submission::State;

const COLUMNS: [Column; 9] = [
    ("NUMBER", "number"),
    ("ACCOUNT", "account"),
    ("INSURER", "insurer"),
    ("OFFICE", "office"),
    ("KIND", "kind"),
    ("TEST", "test"),
    ("STATE", "state"),
    ("REASON", "reason"),
    ("RECEIVED", "received_at"),
];

/// Submissions.
#[derive(Debug, Subcommand)]
pub(super) enum Submission {
    /// Newest first
    List(List),
    /// One, with its files and findings
    Show(One),
    /// Withdraw one that was not collected yet; its sender is told by mail
    Withdraw(Withdraw),
    /// Let a held one pass
    Release(One),
    /// Refuse a held one
    Refuse(Sure),
}

/// Which submissions.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of this sender
    #[arg(long)]
    account: Option<AccountId>,
    /// Only those for it
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// Only those in this state; may be repeated
    #[arg(long, value_enum)]
    state: Vec<State>,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

/// Which submission.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Its number, as on the receipt
    number: Number,
}

/// Which submission, without asking back.
#[derive(Debug, Args)]
pub(super) struct Sure {
    #[command(flatten)]
    which: One,
    #[command(flatten)]
    yes: Yes,
}

/// Which submission, and why.
#[derive(Debug, Args)]
pub(super) struct Withdraw {
    #[command(flatten)]
    sure: Sure,
    /// Why, for its sender
    #[arg(long)]
    reason: Option<String>,
}

/// Where a submission is, by the names that JSON has for it; a withdrawal is not asked for.
impl ValueEnum for State {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Held,
            Self::Accepted,
            Self::Publishing,
            Self::Published,
            Self::Collected,
            Self::Imported,
            Self::ImportFailed,
            Self::Refused,
            Self::Withdrawn,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.word()))
    }
}

impl Submission {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        match self {
            Self::List(list) => list.run(globals),
            Self::Show(one) => show(globals, one.number),
            Self::Release(one) => {
                ask(globals, SubmissionRequest::Judge { number: one.number, release: true })
            }
            Self::Withdraw(Withdraw { sure: Sure { which, yes }, reason }) => {
                let question = format!("Withdraw submission {}?", which.number);
                let request = SubmissionRequest::Withdraw { number: which.number, reason };
                sure(globals, yes.yes, &question, request)
            }
            Self::Refuse(Sure { which, yes }) => {
                let question = format!("Refuse submission {}?", which.number);
                let request = SubmissionRequest::Judge { number: which.number, release: false };
                sure(globals, yes.yes, &question, request)
            }
        }
    }
}

fn sure(globals: &Globals, yes: bool, question: &str, request: SubmissionRequest) -> Result<Exit, Trouble> {
    if out::confirm(yes, question)? {
        return ask(globals, request);
    }
    out::note("Nothing changed.");
    Ok(Exit::Refused)
}

fn ask(globals: &Globals, request: SubmissionRequest) -> Result<Exit, Trouble> {
    let way = Way::open(globals)?;
    let answer = way.ask(Request::Submission(request))?;
    globals.out().zone(way.config.gateway.zone).thing(&answer)
}

/// One submission; findings in the reader's language.
fn show(globals: &Globals, number: Number) -> Result<Exit, Trouble> {
    let way = Way::open(globals)?;
    let mut answer = way.ask(Request::Submission(SubmissionRequest::Show(number)))?;
    let out = globals.out().zone(way.config.gateway.zone);
    if out.is_json() {
        return out.thing(&answer);
    }
    let language = Language::from(globals.lang);
    let findings = answer.value.as_object_mut().and_then(|row| row.remove("findings"));
    let exit = out.thing(&answer)?;
    let findings: Vec<Finding> = findings.map(serde_json::from_value).transpose()?.unwrap_or_default();
    for finding in findings {
        let mut place = finding.file.clone().unwrap_or_default();
        if let Some(line) = finding.line {
            let _ = write!(place, ":{line}");
        }
        let (message, action) = (finding.message.get(language), finding.action.get(language));
        out.line(&format!("  {} {place} {message} {action}", finding.rule))?;
    }
    Ok(exit)
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        let states = self.state.clone();
        let mut left = self.limit;
        globals.out().zone(way.config.gateway.zone).listing(&COLUMNS, |next| {
            let before = next.as_deref().map(Number::parse).transpose();
            let request = SubmissionRequest::List {
                account: self.account.clone(),
                insurer: self.insurer.clone(),
                states: states.clone(),
                before: before.map_err(|error| Trouble::fault(error.to_string()))?,
            };
            way.page(Request::Submission(request), &mut left)
        })
    }
}
