//! Certificates from outside: openssl makes keys, requests, certificates and CMS signatures, ssh-keygen OpenSSH certificates and
//! SSHSIG, OpenSSH logs in with them. What counts, and what is refused with which code.
//!
//! The authorities are the tests' own and lie in the ledger as embedded or external ones, so that every kind of wrong certificate
//! can be made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    clippy::type_complexity,
    reason = "tests that are tables"
)]

#[path = "support/gateway.rs"]
mod gateway;
#[path = "support/pki.rs"]
mod pki;
#[path = "support/raw.rs"]
mod raw;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gateway::{ACCOUNT as PERSON, Gateway, INSURER, OFFICE, Ran, Set, SftpSession, until};
use pki::{ACCOUNT, CA, Pki};
use russh::client::AuthResult;
use russh::keys::PrivateKey;
use russh::keys::ssh_key::{Certificate as OpensshCertificate, HashAlg, PublicKey};
use serde_json::Value;
use todoke::model::authority::{AccountBy, Authority, Form, Origin};
use todoke::model::certificate::{Certificate, OpensshForm, Revocation, RevocationReason, X509Form};
use todoke::model::event::Series;
use todoke::model::ids::{AccountId, AuthorityId, CertificateId, Digest};
use todoke::model::party::Actor;
use todoke::model::time::{Clock as _, SystemClock, Timestamp};
use todoke::signed::x509;
use todoke::store::index::SledIndex;
use todoke::store::journal_ledger::JournalLedger;
use todoke::store::ledger::{CertificateLedger as _, Ledger as _, Op};
use todoke::store::recover::LedgerOptions;
use todoke::store::root::Root;

/// A gateway with the tests' authorities.
struct World {
    gateway: Gateway,
    pki: Pki,
    sets: AtomicUsize,
}

/// The ledger of a gateway that does not run.
struct Books {
    ledger: JournalLedger<SledIndex>,
    now: Timestamp,
}

impl Books {
    fn commit(&self, op: Op) {
        self.ledger.commit(op, Actor::Operator(0), self.now).unwrap();
    }

    fn authority(&self, id: &str, form: Form, origin: Origin, account_by: AccountBy, certificate: String) {
        let authority = Authority {
            id: AuthorityId::parse(id).unwrap(),
            form,
            origin,
            label: id.into(),
            sha256: Digest::of(certificate.as_bytes()),
            sha1: "0".repeat(40),
            certificate,
            ends_at: None,
            trusted_from: Timestamp(0),
            trusted_until: None,
            issuing_from: None,
            insurer: None,
            account_by,
        };
        self.commit(Op::SetAuthority { authority: Box::new(authority), new: true });
    }

    /// Notes a certificate in one or both forms as issued.
    fn issued(
        &self,
        account: &str,
        x509: Option<(&str, Vec<u8>)>,
        openssh: Option<(&str, String)>,
    ) -> CertificateId {
        let read = x509.as_ref().map(|(_, der)| x509::Certificate::from_der(der).unwrap());
        let line = openssh.as_ref().map(|(_, line)| OpensshCertificate::from_openssh(line).unwrap());
        let key = match (&read, &line) {
            (_, Some(certificate)) => PublicKey::new(certificate.public_key().clone(), ""),
            (Some(certificate), _) => certificate.key().unwrap().to_ssh().unwrap(),
            (None, None) => panic!("no form"),
        };
        let second = |seconds: u64| Timestamp(i64::try_from(seconds).unwrap().saturating_mul(1000));
        let (not_before, not_after) = match (&read, &line) {
            (Some(certificate), _) => (certificate.not_before, certificate.not_after),
            (_, Some(c)) => (second(c.valid_after()), second(c.valid_before())),
            (None, None) => panic!("no form"),
        };
        let id = CertificateId {
            epoch: 1,
            serial: self.ledger.next_serial(Series::Certificate, self.now).unwrap(),
        };
        let certificate = Certificate {
            id,
            account: AccountId::parse(account).unwrap(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            key: key.to_openssh().unwrap(),
            x509: x509.zip(read.as_ref()).map(|((authority, der), read)| X509Form {
                authority: AuthorityId::parse(authority).unwrap(),
                serial: read.serial_hex(),
                sha256: Digest::of(&der),
                der: BASE64.encode(der),
            }),
            openssh: openssh.zip(line).map(|((authority, line), read)| OpensshForm {
                authority: AuthorityId::parse(authority).unwrap(),
                serial: read.serial(),
                line: line.trim().to_owned(),
            }),
            not_before,
            not_after,
            issued_at: self.now,
            revoked: None,
            first_used_at: None,
            application: None,
            predecessor: None,
            bundle: None,
        };
        self.commit(Op::IssueCertificate(Box::new(certificate)));
        id
    }
}

/// A certificate of an account's key: which authority signed it, and how it is.
struct Wanted<'a> {
    ca: &'a str,
    account: &'a str,
    more: &'a [&'a str],
}

impl World {
    /// With the authorities that the gateway makes for itself.
    fn plain() -> Self {
        Self { gateway: Gateway::set_up(&[]), pki: Pki::new(), sets: AtomicUsize::new(0) }
    }

    /// Authorities: `ca` and `user_ca` are the gateway's own; `partner` is external, its certificates tell the account by common
    /// name; nobody trusts `other` and `other_user_ca`.
    fn new() -> Self {
        let world = Self::plain();
        let pki = &world.pki;
        pki.root("partner", "ec:P-384", "/CN=partner CA");
        pki.root("other", "ec:P-256", "/CN=another CA");
        for name in ["user_ca", "other_user_ca"] {
            pki.ssh_key(name, "ed25519", "");
        }
        world.books(|books| {
            let der = |name: &str| BASE64.encode(world.pki.der(name));
            books.authority("x509-1", Form::X509, Origin::Embedded, AccountBy::CommonName, der("ca"));
            books.authority("partner", Form::X509, Origin::External, AccountBy::CommonName, der("partner"));
            let line = world.pki.text("user_ca.pub").trim().to_owned();
            books.authority("ssh-1", Form::Openssh, Origin::Embedded, AccountBy::CommonName, line);
        });
        world
    }

