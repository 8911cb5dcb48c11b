//! Renewals and re-issues in a small world with a fake clock.

use super::tests::{BY, CUTOFF, NOW, World, code};
use super::*;
use crate::model::application::{Loss, RevokeLost};
use crate::model::certificate::Certificate;
use crate::model::ids::AccountId;
use crate::model::party::Standing;
use crate::model::time::DAY;
use crate::rules::renewal::RenewalPolicy;
use crate::store::sample;
use crate::work::enrol::again::AgainForm;

/// An account with certificate `C1-000900-…` over the key `old`, that was used, and one `spare` that was not asked for.
fn at_work(world: &mut World, policy: RenewalPolicy, spare: bool) {
    let account = crate::model::party::Account {
        keys: Vec::new(),
        standing: Standing::Active,
        ..sample::account("K0001", "-")
    };
    let card = crate::model::card::AccountCard {
        salt: crate::store::cards::salt().unwrap(),
        user_name: "総務課".into(),
        mail: "soumu@example.jp".into(),
    };
    let card = crate::store::cards::put(world.enrolment.blobs.as_ref(), &card, NOW).unwrap();
    let account = crate::model::party::Account { card, ..account };
    world.enrolment.ledger.commit(Op::SetAccount { account, new: true }, BY, NOW).unwrap();
    for (serial, key) in [(900, "SHA256:old"), (901, "SHA256:spare")] {
        if serial == 900 || spare {
            let of = sample::certificate("K0001", serial, key, NOW);
            world.enrolment.ledger.commit(Op::IssueCertificate(Box::new(of)), BY, NOW).unwrap();
        }
    }
    world.enrolment.renewal = Arc::new(move |_| policy.clone());
}

fn form(kind: ApplicationKind, material: Material) -> AgainForm {
    AgainForm {
        kind,
        account: AccountId::parse("K0001").unwrap(),
        certificates: Vec::new(),
        all: false,
        loss: None,
        material,
        class: None,
        payment: None,
        consent: None,
    }
}

fn reissue(key: &str) -> AgainForm {
    form(ApplicationKind::Reissue, Material::SshKey(key.into()))
}

fn certificate(world: &World, serial: u64) -> Certificate {
    world.enrolment.ledger.certificate(CertificateId { epoch: 1, serial }).unwrap().unwrap()
}

fn revoked(world: &World, serial: u64) -> Option<RevocationReason> {
    certificate(world, serial).revoked.map(|revocation| revocation.reason)
}

fn policy(lost_certificate: RevokeLost) -> RenewalPolicy {
    RenewalPolicy { lost_certificate, ..RenewalPolicy::default() }
}

fn used(world: &World, certificate: Option<CertificateId>, now: Timestamp) {
    let account = AccountId::parse("K0001").unwrap();
    crate::store::enrolled::logged_in(world.enrolment.ledger.as_ref(), &account, certificate, now).unwrap();
}

#[test]
fn what_was_lost_is_revoked_at_once_before_the_new_one_is_there() {
    let mut world = World::new();
    at_work(&mut world, policy(RevokeLost::AtOnce), false);
    let same = world.enrolment.again(&reissue("old"), true, false, &BY, NOW).unwrap_err();
    assert_eq!(code(&same), "SAME-KEY");
    let taken = world.enrolment.again(&reissue("new"), true, false, &BY, NOW).unwrap();
    let id = taken.id.unwrap();
    assert_eq!(revoked(&world, 900), Some(RevocationReason::KeyCompromise));
    assert_eq!(world.of(id).certificate, None);
    assert_eq!(
        world.of(id).replaces.map(|of| (of.lost, of.loss, of.done)),
        Some((taken.about, Loss::Key, true))
    );
    let new = world.enrolment.go_through(id, &BY, NOW).unwrap().unwrap();
    assert_eq!(certificate(&world, new.serial).application, Some(id));
    world.run(NOW).unwrap();
    assert_eq!(world.told(), [ApplicationNotice::Taken, ApplicationNotice::Issued]);
    let before = world.of(id).use_before.unwrap();
    assert_eq!(before.utc().to_rfc3339(), "2027-01-22T15:00:00+00:00", "sixty whole days, as at enrolment");
    used(&world, Some(new), NOW.plus(DAY));
    world.run(NOW.plus(DAY)).unwrap();
    let states: Vec<_> = world.of(id).entered.iter().map(|entered| entered.state.name()).collect();
    assert_eq!(states, ["applied", "collected", "approved", "issued", "in-use"]);
    // The lost key comes back with another wish.
    let back = world.enrolment.again(&reissue("old"), true, false, &BY, NOW.plus(2 * DAY)).unwrap_err();
    assert_eq!(code(&back), "SAME-KEY");
}

