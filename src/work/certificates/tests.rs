//! Certificates over the real journal and blobs, by a clock of the test's, with a restart wherever a crash may be.

use std::path::Path;
use std::sync::{Arc, Mutex};

use der::Decode as _;
use russh::keys::ssh_key::{self, HashAlg};

use super::*;
use crate::model::certificate::CertificateStanding;
use crate::model::ids::{AuthorityId, BlobId};
use crate::model::time::DAY;
use crate::small_world::{at, code};
use crate::store::durable;
use crate::store::index::MemoryIndex;
use crate::store::journal_ledger::JournalLedger;
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::recover::LedgerOptions;
use crate::store::root::Root;
use crate::store::sample;
use crate::work::alarms::AlarmBoard;

const YEAR: i64 = 365 * DAY;

/// One run of a gateway over a data root; dropped without ceremony, as by a crash.
struct Run {
    certificates: Certificates,
    blobs: Arc<LocalBlobs>,
    alarms: Arc<AlarmBoard>,
    revoked: Arc<Mutex<Vec<CertificateId>>>,
}

fn start(root: &Path, now: Timestamp, stop: &'static str) -> Run {
    let opened = Root::open(root).unwrap();
    let blobs = Arc::new(LocalBlobs::open(&opened.blobs(), BlobOptions::default()).unwrap());
    let keys = opened.keys();
    let (ledger, _) = JournalLedger::<MemoryIndex>::open(opened, &LedgerOptions::default(), now).unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(ledger);
    if ledger.insurers().unwrap().is_empty() {
        for op in [
            Op::SetInsurer { insurer: sample::insurer(), new: true },
            Op::SetOffice { office: sample::office("1234"), new: true },
            Op::SetAccount { account: sample::account("K0001", "SHA256:one"), new: true },
        ] {
            ledger.commit(op, Actor::Daemon, now).unwrap();
        }
    }
    let alarms = Arc::new(AlarmBoard::default());
    let revoked: Arc<Mutex<Vec<CertificateId>>> = Arc::default();
    let certificates = Certificates {
        ledger,
        blobs: blobs.clone(),
        keys: AuthorityKeys::new(keys, None),
        public: root.join("public"),
        policy: AuthoritiesPolicy::default(),
        gateway: "todoke 見本".to_owned(),
        years: Box::new(|_| 3),
        alarms: alarms.clone(),
        points: Points::stopping(move |point| point == stop),
        on_revoked: RwLock::default(),
        turn: Turn::default(),
    };
    let told = Arc::clone(&revoked);
    certificates.when_revoked(Box::new(move |of, _| told.lock().unwrap().push(of.id)));
    Run { certificates, blobs, alarms, revoked }
}

impl Run {
    fn issue(&self, key: &str, now: Timestamp) -> Issued {
        let account = sample::account_id("K0001");
        self.certificates
            .issue(&account, Request::SshKey(key), Terms::default(), &Actor::Daemon, now)
            .unwrap()
    }

    fn bundle(&self, now: Timestamp) -> Result<Issued, CertifyError> {
        let request = Request::Bundle { password: "Shomei2026", keep: true };
        let account = sample::account_id("K0001");
        self.certificates.issue(&account, request, Terms::default(), &Actor::Daemon, now)
    }

    fn blobs(&self) -> Vec<BlobId> {
        self.blobs.scan().map(Result::unwrap).collect()
    }

    fn listed(&self, authority: &str) -> usize {
        let (_, der) = self.certificates.list_of(&AuthorityId::parse(authority).unwrap()).unwrap();
        let list = x509_cert::crl::CertificateList::from_der(&der).unwrap();
        list.tbs_cert_list.revoked_certificates.map_or(0, |all| all.len())
    }

    fn trusted(&self, now: Timestamp) -> Vec<String> {
        let all = self.certificates.ledger.authorities().unwrap();
        all.iter().filter(|of| of.holds_at(now)).map(|of| of.id.to_string()).collect()
    }
}

fn key(seed: u8) -> String {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]);
    public_line(&PublicKey::new(pair.public.into(), ""))
}

fn now() -> Timestamp {
    at("2026-11-23T00:00:00Z")
}

