//! What insurers leave in `outgoing/JOB/`, into the outboxes.
//!
//! 1. **Settled**: `delivery.csv` and every file it names are there and unchanged between two looks. What is no plain file
//!    will never be one and does not hold the set up; what is missing does, for a while.
//! 2. **Taken**: `delivery.csv` is renamed to `.taking/JOB.csv`; then `.taking/JOB.set` fixes the sheet, every file's hash
//!    and the set's digest. Files are copied as they are hashed. From here on a crash goes on with these, over new copies;
//!    the sweep takes the old ones.
//! 3. **Placed** row by row, in batches; a row's digest is made of insurer, set, line and cells, so that it places once:
//!    for as long as its document is there. What was recalled or expired can be put again. A corrected sheet is another set:
//!    what an earlier one brought is known by what it is (`repeat.rs`).
//! 4. **Reported** in `reports/delivery-JOB-TIME.csv`, recorded by `DeliveryTaken`, and only then cleared away.
//!
//! A sheet that cannot be read becomes `JOB/delivery.csv.refused` with a report; its files stay. A file goes from
//! `outgoing/` only when every row that names it was placed: what was refused, or is for paper, stays there for the insurer
//! to look at, as do files that no row names; all are named in the report, and an alarm tells of what stays long.
//!
//! `outgoing/JOB/recall.csv` takes documents back (誤配信): `recall.rs` beside this file.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono_tz::Tz;
use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};

use super::alarms::Alarms;
use super::ports::Scanner;
use super::publish::SpoolTurn;
use super::purge::Recall;
use super::step::{Doing as _, Points, Progress, WorkError};
use crate::model::escape;
use crate::model::ids::{DocumentId, InsurerCode};
use crate::model::party::{Actor, Standing};
use crate::model::time::{DAY, Day, SECOND, Timestamp};
use crate::rules::policy::DelegationPolicy;
use crate::store::blobs::Blobs;
use crate::store::durable;
use crate::store::ledger::Ledger;
use crate::store::spool::{Folder, InsurerSpool, is_folder, is_lone_file, is_unfinished};

mod announce;
mod content;
mod files;
mod place;
mod recall;
mod repeat;
mod report;
mod resolve;
mod rows;
mod sheet;
mod take;

pub use announce::{AnnounceRequest, Announced, Audience, Placement};
pub use place::{PlaceRequest, PlacedOne};
pub use resolve::{Parties, Target, accounts_csv};
pub use sheet::{Address, Fault};

const SHEET: &str = "delivery.csv";
/// Bytes of a job's name; it becomes part of other names.
const JOB_NAME_MAX: usize = 100;
/// Folders looked at in one insurer's `outgoing/`.
const JOBS_MAX: usize = 10_000;

/// `accounts.csv` is looked over so often at most.
const ACCOUNTS_PAUSE: i64 = 2 * SECOND;

const MISNAMED: &str =
    "outgoing/ holds a name that cannot be a job's; use at most 100 bytes of plain characters";
const LOOSE: &str = "something other than a folder lies in outgoing/; put documents and delivery.csv into a folder of their own";

/// How deliveries are taken in.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryPolicy {
    /// A set is taken when it is unchanged between two looks this far apart.
    pub settle_seconds: u32,
    /// Named files that are missing are waited for, from the last change on; then their rows are refused and the rest goes.
    pub incomplete_minutes_max: u32,
    /// Documents are kept so long (K37).
    pub keep_days: u32,
    /// Bytes of one document.
    pub document_bytes_max: u64,
    /// Files that were not delivered may stay in `outgoing/` so long before an alarm is raised.
    pub held_days_max: u32,
    /// After so long an insurer's set makes room for recalls and for other insurers, and goes on after them.
    pub turn_seconds: u32,
    /// A row that an earlier set of the last days brought is not placed again: its document has the same bytes, type and
    /// title, lies in the same outbox for the same office, and answers the same. 0: only the same set is known again.
    pub repeat_days: u32,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            settle_seconds: 5,
            incomplete_minutes_max: 60,
            keep_days: 70,
            document_bytes_max: 50 * 1024 * 1024,
            held_days_max: 14,
            turn_seconds: 5,
            repeat_days: 14,
        }
    }
}

