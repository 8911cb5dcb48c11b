use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use super::hand_out::{README, SETUP, TERMS};
use super::*;
use crate::model::authority::Form;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, OfficeCode};
use crate::model::login::{Credential, PasswordChange, Purpose};
use crate::model::party::{Role, Standing};
use crate::model::time::DAY;
use crate::rules::enrolment::{Downloads, SetUp};
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::ledger::{ApplicationFilter, LedgerError};
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample;
use crate::work::alarms::AlarmBoard;
use crate::work::parties::csv::{Kind, parse};
use crate::work::parties::import::Outcome;
use crate::work::parties::{InsurerForm, Mode, OfficeForm, Parties, PartyName};

/// 2026-11-23T09:00:00+09:00
pub(super) const NOW: Timestamp = sample::NOW;
pub(super) const BY: Actor = Actor::Operator(7);
/// 2026-12-01T17:00:00+09:00
pub(super) const CUTOFF: Timestamp = Timestamp(NOW.0 + 8 * DAY + 8 * 3_600_000);

/// Authorities that sign nothing, and keep bundles in memory.
struct FakeIssuer {
    ledger: Arc<dyn Ledger>,
    serial: Mutex<u64>,
    /// By certificate: the password that seals it.
    bundles: Mutex<BTreeMap<CertificateId, String>>,
    /// What is held while an application is issued or ends.
    one: Arc<Mutex<()>>,
}

impl Issuer for FakeIssuer {
    fn check(&self, material: &Material) -> Result<Option<String>, PartyError> {
        Ok(match material {
            Material::SshKey(key) => Some(format!("SHA256:{key}")),
            _ => None,
        })
    }
    fn issue(
        &self,
        of: &Application,
        password: Option<&str>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<CertificateId, PartyError> {
        assert!(self.one.try_lock().is_err(), "nobody cancels it meanwhile");
        let mut serial = self.serial.lock().unwrap();
        *serial += 1;
        let key = self.check(&of.material)?.unwrap_or_else(|| format!("SHA256:made-{serial}"));
        let mut certificate = sample::certificate(of.account.as_str(), *serial, &key, now);
        certificate.application = Some(of.id);
        let id = certificate.id;
        self.ledger.commit(Op::IssueCertificate(Box::new(certificate)), by.clone(), now)?;
        if let Some(password) = password {
            self.bundles.lock().unwrap().insert(id, password.to_owned());
        }
        Ok(id)
    }
    fn revoke(
        &self,
        id: CertificateId,
        reason: RevocationReason,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), PartyError> {
        assert!(self.one.try_lock().is_err(), "nobody issues it meanwhile");
        self.ledger.commit(Op::RevokeCertificate { id, reason }, by.clone(), now)?;
        self.bundles.lock().unwrap().remove(&id);
        Ok(())
    }
    fn files(&self, id: CertificateId) -> Result<Vec<HandedOut>, PartyError> {
        let bundle = self.bundles.lock().unwrap().get(&id).cloned();
        let bundle =
            bundle.map(|password| HandedOut { name: format!("{id}.p12"), bytes: password.into_bytes() });
        let certificate = HandedOut { name: format!("{id}-cert.pub"), bytes: b"cert".to_vec() };
        Ok([Some(certificate), bundle].into_iter().flatten().collect())
    }
    fn forget(&self, id: CertificateId, _: &Actor, _: Timestamp) -> Result<(), PartyError> {
        self.bundles.lock().unwrap().remove(&id);
        Ok(())
    }
}

pub(super) struct World {
    dir: tempfile::TempDir,
    pub(super) enrolment: Enrolment,
    parties: Parties,
    /// Follows the clock, unless that leaps.
    uptime: Arc<AtomicI64>,
    issuer: Arc<FakeIssuer>,
    told: Arc<Mutex<Vec<(ApplicationId, ApplicationNotice)>>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl Fn(&mut EnrolmentPolicy) + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(&dir.path().join("spool")).unwrap();
        let path = root.path().to_owned();
        let blobs: Arc<dyn Blobs> =
            Arc::new(LocalBlobs::open(&root.blobs(), BlobOptions::default()).unwrap());
        let (ledger, _) = JournalLedger::<MemoryIndex>::open(root, &LedgerOptions::default(), NOW).unwrap();
        let ledger: Arc<dyn Ledger> = Arc::new(ledger);
        for (id, form) in [("x509-1", Form::X509), ("ssh-1", Form::Openssh)] {
            let authority = Box::new(sample::authority(id, form, NOW));
            ledger.commit(Op::SetAuthority { authority, new: true }, BY, NOW).unwrap();
        }
        let parties = Parties::new(Arc::clone(&ledger), Arc::clone(&blobs), path.clone());
        let code = sample::insurer_code();
        let form = InsurerForm {
            code: code.clone(),
            name: Some("東京見本健康保険組合".into()),
            mail: None,
            group: None,
        };
        parties.set_insurer(&form, Mode::Add, &BY, NOW).unwrap();
        for (office, name) in [("1234", "株式会社見本工業"), ("5678", "見本商事株式会社")] {
            let form = OfficeForm {
                insurer: code.clone(),
                code: sample::office_code(office),
                name: Some(name.into()),
            };
            parties.set_office(&form, Mode::Add, &BY, NOW).unwrap();
        }
        let issuer = Arc::new(FakeIssuer {
            ledger: Arc::clone(&ledger),
            serial: Mutex::new(0),
            bundles: Mutex::default(),
            one: parties.one(),
        });
        let alarms = Arc::new(AlarmBoard::default());
        let uptime = Arc::new(AtomicI64::new(NOW.0));
        let read = Arc::clone(&uptime);
        let leap =
            Leap::new(Arc::new(move || read.load(Ordering::SeqCst)), Arc::clone(&alarms) as Arc<dyn Alarms>);
        let enrolment = Enrolment {
            ledger,
            blobs,
            issuer: Arc::clone(&issuer) as Arc<dyn Issuer>,
            policy: Arc::new(move |_| {
                let mut policy = EnrolmentPolicy::default();
                change(&mut policy);
                policy
            }),
            second: Arc::new(|_| SecondAccount::Warn),
            renewal: Arc::new(|_| RenewalPolicy::default()),
            spool_root: path,
            zone: chrono_tz::Asia::Tokyo,
            alarms,
            points: Points::default(),
            leap: Arc::new(leap),
            one: parties.one(),
        };
        Self { dir, enrolment, parties, issuer, uptime, told: Arc::default() }
    }

