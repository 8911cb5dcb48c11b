//! A mail host that takes everything and keeps it in memory.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base64::Engine as _;

/// One mail that came.
pub(super) struct Mail {
    /// Its subject, decoded.
    pub(super) subject: String,
}

/// The host, on a port of its own. Its threads end with the process.
pub(super) struct MailSink {
    port: u16,
    mails: Receiver<Mail>,
}

impl MailSink {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (tell, mails) = channel();
        std::thread::Builder::new().name("mail-sink".into()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    // A client that breaks off has nothing to be told.
                    let _ = serve(&stream, &tell);
                });
            }
        })?;
        Ok(Self { port, mails })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The next mail.
    pub(super) fn wait(&self, patience: Duration) -> Option<Mail> {
        self.mails.recv_timeout(patience).ok()
    }
}

/// RFC 5321, as much as one client needs.
fn serve(mut stream: &TcpStream, tell: &Sender<Mail>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    stream.write_all(b"220 demo ESMTP\r\n")?;
    while let Some(line) = lines.next() {
        let verb = line?.to_ascii_uppercase();
        let answer: &[u8] = match verb.split(' ').next().unwrap_or_default() {
            "EHLO" => b"250-demo\r\n250 8BITMIME\r\n",
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                let mut message = Vec::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    message.push(line);
                }
                let subject = subject(&message);
                if tell.send(Mail { subject }).is_err() {
                    return Ok(());
                }
                b"250 2.0.0 taken\r\n"
            }
            "QUIT" => {
                return stream.write_all(b"221 bye\r\n");
            }
            _ => b"250 2.0.0 fine\r\n",
        };
        stream.write_all(answer)?;
    }
    Ok(())
}

/// The subject with its encoded words (RFC 2047, base64 of UTF-8) decoded.
fn subject(message: &[String]) -> String {
    let mut raw = String::new();
    let mut inside = false;
    for line in message.iter().take_while(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("Subject:") {
            inside = true;
            raw.push_str(rest);
        } else if inside && line.starts_with([' ', '\t']) {
            raw.push_str(line);
        } else {
            inside = false;
        }
    }
    let mut bytes = Vec::new();
    for word in raw.split_whitespace() {
        let encoded = word.strip_prefix("=?utf-8?b?").and_then(|w| w.strip_suffix("?="));
        if let Some(decoded) = encoded.and_then(|w| base64::engine::general_purpose::STANDARD.decode(w).ok())
        {
            bytes.extend_from_slice(&decoded);
        } else {
            bytes.extend_from_slice(word.as_bytes());
            bytes.push(b' ');
        }
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}
