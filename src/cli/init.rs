//! `todoke init`

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Globals;
use super::exit::Exit;
use super::out::{self, Out};
use crate::config::{self, Config};
use crate::desk::{Kind, Trouble};
use crate::doors::clamd::ScannerAddress;
use crate::doors::smtp::SmtpUrl;
use crate::rules::notice::KINDS;
use crate::store::root::Root;
use crate::store::{durable, gateway_keys};

/// Files of `conf/` and their text, as a checkout has them.
const CONF: &[(&str, &str)] = &[
    ("todoke.toml", config::DEFAULT_TEXT),
    ("examples/import.sh", include_str!("../../conf/examples/import.sh")),
    ("forms/2200700.toml", include_str!("../../conf/forms/2200700.toml")),
    ("forms/2201700.toml", include_str!("../../conf/forms/2201700.toml")),
    ("forms/2221700.toml", include_str!("../../conf/forms/2221700.toml")),
    ("forms/2225700.toml", include_str!("../../conf/forms/2225700.toml")),
    ("forms/2265700.toml", include_str!("../../conf/forms/2265700.toml")),
    ("forms/claims-control.toml", include_str!("../../conf/forms/claims-control.toml")),
    ("forms/claims-data.toml", include_str!("../../conf/forms/claims-data.toml")),
    ("forms/claims-end.toml", include_str!("../../conf/forms/claims-end.toml")),
    ("forms/README.md", include_str!("../../conf/forms/README.md")),
    ("holidays/ja.csv", include_str!("../../conf/holidays/ja.csv")),
    ("insurers/README.md", include_str!("../../conf/insurers/README.md")),
    ("notices/README.md", include_str!("../../conf/notices/README.md")),
];

const SPOOL_README: &str = include_str!("../../spool/README.md");

/// Make a gateway: configuration, data root, keys. Safe to repeat: what is there is left as it is.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where: DIR/conf and DIR/spool are made
    #[arg(value_name = "DIR")]
    into: PathBuf,
    /// Where offices connect [default: 127.0.0.1:2222]
    #[arg(long, value_name = "ADDRESS:PORT")]
    sftp: Option<SocketAddr>,
    /// The mail server [default: `smtp://127.0.0.1:25`]
    #[arg(long, value_name = "URL")]
    smtp: Option<String>,
    /// The virus scanner: none, tcp://HOST:PORT or unix:PATH [default: `unix:/run/clamav/clamd.ctl`]
    #[arg(long, value_name = "ADDRESS")]
    scanner: Option<String>,
}

