//! Large states, made through the library's own types, and what is measured on them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::{Value, json};
use todoke::model::document::Document;
use todoke::model::event::{Event, Record, Series};
use todoke::model::ids::{AccountId, OfficeCode};
use todoke::model::party::Actor;
use todoke::model::submission::Outcome;
use todoke::model::time::{Clock as _, SECOND, SystemClock, Timestamp};
use todoke::store::blobs::Blobs;
use todoke::store::index::SledIndex;
use todoke::store::journal::{Journal, JournalOptions, Witnesses};
use todoke::store::journal_ledger::JournalLedger;
use todoke::store::ledger::{Ledger, Op};
use todoke::store::local_blobs::{BlobOptions, LocalBlobs};
use todoke::store::recover::LedgerOptions;
use todoke::store::root::{Epoch, Root};
use todoke::store::sample;
use todoke::work::alarms::Alarms;
use todoke::work::purge::{Purge, PurgePolicy};

/// Documents in one commit.
const BATCH: u64 = 1000;

fn open(root: &Path, now: Timestamp) -> anyhow::Result<JournalLedger<SledIndex>> {
    let (ledger, _) = JournalLedger::<SledIndex>::open(Root::open(root)?, &LedgerOptions::default(), now)?;
    Ok(ledger)
}

/// Places documents whose bytes nobody reads.
pub(crate) fn place(root: &Path, account: &str, office: &str, documents: u64) -> anyhow::Result<Value> {
    let now = SystemClock.now();
    let ledger = open(root, now)?;
    let (account, office) = (AccountId::parse(account)?, OfficeCode::parse(office)?);
    let owner = ledger.account(&account)?.context("no such account")?;
    for from in (0..documents).step_by(usize::try_from(BATCH)?) {
        let mut rows = Vec::new();
        for at in from..documents.min(from + BATCH) {
            let serial = ledger.next_serial(Series::Document, now)?;
            let document = Document {
                account: account.clone(),
                insurer: owner.insurer.clone(),
                ..sample::document(ledger.head().epoch, serial, office.as_ref(), now)
            };
            rows.push((document, sample::digest(at << 8 | 5)));
        }
        ledger.commit(Op::Place(rows), Actor::Daemon, now)?;
    }
    ledger.close(now)?;
    Ok(json!({ "documents": documents }))
}

/// Nothing goes wrong here that is not an error anyway.
struct Quiet;

impl Alarms for Quiet {
    fn raise(&self, _: &str, _: &str, _: Timestamp) {}
    fn clear(&self, _: &str) {}
}

/// A journal that is written without a ledger: only that is quick enough for a million events.
struct Filler {
    /// Holds the root's lock.
    _root: Root,
    journal: Journal,
    pending: Vec<Record>,
    seq: u64,
}

impl Filler {
    /// In a new root, with an insurer, an office and an account, and so many serials given out.
    fn begin(root: &Path, serials: u64) -> anyhow::Result<Self> {
        let root = Root::open(root)?;
        let epoch = Epoch::fresh(1)?;
        root.set_epoch(&epoch)?;
        let (options, witnesses) = (JournalOptions::default(), Witnesses::default());
        let opened = Journal::open(&root.journal(), &epoch.uuid, options, &witnesses, 0, sample::NOW)?;
        let mut filler = Self { _root: root, journal: opened.journal, pending: Vec::new(), seq: 0 };
        let first = [
            Event::EpochBegan { epoch: 1, uuid: epoch.uuid.clone() },
            Event::InsurerSet(sample::insurer()),
            Event::OfficeSet(sample::office("1234")),
            Event::AccountSet(sample::account("K0001", "SHA256:bench")),
            Event::SerialsReserved { series: Series::Submission, upto: serials },
            Event::SerialsReserved { series: Series::Document, upto: serials },
        ];
        for event in first {
            filler.add(event, sample::NOW)?;
        }
        Ok(filler)
    }

    fn add(&mut self, event: Event, at: Timestamp) -> anyhow::Result<()> {
        self.seq += 1;
        self.pending.push(Record { seq: self.seq, at, by: Actor::Daemon, event });
        if self.pending.len() >= 200 { self.flush() } else { Ok(()) }
    }

    /// One commit.
    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.pending.is_empty() {
            self.journal.append(&std::mem::take(&mut self.pending)).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }
}

