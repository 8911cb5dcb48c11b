//! Authorities and certificates, as every ledger must keep them.

use super::sample::{self, account_id, authority_id, card};
use super::{NOW, at, commit, prepare, refused};
use crate::model::authority::{Authority, Form, Origin};
use crate::model::certificate::{Certificate, CertificateStanding, RevocationReason};
use crate::model::ids::CertificateId;
use crate::model::party::{Account, Standing};
use crate::model::time::{DAY, Timestamp};
use crate::store::ledger::{CertificateFilter, Ledger, Op, Refusal};

pub(super) fn with_authorities(ledger: &dyn Ledger) {
    prepare(ledger);
    for (id, form) in [("ssh-1", Form::Openssh), ("x509-1", Form::X509)] {
        let authority = Box::new(sample::authority(id, form, NOW));
        commit(ledger, Op::SetAuthority { authority, new: true });
    }
}

fn issue(certificate: Certificate) -> Op {
    Op::IssueCertificate(Box::new(certificate))
}

fn id(serial: u64) -> CertificateId {
    CertificateId { epoch: 1, serial }
}

fn serials(found: Vec<Certificate>) -> Vec<u64> {
    found.into_iter().map(|of| of.id.serial).collect()
}

pub(super) fn authorities(ledger: &dyn Ledger) {
    with_authorities(ledger);
    let one = ledger.authority(&authority_id("x509-1")).unwrap().unwrap();
    let set = |authority: &Authority, new| Op::SetAuthority { authority: Box::new(authority.clone()), new };
    assert!(matches!(refused(ledger, set(&one, true)), Refusal::Exists(_)));
    let retired = Authority { trusted_until: Some(NOW.plus(DAY)), ..one.clone() };
    commit(ledger, set(&retired, false));
    assert_eq!(ledger.authority(&one.id).unwrap(), Some(retired));
    let other_key = Authority { certificate: "another".into(), ..one.clone() };
    assert!(matches!(refused(ledger, set(&other_key, false)), Refusal::NotNow(_)));
    let external = Authority { id: authority_id("kenpo-ca"), origin: Origin::External, ..one.clone() };
    assert!(matches!(refused(ledger, set(&external, true)), Refusal::NotNow(_)), "it cannot issue");
    let trusted = Authority { issuing_from: None, ..external };
    assert!(matches!(refused(ledger, set(&trusted, false)), Refusal::Missing(_)));
    commit(ledger, set(&trusted, true));
    let names: Vec<_> = ledger.authorities().unwrap().iter().map(|of| of.id.to_string()).collect();
    assert_eq!(names, ["kenpo-ca", "ssh-1", "x509-1"]);
}