#[test]
fn what_was_lost_may_hold_until_the_new_one_is_used_or_to_its_end() {
    let mut world = World::new();
    at_work(&mut world, policy(RevokeLost::FirstUse), false);
    let mut lost = reissue("new");
    lost.loss = Some(Loss::Destroyed);
    let id = world.enrolment.again(&lost, true, false, &BY, NOW).unwrap().id.unwrap();
    let new = world.enrolment.go_through(id, &BY, NOW).unwrap();
    world.run(NOW).unwrap();
    assert_eq!(revoked(&world, 900), None);
    used(&world, None, NOW.plus(DAY));
    world.run(NOW.plus(DAY)).unwrap();
    assert_eq!(revoked(&world, 900), None, "a login by another key says nothing");
    used(&world, new, NOW.plus(2 * DAY));
    world.run(NOW.plus(2 * DAY)).unwrap();
    assert_eq!(revoked(&world, 900), Some(RevocationReason::Superseded));

    // Nobody used it: the loss is not forgotten.
    let mut world = World::new();
    at_work(&mut world, policy(RevokeLost::FirstUse), false);
    let id = world.enrolment.again(&reissue("new"), true, false, &BY, NOW).unwrap().id.unwrap();
    let new = world.enrolment.go_through(id, &BY, NOW).unwrap().unwrap();
    world.run(NOW.plus(70 * DAY)).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Expired);
    assert_eq!(
        (revoked(&world, 900), revoked(&world, new.serial)),
        (Some(RevocationReason::KeyCompromise), None)
    );

    let mut world = World::new();
    at_work(&mut world, policy(RevokeLost::Keep), false);
    let id = world.enrolment.again(&reissue("new"), true, false, &BY, NOW).unwrap().id.unwrap();
    let new = world.enrolment.go_through(id, &BY, NOW).unwrap();
    used(&world, new, NOW.plus(DAY));
    world.run(NOW.plus(70 * DAY)).unwrap();
    assert_eq!(revoked(&world, 900), None);
}

#[test]
fn which_one_was_lost_must_be_clear() {
    let mut world = World::new();
    let none = world.enrolment.again(&reissue("new"), true, false, &BY, NOW).unwrap_err();
    assert_eq!(code(&none), "ACCOUNT-UNKNOWN");
    at_work(&mut world, policy(RevokeLost::AtOnce), true);
    let which = world.enrolment.again(&reissue("new"), true, false, &BY, NOW).unwrap_err();
    assert_eq!(code(&which), "REISSUE-WHICH");
    let mut all = reissue("new");
    all.all = true;
    assert_eq!(world.enrolment.again(&all, true, true, &BY, NOW).unwrap().about.len(), 2, "a dry run");
    assert_eq!(revoked(&world, 901), None);
    let mut one = reissue("new");
    one.certificates = vec![CertificateId { epoch: 1, serial: 7 }];
    assert_eq!(code(&world.enrolment.again(&one, true, false, &BY, NOW).unwrap_err()), "CERTIFICATE-UNKNOWN");
    one.certificates = vec![CertificateId { epoch: 1, serial: 901 }];
    let id = world.enrolment.again(&one, false, false, &BY, NOW).unwrap().id.unwrap();
    assert_eq!((revoked(&world, 900), revoked(&world, 901)), (None, Some(RevocationReason::KeyCompromise)));
    // Not approved: the insurer is asked at the cut-off. The same wish again is the same application; another waits.
    let again = world.enrolment.again(&one, false, false, &BY, NOW).unwrap();
    assert_eq!((again.id, again.before), (Some(id), true));
    let other = world.enrolment.again(&reissue("other"), false, false, &BY, NOW).unwrap_err();
    assert_eq!(code(&other), "APPLIED-ALREADY");
    world.run(CUTOFF).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Collected);
    world.enrolment.approve(id, &BY, CUTOFF).unwrap();
    world.run(CUTOFF).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Issued);

    // The new one is lost before it was ever used: what was issued is waited for no more.
    let mut lost = reissue("third");
    lost.certificates = world.of(id).certificate.into_iter().collect();
    let third = world.enrolment.again(&lost, true, false, &BY, CUTOFF).unwrap().id.unwrap();
    world.run(CUTOFF).unwrap();
    assert_eq!(
        (world.of(id).state, world.of(third).state),
        (ApplicationState::Cancelled, ApplicationState::Issued)
    );
}

