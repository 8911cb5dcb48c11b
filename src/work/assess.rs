//! Virus, format and routing of one set of files: asked by intake when the set is complete, and again for those that
//! were held.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use chrono::Datelike as _;
use chrono_tz::Tz;

use super::ports::{Scan, Scanner, Unscanned};
use super::repeats::{Records, Repeats};
use crate::filing::other::inspect_other;
use crate::filing::rules::CoverType;
use crate::filing::set::{self, Set, SetFile};
use crate::filing::{
    Context, Findings, LISTED_MAX, Profile, RuleBook, RuleSet, Summary, check_observed, inspect_pdf,
};
use crate::model::finding::{Finding, Severity, Text};
use crate::model::ids::{BlobId, InsurerCode, Number, OfficeCode};
use crate::model::party::{Account, Standing};
use crate::model::submission::{FileRole, HoldReason, Kind, Outcome, Stage, StageVerdict, Verdict};
use crate::model::time::{Clock, Day, SECOND, Timestamp};
use crate::rules::calendar;
use crate::rules::delegation::{self, Acting};
use crate::signed::names::FileName;
use crate::store::blobs::Blobs;
use crate::store::ledger::Ledger;

/// A set as its sender described it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who sent it.
    pub account: Account,
    /// When it was complete: for whom its account acted on that day counts, however long it is held.
    pub received_at: Timestamp,
    /// `# kind:`
    pub kind: Kind,
    /// `# to:`
    pub to: Option<InsurerCode>,
    /// `# office:`
    pub office: Option<OfficeCode>,
    /// `# cover:`
    pub cover: Option<FileName>,
    /// `# subject:`
    pub subject: Option<String>,
    /// `# comment:`
    pub comment: Option<String>,
    /// `# withdraw:`
    pub withdraws: Option<Number>,
    /// By which certificate it was signed, for the verdict: kind and number; empty for a registered key.
    pub signed: String,
    /// In the manifest's order.
    pub files: Vec<CandidateFile>,
}

/// One of its files.
#[derive(Debug, Clone)]
pub struct CandidateFile {
    /// As the manifest names it.
    pub name: FileName,
    /// Where its bytes lie.
    pub blob: BlobId,
    /// Bytes.
    pub size: u64,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Assessment {
    /// Accepted, refused or held.
    pub outcome: Outcome,
    /// All stages in order.
    pub verdicts: Vec<StageVerdict>,
    /// Errors and warnings.
    pub findings: Findings,
    /// Which office it is for, when that could be told.
    pub office: Option<OfficeCode>,
    /// Records per form code.
    pub forms: Vec<(String, u64)>,
    /// Role and the insurer's name of each file, in the manifest's order.
    pub files: Vec<(FileRole, String)>,
    /// Whom the filing is about, to be compared with what was filed before (K53); none of a refused one.
    pub records: Records,
    /// Repeats were said as warnings.
    repeats_said: bool,
}

impl Assessment {
    /// Everything before the virus check passed.
    fn begin(files: Vec<(FileRole, String)>) -> Self {
        let verdict = |stage, verdict| StageVerdict { stage, verdict, detail: String::new() };
        Self {
            outcome: Outcome::Accepted,
            verdicts: vec![
                verdict(Stage::Upload, Verdict::Pass),
                verdict(Stage::Signature, Verdict::Pass),
                verdict(Stage::Virus, Verdict::NotRun),
                verdict(Stage::Format, Verdict::NotRun),
                verdict(Stage::Routing, Verdict::NotRun),
            ],
            findings: Findings::default(),
            office: None,
            forms: Vec::new(),
            files,
            records: Records::default(),
            repeats_said: false,
        }
    }

    fn set(&mut self, stage: Stage, verdict: Verdict, detail: impl Into<String>) {
        if let Some(v) = self.verdicts.iter_mut().find(|v| v.stage == stage) {
            v.verdict = verdict;
            v.detail = detail.into();
        }
    }

    /// Refused at this stage for these findings; what later stages said is void.
    #[must_use]
    pub fn refuse(self, stage: Stage, findings: Vec<Finding>) -> Self {
        self.refuse_for(stage, Findings::resumed(findings, 0, 0))
    }

