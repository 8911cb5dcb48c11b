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

fn parties(ledger: &dyn Ledger, now: Timestamp) -> anyhow::Result<()> {
    for op in [
        Op::SetInsurer { insurer: sample::insurer(), new: true },
        Op::SetOffice { office: sample::office("1234"), new: true },
        Op::SetAccount { account: sample::account("K0001", "SHA256:bench"), new: true },
    ] {
        ledger.commit(op, Actor::Daemon, now)?;
    }
    Ok(())
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

/// Fills a root and purges it. The bytes of what is expired lie on disk, like its cards; of the others the records do.
pub(crate) fn purge(root: &Path, documents: u64, expired: u64) -> anyhow::Result<Value> {
    let began = sample::NOW;
    let now = began.plus_days(80);
    let ledger = Arc::new(open(root, began)?);
    let blobs = Arc::new(LocalBlobs::open(&root.join("blobs"), BlobOptions::default())?);
    parties(&*ledger, began)?;
    // What expires first was placed first, as it is in a house that has run for a while.
    let placed = |at: u64| began.plus_days(if at < expired { 5 } else { 20 });
    for from in (0..documents).step_by(usize::try_from(BATCH)?) {
        let mut rows = Vec::new();
        for at in from..documents.min(from + BATCH) {
            let mut document = sample::document(1, at + 1, "1234", placed(at));
            if at < expired {
                document.blob = blobs.put(&[b'x'; 2048], placed(at))?;
                document.card.blob = blobs.put(&[b'y'; 300], placed(at))?;
            }
            rows.push((document, sample::digest(at << 8 | 5)));
        }
        ledger.commit(Op::Place(rows), Actor::Daemon, placed(from))?;
    }
    // The last event is an hour old: the purge has no leap of the clock to ask about.
    let change = Op::SetOffice { office: sample::office("1234"), new: false };
    ledger.commit(change, Actor::Daemon, now.plus(-3600 * SECOND))?;
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
    anyhow::ensure!(removed == expired, "{removed} of {expired} were removed");
    ledger.close(now)?;
    Ok(json!({ "wall": wall, "removed": removed }))
}

/// A year of events as a running house writes them: submissions received, promised, published, collected and imported;
/// documents placed.
pub(crate) fn journal(root: &Path, events: u64) -> anyhow::Result<Value> {
    let now = sample::NOW;
    let root = Root::open(root)?;
    let epoch = Epoch::fresh(1)?;
    root.set_epoch(&epoch)?;
    let opened = Journal::open(
        &root.journal(),
        &epoch.uuid,
        JournalOptions::default(),
        &Witnesses::default(),
        0,
        now,
    )?;
    let mut journal = opened.journal;
    let mut pending = Vec::new();
    let mut seq = 0;
    let mut add = |event: Event, last: bool| -> anyhow::Result<()> {
        seq += 1;
        let at = now.plus(i64::try_from(seq)? * 100);
        pending.push(Record { seq, at, by: Actor::Daemon, event });
        if pending.len() >= 200 || last {
            journal.append(&std::mem::take(&mut pending)).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    };
    add(Event::EpochBegan { epoch: 1, uuid: epoch.uuid.clone() }, false)?;
    add(Event::InsurerSet(sample::insurer()), false)?;
    add(Event::OfficeSet(sample::office("1234")), false)?;
    add(Event::AccountSet(sample::account("K0001", "SHA256:bench")), false)?;
    for series in [Series::Submission, Series::Document] {
        add(Event::SerialsReserved { series, upto: events }, false)?;
    }
    let mut written = 6;
    let mut serial = 0;
    while written < events {
        serial += 1;
        let submission = sample::submission(1, serial, Some(serial));
        let number = submission.number;
        let at = now.plus(i64::try_from(written)? * 100);
        let document = sample::document(1, serial, "1234", at);
        let of_one = [
            Event::SubmissionReceived { submission: Box::new(submission), outcome: Outcome::Accepted },
            Event::PublishIntended { number },
            Event::Published { number },
            Event::Collected { number },
            Event::ImportEnded { number, ok: true },
            Event::DocumentPlaced { document: Box::new(document), row: sample::digest(serial << 8 | 5) },
        ];
        for event in of_one.into_iter().take(usize::try_from(events - written)?) {
            written += 1;
            add(event, written == events)?;
        }
    }
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