/// Runs one step of a life, with or without a crash in it.
type Stepper<'a> = dyn FnMut(&World, &dyn Fn() -> Result<(), WorkError>) + 'a;

/// Both kinds of re-issue, each stopped at a point: either the old one holds and its loss is kept due, or it is revoked and the
/// new one comes; never both revoked, never forgotten.
#[test]
fn a_crash_anywhere_in_a_reissue_ends_as_if_there_had_been_none() {
    for revoke in [RevokeLost::AtOnce, RevokeLost::FirstUse] {
        for bundle in [false, true] {
            let life = |world: &mut World, stop: &mut Stepper<'_>| {
                let of = if bundle { Material::P12 } else { Material::SshKey("new".into()) };
                let form = form(ApplicationKind::Reissue, of);
                // As the operator's command, which may be typed again.
                stop(world, &|| {
                    let done = world.enrolment.again(&form, true, false, &BY, NOW).and_then(|taken| {
                        let id = taken.id.unwrap();
                        world.enrolment.go_through(id, &BY, NOW)?;
                        if bundle {
                            world.enrolment.issue(id, Some("secret"), &BY, NOW)?;
                        }
                        Ok(())
                    });
                    done.map_err(|_| WorkError::Stopped("command"))
                });
                stop(world, &|| world.run(NOW));
                let id = ApplicationId { epoch: 1, serial: 1 };
                let new = world.of(id).certificate;
                stop(world, &|| {
                    used(world, new, NOW.plus(DAY));
                    world.run(NOW.plus(DAY))
                });
                let holds = new.is_some_and(|new| certificate(world, new.serial).revoked.is_none());
                (world.summary(), world.told(), revoked(world, 900), holds)
            };
            let mut calm = World::new();
            at_work(&mut calm, policy(revoke), false);
            let expected = life(&mut calm, &mut |_, go| go().unwrap());
            assert_eq!((expected.2, expected.3), (Some(RevocationReason::KeyCompromise), true));
            for point in ["applied", "lost-revoked", "reported", "admitted", "certified"] {
                let mut world = World::new();
                at_work(&mut world, policy(revoke), false);
                let armed = Arc::new(Mutex::new(true));
                let once = Arc::clone(&armed);
                world.enrolment.points =
                    Points::stopping(move |name| name == point && std::mem::take(&mut *once.lock().unwrap()));
                let found = life(&mut world, &mut |world, go| {
                    if go().is_ok() {
                        return;
                    }
                    let task = Task::Application(ApplicationId { epoch: 1, serial: 1 });
                    world.enrolment.ledger.postpone(Queue::Enrol, &[task], Timestamp(0));
                    let of = world.of(ApplicationId { epoch: 1, serial: 1 });
                    let done = of.replaces.as_ref().unwrap().done;
                    assert!(
                        done || revoke == RevokeLost::FirstUse || revoked(world, 900).is_some() || {
                            let due = world.enrolment.ledger.due(Queue::Enrol, NOW, 9).unwrap();
                            due.contains(&task)
                        }
                    );
                    // The daemon goes on by itself; then the operator types the command again.
                    let used = of.state == ApplicationState::InUse;
                    world.run(if used { NOW.plus(DAY) } else { NOW }).unwrap();
                    assert!(revoke == RevokeLost::FirstUse || revoked(world, 900).is_some(), "{point}");
                    if world.of(of.id).certificate.is_none() {
                        go().unwrap();
                    }
                });
                assert!(!*armed.lock().unwrap(), "{point} was never passed");
                assert_eq!(
                    (&found.0, found.2, found.3),
                    (&expected.0, expected.2, expected.3),
                    "after a crash at {point}"
                );
                assert_eq!(found.1.len(), expected.1.len(), "each mail once, after a crash at {point}");
            }
        }
    }
}