pub(super) fn issue_and_find(ledger: &dyn Ledger) {
    with_authorities(ledger);
    let first = Certificate { bundle: Some(card(900)), ..sample::certificate("K0001", 1, "SHA256:one", NOW) };
    commit(ledger, issue(first.clone()));
    commit(ledger, issue(sample::certificate("K0001", 2, "SHA256:new", NOW.plus(DAY))));
    assert_eq!(ledger.certificate(id(1)).unwrap(), Some(first.clone()));
    assert_eq!(ledger.certificate(id(9)).unwrap(), None);
    let form = first.x509.clone().unwrap();
    let found = ledger.certificate_by_serial(&form.authority, &form.serial).unwrap();
    assert_eq!(found.as_ref(), Some(&first));
    let found = ledger.certificate_by_serial(&authority_id("ssh-1"), "0000000000000001").unwrap();
    assert_eq!(found.as_ref(), Some(&first));
    assert_eq!(ledger.certificate_by_serial(&authority_id("ssh-1"), &form.serial).unwrap(), None);
    assert_eq!(ledger.certificate_by_x509(form.sha256).unwrap(), Some(first.clone()));
    assert_eq!(serials(ledger.certificates_of_key("SHA256:one").unwrap()), [1]);
    let all = CertificateFilter::default;
    assert_eq!(serials(ledger.certificates(&all(), 10).unwrap()), [2, 1]);
    assert_eq!(serials(ledger.certificates(&all(), 1).unwrap()), [2]);
    let of = |account, before| CertificateFilter { account: Some(account_id(account)), before };
    assert_eq!(serials(ledger.certificates(&of("K0001", None), 10).unwrap()), [2, 1]);
    assert_eq!(serials(ledger.certificates(&of("K0001", Some(id(2))), 10).unwrap()), [1]);
    assert_eq!(serials(ledger.certificates(&of("K000", None), 10).unwrap()), [] as [u64; 0]);

    let ending = |from: Timestamp, to: Timestamp| serials(ledger.certificates_ending(from, to, 10).unwrap());
    let end = first.not_after;
    assert_eq!(ending(NOW, end), [] as [u64; 0]);
    assert_eq!(ending(NOW, end.plus(1)), [1]);
    assert_eq!(ending(end, end.plus(2 * DAY)), [1, 2]);
    assert_eq!(ending(end.plus(1), end.plus(2 * DAY)), [2]);
    assert_eq!(ledger.last_end(&authority_id("ssh-1")).unwrap(), Some(end.plus(DAY)));

    for (changed, what) in [
        (Certificate { id: id(1), ..sample::certificate("K0001", 3, "SHA256:one", NOW) }, "number"),
        (Certificate { id: id(3), ..first.clone() }, "serial"),
        (
            Certificate { x509: first.x509.clone(), ..sample::certificate("K0001", 3, "SHA256:one", NOW) },
            "digest",
        ),
    ] {
        assert!(matches!(refused(ledger, issue(changed)), Refusal::Exists(_)), "{what}");
    }
    let nobody = sample::certificate("K0009", 3, "SHA256:nine", NOW);
    assert!(matches!(refused(ledger, issue(nobody)), Refusal::Missing(_)));
    let mut unknown = sample::certificate("K0001", 3, "SHA256:three", NOW);
    unknown.x509.as_mut().unwrap().authority = authority_id("x509-9");
    assert!(matches!(refused(ledger, issue(unknown)), Refusal::Missing(_)));

    at(ledger, Op::UseCertificate(id(1)), NOW.plus(5));
    at(ledger, Op::UseCertificate(id(1)), NOW.plus(9));
    assert_eq!(ledger.certificate(id(1)).unwrap().unwrap().first_used_at, Some(NOW.plus(5)));
    assert!(ledger.refers_to(&card(900).blob).unwrap());
    commit(ledger, Op::ForgetBundle(id(1)));
    commit(ledger, Op::ForgetBundle(id(1)));
    assert!(!ledger.refers_to(&card(900).blob).unwrap(), "its blob is an orphan");

    let mut closed = sample::account("K0001", "SHA256:one");
    closed.standing = Standing::Closed;
    commit(ledger, Op::SetAccount { account: closed, new: false });
    let late = sample::certificate("K0001", 4, "SHA256:four", NOW);
    assert!(matches!(refused(ledger, issue(late)), Refusal::NotNow(_)));
}

pub(super) fn one_key_one_account(ledger: &dyn Ledger) {
    with_authorities(ledger);
    let mut twin = sample::account("T0001", "SHA256:test");
    twin.test = true;
    for (account, fingerprint) in [("K0002", "SHA256:two"), ("K0003", "SHA256:three")] {
        commit(ledger, Op::SetAccount { account: sample::account(account, fingerprint), new: true });
    }
    commit(ledger, Op::SetAccount { account: twin, new: true });

    // Registered for another, certified for another.
    let taken = |account: &str, serial, fingerprint: &str| {
        refused(ledger, issue(sample::certificate(account, serial, fingerprint, NOW)))
    };
    let says = |fingerprint: &str, account: &str| Refusal::KeyTaken {
        fingerprint: fingerprint.into(),
        account: account_id(account),
    };
    assert_eq!(taken("K0002", 1, "SHA256:one"), says("SHA256:one", "K0001"));
    commit(ledger, issue(sample::certificate("T0001", 1, "SHA256:key", NOW)));
    commit(ledger, issue(sample::certificate("K0002", 2, "SHA256:key", NOW)));
    assert_eq!(taken("K0003", 3, "SHA256:key"), says("SHA256:key", "K0002"));
    let account = sample::account("K0003", "SHA256:key");
    assert_eq!(
        refused(ledger, Op::SetAccount { account, new: false }),
        says("SHA256:key", "K0002"),
        "a certified key is registered for nobody else"
    );
    commit(ledger, Op::SetAccount { account: sample::account("K0002", "SHA256:key"), new: false });
    assert_eq!(serials(ledger.certificates_of_key("SHA256:key").unwrap()), [1, 2]);
    // A registered key of the same account's may be certified.
    commit(ledger, issue(sample::certificate("K0001", 3, "SHA256:one", NOW)));
}