    /// Steps until nothing is due, as the daemon does; a stop of a test's ends it.
    pub(super) fn run(&self, now: Timestamp) -> Result<(), WorkError> {
        self.uptime.store(now.0, Ordering::SeqCst);
        self.look(now)
    }

    /// The same at a clock that was set.
    fn look(&self, now: Timestamp) -> Result<(), WorkError> {
        let ledger = Arc::clone(&self.enrolment.ledger);
        let told = Arc::clone(&self.told);
        let tell = move |of: &Application, notice: ApplicationNotice, now: Timestamp| {
            let serial = ledger.next_serial(crate::model::event::Series::Mail, now)?;
            let mut mail = sample::mail(1, serial, Vec::new(), now);
            mail.subject = crate::model::mail::Subject::Application(of.id, notice);
            let done = ledger.commit(Op::SealMail(Box::new(mail)), Actor::Daemon, now)?;
            if done == crate::store::ledger::Done::Sealed(true) {
                told.lock().unwrap().push((of.id, notice));
            }
            Ok(())
        };
        while self.enrolment.step(&tell, now)?.more {}
        Ok(())
    }

    /// What was told since the last time, in order.
    pub(super) fn told(&self) -> Vec<ApplicationNotice> {
        std::mem::take(&mut *self.told.lock().unwrap()).into_iter().map(|(_, notice)| notice).collect()
    }

    fn apply(&self, forms: &[ApplyForm], now: Timestamp) -> Vec<ApplicationId> {
        self.enrolment.apply(forms, false, Language::Ja, &BY, now).unwrap().ids
    }

    pub(super) fn of(&self, id: ApplicationId) -> Application {
        self.enrolment.get(id).unwrap()
    }

    fn account(&self, id: &str) -> Option<Standing> {
        let account = self.enrolment.ledger.account(&sample::account_id(id)).unwrap();
        account.map(|account| account.standing)
    }

