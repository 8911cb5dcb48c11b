//! One day of the journal as rows: each event once for its insurer and once for its account.

use std::collections::{BTreeMap, HashMap};

use chrono_tz::Tz;
use serde::Serialize;
use serde_json::json;

use crate::model::day::ClosedDay;
use crate::model::document::RemovalReason;
use crate::model::escape::csv_field;
use crate::model::event::{Event, MailResult, Record};
use crate::model::ids::{AccountId, Digest, DocumentId, InsurerCode, MailId, Number, OfficeCode};
use crate::model::mail::Report;
use crate::model::party::Standing;
use crate::model::submission::{Outcome, Submission};
use crate::model::time::Timestamp;
use crate::store::books::HEAD;
use crate::store::ledger::{Ledger, LedgerError};

/// What can happen, with its words.
type What = (&'static str, &'static str);

const ACCEPTED: What = ("accepted", "受付");
const HELD: What = ("held", "保留");
const REFUSED: What = ("refused", "受付不可");
const WITHDRAWAL: What = ("withdrawal", "取下げの受付");
const HELD_ACCEPTED: What = ("accepted-after-hold", "保留後の受付");
const HELD_REFUSED: What = ("refused-after-hold", "保留後の受付不可");
const PUBLISHED: What = ("published", "保険者への引渡し");
const COLLECTED: What = ("collected", "保険者の取込開始");
const IMPORTED: What = ("imported", "保険者の取込完了");
const IMPORT_FAILED: What = ("import-failed", "保険者の取込失敗");
const WITHDRAWN: What = ("withdrawn", "取下げ");
const ERASED: What = ("erased", "送信内容の消去");
const RECEIPT_ERASED: What = ("receipt-erased", "受付票の消去");
const PLACED: What = ("placed", "文書の到着");
const FETCHED: What = ("fetched", "文書の取得");
const PARTLY_FETCHED: What = ("fetched-partly", "文書の取得の中断");
const DOCUMENT_HELD: What = ("document-held", "文書の保存期間の延長");
const DOCUMENT_RELEASED: What = ("document-released", "文書の保存期間の延長の終了");
const EXPIRED: What = ("expired", "文書の期限切れ削除");
const RECALLED: What = ("recalled", "文書の取消(誤配信)");
const DELIVERY: What = ("delivery", "配信の受入れ");
const MAILED: What = ("mailed", "通知メールの送信");
const MAIL_FAILED: What = ("mail-failed", "通知メールの不達");
const MAIL_BOUNCED: What = ("mail-bounced", "通知メールの不達の返信");
const MAIL_DROPPED: What = ("mail-dropped", "通知メールの中止");
const SWEPT: What = ("swept", "未完成の送信の削除");

/// One row, before it is written.
#[derive(Default)]
struct Row {
    id: String,
    insurer: Option<InsurerCode>,
    account: Option<AccountId>,
    office: Option<OfficeCode>,
    kind: String,
    count: u64,
    bytes: u64,
    sha256: Option<Digest>,
    /// A test account's: none of the insurer's business.
    test: bool,
}

/// Rows, and how many of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    text: String,
    totals: BTreeMap<&'static str, Total>,
}

/// Of one kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// Rows.
    pub rows: u64,
    /// Their counts.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Default for Sheet {
    fn default() -> Self {
        Self { text: HEAD.to_owned(), totals: BTreeMap::new() }
    }
}

impl Sheet {
    /// The file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many of each kind of event.
    pub fn totals(&self) -> &BTreeMap<&'static str, Total> {
        &self.totals
    }

    /// `reconciliation-DAY.json`: the totals, and the file they are of.
    pub fn totals_json(&self, day: &ClosedDay, insurer: &InsurerCode) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(&json!({
            "schema": "todoke-reconciliation-1",
            "day": day.day,
            "from": day.from.to_string(),
            "until": day.until.to_string(),
            "insurer": insurer,
            "csv_sha256": Digest::of(self.text.as_bytes()),
            "totals": self.totals,
        }))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn push(&mut self, line: &str, what: What, row: &Row) {
        self.text.push_str(line);
        let total = self.totals.entry(what.0).or_default();
        total.rows += 1;
        total.count += row.count;
        total.bytes += row.bytes;
    }
}

