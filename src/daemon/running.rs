//! Starting everything, and ending it in order.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use chrono::DateTime;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::house::{House, World};
use super::live::{LiveDaemon, login_policy};
use super::loops::{Bell, Loops, Pace};
use crate::config::Config;
use crate::desk::{DeskService, Live as _, Parts, Works};
use crate::doors::control::{self, ControlDoor};
use crate::doors::log::LogLevel;
use crate::doors::metrics::{self, MetricsServer};
use crate::doors::sftp::enrol::EnrolmentDoor;
use crate::doors::sftp::gate::KeyGate;
use crate::doors::sftp::insurer::{InsurerLimits, InsurerTree};
use crate::doors::sftp::port::Tree;
use crate::doors::sftp::second::SecondFactor;
use crate::doors::sftp::{self, ServerHandle};
use crate::doors::systemd::{self, Notifier as Systemd};
use crate::model::application::Application;
use crate::model::finding::Language;
use crate::model::party::Account;
use crate::model::time::{DAY, Timestamp};
use crate::rules::notice::AlarmNotice;
use crate::rules::renewal::{self, RenewalPolicy};
use crate::store::ledger::{CertificateFilter, Ledger};
use crate::store::seen::Month;
use crate::work::enrol::files::{EnrolmentFiles, Fetched};
use crate::work::leap::look_behind;
use crate::work::ports::PatternAge;
use crate::work::sender::Sending;
use crate::work::watch::SpoolWatch;

/// A daemon at work.
pub struct Running {
    house: Arc<House>,
    runtime: Runtime,
    sftp: ServerHandle,
    sftp_address: SocketAddr,
    control: Option<ControlDoor>,
    live: Arc<LiveDaemon>,
    loops: Loops,
    threads: Vec<JoinHandle<()>>,
    sending: Option<Sending>,
    intake_threads: Vec<JoinHandle<()>>,
    quit: watch::Sender<bool>,
}

/// Intake loops look at the clock at least so often.
const INTAKE_ALLOWED: Duration = Duration::from_mins(10);
/// Insurers' folders are looked at no more often: publication's own renames ring as well, once each.
const LOOKS_APART: Duration = Duration::from_millis(200);
/// Publications are this far apart: each makes the file system durable several times, however much it publishes, and
/// intake waits for the same disk.
const PUBLICATIONS_APART: Duration = Duration::from_millis(100);

/// Opens the house and starts everything. Returns when filings are taken.
pub fn start(config: Config, world: &World, log: Option<LogLevel>) -> anyhow::Result<Running> {
    let systemd = Systemd::from_env();
    let house = Arc::new(House::open(config, world)?);
    let config = house.config.get();
    if let Some(cut) = &house.recovery.cut {
        tracing::warn!(?cut, "an unfinished end of the journal was cut and kept aside");
    }
    tracing::info!(index = ?house.recovery.index, events = house.recovery.events, "the store is open");
    house.stages.publisher.recover().context("while finishing withdrawals")?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("doors")
        .build()
        .context("while starting the runtime")?;
    let (quit, stopped) = watch::channel(false);
    let stop = Arc::new(AtomicBool::new(false));
    let loops = Loops {
        stop,
        health: Arc::clone(&house.health),
        clock: Arc::clone(&house.clock),
        alarms: house.alarms.clone(),
        bells: Arc::default(),
    };

    let gate = Arc::new(gate(&house, &config));
    let weak = Arc::downgrade(&gate);
    house.certificates.when_revoked(Box::new(move |certificate, _| {
        if let Some(gate) = weak.upgrade() {
            gate.revoked(certificate);
        }
    }));
    let listener = runtime
        .block_on(TcpListener::bind(config.sftp_listen))
        .with_context(|| format!("while listening for SFTP on {}", config.sftp_listen))?;
    let sftp_address = listener.local_addr()?;
    let sftp = {
        let _inside = runtime.enter();
        sftp::start(
            vec![listener],
            vec![house.keys.host.clone()],
            config.sftp.limits.clone(),
            Arc::clone(&gate) as Arc<dyn sftp::port::Gate>,
            Arc::clone(&house.clock),
        )
    };
    if let Some(address) = config.metrics_listen {
        // A second daemon in one process (tests) shares the recorder that is there.
        if let Ok(recorder) = metrics::install() {
            let server = runtime
                .block_on(MetricsServer::bind(address, recorder, Arc::clone(&house.health)))
                .with_context(|| format!("while listening for metrics on {address}"))?;
            runtime.spawn(server.run(stopped.clone()));
        }
    }
    if let Some(period) = systemd::watchdog_period() {
        let health = Arc::clone(&house.health);
        runtime.spawn(systemd::run_watchdog(systemd.clone(), health, period, stopped.clone()));
    }

    let live = Arc::new(LiveDaemon {
        house: Arc::clone(&house),
        gate,
        sftp: sftp.clone(),
        sftp_address,
        started_at: house.now(),
        log,
        systemd: systemd.clone(),
        watch: Mutex::new(watch_spools(&house)),
    });
    live.parties_changed();
    let control = open_control(&house, &config, Arc::clone(&live))?;
    let intake_threads = start_intake(&house, &config)?;
    let threads = start_stages(&house, &loops)?;
    let sending = Some(house.sender.start().context("while starting to send mails")?);
    house.health.release("starting");
    systemd.ready(&format!("serving SFTP on {sftp_address}"));
    tracing::info!(sftp = %sftp_address, root = %config.places.root.display(), "serving");
    Ok(Running {
        house,
        runtime,
        sftp,
        sftp_address,
        control: Some(control),
        live,
        loops,
        threads,
        sending,
        intake_threads,
        quit,
    })
}

