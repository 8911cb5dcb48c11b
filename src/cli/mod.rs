//! The command line: one file per verb. Verbs that ask the desk go through `way`: to the daemon when it runs, else straight
//! to the store.

mod account;
mod announce;
mod application;
mod calendar;
mod cert;
mod check;
mod deliver;
mod demo;
mod direct;
mod doctor;
pub mod exit;
mod init;
mod insurer;
mod journal;
mod mail;
mod office;
mod out;
mod outbox;
mod party;
mod password;
mod purge;
mod reconcile;
mod serve;
mod status;
mod submission;
mod way;
mod when;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, ConfigError};
use crate::desk::{Kind, Trouble};
use crate::model::finding::Language;

use exit::Exit;
use out::Out;

/// Batch file gateway: signed filings in over SFTP, insurers' documents out, nothing lost, nothing twice.
#[derive(Debug, Parser)]
#[command(name = "todoke", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done; 1 refused or with findings; 2 wrong usage or configuration; \
                        3 not now, try again; 4 a fault of todoke's own.")]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
struct Globals {
    /// Use DIR/conf/todoke.toml [default: the current folder]
    #[arg(short = 'C', value_name = "DIR", global = true)]
    dir: Option<PathBuf>,
    /// Use this configuration file
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "dir")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Language of texts that offices read (findings)
    #[arg(long, value_enum, default_value_t = Lang::Ja, global = true)]
    lang: Lang,
}

/// A reader's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Lang {
    Ja,
    En,
}

impl From<Lang> for Language {
    fn from(lang: Lang) -> Self {
        match lang {
            Lang::Ja => Self::Ja,
            Lang::En => Self::En,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a gateway: configuration, data root, keys; safe to repeat
    Init(init::Init),
    /// Run the daemon
    Serve(serve::Serve),
    /// Show everything at work in a temporary folder
    Demo(demo::Demo),
    /// How things are
    Status(status::Status),
    /// Look for what is wrong; changes nothing
    Doctor(doctor::Doctor),
    /// Check filings offline
    Check(check::Check),
    /// Insurers (健康保険組合)
    #[command(subcommand)]
    Insurer(insurer::Insurer),
    /// Offices (事業所)
    #[command(subcommand)]
    Office(office::Office),
    /// Accounts: login identities of offices, agents and insurers
    #[command(subcommand)]
    Account(account::Account),
    /// Certificates and the authorities that issue them
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Place a document in an account's outbox
    Deliver(deliver::Deliver),
    /// Tell all or some accounts something (お知らせ)
    Announce(announce::Announce),
    /// Documents in outboxes
    #[command(subcommand)]
    Outbox(outbox::Outbox),
    /// What was sent in
    #[command(subcommand)]
    Submission(submission::Submission),
    /// Notices
    #[command(subcommand)]
    Mail(mail::Mail),
    /// What comes: cut-offs, windows, what is expected
    Calendar(calendar::Calendar),
    /// Hold a day's books and the disk against the ledger
    Reconcile(reconcile::Reconcile),
    /// Remove documents whose days are over
    Purge(purge::Purge),
    /// The journal and the epoch
    #[command(subcommand)]
    Journal(journal::Journal),
}

impl Globals {
    fn file(&self) -> PathBuf {
        match (&self.config, &self.dir) {
            (Some(file), _) => file.clone(),
            (None, Some(dir)) => config::file_in(dir),
            (None, None) => config::file_in(std::path::Path::new("")),
        }
    }

    fn load(&self) -> Result<Config, Trouble> {
        let file = self.file();
        if !file.exists() {
            let text = format!(
                "{} is not there; make a gateway with `todoke init DIR`, and name it with -C DIR or --config FILE",
                file.display()
            );
            return Err(Trouble::new(Kind::Usage, "CONFIG-MISSING", text));
        }
        Ok(Config::load(&file)?)
    }

    fn out(&self) -> Out {
        Out::new(self.json)
    }
}

impl From<ConfigError> for Trouble {
    fn from(error: ConfigError) -> Self {
        Self::new(Kind::Usage, "CONFIG", error.to_string())
    }
}

/// Reads the command line (exits with clap's own words and code 2 where it is wrong).
pub fn parse() -> Cli {
    Cli::parse()
}

/// Does what it says; tells on standard error why not.
pub fn run(cli: Cli) -> Exit {
    let globals = &cli.globals;
    let done = match cli.verb {
        Verb::Init(verb) => verb.run(globals),
        Verb::Serve(verb) => verb.run(globals),
        Verb::Demo(verb) => verb.run(globals),
        Verb::Status(verb) => verb.run(globals),
        Verb::Doctor(verb) => verb.run(globals),
        Verb::Check(verb) => verb.run(globals),
        Verb::Insurer(verb) => verb.run(globals),
        Verb::Office(verb) => verb.run(globals),
        Verb::Account(verb) => verb.run(globals),
        Verb::Cert(verb) => verb.run(globals),
        Verb::Deliver(verb) => verb.run(globals),
        Verb::Announce(verb) => verb.run(globals),
        Verb::Outbox(verb) => verb.run(globals),
        Verb::Submission(verb) => verb.run(globals),
        Verb::Mail(verb) => verb.run(globals),
        Verb::Calendar(verb) => verb.run(globals),
        Verb::Reconcile(verb) => verb.run(globals),
        Verb::Purge(verb) => verb.run(globals),
        Verb::Journal(verb) => verb.run(globals),
    };
    match done {
        Ok(exit) => exit,
        Err(trouble) => {
            out::complain(&trouble);
            trouble.kind.into()
        }
    }
}