    /// The same for a list that may only count some of them.
    fn refuse_for(mut self, stage: Stage, findings: Findings) -> Self {
        let code = findings
            .listed()
            .iter()
            .find(|f| f.severity == Severity::Error)
            .map_or_else(|| "REFUSED".to_owned(), |f| f.rule.clone());
        self.set(stage, Verdict::Fail, code.clone());
        for v in self.verdicts.iter_mut().filter(|v| v.stage > stage) {
            v.verdict = Verdict::NotRun;
            v.detail.clear();
        }
        self.findings.take_in(findings);
        self.outcome = Outcome::Refused(code);
        self.records = Records::default();
        self
    }

    /// Takes in what a claim found ([`Repeats::claim`]): refuses for it, or says it once.
    #[must_use]
    pub fn repeating(mut self, findings: Findings) -> Self {
        if !findings.is_ok() {
            return self.refuse_for(Stage::Format, findings);
        }
        // A second claim of the same submission finds the same.
        if !findings.listed().is_empty() && !self.repeats_said {
            self.repeats_said = true;
            self.findings.take_in(findings);
        }
        self
    }

    /// Waits for this reason; never undoes a refusal. What another stage waits for stays in its verdict.
    pub fn hold(&mut self, reason: HoldReason) {
        if matches!(self.outcome, Outcome::Refused(_)) {
            return;
        }
        let stage = if reason == HoldReason::Scanner { Stage::Virus } else { Stage::Routing };
        self.set(stage, Verdict::Held, reason.word());
        self.outcome = Outcome::Held(reason);
    }
}

/// Asks scanner, rules and ledger.
pub struct Assessor {
    /// Offices and insurers.
    pub ledger: Arc<dyn Ledger>,
    /// Content.
    pub blobs: Arc<dyn Blobs>,
    /// Viruses.
    pub scanner: Arc<dyn Scanner>,
    /// Rule tables; replaced as a whole at reload.
    pub rules: Arc<RwLock<Arc<RuleBook>>>,
    /// What was filed before.
    pub repeats: Arc<Repeats>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// Local days are counted here.
    pub zone: Tz,
    /// Month in which a filing year begins (`year_begins_month`).
    pub year_begins_month: u32,
    /// Scans under way that a sender waits for, or has stopped waiting for.
    pub scans: Arc<AtomicUsize>,
}

/// Scans under way at the same time. A scanner that hangs holds each for minutes; beyond these, submissions are held at once.
const SCANS_MAX: usize = 64;

/// One of [`SCANS_MAX`].
struct Scanning(Arc<AtomicUsize>);

impl Scanning {
    fn begin(scans: &Arc<AtomicUsize>) -> Option<Self> {
        let one = Self(Arc::clone(scans));
        (scans.fetch_add(1, Ordering::SeqCst) < SCANS_MAX).then_some(one)
    }
}

impl Drop for Scanning {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How long before the sender's patience ends the scan is given up for now.
const MARGIN: i64 = SECOND;

fn finding(rule: &str, file: Option<&str>, message: Text, action: Text) -> Finding {
    Finding { file: file.map(Into::into), ..Finding::new(Severity::Error, rule, message, action) }
}

/// What the scanner said of a whole set.
enum Scanned {
    Clean(String),
    NotConfigured,
    Found(Vec<Finding>),
    Later(String),
}

impl Assessor {
    /// The set before any stage: what its files are.
    pub fn begin(&self, candidate: &Candidate) -> Assessment {
        let book = self.book();
        let rules = book.of(&candidate.account.insurer);
        let files: Vec<SetFile> = candidate
            .files
            .iter()
            .map(|f| SetFile {
                name: f.name.clone(),
                bytes: f.size,
                pdf: None,
                cover_counts: None,
                other: None,
            })
            .collect();
        let found = set::roles_of(&set_of(candidate, &files), rules);
        let role = |at| {
            if candidate.kind == Kind::Other {
                FileRole::Attachment
            } else if Some(at) == found.filing {
                FileRole::Filing
            } else if Some(at) == found.cover {
                FileRole::Cover
            } else {
                FileRole::Attachment
            }
        };
        let roles: Vec<FileRole> = (0..files.len()).map(role).collect();
        let mut assessment = Assessment::begin(export_names(candidate, &roles));
        assessment.set(Stage::Signature, Verdict::Pass, candidate.signed.clone());
        assessment
    }

