//! Authorities and certificates as an operator handles them, held against stock tools: openssl, ssh-keygen, NSS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may end where it fails"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, Ran, until};

/// A program beside the gateway's folder.
fn run(gateway: &Gateway, program: &str, args: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.current_dir(gateway.temp.path()).args(args).stdin(Stdio::null());
    Ran::of(&command.output().unwrap_or_else(|error| panic!("{program}: {error} (see tests/tools)")))
}

#[track_caller]
fn succeeds(gateway: &Gateway, line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ran = run(gateway, words[0], &words[1..]).ends(0);
    ran.out + &ran.err
}

/// Issues over a request that openssl makes; the certificates lie in the folder `NAME`.
fn issue_csr(gateway: &Gateway, name: &str, key: &str) -> Value {
    succeeds(gateway, &format!("openssl genpkey {key} -out {name}.key"));
    succeeds(gateway, &format!("openssl req -new -key {name}.key -subj /CN=whoever -out {name}.csr"));
    gateway.ask(&["cert", "issue", ACCOUNT, "--csr", &format!("{name}.csr"), "--out", name])
}

fn revoke(gateway: &Gateway, id: &str, reason: &str) {
    gateway.todoke(&["cert", "revoke", id, "--reason", reason]).ends(0);
}

/// `openssl verify` with the published list.
fn verify(gateway: &Gateway, certificate: &str) -> Ran {
    let purpose = |purpose: &str| {
        let args = [
            "verify",
            "-x509_strict",
            "-crl_check",
            "-purpose",
            purpose,
            "-CAfile",
            "g/spool/public/x509-1.crt",
            "-CRLfile",
            "g/spool/public/x509-1.crl.pem",
            certificate,
        ];
        run(gateway, "openssl", &args)
    };
    let (signs, logs_in) = (purpose("smimesign"), purpose("sslclient"));
    assert_eq!(signs.code, logs_in.code, "{signs:?} {logs_in:?}");
    assert_ne!(purpose("sslserver").code, 0, "it is no server's");
    signs
}