#[test]
fn both_forms_are_over_the_same_key_for_three_years() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), now(), "");
    let issued = run.issue(&key(1), now());
    let of = &issued.certificate;
    assert_eq!(of.not_before, now().plus(-600_000), "backdated");
    assert_eq!(of.not_after, at("2029-11-23T00:00:00Z"));
    let names: Vec<_> = issued.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["K0001.crt", "K0001-ca.crt", "K0001-cert.pub", "K0001.pub"]);
    let x509 = x509::Certificate::from_der(&BASE64.decode(&of.x509.as_ref().unwrap().der).unwrap()).unwrap();
    assert_eq!(x509.serial_hex(), of.x509.as_ref().unwrap().serial);
    assert_eq!(x509.not_after, of.not_after.plus(-1000));
    assert_eq!((x509.common_names, x509.user_ids), (vec!["K0001".to_owned()], vec![]));
    let line = &of.openssh.as_ref().unwrap().line;
    let ssh = ssh_key::Certificate::from_openssh(line).unwrap();
    assert_eq!(ssh.valid_principals(), ["K0001"]);
    assert_eq!(ssh.public_key().fingerprint(HashAlg::Sha256).to_string(), of.fingerprint);
    assert_eq!(ssh.valid_before(), of.not_after.unix_seconds());
    assert!(ssh.extensions().is_empty() && ssh.critical_options().is_empty());
    assert_eq!(run.certificates.ledger.certificate(of.id).unwrap().as_ref(), Some(of));

    // From a date on: not backdated, whole years.
    let from = Some(at("2027-04-01T00:00:00+09:00"));
    let terms = Terms { from, years: Some(1), ..Terms::default() };
    let account = sample::account_id("K0001");
    let later = run.certificates.issue(&account, Request::SshKey(&key(2)), terms, &Actor::Daemon, now());
    let later = later.unwrap().certificate;
    assert_eq!(Some(later.not_before), from);
    assert_eq!(later.not_after, at("2028-04-01T00:00:00+09:00"));
    assert_eq!(later.standing_at(now()), CertificateStanding::Future);
}

#[test]
fn generations_change_over_and_the_old_one_goes_with_its_last_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), now(), "");
    run.certificates.step(now()).unwrap();
    let by = |issued: &Issued| issued.certificate.x509.as_ref().unwrap().authority.to_string();
    assert_eq!(by(&run.issue(&key(1), now())), "x509-1");
    let change = now().plus(30 * DAY);
    let made = run.certificates.rotate(Form::X509, change, None, &Actor::Operator(0), now()).unwrap();
    assert_eq!(made.id.as_str(), "x509-2");
    assert_eq!(run.trusted(now()), ["ssh-1", "x509-1", "x509-2"], "the new one is trusted at once");
    let last = run.issue(&key(2), change.plus(-1000));
    assert_eq!(by(&last), "x509-1", "a moment before");
    assert_eq!(by(&run.issue(&key(3), change)), "x509-2");
    let end = last.certificate.not_after;
    for (time, trusted) in [
        (change.plus(DAY), &["ssh-1", "x509-1", "x509-2"][..]),
        (end.plus(-1), &["ssh-1", "x509-1", "x509-2"]),
        (end, &["ssh-1", "x509-2"]),
        (end.plus(10 * YEAR), &["ssh-1", "x509-2"]),
    ] {
        run.certificates.step(time).unwrap();
        assert_eq!(run.trusted(time), trusted, "{time}");
    }
    // A date given ends it sooner, and what it signs meanwhile ends with it.
    let sooner = end.plus(YEAR);
    run.certificates.rotate(Form::Openssh, end.plus(DAY), Some(sooner), &Actor::Operator(0), end).unwrap();
    let clamped = run.issue(&key(4), end);
    assert_eq!(clamped.certificate.openssh.as_ref().unwrap().authority.as_str(), "ssh-1");
    assert_eq!(clamped.certificate.not_after, sooner);
    assert!(clamped.notes[0].contains("rotate"), "{:?}", clamped.notes);
    assert_eq!(run.trusted(sooner), ["ssh-2", "x509-2"]);
    let bad = run.certificates.rotate(Form::X509, end, Some(end), &Actor::Operator(0), end).unwrap_err();
    assert!(matches!(bad, CertifyError::Refused { code: "AUTHORITY-DATES", .. }), "{bad}");
    // Twenty years later nothing issues: said so, with what to do.
    let over = now().plus(21 * YEAR + 30 * DAY);
    let account = sample::account_id("K0001");
    let refused =
        run.certificates.issue(&account, Request::SshKey(&key(5)), Terms::default(), &Actor::Daemon, over);
    let issued = refused.map(|issued| issued.certificate.x509.is_some());
    assert!(matches!(issued, Ok(false)), "the OpenSSH authority has no end: {issued:?}");
}