    /// An account that has no key but those of its certificates.
    fn account(&self, id: &str) {
        let add = ["account", "add", id, "--insurer", INSURER, "--office", OFFICE, "--second"];
        self.gateway
            .todoke(
                &[&add[..], &["--user-name", "総務課", "--mail", "soumu@example.jp", "--machine"]].concat(),
            )
            .ends(0);
    }

    /// Writes in the ledger while no daemon runs.
    fn books<T>(&self, write: impl FnOnce(&Books) -> T) -> T {
        let now = SystemClock.now();
        let root = Root::open(&self.gateway.spool()).unwrap();
        let (ledger, _) = JournalLedger::<SledIndex>::open(root, &LedgerOptions::default(), now).unwrap();
        let books = Books { ledger, now };
        let written = write(&books);
        books.commit(Op::Stop);
        written
    }

    /// An OpenSSH certificate for a key; its line.
    fn openssh(&self, key: &str, wanted: &Wanted<'_>) -> String {
        let serial = self.sets.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = Command::new("ssh-keygen");
        command
            .args(["-q", "-I", wanted.account, "-z", &serial.to_string(), "-s"])
            .arg(self.pki.path(wanted.ca));
        if !wanted.account.is_empty() {
            command.args(["-n", wanted.account]);
        }
        let made = command.args(wanted.more).arg(self.pki.path(&format!("{key}.pub"))).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        self.pki.text(&format!("{key}-cert.pub"))
    }

    /// An X.509 certificate for the key `NAME.key`; its DER.
    fn x509(&self, name: &str, kind: &str, wanted: &Wanted<'_>) -> Vec<u8> {
        let subject = format!("/CN={}/O={INSURER}", wanted.account);
        self.pki.issue(wanted.ca, name, kind, &subject, ACCOUNT, &wanted.more.join(" "));
        self.pki.der(name)
    }

    /// Stock `sftp` with this key and, if there is one, its certificate.
    fn sftp(&self, account: &str, key: &str, certificate: Option<&str>, batch: &str) -> Ran {
        let key = self.pki.path(key);
        let identity = format!("IdentityFile={}", key.display());
        let file = certificate.map(|name| format!("CertificateFile={}", self.pki.path(name).display()));
        let mut options = vec!["-o", identity.as_str()];
        if let Some(file) = &file {
            options.extend(["-o", file.as_str()]);
        }
        self.gateway.sftp_bare(account, &options, batch)
    }

    /// A set's folder with these signatures in place of the usual one.
    fn lay_out(&self, set: &Set, signatures: &[(&str, Vec<u8>)]) -> String {
        let folder = self.gateway.lay_out(set, "unused");
        fs::remove_file(self.gateway.work().join(&folder).join("SHA256SUMS.sig")).unwrap();
        for (name, bytes) in signatures {
            self.gateway.make(&format!("{folder}/{name}"), bytes);
        }
        folder
    }

    fn batch(set: &Set, folder: &str, signatures: &[(&str, Vec<u8>)]) -> String {
        let to = set.sha256();
        let names = set.files.iter().map(|(name, _)| name.as_str()).chain(["SHA256SUMS"]);
        let names = names.chain(signatures.iter().map(|(name, _)| *name));
        let puts: String = names.map(|name| format!("put \"{folder}/{name}\" /submit/{to}/\n")).collect();
        format!("-mkdir /submit/{to}\n{puts}")
    }

    fn cms(&self, set: &Set, line: &str) -> Vec<u8> {
        self.pki.write("SHA256SUMS", &set.manifest);
        self.pki.openssl(&format!("{line} -in SHA256SUMS -out sig"));
        self.pki.read("sig")
    }

    fn sshsig(&self, set: &Set, key: &str, namespace: &str) -> Vec<u8> {
        self.pki.write("SHA256SUMS", &set.manifest);
        let _ = fs::remove_file(self.pki.path("SHA256SUMS.sig"));
        let ran = self.pki.run("ssh-keygen", &format!("-q -Y sign -n {namespace} -f {key} SHA256SUMS"));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        self.pki.read("SHA256SUMS.sig")
    }
}

fn good(account: &str) -> Wanted<'_> {
    Wanted { ca: "ca", account, more: &[] }
}

fn receipt(world: &World, account: &str, key: &str, certificate: Option<&str>, set: &Set) -> Value {
    let to = world.gateway.file("receipt.json");
    let path = format!("/receipts/by-manifest/{}.json", set.sha256());
    world.sftp(account, key, certificate, &format!("get {path} {}\n", to.display())).ends(0);
    serde_json::from_slice(&fs::read(to).unwrap()).unwrap()
}

