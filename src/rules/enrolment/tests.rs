use super::*;
use crate::model::ids::{CertificateId, UseClass};
use crate::model::time::DAY;
use crate::store::sample::{self, NOW};

const TOKYO: Tz = chrono_tz::Asia::Tokyo;

fn application(material: Material) -> Application {
    Application { material, ..sample::application(1, "K0001") }
}

fn every_step() -> Vec<ApplicationStep> {
    use ApplicationStep as Step;
    vec![
        Step::Collected,
        Step::Approved { pay: false },
        Step::Rejected { reason: None },
        Step::Paid,
        Step::Admitted,
        Step::Issued {
            certificate: CertificateId { epoch: 1, serial: 1 },
            bundle: true,
            use_before: NOW.plus_days(60),
            remind_at: vec![NOW.plus_days(46)],
            keep: false,
        },
        Step::Downloaded,
        Step::SetUp { terms: "1".into() },
        Step::Used,
        Step::Reminded,
        Step::Expired,
        Step::Cancelled { reason: None },
        Step::BundleGone,
        Step::CardGone,
    ]
}

fn name(step: &ApplicationStep) -> String {
    let text = format!("{step:?}");
    text.split([' ', '{']).next().unwrap().to_owned()
}

/// The steps that are allowed now.
fn open(of: &Application, at: Timestamp) -> String {
    let allowed: Vec<_> =
        every_step().iter().filter(|step| allowed(of, step, at).is_ok()).map(name).collect();
    allowed.join(" ")
}

#[test]
fn a_life_allows_in_each_state_what_belongs_there() {
    let mut of = application(Material::P12);
    let by = Actor::Daemon;
    let mut at = NOW;
    let mut step = |of: &mut Application, step: ApplicationStep| {
        at = at.plus(1000);
        allowed(of, &step, at).unwrap();
        go(of, &step, at, &by);
        at
    };
    assert_eq!(open(&of, NOW), "Collected Rejected Cancelled");
    step(&mut of, ApplicationStep::Collected);
    assert_eq!(open(&of, NOW), "Approved Rejected Cancelled");
    step(&mut of, ApplicationStep::Approved { pay: true });
    assert_eq!(of.state, ApplicationState::AwaitingPayment);
    assert_eq!(open(&of, NOW), "Paid Cancelled");
    step(&mut of, ApplicationStep::Paid);
    assert_eq!(open(&of, NOW), "Admitted Cancelled");
    step(&mut of, ApplicationStep::Admitted);
    assert_eq!(open(&of, NOW), "Issued Cancelled");
    step(&mut of, every_step().remove(5));
    assert_eq!(open(&of, NOW), "Downloaded SetUp Used Cancelled");
    let first = step(&mut of, ApplicationStep::Downloaded);
    step(&mut of, ApplicationStep::Downloaded);
    assert_eq!((of.downloads, of.entered_at(ApplicationState::Downloaded)), (2, Some(first)));
    step(&mut of, ApplicationStep::SetUp { terms: "1".into() });
    assert_eq!(open(&of, NOW.plus_days(47)), "Downloaded Used Reminded Cancelled");
    assert_eq!(open(&of, NOW.plus_days(60)), "Downloaded Used Reminded Expired Cancelled");
    step(&mut of, ApplicationStep::Used);
    assert_eq!(open(&of, NOW.plus_days(60)), "BundleGone");
    step(&mut of, ApplicationStep::BundleGone);
    assert_eq!(open(&of, NOW), "CardGone");
    let dates: Vec<_> = of.entered.iter().map(|entered| entered.state.name()).collect();
    assert_eq!(
        dates.join(" "),
        "collected approved awaiting-payment paid issued downloaded in-use",
        "every state has its date"
    );
}

