//! A mail host of aiosmtpd's, and what it took.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "part of tests"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use mail_parser::MessageParser;
use tempfile::TempDir;

/// A mail host that takes everything.
pub struct MailHost {
    folder: TempDir,
    host: Child,
    /// Where it listens.
    pub port: u16,
}

/// A mail that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Envelope recipient.
    pub to: String,
    /// Decoded.
    pub subject: String,
    /// Decoded.
    pub body: String,
}

impl MailHost {
    /// Starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/mailhost.py");
        let mut host = Command::new("python3")
            .arg(script)
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        BufReader::new(host.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("mailhost.py tells no port: Python package aiosmtpd");
        Self { folder, host, port }
    }

    /// For `mail.url`.
    pub fn url(&self) -> String {
        format!("\"smtp://127.0.0.1:{}\"", self.port)
    }

    /// All mails so far, in the order they came.
    pub fn taken(&self) -> Vec<Taken> {
        let mut taken = Vec::new();
        // The envelope is written last.
        while let Ok(about) = fs::read(self.folder.path().join(format!("{}.json", taken.len() + 1))) {
            let Ok(about) = serde_json::from_slice::<serde_json::Value>(&about) else { break };
            let mail = fs::read(self.folder.path().join(format!("{}.eml", taken.len() + 1))).unwrap();
            let mail = MessageParser::default().parse(&mail).expect("a mail");
            taken.push(Taken {
                to: about["to"][0].as_str().unwrap().to_owned(),
                subject: mail.subject().unwrap().to_owned(),
                body: mail.body_text(0).unwrap().replace("\r\n", "\n"),
            });
        }
        taken
    }
}

impl Drop for MailHost {
    fn drop(&mut self) {
        let _ = self.host.kill();
        let _ = self.host.wait();
    }
}