    fn book(&self) -> Arc<RuleBook> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges a set. With a deadline, what is not known by then is held.
    pub fn assess(
        &self,
        set: &Candidate,
        now: Timestamp,
        deadline: Option<Timestamp>,
    ) -> anyhow::Result<Assessment> {
        let mut assessment = self.begin(set);
        if let Some(withdrawn) = set.withdraws {
            return self.may_withdraw(set, withdrawn, assessment);
        }
        let wrong_insurer = set.to.as_ref().filter(|to| **to != set.account.insurer);
        if let Some(to) = wrong_insurer {
            let own = &set.account.insurer;
            let wrong = finding(
                "ROUTE-INSURER",
                None,
                Text::new(
                    format!("「# to: {to}」は、このアカウントの健康保険組合({own})と違います。"),
                    format!("`# to: {to}` is not this account's insurer ({own})."),
                ),
                Text::new(
                    "宛先を直すか、その健康保険組合のアカウントで送ってください。",
                    "Correct it, or send with the account for that insurer.",
                ),
            );
            return Ok(assessment.refuse(Stage::Routing, vec![wrong]));
        }
        match self.scan(set, deadline)? {
            Scanned::Clean(engine) => assessment.set(Stage::Virus, Verdict::Pass, engine),
            Scanned::NotConfigured => assessment.set(Stage::Virus, Verdict::NotRun, "none"),
            Scanned::Found(findings) => return Ok(assessment.refuse(Stage::Virus, findings)),
            Scanned::Later(why) => {
                tracing::warn!(account = %set.account.id, why, "a submission waits for the virus check");
                assessment.hold(HoldReason::Scanner);
                return Ok(assessment);
            }
        }
        let (closed, offices) = self.check(set, now, &mut assessment)?;
        if matches!(assessment.outcome, Outcome::Refused(_)) {
            return Ok(assessment);
        }
        self.route(set, closed, &offices, assessment)
    }

    /// Scans all files, on a thread of its own so that the sender's patience can end first.
    fn scan(&self, set: &Candidate, deadline: Option<Timestamp>) -> anyhow::Result<Scanned> {
        if self.scanner.is_none() {
            return Ok(Scanned::NotConfigured);
        }
        let left = deadline.map(|d| d.since(self.clock.now()));
        // Of a short patience most is still the scanner's.
        let patience = left.map(|left| left - MARGIN.min(left / 4));
        if patience.is_some_and(|p| p <= 0) {
            return Ok(Scanned::Later("no time left within verdict_wait_seconds".into()));
        }
        let (scanner, blobs) = (Arc::clone(&self.scanner), Arc::clone(&self.blobs));
        let files = set.files.clone();
        let Some(patience) = patience else { return Ok(scan_all(scanner.as_ref(), blobs.as_ref(), &files)?) };
        let Some(one) = Scanning::begin(&self.scans) else {
            return Ok(Scanned::Later("as many scans are under way as may be".into()));
        };
        let (tell, told) = mpsc::channel();
        std::thread::Builder::new().name("scan".into()).spawn(move || {
            let _one = one;
            let _ = tell.send(scan_all(scanner.as_ref(), blobs.as_ref(), &files));
        })?;
        let patience = Duration::from_millis(u64::try_from(patience).unwrap_or(0));
        match told.recv_timeout(patience) {
            Ok(scanned) => Ok(scanned?),
            Err(_) => Ok(Scanned::Later("no answer within verdict_wait_seconds".into())),
        }
    }

