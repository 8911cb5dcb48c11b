//! `todoke cert authority` and `todoke cert fingerprints`

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono_tz::Tz;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::request;
use crate::cli::Globals;
use crate::cli::exit::Exit;
use crate::cli::out::{self, Column};
use crate::cli::party::{self, Yes};
use crate::cli::way::Way;
use crate::cli::when::{Edge, when};
use crate::desk::{Answer, CertificateRequest, Trouble};
use crate::model::authority::{AccountBy, Form};
use crate::model::ids::{AuthorityId, InsurerCode};
use crate::model::time::Timestamp;
use crate::signed::x509::CERTIFICATE_BYTES_MAX;

const COLUMNS: [Column; 7] = [
    ("AUTHORITY", "authority"),
    ("FORM", "form"),
    ("ORIGIN", "origin"),
    ("STATE", "state"),
    ("FROM", "trusted_from_at"),
    ("UNTIL", "trusted_until_at"),
    ("ISSUES FROM", "issuing_from_at"),
];

/// Authorities.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Authority {
    /// All generations
    List,
    /// Trust an external one (K31)
    Add(Add),
    /// Trust one again, or until another day
    Trust {
        /// Which
        id: AuthorityId,
        /// Until the end of this day or until this time [default: as long as its own certificate holds]
        #[arg(long, value_name = "WHEN")]
        until: Option<String>,
    },
    /// Trust it no more, from now on: nothing that it signed counts any longer
    Retire {
        /// Which
        id: AuthorityId,
        #[command(flatten)]
        yes: Yes,
    },
    /// Begin a new generation of the gateway's own (E5); the old one stays trusted
    Rotate(Rotate),
}

/// What is to be trusted.
#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// What it is called here: lower-case letters, digits and -
    id: AuthorityId,
    #[command(flatten)]
    what: What,
    /// How its X.509 certificates tell the account; registered means by `cert register`
    #[arg(long, value_enum, default_value = "common-name")]
    account_by: By,
    /// Only for accounts of this insurer
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// Trusted from this day or time on [default: now]
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// Trusted until the end of this day or until this time
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// An X.509 CA: its certificate, PEM or DER
    #[arg(long, value_name = "FILE")]
    x509: Option<PathBuf>,
    /// An OpenSSH user CA: its public key
    #[arg(long, value_name = "FILE")]
    openssh: Option<PathBuf>,
}

/// How certificates tell the account.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    CommonName,
    UserId,
    Registered,
}

/// What an authority signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormName {
    X509,
    Openssh,
}

/// A new generation.
#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// Of which form
    #[arg(long, value_enum)]
    form: FormName,
    /// It issues from this day or time on; it is trusted at once [default: now]
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The old generation is trusted until the end of this day or this time [default: until its last certificate ends]
    #[arg(long, value_name = "WHEN")]
    old_until: Option<String>,
    #[command(flatten)]
    yes: Yes,
}

fn at(option: &str, text: Option<&String>, zone: Tz, edge: Edge) -> Result<Option<Timestamp>, Trouble> {
    text.map(|text| when(option, text, zone, edge)).transpose()
}

impl Authority {
    pub(in crate::cli) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let zone = globals.load()?.gateway.zone;
        let asked = match self {
            Self::List => {
                let way = Way::open(globals)?;
                let answer = way.ask(request(CertificateRequest::Authorities))?;
                return globals.out().zone(zone).listing(&COLUMNS, |_| Ok(answer.clone()));
            }
            Self::Add(add) => add.asked(zone)?,
            Self::Trust { id, until } => {
                let until = at("until", until.as_ref(), zone, Edge::End)?;
                CertificateRequest::TrustUntil { id, until }
            }
            Self::Retire { id, yes } => {
                let question = format!(
                    "End the trust in {id} now? Logins and signatures by its certificates are refused."
                );
                if !out::confirm(yes.yes, &question)? {
                    out::note("Nothing changed.");
                    return Ok(Exit::Refused);
                }
                CertificateRequest::Retire(id)
            }
            Self::Rotate(rotate) => {
                if !out::confirm(rotate.yes.yes, "Make a new generation?")? {
                    out::note("Nothing changed.");
                    return Ok(Exit::Refused);
                }
                CertificateRequest::Rotate {
                    form: match rotate.form {
                        FormName::X509 => Form::X509,
                        FormName::Openssh => Form::Openssh,
                    },
                    from: at("from", rotate.from.as_ref(), zone, Edge::Start)?,
                    old_until: at("old-until", rotate.old_until.as_ref(), zone, Edge::End)?,
                }
            }
        };
        let answer = Way::open(globals)?.ask(request(asked))?;
        globals.out().zone(zone).thing(&answer)
    }
}

impl Add {
    fn asked(self, zone: Tz) -> Result<CertificateRequest, Trouble> {
        let (form, file) = match (self.what.x509, self.what.openssh) {
            (Some(file), _) => (Form::X509, file),
            (None, file) => (Form::Openssh, file.unwrap_or_default()),
        };
        Ok(CertificateRequest::TrustExternal {
            id: self.id,
            form,
            content: BASE64.encode(party::read(&file, CERTIFICATE_BYTES_MAX as u64)?),
            account_by: match self.account_by {
                By::CommonName => AccountBy::CommonName,
                By::UserId => AccountBy::UserId,
                By::Registered => AccountBy::Registered,
            },
            insurer: self.insurer,
            from: at("from", self.from.as_ref(), zone, Edge::Start)?,
            until: at("until", self.until.as_ref(), zone, Edge::End)?,
        })
    }
}

/// What is published of each that is trusted now (E5).
pub(super) fn fingerprints(globals: &Globals) -> Result<Exit, Trouble> {
    let answer = Way::open(globals)?.ask(request(CertificateRequest::Authorities))?;
    let all = answer.value.as_array().map(Vec::as_slice).unwrap_or_default();
    let trusted: Vec<&Value> =
        all.iter().filter(|of| matches!(of["state"].as_str(), Some("issues" | "trusted"))).collect();
    let out = globals.out();
    if out.is_json() {
        let rows = trusted.iter().map(|of| {
            json!({ "authority": of["authority"], "form": of["form"], "sha256": of["sha256"], "sha1": of["sha1"] })
        });
        return out.listing(&COLUMNS, |_| Ok(Answer::of(rows.clone().collect())));
    }
    for of in trusted {
        let cell = |key: &str| out.cell(key, &of[key]);
        out.line(&format!("{} ({})", cell("authority"), cell("label")))?;
        out.line(&format!("  SHA-256 {}", cell("sha256")))?;
        out.line(&format!("  SHA-1   {}", cell("sha1")))?;
    }
    Ok(Exit::Done)
}