#[test]
fn a_crash_leaves_nothing_half_done() {
    for stop in ["key-made", "bundle-written", "revoked", "told", "forgotten"] {
        let dir = tempfile::tempdir().unwrap();
        let first = start(dir.path(), now(), stop);
        if stop == "key-made" {
            assert!(matches!(first.certificates.prepare(now()), Err(CertifyError::Stopped(_))));
            let made = std::fs::read(dir.path().join("keys/ca_x509-1.key")).unwrap();
            drop(first);
            let second = start(dir.path(), now(), "");
            second.certificates.prepare(now()).unwrap();
            assert_eq!(std::fs::read(dir.path().join("keys/ca_x509-1.key")).unwrap(), made, "taken up");
            assert_eq!(second.trusted(now()), ["ssh-1", "x509-1"]);
            continue;
        }
        let issued = first.bundle(now());
        if stop == "bundle-written" {
            assert!(matches!(issued, Err(CertifyError::Stopped(_))));
            drop(first);
            let second = start(dir.path(), now(), "");
            let all = second.certificates.ledger.certificates(&CertificateFilter::default(), 10).unwrap();
            assert!(all.is_empty(), "what was not recorded was not issued");
            let orphans = second.blobs();
            assert_eq!(orphans.len(), 1);
            assert!(!second.certificates.ledger.refers_to(&orphans[0]).unwrap(), "the sweep takes it");
            second.bundle(now()).unwrap();
            continue;
        }
        let id = issued.unwrap().certificate.id;
        let by = Actor::Operator(0);
        let done = match stop {
            "forgotten" => first.certificates.forget_bundle(id, &by, now()),
            _ => first.certificates.revoke(id, RevocationReason::Superseded, &by, now()).map(|_| ()),
        };
        assert!(matches!(done, Err(CertifyError::Stopped(_))), "{stop}: {done:?}");
        drop(first);
        let second = start(dir.path(), now().plus(1000), "");
        let of = second.certificates.certificate(id).unwrap();
        assert_eq!(of.revoked.is_some(), stop != "forgotten", "{stop}");
        assert!(of.bundle.is_none(), "{stop}");
        for blob in second.blobs() {
            assert!(!second.certificates.ledger.refers_to(&blob).unwrap(), "{stop}: the sweep takes it");
        }
        second.certificates.step(now().plus(1000)).unwrap();
        assert_eq!(second.listed("x509-1"), usize::from(stop != "forgotten"), "{stop}: the list says so");
        // Again: nothing is left to do, and nobody is told twice.
        second.certificates.forget_bundle(id, &by, now().plus(2000)).unwrap();
        if of.revoked.is_some() {
            assert!(
                !second.certificates.revoke(id, RevocationReason::Superseded, &by, now().plus(2000)).unwrap()
            );
            assert!(second.revoked.lock().unwrap().is_empty());
        }
    }
}