/// RSA, EC and Ed25519: CMS by the X.509 form, login and SSHSIG by the OpenSSH form, and everything about it kept.
#[test]
fn stock_tools_log_in_and_sign_by_certificate() {
    let mut world = World::new();
    // OpenSSH reads RSA and EC keys as openssl writes them: one key for both forms.
    for (name, kind) in [("K0011", "rsa:2048"), ("K0012", "ec:P-256"), ("K0013", "ed25519")] {
        world.account(name);
        let der = world.x509(name, kind, &good(name));
        if kind == "ed25519" {
            world.pki.ssh_key("ed_ssh", "ed25519", "");
            fs::copy(world.pki.path("ed_ssh"), world.pki.path("K0013")).unwrap();
            fs::copy(world.pki.path("ed_ssh.pub"), world.pki.path("K0013.pub")).unwrap();
        } else {
            world.pki.openssl(&format!("pkey -in {name}.key -traditional -out {name}"));
            world.pki.private(name);
            let public = world.pki.run("ssh-keygen", &format!("-y -f {name}"));
            assert!(public.status.success(), "{}", String::from_utf8_lossy(&public.stderr));
            world.pki.write(&format!("{name}.pub"), public.stdout);
        }
        let line = world.openssh(name, &Wanted { ca: "user_ca", account: name, more: &["-V", "-1d:+365d"] });
        world.books(|books| {
            if kind == "ed25519" {
                books.issued(name, Some(("x509-1", der)), None);
                books.issued(name, None, Some(("ssh-1", line)))
            } else {
                books.issued(name, Some(("x509-1", der)), Some(("ssh-1", line)))
            }
        });
    }
    world.gateway.start();
    for (account, scheme) in [("K0011", "rsa-pkcs1-sha256"), ("K0012", "ecdsa-sha256"), ("K0013", "ed25519")]
    {
        let certificate = format!("{account}-cert.pub");
        let shown = world.pki.run("ssh-keygen", &format!("-L -f {certificate}"));
        assert!(String::from_utf8_lossy(&shown.stdout).contains(account));
        let login = |batch: &str| world.sftp(account, account, Some(&certificate), batch);
        login("ls /receipts\n").ends(0);

        // CMS alone.
        let set = world.gateway.set(2);
        let cms = if account == "K0013" {
            world.pki.write("SHA256SUMS", &set.manifest);
            let line = "--p7-detached-sign --load-privkey K0013.key --load-certificate K0013.crt --infile SHA256SUMS --outder --outfile sig";
            assert!(world.pki.run("certtool", line).status.success(), "certtool (package gnutls-bin)");
            world.pki.read("sig")
        } else {
            world.cms(
                &set,
                &format!("cms -sign -binary -signer {account}.crt -inkey {account}.key -outform DER"),
            )
        };
        let signatures = [("SHA256SUMS.p7s", cms.clone())];
        let folder = world.lay_out(&set, &signatures);
        login(&World::batch(&set, &folder, &signatures)).ends(0);
        let receipt_of = |set: &Set| receipt(&world, account, account, Some(&certificate), set);
        let first = receipt_of(&set);
        assert_eq!(first["outcome"], "accepted");
        assert_eq!(first["signer"]["algorithm"], scheme);
        let of = &first["signer"]["certificate"];
        assert_eq!((&of["form"], &of["authority"]), (&"x509".into(), &"x509-1".into()));
        let id = of["id"].as_str().unwrap();
        assert_eq!(first["stages"]["signature"]["detail"], format!("x509 {id}"));
        // The same again is the same.
        login(&World::batch(&set, &folder, &signatures)).ends(0);
        assert_eq!(receipt_of(&set)["number"], first["number"]);

        // What is needed to check it again is with the insurer.
        let number = first["number"].as_str().unwrap();
        let evidence = world.gateway.insurer_spool().join("new").join(number).join("evidence");
        until("it is published", || evidence.exists());
        assert_eq!(fs::read(evidence.join("SHA256SUMS.p7s")).unwrap(), cms);
        assert!(!evidence.join("SHA256SUMS.sig").exists());
        let verification: Value =
            serde_json::from_slice(&fs::read(evidence.join("verification.json")).unwrap()).unwrap();
        assert_eq!(verification["certificates"][0]["certificate"], id);
        let verified_at = verification["certificates"][0]["verified_at"].as_str().unwrap();
        let seconds = chrono::DateTime::parse_from_rfc3339(verified_at).unwrap().timestamp();
        if account != "K0013" {
            let verify = format!(
                "cms -verify -binary -inform DER -in {0}/SHA256SUMS.p7s -content {0}/SHA256SUMS -CAfile {0}/authority.pem -certfile {0}/certificate.pem -attime {seconds} -out content",
                evidence.display()
            );
            world.pki.openssl(&verify);
        }

        // SSHSIG by the certificate, and both at once.
        let set = world.gateway.set(1);
        let sshsig = world.sshsig(&set, &certificate, "todoke");
        let signatures = [("SHA256SUMS.sig", sshsig)];
        let folder = world.lay_out(&set, &signatures);
        login(&World::batch(&set, &folder, &signatures)).ends(0);
        let second = receipt_of(&set);
        assert_eq!(second["signer"]["certificate"]["form"], "openssh");
        assert!(second["second_signer"].is_null());
        if account == "K0013" {
            continue;
        }
        let set = world.gateway.set(1);
        let line = format!("smime -sign -binary -signer {account}.crt -inkey {account}.key -outform PEM");
        let signatures = [
            ("SHA256SUMS.sig", world.sshsig(&set, &certificate, "todoke")),
            ("SHA256SUMS.p7s", world.cms(&set, &line)),
        ];
        let folder = world.lay_out(&set, &signatures);
        // Both are there before the manifest is.
        let to = set.sha256();
        let mut names: Vec<&str> = vec!["SHA256SUMS.sig", "SHA256SUMS.p7s"];
        names.extend(set.files.iter().map(|(name, _)| name.as_str()));
        names.push("SHA256SUMS");
        let puts: String =
            names.iter().map(|name| format!("put \"{folder}/{name}\" /submit/{to}/\n")).collect();
        login(&format!("-mkdir /submit/{to}\n{puts}")).ends(0);
        let both = receipt_of(&set);
        assert_eq!(both["signer"]["certificate"]["form"], "openssh");
        assert_eq!(both["second_signer"]["certificate"]["form"], "x509");
        assert_eq!(both["signer"]["fingerprint"], both["second_signer"]["fingerprint"], "one key");
    }
    // The first use of each is on record (K27), once.
    let log = fs::read_to_string(world.gateway.spool().join("journal").join("current")).unwrap_or_default();
    let used = world
        .gateway
        .tree()
        .into_iter()
        .filter(|path| path.starts_with(world.gateway.spool().join("journal")))
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .collect::<String>()
        + &log;
    assert_eq!(used.matches("\"certificate_used\"").count(), 4, "two of one form each, two of both");
}

