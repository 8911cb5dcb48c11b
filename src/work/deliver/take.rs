//! A set that was begun, to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::files::{Copies, Found};
use super::place::Since;
use super::repeat::Repeats;
use super::report::Report;
use super::rows::{Rows, Taking};
use super::sheet::{self, Fault, Row};
use super::{Deliveries, SHEET, Turn, is_cut, read_small};
use crate::model::event::Series;
use crate::model::ids::{Digest, DocumentId, InsurerCode};
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
    pub(super) at: Timestamp,
    /// By the ledger's time, and the first number of a document after it; none in what an older version began.
    #[serde(default)]
    head: Option<Timestamp>,
    #[serde(default)]
    first: Option<DocumentId>,
    pub(super) set: Digest,
    /// `delivery.csv`, byte for byte, in base64.
    sheet: String,
    /// Hash of each named file that could be read.
    pub(super) files: BTreeMap<String, Digest>,
    /// By which each of them is known again: [`super::marks`].
    #[serde(default)]
    pub(super) marks: BTreeMap<String, [u64; 4]>,
}

impl Begun {
    pub(super) fn since(&self) -> Since {
        Since { first: self.first, at: self.head.unwrap_or(self.at) }
    }
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
        let parties = self.parties(code, now)?;
        let taking = Taking {
            deliveries: self,
            code,
            folder: folder.as_ref(),
            job,
            begun: &begun,
            rows: &rows,
            parties: &parties,
            repeats: &repeats,
            now,
        };
        let reported = spool.reports.stat(&name).doing(|| format!("looking for reports/{name}"))?.is_some();
        let taken = self.ledger.delivery_taken(code, begun.set)?;
        if !(reported && taken) {
            let mut report = match taking.place_rows(copies, turn)? {
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
        taking.clear_away(spool)?;
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
        let head = self.ledger.head();
        let first = DocumentId { epoch: head.epoch, serial: self.ledger.next_serial(Series::Document, now)? };
        let head = Some(head.at.max(now));
        let begun = Begun { at: now, head, first: Some(first), set, sheet, files, marks: known };
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

    fn repeats(&self, begun: &Begun) -> Repeats<'_> {
        Repeats {
            ledger: &*self.ledger,
            blobs: &*self.blobs,
            from: begun.at.plus(-i64::from(self.policy.repeat_days) * DAY),
            since: begun.since(),
            wanted: begun.files.values().copied().collect(),
            known: RefCell::default(),
        }
    }
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