/// What everybody is shown of a day.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sheets {
    /// Every insurer that takes part, also when nothing happened.
    pub insurers: BTreeMap<InsurerCode, Sheet>,
    /// Accounts for which something happened.
    pub accounts: BTreeMap<AccountId, Sheet>,
}

impl Sheets {
    /// Reads the day's part of the journal.
    pub fn make(ledger: &dyn Ledger, day: &ClosedDay, zone: Tz) -> Result<Self, LedgerError> {
        let mut writer = Writer {
            ledger,
            zone,
            sheets: Self::default(),
            submissions: HashMap::new(),
            accounts: HashMap::new(),
        };
        for insurer in ledger.insurers()?.into_iter().filter(|insurer| insurer.standing != Standing::Closed) {
            writer.sheets.insurers.insert(insurer.code, Sheet::default());
        }
        let mut failed = None;
        ledger.events(day.from, day.until, &mut |record| {
            if failed.is_none()
                && let Err(error) = writer.record(&record)
            {
                failed = Some(error);
            }
        })?;
        failed.map_or(Ok(writer.sheets), Err)
    }
}

/// What rows need to know of a submission.
#[derive(Clone)]
struct Known {
    insurer: InsurerCode,
    account: AccountId,
    office: Option<OfficeCode>,
    kind: &'static str,
    manifest: Digest,
    test: bool,
}

struct Writer<'a> {
    ledger: &'a dyn Ledger,
    zone: Tz,
    sheets: Sheets,
    submissions: HashMap<Number, Option<Known>>,
    /// Insurer, and whether it is a test account.
    accounts: HashMap<AccountId, Option<(InsurerCode, bool)>>,
}

impl Known {
    fn of(submission: &Submission) -> Self {
        Self {
            insurer: submission.insurer.clone(),
            account: submission.account.clone(),
            office: submission.office.clone(),
            kind: submission.what(),
            manifest: submission.manifest,
            test: submission.test,
        }
    }

    fn row(self, number: Number) -> Row {
        Row {
            id: number.to_string(),
            insurer: Some(self.insurer),
            account: Some(self.account),
            office: self.office,
            kind: self.kind.to_owned(),
            count: 1,
            bytes: 0,
            sha256: Some(self.manifest),
            test: self.test,
        }
    }
}

