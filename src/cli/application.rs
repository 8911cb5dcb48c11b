//! `todoke account apply`, `account applications`, `account application ...`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::exit::Exit;
use super::out::{self, Column};
use super::party;
use super::way::Way;
use super::{Globals, Lang};
use crate::desk::{Answer, ApplicationRequest, Kind, Request, Trouble};
use crate::model::application::{ApplicationState, Material, Payment};
use crate::model::ids::{AccountId, ApplicationId, InsurerCode, OfficeCode, UseClass};
use crate::model::party::Role;
use crate::work::enrol::ApplyForm;
use crate::work::enrol::setup::SETUP_BYTES_MAX;
use crate::work::parties::csv;

const COLUMNS: [Column; 10] = [
    ("APPLICATION", "application"),
    ("状況", "label"),
    ("STATE", "state"),
    ("SINCE", "since_at"),
    ("KIND", "kind"),
    ("ACCOUNT", "account"),
    ("ROLE", "role"),
    ("OFFICES", "offices"),
    ("USER NAME", "user_name"),
    ("FEE", "fee"),
];
const DONE_COLUMNS: [Column; 5] = [
    ("APPLICATION", "application"),
    ("RESULT", "result"),
    ("STATE", "state"),
    ("PASSWORD", "password"),
    ("DETAIL", "detail"),
];
const IMPORT_COLUMNS: [Column; 4] =
    [("LINE", "line"), ("ACCOUNT", "key"), ("RESULT", "result"), ("DETAIL", "detail")];

/// Bytes of a certificate request.
const CSR_BYTES_MAX: u64 = 64 << 10;

/// How the fee is paid.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PaymentName {
    /// 相殺
    Setoff,
    /// 振込
    Transfer,
}

impl From<PaymentName> for Payment {
    fn from(name: PaymentName) -> Self {
        match name {
            PaymentName::Setoff => Self::Setoff,
            PaymentName::Transfer => Self::Transfer,
        }
    }
}

/// An application, with its agent's beside it, or many from a file.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the command line, one for one")]
pub(super) struct Apply {
    /// The account to be: a letter, then letters, digits, - or _
    #[arg(required_unless_present = "import", conflicts_with = "import")]
    account: Option<AccountId>,
    /// With which society
    #[arg(long, required_unless_present = "import")]
    insurer: Option<InsurerCode>,
    /// The office; further ones it acts for after it, parted by commas
    #[arg(long, value_delimiter = ',', required_unless_present = "import")]
    office: Vec<OfficeCode>,
    /// An agent's account for an office that has one already (K11)
    #[arg(long, conflicts_with = "agent")]
    as_agent: bool,
    /// User name; a department will do (K4)
    #[arg(long, required_unless_present = "import")]
    user_name: Option<String>,
    /// Its one mail address (K5)
    #[arg(long, required_unless_present = "import")]
    mail: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    /// The account of the office's agent, applied for together with it (K6)
    #[arg(long, requires = "agent_user_name", requires = "agent_mail")]
    agent: Option<AccountId>,
    /// The agent's user name
    #[arg(long, requires = "agent")]
    agent_user_name: Option<String>,
    /// The agent's mail address
    #[arg(long, requires = "agent")]
    agent_mail: Option<String>,
    /// The agent's public key: a file or the line itself
    #[arg(long, requires = "agent", conflicts_with = "agent_csr")]
    agent_key: Option<String>,
    /// The agent's certificate request (PEM); without key and request the gateway makes the key
    #[arg(long, requires = "agent")]
    agent_csr: Option<PathBuf>,
    /// Class of use, which the fee depends on [default: the first of enrolment.fees]
    #[arg(long)]
    class: Option<UseClass>,
    /// How the fee is paid [default: enrolment.payment]
    #[arg(long, value_enum)]
    payment: Option<PaymentName>,
    /// Language of its mails [default: gateway.language]
    #[arg(long, value_enum)]
    language: Option<Lang>,
    /// A test identity (H3)
    #[arg(long)]
    test: bool,
    /// A payroll system uses it
    #[arg(long)]
    machine: bool,
    /// The office has an account already, and this further one is meant (K4)
    #[arg(long)]
    second: bool,
    /// CSV in UTF-8 or CP932: account, insurer, role, office, user-name, mail, ssh-key or csr or p12, class, payment, ...; an
    /// office's row and its agent's row go together
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// What the certificate is made from.
#[derive(Debug, Args)]
struct KeyArgs {
    /// Public key: a file (`id_ed25519.pub`) or the line itself; its private half stays where it is
    #[arg(long, value_name = "KEY", conflicts_with_all = ["csr", "p12"])]
    key: Option<String>,
    /// Certificate request (PKCS #10, PEM), as `openssl req` makes it
    #[arg(long, value_name = "FILE", conflicts_with = "p12")]
    csr: Option<PathBuf>,
    /// The gateway makes the key, for people without tools
    #[arg(long)]
    p12: bool,
}

pub(super) fn material(key: Option<&str>, csr: Option<&Path>) -> Result<Material, Trouble> {
    if let Some(key) = key {
        return Ok(Material::SshKey(party::key_line(key, Path::new(""))?));
    }
    match csr {
        Some(file) => Ok(Material::Csr(csr_text(file)?)),
        None => Ok(Material::P12),
    }
}

fn csr_text(file: &Path) -> Result<String, Trouble> {
    String::from_utf8(party::read(file, CSR_BYTES_MAX)?).map_err(|_| {
        let text = format!("{}: it is not PEM; make it so with `openssl req -inform DER`", file.display());
        Trouble::new(Kind::Usage, "FILE", text)
    })
}

fn application(request: ApplicationRequest) -> Request {
    Request::Application(request)
}

impl Apply {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        if let Some(file) = &self.import {
            return import(globals, file, self.dry_run);
        }
        let dry_run = self.dry_run;
        let forms = self.forms()?;
        let answer = Way::open(globals)?.ask(application(ApplicationRequest::Apply { forms, dry_run }))?;
        let out = globals.out();
        if out.is_json() {
            out.raw(&answer.value)?;
        } else if dry_run {
            out.line("It would be taken; nothing was written.")?;
        } else {
            out.line(&format!("application {}", out.cell("", &answer.value["applications"])))?;
        }
        Ok(out.end(&answer))
    }