fn gate(house: &Arc<House>, config: &Config) -> KeyGate {
    let (ledger, clock, root) = (Arc::clone(&house.ledger), Arc::clone(&house.clock), house.spool_root());
    let in_force = Arc::clone(&house.config);
    let insurer = move |account: &crate::model::party::Account| -> Arc<dyn Tree> {
        let config = in_force.get();
        let limits = InsurerLimits {
            file_bytes_max: config.delivery.document_bytes_max,
            disk_reserve: config.submit.free_bytes_min,
        };
        Arc::new(InsurerTree::new(
            Arc::clone(&ledger),
            Arc::clone(&clock),
            root.clone(),
            account.insurer.clone(),
            account.id.clone(),
            account.language,
            limits,
        ))
    };
    let mut gate = KeyGate::new(
        Arc::clone(&house.ledger),
        Arc::clone(&house.verification),
        Arc::clone(&house.office),
        Box::new(insurer),
        Arc::clone(&house.dropboxes),
        Arc::clone(&house.clock),
        login_policy(config),
        second_factor(house),
    );
    let fetched = Fetched::default();
    let in_force = Arc::clone(&house.config);
    gate.enrolment = Some(EnrolmentDoor {
        connections_max: Box::new(move || in_force.get().sessions.enrolment_max),
        connections: Arc::default(),
        ledger: Arc::clone(&house.ledger),
        credentials: Arc::clone(&house.credentials),
        service: Arc::new(EnrolmentFiles { enrolment: Arc::clone(&house.enrolment), fetched }),
        office: Arc::clone(&house.office),
    });
    let (ledger, in_force) = (Arc::clone(&house.ledger), Arc::clone(&house.config));
    gate.warning =
        Some(Box::new(move |account, now| ends_soon(ledger.as_ref(), &in_force.get(), account, now)));
    gate
}

/// What a login says of certificates that end soon: nobody reads mails, but somebody may read a job's log.
fn ends_soon(ledger: &dyn Ledger, config: &Config, account: &Account, now: Timestamp) -> Option<String> {
    let policy: RenewalPolicy = config.insurer_table(&account.insurer, "renewal").ok()?;
    let filter = CertificateFilter { account: Some(account.id.clone()), before: None };
    let certificates = ledger.certificates(&filter, CERTIFICATES_LOOKED_AT).ok()?;
    let (id, last, left) =
        renewal::login_warning(&certificates, policy.login_days, now, config.gateway.zone)?;
    Some(match account.language {
        Language::Ja => format!(
            "CERTIFICATE-ENDS 証明書 {id} は {last} まで(あと {left} 日)です。/account/ から更新してください。"
        ),
        Language::En => {
            format!(
                "CERTIFICATE-ENDS certificate {id} ends after {last} ({left} days left); renew it in /account/."
            )
        }
    })
}

/// Certificates of an account that are looked at.
const CERTIFICATES_LOOKED_AT: usize = 64;