/// `[documents]` in `conf/insurers/CODE.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DocumentTable {
    /// Types that documents of this insurer have.
    pub types: Vec<String>,
    /// Whether CSV may be sent beside PDF (H3).
    pub csv: bool,
    /// Days that its documents are kept; the gateway's own where it says nothing (K37).
    pub keep_days: Option<u32>,
    /// Days before a document goes at which a mail says so, while nobody fetched it; empty: never.
    pub remind_days: Vec<u32>,
}

impl Default for DocumentTable {
    fn default() -> Self {
        let types = [
            "納入告知書",
            "保険料額明細書",
            "決定通知書",
            "標準報酬決定通知書",
            "資格取得確認通知書",
            "返戻等一覧表",
            "支払決定増減表",
            "お知らせ",
        ];
        Self {
            types: types.map(str::to_owned).to_vec(),
            csv: false,
            keep_days: None,
            remind_days: vec![14, 3],
        }
    }
}

impl DocumentTable {
    /// Types become part of file names: names the first one that cannot.
    pub fn check(&self) -> Result<(), String> {
        let bad = |kind: &&String| {
            kind.is_empty()
                || kind.chars().count() > 40
                || kind.starts_with('.')
                || kind.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '_'])
                || kind.chars().any(escape::is_hidden)
        };
        match self.types.iter().find(bad) {
            Some(kind) => Err(format!(
                "types: {kind:?} cannot be part of a file name; use at most 40 characters without / \\ : * ? \" < > | _"
            )),
            None => Ok(()),
        }
    }
}

/// Takes a document back: [`super::purge::Purge::recall`].
pub type RecallOf = dyn Fn(DocumentId, &Actor, Timestamp) -> Result<Recall, WorkError> + Send + Sync;

/// The stage.
pub struct Deliveries {
    /// What is true.
    pub ledger: Arc<dyn Ledger>,
    /// Where bytes and cards lie.
    pub blobs: Arc<dyn Blobs>,
    /// `spool/`
    pub spool_root: PathBuf,
    /// How.
    pub policy: DeliveryPolicy,
    /// Local time of months and last days.
    pub zone: Tz,
    /// An insurer's table.
    pub tables: Arc<dyn Fn(&InsurerCode) -> DocumentTable + Send + Sync>,
    /// What an insurer wants with ended delegations.
    pub delegations: Arc<dyn Fn(&InsurerCode) -> DelegationPolicy + Send + Sync>,
    /// Bytes that stay free on the disk (`submit.free_bytes_min`): documents wait before they take them.
    pub free_bytes_min: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// The scanner.
    pub scanner: Arc<dyn Scanner>,
    /// Shared with the sweep of `.tmp/`, in which reports are staged.
    pub turn: SpoolTurn,
    /// Where trouble is said.
    pub alarms: Arc<dyn Alarms>,
    /// Takes a document back.
    pub recall: Box<RecallOf>,
    /// What it remembers between steps. Starts empty.
    pub memory: Memory,
    /// For tests.
    pub points: Points,
}

/// An insurer's job.
type Job = (InsurerCode, String);

/// What the stage remembers between its steps; a restart may forget it.
#[derive(Default)]
pub struct Memory {
    /// What the last looks saw.
    looks: Mutex<HashMap<Job, Look>>,
    /// When `accounts.csv` was looked over last.
    listed: Mutex<HashMap<InsurerCode, Timestamp>>,
    /// Sets whose turn was over before they were at their end.
    under_way: Mutex<HashMap<Job, rows::UnderWay>>,
    /// Jobs that an alarm tells of.
    troubled: Mutex<BTreeSet<Job>>,
    /// Who wants to know that a long step goes on.
    beat: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Who announces what was placed.
    placed: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Memory {
    fn looks(&self) -> MutexGuard<'_, HashMap<Job, Look>> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Job, rows::UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called while a long step goes on; set once.
    pub fn beats(&self, beat: Box<dyn Fn() + Send + Sync>) {
        let _ = self.beat.set(beat);
    }

    /// To be called when documents were placed, though others of their set still come; set once.
    pub fn tells(&self, placed: Box<dyn Fn() + Send + Sync>) {
        let _ = self.placed.set(placed);
    }

    fn tell_placed(&self) {
        if let Some(placed) = self.placed.get() {
            placed();
        }
    }

    fn beat(&self) {
        if let Some(beat) = self.beat.get() {
            beat();
        }
    }
}

/// How long one insurer's sets may go on before others have their turn; for one row at least.
struct Turn {
    ends: Instant,
    worked: Cell<bool>,
}

impl Turn {
    fn begin(policy: &DeliveryPolicy) -> Self {
        let ends = Instant::now() + Duration::from_secs(policy.turn_seconds.into());
        Self { ends, worked: Cell::new(false) }
    }

