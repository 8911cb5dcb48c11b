//! The rows of a set that was begun, into the outboxes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

use sha2::Digest as _;

use super::announce::{Announced, Audience, Placement, announced_digest, announcement_like};
use super::files::{Copies, is_taken, open_plain, panicked};
use super::place::{Batch, Bytes, Content, Prepared, Ready, RowState, filed_under, going};
use super::repeat::{Likeness, Repeats};
use super::report::{Outcome, Report};
use super::resolve::{Parties, Target};
use super::sheet::{self, Fault, Row};
use super::take::Begun;
use super::{Deliveries, SHEET, Turn};
use crate::model::ids::{Digest, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::Timestamp;
use crate::store::spool::{Folder, InsurerSpool};
use crate::work::step::{Doing as _, WorkError};

/// A set whose turn was over: what became of its rows so far.
pub(super) struct UnderWay {
    at: Timestamp,
    set: Digest,
    outcomes: Outcomes,
    copies: Copies,
}

/// What became of each row, as far as it is known.
type Outcomes = Vec<Option<Outcome>>;

/// Why no more rows are looked at.
#[derive(PartialEq, Eq)]
enum Ended {
    All,
    ScannerDown,
    TurnOver,
}

/// What came of placing rows.
pub(super) enum Rows {
    /// All are done.
    Done(Report),
    /// The scanner is down: what was placed stays placed, the rest waits.
    Wait,
    /// The turn is over.
    More,
}

/// What became of a row that was looked at.
enum Looked {
    /// To be placed.
    Ready(Box<Ready>),
    /// Nothing more is to be done with it.
    Done(Outcome),
    ScannerDown,
}

/// A set that is being taken in.
pub(super) struct Taking<'a> {
    pub(super) deliveries: &'a Deliveries,
    /// From whom it is.
    pub(super) code: &'a InsurerCode,
    /// `outgoing/JOB`, if it is there still.
    pub(super) folder: Option<&'a Folder>,
    pub(super) job: &'a str,
    pub(super) begun: &'a Begun,
    pub(super) rows: &'a [Row],
    /// The insurer's parties, as they are today.
    pub(super) parties: &'a Parties,
    /// What earlier sets brought.
    pub(super) repeats: &'a Repeats<'a>,
    pub(super) now: Timestamp,
}