    fn reports(&self) -> Vec<(String, String)> {
        let path = self.dir.path().join("spool/insurers/06139999/reports");
        let mut all: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_str().unwrap().starts_with("applications-"))
            .map(|entry| {
                (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        all.sort();
        all
    }

    /// What the crash tests compare: everything that lasts.
    pub(super) fn summary(&self) -> String {
        let all = self.enrolment.ledger.applications(&ApplicationFilter::default(), 100).unwrap();
        let mut lines: Vec<_> = all
            .iter()
            .map(|of| {
                let states: Vec<_> = of.entered.iter().map(|entered| entered.state.name()).collect();
                let holds = of
                    .certificate
                    .map(|id| self.enrolment.ledger.certificate(id).unwrap().unwrap().revoked.is_none());
                format!(
                    "{} {} {holds:?} {} {:?}",
                    of.account,
                    states.join(">"),
                    of.bundle,
                    self.account(of.account.as_str())
                )
            })
            .collect();
        lines.sort();
        lines.push(format!(
            "{} reports, {} bundles",
            self.reports().len(),
            self.issuer.bundles.lock().unwrap().len()
        ));
        lines.join("\n")
    }
}

fn form(account: &str, role: Role, office: &str, material: Material) -> ApplyForm {
    ApplyForm {
        account: AccountId::parse(account).unwrap(),
        insurer: sample::insurer_code(),
        role,
        offices: vec![OfficeCode::parse(office).unwrap()],
        user_name: if role == Role::Agent { "見本 太郎" } else { "総務課" }.to_owned(),
        mail: "soumu@example.jp".to_owned(),
        language: None,
        class: None,
        payment: None,
        test: false,
        machine: false,
        second: false,
        material,
    }
}

fn office(account: &str) -> ApplyForm {
    form(account, Role::Office, "1234", Material::P12)
}

const GOOD: &str = "office_name = \"（株）見本工業\"\nuser_name = \"総務 課\"\nmail = \"soumu@EXAMPLE.jp\"\nconsent = \"1\"\n";

pub(super) fn code(error: &PartyError) -> &'static str {
    match error {
        PartyError::Refused { code, .. } => code,
        other => panic!("{other}"),
    }
}

fn log_in(world: &World, account: &str, now: Timestamp) {
    crate::store::enrolled::logged_in(
        world.enrolment.ledger.as_ref(),
        &sample::account_id(account),
        None,
        now,
    )
    .unwrap();
}

#[test]
fn a_whole_life_with_a_bundle() {
    let world = World::new();
    let id = world.apply(&[office("K0001")], NOW)[0];
    world.run(NOW).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Taken]);
    assert_eq!(world.of(id).collect_at, CUTOFF);
    world.run(CUTOFF.plus(-1)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Applied);
    world.run(CUTOFF).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Collected);
    let reports = world.reports();
    assert_eq!(reports[0].0, format!("applications-20261201-1700-{id}.csv"));
    let line = reports[0].1.lines().nth(1).unwrap();
    assert!(line.contains("株式会社見本工業,総務課,soumu@example.jp,standard,7800,setoff,p12"), "{line}");

    let now = CUTOFF.plus(DAY);
    world.enrolment.approve(id, &BY, now).unwrap();
    world.run(now).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Approved, "somebody takes its password");
    assert_eq!(code(&world.enrolment.issue(id, None, &BY, now).unwrap_err()), "PASSWORD-MISSING");
    world.enrolment.issue(id, Some("secret"), &BY, now).unwrap();
    world.run(now).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Issued]);
    assert_eq!(world.account("K0001"), Some(Standing::Suspended));

    for day in 1..=3 {
        let files = world.enrolment.download(id, &BY, now.plus(day * DAY)).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [README, TERMS, SETUP, "C1-000001-2-cert.pub", "C1-000001-2.p12"]);
    }
    let of = world.of(id);
    assert_eq!((of.downloads, of.entered_at(ApplicationState::Downloaded)), (3, Some(now.plus(DAY))));

    // The account does not get in before its set-up.
    log_in(&world, "K0001", now.plus(4 * DAY));
    assert_eq!(world.of(id).state, ApplicationState::Downloaded);
    let wrong = "office_name = \"見本工業\"\nuser_name = \"総務課\"\nmail = \"soumu@example.jp\"";
    let faults = world.enrolment.set_up(id, wrong.as_bytes(), &BY, now).unwrap().unwrap_err();
    assert_eq!(
        faults.iter().map(|fault| fault.code).collect::<Vec<_>>(),
        ["SETUP-OFFICE-NAME", "SETUP-CONSENT"]
    );
    world.enrolment.set_up(id, GOOD.as_bytes(), &BY, now.plus(4 * DAY)).unwrap().unwrap();
    world.enrolment.set_up(id, GOOD.as_bytes(), &BY, now.plus(5 * DAY)).unwrap().unwrap();
    assert_eq!(world.account("K0001"), Some(Standing::Active));
    let consent = world.of(id).consent.unwrap();
    assert_eq!((consent.terms.as_str(), consent.at), ("1", now.plus(4 * DAY)));

    log_in(&world, "K0001", now.plus(6 * DAY));
    assert_eq!(code(&world.enrolment.download(id, &BY, now.plus(6 * DAY)).err().unwrap()), "DOWNLOAD-OVER");
    world.run(now.plus(6 * DAY)).unwrap();
    expect_test::expect![[r"
        K0001 applied>collected>approved>issued>downloaded>in-use Some(true) false Some(Active)
        1 reports, 0 bundles"]]
    .assert_eq(&world.summary());
    assert_eq!(world.told(), []);
    // Names go when their time is over, and nothing else changes.
    assert_eq!(world.enrolment.forget_cards(now.plus(6 * DAY), now.plus(9 * DAY)).unwrap().done, 0);
    assert_eq!(world.enrolment.forget_cards(now.plus(8 * DAY), now.plus(9 * DAY)).unwrap().done, 1);
    let row = world.enrolment.row(&world.of(id)).unwrap();
    assert_eq!((row.user_name, row.label.as_str(), row.dates.len()), (None, "利用開始", 6));
}

#[test]
fn a_key_that_stays_with_its_client_is_issued_by_itself() {
    let world = World::with(|policy| {
        policy.approval = Approval::Automatic;
        policy.setup = SetUp::None;
        policy.downloads = Downloads::UntilLastDay;
    });
    let id = world.apply(&[form("K0001", Role::Office, "1234", Material::SshKey("one".into()))], NOW)[0];
    world.run(CUTOFF).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Taken, ApplicationNotice::Issued]);
    assert_eq!(world.account("K0001"), Some(Standing::Active));
    log_in(&world, "K0001", CUTOFF.plus(DAY));
    assert_eq!(world.of(id).state, ApplicationState::InUse);
    world.enrolment.download(id, &BY, CUTOFF.plus(2 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::InUse, "installed any number of times (H16)");
    let taken = world.enrolment.apply(
        &[form("K0002", Role::Office, "5678", Material::SshKey("one".into()))],
        true,
        Language::Ja,
        &BY,
        CUTOFF.plus(DAY),
    );
    assert_eq!(code(&taken.unwrap_err()), "KEY-TAKEN");
}

