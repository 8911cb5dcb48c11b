//! `todoke cert`

mod again;
mod authority;
mod output;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};

use super::Globals;
use super::exit::Exit;
use super::out::{self, Column};
use super::party::{self, Yes};
use super::way::Way;
use super::when::{Edge, when};
use crate::desk::{CertificateRequest, IssuePassword, KeyMaterial, Kind, Request, Trouble};
use crate::model::certificate::RevocationReason;
use crate::model::ids::{AccountId, CertificateId};
use crate::signed::csr::REQUEST_BYTES_MAX;
use crate::signed::x509::CERTIFICATE_BYTES_MAX;

const COLUMNS: [Column; 6] = [
    ("CERTIFICATE", "certificate"),
    ("ACCOUNT", "account"),
    ("STATE", "state"),
    ("BEGINS", "begins_at"),
    ("ENDS", "ends_at"),
    ("KEY", "fingerprint"),
];
const LISTS: [Column; 4] =
    [("AUTHORITY", "authority"), ("NUMBER", "number"), ("REVOKED", "revoked"), ("FILE", "file")];

/// A password's file is one line.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Certificates and the authorities that issue them.
#[derive(Debug, Subcommand)]
pub(super) enum Cert {
    /// Authorities: the gateway's own, and external ones that are trusted
    #[command(subcommand)]
    Authority(authority::Authority),
    /// Certify an account's key, as X.509 and as OpenSSH certificate
    Issue(Issue),
    /// Renew an account's certificate at its office's request, also after its end
    Renew(Box<again::Renew>),
    /// Replace a certificate that was lost, and revoke it; for a login password: `account password --reset`
    Reissue(Box<again::Reissue>),
    /// Register a certificate that an external authority issued to an account
    Register {
        /// Whose
        account: AccountId,
        /// The certificate, PEM or DER
        file: PathBuf,
    },
    /// All, newest first, or some
    List(List),
    /// One of them
    Show(One),
    /// Write a certificate's public files into a folder
    Files {
        #[command(flatten)]
        which: One,
        /// Folder; made if it is not there
        into: PathBuf,
    },
    /// It holds no more, from now on and in sessions that run
    Revoke(Revoke),
    /// Fingerprints of all authorities that are trusted, to be published
    Fingerprints,
    /// Write the revocation lists (public/ID.crl) anew and tell them
    Crl,
}

/// Certify a key: one that stays with its owner (--csr, --ssh-key), or a new one made here (--p12).
#[derive(Debug, Args)]
pub(super) struct Issue {
    /// Whose key it is
    account: AccountId,
    #[command(flatten)]
    whose: Whose,
    /// --p12: file whose first line is the certificate-issue password; - is standard input
    #[arg(long, value_name = "FILE", requires = "p12")]
    password_file: Option<PathBuf>,
    /// --csr, --ssh-key: write the certificates into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "p12")]
    out: Option<PathBuf>,
    /// It holds from this day or time on [default: now]
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Years that it holds [default: the insurer's policy]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10))]
    years: Option<u32>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The key that made this certificate request (PKCS #10, PEM or DER)
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// This public key: a file (`id_ed25519.pub`) or the line itself
    #[arg(long, value_name = "KEY")]
    ssh_key: Option<String>,
    /// A new key: write ACCOUNT.p12, the same key for OpenSSH and the certificates into this folder
    #[arg(long, value_name = "DIR")]
    p12: Option<PathBuf>,
}

/// Which certificates.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Only those of it
    #[arg(long)]
    account: Option<AccountId>,
    /// Only those that hold now and end before this day or time, the soonest first
    #[arg(long, value_name = "WHEN")]
    ending_before: Option<String>,
}

/// Which certificate.
#[derive(Debug, Args)]
pub(super) struct One {
    /// Its number
    id: CertificateId,
}

/// Which certificates, and why.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    #[command(flatten)]
    which: Which,
    /// Why; after key-compromise the key is never certified again
    #[arg(long, value_enum, default_value = "unspecified")]
    reason: Reason,
    #[command(flatten)]
    yes: Yes,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Its number
    id: Option<CertificateId>,
    /// All of this account's
    #[arg(long)]
    account: Option<AccountId>,
}

/// Why a certificate is revoked (RFC 5280).
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

fn request(request: CertificateRequest) -> Request {
    Request::Certificate(request)
}