/// Each kind of wrong CMS signature and certificate, by its code; the set stays and is not numbered.
#[test]
fn wrong_cms_signatures_are_told_apart() {
    let mut world = World::new();
    for account in ["K0011", "K0012"] {
        world.account(account);
    }
    let pki = &world.pki;
    let now = SystemClock.now();
    world.x509("good", "ec:P-256", &good("K0011"));
    world.x509("revoked", "ec:P-256", &good("K0011"));
    world.x509("unknown", "ec:P-256", &good("K0011"));
    world.x509("theirs", "ec:P-256", &good("K0012"));
    world.x509("untrusted", "ec:P-256", &Wanted { ca: "other", ..good("K0011") });
    world.x509("partner_good", "ec:P-256", &Wanted { ca: "partner", ..good("K0011") });
    world.x509("partner_theirs", "ec:P-256", &Wanted { ca: "partner", ..good("K0012") });
    world.x509("partner_small", "rsa:1024", &Wanted { ca: "partner", ..good("K0011") });
    world.x509("partner_dsa", "dsa", &Wanted { ca: "partner", ..good("K0011") });
    world.x509("partner_sha1", "ec:P-256", &Wanted { ca: "partner", account: "K0011", more: &["-sha1"] });
    pki.dated("partner", "partner_expired", "/CN=K0011", "20200101000000Z", "20210101000000Z");
    pki.dated("partner", "partner_future", "/CN=K0011", "20400101000000Z", "20410101000000Z");
    let serving = ACCOUNT.replace("clientAuth,emailProtection", "serverAuth");
    pki.issue("partner", "partner_server", "ec:P-256", "/CN=K0011", &serving, "");
    pki.issue("partner", "partner_ca", "ec:P-256", "/CN=K0011", CA, "");
    let revoked = world.books(|books| {
        for (name, account) in [("good", "K0011"), ("theirs", "K0012")] {
            books.issued(account, Some(("x509-1", pki.der(name))), None);
        }
        let id = books.issued("K0011", Some(("x509-1", pki.der("revoked"))), None);
        books.commit(Op::RevokeCertificate { id, reason: RevocationReason::Superseded });
        books.ledger.certificate_by_x509(Digest::of(&pki.der("revoked"))).unwrap().unwrap()
    });
    assert!(revoked.revoked.is_some_and(|Revocation { at, .. }| at <= now.plus(60_000)));
    let key = world.gateway.key("K0011").with_extension("pub");
    world.gateway.todoke(&["account", "key", "add", "K0011", key.to_str().unwrap()]).ends(0);
    world.gateway.start();

    let gateway = &world.gateway;
    let set = gateway.set(1);
    let sign = |name: &str, more: &str| {
        world
            .cms(&set, &format!("cms -sign -binary -signer {name}.crt -inkey {name}.key -outform DER {more}"))
    };
    let smime = world.cms(&set, "cms -sign -binary -signer good.crt -inkey good.key");
    let text = world.cms(&set, "cms -sign -signer good.crt -inkey good.key -outform DER");
    let attached = sign("good", "-nodetach");
    let other_content = {
        let other = gateway.set(1);
        world.cms(&other, "cms -sign -binary -signer good.crt -inkey good.key -outform DER")
    };
    let mut broken = sign("good", "");
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let both = format!("-signer {0}.crt -inkey {0}.key", "partner_good");
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("revoked", sign("revoked", ""), "CERTIFICATE-REVOKED"),
        ("never issued", sign("unknown", ""), "CERTIFICATE-NOT-ISSUED"),
        ("of another account", sign("theirs", ""), "CERTIFICATE-ACCOUNT"),
        ("of another account, external", sign("partner_theirs", ""), "CERTIFICATE-ACCOUNT"),
        ("of another authority", sign("untrusted", ""), "CERTIFICATE-AUTHORITY"),
        ("expired", sign("partner_expired", ""), "CERTIFICATE-EXPIRED"),
        ("not yet valid", sign("partner_future", ""), "CERTIFICATE-NOT-YET"),
        ("of a server", sign("partner_server", ""), "CERTIFICATE-PURPOSE"),
        ("of an authority", sign("partner_ca", ""), "CERTIFICATE-CA"),
        ("RSA-1024", sign("partner_small", ""), "WEAK-RSA"),
        ("DSA", sign("partner_dsa", ""), "WEAK-DSA"),
        ("certificate signed over SHA-1", sign("partner_sha1", ""), "WEAK-SHA1"),
        ("signed over SHA-1", sign("good", "-md sha1"), "WEAK-SHA1"),
        ("two of the account's", sign("good", &both), "CMS-SIGNERS"),
        ("S/MIME", smime, "CMS-SMIME"),
        ("text", text, "CMS-TEXT"),
        ("attached", attached, "CMS-ATTACHED"),
        ("without certificate", sign("partner_good", "-nocerts"), "CMS-NO-CERTIFICATE"),
        ("over other bytes", other_content, "CMS-MISMATCH"),
        ("broken", broken, "CMS-SIGNATURE"),
        ("empty", Vec::new(), "CMS-EMPTY"),
        ("garbage", b"no signature at all\n".to_vec(), "CMS-MALFORMED"),
        ("a certificate", pki.der("good"), "CMS-MALFORMED"),
        ("an SSH signature", gateway.sign(&set.manifest, "K0011", "todoke"), "CMS-SSHSIG"),
        ("1 MiB", vec![0x30; 1 << 20], "CMS-SIZE"),
    ];
    let to = set.sha256();
    let folder = world.lay_out(&set, &[]);
    let mut batch = format!("mkdir /submit/{to}\n");
    for name in set.files.iter().map(|(name, _)| name.as_str()).chain(["SHA256SUMS"]) {
        batch += &format!("put {folder}/{name} /submit/{to}/\n");
    }
    for (what, signature, code) in &cases {
        gateway.make("sig", signature);
        let ran = gateway.sftp("K0011", &format!("{batch}put sig /submit/{to}/SHA256SUMS.p7s\n"));
        assert_eq!(ran.code, 1, "{what}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(&format!("{code} ")), "{what} should be {code}: {}", ran.err);
        assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0, "{what}");
        batch.clear();
    }
    // A second signature by the registered key does not help a wrong one.
    gateway.make("sig", gateway.sign(&set.manifest, "K0011", "todoke"));
    gateway.make("p7s", sign("theirs", ""));
    let ran = gateway.sftp(
        "K0011",
        &format!("-put p7s /submit/{to}/SHA256SUMS.p7s\nput sig /submit/{to}/SHA256SUMS.sig\n"),
    );
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("CERTIFICATE-ACCOUNT "), "{}", ran.err);
    // One signer of several is enough, if exactly one is the account.
    let line = "cms -sign -binary -outform DER -signer theirs.crt -inkey theirs.key -signer good.crt -inkey good.key";
    gateway.make("p7s", world.cms(&set, line));
    gateway
        .sftp("K0011", &format!("rm /submit/{to}/SHA256SUMS.sig\nput p7s /submit/{to}/SHA256SUMS.p7s\n"))
        .ends(0);
    let taken = gateway.receipt("K0011", &set).unwrap();
    assert_eq!(taken["signer"]["certificate"]["authority"], "x509-1");
    // ... and an external authority's counts by its common name, its certificates between included.
    let set = gateway.set(1);
    gateway.make(
        "p7s",
        world.cms(&set, "cms -sign -binary -outform PEM -signer partner_good.crt -inkey partner_good.key"),
    );
    let folder = world.lay_out(&set, &[("SHA256SUMS.p7s", fs::read(gateway.work().join("p7s")).unwrap())]);
    gateway.sftp("K0011", &World::batch(&set, &folder, &[("SHA256SUMS.p7s", Vec::new())])).ends(0);
    let taken = gateway.receipt("K0011", &set).unwrap();
    assert_eq!(taken["signer"]["certificate"]["authority"], "partner");
    assert!(taken["signer"]["certificate"]["id"].is_null());
}