#[test]
fn a_transfer_is_waited_for() {
    let world = World::with(|policy| policy.payment = crate::model::application::Payment::Transfer);
    let id = world.apply(&[form("K0001", Role::Office, "1234", Material::SshKey("one".into()))], NOW)[0];
    world.run(CUTOFF).unwrap();
    world.enrolment.approve(id, &BY, CUTOFF).unwrap();
    world.run(CUTOFF.plus(30 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::AwaitingPayment);
    world.enrolment.paid(id, &BY, CUTOFF.plus(31 * DAY)).unwrap();
    world.run(CUTOFF.plus(31 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Issued);
    let told = [ApplicationNotice::Taken, ApplicationNotice::Payment, ApplicationNotice::Issued];
    assert_eq!(world.told(), told);
}

#[test]
fn what_is_not_used_in_sixty_days_is_void_and_can_be_applied_for_anew() {
    let world = World::new();
    let key = || form("K0001", Role::Office, "1234", Material::SshKey("one".into()));
    let id = world.apply(&[key()], NOW)[0];
    world.run(CUTOFF).unwrap();
    world.enrolment.approve(id, &BY, CUTOFF).unwrap();
    world.run(CUTOFF).unwrap();
    let before = world.of(id).use_before.unwrap();
    assert_eq!(before.utc().to_rfc3339(), "2027-01-30T15:00:00+00:00", "sixty whole days after 1 December");
    world.told();
    world.run(before.plus(-14 * DAY)).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Reminder]);
    // The daemon was away at the second reminder: said once, then the end.
    world.run(before.plus(-1)).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Reminder]);
    world.run(before).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Expired]);
    expect_test::expect![[r"
        K0001 applied>collected>approved>issued>expired Some(false) false Some(Closed)
        1 reports, 0 bundles"]]
    .assert_eq(&world.summary());
    assert_eq!(code(&world.enrolment.download(id, &BY, before).err().unwrap()), "DOWNLOAD-OVER");

    let again = world.apply(&[key()], before)[0];
    world.run(before.plus(40 * DAY)).unwrap();
    world.enrolment.approve(again, &BY, before.plus(40 * DAY)).unwrap();
    world.run(before.plus(40 * DAY)).unwrap();
    world.enrolment.set_up(again, GOOD.as_bytes(), &BY, before.plus(41 * DAY)).unwrap().unwrap();
    log_in(&world, "K0001", before.plus(42 * DAY));
    assert_eq!(world.of(again).state, ApplicationState::InUse);
    assert_eq!(world.account("K0001"), Some(Standing::Active));
}

#[test]
fn an_agent_comes_through_an_office() {
    let world = World::new();
    let agent = || form("S0001", Role::Agent, "1234", Material::SshKey("agent".into()));
    let alone = world.enrolment.apply(&[agent()], false, Language::Ja, &BY, NOW).unwrap_err();
    assert_eq!(code(&alone), "AGENT-ALONE");
    let mut elsewhere = agent();
    elsewhere.offices = vec![sample::office_code("5678")];
    let apart = world.enrolment.apply(&[office("K0001"), elsewhere], false, Language::Ja, &BY, NOW);
    assert_eq!(code(&apart.unwrap_err()), "AGENT-ALONE", "beside another office's");
    assert_eq!(world.enrolment.ledger.applications(&ApplicationFilter::default(), 9).unwrap(), []);

    let ids = world.apply(&[agent(), office("K0001")], NOW);
    let (agents, offices) = (ids[0], ids[1]);
    assert_eq!(world.of(agents).group, Some(offices));
    world.run(CUTOFF).unwrap();
    assert_eq!(world.reports()[0].1.lines().count(), 3, "together in one report");
    assert_eq!(code(&world.enrolment.approve(agents, &BY, CUTOFF).unwrap_err()), "OFFICE-FIRST");
    // The office's is rejected: its agent's cannot stay.
    let both = world.enrolment.reject(offices, "届出と異なります", &BY, CUTOFF).unwrap();
    assert_eq!(both, [offices, agents]);
    assert_eq!(world.enrolment.reason(&world.of(agents)).unwrap().as_deref(), Some("届出と異なります"));
    world.told();
    world.run(CUTOFF).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Rejected; 2]);

    // Later, once the office has an account.
    let id = world.apply(&[office("K0001")], CUTOFF)[0];
    world.run(CUTOFF.plus(20 * DAY)).unwrap();
    let now = CUTOFF.plus(20 * DAY);
    world.enrolment.approve(id, &BY, now).unwrap();
    world.enrolment.issue(id, Some("secret"), &BY, now).unwrap();
    let later = world.apply(&[agent()], now)[0];
    assert_eq!(world.of(later).group, None);
    world.run(now.plus(20 * DAY)).unwrap();
    world.enrolment.approve(later, &BY, now.plus(20 * DAY)).unwrap();
    world.run(now.plus(20 * DAY)).unwrap();
    assert_eq!(world.of(later).state, ApplicationState::Issued);
    // K4: a second one is told.
    let taken = world.enrolment.apply(&[office("K0009")], true, Language::Ja, &BY, now).unwrap();
    assert!(taken.notes[0].contains("K0001"), "{:?}", taken.notes);
}