/// Passwords, with the policies in force.
fn second_factor(house: &Arc<House>) -> SecondFactor {
    let (rules, policy) = (Arc::clone(&house.password_ends.rules), Arc::clone(&house.password_ends.rules));
    SecondFactor {
        ledger: Arc::clone(&house.ledger),
        credentials: Arc::clone(&house.credentials),
        attempts: Arc::clone(&house.attempts),
        keys: Arc::clone(&house.keys),
        clock: Arc::clone(&house.clock),
        zone: house.config.get().gateway.zone,
        rules: Box::new(move |insurer| (rules.logins)(insurer)),
        policy: Box::new(move || (policy.policy)()),
    }
}

fn open_control(house: &Arc<House>, config: &Config, live: Arc<LiveDaemon>) -> anyhow::Result<ControlDoor> {
    let mut parts = Parts::new(
        Arc::clone(&house.ledger),
        Arc::clone(&house.blobs),
        Arc::clone(&house.config),
        Arc::clone(&house.certificates),
        Arc::clone(&house.stages) as Arc<dyn Works>,
        Some(live),
    );
    parts.credentials = Arc::clone(&house.credentials);
    parts.attempts = Arc::clone(&house.attempts);
    // One for all: reading a record and writing it back is one step.
    parts.parties = Arc::clone(&house.parties);
    parts.enrolment = Arc::clone(&house.enrolment);
    let service = DeskService::new(Arc::new(parts), Arc::clone(&house.clock));
    let policy = &config.control;
    let group = match policy.group.as_str() {
        "" => None,
        name => Some(crate::doors::control::group_id(name).map_err(anyhow::Error::msg)?),
    };
    let bounds = control::Bounds {
        group,
        clients_max: policy.clients_max,
        timeout: Duration::from_secs(policy.timeout_seconds),
        payload_bytes_max: policy.payload_bytes_max,
    };
    ControlDoor::open(&config.places.socket(), Arc::new(service), bounds)
        .context("while opening the control socket")
}

/// A bell for what happens in spools; without it the scans at intervals do the same, later.
fn watch_spools(house: &House) -> Option<SpoolWatch> {
    let (imports, deliveries) = (house.bells.imports.clone(), house.bells.deliveries.clone());
    let ring = move || {
        imports.ring();
        deliveries.ring();
    };
    match SpoolWatch::start(&house.spool_root(), ring) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "insurers' folders are not watched; they are looked at at intervals");
            None
        }
    }
}

fn start_intake(house: &Arc<House>, config: &Config) -> anyhow::Result<Vec<JoinHandle<()>>> {
    house.health.watch("intake", INTAKE_ALLOWED, std::time::Instant::now());
    (0..config.submit.intake_threads.max(1))
        .map(|n| {
            let (intake, handover) = (Arc::clone(&house.intake), Arc::clone(&house.handover));
            let own = Arc::clone(house);
            std::thread::Builder::new()
                .name(format!("intake-{n}"))
                .spawn(move || intake.run(&handover, || beat(&own)))
                .context("while starting intake")
        })
        .collect()
}

/// Intake came round. When the journal can no longer be written nothing is taken in, and that is said.
fn beat(house: &House) {
    use crate::work::alarms::Alarms as _;
    house.health.beat("intake", std::time::Instant::now());
    if house.health.holds("intake-stopped") {
        return;
    }
    if let Some(why) = house.journal.stopped() {
        house.health.hold("intake-stopped");
        let text = format!(
            "{why}; nothing is lost that was acknowledged. Mend the disk (see `todoke doctor`), then restart the daemon"
        );
        house.alarms.raise("JOURNAL-STOPPED", &text, house.now());
    }
}