    fn forms(self) -> Result<Vec<ApplyForm>, Trouble> {
        let missing =
            || Trouble::new(Kind::Usage, "USAGE", "an account, --insurer, --user-name and --mail are needed");
        if self.key.key.is_none() && self.key.csr.is_none() && !self.key.p12 {
            let text = "one of --key KEY, --csr FILE and --p12 is needed";
            return Err(Trouble::new(Kind::Usage, "USAGE", text));
        }
        let own = ApplyForm {
            account: self.account.ok_or_else(missing)?,
            insurer: self.insurer.ok_or_else(missing)?,
            role: if self.as_agent { Role::Agent } else { Role::Office },
            offices: self.office,
            user_name: self.user_name.ok_or_else(missing)?,
            mail: self.mail.ok_or_else(missing)?,
            language: self.language.map(Into::into),
            class: self.class,
            payment: self.payment.map(Into::into),
            test: self.test,
            machine: self.machine,
            second: self.second,
            material: material(self.key.key.as_deref(), self.key.csr.as_deref())?,
        };
        let mut forms = vec![own.clone()];
        if let (Some(account), Some(user_name), Some(mail)) =
            (self.agent, self.agent_user_name, self.agent_mail)
        {
            let material = material(self.agent_key.as_deref(), self.agent_csr.as_deref())?;
            forms.push(ApplyForm {
                account,
                role: Role::Agent,
                user_name,
                mail,
                machine: false,
                material,
                ..own
            });
        }
        Ok(forms)
    }
}

fn import(globals: &Globals, file: &Path, dry_run: bool) -> Result<Exit, Trouble> {
    let bytes = party::read(file, csv::FILE_BYTES_MAX)?;
    let mut rows = csv::parse(csv::Kind::Application, &bytes)
        .map_err(|text| Trouble::refused("IMPORT-FILE", format!("{} {text}", file.display())))?;
    let beside = file.parent().unwrap_or(Path::new(""));
    for row in &mut rows {
        if let Err(text) = party::fetch(row, beside) {
            row.fault.get_or_insert(text);
        }
        if let Some(name) = row.fields.get("csr") {
            match csr_text(&beside.join(name)) {
                Ok(text) => {
                    row.fields.insert("csr".to_owned(), text);
                }
                Err(trouble) => {
                    row.fault.get_or_insert(trouble.text);
                }
            }
        }
    }
    let answer = Way::open(globals)?.ask(application(ApplicationRequest::Import { rows, dry_run }))?;
    let summary = party::summary(&answer, dry_run);
    let exit = globals.out().listing(&IMPORT_COLUMNS, |_| Ok(answer.clone()))?;
    out::note(&summary);
    Ok(exit)
}

