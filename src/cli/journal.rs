//! `todoke journal`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Exit;
use super::out::{self, Column};
use super::party::Yes;
use super::way::{self, Way};
use super::{Globals, direct};
use crate::config::Config;
use crate::desk::{Answer, Kind, Request, Trouble};
use crate::model::party::Actor;
use crate::model::time::{Clock as _, SystemClock};
use crate::store::durable;
use crate::store::journal::{JournalError, Next, Reader};
use crate::store::recover;
use crate::store::root::Root;

const COLUMNS: [Column; 4] = [("EVENT", "seq"), ("AT", "at"), ("BY", "by"), ("WHAT", "event")];
/// Events shown at once.
const PAGE: usize = 1_000;

/// The journal.
#[derive(Debug, Subcommand)]
pub(super) enum Journal {
    /// Check the whole hash chain; reads only, also while the daemon runs
    Verify,
    /// Events, oldest first; they name no person
    Show(Show),
    /// Throw the index away and build it anew from the journal; the daemon must not run
    Rebuild,
    /// The epoch, and whether a restored backup waits to be reconciled
    Epoch,
    /// This data root was restored from a backup: begin a new epoch. Nothing goes out until `journal reconciled`
    Restored(Yes),
    /// The restored data root was reconciled with what insurers and offices have: everything goes on
    Reconciled,
}

/// Which events.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// From this event on
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// At most so many
    #[arg(long)]
    limit: Option<usize>,
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        Self::new(Kind::Fault, "JOURNAL", error.to_string())
    }
}

impl Journal {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        match self {
            Self::Verify => verify(globals),
            Self::Show(show) => show.run(globals),
            Self::Rebuild => rebuild(globals),
            Self::Epoch => epoch(globals),
            Self::Restored(yes) => restored(globals, yes.yes),
            Self::Reconciled => {
                let answer = Way::open(globals)?.ask(Request::Reconcile)?;
                Ok(globals.out().end(&answer))
            }
        }
    }
}

fn verify(globals: &Globals) -> Result<Exit, Trouble> {
    let config = globals.load()?;
    let spinner = indicatif::ProgressBar::new_spinner().with_message("checking the journal");
    spinner.enable_steady_tick(std::time::Duration::from_millis(100));
    let verified = recover::verify(&config.places.root);
    spinner.finish_and_clear();
    let verified = verified?;
    let tail = verified.tail.as_ref().map(|tail| json!({ "at": tail.bad.to_string(), "why": tail.why }));
    let notes = match &verified.tail {
        Some(tail) => vec![format!(
            "The last bytes are no whole commit ({}: {}). While the daemon runs one is being written; else the next start \
             judges them.",
            tail.bad, tail.why
        )],
        None => Vec::new(),
    };
    let value = json!({
        "verdict": "ok",
        "segments": verified.segments,
        "events": verified.position.seq,
        "head": verified.position.hash,
        "tail": tail,
    });
    globals.out().thing(&Answer { notes, ..Answer::of(value) })
}

impl Show {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let config = globals.load()?;
        let mut reader = Reader::from_start(&config.places.root.join("journal"));
        let mut left = self.limit.unwrap_or(usize::MAX);
        globals.out().zone(config.gateway.zone).listing(&COLUMNS, |_| {
            let mut rows = Vec::new();
            let mut next = Some(String::new());
            while rows.len() < PAGE && next.is_some() {
                let Next::Batch(batch) = reader.next_batch()? else {
                    next = None;
                    break;
                };
                for record in batch.records() {
                    let (record, hash) = record?;
                    if record.seq < self.from {
                        continue;
                    }
                    if left == 0 {
                        next = None;
                        break;
                    }
                    left -= 1;
                    let mut row = serde_json::to_value(&record)?;
                    row["at"] = Value::String(record.at.to_string());
                    row["hash"] = json!(hash);
                    rows.push(row);
                }
            }
            Ok(Answer { next, ..Answer::of(Value::Array(rows)) })
        })
    }
}

/// What only works while nobody has the data root open.
fn alone(config: &Config, what: &str) -> Result<(), Trouble> {
    if way::find(config)?.is_some() {
        let text = format!("the daemon runs; stop it first, then {what}");
        return Err(Trouble::new(Kind::NotNow, "DAEMON-RUNS", text));
    }
    Ok(())
}

fn rebuild(globals: &Globals) -> Result<Exit, Trouble> {
    let config = globals.load()?;
    alone(&config, "rebuild the index")?;
    let path = &config.places.root;
    let aside = {
        // Locked while the index is moved: nobody opens it meanwhile.
        let root = Root::open(path)?;
        let index = root.index();
        let aside = path.join("index.replaced");
        if aside.exists() {
            std::fs::remove_dir_all(&aside)?;
        }
        if index.exists() {
            durable::rename(&index, &aside)?;
        }
        aside
    };
    let direct = direct::open(&config)?;
    let head = crate::store::ledger::Ledger::head(direct.ledger.as_ref());
    if aside.exists() {
        std::fs::remove_dir_all(&aside)?;
    }
    globals.out().thing(&Answer::of(json!({ "rebuilt": true, "events": head.seq })))
}

fn epoch(globals: &Globals) -> Result<Exit, Trouble> {
    let answer = Way::open(globals)?.ask(Request::Status)?;
    let value = json!({ "epoch": answer.value["epoch"], "unreconciled": answer.value["unreconciled"] });
    globals.out().thing(&Answer::of(value))
}

fn restored(globals: &Globals, yes: bool) -> Result<Exit, Trouble> {
    let config = globals.load()?;
    alone(&config, "begin a new epoch")?;
    if !out::confirm(
        yes,
        "Was this data root restored from a backup? A new epoch begins, and nothing goes out.",
    )? {
        out::note("Nothing changed.");
        return Ok(Exit::Refused);
    }
    let direct = direct::open_as(&config, true)?;
    let by = Actor::Operator(rustix::process::getuid().as_raw());
    let epoch = direct.ledger.begin_epoch(by, SystemClock.now())?;
    let notes = vec![
        "Nothing is accepted, published, announced or mailed until the data root is reconciled with what insurers and \
         offices have; then `todoke journal reconciled`."
            .to_owned(),
        "What was revoked after the backup is forgotten: revocation lists that are still in public/ are believed, and anything \
         else must be revoked again (`cert revoke`, `cert reissue`) before that."
            .to_owned(),
    ];
    globals.out().thing(&Answer { notes, ..Answer::of(json!({ "epoch": epoch, "unreconciled": true })) })
}