#[allow(clippy::too_many_lines, reason = "one loop after the other, each once")]
fn start_stages(house: &Arc<House>, loops: &Loops) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let seconds = Duration::from_secs;
    let bells = &house.bells;
    let mut threads = Vec::new();

    let publisher = Arc::clone(&house.stages.publisher);
    let mut pace = Pace::new(PUBLICATIONS_APART);
    threads.push(loops.spawn("publish", bells.publish.clone(), seconds(5), seconds(300), move |now| {
        pace.keep();
        Ok(publisher.step(now)?.more)
    })?);

    // The watch rings; a scan of all that lies in cur/, done/ and failed/ is for what it missed.
    let imports = Arc::clone(&house.imports);
    let mut pace = Pace::new(LOOKS_APART);
    threads.push(loops.spawn("imports", bells.imports.clone(), seconds(30), seconds(900), move |now| {
        pace.keep();
        Ok(imports.step(now)?.more)
    })?);

    let deliveries = Arc::clone(&house.stages.deliveries);
    let health = Arc::clone(&house.health);
    deliveries.memory.beats(Box::new(move || health.beat("deliver", std::time::Instant::now())));
    let notify = bells.notify.clone();
    // Mails are sealed while the rest of a large set is still being placed.
    let placed = notify.clone();
    deliveries.memory.tells(Box::new(move || placed.ring()));
    threads.push(loops.spawn("deliver", bells.deliveries.clone(), seconds(2), seconds(900), move |now| {
        let done = deliveries.step(now)?;
        if done.done > 0 {
            notify.ring();
        }
        Ok(done.more)
    })?);

    let judge = Arc::clone(&house.judge);
    threads.push(loops.spawn("judge", bells.judge.clone(), seconds(5), seconds(1800), move |now| {
        judge.step(now)?;
        Ok(false)
    })?);

    let (notifier, mail) = (Arc::clone(&house.notifier), bells.mail.clone());
    threads.push(loops.spawn("notify", bells.notify.clone(), seconds(2), seconds(1800), move |now| {
        if notifier.step(now)? > 0 {
            mail.ring();
        }
        Ok(false)
    })?);

    let reminders = Arc::clone(&house.reminders);
    let notify = bells.notify.clone();
    threads.push(loops.spawn("remind", Bell::default(), seconds(1800), seconds(1800), move |now| {
        if reminders.step(now)? > 0 {
            notify.ring();
        }
        Ok(false)
    })?);

    let (own, notify) = (Arc::clone(house), bells.notify.clone());
    threads.push(loops.spawn("enrol", bells.enrol.clone(), seconds(20), seconds(900), move |now| {
        let tell = |of: &Application, what, now| own.enrolment.tell(&own.notifier, of, what, now);
        let moved = own.enrolment.step(&tell, now)?;
        if moved.done > 0 {
            notify.ring();
        }
        Ok(moved.more)
    })?);

    let certificates = Arc::clone(&house.certificates);
    threads.push(loops.spawn("certificates", Bell::default(), seconds(60), seconds(300), move |now| {
        certificates.step(now).map(|progress| progress.more).map_err(Into::into)
    })?);
    let bounces = Arc::clone(&house.bounces);
    threads.push(
        loops.spawn("bounces", Bell::default(), seconds(10), seconds(900), move |now| bounces.step(now))?,
    );

    let sender = Arc::clone(&house.sender);
    threads.push(
        loops.spawn("mail", bells.mail.clone(), seconds(2), seconds(900), move |now| sender.feed(now))?,
    );

    // A cut-off is kept within seconds.
    let (batches, guard) = (Arc::clone(&house.batches), Arc::clone(&house.stages.purge.guard));
    threads.push(loops.spawn("cut-offs", Bell::default(), seconds(5), seconds(900), move |now| {
        Ok(guard.leapt(now)?.is_none() && batches.step(now)?.more)
    })?);

    let (books, guard) = (Arc::clone(&house.day_books), Arc::clone(&house.stages.purge.guard));
    threads.push(loops.spawn("books", Bell::default(), seconds(20), seconds(1800), move |now| {
        Ok(guard.leapt(now)?.is_none() && books.step(now)?.more)
    })?);

    let expected = Arc::clone(&house.expected);
    threads.push(loops.spawn("expected", Bell::default(), seconds(20), seconds(900), move |now| {
        expected.step(now)?;
        Ok(false)
    })?);

    let own = Arc::clone(house);
    let mut next = None;
    threads.push(loops.spawn("purge", Bell::default(), seconds(20), seconds(1800), move |now| {
        purge(&own, &mut next, now)
    })?);

    let own = Arc::clone(house);
    threads.push(loops.spawn("renewals", Bell::default(), seconds(600), seconds(1800), move |now| {
        renewals(&own, now)?;
        Ok(false)
    })?);

    let own = Arc::clone(house);
    threads.push(loops.spawn("retention", Bell::default(), seconds(600), seconds(3600), move |now| {
        if own.stages.purge.guard.paused(now)?.is_some() {
            return Ok(false);
        }
        let before = now.plus(-i64::from(own.config.get().retention.cards_days) * DAY);
        let names = own.enrolment.forget_cards(before, now)?;
        Ok(own.retention.step(now)?.and(names).more)
    })?);

    let own = Arc::clone(house);
    threads.push(loops.spawn("sweep", Bell::default(), seconds(3600), seconds(3600), move |now| {
        sweep(&own, now)?;
        Ok(false)
    })?);

    // A lock is written at once; what else is counted, every few seconds.
    let attempts = Arc::clone(&house.attempts);
    threads.push(loops.spawn("attempts", Bell::default(), seconds(3), seconds(300), move |now| {
        attempts.write(now).context("while writing the counters of wrong passwords")?;
        Ok(false)
    })?);

    let (blobs, credentials) = (Arc::clone(&house.blobs), Arc::clone(&house.credentials));
    threads.push(loops.spawn("tidy", Bell::default(), seconds(600), seconds(600), move |_| {
        blobs.tidy()?;
        credentials.tidy().context("while removing passwords that ended")?;
        Ok(false)
    })?);

    let own = Arc::clone(house);
    let mut told = HashSet::new();
    threads.push(loops.spawn("watch", Bell::default(), seconds(20), seconds(900), move |now| {
        watch_outside(&own, now);
        tell_operator(&own, &mut told);
        Ok(false)
    })?);
    Ok(threads)
}