impl Writer<'_> {
    fn record(&mut self, record: &Record) -> Result<(), LedgerError> {
        let at = record.at;
        match &record.event {
            Event::SubmissionReceived { submission, outcome } => {
                let known = Known::of(submission);
                self.submissions.insert(submission.number, Some(known.clone()));
                let what = match outcome {
                    Outcome::Accepted if submission.withdraws.is_some() => WITHDRAWAL,
                    Outcome::Accepted => ACCEPTED,
                    Outcome::Refused(_) => REFUSED,
                    Outcome::Held(_) => HELD,
                };
                let bytes = submission.files.iter().map(|file| file.size).sum();
                self.write(at, what, &Row { bytes, ..known.row(submission.number) });
            }
            Event::SubmissionJudged { number, outcome, office, .. } => {
                let what = match outcome {
                    Outcome::Accepted => HELD_ACCEPTED,
                    Outcome::Refused(_) => HELD_REFUSED,
                    Outcome::Held(_) => return Ok(()),
                };
                if let (Some(Some(known)), Some(_)) = (self.submissions.get_mut(number), office) {
                    known.office.clone_from(office);
                }
                self.submission(at, what, *number)?;
            }
            Event::Published { number } => self.submission(at, PUBLISHED, *number)?,
            Event::Collected { number } => self.submission(at, COLLECTED, *number)?,
            Event::ImportEnded { number, ok } => {
                self.submission(at, if *ok { IMPORTED } else { IMPORT_FAILED }, *number)?;
            }
            Event::Withdrawn { number, .. } => self.submission(at, WITHDRAWN, *number)?,
            Event::Erased { number } => self.submission(at, ERASED, *number)?,
            Event::CardErased { number } => self.submission(at, RECEIPT_ERASED, *number)?,
            Event::DocumentPlaced { document, .. } => self.document(at, PLACED, document.id)?,
            Event::DocumentFetched { id, .. } => self.document(at, FETCHED, *id)?,
            Event::DocumentPartlyFetched { id, .. } => self.document(at, PARTLY_FETCHED, *id)?,
            Event::DocumentHeld { id, .. } => self.document(at, DOCUMENT_HELD, *id)?,
            Event::DocumentReleased { id, .. } => self.document(at, DOCUMENT_RELEASED, *id)?,
            Event::RemovalIntended { id, reason } => {
                let what = if *reason == RemovalReason::Recalled { RECALLED } else { EXPIRED };
                self.document(at, what, *id)?;
            }
            Event::DeliveryTaken { insurer, set, placed, refused } => {
                let kind = format!("refused:{refused}");
                let (insurer, sha256) = (Some(insurer.clone()), Some(*set));
                self.write(at, DELIVERY, &Row { insurer, kind, count: *placed, sha256, ..Row::default() });
            }
            Event::MailTried { id, result } => {
                let what = match result {
                    MailResult::Sent { .. } => MAILED,
                    MailResult::Failed { .. } => MAIL_FAILED,
                    MailResult::Dropped => MAIL_DROPPED,
                    MailResult::Deferred { .. } => return Ok(()),
                };
                self.mail(at, what, *id)?;
            }
            Event::MailReported {
                id, report: Report::Unreachable | Report::Failed, proven: true, ..
            } => {
                self.mail(at, MAIL_BOUNCED, *id)?;
            }
            Event::DropboxSwept { account, files, bytes } => {
                let row = Row { count: *files, bytes: *bytes, ..self.of_account(account)? };
                self.write(at, SWEPT, &row);
            }
            _ => {}
        }
        Ok(())
    }

    fn submission(&mut self, at: Timestamp, what: What, number: Number) -> Result<(), LedgerError> {
        if !self.submissions.contains_key(&number) {
            let known = self.ledger.submission(number)?.as_ref().map(Known::of);
            self.submissions.insert(number, known);
        }
        if let Some(Some(known)) = self.submissions.get(&number) {
            let row = known.clone().row(number);
            self.write(at, what, &row);
        }
        Ok(())
    }

    fn document(&mut self, at: Timestamp, what: What, id: DocumentId) -> Result<(), LedgerError> {
        let Some(trace) = self.ledger.document_trace(id)? else { return Ok(()) };
        let of = self.of_account(&trace.account)?;
        let row = Row {
            id: id.to_string(),
            insurer: Some(trace.insurer),
            office: Some(trace.office),
            kind: trace.kind,
            count: 1,
            bytes: trace.size,
            sha256: Some(trace.sha256),
            ..of
        };
        self.write(at, what, &row);
        Ok(())
    }

    fn mail(&mut self, at: Timestamp, what: What, id: MailId) -> Result<(), LedgerError> {
        let Some(mail) = self.ledger.mail(id)? else { return Ok(()) };
        // A row for each account that it tells: accounts share mailboxes (K9).
        for account in mail.accounts() {
            let of = self.of_account(account)?;
            let row = Row { id: id.to_string(), count: 1, sha256: Some(mail.card.digest), ..of };
            self.write(at, what, &row);
        }
        Ok(())
    }

    fn of_account(&mut self, id: &AccountId) -> Result<Row, LedgerError> {
        if !self.accounts.contains_key(id) {
            let account = self.ledger.account(id)?.map(|account| (account.insurer, account.test));
            self.accounts.insert(id.clone(), account);
        }
        let known = self.accounts.get(id).cloned().flatten();
        let (insurer, test) = known.map_or((None, true), |(insurer, test)| (Some(insurer), test));
        Ok(Row { insurer, account: Some(id.clone()), test, ..Row::default() })
    }

    fn write(&mut self, at: Timestamp, what: What, row: &Row) {
        let text = |of: Option<String>| of.unwrap_or_default();
        let fields = [
            at.stamped_in(self.zone),
            what.0.to_owned(),
            what.1.to_owned(),
            row.id.clone(),
            text(row.insurer.as_ref().map(ToString::to_string)),
            text(row.account.as_ref().map(ToString::to_string)),
            text(row.office.as_ref().map(ToString::to_string)),
            csv_field(&row.kind),
            row.count.to_string(),
            row.bytes.to_string(),
            text(row.sha256.as_ref().map(ToString::to_string)),
        ];
        let line = fields.join(",") + "\r\n";
        if let Some(account) = &row.account {
            self.sheets.accounts.entry(account.clone()).or_default().push(&line, what, row);
        }
        if let Some(insurer) = row.insurer.as_ref().filter(|_| !row.test) {
            self.sheets.insurers.entry(insurer.clone()).or_default().push(&line, what, row);
        }
    }
}
