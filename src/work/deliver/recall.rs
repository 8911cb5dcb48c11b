//! `outgoing/JOB/recall.csv`: documents that an insurer takes back (誤配信).
//!
//! 1. **Settled** as a delivery is; then renamed to `.taking/JOB.recall`.
//! 2. **Recalled** row by row: gone at once, its account told ([`crate::work::purge::Purge::recall`]). An announcement, which the
//!    report of its delivery gives one number, goes from everybody.
//! 3. **Reported** in `reports/recall-JOB-TIME.csv` (TIME is when the file was renamed, to the millisecond: a crash writes the same
//!    report again, another file another one, whatever its own time), with whether somebody had fetched each, and of an announcement
//!    a line for each account; only then cleared away.

use std::collections::BTreeMap;
use std::io;

use super::sheet::{self, Fault};
use super::{Deliveries, Readiness, read_small};
use crate::model::document::{Document, Reading, RemovalReason, RemovedDocument};
use crate::model::escape::csv_field;
use crate::model::ids::{DocumentId, InsurerCode};
use crate::model::party::Actor;
use crate::model::time::{SECOND, Timestamp};
use crate::store::spool::{Folder, InsurerSpool, is_unfinished};
use crate::work::purge::Recall;
use crate::work::step::{Doing as _, Progress, WorkError};

const SHEET: &str = "recall.csv";
/// End of the name in `.taking/`.
pub(super) const TAKEN: &str = ".recall";
/// Rows of one file.
const ROWS_MAX: usize = 10_000;

/// One line: the number or file name of a document.
struct Row {
    line: u64,
    document: String,
}

/// What became of a line, or of one account's copy.
enum Outcome {
    Recalled {
        at: Timestamp,
        account: String,
        fetched: Option<(Timestamp, Timestamp)>,
        partly: Option<(Timestamp, u64)>,
    },
    Not {
        account: String,
        fault: Fault,
    },
}

impl Outcome {
    fn of(document: &Document, at: Timestamp) -> Self {
        let (fetched, partly) = (document.fetched, document.partly_fetched);
        Self::Recalled { at, account: document.account.to_string(), fetched, partly }
    }

    fn gone(gone: &RemovedDocument) -> Self {
        let (at, fetched, partly) = (gone.removed_at, gone.fetched, gone.partly_fetched);
        Self::Recalled { at, account: gone.account.to_string(), fetched, partly }
    }

    fn not(fault: Fault) -> Self {
        Self::Not { account: String::new(), fault }
    }
}

impl Deliveries {
    /// Takes `recall.csv` when it is settled.
    pub(super) fn consider_recall(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        job: &str,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let folder = match spool.outgoing.sub(job) {
            // Emptied and removed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::default()),
            opened => opened.doing(|| format!("opening outgoing/{job}"))?,
        };
        let looking = || format!("looking at outgoing/{job}/{SHEET}");
        if folder.stat(SHEET).doing(looking)?.is_none() {
            return Ok(Progress::default());
        }
        let key = format!("{job}/{SHEET}");
        // One that names documents is not kept waiting for its last line feed: what was sent to the wrong place is to go at once.
        match self.settled(code, key, &folder, vec![SHEET.to_owned()], false, now).doing(looking)? {
            Readiness::Unfinished | Readiness::Settling => return Ok(Progress::default()),
            Readiness::Ready => {}
        }
        let doing = || format!("taking outgoing/{job}/{SHEET}");
        folder.rename(SHEET, &spool.taking, format!("{job}{TAKEN}")).doing(doing)?;
        spool.taking.sync().doing(doing)?;
        folder.sync().doing(doing)?;
        self.points.pass("recall taken")?;
        self.go_on_recalling(code, spool, job, now)
    }

