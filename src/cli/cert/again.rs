//! `todoke cert renew`, `todoke cert reissue`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::Value;

use super::output;
use crate::cli::Globals;
use crate::cli::application::{self, PaymentName};
use crate::cli::exit::Exit;
use crate::cli::way::Way;
use crate::desk::{ApplicationRequest, Request, Trouble};
use crate::model::application::{ApplicationKind, Loss, Material};
use crate::model::ids::{AccountId, CertificateId, UseClass};
use crate::work::enrol::again::AgainForm;

/// What both have in common.
#[derive(Debug, Args)]
struct Common {
    /// Whose
    account: AccountId,
    #[command(flatten)]
    whose: Whose,
    /// --csr, --ssh-key: write the certificates into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "p12")]
    out: Option<PathBuf>,
    /// --csr, --ssh-key: also make an enrolment login, by which the office fetches them over SFTP without certificate
    #[arg(long, conflicts_with = "p12")]
    login: bool,
    /// Write the password of the enrolment login to this new file (0600, CSV) instead of standard output
    #[arg(long, value_name = "FILE")]
    letter: Option<PathBuf>,
    /// Class of use, which the fee depends on [default: the last application's]
    #[arg(long)]
    class: Option<UseClass>,
    /// How the fee is paid [default: as the last application's]
    #[arg(long, value_enum)]
    payment: Option<PaymentName>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The new key is the one that made this certificate request (PKCS #10, PEM)
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// The new key is this public one: a file (`id_ed25519.pub`) or the line itself
    #[arg(long, value_name = "KEY")]
    ssh_key: Option<String>,
    /// The gateway makes the new key; it is fetched as a bundle by an enrolment login, whose password opens it too
    #[arg(long)]
    p12: bool,
}

/// A new certificate for an account whose old one ends or has ended, at the office's request: for people who cannot log in to
/// put renew.pub themselves.
#[derive(Debug, Args)]
pub(in crate::cli) struct Renew {
    #[command(flatten)]
    common: Common,
    /// Which one is renewed [default: the one that ends next, or has ended]
    #[arg(long, value_name = "CERTIFICATE")]
    of: Option<CertificateId>,
    /// Version of the terms that the office consented to, on paper say (renewal.consent)
    #[arg(long, value_name = "VERSION")]
    consent: Option<String>,
}

/// A new certificate in place of one that was lost, which is revoked as `[renewal]` says, also in sessions that
/// run. A forgotten login password is another thing: `account password --reset`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Reissue {
    #[command(flatten)]
    common: Common,
    /// Which one was lost; may be repeated [default: the only one that holds]
    #[arg(long, value_name = "CERTIFICATE", conflicts_with = "all")]
    lost: Vec<CertificateId>,
    /// All that hold were lost
    #[arg(long)]
    all: bool,
    /// How it was lost
    #[arg(long, value_enum, default_value = "key")]
    reason: Reason,
}

/// How a certificate was lost.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reason {
    /// The key or its machine is lost or stolen: others may have it, and it is never certified again
    Key,
    /// The certificate-issue password is lost, so that its bundle cannot be opened
    Password,
    /// The machine broke, or the key was deleted: nobody has it
    Destroyed,
}

impl From<Reason> for Loss {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Key => Self::Key,
            Reason::Password => Self::Password,
            Reason::Destroyed => Self::Destroyed,
        }
    }
}

impl Renew {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let mut form = self.common.form(ApplicationKind::Renewal)?;
        form.certificates = self.of.into_iter().collect();
        form.consent = self.consent;
        self.common.ask(globals, form)
    }
}

impl Reissue {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let mut form = self.common.form(ApplicationKind::Reissue)?;
        form.certificates = self.lost;
        form.all = self.all;
        form.loss = Some(self.reason.into());
        self.common.ask(globals, form)
    }
}

impl Common {
    fn form(&self, kind: ApplicationKind) -> Result<AgainForm, Trouble> {
        let material: Material =
            application::material(self.whose.ssh_key.as_deref(), self.whose.csr.as_deref())?;
        Ok(AgainForm {
            kind,
            account: self.account.clone(),
            certificates: Vec::new(),
            all: false,
            loss: None,
            material,
            class: self.class.clone(),
            payment: self.payment.map(Into::into),
            consent: None,
        })
    }

    /// Files are made first: what cannot be written would be lost.
    fn ask(self, globals: &Globals, form: AgainForm) -> Result<Exit, Trouble> {
        if let Some(dir) = &self.out {
            let name = form.account.as_str();
            let names = [".crt", "-ca.crt", "-cert.pub", ".pub"].map(|end| format!("{name}{end}"));
            output::prepare(dir, &names)?;
        }
        let letter = match self.letter.as_deref() {
            Some(path) => Some((path, application::new_file(path)?)),
            None => None,
        };
        let way = Way::open(globals)?;
        let request = ApplicationRequest::Again { form, login: self.login };
        let asked = way.ask(Request::Application(request));
        let mut answer = match (asked, &letter) {
            (Err(trouble), Some((path, _))) => {
                // It is ours, and empty.
                let _ = std::fs::remove_file(path);
                return Err(trouble);
            }
            (asked, _) => asked?,
        };
        if let Some((path, file)) = letter {
            application::letter(file, path, std::slice::from_mut(&mut answer.value))?;
        }
        answer.value["files"] = match &self.out {
            Some(dir) => output::write(dir, &answer.value["files"])?,
            None => Value::Null,
        };
        globals.out().zone(way.config.gateway.zone).thing(&answer)
    }
}