    fn is_over(&self) -> bool {
        self.worked.get() && Instant::now() >= self.ends
    }
}

/// What a look at a job saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Name, inode, size, modification time of the sheet and each named file; for what is no plain file, zeros.
    seen: Vec<(String, [u64; 4])>,
    /// Named files that are not there, or not whole.
    missing: u64,
    /// Since when it looks like this.
    since: Timestamp,
}

/// What a job in `outgoing/` is like.
enum Readiness {
    /// No sheet yet.
    Unfinished,
    /// Changed lately, or files are missing.
    Settling,
    /// Take it.
    Ready,
}

/// Jobs of one step, and whether there was trouble with any part of it.
type Touched = BTreeMap<String, bool>;

fn trouble_of(code: &InsurerCode, job: &str) -> String {
    format!("DELIVERY-TROUBLE {code} {}", escape::excerpt(job, 40))
}

fn trouble_text(doing: &str, source: &io::Error) -> String {
    let remedy = match source.kind() {
        _ if durable::is_full(source) => "make room on the disk",
        io::ErrorKind::IsADirectory => "a folder has a file's name: remove it",
        _ => "the folder must be writable for the gateway: chmod -R g+rwX",
    };
    format!("while {doing}: {source}; the set waits ({remedy})")
}

impl Deliveries {
    /// Looks at every insurer's `outgoing/`, takes what is settled, goes on with what was begun. To be called when the
    /// spool's bell rings, and again every `settle_seconds`: a second look is what tells that a set is settled. What a
    /// suspended or closed insurer leaves stays where it is. Trouble with one insurer's folders stops no other's.
    pub fn step(&self, now: Timestamp) -> Result<Progress, WorkError> {
        let mut progress = Progress::default();
        for insurer in self.ledger.insurers()? {
            let code = insurer.code;
            if insurer.standing != Standing::Active {
                continue;
            }
            self.memory.beat();
            match InsurerSpool::open(&self.spool_root, &code) {
                Ok(spool) => progress = progress.and(self.step_insurer(&code, &spool, now)?),
                Err(error) => {
                    let text =
                        format!("the insurer's folder cannot be opened ({error}); run `todoke doctor`");
                    self.alarms.raise(&format!("SPOOL-UNAVAILABLE {code}"), &text, now);
                }
            }
        }
        Ok(progress)
    }

    fn step_insurer(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let alarm = format!("DELIVERY-TROUBLE {code}");
        let listed = self.write_accounts(code, spool, now).map(|()| Progress::default());
        let (mut progress, mut trouble) = (Progress::default(), None);
        for part in [listed, self.step_jobs(code, spool, now)] {
            match part {
                Err(WorkError::Io { doing, source }) => trouble = Some(trouble_text(&doing, &source)),
                done => progress = progress.and(done?),
            }
        }
        match trouble {
            Some(text) => self.alarms.raise(&alarm, &text, now),
            None => self.alarms.clear(&alarm),
        }
        Ok(progress)
    }

