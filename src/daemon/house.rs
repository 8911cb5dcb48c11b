//! The parts of one gateway, put together: store, stages, what doors need. Starts nothing.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::live::decide;
use super::loops::Bell;
use crate::config::{Config, ConfigCell};
use crate::desk::{self, ORPHAN_GRACE_DAYS, Stages, delegation_policy};
use crate::doors::clamd;
use crate::doors::sftp::office::OfficeParts;
use crate::doors::smtp::SmtpMailer;
use crate::filing::RuleBook;
use crate::model::health::Health;
use crate::model::ids::{BlobId, InsurerCode};
use crate::model::time::{Clock, SystemClock, Timestamp};
use crate::rules::calendar::Cron;
use crate::rules::login::LoginRules;
use crate::rules::notice::Templates;
use crate::rules::policy::SubmitPolicy;
use crate::signed::manifest::ManifestLimits;
use crate::store::attempts::Attempts;
use crate::store::blobs::Blobs;
use crate::store::books::Books;
use crate::store::credentials::Credentials;
use crate::store::dropboxes::Dropboxes;
use crate::store::handover::Handover;
use crate::store::index::SledIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::keys::Keys;
use crate::store::ledger::Ledger;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::receipts::Receipts;
use crate::store::recover::{LedgerOptions, Recovery};
use crate::store::root::{Root, RootError};
use crate::store::seen::Seen;
use crate::store::verification::{Lists, Verification};
use crate::work::alarms::{AlarmBoard, Alarms};
use crate::work::assess::Assessor;
use crate::work::batches::{Batches, Calendars};
use crate::work::books::DayBooks;
use crate::work::bounces::{BouncePolicy, Bounces};
use crate::work::certificates::Certificates;
use crate::work::enrol::Enrolment;
use crate::work::enrol::files::Fetched;
use crate::work::expected::{Expected, FormNames, Teller};
use crate::work::imports::Imports;
use crate::work::intake::{Intake, Refusals};
use crate::work::judge::Judge;
use crate::work::leap::Leap;
use crate::work::notify::{NoticePolicy, Notifier};
use crate::work::parties::Parties;
use crate::work::password_ends::{PasswordEnds, PasswordRules};
use crate::work::ports::{Mailer, Scanner};
use crate::work::remind::Reminders;
use crate::work::renewals::Renewals;
use crate::work::repeats::Repeats;
use crate::work::retention::Retention;
use crate::work::self_service::AccountFiles;
use crate::work::sender::{Desk, SendPolicy, Sender};
use crate::work::step::Points;
use crate::work::sweep::Sweep;

/// How long a start waits for a root that somebody else has open, and how long between two tries.
const ROOT_PATIENCE: Duration = Duration::from_secs(5);
const ROOT_PAUSE: Duration = Duration::from_millis(50);

