//! A little PKI by the stock `openssl`: for tests of the program, and for those beside `src/signed/x509.rs`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "part of tests; each uses its own part"
)]

use std::path::PathBuf;
use std::process::{Command, Output};

/// Extensions of an account's certificate.
pub const ACCOUNT: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,nonRepudiation\nextendedKeyUsage=clientAuth,emailProtection\nsubjectKeyIdentifier=hash\n";
/// Of an authority's.
pub const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";

/// A folder of `NAME.key` and `NAME.crt`.
pub struct Pki {
    dir: tempfile::TempDir,
}

impl Pki {
    /// With the authority `ca`, in a folder of its own.
    pub fn new() -> Self {
        let pki = Self { dir: tempfile::tempdir().unwrap() };
        pki.root("ca", "rsa:2048", "/CN=todoke sample CA");
        pki
    }

    /// A file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Reads a text.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Only its owner may read it, as OpenSSH wants it of a key.
    pub fn private(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A key pair by `ssh-keygen`: `NAME` and `NAME.pub`.
    pub fn ssh_key(&self, name: &str, kind: &str, bits: &str) {
        let bits = if bits.is_empty() { String::new() } else { format!("-b {bits}") };
        let made = self.run("ssh-keygen", &format!("-q -t {kind} {bits} -N \"\" -C \"\" -f {name}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    /// `name`'s certificate by `ca` for this period (`YYYYMMDDHHMMSSZ`), over a new P-256 key.
    pub fn dated(&self, ca: &str, name: &str, subject: &str, from: &str, to: &str) {
        self.key(name, "ec:P-256");
        self.write("issue.cnf", ACCOUNT);
        self.write("req.cnf", "[req]\ndistinguished_name=dn\n[dn]\n");
        self.openssl(&format!(
            "req -new -config req.cnf -key {name}.key -utf8 -subj \"{subject}\" -out {name}.csr"
        ));
        self.write("index.txt", "");
        self.write("ca.cnf", format!(
            "[ca]\ndefault_ca=c\n[c]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\nprivate_key={ca}.key\ncertificate={ca}.crt\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\norganizationName=optional\n"
        ));
        self.openssl(&format!(
            "ca -batch -config ca.cnf -in {name}.csr -extfile issue.cnf -startdate {from} -enddate {to} -notext -out {name}.crt"
        ));
    }

    /// Runs a program in its folder; words are split at blanks but within double quotes.
    pub fn run(&self, program: &str, line: &str) -> Output {
        let mut words = Vec::new();
        for (at, part) in line.split('"').enumerate() {
            if at % 2 == 1 { words.push(part) } else { words.extend(part.split_whitespace()) }
        }
        Command::new(program).args(words).current_dir(self.dir.path()).output().unwrap()
    }

    /// Runs `openssl`, which must succeed.
    #[track_caller]
    pub fn openssl(&self, line: &str) {
        let output = self.run("openssl", line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// `rsa:BITS`, `ec:CURVE`, `ed25519`, `dsa`.
    pub fn key(&self, name: &str, kind: &str) {
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
    pub fn root(&self, name: &str, kind: &str, subject: &str) {
        self.key(name, kind);
        self.write("root.cnf", format!("[req]\ndistinguished_name=dn\nx509_extensions=e\n[dn]\n[e]\n{CA}"));
        self.openssl(&format!("req -x509 -new -config root.cnf -key {name}.key -utf8 -subj \"{subject}\" -days 3650 -out {name}.crt"));
    }

    /// `name`'s key certified by `ca`.
    pub fn issue(&self, ca: &str, name: &str, kind: &str, subject: &str, extensions: &str, more: &str) {
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

    /// A certificate as DER.
    pub fn der(&self, name: &str) -> Vec<u8> {
        der::pem::decode_vec(&self.read(&format!("{name}.crt"))).unwrap().1
    }
}