impl Taking<'_> {
    /// Places what was not placed before, until the turn is over.
    pub(super) fn place_rows(&self, copies: Copies, turn: &Turn) -> Result<Rows, WorkError> {
        let (deliveries, now) = (self.deliveries, self.now);
        let key = (self.code.clone(), self.job.to_owned());
        let earlier = deliveries.memory.under_way().remove(&key);
        let earlier = earlier.filter(|earlier| earlier.at == self.begun.at && earlier.set == self.begun.set);
        let (earlier, mut copies) = earlier.map_or_else(
            || (vec![None; self.rows.len()], copies),
            |earlier| (earlier.outcomes, earlier.copies),
        );
        let doubles = self.doubles()?;
        // While one batch becomes durable and is placed, the next is copied and scanned.
        let placed = std::thread::scope(|scope| {
            let (full, batches) = sync_channel::<Batch>(1);
            let by = Actor::Importer(self.code.clone());
            let placing = scope.spawn(move || {
                let mut placed = Vec::new();
                for batch in batches {
                    placed.extend(deliveries.flush(batch, &by, now)?);
                    deliveries.points.pass("some placed")?;
                }
                Ok::<_, WorkError>(placed)
            });
            let prepared = self.prepare_rows(&mut copies, earlier, &doubles, turn, &full);
            drop(full);
            // Its trouble came first, where there is both.
            let placed =
                placing.join().unwrap_or_else(|_| Err(panicked()).doing(|| "placing documents".into()))?;
            let (mut outcomes, ended) = prepared?;
            for (index, outcome) in placed {
                outcomes[index] = Some(outcome);
            }
            Ok::<_, WorkError>((outcomes, ended))
        });
        let (outcomes, ended) = match placed {
            Ok(placed) => placed,
            Err(error) => {
                // The next step copies anew what no row has taken. What cannot be removed is the sweep's.
                let _ = deliveries.discard_copies(copies);
                return Err(error);
            }
        };
        if ended == Ended::TurnOver {
            let under_way = UnderWay { at: self.begun.at, set: self.begun.set, outcomes, copies };
            deliveries.memory.under_way().insert(key, under_way);
            deliveries.points.pass("turn over")?;
            return Ok(Rows::More);
        }
        deliveries.discard_copies(copies).doing(|| "removing copies that no row took".into())?;
        let alarm = format!("DELIVERY-SCANNER {}", self.code);
        if ended == Ended::ScannerDown {
            deliveries.alarms.raise(&alarm, "the virus scanner does not answer; deliveries wait", now);
            return Ok(Rows::Wait);
        }
        deliveries.alarms.clear(&alarm);
        let mut report = Report::default();
        for (index, row) in self.rows.iter().enumerate() {
            let outcome = match doubles.get(&index) {
                None => outcomes[index].clone(),
                Some(first) => outcomes[*first].clone().map(Outcome::again),
            };
            if let Some(outcome) = outcome {
                report.row(row, &outcome, self.job);
            }
        }
        Ok(Rows::Done(report))
    }

    /// Copies, checks and scans rows that were not delivered before, and gives them out in batches; what became of the
    /// others, after `outcomes` of earlier turns. Ends early when nobody takes the batches any more.
    fn prepare_rows(
        &self,
        copies: &mut Copies,
        mut outcomes: Outcomes,
        doubles: &HashMap<usize, usize>,
        turn: &Turn,
        full: &SyncSender<Batch>,
    ) -> Result<(Outcomes, Ended), WorkError> {
        let mut batch = Batch::default();
        let mut ended = Ended::All;
        for (index, row) in self.rows.iter().enumerate() {
            if outcomes[index].is_some() || doubles.contains_key(&index) {
                continue;
            }
            if turn.is_over() {
                ended = Ended::TurnOver;
                break;
            }
            turn.worked.set(true);
            self.deliveries.memory.beat();
            let digest = self.row_digest(row);
            match self.deliveries.row_state(digest, self.begun.since())? {
                RowState::New => match self.prepare_row(copies, row, digest)? {
                    Looked::Ready(ready) => batch.add(index, *ready, digest),
                    Looked::Done(outcome) => outcomes[index] = Some(outcome),
                    Looked::ScannerDown => {
                        ended = Ended::ScannerDown;
                        break;
                    }
                },
                // By this very taking, before a crash?
                RowState::Counts(id, placed_at) if self.begun.since().placed(id, placed_at) => {
                    outcomes[index] = Some(Outcome::Placed(id, None));
                }
                RowState::Counts(id, _) => outcomes[index] = Some(Outcome::Before(id)),
                RowState::Going => outcomes[index] = Some(Outcome::Not(going())),
            }
            if batch.is_full() && full.send(std::mem::take(&mut batch)).is_err() {
                return Ok((outcomes, ended));
            }
        }
        if !batch.is_empty() {
            let _ = full.send(batch);
        }
        Ok((outcomes, ended))
    }

    fn prepare_row(&self, copies: &mut Copies, row: &Row, digest: Digest) -> Result<Looked, WorkError> {
        let refused = |fault| Ok(Looked::Done(Outcome::Not(fault)));
        let address = match &row.address {
            Ok(address) => address,
            Err(fault) => return refused(fault.clone()),
        };
        let Some(name) = row.file_name() else {
            return refused(Fault::refused(
                "ROW-FILE-NAME",
                "file は、このフォルダーに置いたファイルの名前だけにしてください。",
                "file must be the plain name of a file in this folder",
            ));
        };
        let everybody = address.everybody;
        let target = match (everybody, self.deliveries.target(self.code, self.parties, address)?) {
            (true, _) => None,
            (false, Ok(target)) => Some(target),
            (false, Err(fault)) => return refused(fault),
        };
        let expected = self.begun.files.get(name).copied();
        if let (Some(target), Some(sha256)) = (&target, expected)
            && let Some(there) = self.repeats.of(target, self.likeness(row), sha256)?
        {
            return Ok(Looked::Done(Outcome::Before(there.id)));
        }
        let mut file;
        let bytes = match (copies.remove(name), self.folder.map(|folder| open_plain(folder, name))) {
            (Some(copy), _) => Bytes::Copied(copy),
            (None, Some(Ok(Some(opened)))) => {
                file = opened;
                Bytes::Read(&mut file)
            }
            (None, Some(Ok(None))) => return refused(no_plain_file()),
            (None, Some(Err(error))) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).doing(|| "opening a document".into());
            }
            (None, _) => return refused(missing_file()),
        };
        let content = Content { bytes, name, kind: row.kind(), title: row.title(), text: everybody };
        let Some(target) = target else {
            return Ok(match self.announce_row(content, expected, digest)? {
                Announced::Placed(placement) => Looked::Done(announced(&placement)),
                Announced::Not(fault) => Looked::Done(Outcome::Not(fault)),
                Announced::ScannerDown => Looked::ScannerDown,
            });
        };
        Ok(match self.deliveries.prepare(self.code, target, content, expected, self.now)? {
            Prepared::Ready(ready) => Looked::Ready(ready),
            Prepared::Not(fault) => Looked::Done(Outcome::Not(fault)),
            Prepared::ScannerDown => Looked::ScannerDown,
        })
    }

    /// Rows that ask for what a row above them has asked for (somebody copied a line), each with the first such row: they bring
    /// nothing of their own.
    fn doubles(&self) -> Result<HashMap<usize, usize>, WorkError> {
        let (mut firsts, mut doubles) = (HashMap::new(), HashMap::new());
        for (index, row) in self.rows.iter().enumerate() {
            let (Ok(address), Some(name)) = (&row.address, row.file_name()) else { continue };
            let target = if address.everybody {
                None
            } else {
                match self.deliveries.target(self.code, self.parties, address)? {
                    Ok(target) => Some((target.account, target.office, target.in_reply_to)),
                    Err(_) => continue,
                }
            };
            let Likeness { kind, title, .. } = self.likeness(row);
            match firsts.entry((target, kind, title, name)) {
                Entry::Vacant(entry) => drop(entry.insert(index)),
                Entry::Occupied(first) => drop(doubles.insert(index, *first.get())),
            }
        }
        Ok(doubles)
    }

    /// Whether a row reached an outbox by this taking or one before it: the one it was for, or, for everybody, any.
    fn is_placed(&self, row: &Row) -> Result<bool, WorkError> {
        let digest = self.row_digest(row);
        let placed = |digest| {
            let state = self.deliveries.row_state(digest, self.begun.since())?;
            Ok::<_, WorkError>(matches!(state, RowState::Counts(..)))
        };
        let Ok(address) = &row.address else { return Ok(false) };
        let sha256 = row.file_name().and_then(|name| self.begun.files.get(name)).copied();
        let repeated = |target: &Target, like| {
            Ok::<_, WorkError>(match sha256 {
                Some(sha256) => self.repeats.of(target, like, sha256)?.is_some(),
                None => false,
            })
        };
        if !address.everybody {
            return Ok(placed(digest)?
                || match self.deliveries.target(self.code, self.parties, address)? {
                    Ok(target) => repeated(&target, self.likeness(row))?,
                    Err(_) => false,
                });
        }
        let (targets, _) = self.parties.audience(&Audience::All);
        for target in targets {
            if placed(announced_digest(digest, &target.account))?
                || repeated(&target, announcement_like(row.title()))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn likeness<'b>(&self, row: &'b Row) -> Likeness<'b> {
        Likeness {
            kind: filed_under(&(self.deliveries.tables)(self.code), row.kind()),
            title: row.title(),
            announcement: false,
        }
    }

    fn row_digest(&self, row: &Row) -> Digest {
        let mut hash = sha2::Sha256::new();
        hash.update(b"todoke-delivery-row/1\0");
        hash.update(self.code.as_str());
        hash.update(self.begun.set.0);
        hash.update(row.line.to_be_bytes());
        for cell in &row.cells {
            hash.update((cell.len() as u64).to_be_bytes());
            hash.update(cell);
        }
        Digest(hash.finalize().into())
    }

    /// Removes the files of which every row was placed; what the ledger does not have in an outbox stays, and what is not the
    /// file that was taken any more: it has been put there for the next set.
    pub(super) fn clear_away(&self, spool: &InsurerSpool) -> Result<(), WorkError> {
        let job = self.job;
        let doing = || format!("clearing outgoing/{job}");
        // A new sheet beside the old files: the next set is being put there, and may mean them.
        let reused = match self.folder {
            Some(folder) => folder.stat(SHEET).doing(doing)?.is_some(),
            None => true,
        };
        if let Some(folder) = self.folder.filter(|_| !reused) {
            let mut going = sheet::file_names(self.rows);
            let doubles = self.doubles()?;
            for (index, row) in self.rows.iter().enumerate() {
                let first = doubles.get(&index).map_or(row, |first| &self.rows[*first]);
                if !self.is_placed(first)? {
                    going.remove(row.file());
                }
            }
            let max = self.deliveries.policy.document_bytes_max;
            for name in going {
                if is_taken(folder, name, self.begun, max).doing(doing)? {
                    folder.remove_file(name).doing(doing)?;
                }
            }
            folder.sync().doing(doing)?;
            match spool.outgoing.remove_folder(job) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                removed => removed.doing(doing)?,
            }
            spool.outgoing.sync().doing(doing)?;
        }
        self.deliveries.points.pass("cleared")?;
        for end in ["csv", "part", "set"] {
            spool.taking.remove_file(format!("{job}.{end}")).doing(doing)?;
        }
        spool.taking.sync().doing(doing)
    }
}

fn announced(placement: &Placement) -> Outcome {
    let (now, before) = (placement.placed, placement.before);
    if now == 0 && before > 0 {
        return Outcome::Before(placement.announcement);
    }
    let missed = placement.without.len();
    let ja = format!("{} アカウントに掲示しました(配信できないアカウント {missed})。", now + before);
    let en = format!("announced to {} accounts; {missed} cannot get it", now + before);
    Outcome::Placed(placement.announcement, Some(Fault::refused("ANNOUNCED", ja, en)))
}

fn no_plain_file() -> Fault {
    Fault::refused(
        "FILE-NOT-PLAIN",
        "通常のファイルではありません(リンク、フォルダーなど)。ファイルそのものを置いてください。",
        "not a plain file (a link, a folder, a second name); put the file itself there",
    )
}

fn missing_file() -> Fault {
    Fault::refused(
        "FILE-MISSING",
        "ファイルがフォルダーにありません。file の名前を確認してください。",
        "the file is not in the folder; check the name in file",
    )
}