/// A login with a certificate by a client that presents whatever it has.
fn presented(world: &World, account: &str, name: &str) -> AuthResult {
    let key = PrivateKey::from_openssh(world.pki.read(name)).unwrap();
    let certificate = OpensshCertificate::from_openssh(&world.pki.text(&format!("{name}-cert.pub"))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut session, _) = raw::connect(world.gateway.address.port()).await;
        session.authenticate_openssh_cert(account, Arc::new(key), certificate).await.unwrap()
    })
}

/// The same certificates in SSH's form: for a login and for a signature, each refused by its code.
#[test]
fn wrong_openssh_certificates_are_told_apart() {
    let mut world = World::new();
    let account = "K0011";
    for account in [account, "K0012"] {
        world.account(account);
    }
    let pki = &world.pki;
    let period = ["-V", "-1d:+365d"];
    let with = |more: &[&'static str]| [&period[..], more].concat();
    let mut ids = Vec::new();
    // Name, who signs, for whom, options, whether the ledger has it, the code.
    let cases: Vec<(&str, &str, &str, Vec<&str>, bool, &str)> = vec![
        ("good", "user_ca", account, with(&[]), true, ""),
        ("revoked", "user_ca", account, with(&[]), true, "CERTIFICATE-REVOKED"),
        ("unissued", "user_ca", account, with(&["-O", "no-pty"]), false, "CERTIFICATE-NOT-ISSUED"),
        ("expired", "user_ca", account, vec!["-V", "20200101:20210101"], true, "CERTIFICATE-EXPIRED"),
        ("future", "user_ca", account, vec!["-V", "20400101:20410101"], true, "CERTIFICATE-NOT-YET"),
        ("othersca", "other_user_ca", account, with(&[]), false, "CERTIFICATE-AUTHORITY"),
        ("theirs", "user_ca", "K0012", with(&[]), false, "CERTIFICATE-ACCOUNT"),
        ("nobodys", "user_ca", "", with(&[]), false, "CERTIFICATE-PRINCIPALS"),
        ("host", "user_ca", account, with(&["-h"]), false, "CERTIFICATE-PURPOSE"),
        (
            "source",
            "user_ca",
            account,
            with(&["-O", "source-address=192.0.2.0/24"]),
            true,
            "CERTIFICATE-SOURCE",
        ),
        ("option", "user_ca", account, with(&["-O", "force-command=true"]), true, "CERTIFICATE-OPTION"),
    ];
    for (name, ca, principal, more, known, _) in &cases {
        pki.ssh_key(name, "ecdsa", "256");
        // A key that the ledger knows as the account's: else nobody would be told anything.
        let genuine = world.openssh(name, &Wanted { ca: "user_ca", account, more: &period });
        let line = world.openssh(name, &Wanted { ca, account: principal, more });
        let line = if *known { line } else { genuine };
        let id = world.books(|books| books.issued(account, None, Some(("ssh-1", line))));
        ids.push((*name, id));
    }
    let of = |name: &str| ids.iter().find(|(known, _)| *known == name).unwrap().1;
    world.books(|books| {
        // Only one certificate may be another way in, or nobody is told: those below end all the same.
        books.commit(Op::RevokeCertificate { id: of("revoked"), reason: RevocationReason::Unspecified });
    });
    world.gateway.start();
    let gateway = &world.gateway;
    let certificate = |name: &str| format!("{name}-cert.pub");
    for (name, .., code) in &cases {
        // OpenSSH's client keeps a host certificate to itself; another may not.
        let code_of_login = if *name == "host" {
            assert!(!presented(&world, account, name).success());
            1
        } else {
            world.sftp(account, name, Some(&certificate(name)), "ls /receipts\n").code
        };
        if code.is_empty() {
            assert_eq!(code_of_login, 0, "{name}");
            continue;
        }
        assert_ne!(code_of_login, 0, "{name}");
        // Others are ways in as well, so that the client may go on to them; the log has the reason.
        let logged = gateway.log();
        assert!(
            logged.contains(&format!("code=\"{code}\"")) || logged.contains(&format!("code={code}")),
            "{name} should be {code}:\n{logged}"
        );
    }
    // Signatures: told in words, since the login is by another certificate.
    let set = gateway.set(1);
    let to = set.sha256();
    let folder = world.lay_out(&set, &[]);
    let mut batch = format!("mkdir /submit/{to}\n");
    for name in set.files.iter().map(|(name, _)| name.as_str()).chain(["SHA256SUMS"]) {
        batch += &format!("put {folder}/{name} /submit/{to}/\n");
    }
    let good = certificate("good");
    let mut refused = |what: &str, signature: Vec<u8>, code: &str| {
        gateway.make("sig", signature);
        let put = format!("{batch}put sig /submit/{to}/SHA256SUMS.sig\n");
        let ran = world.sftp(account, "good", Some(&good), &put);
        assert_eq!(ran.code, 1, "{what}: {}", ran.err);
        assert!(ran.err.contains(&format!("{code} ")), "{what} should be {code}: {}", ran.err);
        batch.clear();
    };
    for (name, .., code) in &cases {
        // Where it may be used from is about logins.
        if !code.is_empty() && *name != "source" {
            refused(name, world.sshsig(&set, &certificate(name), "todoke"), code);
        }
    }
    refused("without certificate", world.sshsig(&set, "good.pub", "todoke"), "CERTIFICATE-NOT-PRESENTED");
    refused("wrong namespace", world.sshsig(&set, &good, "file"), "SIGNATURE-NAMESPACE");
    refused("empty", Vec::new(), "SIGNATURE-ARMOR");
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0);
    gateway.make("sig", world.sshsig(&set, &certificate("source"), "todoke"));
    world.sftp(account, "good", Some(&good), &format!("put sig /submit/{to}/SHA256SUMS.sig\n")).ends(0);
}

