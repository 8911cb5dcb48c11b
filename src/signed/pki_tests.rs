//! A little PKI by the stock `openssl`, for the tests beside this.

use std::path::PathBuf;
use std::process::{Command, Output};

use super::x509::{Anchor, Certificate};
use crate::model::time::Timestamp;

/// Extensions of an account's certificate.
pub(super) const ACCOUNT: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,nonRepudiation\nextendedKeyUsage=clientAuth,emailProtection\nsubjectKeyIdentifier=hash\n";
/// Of an authority's.
pub(super) const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";

/// A folder of `NAME.key` and `NAME.crt`.
pub(super) struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    /// With the authority `ca`.
    pub(super) fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        pki.root("ca", "rsa:2048", "/CN=todoke sample CA");
        pki
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(super) fn run(&self, program: &str, line: &str) -> Output {
        let mut words = Vec::new();
        for (at, part) in line.split('"').enumerate() {
            if at % 2 == 1 { words.push(part) } else { words.extend(part.split_whitespace()) }
        }
        Command::new(program).args(words).current_dir(self.dir.path()).output().unwrap()
    }

    #[track_caller]
    pub(super) fn openssl(&self, line: &str) {
        let output = self.run("openssl", line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `rsa:BITS`, `ec:CURVE`, `ed25519`, `dsa`.
    pub(super) fn key(&self, name: &str, kind: &str) {
        match kind.split_once(':') {
            Some(("rsa", bits)) => self
                .openssl(&format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits} -out {name}.key")),
            Some((_, curve)) => self.openssl(&format!(
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {name}.key"
            )),
            None if kind == "dsa" => {
                self.openssl("dsaparam -out dsa.pem 2048");
                self.openssl(&format!("gendsa -out {name}.key dsa.pem"));
            }
            None => self.openssl(&format!("genpkey -algorithm {kind} -out {name}.key")),
        }
    }

    /// An authority that signed itself.
    pub(super) fn root(&self, name: &str, kind: &str, subject: &str) {
        self.key(name, kind);
        self.write("root.cnf", format!("[req]\ndistinguished_name=dn\nx509_extensions=e\n[dn]\n[e]\n{CA}"));
        self.openssl(&format!("req -x509 -new -config root.cnf -key {name}.key -utf8 -subj \"{subject}\" -days 3650 -out {name}.crt"));
    }

    /// `name`'s key certified by `ca`.
    pub(super) fn issue(
        &self,
        ca: &str,
        name: &str,
        kind: &str,
        subject: &str,
        extensions: &str,
        more: &str,
    ) {
        if !self.path(&format!("{name}.key")).exists() {
            self.key(name, kind);
        }
        self.write("issue.cnf", extensions);
        self.write("req.cnf", "[req]\ndistinguished_name=dn\n[dn]\n");
        self.openssl(&format!(
            "req -new -config req.cnf -key {name}.key -utf8 -subj \"{subject}\" -out {name}.csr"
        ));
        let days = if more.contains("-days") { "" } else { "-days 365" };
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -extfile issue.cnf {days} {more} -out {name}.crt"
        ));
    }

    pub(super) fn der(&self, name: &str) -> Vec<u8> {
        der::pem::decode_vec(&self.read(&format!("{name}.crt"))).unwrap().1
    }

    pub(super) fn certificate(&self, name: &str) -> Certificate {
        Certificate::from_der(&self.der(name)).unwrap()
    }

    pub(super) fn anchor(&self, name: &str) -> Anchor {
        Anchor { certificate: self.certificate(name), from: Timestamp(0), until: None }
    }
}