#[test]
fn what_cannot_be_applied_for_is_told() {
    let world = World::new();
    let refused = |change: &dyn Fn(&mut ApplyForm)| {
        let mut form = office("K0001");
        change(&mut form);
        code(&world.enrolment.apply(&[form], false, Language::Ja, &BY, NOW).unwrap_err())
    };
    assert_eq!(refused(&|form| form.offices = vec![sample::office_code("9999")]), "OFFICE-UNKNOWN");
    assert_eq!(refused(&|form| form.offices = Vec::new()), "OFFICE-MISSING");
    assert_eq!(refused(&|form| form.insurer = InsurerCode::parse("06130000").unwrap()), "INSURER-UNKNOWN");
    assert_eq!(refused(&|form| form.mail = "a@example.jp,b@example.jp".into()), "MAIL-ADDRESS");
    assert_eq!(refused(&|form| form.user_name = "=1+1".into()), "NAME-FORMULA");
    assert_eq!(refused(&|form| form.class = Some("other".parse().unwrap())), "CLASS");
    assert_eq!(refused(&|form| form.account = "A1-000001-2".parse().unwrap()), "ACCOUNT-NAME");
    let blobs = world.enrolment.blobs.scan().count();
    world.apply(&[office("K0001")], NOW);
    assert_eq!(refused(&|_| ()), "APPLIED-ALREADY");
    assert_eq!(world.enrolment.blobs.scan().count(), blobs + 1, "a refused one leaves nothing");
}