/// Somebody whose only certificate counts no more is told why; a stranger is told nothing.
#[test]
fn whoever_holds_a_certified_key_is_told_why_it_does_not_count() {
    let mut world = World::new();
    let period = ["-V", "-1d:+365d"];
    for (account, name, more) in [
        ("K0011", "expired", &["-V", "20200101:20210101"][..]),
        ("K0012", "future", &["-V", "20400101:20410101"]),
        ("K0013", "revoked", &period),
        ("K0014", "option", &["-V", "-1d:+365d", "-O", "force-command=true"]),
        ("K0015", "bare", &period),
    ] {
        world.account(account);
        world.pki.ssh_key(name, "ed25519", "");
        let line = world.openssh(name, &Wanted { ca: "user_ca", account, more });
        world.books(|books| {
            let id = books.issued(account, None, Some(("ssh-1", line)));
            if name == "revoked" {
                books.commit(Op::RevokeCertificate { id, reason: RevocationReason::KeyCompromise });
            }
        });
    }
    world.pki.ssh_key("stranger", "ed25519", "");
    world.openssh("stranger", &Wanted { ca: "other_user_ca", account: "K0015", more: &period });
    world.gateway.start();
    for (account, name, code) in [
        ("K0011", "expired", "CERTIFICATE-EXPIRED"),
        ("K0012", "future", "CERTIFICATE-NOT-YET"),
        ("K0013", "revoked", "CERTIFICATE-REVOKED"),
        ("K0014", "option", "CERTIFICATE-OPTION"),
    ] {
        let ran = world.sftp(account, name, Some(&format!("{name}-cert.pub")), "ls\n");
        assert_ne!(ran.code, 0, "{name}");
        assert!(ran.err.contains(&format!("{code} ")), "{name} should be {code}: {}", ran.err);
    }
    fs::remove_file(world.pki.path("bare-cert.pub")).unwrap();
    // Its certificate may come after the key; who comes again without is told.
    let ran = world.sftp("K0015", "bare", None, "ls\n");
    assert!(ran.code != 0 && ran.err.contains("Permission denied"), "{}", ran.err);
    until("it is told", || {
        let ran = world.sftp("K0015", "bare", None, "ls\n");
        ran.code != 0 && ran.err.contains("CERTIFICATE-NOT-PRESENTED ")
    });
    // Another's certificate, an unknown authority's, an account that is not there: one answer.
    let answers: Vec<String> =
        [("K0012", "expired"), ("K0015", "stranger"), ("K9999", "stranger"), ("K0015", "future")]
            .into_iter()
            .map(|(account, name)| {
                let ran = world.sftp(account, name, Some(&format!("{name}-cert.pub")), "ls\n");
                assert_ne!(ran.code, 0, "{account} {name}");
                ran.err.replace(account, "ACCOUNT")
            })
            .collect();
    assert!(
        answers.iter().all(|answer| answer == &answers[0] && answer.contains("Permission denied")),
        "{answers:?}"
    );
}