/// Tells of certificates and passwords that end: the accounts; and of certificates, by its schedule, the operator.
fn renewals(house: &House, now: Timestamp) -> anyhow::Result<()> {
    let config = house.config.get();
    let mut told = house.renewals.step(now)? > 0;
    if let (Some(schedule), Some(to)) = (&config.renewal_report, &config.mail.operator) {
        told |= house.renewals.report(to, &config.gateway.name, schedule, now)?;
    }
    if !house.renewals.leapt(now) {
        told |= house.password_ends.step(now)? > 0;
    }
    if told {
        house.bells.notify.ring();
    }
    Ok(())
}

/// Runs the purge when its schedule says so, and at start if a time was missed while the daemon was down.
fn purge(house: &House, next: &mut Option<Timestamp>, now: Timestamp) -> anyhow::Result<bool> {
    let config = house.config.get();
    let after = |at: Timestamp| {
        let local = at.utc().with_timezone(&config.gateway.zone);
        let next: Option<DateTime<chrono_tz::Tz>> = config.purge_schedule.after(&local).next();
        next.map_or(Timestamp(i64::MAX), |t| Timestamp(t.timestamp_millis()))
    };
    let due = *next.get_or_insert(now);
    if now < due {
        // A clock set back, or a schedule that was changed.
        if after(now) < due {
            *next = Some(after(now));
        }
        return Ok(false);
    }
    let progress = house.stages.purge.step(now)?;
    if progress.done > 0 {
        tracing::info!(documents = progress.done, "documents whose days were over were removed");
    }
    if !progress.more {
        *next = Some(after(now));
        house.stages.purge_reports.step(now)?;
        forget(house, now)?;
    }
    Ok(progress.more)
}

/// Deletes what was remembered of filings for as long as the insurer's policy says; not while the clock may be wrong.
fn forget(house: &House, now: Timestamp) -> anyhow::Result<()> {
    if house.stages.purge.guard.paused(now)?.is_some() {
        return Ok(());
    }
    let month = Month::of(now.date_in(house.config.get().gateway.zone));
    let book = Arc::clone(&house.rules.read().unwrap_or_else(std::sync::PoisonError::into_inner));
    let gone = house
        .seen
        .expire(&|insurer| month.before(book.of(insurer).policy().repeats_months))
        .context("while deleting what is remembered of filings too long ago")?;
    if gone > 0 {
        tracing::info!(months = gone, "filings too long ago are not remembered any more");
    }
    Ok(())
}