    /// Recalls first, whatever else waits: what went to the wrong place is to be gone soon. Then what was begun: a new set
    /// under the same name waits for it. A set whose turn is over goes on at the next step.
    fn step_jobs(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let mut progress = Progress::default();
        let mut jobs = Touched::default();
        let present = self.present(code, spool, now)?;
        for job in
            jobs_ending(&spool.taking, &[recall::TAKEN]).doing(|| format!("reading .taking/ of {code}"))?
        {
            progress =
                progress.and(self.contained(code, &job, now, &mut jobs, || {
                    self.go_on_recalling(code, spool, &job, now)
                })?);
        }
        for job in &present {
            progress = progress.and(
                self.contained(code, job, now, &mut jobs, || self.consider_recall(code, spool, job, now))?,
            );
        }
        let turn = Turn::begin(&self.policy);
        let begun = begun(&spool.taking).doing(|| format!("reading .taking/ of {code}"))?;
        for job in &begun {
            progress = progress
                .and(self.contained(code, job, now, &mut jobs, || self.go_on(code, spool, job, &turn, now))?);
        }
        let mut held: Option<(String, Timestamp)> = None;
        for job in &present {
            progress = progress.and(self.contained(code, job, now, &mut jobs, || {
                let done = self.consider(code, spool, job, &turn, now)?;
                let since =
                    Self::untouched_since(spool, job).doing(|| format!("looking at outgoing/{job}"))?;
                if let Some(since) = since
                    && held.as_ref().is_none_or(|(_, oldest)| since < *oldest)
                {
                    held = Some((job.clone(), since));
                }
                Ok(done)
            })?);
        }
        self.say_held(code, held.as_ref(), now);
        self.clear_troubles(code, jobs, &present, &begun);
        self.memory.looks().retain(|(of, key), _| {
            let job = key.split('/').next().unwrap_or_default();
            of != code || present.iter().any(|there| there == job)
        });
        Ok(progress)
    }

    /// Jobs in `outgoing/`; says what lies there that is none.
    fn present(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        now: Timestamp,
    ) -> Result<Vec<String>, WorkError> {
        let mut present = Vec::new();
        let (mut misnamed, mut loose) = (false, false);
        for name in spool.outgoing.names().doing(|| format!("reading outgoing/ of {code}"))?.take(JOBS_MAX) {
            let name = name.doing(|| format!("reading outgoing/ of {code}"))?;
            let Some(job) = name.to_str().filter(|name| is_job_name(name)) else {
                misnamed |= !name.to_string_lossy().starts_with('.');
                continue;
            };
            match spool.outgoing.stat(job).doing(|| format!("looking at outgoing/{job}"))? {
                Some(stat) if is_folder(&stat) => present.push(job.to_owned()),
                there => loose |= there.is_some(),
            }
        }
        self.hold(misnamed, &format!("DELIVERY-NAME {code}"), MISNAMED, now);
        self.hold(loose, &format!("DELIVERY-LOOSE {code}"), LOOSE, now);
        Ok(present)
    }

    /// Of the jobs of this step that went well, and of those that are nowhere any more.
    fn clear_troubles(&self, code: &InsurerCode, jobs: Touched, present: &[String], begun: &[String]) {
        let mut troubled = self.memory.troubled.lock().unwrap_or_else(PoisonError::into_inner);
        for (job, trouble) in jobs {
            let key = (code.clone(), job);
            if trouble {
                troubled.insert(key);
            } else {
                self.alarms.clear(&trouble_of(code, &key.1));
                troubled.remove(&key);
            }
        }
        troubled.retain(|(of, job)| {
            let stays = of != code || present.contains(job) || begun.contains(job);
            if !stays {
                self.alarms.clear(&trouble_of(code, job));
            }
            stays
        });
    }

    /// Since when a job folder lies there that nothing will be done with: it holds files, and no sheet.
    fn untouched_since(spool: &InsurerSpool, job: &str) -> io::Result<Option<Timestamp>> {
        let folder = match spool.outgoing.sub(job) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if folder.stat(SHEET)?.is_some() || recall::waits(&folder)? || folder.names()?.next().is_none() {
            return Ok(None);
        }
        let changed = folder.stat_self()?;
        Ok(Some(Timestamp(changed.st_mtime.saturating_mul(SECOND))))
    }

    fn say_held(&self, code: &InsurerCode, oldest: Option<&(String, Timestamp)>, now: Timestamp) {
        let alarm = format!("DELIVERY-HELD {code}");
        let days = i64::from(self.policy.held_days_max);
        match oldest.filter(|(_, since)| now.since(*since) > days * DAY) {
            None => self.alarms.clear(&alarm),
            Some((job, since)) => {
                let job = escape::excerpt(job, 40);
                let text = format!(
                    "outgoing/{job} has held files that were not delivered since {since}: see the report in reports/, then \
                     correct and put delivery.csv again, or remove them"
                );
                self.alarms.raise(&alarm, &text, now);
            }
        }
    }