#[test]
fn what_is_due_when() {
    let mut of = application(Material::SshKey("ssh-ed25519 AAAA".into()));
    let due_in = |of: &Application, state| {
        let mut of = of.clone();
        of.state = state;
        due(&of).map(|due| if due == AT_ONCE { 0 } else { due.since(NOW) / DAY })
    };
    assert_eq!(due_in(&of, ApplicationState::Applied), Some(1));
    assert_eq!(due_in(&of, ApplicationState::Collected), None);
    assert_eq!(due_in(&of, ApplicationState::AwaitingPayment), None);
    assert_eq!(due_in(&of, ApplicationState::Approved), Some(0));
    assert_eq!(
        due_in(&application(Material::P12), ApplicationState::Approved),
        None,
        "somebody takes the password"
    );
    of.use_before = Some(NOW.plus_days(60));
    of.remind_at = vec![NOW.plus_days(46), NOW.plus_days(57)];
    assert_eq!(due_in(&of, ApplicationState::Issued), Some(46));
    of.remind_at.clear();
    assert_eq!(due_in(&of, ApplicationState::Downloaded), Some(60));
    assert_eq!(due_in(&of, ApplicationState::InUse), None);
    of.bundle = true;
    assert_eq!(due_in(&of, ApplicationState::InUse), Some(0));
    assert_eq!(due_in(&of, ApplicationState::Expired), Some(0));
    of.keep = true;
    assert_eq!(due_in(&of, ApplicationState::InUse), Some(60), "installed any number of times (H16)");
}

#[test]
fn sixty_days_end_with_a_whole_local_day() {
    for (zone, issued, end) in [
        (TOKYO, "2026-11-23T09:00:00+09:00", "2027-01-23T00:00:00+09:00"),
        (TOKYO, "2026-11-23T23:59:59+09:00", "2027-01-23T00:00:00+09:00"),
        // Midnight of that day is left out there.
        (chrono_tz::Africa::Cairo, "2026-02-22T12:00:00+02:00", "2026-04-24T01:00:00+03:00"),
    ] {
        let time = |text| Timestamp(chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis());
        assert_eq!(use_before(time(issued), 60, zone), time(end), "{zone} {issued}");
    }
    let before = NOW.plus_days(60);
    assert_eq!(remind_at(NOW, before, &[14, 3, 90, 14]), [NOW.plus_days(46), NOW.plus_days(57)]);
}

#[test]
fn cut_offs_come_by_the_gateways_zone() {
    let policy = EnrolmentPolicy::default();
    let next = |at: &str| {
        let at = Timestamp(chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp_millis());
        policy.cutoff.after(at, TOKYO).utc().with_timezone(&TOKYO).to_rfc3339()
    };
    assert_eq!(next("2026-11-23T00:00:00+09:00"), "2026-12-01T17:00:00+09:00");
    assert_eq!(next("2026-12-01T16:59:59+09:00"), "2026-12-01T17:00:00+09:00");
    assert_eq!(next("2026-12-01T17:00:00+09:00"), "2026-12-15T17:00:00+09:00");
    assert_eq!(next("2026-12-31T00:00:00+09:00"), "2027-01-01T17:00:00+09:00");
}

#[test]
fn policy_is_checked() {
    let policy: EnrolmentPolicy = toml::from_str("").unwrap();
    assert_eq!(policy.faults(), []);
    assert_eq!(policy.fee(None), Some((UseClass::parse("standard").unwrap(), 7_800)));
    assert_eq!(policy.fee(Some(&UseClass::parse("other").unwrap())), None);
    let text = "use_within_days = 0\nterms_version = \"第1版\"\n[fees]\n\"介護・障害共通\" = 20000000";
    let policy: EnrolmentPolicy = toml::from_str(text).unwrap();
    let keys: Vec<_> = policy.faults().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["enrolment.use_within_days", "enrolment.terms_version", "enrolment.fees"]);
    assert!(
        toml::from_str::<EnrolmentPolicy>("cutoff = \"17:00\"")
            .unwrap_err()
            .to_string()
            .contains("six fields")
    );
}