/// Removes unfinished sets that were left alone for too long, then what nothing refers to; not while the clock may be wrong.
pub fn sweep(house: &House, now: Timestamp) -> anyhow::Result<()> {
    if house.stages.purge.guard.paused(now)?.is_some() {
        return Ok(());
    }
    let hours = house.config.get().submit.unfinished_hours;
    for (account, dropbox) in house.dropboxes.all()? {
        let (files, bytes) = dropbox.stale(now);
        if files == 0 {
            // Folders that nobody put anything into.
            dropbox.sweep(now)?;
            continue;
        }
        let op = crate::store::ledger::Op::DropboxSwept { account: account.clone(), files, bytes };
        house.ledger.commit(op, crate::model::party::Actor::Daemon, now)?;
        let sent_at = now.plus(-i64::from(hours) * 3_600_000);
        if let Err(error) = house.notifier.swept(&account, files, hours.div_ceil(24), sent_at, now) {
            // The history says it as well; what is too old goes all the same.
            tracing::error!(%account, error = format!("{error:#}"), "a notice about an unfinished set could not be made");
        }
        // Said first: a crash here says it twice, never not at all.
        dropbox.sweep(now)?;
        tracing::info!(%account, files, bytes, "an unfinished set was removed");
    }
    let unclaimed = house.dropboxes.blobs()?.into_iter().collect();
    *house.unclaimed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = unclaimed;
    house.sweep.step(now)?;
    Ok(())
}

/// Looks at what is outside: disk, scanner.
#[allow(clippy::cast_precision_loss, reason = "figures for graphs")]
fn watch_outside(house: &House, now: Timestamp) {
    use crate::model::metric as names;
    use crate::work::alarms::Alarms as _;
    use crate::work::ports::ScannerDown;
    let config = house.config.get();
    if let Ok(free) = house.blobs.free_bytes() {
        metrics_gauge(names::DISK_FREE_BYTES, free as f64);
        if free < config.submit.free_bytes_min {
            let text = format!(
                "{free} bytes free where the data root lies, less than submit.free_bytes_min: uploads are refused, deliveries wait; make room"
            );
            house.alarms.raise("DISK-LOW", &text, now);
        } else {
            house.alarms.clear("DISK-LOW");
        }
    }
    match house.journal.root().try_writing() {
        Ok(()) => house.alarms.clear("DISK-READ-ONLY"),
        Err(error) if crate::store::durable::is_full(&error) => {
            let text = format!("the data root is full ({error}): nothing is recorded any more; make room");
            house.alarms.raise("DISK-LOW", &text, now);
        }
        Err(error) => {
            let text = format!(
                "the data root cannot be written ({error}): nothing is accepted; see the kernel's log (a disk that fails is made read-only), mend the disk, then restart the daemon"
            );
            house.alarms.raise("DISK-READ-ONLY", &text, now);
        }
    }
    let head = house.ledger.head();
    metrics_gauge(names::JOURNAL_SEQUENCE, head.seq as f64);
    look_behind(&*house.alarms, head.at, now);
    if let Ok((held, _)) = house.ledger.held() {
        metrics_gauge(names::SUBMISSIONS_HELD, held as f64);
    }
    if let Ok((mails, _)) = house.ledger.waiting(crate::store::ledger::Queue::Mail) {
        metrics_gauge(names::MAILS_QUEUED, mails as f64);
    }
    if config.scanner.address == crate::doors::clamd::ScannerAddress::None {
        return;
    }
    let patterns = house.scanner.patterns();
    metrics_gauge(names::SCANNER_UP, if patterns.is_ok() { 1.0 } else { 0.0 });
    let down = |why: &ScannerDown| {
        let text = format!(
            "{why}: submissions wait until it answers; see [scanner] in todoke.toml and the state of clamd"
        );
        house.alarms.raise("SCANNER-DOWN", &text, now);
    };
    match patterns {
        Err(why) => down(&why),
        Ok(patterns) => {
            house.alarms.clear("SCANNER-DOWN");
            let days = patterns
                .made
                .map_or(-1.0, |made| now.utc().naive_utc().signed_duration_since(made).num_days() as f64);
            metrics_gauge(names::PATTERN_AGE_DAYS, days);
            match patterns.age(now, config.scanner.patterns_days_max) {
                PatternAge::Fresh => house.alarms.clear("SCANNER-PATTERNS-STALE"),
                PatternAge::Stale { days } => {
                    let text = format!(
                        "the virus patterns are {days} days old (allowed: {}); see whether freshclam runs",
                        config.scanner.patterns_days_max
                    );
                    house.alarms.raise("SCANNER-PATTERNS-STALE", &text, now);
                }
                PatternAge::Unknown => {
                    let text =
                        "the scanner does not tell how old its patterns are; see whether freshclam runs";
                    house.alarms.raise("SCANNER-PATTERNS-STALE", text, now);
                }
            }
        }
    }
}