    /// The filing's format, cover sheet and attachments. Gives whether the window asks for a hold, and the offices that the
    /// filing names.
    fn check(
        &self,
        candidate: &Candidate,
        now: Timestamp,
        assessment: &mut Assessment,
    ) -> anyhow::Result<(bool, Vec<OfficeCode>)> {
        let book = self.book();
        let rules = book.of(&candidate.account.insurer);
        let clock = calendar::reading(now, self.zone);
        let today = clock.date();
        let mut findings = Findings::listing(LISTED_MAX);
        let mut summary: Option<Summary> = None;
        let mut records = Records::default();
        let mut files = Vec::with_capacity(candidate.files.len());
        for (file, (role, _)) in candidate.files.iter().zip(&assessment.files) {
            let blob = self.blobs.open(&file.blob)?;
            let mut facts = SetFile {
                name: file.name.clone(),
                bytes: file.size,
                pdf: None,
                cover_counts: None,
                other: None,
            };
            if candidate.kind == Kind::Other {
                facts.other = Some(inspect_other(blob.stream())?);
                files.push(facts);
                continue;
            }
            if set::wants_pdf_check(&file.name) {
                facts.pdf = Some(inspect_pdf(blob.stream())?);
            }
            match role {
                FileRole::Filing => {
                    let context = Context {
                        today,
                        // Whether it acts for one of them on this day is a matter of routing.
                        account_offices: Some(
                            delegation::offices_ever(&candidate.account).into_iter().collect(),
                        ),
                        office: candidate.office.clone(),
                        file: Some(file.name.to_string()),
                        profile: Profile::Kpfd,
                    };
                    let remembered = rules.policy().repeats_months > 0;
                    summary =
                        Some(check_observed(blob.stream(), rules, &context, &mut findings, &mut |key| {
                            if remembered {
                                records.add(&self.repeats.keys, &candidate.account, key);
                            }
                        })?);
                }
                FileRole::Cover if facts.pdf.is_none() && reads_covers(rules) => {
                    facts.cover_counts = Some(set::cover_counts(blob.stream(), rules.policy().cover.csv)?);
                }
                FileRole::Cover | FileRole::Attachment => {}
            }
            files.push(facts);
        }
        let verdict =
            set::check_set(&set_of(candidate, &files), summary.as_ref(), rules, clock, &mut findings);
        let summary = summary.unwrap_or_default();
        assessment.office = summary.office.or_else(|| candidate.office.clone());
        assessment.forms = summary.forms.into_iter().map(|f| (f.code, f.count)).collect();
        if findings.is_ok() {
            assessment.findings.take_in(findings);
            assessment.records = records;
            assessment.set(Stage::Format, Verdict::Pass, "");
        } else {
            *assessment = assessment.clone().refuse_for(Stage::Format, findings);
        }
        let offices = summary.offices.into_iter().chain(summary.record_offices).collect();
        Ok((verdict.held_until.is_some(), offices))
    }

    /// The account as it is now: a scan may have taken its time, and a delegation may have ended meanwhile.
    fn account_now(&self, set: &Candidate) -> anyhow::Result<Account> {
        Ok(self.ledger.account(&set.account.id)?.unwrap_or_else(|| set.account.clone()))
    }

    /// A withdrawal is an act for the office as well: who acts for it no more asks the insurer.
    fn may_withdraw(
        &self,
        set: &Candidate,
        withdrawn: Number,
        mut assessment: Assessment,
    ) -> anyhow::Result<Assessment> {
        let office = self.ledger.submission(withdrawn)?.filter(|s| s.account == set.account.id);
        if let Some(office) = office.and_then(|submission| submission.office) {
            let day = Day::of(set.received_at, self.zone);
            let account = self.account_now(set)?;
            // One that never acted for it filed nothing accepted; its own refusal says more.
            if let Some(not_now) = not_acting(&account, &office, day).filter(|f| f.rule != "ROUTE-OFFICE") {
                return Ok(assessment.refuse(Stage::Routing, vec![not_now]));
            }
        }
        assessment.set(Stage::Routing, Verdict::Pass, "");
        Ok(assessment)
    }