#[test]
fn a_cancelled_one_is_void_at_once_and_takes_its_agent_along() {
    let world = World::new();
    let agent = form("S0001", Role::Agent, "1234", Material::SshKey("agent".into()));
    let ids = world.apply(&[office("K0001"), agent], NOW);
    assert_eq!(world.enrolment.cancel(ids[0], "", &BY, NOW).unwrap(), ids);
    let id = world.apply(&[office("K0001")], NOW)[0];
    world.run(CUTOFF).unwrap();
    world.enrolment.approve(id, &BY, CUTOFF).unwrap();
    world.enrolment.issue(id, Some("secret"), &BY, CUTOFF).unwrap();
    world.enrolment.cancel(id, "", &BY, CUTOFF).unwrap();
    world.run(CUTOFF).unwrap();
    expect_test::expect![[r"
        K0001 applied>cancelled None false Some(Closed)
        K0001 applied>collected>approved>issued>cancelled Some(false) false Some(Closed)
        S0001 applied>cancelled None false None
        1 reports, 0 bundles"]]
    .assert_eq(&world.summary());
}

#[test]
fn a_file_of_applications_is_taken_row_by_row_and_group_by_group() {
    let world = World::new();
    let file = "account,insurer,role,office,user-name,mail,p12,ssh-key\n\
                K0001,06139999,office,1234,総務課,soumu@example.jp,yes,\n\
                S0001,06139999,agent,1234,見本 太郎,sharoushi@example.jp,,one\n\
                K0002,06139999,office,5678,人事課,jinji@example.jp,yes,\n\
                S0002,06139999,agent,5678,見本 花子,bad address,yes,\n\
                K0003,06139999,office,9999,総務課,soumu@example.jp,yes,\n\
                K0004,06139999,office,1234,総務課,soumu@example.jp,,\n";
    let rows = parse(Kind::Application, file.as_bytes()).unwrap();
    let import = |dry_run| {
        let results = world.enrolment.import(&rows, dry_run, Language::Ja, &BY, NOW).unwrap();
        results
            .into_iter()
            .map(|row| (row.result, row.detail.split(' ').next().unwrap_or_default().to_owned()))
            .collect::<Vec<_>>()
    };
    let outcomes = |all: &[(Outcome, String)]| all.iter().map(|(outcome, _)| *outcome).collect::<Vec<_>>();
    let dry = import(true);
    let (added, refused) = (Outcome::Added, Outcome::Refused);
    assert_eq!(outcomes(&dry), [added, added, refused, refused, refused, refused]);
    assert_eq!(world.enrolment.ledger.applications(&ApplicationFilter::default(), 9).unwrap(), []);
    let done = import(false);
    assert_eq!(outcomes(&done), outcomes(&dry));
    let details: Vec<_> = done.iter().map(|(_, detail)| detail.as_str()).collect();
    assert_eq!(details, ["A1-000001-2", "A1-000002-0", "GROUP", "MAIL-ADDRESS", "OFFICE-UNKNOWN", "it"]);
    assert_eq!(
        outcomes(&import(false))[..2],
        [refused, refused],
        "the same file again applies for nothing twice"
    );
}

/// Runs one step of a life, with or without a crash in it.
type Stepper<'a> = dyn Fn(&dyn Fn() -> Result<(), WorkError>) + 'a;

#[test]
fn a_crash_anywhere_ends_as_if_there_had_been_none() {
    let life = |world: &World, step: &Stepper<'_>| {
        let key = form("K0001", Role::Office, "1234", Material::SshKey("one".into()));
        let other = form("K0002", Role::Office, "5678", Material::P12);
        let ids = [world.apply(&[key], NOW)[0], world.apply(&[other], NOW)[0]];
        step(&|| world.run(CUTOFF));
        for id in ids {
            world.enrolment.approve(id, &BY, CUTOFF).unwrap();
        }
        step(&|| world.run(CUTOFF));
        step(&|| match world.enrolment.issue(ids[1], Some("secret"), &BY, CUTOFF) {
            Ok(_) => Ok(()),
            Err(_) => Err(WorkError::Stopped("issue")),
        });
        step(&|| world.run(CUTOFF.plus(DAY)));
        world
            .enrolment
            .set_up(ids[1], GOOD.replace("（株）見本工業", "見本商事㈱").as_bytes(), &BY, CUTOFF)
            .unwrap()
            .unwrap();
        log_in(world, "K0002", CUTOFF.plus(2 * DAY));
        step(&|| world.run(CUTOFF.plus(2 * DAY)));
        step(&|| world.run(CUTOFF.plus(70 * DAY)));
        let forget =
            || world.enrolment.forget_cards(CUTOFF.plus(90 * DAY), CUTOFF.plus(90 * DAY)).map(|_| ());
        step(&forget);
    };
    let calm = World::new();
    life(&calm, &|go| go().unwrap());
    let expected = (calm.summary(), calm.told());
    let points = ["reported", "admitted", "certified", "forgotten", "revoked", "cards-unnamed"];
    for point in points {
        let mut world = World::new();
        let armed = Arc::new(Mutex::new(true));
        let stop = Arc::clone(&armed);
        world.enrolment.points =
            Points::stopping(move |name| name == point && std::mem::take(&mut *stop.lock().unwrap()));
        life(&world, &|go| {
            if go().is_err() {
                // The leases of the process that crashed are gone with it: here they run out.
                let all: Vec<_> =
                    (1..=2).map(|serial| Task::Application(ApplicationId { epoch: 1, serial })).collect();
                world.enrolment.ledger.postpone(Queue::Enrol, &all, Timestamp(0));
                go().unwrap();
            }
        });
        assert!(!*armed.lock().unwrap(), "{point} was never passed");
        assert_eq!((world.summary(), world.told()), expected, "after a crash at {point}");
    }
    let refused = calm.enrolment.ledger.commit(
        Op::MoveApplications(vec![(ApplicationId { epoch: 1, serial: 9 }, ApplicationStep::Used)]),
        BY,
        NOW,
    );
    assert!(matches!(refused, Err(LedgerError::Refused(_))));
}

/// Issued for `K0001`, with a key of its own, at the cut-off.
fn issued(world: &World) -> ApplicationId {
    let id = world.apply(&[form("K0001", Role::Office, "1234", Material::SshKey("one".into()))], NOW)[0];
    world.run(CUTOFF).unwrap();
    world.enrolment.approve(id, &BY, CUTOFF).unwrap();
    world.run(CUTOFF).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Issued);
    id
}