impl Init {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let usage = |code: &str, text: String| Trouble::new(Kind::Usage, code, text);
        if let Some(url) = &self.smtp {
            url.parse::<SmtpUrl>().map_err(|error| usage("SMTP", format!("--smtp: {error}")))?;
        }
        if let Some(address) = &self.scanner {
            address
                .parse::<ScannerAddress>()
                .map_err(|error| usage("SCANNER", format!("--scanner: {error}")))?;
        }
        let out = globals.out();
        let conf = self.into.join("conf");
        let file = config::file_in(&self.into);
        let fresh = !file.exists();
        for kind in KINDS {
            let name = format!("notices/{}", kind.file_name());
            let text = kind.default_text.as_bytes();
            made(&out, &conf.join(&name), write_new(&conf.join(&name), text, mode_of(&name)))?;
        }
        for (name, text) in CONF {
            let text = if *name == "todoke.toml" { self.fill(text) } else { (*text).to_owned() };
            made(&out, &conf.join(name), write_new(&conf.join(name), text.as_bytes(), mode_of(name)))?;
        }
        let config = Config::load(&file)?;
        if !fresh {
            self.say_what_stays(&config);
        }
        let root = &config.places.root;
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent).map_err(|error| at(parent, &error))?;
        }
        // Makes the layout under the lock; a daemon that runs has made it already.
        match Root::open(root).map_err(Trouble::from) {
            Ok(_) => {}
            Err(trouble) if trouble.kind == Kind::NotNow => {}
            Err(trouble) => return Err(trouble),
        }
        made(
            &out,
            &root.join("README.md"),
            write_new(&root.join("README.md"), SPOOL_README.as_bytes(), 0o644),
        )?;
        let keys =
            gateway_keys::ensure(&config.places.keys()).map_err(|error| at(&config.places.keys(), &error))?;
        for key in &keys {
            out.line(&format!("made  {}", key.display()))?;
        }
        if out.is_json() {
            out.raw(&serde_json::json!({ "config": file, "root": root, "fresh": fresh }))?;
        }
        if config.scanner.address == ScannerAddress::None {
            out::note("Nothing is scanned for viruses (scanner.address = \"none\"); every receipt says so.");
        }
        if fresh {
            out::note(&format!(
                "Ready. Next: todoke -C {0} serve; todoke -C {0} insurer add CODE --name NAME",
                self.into.display()
            ));
        }
        Ok(Exit::Done)
    }

    /// The default configuration with what was said on the command line.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let settings = [
            ("sftp", "listen", self.sftp.map(|address| address.to_string())),
            ("mail", "url", self.smtp.clone()),
            ("scanner", "address", self.scanner.clone()),
        ];
        for (table, key, value) in settings {
            if let Some(value) = value {
                text = set(&text, table, key, &value);
            }
        }
        text
    }

    /// A configuration that is there is not changed: says so where something else was asked for.
    fn say_what_stays(&self, config: &Config) {
        let mut differ = Vec::new();
        if self.sftp.is_some_and(|sftp| sftp != config.sftp_listen) {
            differ.push("--sftp (sftp.listen)");
        }
        if self.smtp.as_ref().is_some_and(|url| url.parse().ok() != Some(config.mail.url.clone())) {
            differ.push("--smtp (mail.url)");
        }
        if self.scanner.as_ref().is_some_and(|text| text.parse().ok() != Some(config.scanner.address.clone()))
        {
            differ.push("--scanner (scanner.address)");
        }
        if !differ.is_empty() {
            let file = config.places.file.display();
            out::note(&format!(
                "{file} was there and is left as it is; edit it to change {}.",
                differ.join(", ")
            ));
        }
    }
}

/// Puts a text value in place of a key's in the default file.
fn set(text: &str, table: &str, key: &str, value: &str) -> String {
    let mut here = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            here = line == format!("[{table}]");
        }
        if here && line.starts_with(&format!("{key} = ")) {
            lines.push(format!("{key} = {}", toml::Value::String(value.to_owned())));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

fn at(path: &Path, error: &io::Error) -> Trouble {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem => Kind::Usage,
        _ => Kind::Fault,
    };
    Trouble::new(kind, "INIT", format!("{}: {error}", path.display()))
}

fn made(out: &Out, path: &Path, written: io::Result<bool>) -> Result<(), Trouble> {
    match written {
        Ok(true) => out.line(&format!("made  {}", path.display())),
        Ok(false) => out.line(&format!("there {}", path.display())),
        Err(error) => Err(at(path, &error)),
    }
}

fn mode_of(name: &str) -> u32 {
    if Path::new(name).extension().is_some_and(|extension| extension == "sh") { 0o755 } else { 0o644 }
}

/// A whole file or none; false when it is there already.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Whoever made it meanwhile keeps it.
    match durable::write_new(path, bytes, mode) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_conf_is_shipped() {
        fn walk(folder: &Path, into: &mut BTreeSet<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, into);
                } else {
                    into.insert(path);
                }
            }
        }
        let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
        let mut there = BTreeSet::new();
        walk(&conf, &mut there);
        let shipped: BTreeSet<PathBuf> = CONF
            .iter()
            .map(|(name, _)| conf.join(name))
            .chain(KINDS.iter().map(|kind| conf.join("notices").join(kind.file_name())))
            .collect();
        assert_eq!(there, shipped);
    }

    #[test]
    fn what_the_command_line_says_stands_in_its_table_only() {
        let text = set(config::DEFAULT_TEXT, "sftp", "listen", "0.0.0.0:22");
        let config = Config::parse(Path::new("conf/todoke.toml"), &text).unwrap();
        assert_eq!(config.sftp_listen.to_string(), "0.0.0.0:22");
        assert_eq!(config.metrics_listen.unwrap().to_string(), "127.0.0.1:9464");
        let text = set(config::DEFAULT_TEXT, "scanner", "address", "unix:/run/\"odd\"");
        assert!(Config::parse(Path::new("conf/todoke.toml"), &text).is_ok());
    }
}