    fn hold(&self, holds: bool, alarm: &str, text: &str, now: Timestamp) {
        if holds {
            self.alarms.raise(alarm, text, now);
        } else {
            self.alarms.clear(alarm);
        }
    }

    /// Trouble with one job is an alarm and stops no other; trouble with the ledger stops the step.
    fn contained(
        &self,
        code: &InsurerCode,
        job: &str,
        now: Timestamp,
        jobs: &mut Touched,
        work: impl FnOnce() -> Result<Progress, WorkError>,
    ) -> Result<Progress, WorkError> {
        let troubled = jobs.entry(job.to_owned()).or_default();
        match work() {
            Err(WorkError::Io { doing, source }) => {
                *troubled = true;
                self.alarms.raise(&trouble_of(code, job), &trouble_text(&doing, &source), now);
                Ok(Progress::default())
            }
            done => done,
        }
    }

    fn consider(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        job: &str,
        turn: &Turn,
        now: Timestamp,
    ) -> Result<Progress, WorkError> {
        let folder = match spool.outgoing.sub(job) {
            // Emptied and removed with its recall.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::default()),
            opened => opened.doing(|| format!("opening outgoing/{job}"))?,
        };
        match self.readiness(code, &folder, job, now).doing(|| format!("looking at outgoing/{job}"))? {
            Readiness::Unfinished | Readiness::Settling => return Ok(Progress::default()),
            Readiness::Ready if turn.is_over() => return Ok(Progress { done: 0, more: true }),
            Readiness::Ready => {}
        }
        // What was begun under this name goes first.
        let begun = spool.taking.stat(format!("{job}.csv")).doing(|| "looking at .taking/".to_owned())?;
        if begun.is_some() {
            return Ok(Progress::default());
        }
        folder
            .rename(SHEET, &spool.taking, format!("{job}.csv"))
            .doing(|| format!("taking outgoing/{job}/{SHEET}"))?;
        spool.taking.sync().doing(|| "making .taking/ durable".into())?;
        folder.sync().doing(|| format!("making outgoing/{job} durable"))?;
        self.memory.looks().remove(&(code.clone(), job.to_owned()));
        self.points.pass("taken")?;
        self.go_on(code, spool, job, turn, now)
    }

    fn readiness(
        &self,
        code: &InsurerCode,
        folder: &Folder,
        job: &str,
        now: Timestamp,
    ) -> io::Result<Readiness> {
        let Some(stat) = folder.stat(SHEET)? else { return Ok(Readiness::Unfinished) };
        let (mut names, mut half) = (vec![SHEET.to_owned()], false);
        if is_lone_file(&stat) {
            let bytes = read_small(folder, SHEET)?;
            match sheet::read(&bytes) {
                Ok(rows) => names.extend(sheet::file_names(&rows).into_iter().map(str::to_owned)),
                Err(fault) => half = fault.code == sheet::UNFINISHED,
            }
        }
        self.settled(code, job.to_owned(), folder, names, half, now)
    }

    /// Whether these files are there, whole, and unchanged since an earlier look; `key` names the look, `half` says that the
    /// sheet ends within a line.
    fn settled(
        &self,
        code: &InsurerCode,
        key: String,
        folder: &Folder,
        names: Vec<String>,
        half: bool,
        now: Timestamp,
    ) -> io::Result<Readiness> {
        let mut look = Look { seen: Vec::with_capacity(names.len()), missing: u64::from(half), since: now };
        for name in names {
            let marks = match folder.stat(&name)? {
                None => {
                    look.missing += 1;
                    continue;
                }
                Some(stat) if is_lone_file(&stat) => {
                    look.missing += u64::from(is_unfinished(&stat));
                    marks(&stat)
                }
                Some(_) => [0; 4],
            };
            look.seen.push((name, marks));
        }
        let mut looks = self.memory.looks();
        let known = looks.entry((code.clone(), key)).or_insert_with(|| look.clone());
        if (&known.seen, known.missing) != (&look.seen, look.missing) {
            *known = look;
            return Ok(Readiness::Settling);
        }
        let patience = if known.missing == 0 {
            i64::from(self.policy.settle_seconds)
        } else {
            i64::from(self.policy.incomplete_minutes_max.saturating_mul(60).max(self.policy.settle_seconds))
        };
        if now.since(known.since) < patience * SECOND {
            return Ok(Readiness::Settling);
        }
        let settled = known.seen.clone();
        drop(looks);
        for (name, marks) in settled {
            if marks != [0; 4] && is_locked(folder, &name)? {
                return Ok(Readiness::Settling);
            }
        }
        Ok(Readiness::Ready)
    }