#[test]
fn a_renewal_waits_for_consent_class_and_payment_where_the_insurer_asks() {
    let mut world = World::with(|policy| {
        policy.fees.insert("double".parse().unwrap(), 15_600);
    });
    let asks = RenewalPolicy { consent: true, opens_months: 40, ..RenewalPolicy::default() };
    at_work(&mut world, asks, false);
    let wish = form(ApplicationKind::Renewal, Material::SshKey("new".into()));
    let mut wrong = wish.clone();
    wrong.consent = Some("0".into());
    assert_eq!(code(&world.enrolment.again(&wrong, true, false, &BY, NOW).unwrap_err()), "CONSENT-VERSION");
    let id = world.enrolment.again(&wish, true, false, &BY, NOW).unwrap().id.unwrap();
    assert_eq!(world.enrolment.go_through(id, &BY, NOW).unwrap(), None);
    world.run(CUTOFF).unwrap();
    assert_eq!(world.enrolment.collect_now(&sample::insurer_code(), &BY, CUTOFF).unwrap(), 0);
    assert_eq!(world.of(id).state, ApplicationState::Applied, "it waits for its applicant alone");
    let names: Vec<_> =
        world.enrolment.files(&world.of(id), NOW).unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["README.txt", "terms.txt", "renew.toml"]);
    let put = |text: &str| world.enrolment.set_up(id, text.as_bytes(), &BY, CUTOFF).unwrap();
    let codes = |text: &str| put(text).unwrap_err().into_iter().map(|fault| fault.code).collect::<Vec<_>>();
    let filled = world.enrolment.consent_form(&world.of(id));
    assert_eq!(codes(&filled), ["RENEW-CONSENT"]);
    assert_eq!(
        codes("consent = \"1\"\nclass = \"x\"\npayment = \"cash\"\n"),
        ["RENEW-CLASS", "RENEW-PAYMENT"]
    );
    assert_eq!(codes("consent = 1\n"), ["SETUP-FORM"]);
    let filled = filled.replace("consent = \"\"", "consent = \"1\"").replace("\"standard\"", "\"double\"");
    put(&filled.replace("payment = \"setoff\"", "payment = \"transfer\"")).unwrap();
    put("consent = \"1\"\n").unwrap();
    let of = world.of(id);
    assert_eq!((of.state, of.fee, of.class.as_str()), (ApplicationState::AwaitingPayment, 15_600, "double"));
    assert_eq!(of.consent.map(|consent| (consent.terms, consent.at)), Some(("1".into(), CUTOFF)));
    world.enrolment.paid(id, &BY, CUTOFF).unwrap();
    world.run(CUTOFF).unwrap();
    assert_eq!(world.of(id).state, ApplicationState::Issued);
    assert_eq!(revoked(&world, 900), None, "both hold while they overlap");

    // Given on paper: nothing is waited for.
    let asks = RenewalPolicy { consent: true, opens_months: 40, ..RenewalPolicy::default() };
    let mut world = World::new();
    at_work(&mut world, asks, false);
    let mut paper = wish;
    paper.consent = Some("1".into());
    let id = world.enrolment.again(&paper, true, false, &BY, NOW).unwrap().id.unwrap();
    assert!(world.enrolment.go_through(id, &BY, NOW).unwrap().is_some());
}

#[test]
fn an_account_whose_certificate_ended_is_renewed_from_a_file() {
    let mut world = World::new();
    at_work(&mut world, RenewalPolicy::default(), false);
    let file = "account,kind,ssh-key,loss,user-name\nK0001,renewal,new,,\nK0002,renewal,two,,\nK0003,reissue,x,lost,\n\
                K0004,renewal,y,,総務課\n";
    let rows =
        crate::work::parties::csv::parse(crate::work::parties::csv::Kind::Application, file.as_bytes());
    let rows = rows.unwrap();
    let import = |now| {
        let all = world
            .enrolment
            .import(&rows, false, crate::model::finding::Language::Ja, &BY, now)
            .unwrap()
            .into_iter();
        all.map(|row| row.detail.split([' ', ':']).next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(import(NOW), ["RENEW-NOT-YET", "ACCOUNT-UNKNOWN", "loss", "user-name"]);
    let after = certificate(&world, 900).not_after.plus(3 * DAY);
    let id = import(after).swap_remove(0);
    assert_eq!(import(after)[0], id, "the same file again is the same wish");
    let id = ApplicationId::parse(&id).unwrap();
    world.run(after.plus(20 * DAY)).unwrap();
    assert_eq!(
        world.of(id).state,
        ApplicationState::Collected,
        "nobody proved the key by a login: the insurer is asked"
    );
    let now = after.plus(20 * DAY);
    world.enrolment.approve(id, &BY, now).unwrap();
    world.run(now).unwrap();
    let of = world.of(id);
    assert_eq!((of.state, of.predecessor.map(|id| id.serial)), (ApplicationState::Issued, Some(900)));
    used(&world, of.certificate, now.plus(DAY));
    assert_eq!(world.of(id).state, ApplicationState::InUse);
}