#[test]
fn openssl_takes_what_is_issued_over_its_requests_and_the_list_of_what_is_revoked() {
    let gateway = Gateway::set_up(&[("certificates", "crl_url", "\"http://crl.example.jp/todoke/\"")]);
    for (name, key) in [
        ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
        ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        ("p384", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384"),
        ("p521", "-algorithm EC -pkeyopt ec_paramgen_curve:P-521"),
        ("ed25519", "-algorithm ed25519"),
    ] {
        let issued = issue_csr(&gateway, name, key);
        gateway.todoke(&["cert", "crl"]).ends(0);
        verify(&gateway, &format!("{name}/K0001.crt")).ends(0);
        let text = succeeds(&gateway, &format!("openssl x509 -noout -text -in {name}/K0001.crt"));
        for part in [
            "Issuer: O = todoke, CN = x509-1",
            "Subject: O = 06139999, CN = K0001",
            "X509v3 Key Usage: critical\n                Digital Signature, Non Repudiation",
            "TLS Web Client Authentication, E-mail Protection",
            "X509v3 Basic Constraints: critical\n                CA:FALSE",
            "URI:http://crl.example.jp/todoke/x509-1.crl",
            "X509v3 Authority Key Identifier",
            "X509v3 Subject Key Identifier",
        ] {
            assert!(text.contains(part), "{name}: {part} is not in {text}");
        }
        // The key is the requester's, and both forms are over it.
        succeeds(&gateway, &format!("openssl pkey -in {name}.key -pubout -out {name}.pub.pem"));
        let public = succeeds(&gateway, &format!("openssl x509 -noout -pubkey -in {name}/K0001.crt"));
        assert_eq!(public, fs::read_to_string(gateway.file(&format!("{name}.pub.pem"))).unwrap());
        let shown = succeeds(&gateway, &format!("ssh-keygen -L -f {name}/K0001-cert.pub"));
        let id = issued["certificate"].as_str().unwrap();
        for part in [
            "user certificate",
            issued["fingerprint"].as_str().unwrap(),
            &format!("Key ID: \"{id}\""),
            "Critical Options: (none)",
            "Extensions: (none)",
        ] {
            assert!(shown.contains(part), "{name}: {part} is not in {shown}");
        }
        let principals = shown.split("Principals:").nth(1).unwrap().trim_start();
        assert!(principals.starts_with("K0001\n"), "{shown}");

        // CMS as a sender makes it: the stock tool believes it. (OpenSSL 3.0 signs no CMS with Ed25519.)
        if name != "ed25519" {
            fs::write(gateway.file("data"), "manifest").unwrap();
            succeeds(
                &gateway,
                &format!(
                    "openssl cms -sign -binary -in data -signer {name}/K0001.crt -inkey {name}.key -outform DER -out data.p7s"
                ),
            );
            succeeds(
                &gateway,
                "openssl cms -verify -binary -inform DER -in data.p7s -content data -CAfile g/spool/public/x509-1.crt -out verified",
            );
        }
        revoke(&gateway, id, "superseded");
        let refused = verify(&gateway, &format!("{name}/K0001.crt"));
        assert!(refused.code != 0 && refused.err.contains("certificate revoked"), "{refused:?}");
    }
    let list = succeeds(&gateway, "openssl crl -noout -text -in g/spool/public/x509-1.crl.pem");
    assert_eq!(list.matches("Serial Number:").count(), 5, "{list}");
    assert_eq!(list.matches("Superseded").count(), 5, "{list}");
    assert!(list.contains("X509v3 CRL Number"), "{list}");
    // DER is the same list.
    let der = succeeds(&gateway, "openssl crl -inform DER -in g/spool/public/x509-1.crl");
    assert_eq!(der, fs::read_to_string(gateway.spool().join("public/x509-1.crl.pem")).unwrap());
}

#[test]
fn weak_requests_are_refused_each_with_its_own_code() {
    let gateway = Gateway::set_up(&[]);
    for (key, options, code) in [
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "", "WEAK-RSA"),
        ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-sha1", "WEAK-SHA1"),
        ("-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "", "WEAK-CURVE"),
        ("-algorithm ed448", "", "WEAK-CURVE"),
    ] {
        succeeds(&gateway, &format!("openssl genpkey {key} -out weak.key"));
        succeeds(
            &gateway,
            &format!("openssl req -new -key weak.key -subj /CN=K0001 {options} -out weak.csr"),
        );
        let refused = gateway.todoke(&["cert", "issue", ACCOUNT, "--csr", "weak.csr"]).ends(1);
        assert!(refused.err.starts_with(&format!("todoke: {code}: ")), "{refused:?}");
    }
    succeeds(&gateway, "openssl dsaparam -out dsa.pem 2048");
    succeeds(&gateway, "openssl gendsa -out dsa.key dsa.pem");
    succeeds(&gateway, "openssl req -new -key dsa.key -subj /CN=K0001 -out dsa.csr");
    for (args, code) in [
        (["--csr", "dsa.csr"], "WEAK-DSA"),
        (["--csr", "dsa.key"], "CSR-PRIVATE-KEY"),
        (["--ssh-key", "K0001"], "KEY-UNUSABLE"),
        (["--ssh-key", "I0001.pub"], "KEY-TAKEN"),
    ] {
        let refused = gateway.todoke(&["cert", "issue", ACCOUNT, args[0], args[1]]).ends(1);
        assert!(refused.err.contains(code), "{args:?}: {refused:?}");
    }
    let nobody = gateway.todoke(&["cert", "issue", "K0009", "--ssh-key", "K0001.pub"]).ends(1);
    assert!(nobody.err.contains("ACCOUNT-UNKNOWN"), "{nobody:?}");
    assert_eq!(gateway.ask(&["cert", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_p12_opens_in_openssl_and_nss_and_its_key_in_openssh() {
    let gateway = Gateway::set_up(&[]);
    let (password, wrong) = ("Shomei2026", "Shomei2027");
    fs::write(gateway.file("password"), format!("{password}\n")).unwrap();
    fs::write(gateway.file("wrong"), format!("{wrong}\n")).unwrap();
    let args = ["cert", "issue", ACCOUNT, "--p12", "out", "--password-file", "password"];
    let issued = gateway.ask(&args);
    let mode = |name: &str| fs::metadata(gateway.file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("out/K0001.p12"), mode("out/K0001"), mode("out/K0001.crt")], [0o600, 0o600, 0o644]);

    // openssl: key, certificate and authority, each under the modern algorithms.
    let info = succeeds(&gateway, "openssl pkcs12 -in out/K0001.p12 -info -nodes -passin file:password");
    for part in
        ["MAC: sha256", "PBES2, PBKDF2, AES-256-CBC", "hmacWithSHA256", "BEGIN PRIVATE KEY", "friendlyName"]
    {
        assert!(info.contains(part), "{part} is not in {info}");
    }
    assert_eq!(info.matches("BEGIN CERTIFICATE").count(), 2, "{info}");
    let refused =
        run(&gateway, "openssl", &["pkcs12", "-in", "out/K0001.p12", "-nodes", "-passin", "file:wrong"]);
    assert_ne!(refused.code, 0);

    // NSS (Firefox, Chromium on Linux).
    fs::create_dir(gateway.file("nss")).unwrap();
    succeeds(&gateway, "certutil -N -d sql:nss --empty-password");
    succeeds(&gateway, "pk12util -i out/K0001.p12 -d sql:nss -w password");
    let keys = succeeds(&gateway, "certutil -K -d sql:nss");
    assert!(keys.contains("< 0>"), "{keys}");
    let certificates = succeeds(&gateway, "certutil -L -d sql:nss");
    assert!(certificates.contains("K0001") && certificates.contains("u,u,u"), "{certificates}");

    // OpenSSH: the same key, under the same password, with its certificate beside it.
    let public = run(&gateway, "ssh-keygen", &["-y", "-P", password, "-f", "out/K0001"]).ends(0).out;
    assert_eq!(
        public.split_whitespace().nth(1),
        fs::read_to_string(gateway.file("out/K0001.pub")).unwrap().split_whitespace().nth(1)
    );
    assert_ne!(run(&gateway, "ssh-keygen", &["-y", "-P", wrong, "-f", "out/K0001"]).code, 0);
    assert_ne!(run(&gateway, "ssh-keygen", &["-y", "-P", "", "-f", "out/K0001"]).code, 0);
    let shown = succeeds(&gateway, "ssh-keygen -L -f out/K0001-cert.pub");
    assert!(shown.contains(issued["fingerprint"].as_str().unwrap()), "{shown}");
    succeeds(&gateway, "openssl pkcs12 -in out/K0001.p12 -nodes -nocerts -passin file:password -out p12.key");
    succeeds(&gateway, "openssl pkey -in p12.key -pubout -out p12.pem");
    let converted = succeeds(&gateway, "ssh-keygen -i -m PKCS8 -f p12.pem");
    assert_eq!(converted.split_whitespace().nth(1), public.split_whitespace().nth(1), "one key in both");

    // Nothing of it stays: neither password nor key is anywhere below the gateway.
    let key = fs::read_to_string(gateway.file("p12.key")).unwrap();
    let secrets = [password.as_bytes().to_vec(), key.lines().nth(2).unwrap().as_bytes().to_vec()];
    let mut files = 0;
    for entry in walk(&gateway.dir()) {
        let bytes = fs::read(&entry).unwrap();
        files += 1;
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_slice());
            assert!(!found, "{} holds a secret", entry.display());
        }
    }
    assert!(files > 10);

    // What is there is never overwritten, and then nothing is issued.
    let again = gateway.todoke(&args).ends(2);
    assert!(again.err.contains("there already"), "{again:?}");
    fs::write(gateway.file("short"), "abc\n").unwrap();
    let short =
        gateway.todoke(&["cert", "issue", ACCOUNT, "--p12", "out2", "--password-file", "short"]).ends(1);
    assert!(short.err.contains("PASSWORD-LENGTH") && short.err.contains("certificate-issue"), "{short:?}");
    let none = gateway.todoke(&["cert", "issue", ACCOUNT, "--p12", "out2"]).ends(2);
    assert!(none.err.contains("--password-file"), "{none:?}");
    assert_eq!(gateway.ask(&["cert", "list"]).as_array().unwrap().len(), 1);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

#[test]
fn fingerprints_are_published_as_openssl_prints_them_and_generations_change_over() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start();
    until("the authorities are published", || gateway.spool().join("public/revoked_keys").exists());
    let told = gateway.todoke(&["cert", "fingerprints"]).ends(0).out;
    for digest in ["sha256", "sha1"] {
        let printed = succeeds(
            &gateway,
            &format!("openssl x509 -noout -fingerprint -{digest} -in g/spool/public/x509-1.crt"),
        );
        let printed = printed.trim().split('=').nth(1).unwrap().to_owned();
        assert!(told.contains(&printed), "{printed} is not in {told}");
    }
    assert_eq!(told, fs::read_to_string(gateway.spool().join("public/fingerprints.txt")).unwrap());
    let first = gateway.ask(&["cert", "issue", ACCOUNT, "--ssh-key", "K0001.pub", "--out", "old"]);
    assert_eq!(first["forms"], serde_json::json!(["x509 by x509-1", "openssh by ssh-1"]));

    gateway.todoke(&["cert", "authority", "rotate", "--form", "x509"]).ends(0);
    gateway.todoke(&["cert", "authority", "rotate", "--form", "openssh", "--from", "2099-01-01"]).ends(0);
    let states = gateway.ask(&["cert", "authority", "list"]);
    let states: Vec<(&str, &str)> = states
        .as_array()
        .unwrap()
        .iter()
        .map(|of| (of["authority"].as_str().unwrap(), of["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [("ssh-1", "issues"), ("ssh-2", "trusted"), ("x509-1", "trusted"), ("x509-2", "issues")]
    );
    let second = gateway.ask(&["cert", "issue", ACCOUNT, "--ssh-key", "K0001.pub", "--out", "new"]);
    assert_eq!(second["forms"], serde_json::json!(["x509 by x509-2", "openssh by ssh-1"]));
    for (name, authority) in [("old", "x509-1"), ("new", "x509-2")] {
        let ca = format!("g/spool/public/{authority}.crt");
        run(&gateway, "openssl", &["verify", "-CAfile", &ca, &format!("{name}/K0001.crt")]).ends(0);
    }
    let both = gateway.ask(&["cert", "fingerprints"]);
    assert_eq!(both.as_array().unwrap().len(), 4);

    // A lost key: its certificates are listed, it is in the file of revoked keys, and it is never certified again.
    let id = second["certificate"].as_str().unwrap();
    revoke(&gateway, id, "key-compromise");
    succeeds(&gateway, "ssh-keygen -k -f krl g/spool/public/revoked_keys");
    let query = run(&gateway, "ssh-keygen", &["-Q", "-f", "krl", "K0001.pub"]);
    assert!(query.code == 1 && query.out.contains("REVOKED"), "{query:?}");
    let refused = gateway.todoke(&["cert", "issue", ACCOUNT, "--ssh-key", "K0001.pub"]).ends(1);
    assert!(refused.err.contains("KEY-COMPROMISED"), "{refused:?}");
    let again = gateway.todoke(&["cert", "revoke", id]).ends(0);
    assert!(again.err.contains("revoked before"), "{again:?}");
    let shown = gateway.ask(&["cert", "show", id]);
    assert_eq!(
        (shown["state"].as_str(), shown["reason"].as_str()),
        (Some("revoked"), Some("key-compromise"))
    );
    let all = gateway.ask(&["cert", "revoke", "--account", ACCOUNT]);
    assert_eq!(all.as_array().unwrap().len(), 1, "the old one");

    let retired = gateway.ask(&["cert", "authority", "retire", "x509-1"]);
    assert_eq!(retired["state"], "ended");
    assert!(!gateway.todoke(&["cert", "fingerprints"]).out.contains("x509-1"));
    let trusted = gateway.ask(&["cert", "authority", "trust", "x509-1", "--until", "2027-01-31"]);
    assert_eq!(trusted["trusted_until_at"], "2027-01-31T15:00:00.000Z", "the end of the day in Tokyo");
    let status = gateway.ask(&["status"]);
    assert_eq!(status["authorities"][0]["authority"], "x509-1", "it ends within a year: {status}");
}

#[test]
fn external_authorities_are_trusted_beside_or_instead() {
    let gateway = Gateway::set_up(&[("certificates", "embedded", "false")]);
    let none = gateway.todoke(&["cert", "issue", ACCOUNT, "--ssh-key", "K0001.pub"]).ends(1);
    assert!(none.err.contains("NO-AUTHORITY"), "{none:?}");
    let ca = "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -subj /C=JP/O=sample/CN=kenpo-ca -days 30 -out ca.crt \
              -addext keyUsage=critical,keyCertSign,cRLSign";
    succeeds(&gateway, ca);
    succeeds(
        &gateway,
        "openssl req -new -newkey rsa:2048 -nodes -keyout k.key -subj /CN=somebody -out k.csr",
    );
    fs::write(gateway.file("ext"), "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\n").unwrap();
    succeeds(
        &gateway,
        "openssl x509 -req -in k.csr -CA ca.crt -CAkey ca.key -days 10 -extfile ext -out k.crt",
    );
    let register = ["cert", "register", ACCOUNT, "k.crt"];
    let unknown = gateway.todoke(&register).ends(1);
    assert!(unknown.err.contains("CERTIFICATE-AUTHORITY"), "{unknown:?}");
    let not_ca = gateway.todoke(&["cert", "authority", "add", "kenpo", "--x509", "k.crt"]).ends(1);
    assert!(not_ca.err.contains("AUTHORITY-UNUSABLE"), "{not_ca:?}");
    let add = [
        "cert",
        "authority",
        "add",
        "kenpo",
        "--x509",
        "ca.crt",
        "--account-by",
        "registered",
        "--insurer",
        INSURER,
    ];
    let added = gateway.ask(&add);
    assert_eq!((added["state"].as_str(), added["origin"].as_str()), (Some("trusted"), Some("external")));
    assert!(added["label"].as_str().unwrap().contains("kenpo-ca"), "{added}");
    let twice = gateway.todoke(&["cert", "authority", "add", "again", "--x509", "ca.crt"]).ends(1);
    assert!(twice.err.contains("AUTHORITY-EXISTS"), "{twice:?}");
    let registered = gateway.ask(&register);
    assert_eq!(registered["forms"], serde_json::json!(["x509 by kenpo"]));
    // Its key is the account's now: another account's it cannot be.
    gateway.add_office("5678");
    gateway.add_account("K0002", &["--office", "5678", "--user-name", "係", "--mail", "k2@example.jp"]);
    let taken = gateway.todoke(&["cert", "register", "K0002", "k.crt"]).ends(1);
    assert!(taken.err.contains("KEY-TAKEN"), "{taken:?}");
    // An OpenSSH user CA of somebody else's.
    let user_ca = gateway.key("user_ca").with_extension("pub");
    let added = gateway.ask(&["cert", "authority", "add", "user-ca", "--openssh", user_ca.to_str().unwrap()]);
    assert_eq!((added["form"].as_str(), added["state"].as_str()), (Some("openssh"), Some("trusted")));
}

#[test]
fn a_listing_by_end_pages_and_the_key_of_a_test_account_serves_its_production_twin() {
    let gateway = Gateway::set_up(&[]);
    gateway.add_office("5678");
    let more = ["--office", OFFICE, "--user-name", "試験", "--mail", "t@example.jp", "--test", "--second"];
    let key = gateway.key("T").with_extension("pub");
    let add = ["account", "add", "T0001", "--insurer", INSURER];
    gateway.todoke(&[&add[..], &more[..]].concat()).ends(0);
    let key = key.to_str().unwrap();
    gateway.ask(&["cert", "issue", "T0001", "--ssh-key", key, "--years", "1"]);
    gateway.ask(&["cert", "issue", ACCOUNT, "--ssh-key", key]);
    let later = gateway.ask(&[
        "cert",
        "issue",
        ACCOUNT,
        "--ssh-key",
        "K0001.pub",
        "--from",
        "2028-02-29",
        "--years",
        "2",
    ]);
    assert_eq!(later["begins_at"], "2028-02-28T15:00:00.000Z");
    assert_eq!(later["ends_at"], "2030-02-28T15:00:00.000Z");
    assert_eq!(later["state"], "future");
    let soon = gateway.ask(&["cert", "list", "--ending-before", "2100-01-01"]);
    let accounts: Vec<&str> =
        soon.as_array().unwrap().iter().map(|of| of["account"].as_str().unwrap()).collect();
    assert_eq!(accounts, ["T0001", "K0001", "K0001"]);
    let of_test = gateway.ask(&["cert", "list", "--account", "T0001"]);
    assert_eq!(of_test.as_array().unwrap().len(), 1);
    let id = of_test[0]["certificate"].as_str().unwrap();
    gateway.todoke(&["cert", "files", id, "again"]).ends(0);
    assert!(gateway.file("again/T0001-cert.pub").exists() && !gateway.file("again/T0001.p12").exists());
}

/// `doctor` on lists of external authorities: each thing that makes one refuse all of its authority's certificates, and what to do.
#[test]
fn doctor_looks_at_revocation_lists_and_where_bounces_arrive() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start();
    until("the gateway's own list is there", || gateway.spool().join("public/x509-1.crl").exists());
    gateway.stop();
    let ca = |name: &str, subject: &str| {
        succeeds(
            &gateway,
            &format!(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.crt -subj {subject} \
                 -days 400 -addext keyUsage=critical,keyCertSign,cRLSign"
            ),
        );
    };
    ca("ours", "/CN=sample-authority");
    ca("forger", "/CN=sample-authority");
    ca("stranger", "/CN=somebody-else");
    fs::write(
        gateway.file("ca.cnf"),
        "[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\n",
    )
    .unwrap();
    fs::write(gateway.file("index.txt"), "").unwrap();
    fs::write(gateway.file("number"), "01\n").unwrap();
    let list = |by: &str, period: &str, to: &str| {
        succeeds(
            &gateway,
            &format!(
                "openssl ca -gencrl -config ca.cnf -keyfile {by}.key -cert {by}.crt {period} -out {to}.crl"
            ),
        );
    };
    list("ours", "-crldays 30", "good");
    list("ours", "-crlhours 2", "soon");
    list("ours", "-crl_lastupdate 20250101000000Z -crl_nextupdate 20250201000000Z", "past");
    list("forger", "-crldays 30", "forged");
    list("stranger", "-crldays 30", "strange");
    fs::write(gateway.file("junk.crl"), "no list").unwrap();
    let doctor = || {
        let report = gateway.todoke(&["doctor", "--json"]).json();
        let all = report["checks"].as_array().unwrap().clone();
        move |verdict: &str, check: &str, found: &str| {
            all.iter().any(|line| {
                line["verdict"] == verdict
                    && line["check"] == check
                    && line["found"].as_str().unwrap().contains(found)
                    && (verdict == "ok" || !line["action"].as_str().unwrap().is_empty())
            })
        }
    };
    let says = doctor();
    assert!(says("ok", "revocation list", "x509-1.crl of x509-1 holds until"), "the gateway's own");

    gateway.todoke(&["cert", "authority", "add", "ours", "--x509", "ours.crt"]).ends(0);
    let says = doctor();
    assert!(says("warn", "revocation list", "authority ours has none"));
    let names = ["good", "soon", "past", "forged", "strange", "junk", "absent"];
    let files = names.map(|name| format!("\"{}\"", gateway.file(&format!("{name}.crl")).display()));
    gateway.configure(&[("signatures", "revocation_lists", &format!("[{}]", files.join(", ")))]);
    let says = doctor();
    assert!(says("ok", "revocation list", "good.crl of ours holds until"));
    assert!(says("warn", "revocation list", "soon.crl of ours holds until"));
    assert!(says("error", "revocation list", "past.crl is past its date"));
    assert!(says("error", "revocation list", "forged.crl is not signed by the authority that it names"));
    assert!(says("warn", "revocation list", "is no trusted authority"));
    assert!(says("error", "revocation list", "junk.crl: "));
    assert!(says("error", "revocation list", "absent.crl: "));
    assert!(!says("warn", "revocation list", "authority ours has none"));

    let maildir = gateway.file("bounced");
    gateway.configure(&[
        ("signatures", "revocation_lists", "[]"),
        ("mail", "bounces", "\"todoke+{id}@gateway.example.jp\""),
    ]);
    assert!(doctor()("warn", "bounces", "nobody reads them"));
    gateway.configure(&[("mail", "bounce_maildir", &format!("\"{}\"", maildir.display()))]);
    assert!(doctor()("warn", "bounces", "bounced: "), "not there yet");
    for name in ["new", "cur", "tmp"] {
        fs::create_dir_all(maildir.join(name)).unwrap();
    }
    assert!(doctor()("ok", "bounces", "bounced"));
    fs::remove_dir(maildir.join("new")).unwrap();
    fs::write(maildir.join("new"), "").unwrap();
    assert!(doctor()("error", "bounces", "new: "));
}