    /// Rewrites `reports/accounts.csv` when it would say something else.
    fn write_accounts(
        &self,
        code: &InsurerCode,
        spool: &InsurerSpool,
        now: Timestamp,
    ) -> Result<(), WorkError> {
        const NAME: &str = "accounts.csv";
        let day = Day::of(now, self.zone);
        // Bells ring by the hundred while an insurer copies a set; parties change seldom.
        let last = self.memory.listed.lock().unwrap_or_else(PoisonError::into_inner).get(code).copied();
        if last.is_some_and(|at| now.since(at).abs() < ACCOUNTS_PAUSE) {
            return Ok(());
        }
        let text = accounts_csv(self.ledger.accounts(Some(code))?, self.ledger.offices(code)?, day);
        let _turn = self.turn.take();
        spool.refresh_report(NAME, &text).doing(|| format!("writing reports/{NAME} of {code}"))?;
        self.memory.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(code.clone(), now);
        Ok(())
    }

    /// The sweep takes what lies in `.tmp/` between stage and rename for the remains of a crash.
    fn write_report(&self, spool: &InsurerSpool, name: &str, bytes: &[u8]) -> io::Result<()> {
        let _turn = self.turn.take();
        spool.write_report(name, bytes)
    }
}

/// Whether this file's writing was cut off.
fn is_cut(folder: &Folder, name: &str) -> io::Result<bool> {
    Ok(folder.stat(name)?.is_some_and(|stat| is_unfinished(&stat)))
}

/// Whether a writer that locks its files (`flock`), as the SFTP door does, is at this one. Writers that take no lock are told by size and time
/// alone; a lease (`F_SETLEASE`) would tell them too, but needs calls that the crate forbids itself.
fn is_locked(folder: &Folder, name: &str) -> io::Result<bool> {
    let file = match folder.open_file(name, OFlags::RDONLY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // Some network file systems give it to writers alone.
        Ok(()) | Err(rustix::io::Errno::BADF) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn marks(stat: &rustix::fs::Stat) -> [u64; 4] {
    let number = |value: i64| u64::try_from(value).unwrap_or(0);
    // The last one keeps an empty file at the epoch apart from "no plain file".
    let time = number(stat.st_mtime).wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
    [stat.st_ino, number(stat.st_size), time, 1]
}

/// `InvalidData` for what is no plain file with one name.
fn read_small(folder: &Folder, name: &str) -> io::Result<Vec<u8>> {
    let not_plain = || io::Error::new(io::ErrorKind::InvalidData, "not a plain file with one name");
    let file = match folder.open_file(name, OFlags::RDONLY) {
        // A link: `openat2` refuses to follow it.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(not_plain());
        }
        opened => opened?,
    };
    if !is_lone_file(&rustix::fs::fstat(&file)?) {
        return Err(not_plain());
    }
    let mut bytes = Vec::new();
    file.take(sheet::SHEET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_job_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= JOB_NAME_MAX
        && !name.starts_with('.')
        && !name.chars().any(escape::is_hidden)
}

/// Whether this name in `.taking/` is part of a set that was begun.
pub(super) fn is_begun(name: &str) -> bool {
    [".csv", ".set", ".part", recall::TAKEN].iter().any(|end| name.ends_with(end))
}

/// Jobs in `.taking/`, each once.
fn begun(taking: &Folder) -> io::Result<Vec<String>> {
    jobs_ending(taking, &[".csv", ".set"])
}

/// Jobs that have a file with one of these ends there, each once.
fn jobs_ending(taking: &Folder, ends: &[&str]) -> io::Result<Vec<String>> {
    let mut jobs = BTreeSet::new();
    for name in taking.names()? {
        let name = name?;
        let job = name.to_str().and_then(|name| ends.iter().find_map(|end| name.strip_suffix(end)));
        jobs.extend(job.map(str::to_owned));
    }
    Ok(jobs.into_iter().collect())
}

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod tests;