#[test]
fn a_set_up_does_not_open_an_account_that_was_closed() {
    let world = World::new();
    let id = issued(&world);
    let party = PartyName::Account(sample::account_id("K0001"));
    let set = |to| world.parties.set_standing(&party, to, chrono_tz::Asia::Tokyo, &BY, CUTOFF);
    for to in [Standing::Suspended, Standing::Closed] {
        let refused = set(to).unwrap_err();
        assert_eq!(code(&refused), "SET-UP-WAITS");
        assert!(refused.to_string().contains(&format!("`account application cancel {id}`")), "{refused}");
    }
    // Closed by an earlier version, or while it was being issued.
    let account = world.enrolment.ledger.account(&sample::account_id("K0001")).unwrap().unwrap();
    let closed = crate::model::party::Account { standing: Standing::Closed, ..account };
    let op = Op::SetAccount { account: closed, new: false };
    world.enrolment.ledger.commit(op, BY, CUTOFF).unwrap();
    let faults = world.enrolment.set_up(id, GOOD.as_bytes(), &BY, CUTOFF).unwrap().unwrap_err();
    assert_eq!(faults[0].code, "ACCOUNT-CLOSED");
    let op = Op::MoveApplications(vec![(id, ApplicationStep::SetUp { terms: "1".into() })]);
    assert!(world.enrolment.ledger.commit(op, BY, CUTOFF).is_err());
    assert_eq!(world.account("K0001"), Some(Standing::Closed));
    // After the set-up the standing is the operator's alone.
    set(Standing::Active).unwrap();
    world.enrolment.set_up(id, GOOD.as_bytes(), &BY, CUTOFF).unwrap().unwrap();
    set(Standing::Suspended).unwrap();
    world.enrolment.set_up(id, GOOD.as_bytes(), &BY, CUTOFF).unwrap().unwrap();
    assert_eq!(world.account("K0001"), Some(Standing::Suspended));
}