/// A request by openssl, certified by the gateway's own authorities; the files lie beside the key. Gives the certificate's number.
fn certified(world: &World, account: &str, kind: &str) -> String {
    let pki = &world.pki;
    pki.key(account, kind);
    pki.write("req.cnf", "[req]\ndistinguished_name=dn\n[dn]\n");
    pki.openssl(&format!(
        "req -new -config req.cnf -key {account}.key -subj /CN={account} -out {account}.csr"
    ));
    let (csr, out) = (pki.path(&format!("{account}.csr")), pki.path("out"));
    let issue = ["cert", "issue", account, "--csr", csr.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let issued = world.gateway.ask(&issue);
    for end in [".crt", "-cert.pub"] {
        fs::copy(out.join(format!("{account}{end}")), pki.path(&format!("{account}{end}"))).unwrap();
    }
    // An EC key as OpenSSH reads it.
    pki.openssl(&format!("pkey -in {account}.key -traditional -out {account}"));
    pki.private(account);
    issued["certificate"].as_str().unwrap().to_owned()
}

/// From openssl's request to the revocation, which ends the sessions that run.
#[test]
fn the_gateways_own_certificates_serve_until_they_are_revoked() {
    let mut world = World::plain();
    for account in ["K0011", "K0012"] {
        world.account(account);
    }
    world.gateway.start();
    let ids = ["K0011", "K0012"].map(|account| certified(&world, account, "ec:P-256"));
    let identity = |account: &str| {
        let path = |name: String| world.pki.path(&name).display().to_string();
        [
            format!("IdentityFile={}", path(account.into())),
            format!("CertificateFile={}", path(format!("{account}-cert.pub"))),
        ]
    };
    let gateway = &world.gateway;
    let cms = |set: &Set, account: &str| {
        world.cms(set, &format!("cms -sign -binary -signer {account}.crt -inkey {account}.key -outform DER"))
    };
    let send = |account: &str, set: &Set| {
        let signatures = [("SHA256SUMS.p7s", cms(set, account))];
        let folder = world.lay_out(set, &signatures);
        world.sftp(
            account,
            account,
            Some(&format!("{account}-cert.pub")),
            &World::batch(set, &folder, &signatures),
        )
    };
    let set = gateway.set(1);
    send("K0011", &set).ends(0);
    let taken = receipt(&world, "K0011", "K0011", Some("K0011-cert.pub"), &set);
    assert_eq!(taken["signer"]["certificate"]["id"], ids[0].as_str());
    // Of the account's certificates, the one that ends last.
    let (ends, own) = (&taken["certificate_ends"], &taken["signer"]["certificate"]["not_after"]);
    assert!(ends.is_string() && ends.as_str() >= own.as_str(), "{taken:#}");
    let shown = gateway.ask(&["cert", "show", &ids[0]]);
    assert!(shown["first_used_at"].is_string(), "{shown}");

    let [key, certificate] = identity("K0011");
    let mut first = gateway.session_bare("K0011", &["-o", &key, "-o", &certificate]);
    let [key, certificate] = identity("K0012");
    let mut second = gateway.session_bare("K0012", &["-o", &key, "-o", &certificate]);
    first.does("ls /receipts");
    second.does("ls /receipts");
    gateway.todoke(&["cert", "revoke", &ids[0], "--reason", "superseded", "--yes"]).ends(0);
    until("the session is told and ended", || first.errors().contains("CERTIFICATE-REVOKED "));
    until("its place is free", || {
        let status = gateway.ask(&["status"]);
        status["sessions"].as_array().unwrap().iter().all(|session| session["account"] != "K0011")
    });
    first.cut();
    second.does("ls /receipts");
    second.ends().ends(0);
    let again = send("K0011", &gateway.set(1));
    assert!(again.code != 0 && again.err.contains("CERTIFICATE-REVOKED "), "{}", again.err);
    send("K0012", &gateway.set(1)).ends(0);
}

/// A certificate that ends while a session runs: what is under way may be finished, and nobody logs in anew.
#[test]
fn a_session_outlives_its_certificate_and_no_new_one_begins() {
    let mut world = World::plain();
    world.account("K0011");
    world.gateway.start_inside();
    certified(&world, "K0011", "ec:P-256");
    let path = |name: &str| world.pki.path(name).display().to_string();
    let key = format!("IdentityFile={}", path("K0011"));
    let certificate = format!("CertificateFile={}", path("K0011-cert.pub"));
    let mut session = world.gateway.session_bare("K0011", &["-o", &key, "-o", &certificate]);
    session.does("ls /receipts");
    world.gateway.clock.forward(4 * 365 * todoke::model::time::DAY);
    session.does("ls /receipts");
    let ran = world.sftp("K0011", "K0011", Some("K0011-cert.pub"), "ls\n");
    assert!(ran.code != 0 && ran.err.contains("CERTIFICATE-EXPIRED "), "{}", ran.err);
    session.ends().ends(0);
}

/// Sessions end with what they came by, and with the standing of account and insurer; whoever holds the key is told why.
#[test]
fn sessions_end_when_account_insurer_key_or_authority_serve_no_more() {
    let mut world = World::plain();
    world.account("K0011");
    world.gateway.start();
    certified(&world, "K0011", "ec:P-256");
    let gateway = &world.gateway;
    let path = |name: &str| world.pki.path(name).display().to_string();
    let key = format!("IdentityFile={}", path("K0011"));
    let certificate = format!("CertificateFile={}", path("K0011-cert.pub"));
    let by_key = || {
        let mut session = gateway.session(PERSON, PERSON, &[]);
        session.does("ls /receipts");
        session
    };
    let by_certificate = || {
        let mut session = gateway.session_bare("K0011", &["-o", &key, "-o", &certificate]);
        session.does("ls /receipts");
        session
    };
    let does = |line: &str| gateway.todoke(&line.split(' ').collect::<Vec<_>>()).ends(0);
    let ended = |session: SftpSession, account: &str| {
        until("the session is told and ended", || session.errors().contains("SESSION-STOPPED "));
        session.cut();
        until("its place is free", || {
            let status = gateway.ask(&["status"]);
            status["sessions"].as_array().unwrap().iter().all(|session| session["account"] != account)
        });
    };
    let mut stays = by_certificate();
    let session = by_key();
    does(&format!("account suspend {PERSON}"));
    ended(session, PERSON);
    stays.does("ls /receipts");
    let told = gateway.sftp(PERSON, "ls\n");
    assert!(told.code != 0 && told.err.contains("ACCOUNT-STOPPED "), "{}", told.err);
    gateway.key("stranger");
    let stranger = gateway.sftp_with(PERSON, "stranger", &[], "ls\n");
    assert!(stranger.code != 0 && !stranger.err.contains("ACCOUNT-STOPPED"), "{}", stranger.err);
    does(&format!("account resume {PERSON}"));

    let session = by_key();
    let shown = gateway.ask(&["account", "show", PERSON]);
    let fingerprint = shown["ssh_keys"][0].as_str().unwrap_or_else(|| panic!("{shown:#}")).to_owned();
    does(&format!("account key remove {PERSON} {fingerprint}"));
    ended(session, PERSON);
    let line = gateway.key(PERSON).with_extension("pub");
    does(&format!("account key add {PERSON} {}", line.display()));

    let session = by_key();
    stays.does("ls /receipts");
    does("cert authority retire ssh-1 --yes");
    ended(stays, "K0011");
    does("cert authority trust ssh-1");
    let other = by_certificate();
    does(&format!("insurer suspend {INSURER}"));
    ended(session, PERSON);
    ended(other, "K0011");
    let told = world.sftp("K0011", "K0011", Some("K0011-cert.pub"), "ls\n");
    assert!(told.code != 0 && told.err.contains("ACCOUNT-STOPPED "), "{}", told.err);
}

/// Why a running session ends is said where a stock client shows it, in the account's language: to one that waits, and to one in the
/// middle of a download.
#[test]
fn who_is_sent_away_reads_why_in_the_accounts_language() {
    let mut gateway = Gateway::new();
    gateway.add_account("K0002", &["--role", "insurer", "--language", "en"]);
    let stopped = [
        "SESSION-STOPPED このアカウント、または接続に使った鍵か証明書が使えなくなったため",
        "SESSION-STOPPED This account, or the key",
    ];
    let stopping =
        ["GATEWAY-STOPPING ゲートウェイが停止します。", "GATEWAY-STOPPING The gateway is stopping."];
    let begin = |gateway: &Gateway| {
        [PERSON, "K0002"].map(|account| {
            let mut session = gateway.session(account, account, &[]);
            session.does("ls /");
            session
        })
    };
    let ended = |session: SftpSession, words: &str| {
        until("the session is told and ended", || session.errors().contains(words));
        let ran = session.ends();
        // Neither as octal, nor twice.
        assert!(!ran.err.contains("\\343") && ran.err.matches(&words[..8]).count() == 1, "{}", ran.err);
        ran.code
    };
    let sessions = begin(&gateway);
    for (account, (session, words)) in [PERSON, "K0002"].iter().zip(sessions.into_iter().zip(stopped)) {
        gateway.todoke(&["account", "suspend", account]).ends(0);
        ended(session, words);
        gateway.todoke(&["account", "resume", account]).ends(0);
    }

    let pdf = gateway
        .make("large.pdf", [b"%PDF-1.4\n".as_slice(), &b"% page\n".repeat(300_000), b"%%EOF\n"].concat());
    let deliver =
        ["deliver", "--insurer", INSURER, "--account", PERSON, "--type", "納入告知書", "--title", "x"];
    gateway.todoke(&[&deliver[..], &[pdf.to_str().unwrap()]].concat()).ends(0);
    let mut session = gateway.session(PERSON, PERSON, &["-R", "1", "-B", "4096", "-l", "400"]);
    session.tell("get /outbox/*/*.pdf here.pdf");
    until("some of it has come", || {
        std::fs::metadata(gateway.work().join("here.pdf")).is_ok_and(|file| file.len() > 16 * 1024)
    });
    gateway.todoke(&["account", "suspend", PERSON]).ends(0);
    assert_ne!(ended(session, stopped[0]), 0, "the download failed");
    gateway.todoke(&["account", "resume", PERSON]).ends(0);

    let sessions = begin(&gateway);
    gateway.stop();
    for (session, words) in sessions.into_iter().zip(stopping) {
        ended(session, words);
    }
}

/// A clock that ran ahead and was set back: the revocation bears a time to come, and counts at once. A key that is lost with its
/// certificate is lost where it is registered by itself, too.
#[test]
fn a_revocation_counts_after_the_clock_was_set_back() {
    let mut world = World::plain();
    world.account("K0011");
    world.gateway.start_inside();
    let id = certified(&world, "K0011", "ec:P-256");
    let gateway = &world.gateway;
    world.pki.openssl("pkey -in K0011.key -pubout -out K0011.pem");
    let converted = world.pki.run("ssh-keygen", "-i -m PKCS8 -f K0011.pem");
    world.pki.write("K0011.pub", &converted.stdout);
    let line = world.pki.path("K0011.pub").display().to_string();
    gateway.todoke(&["account", "key", "add", "K0011", &line]).ends(0);
    world.sftp("K0011", "K0011", None, "ls\n").ends(0);
    world.sftp("K0011", "K0011", Some("K0011-cert.pub"), "ls\n").ends(0);
    gateway.clock.forward(2 * todoke::model::time::DAY);
    gateway.todoke(&["account", "suspend", PERSON]).ends(0);
    gateway.clock.forward(-2 * todoke::model::time::DAY);
    let revoked = gateway.todoke(&["cert", "revoke", &id, "--reason", "key-compromise", "--yes"]).ends(0);
    assert!(revoked.err.contains("account key remove K0011 SHA256:"), "{}", revoked.err);
    let shown = gateway.ask(&["cert", "show", &id]);
    assert_eq!(shown["state"], "revoked", "{shown:#}");
    for certificate in [Some("K0011-cert.pub"), None] {
        let ran = world.sftp("K0011", "K0011", certificate, "ls\n");
        assert!(ran.code != 0 && ran.err.contains("CERTIFICATE-REVOKED "), "{certificate:?}: {}", ran.err);
    }
    let fingerprint = shown["fingerprint"].as_str().unwrap().to_owned();
    gateway.todoke(&["account", "key", "remove", "K0011", &fingerprint]).ends(0);
    let again = gateway.todoke(&["account", "key", "add", "K0011", &line]).ends(1);
    assert!(again.err.contains("revoked as compromised"), "{}", again.err);
}