    /// Every office is enrolled, and the account acts for it.
    fn route(
        &self,
        set: &Candidate,
        closed: bool,
        offices: &[OfficeCode],
        mut assessment: Assessment,
    ) -> anyhow::Result<Assessment> {
        let account = self.account_now(set)?;
        let day = Day::of(set.received_at, self.zone);
        if assessment.office.is_none()
            && let [only] = delegation::offices_on(&account, day).as_slice()
        {
            assessment.office = Some(only.clone());
        }
        let Some(office) = assessment.office.clone() else {
            let which = finding(
                "ROUTE-OFFICE-UNNAMED",
                None,
                Text::new(
                    "どの事業所の送信かが分かりません(このアカウントには複数の事業所があります)。",
                    "It is not said for which office this is; the account acts for several.",
                ),
                Text::new(
                    "SHA256SUMS の先頭に「# office: 事業所番号」を書いて署名し直してください。",
                    "Write `# office: NUMBER` at the top of SHA256SUMS and sign again.",
                ),
            );
            return Ok(assessment.refuse(Stage::Routing, vec![which]));
        };
        for office in std::iter::once(&office).chain(offices.iter().filter(|other| **other != office)) {
            let enrolled = self.ledger.office(&account.insurer, office)?;
            let active = enrolled.is_some_and(|o| o.standing == Standing::Active);
            let refused = not_acting(&account, office, day).or_else(|| (!active).then(|| not_yours(office)));
            if let Some(refused) = refused {
                return Ok(assessment.refuse(Stage::Routing, vec![refused]));
            }
        }
        assessment.set(Stage::Routing, Verdict::Pass, "");
        if closed {
            assessment.hold(HoldReason::Calendar);
        }
        Ok(assessment)
    }