#[test]
fn a_clock_that_leaps_ahead_ends_nothing_and_what_is_due_at_once_waits_for_no_clock() {
    let world = World::new();
    let id = issued(&world);
    world.told();
    // Long after the last day, by a clock that is set right again.
    world.look(CUTOFF.plus(70 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Issued);
    assert_eq!(world.account("K0001"), Some(Standing::Suspended));
    assert_eq!(world.told(), []);
    // Somebody wrote an event meanwhile: events' times never go back.
    let ahead = CUTOFF.plus(70 * DAY);
    let other = world.apply(&[form("K0002", Role::Office, "5678", Material::SshKey("two".into()))], NOW)[0];
    let step = ApplicationStep::Collected;
    world.enrolment.ledger.commit(Op::MoveApplications(vec![(other, step)]), BY, ahead).unwrap();
    world.enrolment.approve(other, &BY, CUTOFF).unwrap();
    world.run(CUTOFF.plus(1)).unwrap();
    assert_eq!(world.of(other).state, ApplicationState::Issued, "it does not wait for 70 days");
    assert_eq!(world.told(), [ApplicationNotice::Taken, ApplicationNotice::Issued]);
    // The days that really pass count.
    world.run(CUTOFF.plus(70 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Expired);
}

#[test]
fn passwords_end_with_their_holder() {
    let world = World::new();
    let id = issued(&world);
    let ledger = &world.enrolment.ledger;
    let enrolment = Credential { purpose: Purpose::Enrolment, holder: id.into() };
    let account = sample::account_id("K0001");
    let [login, issue] = [Purpose::Login, Purpose::Issue].map(|purpose| Credential::of(purpose, &account));
    for credential in [&enrolment, &login, &issue] {
        let change = PasswordChange::Given;
        let op = Op::SetPassword { credential: credential.clone(), version: 1, change };
        ledger.commit(op, BY, CUTOFF).unwrap();
    }
    world.enrolment.cancel(id, "", &BY, CUTOFF).unwrap();
    for credential in [&enrolment, &login, &issue] {
        assert_eq!(ledger.password(credential).unwrap(), None, "{credential:?}");
    }
    // A name that is left over comes without what its last holder knew.
    let op = Op::SetPassword { credential: login.clone(), version: 2, change: PasswordChange::Given };
    ledger.commit(op, BY, CUTOFF).unwrap();
    let again = world.apply(&[form("K0001", Role::Office, "1234", Material::P12)], CUTOFF)[0];
    world.run(CUTOFF.plus(40 * DAY)).unwrap();
    world.enrolment.approve(again, &BY, CUTOFF.plus(40 * DAY)).unwrap();
    world.enrolment.issue(again, Some("secret"), &BY, CUTOFF.plus(40 * DAY)).unwrap();
    assert_eq!(ledger.password(&login).unwrap(), None);
    // An account that is closed has none either.
    world.enrolment.set_up(again, GOOD.as_bytes(), &BY, CUTOFF.plus(41 * DAY)).unwrap().unwrap();
    let op = Op::SetPassword { credential: login.clone(), version: 3, change: PasswordChange::Given };
    ledger.commit(op, BY, CUTOFF.plus(41 * DAY)).unwrap();
    let party = PartyName::Account(account);
    let zone = chrono_tz::Asia::Tokyo;
    let now = CUTOFF.plus(42 * DAY);
    let told = world.parties.set_standing(&party, Standing::Closed, zone, &BY, now).unwrap();
    assert!(told.notes.iter().any(|note| note.contains("account password")), "{told:?}");
    assert_eq!(ledger.password(&login).unwrap(), None);
}