/// Which applications.
#[derive(Debug, Args)]
pub(super) struct Applications {
    /// For this account
    #[arg(long)]
    account: Option<AccountId>,
    /// With this insurer
    #[arg(long)]
    insurer: Option<InsurerCode>,
    /// In this state; may be repeated: applied, collected, approved, rejected, awaiting-payment, paid, issued, downloaded,
    /// in-use, expired, cancelled
    #[arg(long, value_parser = state)]
    state: Vec<ApplicationState>,
}

fn state(text: &str) -> Result<ApplicationState, String> {
    ApplicationState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| {
        let names: Vec<_> = ApplicationState::ALL.into_iter().map(ApplicationState::name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

impl Applications {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let way = Way::open(globals)?;
        globals.out().zone(way.config.gateway.zone).listing(&COLUMNS, |after| {
            let before = after.and_then(|after| ApplicationId::parse(&after).ok());
            way.ask(application(ApplicationRequest::List {
                account: self.account.clone(),
                insurer: self.insurer.clone(),
                states: self.state.clone(),
                before,
            }))
        })
    }
}

/// Which ones.
#[derive(Debug, Args)]
pub(super) struct Ids {
    /// As `account applications` lists them
    #[arg(required = true)]
    id: Vec<ApplicationId>,
}

/// Which ones, and why.
#[derive(Debug, Args)]
pub(super) struct Because {
    #[command(flatten)]
    ids: Ids,
    /// Told to the applicant; one line
    #[arg(long, default_value = "")]
    reason: String,
}

/// A paper.
#[derive(Debug, Args)]
pub(super) struct PaperArgs {
    /// For which application
    id: ApplicationId,
    /// Write it there
    #[arg(required_unless_present = "outbox")]
    out: Option<PathBuf>,
    /// Put it into the outbox of its account, which must be there (a renewal's is)
    #[arg(long)]
    outbox: bool,
}

/// One application, moved on.
#[derive(Debug, Subcommand)]
pub(super) enum One {
    /// With every date
    Show {
        /// Which
        id: ApplicationId,
    },
    /// Report what waits to the insurer now, before its cut-off
    Collect {
        /// Whose
        #[arg(long)]
        insurer: InsurerCode,
    },
    /// The insurer said yes
    Approve(Ids),
    /// The insurer said no
    Reject(Because),
    /// The transfer came in
    Paid(Ids),
    /// Issue the certificate; where the gateway makes the key, tells its password once
    Issue {
        #[command(flatten)]
        ids: Ids,
        /// Write the result, passwords among it, to this new file (0600, CSV) instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take it back; a certificate that was issued is revoked
    Cancel(Because),
    /// Write what was issued into a new folder
    Download {
        /// Which
        id: ApplicationId,
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Do the first set-up with a filled-in setup.toml
    Setup {
        /// Which
        id: ApplicationId,
        /// The file
        file: PathBuf,
    },
    /// A password for the enrolment login, told once
    Password {
        /// Which
        id: ApplicationId,
    },
    /// 見積書: valid to the end of its month
    Quotation(PaperArgs),
    /// 請求書: where the fee is transferred to
    Bill(PaperArgs),
}

impl One {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        use ApplicationRequest as R;
        let ask = |request| Way::open(globals)?.ask(application(request));
        let rows = |request| {
            let answer = ask(request)?;
            globals.out().listing(&DONE_COLUMNS, |_| Ok(answer.clone()))
        };
        match self {
            Self::Show { id } => {
                let way = Way::open(globals)?;
                let answer = way.ask(application(R::Show(id)))?;
                globals.out().zone(way.config.gateway.zone).thing(&answer)
            }
            Self::Collect { insurer } => globals.out().thing(&ask(R::Collect(insurer))?),
            Self::Approve(ids) => rows(R::Approve(ids.id)),
            Self::Reject(because) => rows(R::Reject(because.ids.id, because.reason)),
            Self::Paid(ids) => rows(R::Paid(ids.id)),
            Self::Cancel(because) => rows(R::Cancel(because.ids.id, because.reason)),
            Self::Issue { ids, output } => issue(globals, ids.id, output.as_deref()),
            Self::Download { id, folder } => download(globals, &ask(R::Download(id))?, &folder),
            Self::Setup { id, file } => {
                let bytes = party::read(&file, SETUP_BYTES_MAX as u64)?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                globals.out().thing(&ask(R::SetUp(id, text))?)
            }
            Self::Password { id } => globals.out().thing(&ask(R::Password(id))?),
            Self::Quotation(paper) => paper_out(globals, &paper, false),
            Self::Bill(paper) => paper_out(globals, &paper, true),
        }
    }
}

/// The file is made first: a password that cannot be written would be lost.
fn issue(globals: &Globals, ids: Vec<ApplicationId>, output: Option<&Path>) -> Result<Exit, Trouble> {
    let request = application(ApplicationRequest::Issue(ids));
    let Some(path) = output else {
        let answer = Way::open(globals)?.ask(request)?;
        return globals.out().listing(&DONE_COLUMNS, |_| Ok(answer.clone()));
    };
    let file = new_file(path)?;
    let mut answer = Way::open(globals)?.ask(request)?;
    letter(file, path, answer.value.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default())?;
    globals.out().listing(&DONE_COLUMNS, |_| Ok(answer.clone()))
}

/// Writes the passwords of these rows into a file for letters, and takes them out of the rows.
pub(super) fn letter(mut file: std::fs::File, path: &Path, rows: &mut [Value]) -> Result<(), Trouble> {
    let mut text = "\u{feff}application,result,login,password,detail\r\n".to_owned();
    for row in rows {
        let field = |key: &str| crate::model::escape::csv_field(row[key].as_str().unwrap_or_default());
        let fields = ["application", "result", "application", "password", "detail"].map(field);
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
        if let Value::Object(fields) = row {
            fields.remove("password");
        }
    }
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Trouble::fault(format!("{}: {error}; cancel and apply again", path.display())))
}

/// 0600, and never over what is there.
pub(super) fn new_file(path: &Path) -> Result<std::fs::File, Trouble> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| Trouble::new(Kind::Usage, "FILE", format!("{}: {error}", path.display())))
}