impl Cert {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        match self {
            Self::Authority(verb) => verb.run(globals),
            Self::Issue(issue) => issue.run(globals),
            Self::Renew(renew) => renew.run(globals),
            Self::Reissue(reissue) => reissue.run(globals),
            Self::Register { account, file } => {
                let content = BASE64.encode(party::read(&file, CERTIFICATE_BYTES_MAX as u64)?);
                let way = Way::open(globals)?;
                let answer = way.ask(request(CertificateRequest::Register(account, content)))?;
                globals.out().zone(way.config.gateway.zone).thing(&answer)
            }
            Self::List(list) => list.run(globals),
            Self::Show(One { id }) => {
                let way = Way::open(globals)?;
                let answer = way.ask(request(CertificateRequest::Show(id)))?;
                globals.out().zone(way.config.gateway.zone).thing(&answer)
            }
            Self::Files { which: One { id }, into } => {
                let mut answer = Way::open(globals)?.ask(request(CertificateRequest::Files(id)))?;
                output::prepare(&into, &[])?;
                answer.value = output::write(&into, &answer.value)?;
                output::told(globals, &answer)
            }
            Self::Revoke(revoke) => revoke.run(globals),
            Self::Fingerprints => authority::fingerprints(globals),
            Self::Crl => {
                let answer = Way::open(globals)?.ask(request(CertificateRequest::Lists))?;
                globals.out().listing(&LISTS, |_| Ok(answer.clone()))
            }
        }
    }
}

impl Issue {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let zone = globals.load()?.gateway.zone;
        let from = self.from.as_deref().map(|text| when("from", text, zone, Edge::Start)).transpose()?;
        let name = self.account.as_str();
        let (key, dir) = match (self.whose.csr, self.whose.ssh_key, self.whose.p12) {
            (Some(file), ..) => {
                let bytes = party::read(&file, REQUEST_BYTES_MAX as u64)?;
                (KeyMaterial::Csr(BASE64.encode(bytes)), self.out)
            }
            (None, Some(key), _) => {
                (KeyMaterial::SshKey(party::key_line(&key, std::path::Path::new(""))?), self.out)
            }
            (None, None, dir) => {
                let password = password(self.password_file.as_deref())?;
                (KeyMaterial::Bundle(password), dir)
            }
        };
        if let Some(dir) = &dir {
            // Before anything is issued: a key that is made here cannot be had again.
            let names =
                ["", ".p12", ".crt", "-ca.crt", "-cert.pub", ".pub"].map(|end| format!("{name}{end}"));
            output::prepare(dir, &names)?;
        }
        let way = Way::open(globals)?;
        let order = CertificateRequest::Issue { account: self.account, key, from, years: self.years };
        let mut answer = way.ask(request(order))?;
        answer.value["files"] = match &dir {
            Some(dir) => output::write(dir, &answer.value["files"])?,
            None => serde_json::Value::Null,
        };
        globals.out().zone(zone).thing(&answer)
    }
}

/// The first line of a file or of standard input; never an argument, which others can see.
fn password(file: Option<&std::path::Path>) -> Result<IssuePassword, Trouble> {
    use std::io::Read as _;
    let Some(file) = file else {
        let text = "--p12 needs --password-file FILE (or - for standard input): its first line is the certificate-issue password";
        return Err(Trouble::new(Kind::Usage, "PASSWORD", text));
    };
    let mut text = zeroize::Zeroizing::new(String::new());
    if file.as_os_str() == "-" {
        std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text)?;
    } else {
        let bytes = zeroize::Zeroizing::new(party::read(file, PASSWORD_BYTES_MAX)?);
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    Ok(IssuePassword::new(text.lines().next().unwrap_or_default()))
}

impl List {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let zone = globals.load()?.gateway.zone;
        let text = self.ending_before.as_deref();
        let ending_before = text.map(|text| when("ending-before", text, zone, Edge::Start)).transpose()?;
        let way = Way::open(globals)?;
        globals.out().zone(zone).listing(&COLUMNS, |next| {
            let account = self.account.clone();
            way.ask(request(CertificateRequest::List { account, ending_before, next }))
        })
    }
}

impl Revoke {
    fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let reason = self.reason.into();
        let (question, asked) = match (self.which.id, self.which.account) {
            (Some(id), _) => (format!("Revoke {id}?"), CertificateRequest::Revoke(id, reason)),
            (None, Some(account)) => (
                format!("Revoke all certificates of {account}?"),
                CertificateRequest::RevokeAll(account, reason),
            ),
            (None, None) => {
                return Err(Trouble::new(Kind::Usage, "REVOKE", "say which: a number or --account"));
            }
        };
        if !out::confirm(self.yes.yes, &question)? {
            out::note("Nothing changed.");
            return Ok(Exit::Refused);
        }
        let way = Way::open(globals)?;
        let answer = way.ask(request(asked))?;
        let out = globals.out().zone(way.config.gateway.zone);
        if answer.value.is_array() {
            out.listing(&COLUMNS, |_| Ok(answer.clone()))
        } else {
            out.thing(&answer)
        }
    }
}