    /// When the filing year of this time began, from which ids are reserved.
    pub fn filing_year_began(&self, now: Timestamp) -> Timestamp {
        let today = now.date_in(self.zone);
        let begins = self.year_begins_month;
        let year = if today.month() >= begins { today.year() } else { today.year() - 1 };
        chrono::NaiveDate::from_ymd_opt(year, begins, 1)
            .and_then(|d| d.and_hms_opt(0, 0, 0))
            .and_then(|t| t.and_local_timezone(self.zone).earliest())
            .map_or(Timestamp(0), |t| Timestamp(t.timestamp_millis()))
    }
}

/// Why this account may do nothing for this office on this day; none when it may.
fn not_acting(account: &Account, office: &OfficeCode, day: Day) -> Option<Finding> {
    let engage = Text::new(
        "委任が続いている場合は、事業所から健康保険組合へ委任期間の登録を依頼してください。",
        "If the office has engaged you for longer, have it tell the insurer the period.",
    );
    match delegation::acting(account, office, day) {
        Acting::Yes => None,
        Acting::Never => Some(not_yours(office)),
        Acting::Ended(until) => Some(finding(
            "ROUTE-DELEGATION-ENDED",
            None,
            Text::new(
                format!("事業所番号 {office} の代行(委任)は {until} で終了しています。"),
                format!("Acting for office {office} ended with {until}."),
            ),
            engage,
        )),
        Acting::NotBegun(from) => Some(finding(
            "ROUTE-DELEGATION-NOT-BEGUN",
            None,
            Text::new(
                format!("事業所番号 {office} の代行(委任)は {from} からです。"),
                format!("Acting for office {office} begins on {from}."),
            ),
            Text::new(
                format!(
                    "{from} になってから送ってください。開始日が違う場合は、事業所から健康保険組合へご連絡ください。"
                ),
                format!("Send from {from} on. If the day is wrong, have the office tell the insurer."),
            ),
        )),
    }
}

fn not_yours(office: &OfficeCode) -> Finding {
    finding(
        "ROUTE-OFFICE",
        None,
        Text::new(
            format!("事業所番号 {office} は、このアカウントが代わって届け出られる事業所ではありません。"),
            format!("Office {office} is none that this account may act for."),
        ),
        Text::new(
            "事業所番号を確かめてください。委託を受けたばかりの事業所であれば、健康保険組合への登録を事業所に依頼してください。",
            "See whether the number is right. If the office has just engaged you, have it tell the insurer.",
        ),
    )
}

fn scan_all(scanner: &dyn Scanner, blobs: &dyn Blobs, files: &[CandidateFile]) -> io::Result<Scanned> {
    let mut engines = Vec::new();
    let mut found = Vec::new();
    for file in files {
        let blob = blobs.open(&file.blob)?;
        match scanner.scan(&mut blob.stream(), file.size) {
            Scan::Clean { engine } => engines.push(engine),
            Scan::NotScanned { why: Unscanned::NoScanner } => return Ok(Scanned::NotConfigured),
            Scan::Infected { name } => found.push(finding(
                "VIRUS-FOUND",
                Some(file.name.as_str()),
                Text::new(
                    format!("「{}」からウイルス({name})が見つかりました。", file.name),
                    format!("A virus ({name}) was found in {:?}.", file.name),
                ),
                Text::new(
                    "送信元のパソコンを情報システム担当に調べてもらい、安全なファイルを作り直して送ってください。",
                    "Have the sending machine examined, make a clean file, and send it again.",
                ),
            )),
            Scan::NotScanned { why: why @ (Unscanned::TooLarge { .. } | Unscanned::Limit { .. }) } => {
                found.push(finding(
                    "VIRUS-NOT-SCANNED",
                    Some(file.name.as_str()),
                    Text::new(
                        format!("「{}」はウイルスチェックの限度を超えているため調べられません。", file.name),
                        format!("{:?} could not be checked for viruses: {why}.", file.name),
                    ),
                    Text::new(
                        "ファイルを小さく分けるか、入れ子の圧縮を解いてから送ってください。",
                        "Split the file, or unpack what is packed within it, and send again.",
                    ),
                ));
            }
            Scan::NotScanned { why } => return Ok(Scanned::Later(why.to_string())),
            Scan::Down { why } => return Ok(Scanned::Later(why.to_string())),
        }
    }
    if !found.is_empty() {
        return Ok(Scanned::Found(found));
    }
    engines.dedup();
    Ok(Scanned::Clean(engines.join(", ")))
}

fn set_of<'a>(candidate: &'a Candidate, files: &'a [SetFile]) -> Set<'a> {
    Set {
        kind: candidate.kind,
        subject: candidate.subject.as_deref(),
        comment: candidate.comment.as_deref(),
        cover: candidate.cover.as_ref(),
        files,
    }
}

fn reads_covers(rules: &RuleSet) -> bool {
    rules.policy().cover.types.contains(&CoverType::Csv)
}

/// Names from a closed set, by role: the insurer's programs never meet a name that a sender chose.
fn export_names(set: &Candidate, roles: &[FileRole]) -> Vec<(FileRole, String)> {
    const KNOWN: [&str; 11] =
        ["pdf", "csv", "txt", "xlsx", "docx", "pptx", "jpg", "jpeg", "png", "tif", "tiff"];
    let mut attachments = 0;
    let mut taken: Vec<String> = Vec::new();
    set.files
        .iter()
        .zip(roles)
        .map(|(file, role)| {
            let extension = file.name.as_str().rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
            let extension = extension.filter(|e| KNOWN.contains(&e.as_str())).unwrap_or_else(|| "bin".into());
            let fixed = match role {
                FileRole::Filing => Some("KPFD0006.CSV".to_owned()),
                FileRole::Cover => Some(format!("cover.{extension}")),
                FileRole::Attachment => None,
            };
            let (role, name) = if let Some(name) = fixed.filter(|name| !taken.contains(name)) {
                (*role, name)
            } else {
                attachments += 1;
                (FileRole::Attachment, format!("attachment-{attachments:02}.{extension}"))
            };
            taken.push(name.clone());
            (role, name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_listed_within_the_bound_of_all_findings() {
        let list = |severity, count| {
            let mut list = Findings::default();
            for line in 0..count {
                let one = Finding::new(severity, "X", Text::default(), Text::default());
                list.push(severity, || Finding { line: Some(line), ..one });
            }
            list
        };
        let mut assessment = Assessment::begin(Vec::new());
        assessment.findings.take_in(list(Severity::Warning, 1500));
        let warned = assessment.clone().repeating(list(Severity::Warning, 30));
        let twice = warned.repeating(list(Severity::Warning, 30));
        assert_eq!((twice.findings.listed().len(), twice.findings.warnings()), (LISTED_MAX, 1530));
        let refused = assessment.repeating(list(Severity::Error, 1200));
        assert_eq!(refused.outcome, Outcome::Refused("X".into()));
        let findings = &refused.findings;
        assert_eq!(
            (findings.listed().len(), findings.errors(), findings.warnings()),
            (LISTED_MAX, 1200, 1500)
        );
        assert!(findings.listed().iter().all(|one| one.severity == Severity::Error));
    }
}