fn decoded(value: &Value) -> Result<Vec<u8>, Trouble> {
    BASE64
        .decode(value.as_str().unwrap_or_default())
        .map_err(|error| Trouble::fault(format!("the daemon's answer cannot be read: {error}")))
}

fn download(globals: &Globals, answer: &Answer, dir: &Path) -> Result<Exit, Trouble> {
    use std::os::unix::fs::DirBuilderExt as _;
    let wrong =
        |error: std::io::Error| Trouble::new(Kind::Usage, "FILE", format!("{}: {error}", dir.display()));
    std::fs::DirBuilder::new().mode(0o700).create(dir).map_err(wrong)?;
    let mut names = Vec::new();
    for file in answer.value["files"].as_array().into_iter().flatten() {
        let name = file["name"].as_str().unwrap_or_default();
        // Chosen by the gateway; a name that is a path would be a fault.
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(Trouble::fault(format!("{name:?} is no file name")));
        }
        new_file(&dir.join(name))?.write_all(&decoded(&file["base64"])?)?;
        names.push(Value::String(name.to_owned()));
    }
    let value = serde_json::json!({ "application": answer.value["application"], "files": names });
    globals.out().thing(&Answer { notes: answer.notes.clone(), ..Answer::of(value) })
}

fn paper_out(globals: &Globals, paper: &PaperArgs, bill: bool) -> Result<Exit, Trouble> {
    let request = ApplicationRequest::Paper { id: paper.id, bill, outbox: paper.outbox };
    let mut answer = Way::open(globals)?.ask(application(request))?;
    if let Some(path) = &paper.out {
        new_file(path)?.write_all(&decoded(&answer.value["base64"])?)?;
    }
    if let Value::Object(fields) = &mut answer.value {
        fields.remove("base64");
    }
    globals.out().thing(&answer)
}