    /// Goes on with a recall that is in `.taking/`.
    pub(super) fn go_on_recalling(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        job: &str,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let taken = format!("{job}{TAKEN}");
        let doing = || format!("reading .taking/{taken}");
        let Some(stat) = spool.taking.stat(&taken).doing(doing)? else { return Ok(Progress::default()) };
        let rows = match read_small(&spool.taking, &taken) {
            Ok(_) if is_unfinished(&stat) => Err(sheet::unfinished(SHEET)),
            Ok(bytes) => read(&bytes),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(unreadable(0)),
            Err(error) => return Err(error).doing(doing),
        };
        let mut text = String::from(
            "\u{feff}line,result,document,account,recalled,fetched,first_fetched,last_fetched,code,理由,reason\r\n",
        );
        let mut recalled = 0;
        match rows {
            Err(fault) => self.line(&mut text, "", "", &Outcome::not(fault)),
            Ok(rows) => {
                for row in rows {
                    self.memory.beat();
                    for (document, outcome) in self.recall_row(code, &row, now)? {
                        recalled += u64::from(matches!(outcome, Outcome::Recalled { .. }));
                        self.line(&mut text, &row.line.to_string(), &document, &outcome);
                    }
                    self.points.pass("recalled")?;
                }
            }
        }
        let taken_at = Timestamp(stat.st_ctime.saturating_mul(SECOND)).named_in(self.zone);
        let name = format!("recall-{job}-{taken_at}-{:03}.csv", stat.st_ctime_nsec / 1_000_000);
        self.write_report(spool, &name, text.as_bytes()).doing(|| format!("writing reports/{name}"))?;
        self.points.pass("recall reported")?;
        tracing::info!(insurer = %code, recalled, "a recall was taken in");
        spool.taking.remove_all(&taken).doing(|| format!("clearing .taking/{taken}"))?;
        spool.taking.sync().doing(|| format!("clearing .taking/{taken}"))?;
        match spool.outgoing.remove_folder(job) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => {}
            removed => removed.doing(|| format!("clearing outgoing/{job}"))?,
        }
        Ok(Progress { done: 1, more: false })
    }

    /// Each document that a row means, as the report names it, and what became of it.
    fn recall_row(
        &self,
        code: &InsurerCode,
        row: &Row,
        now: Timestamp,
    ) -> Result<Vec<(String, Outcome)>, WorkError> {
        // A number that was typed, also in small letters; a file name has the number as it is.
        let id = DocumentId::parse(&row.document.to_ascii_uppercase()).ok();
        let id = id.or_else(|| Document::id_in(&row.document));
        let only = |outcome| Ok(vec![(row.document.clone(), outcome)]);
        let Some(id) = id else { return only(Outcome::not(malformed())) };
        if let Some(group) = self.group_of(code, id)? {
            return self.recall_group(code, group, now);
        }
        only(self.recall_one(code, id, now)?)
    }

    fn recall_one(&self, code: &InsurerCode, id: DocumentId, now: Timestamp) -> Result<Outcome, WorkError> {
        // Another insurer's document is answered like none.
        let document = self.ledger.document(id)?.filter(|document| document.insurer == *code);
        if let Some(document) = document {
            return Ok(match (self.recall)(id, &Actor::Importer(code.clone()), now)? {
                Recall::Held => Outcome::Not { account: document.account.to_string(), fault: held() },
                Recall::Done(recalled) => Outcome::of(&recalled.document, now),
                Recall::Missing => Outcome::of(&document, now),
            });
        }
        let gone = self.ledger.removed_document(id)?.filter(|gone| gone.insurer == *code);
        Ok(match gone {
            Some(gone) if gone.reason == RemovalReason::Recalled => Outcome::gone(&gone),
            Some(gone) => Outcome::Not { account: gone.account.to_string(), fault: expired() },
            None => match self.ledger.removing(id)?.filter(|(document, _)| document.insurer == *code) {
                // Begun before a crash: the purge finishes it.
                Some((document, RemovalReason::Recalled)) => Outcome::of(&document, now),
                Some((document, _)) => {
                    Outcome::Not { account: document.account.to_string(), fault: expired() }
                }
                None => Outcome::not(unknown()),
            },
        })
    }

    /// The announcement that this number is of, if it is of one.
    fn group_of(&self, code: &InsurerCode, id: DocumentId) -> Result<Option<DocumentId>, WorkError> {
        if let Some(document) = self.ledger.document(id)?.filter(|document| document.insurer == *code) {
            return Ok(document.announcement);
        }
        if let Some((document, _)) =
            self.ledger.removing(id)?.filter(|(document, _)| document.insurer == *code)
        {
            return Ok(document.announcement);
        }
        let gone = self.ledger.removed_document(id)?.filter(|gone| gone.insurer == *code);
        Ok(gone.and_then(|gone| gone.announcement))
    }

    /// Takes an announcement from all that have it, and names those from whom it was taken before, by number.
    fn recall_group(
        &self,
        code: &InsurerCode,
        group: DocumentId,
        now: Timestamp,
    ) -> Result<Vec<(String, Outcome)>, WorkError> {
        let there = self.ledger.announced(code)?.into_iter().filter(|(of, _)| *of == group);
        let mut outcomes = BTreeMap::new();
        for (_, id) in there {
            self.memory.beat();
            outcomes.insert(id, self.recall_one(code, id, now)?);
        }
        // Recalled before, or before a crash of this very recall; by the ledger's time, of which the clock may be behind.
        let first = self.ledger.document(group)?.map(|document| document.placed_at);
        let first = first.or(self.ledger.removed_document(group)?.map(|gone| gone.placed_at));
        for gone in self.ledger.removed_documents(code, first.unwrap_or_default(), Timestamp(i64::MAX))? {
            if gone.announcement == Some(group) && gone.reason == RemovalReason::Recalled {
                outcomes.entry(gone.id).or_insert_with(|| Outcome::gone(&gone));
            }
        }
        if outcomes.is_empty() {
            return Ok(vec![(group.to_string(), Outcome::not(expired()))]);
        }
        Ok(outcomes.into_iter().map(|(id, outcome)| (id.to_string(), outcome)).collect())
    }

    fn line(&self, text: &mut String, line: &str, document: &str, outcome: &Outcome) {
        let local = |at: Option<Timestamp>| at.map(|at| at.shown_in(self.zone)).unwrap_or_default();
        let cells = match outcome {
            Outcome::Recalled { at, account, fetched, partly } => {
                let read = match Reading::of(*fetched, *partly) {
                    Reading::Whole => "yes",
                    Reading::Partly => "partly",
                    Reading::Not => "no",
                };
                // Of a part: when it broke off last.
                let last = fetched.map(|f| f.1).or(partly.map(|p| p.0));
                let (first, last) = (local(fetched.map(|f| f.0)), local(last));
                [
                    "recalled".into(),
                    document.to_owned(),
                    account.clone(),
                    local(Some(*at)),
                    read.into(),
                    first,
                    last,
                ]
                .into_iter()
                .chain([String::new(), String::new(), String::new()])
                .collect::<Vec<_>>()
            }
            Outcome::Not { account, fault } => {
                let mut cells = vec!["refused".to_owned(), document.to_owned(), account.clone()];
                cells.resize(7, String::new());
                cells.extend([fault.code.to_owned(), fault.text.ja.clone(), fault.text.en.clone()]);
                cells
            }
        };
        let cells: Vec<_> =
            std::iter::once(line).chain(cells.iter().map(String::as_str)).map(csv_field).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    }
}