pub(super) fn revocation(ledger: &dyn Ledger) {
    with_authorities(ledger);
    for serial in 1..=2 {
        let issued = Certificate {
            bundle: Some(card(900 + serial)),
            ..sample::certificate("K0001", serial, "SHA256:one", NOW.plus(DAY))
        };
        commit(ledger, issue(issued));
    }
    let revoke = |serial, reason| Op::RevokeCertificate { id: id(serial), reason };
    assert!(matches!(refused(ledger, revoke(9, RevocationReason::Superseded)), Refusal::Missing(_)));
    let authority = authority_id("x509-1");
    let end = ledger.last_end(&authority).unwrap().unwrap();
    at(ledger, revoke(1, RevocationReason::Superseded), NOW.plus(2 * DAY));
    let seq = ledger.head().seq;
    at(ledger, revoke(1, RevocationReason::KeyCompromise), NOW.plus(3 * DAY));
    assert_eq!(ledger.head().seq, seq, "once is enough");
    let one = ledger.certificate(id(1)).unwrap().unwrap();
    assert_eq!(one.revoked.map(|of| of.at), Some(NOW.plus(2 * DAY)));
    for (days, standing) in [
        (0, CertificateStanding::Future),
        (1, CertificateStanding::Holds),
        (5000, CertificateStanding::Ended),
    ] {
        let before = Certificate { revoked: None, ..one.clone() };
        assert_eq!(before.standing_at(NOW.plus(days * DAY)), standing, "day {days}");
        assert_eq!(one.standing_at(NOW.plus(days * DAY)), CertificateStanding::Revoked, "day {days}");
    }
    assert_eq!(ledger.certificate(id(2)).unwrap().unwrap().standing_at(end), CertificateStanding::Ended);
    assert!(!ledger.refers_to(&card(901).blob).unwrap(), "its bundle is forgotten");
    assert!(ledger.refers_to(&card(902).blob).unwrap());
    let revoked = |after| serials(ledger.certificates_revoked(&authority, after).unwrap());
    assert_eq!(revoked(end.plus(-1)), [1]);
    assert_eq!(revoked(end), [] as [u64; 0]);
    assert_eq!(serials(ledger.certificates_ending(NOW, end.plus(1), 10).unwrap()), [2]);
    // The key may be certified again, unless it was compromised.
    commit(ledger, issue(sample::certificate("K0001", 3, "SHA256:one", NOW)));
    commit(ledger, revoke(2, RevocationReason::KeyCompromise));
    let again = issue(sample::certificate("K0001", 4, "SHA256:one", NOW));
    assert_eq!(
        refused(ledger, again),
        Refusal::KeyCompromised { fingerprint: "SHA256:one".into(), id: id(2) }
    );
    // Nor is it registered anew; where it was, other changes go on.
    let known = ledger.account(&account_id("K0001")).unwrap().unwrap();
    assert_eq!(known.keys[0].fingerprint, "SHA256:one");
    commit(ledger, Op::SetAccount { account: known.clone(), new: false });
    let without = Account { keys: Vec::new(), ..known.clone() };
    commit(ledger, Op::SetAccount { account: without, new: false });
    assert_eq!(
        refused(ledger, Op::SetAccount { account: known, new: false }),
        Refusal::KeyCompromised { fingerprint: "SHA256:one".into(), id: id(2) }
    );
}