/// When the documents of this group were placed: one group a day, and after them the documents that stay.
fn placed(at: u64, group: u64, groups: u64) -> anyhow::Result<Timestamp> {
    Ok(sample::NOW.plus_days(u32::try_from((at / group).min(groups))?))
}

/// Fills a root with documents, of which the first `groups` times `group` expire before the others, one group a day. The
/// bytes of those lie on disk, like their cards; of the others the records do.
pub(crate) fn fill(root: &Path, documents: u64, group: u64, groups: u64) -> anyhow::Result<Value> {
    let mut filler = Filler::begin(root, documents)?;
    let blobs = LocalBlobs::open(&root.join("blobs"), BlobOptions::default())?;
    for at in 0..documents {
        let when = placed(at, group, groups)?;
        let mut document = sample::document(1, at + 1, "1234", when);
        if at < group * groups {
            document.blob = blobs.put(&[b'x'; 2048], when)?;
            document.card.blob = blobs.put(&[b'y'; 300], when)?;
        }
        let row = sample::digest(at << 8 | 5);
        filler.add(Event::DocumentPlaced { document: Box::new(document), row }, when)?;
    }
    filler.flush()?;
    drop(filler);
    let now = placed(documents, group, groups)?;
    open(root, now)?.close(now)?;
    Ok(json!({ "documents": documents }))
}

/// Purges the next group of a filled root on the day it expires.
pub(crate) fn purge(root: &Path, group: u64, at: u64) -> anyhow::Result<Value> {
    let now = placed(at * group, group, u64::MAX)?.plus_days(70).plus(3600 * SECOND);
    let before = now.plus(-3600 * SECOND);
    let ledger = Arc::new(open(root, before)?);
    let blobs = Arc::new(LocalBlobs::open(&root.join("blobs"), BlobOptions::default())?);
    // The last event is an hour old: the purge has no leap of the clock to ask about.
    let change = Op::SetOffice { office: sample::office("1234"), new: false };
    ledger.commit(change, Actor::Daemon, before)?;
    let port: Arc<dyn Ledger> = ledger.clone();
    let purge = Purge::new(port, blobs, PurgePolicy::default(), Arc::new(Quiet), || 0, root.to_path_buf());
    let began = Instant::now();
    let mut removed = 0;
    loop {
        let progress = purge.step(now)?;
        removed += progress.done;
        if !progress.more {
            break;
        }
    }
    let wall = began.elapsed().as_secs_f64();
    anyhow::ensure!(removed == group, "{removed} of {group} were removed");
    ledger.close(now)?;
    Ok(json!({ "wall": wall, "removed": removed }))
}

/// A year of events as a running house writes them: submissions received, promised, published, collected and imported;
/// documents placed.
pub(crate) fn journal(root: &Path, events: u64) -> anyhow::Result<Value> {
    let mut filler = Filler::begin(root, events)?;
    let mut serial = 0;
    while filler.seq < events {
        serial += 1;
        let time = |seq: u64| anyhow::Ok(sample::NOW.plus(i64::try_from(seq)? * 100));
        let submission = sample::submission(1, serial, Some(serial));
        let number = submission.number;
        let document = sample::document(1, serial, "1234", time(filler.seq)?);
        let of_one = [
            Event::SubmissionReceived { submission: Box::new(submission), outcome: Outcome::Accepted },
            Event::PublishIntended { number },
            Event::Published { number },
            Event::Collected { number },
            Event::ImportEnded { number, ok: true },
            Event::DocumentPlaced { document: Box::new(document), row: sample::digest(serial << 8 | 5) },
        ];
        for event in of_one.into_iter().take(usize::try_from(events - filler.seq)?) {
            filler.add(event, time(filler.seq + 1)?)?;
        }
    }
    filler.flush()?;
    Ok(json!({ "events": events }))
}

/// Opens a root whose index is missing.
pub(crate) fn rebuild(root: &Path) -> anyhow::Result<Value> {
    let began = Instant::now();
    let (ledger, recovery) =
        JournalLedger::<SledIndex>::open(Root::open(root)?, &LedgerOptions::default(), sample::NOW)?;
    let wall = began.elapsed().as_secs_f64();
    let state = format!("{:?}", recovery.index);
    let peak = peak_kib()?;
    drop(ledger);
    Ok(json!({ "wall": wall, "events": recovery.events, "index": state, "peak_kib": peak }))
}

/// The most memory this process ever had resident.
fn peak_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