/// The outside world, as far as it is not the configuration's: tests and `todoke demo` bring another.
pub struct World {
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// A monotonic reading in milliseconds, against which the clock is held before anything is purged.
    pub uptime: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Default for World {
    fn default() -> Self {
        let began = Instant::now();
        let uptime = move || i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Self { clock: Arc::new(SystemClock), uptime: Arc::new(uptime) }
    }
}

/// Rung when there is something to look at.
#[derive(Clone, Default)]
pub struct Bells {
    /// Something was accepted.
    pub publish: Bell,
    /// Something moved in a spool: importers' renames.
    pub imports: Bell,
    /// ... or what an insurer leaves.
    pub deliveries: Bell,
    /// A document was placed, or a mail is due.
    pub notify: Bell,
    /// Applications went on, or an account logged in for the first time.
    pub enrol: Bell,
    /// Sealed mails wait.
    pub mail: Bell,
    /// The operator said something about held submissions or the epoch.
    pub judge: Bell,
}

/// The parts. Fields are what the daemon's loops and doors take.
pub struct House {
    /// The configuration in force.
    pub config: Arc<ConfigCell>,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// The ledger, as what it is.
    pub journal: Arc<JournalLedger<SledIndex>>,
    /// The ledger, as a port.
    pub ledger: Arc<dyn Ledger>,
    /// Blobs.
    pub blobs: Arc<dyn Blobs>,
    /// The gateway's keys.
    pub keys: Arc<Keys>,
    /// Alarms that hold.
    pub alarms: Arc<AlarmBoard>,
    /// What makes progress.
    pub health: Arc<Health>,
    /// Bells.
    pub bells: Bells,
    /// Between SFTP and intake.
    pub handover: Arc<Handover>,
    /// Drop-boxes.
    pub dropboxes: Arc<Dropboxes>,
    /// Who sets parties.
    pub parties: Arc<Parties>,
    /// Who tells of certificates that end.
    pub renewals: Arc<Renewals>,
    /// Who tells of passwords that end.
    pub password_ends: PasswordEnds,
    /// Intake.
    pub intake: Arc<Intake>,
    /// Judges certificates.
    pub verification: Arc<Verification>,
    /// Held submissions.
    pub judge: Arc<Judge>,
    /// Publication, deliveries, purge.
    pub stages: Arc<Stages>,
    /// Importers' doings.
    pub imports: Arc<Imports>,
    /// Mails.
    pub notifier: Arc<Notifier>,
    /// Mails before documents go.
    pub reminders: Arc<Reminders>,
    /// Reads what comes back.
    pub bounces: Arc<Bounces>,
    /// Sends mails.
    pub sender: Arc<Sender>,
    /// Payloads and cards out of time.
    pub retention: Arc<Retention>,
    /// The books of each day.
    pub day_books: Arc<DayBooks>,
    /// Cut-offs.
    pub batches: Arc<Batches>,
    /// What did not come.
    pub expected: Arc<Expected>,
    /// Orphans.
    pub sweep: Arc<Sweep>,
    /// Blobs of unclaimed uploads, as of the sweep that runs.
    pub unclaimed: Arc<Mutex<HashSet<BlobId>>>,
    /// The scanner, for its patterns.
    pub scanner: Arc<dyn Scanner>,
    /// Who certifies.
    pub certificates: Arc<Certificates>,
    /// Who moves applications.
    pub enrolment: Arc<Enrolment>,
    /// What offices' trees are made of.
    pub office: Arc<OfficeParts>,
    /// Rule tables in force.
    pub rules: Arc<RwLock<Arc<RuleBook>>>,
    /// What was filed, as keyed tags.
    pub seen: Arc<Seen>,
    /// Texts of notices in force.
    pub templates: Arc<RwLock<Arc<Templates>>>,
    /// Policy of notices in force.
    pub notices: Arc<RwLock<Arc<NoticePolicy>>>,
    /// Passwords.
    pub credentials: Arc<Credentials>,
    /// Wrong passwords and last logins.
    pub attempts: Arc<Attempts>,
    /// Insurers' rules of logins in force.
    pub logins: Arc<RwLock<Arc<BTreeMap<InsurerCode, LoginRules>>>>,
    /// Policy of what comes back in force.
    pub returned: Arc<RwLock<Arc<BouncePolicy>>>,
    /// Policy of the mail queue in force.
    pub sending: Arc<RwLock<Arc<SendPolicy>>>,
    /// Policy of intake in force.
    pub submit: Arc<RwLock<SubmitPolicy>>,
    /// What opening the ledger found.
    pub recovery: Recovery,
}

/// Opens the root; a command that works on the store itself (`todoke status` while no daemon runs) has it for a moment only.
fn open_root(path: &Path) -> Result<Root, RootError> {
    let mut waited = Duration::ZERO;
    loop {
        match Root::open(path) {
            Err(error @ RootError::Locked { .. }) if waited < ROOT_PATIENCE => {
                if waited.is_zero() {
                    tracing::info!(%error, "waiting for the data root");
                }
                std::thread::sleep(ROOT_PAUSE);
                waited += ROOT_PAUSE;
            }
            opened => return opened,
        }
    }
}

impl House {
    /// Opens the data root and puts the parts together. Makes the root and the gateway's keys where there are none.
    #[allow(clippy::too_many_lines, reason = "one part after the other, each once")]
    pub fn open(config: Config, world: &World) -> anyhow::Result<Self> {
        let clock = Arc::clone(&world.clock);
        let now = clock.now();
        let root_path = config.places.root.clone();
        let root = open_root(&root_path)?;
        let (uploads, credentials_path) = (root.uploads(), root.credentials());
        let keys = Arc::new(Keys::load_or_make(&root.keys())?);
        let blobs: Arc<dyn Blobs> = Arc::new(
            LocalBlobs::open(&root.blobs(), BlobOptions::default()).context("while opening the blobs")?,
        );
        let seen_path = root.seen();
        let synced = blobs.sync_covers(&seen_path).context("while looking at seen/")?;
        let seen = Arc::new(Seen::open(&seen_path, synced).context("while opening seen/")?);
        let (journal, recovery) = JournalLedger::<SledIndex>::open(root, &LedgerOptions::default(), now)?;
        let journal = Arc::new(journal);
        let ledger: Arc<dyn Ledger> = Arc::clone(&journal) as Arc<dyn Ledger>;
        let alarms = Arc::new(AlarmBoard::default());
        let alarm_port: Arc<dyn Alarms> = Arc::clone(&alarms) as Arc<dyn Alarms>;
        let bells = Bells::default();

        let config = Arc::new(ConfigCell::new(config));
        let in_force = config.get();
        let rules = Arc::new(RwLock::new(Arc::new(RuleBook::load(&in_force.places.conf)?)));
        let templates = Arc::new(RwLock::new(Arc::new(templates(&in_force)?)));
        let logins = Arc::new(RwLock::new(Arc::new(in_force.insurer_tables("login")?)));
        let credentials =
            Arc::new(Credentials::open(&credentials_path, Arc::clone(&ledger), &in_force.passwords));
        let attempts = Arc::new(Attempts::open(&credentials_path));
        let notices = Arc::new(RwLock::new(Arc::new(notice_policy(&in_force)?)));
        let returned = Arc::new(RwLock::new(Arc::new(bounce_policy(&in_force))));
        let sending = Arc::new(RwLock::new(Arc::new(send_policy(&in_force))));
        let submit = Arc::new(RwLock::new(in_force.submit.clone()));
        let scanner: Arc<dyn Scanner> =
            Arc::from(clamd::scanner(&in_force.scanner.address, in_force.scanner.bounds));
        let mailer = mailer(&in_force)?;

        let receipts = Arc::new(Receipts {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            keys: Arc::clone(&keys),
            zone: in_force.gateway.zone,
        });
        let repeats = Arc::new(Repeats {
            seen: Arc::clone(&seen),
            ledger: Arc::clone(&ledger),
            keys: Arc::clone(&keys),
            rules: Arc::clone(&rules),
            zone: in_force.gateway.zone,
        });
        let assessor = Arc::new(Assessor {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            scanner: Arc::clone(&scanner),
            rules: Arc::clone(&rules),
            repeats,
            clock: Arc::clone(&clock),
            zone: in_force.gateway.zone,
            year_begins_month: in_force.submit.year_begins_month,
            scans: Arc::default(),
        });
        let ring = |bell: &Bell| {
            let bell = bell.clone();
            Box::new(move || bell.ring()) as Box<dyn Fn() + Send + Sync>
        };
        let judge = Arc::new(Judge {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            assessor: Arc::clone(&assessor),
            keys: Arc::clone(&keys),
            alarms: Arc::clone(&alarm_port),
            accepted: ring(&bells.publish),
        });
        let (decider, uptime) = (Arc::clone(&judge), Arc::clone(&world.uptime));
        let mut stages = Stages::build(
            &config,
            &ledger,
            &blobs,
            &alarm_port,
            Arc::clone(&scanner),
            Box::new(move |number, release, by, now| decide(&decider, number, release, by, now)),
            move || uptime(),
        );
        let lists = lists(&in_force).context("while reading signatures.revocation_lists")?;
        let verification = Arc::new(Verification::new(Arc::clone(&ledger), lists));
        let intake = Arc::new(Intake {
            ledger: Arc::clone(&ledger),
            verification: Arc::clone(&verification),
            blobs: Arc::clone(&blobs),
            assessor: Arc::clone(&assessor),
            publisher: Arc::clone(&stages.publisher),
            keys: Arc::clone(&keys),
            clock: Arc::clone(&clock),
            policy: Arc::clone(&submit),
            alarms: Arc::clone(&alarm_port),
            accepted: ring(&bells.publish),
            refusals: Refusals::default(),
        });
        let notifier = Arc::new(Notifier {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            receipts: Arc::clone(&receipts),
            templates: Arc::clone(&templates),
            mailer: Arc::clone(&mailer),
            alarms: Arc::clone(&alarm_port),
            policy: Arc::clone(&notices),
        });
        let sender = Arc::new(Sender {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            mailer,
            notifier: Arc::clone(&notifier),
            alarms: Arc::clone(&alarm_port),
            policy: Arc::clone(&sending),
            clock: Arc::clone(&clock),
            desk: Desk::default(),
        });
        let bounces = Arc::new(Bounces {
            ledger: Arc::clone(&ledger),
            notifier: Arc::clone(&notifier),
            alarms: Arc::clone(&alarm_port),
            maildir: in_force.mail.bounce_maildir.as_ref().map(|path| in_force.places.resolve(path)),
            policy: Arc::clone(&returned),
            told: Mutex::default(),
            standing: Mutex::default(),
        });
        let teller = Arc::clone(&notifier);
        stages.purge.tell_recalls(Box::new(move |document, now| teller.recalled(document, now)));
        let tables = Arc::clone(&stages.deliveries.tables);
        let reminders = Reminders {
            ledger: Arc::clone(&ledger),
            notifier: Arc::clone(&notifier),
            days: Box::new(move |insurer| tables(insurer).remind_days),
            zone: in_force.gateway.zone,
            alarms: Arc::clone(&alarm_port),
        };
        let given = desk::certificates::credentials_directory();
        let certificates = desk::certificates::build(&config, &ledger, &blobs, &alarm_port, given);
        let parties = Arc::new(Parties::new(Arc::clone(&ledger), Arc::clone(&blobs), root_path.clone()));
        let leap = Arc::new(Leap::new(Arc::clone(&world.uptime), Arc::clone(&alarm_port)));
        let enrolment = Arc::new(desk::applications::build(
            &config,
            &ledger,
            &blobs,
            &alarm_port,
            &certificates,
            &parties,
            Arc::clone(&leap),
        ));
        let teller = Arc::clone(&notifier);
        stages.withdrawn = Some(Box::new(move |submission, reason, now| {
            if let Err(error) = teller.withdrawn(submission, reason, now) {
                tracing::error!(number = %submission.number, error = format!("{error:#}"), "a withdrawal could not be told");
            }
        }));
        let turn = stages.publisher.turn.clone();
        let unclaimed: Arc<Mutex<HashSet<BlobId>>> = Arc::default();
        let kept = Arc::clone(&unclaimed);
        let dropboxes = Arc::new(Dropboxes::new(
            uploads,
            in_force.submit.clone(),
            ManifestLimits::default(),
            Arc::clone(&blobs),
            Arc::clone(&ledger),
        ));
        let claims = Arc::clone(&dropboxes);
        stages.unclaimed = Some(Box::new(move || claims.blobs()));
        let books = Books::new(root_path.join("books"));
        let handover = Arc::new(Handover::new(in_force.submit.sets_waiting_max));
        let policies = Arc::clone(&config);
        let renewals = Arc::new(Renewals {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            notifier: Arc::clone(&notifier),
            alarms: Arc::clone(&alarm_port),
            policy: Box::new(move |insurer| desk::applications::renewal_policy(&policies.get(), insurer)),
            leap,
            zone: in_force.gateway.zone,
        });
        let password_rules = Arc::new(password_rules(&logins, &config));
        let password_ends = PasswordEnds {
            ledger: Arc::clone(&ledger),
            notifier: Arc::clone(&notifier),
            rules: Arc::clone(&password_rules),
            alarms: Arc::clone(&alarm_port),
            zone: in_force.gateway.zone,
            done_on: Mutex::default(),
        };
        let renewal_config = Arc::clone(&config);
        let service = Arc::new(AccountFiles {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            parties: Arc::clone(&parties),
            notifier: Arc::clone(&notifier),
            enrolment: Arc::clone(&enrolment),
            fetched: Fetched::default(),
            renewal: Box::new(move |insurer| {
                desk::applications::renewal_policy(&renewal_config.get(), insurer)
            }),
            attempts: Arc::clone(&attempts),
            passwords: password_rules,
            rows_max: in_force.submit.listed_max,
            zone: in_force.gateway.zone,
        });
        let board = Arc::clone(&alarms);
        let alarm_clock = Arc::clone(&clock);
        let policies = Arc::clone(&config);
        let office = Arc::new(OfficeParts {
            ledger: Arc::clone(&ledger),
            blobs: Arc::clone(&blobs),
            readings: Arc::clone(&stages.purge.readings),
            handover: Arc::clone(&handover),
            receipts,
            clock: Arc::clone(&clock),
            verdict_wait: i64::try_from(in_force.submit.verdict_wait_seconds).unwrap_or(8) * 1000,
            listed_max: in_force.submit.listed_max,
            alarm: Box::new(move |code, text| board.raise(code, &text, alarm_clock.now())),
            zone: in_force.gateway.zone,
            delegations: Box::new(move |insurer| delegation_policy(&policies.get(), insurer)),
            books: books.clone(),
            books_shown: in_force.reconciliation.shown_days as usize,
            service,
            self_service_file_bytes_max: in_force.submit.self_service_file_bytes_max,
        });
        Ok(Self {
            imports: Arc::new(Imports {
                ledger: Arc::clone(&ledger),
                spool_root: root_path.clone(),
                policy: in_force.spool.imports.clone(),
                turn: turn.clone(),
                alarms: Arc::clone(&alarm_port),
                seen: Mutex::default(),
            }),
            reminders: Arc::new(reminders),
            retention: Arc::new(Retention {
                ledger: Arc::clone(&ledger),
                blobs: Arc::clone(&blobs),
                spool_root: root_path.clone(),
                policy: in_force.retention.clone(),
                warned: Mutex::default(),
                turn: turn.clone(),
                alarms: Arc::clone(&alarm_port),
                points: Points::default(),
            }),
            day_books: Arc::new(DayBooks {
                ledger: Arc::clone(&ledger),
                keys: Arc::clone(&keys),
                books,
                spool_root: root_path.clone(),
                zone: in_force.gateway.zone,
                schedule: Cron::of(in_force.reconciliation_schedule.clone()),
                policy: in_force.reconciliation.clone(),
                alarms: Arc::clone(&alarm_port),
                owed_at: Mutex::default(),
                points: Points::default(),
            }),
            batches: Arc::new(Batches {
                ledger: Arc::clone(&ledger),
                keys: Arc::clone(&keys),
                spool_root: root_path.clone(),
                calendars: calendars(&config),
                zone: in_force.gateway.zone,
                alarms: Arc::clone(&alarm_port),
                points: Points::default(),
            }),
            expected: Arc::new(Expected {
                ledger: Arc::clone(&ledger),
                calendars: calendars(&config),
                forms: form_names(&rules),
                zone: in_force.gateway.zone,
                alarms: Arc::clone(&alarm_port),
                teller: Arc::clone(&notifier) as Arc<dyn Teller>,
                told: Mutex::default(),
            }),
            sweep: Arc::new(Sweep {
                ledger: Arc::clone(&ledger),
                blobs: Arc::clone(&blobs),
                spool_root: root_path,
                grace_days: ORPHAN_GRACE_DAYS,
                keep: Arc::new(move |id| kept.lock().unwrap_or_else(PoisonError::into_inner).contains(id)),
                turn,
                alarms: Arc::clone(&alarm_port),
            }),
            health: Arc::new(Health::starting()),
            config,
            clock,
            journal,
            ledger,
            blobs,
            keys,
            alarms,
            bells,
            handover,
            dropboxes,
            parties,
            renewals,
            password_ends,
            intake,
            verification,
            judge,
            stages: Arc::new(stages),
            notifier,
            sender,
            bounces,
            unclaimed,
            scanner,
            certificates,
            enrolment,
            office,
            rules,
            seen,
            templates,
            notices,
            credentials,
            attempts,
            logins,
            sending,
            returned,
            submit,
            recovery,
        })
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `spool/`
    pub fn spool_root(&self) -> PathBuf {
        self.config.get().places.root.clone()
    }
}

/// Insurers' calendars as their files have them now.
fn calendars(config: &Arc<ConfigCell>) -> Arc<Calendars> {
    let config = Arc::clone(config);
    Arc::new(move |insurer| config.get().calendar(insurer).map_err(|error| error.to_string()))
}

/// Names of forms, as insurers' tables have them now.
fn form_names(rules: &Arc<RwLock<Arc<RuleBook>>>) -> Arc<FormNames> {
    let rules = Arc::clone(rules);
    Arc::new(move |insurer, code| {
        let book = Arc::clone(&rules.read().unwrap_or_else(PoisonError::into_inner));
        book.of(insurer).all_forms().iter().find(|form| form.code == code).map(|form| form.name.clone())
    })
}

/// Texts of notices: those in `conf/notices/`, and the built-in ones for files that are not there.
pub(super) fn templates(config: &Config) -> anyhow::Result<Templates> {
    config.notice_texts().map_err(anyhow::Error::msg)
}

/// What is asked of passwords, as the configuration in force has it.
fn password_rules(
    logins: &Arc<RwLock<Arc<BTreeMap<InsurerCode, LoginRules>>>>,
    config: &Arc<ConfigCell>,
) -> PasswordRules {
    let (logins, config) = (Arc::clone(logins), Arc::clone(config));
    PasswordRules {
        logins: Box::new(move |insurer| {
            let logins = Arc::clone(&logins.read().unwrap_or_else(PoisonError::into_inner));
            logins.get(insurer).cloned().unwrap_or_default()
        }),
        policy: Box::new(move || config.get().passwords.clone()),
    }
}

/// Lists of revoked certificates as the configuration names them.
pub(super) fn lists(config: &Config) -> std::io::Result<Lists> {
    let policy = &config.signatures;
    let files: Vec<PathBuf> =
        policy.revocation_lists.iter().map(|file| config.places.resolve(file)).collect();
    Lists::read(&files, policy.purpose_required)
}

/// Policy of notices as the configuration has it.
pub(super) fn notice_policy(config: &Config) -> anyhow::Result<NoticePolicy> {
    let mail = &config.mail;
    let domain = mail.from.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    Ok(NoticePolicy {
        from: mail.from.clone(),
        from_name: config.gateway.name.clone(),
        contact: mail.contact.clone().unwrap_or_default(),
        domain: domain.to_owned(),
        gathering: mail.gathering,
        return_path: mail.bounces.clone(),
        dkim: mail.dkim(&config.places).map_err(anyhow::Error::msg)?.map(Arc::new),
        zone: config.gateway.zone,
    })
}

/// Policy of what comes back as the configuration has it.
pub(super) fn bounce_policy(config: &Config) -> BouncePolicy {
    let (max, within) = config.mail.failures;
    BouncePolicy {
        keep: config.mail.bounce_keep.millis(),
        keep_bytes: config.mail.bounce_keep_bytes,
        failures: (max, within.millis()),
        operator: config.mail.operator.clone(),
    }
}

/// Policy of the mail queue as the configuration has it.
pub(super) fn send_policy(config: &Config) -> SendPolicy {
    let mail = &config.mail;
    SendPolicy {
        schedule: mail.retry.clone(),
        connections: mail.connections,
        lane: mail.lane,
        lanes: mail.lanes.clone(),
    }
}

fn mailer(config: &Config) -> anyhow::Result<Arc<dyn Mailer>> {
    let settings = config.mail.smtp_config(&config.places).map_err(anyhow::Error::msg)?;
    Ok(Arc::new(SmtpMailer::new(settings)?))
}