/// Reads the file: a header with `document`, other columns (a reason, for the insurer's own memory) are not looked at.
fn read(bytes: &[u8]) -> Result<Vec<Row>, Fault> {
    let text = sheet::decode(bytes).map_err(|_| unreadable(0))?;
    let mut records = sheet::Records::of(&text);
    let headers = records.next().transpose().map_err(unreadable)?.map(|(_, headers)| headers);
    let Some(column) = headers.iter().flatten().position(|name| name.eq_ignore_ascii_case("document")) else {
        return Err(Fault::refused(
            "RECALL-HEADER",
            "recall.csv の見出しに document がありません。1行目を document とし、文書番号を1行に1つ書いてください。",
            "the header of recall.csv has no column document; give document numbers, one a line, below it",
        ));
    };
    let mut rows = Vec::new();
    for record in records {
        let (line, record) = record.map_err(unreadable)?;
        let document = record.get(column).unwrap_or_default();
        if document.is_empty() {
            continue;
        }
        if rows.len() == ROWS_MAX {
            return Err(Fault::refused(
                "RECALL-TOO-LONG",
                format!("recall.csv は{ROWS_MAX}行までです。分けて置いてください。"),
                format!("recall.csv may have {ROWS_MAX} rows; split it"),
            ));
        }
        rows.push(Row { line, document: document.chars().take(200).collect() });
    }
    Ok(rows)
}

fn unreadable(line: u64) -> Fault {
    Fault::refused(
        "RECALL-CSV",
        format!(
            "recall.csv が読めません({line}行目)。UTF-8 か CP932 の CSV にし、引用符(\")が閉じているか、値の中に改行がないかを確認してください。どの文書も取り消していません。"
        ),
        format!(
            "recall.csv cannot be read (line {line}): make it CSV in UTF-8 or CP932, with all quotes (\") closed and no line break in a value; nothing was recalled"
        ),
    )
}

fn malformed() -> Fault {
    Fault::refused(
        "ROW-DOCUMENT",
        "文書番号(D1-000123-6 の形。最後の数字は検査数字)か配信時のファイル名を書いてください。打ち間違いがないか確認してください。",
        "give a document's number (as D1-000123-6: the last digit checks the others) or its file name in the outbox; look for a mistyped character",
    )
}

fn unknown() -> Fault {
    Fault::refused(
        "ROW-NO-DOCUMENT",
        "この番号の文書はありません。配信結果の report で番号を確認してください。",
        "there is no such document; look its number up in the report of its delivery",
    )
}

fn expired() -> Fault {
    Fault::refused(
        "DOCUMENT-EXPIRED",
        "保管期限が過ぎ、すでに削除されています。",
        "its days were over: it is gone already",
    )
}

fn held() -> Fault {
    Fault::refused(
        "DOCUMENT-HELD",
        "保管指定のため取り消せません。運用担当へ連絡してください。",
        "it is held; ask the operator",
    )
}

/// Whether a folder has a recall waiting; such a folder is not forgotten.
pub(super) fn waits(folder: &Folder) -> io::Result<bool> {
    Ok(folder.stat(SHEET)?.is_some())
}