#[test]
fn a_bundle_is_handed_out_until_it_is_forgotten_or_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), now(), "");
    let issued = run.bundle(now()).unwrap();
    let id = issued.certificate.id;
    let names: Vec<_> = issued.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["K0001.p12", "K0001", "K0001.crt", "K0001-ca.crt", "K0001-cert.pub", "K0001.pub"]);
    for _ in 0..3 {
        assert_eq!(run.certificates.files(id).unwrap(), issued.files, "any number of times, the same");
    }
    run.certificates.forget_bundle(id, &Actor::Daemon, now()).unwrap();
    assert_eq!(run.certificates.files(id).unwrap(), issued.files[2..], "what is public stays");
    assert!(run.blobs().is_empty());
    let second = run.bundle(now()).unwrap().certificate.id;
    let told = run.certificates.revoke_all(
        &sample::account_id("K0001"),
        RevocationReason::CessationOfOperation,
        &Actor::Daemon,
        now(),
    );
    assert_eq!(told.unwrap(), [second, id]);
    assert_eq!(*run.revoked.lock().unwrap(), [second, id]);
    assert!(run.blobs().is_empty());
    for (password, code) in [
        ("", "PASSWORD-EMPTY"),
        ("kurz1", "PASSWORD-LENGTH"),
        ("abcdefgh", "PASSWORD-MIXTURE"),
        ("mit Leerzeichen 1", "PASSWORD-SPACE"),
        ("ＡＢＣＤ1234", "PASSWORD-WIDTH"),
        ("パスワード1234", "PASSWORD-SYMBOL"),
        ("abcd1234567890123", "PASSWORD-LENGTH"),
    ] {
        let request = Request::Bundle { password, keep: false };
        let account = sample::account_id("K0001");
        let refused = run.certificates.issue(&account, request, Terms::default(), &Actor::Daemon, now());
        let CertifyError::Refused { code: got, text } = refused.map(|_| ()).unwrap_err() else {
            panic!("{password:?}")
        };
        assert_eq!(got, code, "{password:?}");
        assert!(text.ja.starts_with("証明書発行用パスワード") && !text.en.contains("kurz1"), "{text:?}");
    }
}

#[test]
fn lists_are_numbered_upwards_and_written_before_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), now(), "");
    let authority = AuthorityId::parse("x509-1").unwrap();
    let number = || run.certificates.list_of(&authority).unwrap().0;
    run.certificates.step(now()).unwrap();
    let first = number();
    run.certificates.step(now().plus(DAY)).unwrap();
    assert_eq!(number(), first, "not yet");
    run.certificates.step(now().plus(4 * DAY)).unwrap();
    let second = number();
    assert!(second > first, "half of its time is over");
    // A clock set back: the next list is still a later one.
    run.certificates.publish(now().plus(-30 * DAY)).unwrap();
    assert_eq!(number(), second + 1);
    let issued = run.issue(&key(1), now());
    run.certificates
        .revoke(issued.certificate.id, RevocationReason::KeyCompromise, &Actor::Daemon, now().plus(5 * DAY))
        .unwrap();
    assert_eq!(run.listed("x509-1"), 1, "at each revocation");
    let keys = std::fs::read_to_string(dir.path().join("public/revoked_keys")).unwrap();
    assert!(keys.starts_with(&key(1)), "{keys}");
    let end = issued.certificate.not_after;
    run.certificates.step(end.plus(3 * DAY)).unwrap();
    assert_eq!(run.listed("x509-1"), 1, "once more after its end");
    run.certificates.step(end.plus(8 * DAY)).unwrap();
    assert_eq!(run.listed("x509-1"), 0);

    // Without the key no list can be signed: an alarm, and everything else goes on.
    let own = dir.path().join("keys/ca_x509-1.key");
    durable::rename(&own, &dir.path().join("keys/away")).unwrap();
    let later = end.plus(20 * DAY);
    run.certificates.step(later).unwrap();
    let alarms = run.alarms.list();
    assert!(
        alarms.iter().any(|alarm| alarm.code == "CRL-FAILED" && alarm.text.contains("x509-1")),
        "{alarms:?}"
    );
    let account = sample::account_id("K0001");
    let refused =
        run.certificates.issue(&account, Request::SshKey(&key(2)), Terms::default(), &Actor::Daemon, later);
    assert!(matches!(refused.map(|_| ()), Err(CertifyError::Authority(_))));
    durable::rename(&dir.path().join("keys/away"), &own).unwrap();
    run.certificates.step(later).unwrap();
    assert!(run.alarms.list().is_empty());
    // Another authority's key is not taken for its own.
    let other = AuthorityKeys::new(dir.path().to_owned(), None);
    other.signer_or_make(&AuthorityId::parse("x509-9").unwrap(), Form::X509).unwrap();
    durable::remove(&own).unwrap();
    durable::rename(&dir.path().join("ca_x509-9.key"), &own).unwrap();
    let refused =
        run.certificates.issue(&account, Request::SshKey(&key(2)), Terms::default(), &Actor::Daemon, later);
    let error = refused.map(|_| ()).unwrap_err();
    assert!(matches!(error, CertifyError::Authority(AuthorityError::OtherKey(_))), "{error}");
}