/// Mails each alarm to the operator once, when it begins to hold.
fn tell_operator(house: &House, told: &mut HashSet<String>) {
    let config = house.config.get();
    let Some(operator) = &config.mail.operator else { return };
    let alarms = house.alarms.list();
    told.retain(|code| alarms.iter().any(|alarm| alarm.code == *code));
    for alarm in alarms {
        if told.contains(&alarm.code) {
            continue;
        }
        let notice = AlarmNotice {
            code: alarm.code.clone(),
            host: config.gateway.name.clone(),
            at: alarm.first,
            summary: alarm.text.clone(),
            details: Vec::new(),
        };
        match house.notifier.operator(operator, &notice) {
            Ok(true) => {
                told.insert(alarm.code);
            }
            // Tried again in a minute; status and metrics show the alarm meanwhile.
            Ok(false) => return,
            Err(error) => {
                tracing::error!(
                    code = alarm.code,
                    error = format!("{error:#}"),
                    "an alarm could not be mailed"
                );
                told.insert(alarm.code);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a figure for a graph")]
fn metrics_gauge(name: &'static str, value: f64) {
    ::metrics::gauge!(name).set(value);
}

impl Running {
    /// Where SFTP listens; tells the port when 0 was asked for.
    pub fn sftp_address(&self) -> SocketAddr {
        self.sftp_address
    }

    /// The parts, for `todoke demo` and tests.
    pub fn house(&self) -> &House {
        &self.house
    }

    /// Waits for SIGTERM or SIGINT; SIGHUP reads the configuration again.
    fn until_signalled(&self, signals: Signals) {
        let Signals { runtime, mut term, mut int, mut hup } = signals;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = term.recv() => return,
                    _ = int.recv() => return,
                    _ = hup.recv() => {
                        let live = Arc::clone(&self.live);
                        let done = tokio::task::spawn_blocking(move || live.reload()).await;
                        if let Ok(Err(trouble)) = done {
                            tracing::error!(code = trouble.code, text = trouble.text, "the configuration was not read again");
                        }
                    }
                }
            }
        });
    }

    /// Ends in order: no new sessions, transfers under way come to their end (at most `grace`), complete sets are answered,
    /// stages end their step, the store is closed.
    pub fn stop(mut self, grace: Duration) -> anyhow::Result<()> {
        self.live.systemd.stopping();
        self.house.health.hold("stopping");
        tracing::info!("stopping");
        let drained = self.runtime.block_on(self.sftp.drain(grace));
        tracing::info!(ended = drained.ended, cut = drained.cut, "SFTP sessions ended");
        self.house.handover.close();
        for thread in self.intake_threads.drain(..) {
            // A panicked thread was logged when it panicked.
            let _ = thread.join();
        }
        self.loops.stop.store(true, Ordering::SeqCst);
        self.loops.ring_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if let Some(sending) = self.sending.take() {
            sending.stop();
        }
        if let Some(mut control) = self.control.take() {
            control.close();
        }
        self.quit.send_replace(true);
        if let Err(error) = self.house.attempts.write(self.house.now()) {
            tracing::error!(%error, "the counters of wrong passwords could not be written");
        }
        self.house.journal.close(self.house.now()).context("while closing the store")?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// What `todoke serve` listens to from its first moment on: what comes while it starts is done once it has started, instead of
/// ending it on the spot.
struct Signals {
    runtime: Runtime,
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (term, int, hup) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        Ok(Self { runtime, term, int, hup })
    }
}

/// `todoke serve`: starts, waits for a signal, stops.
pub fn serve(config: Config, log: Option<LogLevel>) -> anyhow::Result<()> {
    let signals = Signals::listen().context("while preparing for signals")?;
    let running = start(config, &World::default(), log)?;
    running.until_signalled(signals);
    let grace = Duration::from_secs(running.house.config.get().sftp.drain_seconds);
    running.stop(grace)
}

#[cfg(test)]
#[path = "running_tests.rs"]
mod tests;
