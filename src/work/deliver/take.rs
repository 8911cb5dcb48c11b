//! A set that was begun, to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::announce::{Announced, Audience, Placement, announced_digest, announcement_like};
use super::files::{Copies, Found, is_taken, open_plain};
use super::place::{Batch, Bytes, Prepared, Ready, RowState, filed_under};
use super::repeat::{Likeness, Repeats};
use super::report::{Outcome, Report};
use super::resolve::{Parties, Target};
use super::sheet::{self, Fault, Row};
use super::{Deliveries, SHEET, Turn, is_cut, read_small};
use crate::model::ids::{Digest, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::{DAY, Timestamp};
use crate::store::ledger::Op;
use crate::store::spool::{Folder, InsurerSpool};
use crate::work::step::{Doing as _, Progress, WorkError};

/// Left-over files that a report names.
const LEFT_OVER_MAX: usize = 100;

/// `.taking/JOB.set`: what was begun, fixed.
#[derive(Serialize, Deserialize)]
pub(super) struct Begun {
    at: Timestamp,
    set: Digest,
    /// `delivery.csv`, byte for byte, in base64.
    sheet: String,
    /// Hash of each named file that could be read.
    pub(super) files: BTreeMap<String, Digest>,
    /// By which each of them is known again: [`super::marks`].
    #[serde(default)]
    pub(super) marks: BTreeMap<String, [u64; 4]>,
}

/// A set whose turn was over: what became of its rows so far.
pub(super) struct UnderWay {
    at: Timestamp,
    set: Digest,
    outcomes: Vec<Option<Outcome>>,
    copies: Copies,
}

/// Why no more rows are looked at.
#[derive(PartialEq, Eq)]
enum Ended {
    All,
    ScannerDown,
    TurnOver,
}

/// What came of placing rows.
enum Rows {
    /// All are done.
    Done(Report),
    /// The scanner is down: what was placed stays placed, the rest waits.
    Wait,
    /// The turn is over.
    More,
}

impl Deliveries {
    /// Goes on with a job whose sheet is in `.taking/`.
    pub(super) fn go_on(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        job: &str,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        if turn.is_over() {
            return Ok(Progress { done: 0, more: true });
        }
        let folder = match spool.outgoing.sub(job) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.doing(|| format!("opening outgoing/{job}"))?),
        };
        let (begun, copies) = match read_begun(spool, job).doing(|| format!("reading .taking/{job}.set"))? {
            Some(begun) => (begun, Copies::default()),
            None => match self.begin(code, spool, folder.as_ref(), job, now)? {
                Some(begun) => begun,
                None => return Ok(Progress { done: 1, more: false }),
            },
        };
        let bytes = BASE64.decode(&begun.sheet).unwrap_or_default();
        let Ok(rows) = sheet::read(&bytes) else { return Ok(Progress::default()) };
        let name = self.report_name(job, begun.at);
        let repeats = self.repeats(&begun);
        let reported = spool.reports.stat(&name).doing(|| format!("looking for reports/{name}"))?.is_some();
        let taken = self.ledger.delivery_taken(code, begun.set)?;
        if !(reported && taken) {
            let mut report = match self.place_rows(
                code,
                folder.as_ref(),
                &begun,
                copies,
                &repeats,
                &rows,
                job,
                turn,
                now,
            )? {
                Rows::Done(report) => report,
                Rows::Wait => return Ok(Progress::default()),
                Rows::More => return Ok(Progress { done: 0, more: true }),
            };
            if let Some(folder) = &folder {
                name_left_over(folder, &rows, &mut report).doing(|| format!("reading outgoing/{job}"))?;
            }
            self.points.pass("placed")?;
            self.write_report(spool, &name, report.bytes()).doing(|| format!("writing reports/{name}"))?;
            self.points.pass("reported")?;
            if !taken {
                let op = Op::DeliveryTaken {
                    insurer: code.clone(),
                    set: begun.set,
                    placed: report.placed,
                    refused: report.refused,
                };
                self.ledger.commit(op, Actor::Importer(code.clone()), now)?;
            }
            tracing::info!(insurer = %code, placed = report.placed, refused = report.refused, "delivery taken in");
        }
        self.points.pass("recorded")?;
        self.clear_away(code, spool, folder.as_ref(), job, &begun, &repeats, &rows, now)?;
        Ok(Progress { done: 1, more: false })
    }

    /// Fixes what is to be taken in, and copies of it. None when the sheet cannot be read: then it is given back with a report.
    fn begin(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        folder: Option<&Folder>,
        job: &str,
        now: Timestamp,
    ) -> Result<Option<(Begun, Copies)>, WorkError> {
        let name = format!("{job}.csv");
        let read = match read_small(&spool.taking, &name) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(not_plain()),
            Err(error) => return Err(error).doing(|| format!("reading .taking/{name}")),
            Ok(bytes) if bytes.len() as u64 > sheet::SHEET_BYTES_MAX => Err(too_long()),
            Ok(_) if is_cut(&spool.taking, &name).doing(|| format!("looking at .taking/{name}"))? => {
                Err(sheet::unfinished(SHEET))
            }
            Ok(bytes) => sheet::read(&bytes).map(|rows| (bytes, rows)),
        };
        let (bytes, rows) = match read {
            Ok(read) => read,
            Err(fault) => {
                self.give_back(code, spool, folder, job, &fault, now)?;
                return Ok(None);
            }
        };
        let (mut files, mut known, mut copies) = (BTreeMap::new(), BTreeMap::new(), Copies::new());
        let mut set = sha2::Sha256::new();
        set.update(sha2::Sha256::digest(&bytes));
        let names: Vec<&str> =
            folder.map(|_| sheet::file_names(&rows).into_iter().collect()).unwrap_or_default();
        let found = match folder {
            Some(folder) => self.look_at_files(folder, &names, now),
            None => Ok(Vec::new()),
        };
        for (name, found) in names.iter().copied().zip(found.doing(|| format!("reading outgoing/{job}"))?) {
            let Some(Found { sha256, marks, copy }) = found else { continue };
            set.update((name.len() as u64).to_be_bytes());
            set.update(name.as_bytes());
            set.update(sha256.0);
            files.insert(name.to_owned(), sha256);
            known.insert(name.to_owned(), marks);
            copies.extend(copy.map(|copy| (name.to_owned(), copy)));
        }
        let (set, sheet) = (Digest(set.finalize().into()), BASE64.encode(bytes));
        let begun = Begun { at: now, set, sheet, files, marks: known };
        let json = serde_json::to_vec(&begun).map_err(io::Error::from).doing(|| "fixing a set".into())?;
        let (part, fixed) = (format!("{job}.part"), format!("{job}.set"));
        let write = || -> io::Result<()> {
            spool.taking.remove_file(&part)?;
            spool.taking.write_new(&part, &json, 0o600, None)?.sync_all()?;
            spool.taking.rename(&part, &spool.taking, &fixed)?;
            spool.taking.sync()
        };
        write().doing(|| format!("writing .taking/{fixed}"))?;
        self.points.pass("begun")?;
        Ok(Some((begun, copies)))
    }

    fn report_name(&self, job: &str, at: Timestamp) -> String {
        format!("delivery-{job}-{}.csv", at.named_in(self.zone))
    }

    /// A sheet that cannot be read: reported, and left beside its files under another name.
    fn give_back(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        folder: Option<&Folder>,
        job: &str,
        fault: &Fault,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let mut report = Report::default();
        report.whole("refused", fault);
        let name = self.report_name(job, now);
        self.write_report(spool, &name, report.bytes()).doing(|| format!("writing reports/{name}"))?;
        self.points.pass("refusal reported")?;
        let sheet = format!("{job}.csv");
        let doing = || format!("giving back .taking/{sheet}");
        match folder {
            Some(folder) => {
                spool.taking.replace(&sheet, folder, format!("{SHEET}.refused")).doing(doing)?;
                folder.sync().doing(doing)?;
            }
            None => spool.taking.remove_all(&sheet).doing(doing)?,
        }
        spool.taking.sync().doing(doing)?;
        tracing::warn!(insurer = %code, code = fault.code, "a delivery's sheet cannot be read");
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "a set, and when it makes room for others")]
    fn place_rows(
        &self,
        code: &InsurerCode,
        folder: Option<&Folder>,
        begun: &Begun,
        copies: Copies,
        repeats: &Repeats<'_>,
        rows: &[Row],
        job: &str,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Rows, WorkError> {
        let parties = self.parties(code, now)?;
        let key = (code.clone(), job.to_owned());
        let earlier = self.memory.under_way().remove(&key);
        let earlier = earlier.filter(|earlier| earlier.at == begun.at && earlier.set == begun.set);
        let (earlier, mut copies) = earlier
            .map_or_else(|| (vec![None; rows.len()], copies), |earlier| (earlier.outcomes, earlier.copies));
        // While one batch becomes durable and is placed, the next is copied and scanned.
        let (outcomes, ended) = std::thread::scope(|scope| {
            let (full, batches) = sync_channel::<Batch>(1);
            let by = Actor::Importer(code.clone());
            let placing = scope.spawn(move || {
                let mut placed = Vec::new();
                for batch in batches {
                    placed.extend(self.flush(batch, &by, now)?);
                    self.points.pass("some placed")?;
                }
                Ok::<_, WorkError>(placed)
            });
            let prepared = self.prepare_rows(
                code,
                &parties,
                folder,
                begun,
                &mut copies,
                repeats,
                rows,
                earlier,
                turn,
                now,
                &full,
            );
            drop(full);
            // Its trouble came first, where there is both.
            let placed = placing.join().map_err(|_| panicked())??;
            let (mut outcomes, ended) = prepared?;
            for (index, outcome) in placed {
                outcomes[index] = Some(outcome);
            }
            Ok::<_, WorkError>((outcomes, ended))
        })?;
        if ended == Ended::TurnOver {
            let under_way = UnderWay { at: begun.at, set: begun.set, outcomes, copies };
            self.memory.under_way().insert(key, under_way);
            self.points.pass("turn over")?;
            return Ok(Rows::More);
        }
        self.discard_copies(copies).doing(|| "removing copies that no row took".into())?;
        let alarm = format!("DELIVERY-SCANNER {code}");
        if ended == Ended::ScannerDown {
            self.alarms.raise(&alarm, "the virus scanner does not answer; deliveries wait", now);
            return Ok(Rows::Wait);
        }
        self.alarms.clear(&alarm);
        let mut report = Report::default();
        for (row, outcome) in rows.iter().zip(&outcomes) {
            if let Some(outcome) = outcome {
                report.row(row, outcome, job);
            }
        }
        Ok(Rows::Done(report))
    }

    /// Copies, checks and scans rows that were not delivered before, and gives them out in batches; what became of the
    /// others, after `outcomes` of earlier turns. Ends early when nobody takes the batches any more.
    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    fn prepare_rows(
        &self,
        code: &InsurerCode,
        parties: &Parties,
        folder: Option<&Folder>,
        begun: &Begun,
        copies: &mut Copies,
        repeats: &Repeats<'_>,
        rows: &[Row],
        mut outcomes: Vec<Option<Outcome>>,
        turn: &Turn,
        now: Timestamp,
        full: &SyncSender<Batch>,
    ) -> Result<(Vec<Option<Outcome>>, Ended), WorkError> {
        let mut batch = Batch::default();
        let mut ended = Ended::All;
        for (index, row) in rows.iter().enumerate() {
            if outcomes[index].is_some() {
                continue;
            }
            if turn.is_over() {
                ended = Ended::TurnOver;
                break;
            }
            turn.worked.set(true);
            self.memory.beat();
            let digest = row_digest(code, begun.set, row);
            match self.row_state(digest, begun.at)? {
                RowState::New => {
                    match self.prepare_row(code, parties, folder, begun, copies, repeats, row, now)? {
                        Looked::Ready(ready) => batch.add(index, *ready, digest),
                        Looked::Done(outcome) => outcomes[index] = Some(outcome),
                        Looked::ScannerDown => {
                            ended = Ended::ScannerDown;
                            break;
                        }
                    }
                }
                // By this very taking, before a crash?
                RowState::Counts(id, placed_at) if placed_at >= begun.at => {
                    outcomes[index] = Some(Outcome::Placed(id, None));
                }
                RowState::Counts(id, _) => outcomes[index] = Some(Outcome::Before(id)),
                RowState::Going => outcomes[index] = Some(Outcome::Not(super::place::going())),
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

    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    fn prepare_row(
        &self,
        code: &InsurerCode,
        parties: &Parties,
        folder: Option<&Folder>,
        begun: &Begun,
        copies: &mut Copies,
        repeats: &Repeats<'_>,
        row: &Row,
        now: Timestamp,
    ) -> Result<Looked, WorkError> {
        let address = match &row.address {
            Ok(address) => address,
            Err(fault) => return Ok(Looked::Done(Outcome::Not(fault.clone()))),
        };
        let Some(name) = row.file_name() else {
            return Ok(Looked::Done(Outcome::Not(Fault::refused(
                "ROW-FILE-NAME",
                "file は、このフォルダーに置いたファイルの名前だけにしてください。",
                "file must be the plain name of a file in this folder",
            ))));
        };
        let everybody = address.everybody;
        let target = match (everybody, self.target(code, parties, address)?) {
            (true, _) => None,
            (false, Ok(target)) => Some(target),
            (false, Err(fault)) => return Ok(Looked::Done(Outcome::Not(fault))),
        };
        let expected = begun.files.get(name).copied();
        if let (Some(target), Some(sha256)) = (&target, expected)
            && let Some(there) = repeats.of(target, self.likeness(code, row), sha256)?
        {
            return Ok(Looked::Done(Outcome::Before(there.id)));
        }
        let mut file;
        let bytes = match (copies.remove(name), folder.map(|folder| open_plain(folder, name))) {
            (Some(copy), _) => Bytes::Copied(copy),
            (None, Some(Ok(Some(opened)))) => {
                file = opened;
                Bytes::Read(&mut file)
            }
            (None, Some(Ok(None))) => return Ok(Looked::Done(Outcome::Not(no_plain_file()))),
            (None, Some(Err(error))) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).doing(|| "opening a document".into());
            }
            (None, _) => return Ok(Looked::Done(Outcome::Not(missing_file()))),
        };
        let request =
            super::place::Content { bytes, name, kind: row.kind(), title: row.title(), text: everybody };
        let Some(target) = target else {
            let row = (row_digest(code, begun.set, row), begun.at);
            return Ok(match self.announce_row(code, parties, request, expected, row, repeats, now)? {
                Announced::Placed(placement) => Looked::Done(announced(&placement)),
                Announced::Not(fault) => Looked::Done(Outcome::Not(fault)),
                Announced::ScannerDown => Looked::ScannerDown,
            });
        };
        Ok(match self.prepare(code, target, request, expected, now)? {
            Prepared::Ready(ready) => Looked::Ready(ready),
            Prepared::Not(fault) => Looked::Done(Outcome::Not(fault)),
            Prepared::ScannerDown => Looked::ScannerDown,
        })
    }

    fn repeats(&self, begun: &Begun) -> Repeats<'_> {
        Repeats {
            ledger: &*self.ledger,
            blobs: &*self.blobs,
            from: begun.at.plus(-i64::from(self.policy.repeat_days) * DAY),
            begun_at: begun.at,
            wanted: begun.files.values().copied().collect(),
            known: RefCell::default(),
        }
    }

    /// Whether a row reached an outbox by this taking or one before it: the one it was for, or, for everybody, any.
    fn is_placed(
        &self,
        code: &InsurerCode,
        parties: &Parties,
        row: &Row,
        begun: &Begun,
        repeats: &Repeats<'_>,
    ) -> Result<bool, WorkError> {
        let digest = row_digest(code, begun.set, row);
        let placed =
            |digest| Ok::<_, WorkError>(matches!(self.row_state(digest, begun.at)?, RowState::Counts(..)));
        let Ok(address) = &row.address else { return Ok(false) };
        let sha256 = row.file_name().and_then(|name| begun.files.get(name)).copied();
        let repeated = |target: &Target, like| {
            Ok::<_, WorkError>(match sha256 {
                Some(sha256) => repeats.of(target, like, sha256)?.is_some(),
                None => false,
            })
        };
        if !address.everybody {
            return Ok(placed(digest)?
                || match self.target(code, parties, address)? {
                    Ok(target) => repeated(&target, self.likeness(code, row))?,
                    Err(_) => false,
                });
        }
        let Ok((targets, _)) = parties.audience(&Audience::All) else { return Ok(false) };
        for target in targets {
            if placed(announced_digest(digest, &target.account))?
                || repeated(&target, announcement_like(row.title()))?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn likeness<'a>(&self, code: &InsurerCode, row: &'a Row) -> Likeness<'a> {
        Likeness {
            kind: filed_under(&(self.tables)(code), row.kind()),
            title: row.title(),
            announcement: false,
        }
    }

    /// Removes the files of which every row was placed; what the ledger does not have in an outbox stays, and what is not the
    /// file that was taken any more: it has been put there for the next set.
    #[allow(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    fn clear_away(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        folder: Option<&Folder>,
        job: &str,
        begun: &Begun,
        repeats: &Repeats<'_>,
        rows: &[Row],
        now: Timestamp,
    ) -> Result<(), WorkError> {
        let doing = || format!("clearing outgoing/{job}");
        // A new sheet beside the old files: the next set is being put there, and may mean them.
        let reused = match folder {
            Some(folder) => folder.stat(SHEET).doing(doing)?.is_some(),
            None => true,
        };
        if let Some(folder) = folder.filter(|_| !reused) {
            let mut going = sheet::file_names(rows);
            let parties = self.parties(code, now)?;
            for row in rows {
                if !self.is_placed(code, &parties, row, begun, repeats)? {
                    going.remove(row.file());
                }
            }
            for name in going {
                if is_taken(folder, name, begun, self.policy.document_bytes_max).doing(doing)? {
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
        self.points.pass("cleared")?;
        for end in ["csv", "part", "set"] {
            spool.taking.remove_file(format!("{job}.{end}")).doing(doing)?;
        }
        spool.taking.sync().doing(doing)
    }
}

fn panicked() -> WorkError {
    let source = io::Error::other("the thread that places documents panicked; see the log");
    WorkError::Io { doing: "placing documents".to_owned(), source }
}

/// What became of a row that was looked at.
enum Looked {
    /// To be placed.
    Ready(Box<Ready>),
    /// Nothing more is to be done with it.
    Done(Outcome),
    ScannerDown,
}

fn announced(placement: &Placement) -> Outcome {
    let (now, before) = (placement.placed, placement.before);
    let missed = placement.without.len();
    let ja = format!("{} アカウントに掲示しました(配信できないアカウント {missed})。", now + before);
    let en = format!("announced to {} accounts; {missed} cannot get it", now + before);
    Outcome::Placed(placement.announcement, Some(Fault::refused("ANNOUNCED", ja, en)))
}

fn read_begun(spool: &InsurerSpool, job: &str) -> io::Result<Option<Begun>> {
    match spool.taking.open_file(format!("{job}.set"), OFlags::RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => Ok(Some(serde_json::from_reader(io::BufReader::new(opened?))?)),
    }
}

fn name_left_over(folder: &Folder, rows: &[Row], report: &mut Report) -> io::Result<()> {
    let mut names: Vec<String> = Vec::new();
    let asked_for = sheet::file_names(rows);
    for name in folder.names()? {
        if names.len() == LEFT_OVER_MAX {
            break;
        }
        let name = name?.to_string_lossy().into_owned();
        // Whatever a row names goes with the set, but for folders.
        let is_folder = folder.stat(&name)?.is_some_and(|stat| crate::store::spool::is_folder(&stat));
        let ours = (asked_for.contains(name.as_str()) && !is_folder) || name.starts_with(SHEET);
        names.extend((!ours).then_some(name));
    }
    names.sort();
    for name in names {
        let shown = crate::model::escape::excerpt(&name, 100);
        let ja = format!("{shown} は delivery.csv のどの行にもないか、通常のファイルではありません。");
        let en = format!("{shown} is named by no row, or is no plain file");
        report.whole("left", &Fault::refused("FILE-LEFT", ja, en));
    }
    Ok(())
}

fn row_digest(code: &InsurerCode, set: Digest, row: &Row) -> Digest {
    let mut hash = sha2::Sha256::new();
    hash.update(b"todoke-delivery-row/1\0");
    hash.update(code.as_str());
    hash.update(set.0);
    hash.update(row.line.to_be_bytes());
    for cell in &row.cells {
        hash.update((cell.len() as u64).to_be_bytes());
        hash.update(cell);
    }
    Digest(hash.finalize().into())
}

fn not_plain() -> Fault {
    Fault::refused(
        "DELIVERY-NOT-PLAIN",
        "delivery.csv が通常のファイルではありません(リンクなど)。ファイルそのものを置いてください。",
        "delivery.csv is no plain file (a link?); put the file itself there",
    )
}

fn too_long() -> Fault {
    Fault::refused(
        "DELIVERY-TOO-LONG",
        "delivery.csv が大きすぎます。分けて置いてください。",
        "delivery.csv is too long; split it",
    )
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