/// Everything beneath a folder, into another.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let beside = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &beside);
        } else if path.is_file() {
            std::fs::copy(&path, &beside).unwrap();
        }
    }
}

#[test]
fn what_was_revoked_after_a_backup_is_revoked_again_by_the_published_list() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, restored) = (dir.path().join("spool"), backup.path().join("spool"));
    let run = start(&root, now(), "");
    run.certificates.step(now()).unwrap();
    let [lost, replaced, kept] = [1, 2, 3].map(|seed| run.issue(&key(seed), now()).certificate.id);
    drop(run);
    copy(&root, &restored);
    let run = start(&root, now(), "");
    let later = run.issue(&key(4), now()).certificate.id;
    for (id, reason) in [
        (lost, RevocationReason::KeyCompromise),
        (replaced, RevocationReason::Superseded),
        (later, RevocationReason::Unspecified),
    ] {
        run.certificates.revoke(id, reason, &Actor::Operator(7), now()).unwrap();
    }
    let authority = AuthorityId::parse("x509-1").unwrap();
    let number = run.certificates.list_of(&authority).unwrap().0;
    drop(run);

    // The journal goes back; what anybody may have does not.
    copy(&root.join("public"), &restored.join("public"));
    let run = start(&restored, now(), "");
    run.certificates.step(now().plus(DAY)).unwrap();
    let reason = |id| run.certificates.certificate(id).unwrap().revoked.map(|revocation| revocation.reason);
    assert_eq!(reason(lost), Some(RevocationReason::KeyCompromise));
    assert_eq!((reason(replaced), reason(kept)), (Some(RevocationReason::Superseded), None));
    let mut told = run.revoked.lock().unwrap().clone();
    told.sort();
    assert_eq!(told, [lost, replaced]);
    assert!(run.certificates.list_of(&authority).unwrap().0 > number, "its number never goes back");
    assert_eq!(run.listed("x509-1"), 3, "and neither is one forgotten that the journal does not know");
    let alarms = run.alarms.list();
    let alarm = alarms.iter().find(|alarm| alarm.code == "REVOCATIONS-LOST").unwrap();
    assert!(alarm.text.contains(&lost.to_string()) && alarm.text.contains("backup"), "{}", alarm.text);
    drop(run);
    // Once; and a list that the authority did not sign is not believed.
    let file = restored.join("public/x509-1.crl");
    let mut list = std::fs::read(&file).unwrap();
    let last = list.len() - 1;
    list[last] ^= 1;
    std::fs::write(&file, list).unwrap();
    let run = start(&restored, now(), "");
    run.certificates.step(now().plus(DAY)).unwrap();
    assert!(run.alarms.list().is_empty(), "{:?}", run.alarms.list());
    assert_eq!(run.listed("x509-1"), 2);
}

#[test]
fn a_key_is_one_accounts_or_a_test_accounts_and_its_twins() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(dir.path(), now(), "");
    let mut test = sample::account("T0001", "SHA256:test");
    test.test = true;
    let set = |account| Op::SetAccount { account, new: true };
    for account in [test, sample::account("K0002", "SHA256:two")] {
        run.certificates.ledger.commit(set(account), Actor::Daemon, now()).unwrap();
    }
    let issue = |account: &str| {
        let account = sample::account_id(account);
        let request = Request::SshKey(&key(1));
        run.certificates.issue(&account, request, Terms::default(), &Actor::Daemon, now()).map(|_| ())
    };
    issue("T0001").unwrap();
    issue("K0001").unwrap();
    let refused = issue("K0002").unwrap_err();
    assert!(
        matches!(&refused, CertifyError::Refused { code: "KEY-TAKEN", text } if !text.ja.contains("K0001"))
    );
    let unknown = issue("K0009").unwrap_err();
    assert!(matches!(unknown, CertifyError::Refused { code: "ACCOUNT-UNKNOWN", .. }));
    assert_eq!(
        run.certificates.ledger.insurer(&code("06139999")).unwrap().map(|i| i.code),
        Some(code("06139999"))
    );
}
