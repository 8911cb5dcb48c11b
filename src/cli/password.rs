//! `todoke account password`: a temporary password, shown once.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::note;
use super::party::party;
use super::way::Way;
use crate::desk::{Answer, Kind, PartyRequest, Trouble};
use crate::model::ids::AccountId;
use crate::model::login::Purpose;

/// A password for an account, made by the gateway. A lost key or certificate is another thing: `cert reissue`.
#[derive(Debug, Args)]
pub(super) struct Password {
    /// Whose
    id: AccountId,
    /// In place of the one it has: a forgotten password (E9)
    #[arg(long)]
    reset: bool,
    /// The certificate-issue password (証明書発行用パスワード), not the login password
    #[arg(long)]
    issue: bool,
    /// Show it on standard output [default on a terminal]
    #[arg(long, conflicts_with = "output")]
    print: bool,
    /// Write it to this new file, which only you may read
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Password {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        if !self.print && self.output.is_none() && !std::io::stdout().is_terminal() {
            let text = "say where the password goes: --print, or --output FILE";
            return Err(Trouble::new(Kind::Usage, "PASSWORD-WHERE", text));
        }
        // Before anything is changed: a password that cannot be written down would be lost.
        let file = self.output.as_deref().map(|path| create(path).map(|file| (path, file))).transpose()?;
        let purpose = if self.issue { Purpose::Issue } else { Purpose::Login };
        let request = PartyRequest::Password { account: self.id, purpose, reset: self.reset };
        let done = Way::open(globals).and_then(|way| {
            let answer = way.ask(party(request))?;
            Ok((way.config.gateway.zone, answer))
        });
        let (zone, mut answer) = match (done, &file) {
            (Ok(done), _) => done,
            (Err(trouble), Some((path, _))) => {
                // It is ours, and empty.
                let _ = std::fs::remove_file(path);
                return Err(trouble);
            }
            (Err(trouble), None) => return Err(trouble),
        };
        if let Some((path, file)) = file {
            write(&mut answer, path, file)?;
        }
        globals.out().zone(zone).thing(&answer)
    }
}

fn create(path: &Path) -> Result<File, Trouble> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Trouble::new(Kind::Usage, "FILE", format!("{}: {error}; name a new file", path.display()))
    })
}

/// Puts the password into the file, and takes it out of what is printed.
fn write(answer: &mut Answer, path: &Path, mut file: File) -> Result<(), Trouble> {
    let password = answer.value["password"].as_str().unwrap_or_default().to_owned();
    writeln!(file, "{password}").and_then(|()| file.sync_all()).map_err(|error| {
        let text = format!("{}: {error}; the password is lost, make another with --reset", path.display());
        Trouble::fault(text)
    })?;
    if let Some(fields) = answer.value.as_object_mut() {
        fields.remove("password");
        fields.remove("spelled");
    }
    note(&format!("The password is in {}.", path.display()));
    Ok(())
}
