//! A client that sends what it is told to, right or wrong.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::case_sensitive_file_extension_comparisons,
    clippy::struct_field_names,
    clippy::missing_panics_doc,
    reason = "part of tests; each test file uses its own part"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, AuthResult, DisconnectReason, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, ssh_key};
use russh::{Channel, ChannelMsg};
use tokio::time::timeout;

/// What the server said when it disconnected.
pub type LastWords = Arc<Mutex<Option<String>>>;

pub struct Client(LastWords);

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        if let DisconnectReason::ReceivedDisconnect(info) = reason {
            *self.0.lock().unwrap() = Some(info.message);
        }
        Ok(())
    }
}

/// Connects without logging in.
pub async fn connect(port: u16) -> (Handle<Client>, LastWords) {
    let words = LastWords::default();
    let config = client::Config { window_size: 4 << 20, ..client::Config::default() };
    let session = client::connect(Arc::new(config), ("127.0.0.1", port), Client(words.clone()));
    let session = timeout(Duration::from_secs(30), session).await.expect("in time").expect("connects");
    (session, words)
}

/// Waits for the session's own end, as it says it is closed before it hands its last words over.
pub async fn last_words(session: Handle<Client>, words: &LastWords) -> String {
    let ended = timeout(Duration::from_secs(30), session).await;
    assert!(ended.is_ok(), "the connection is still there");
    words.lock().unwrap().clone().unwrap_or_default()
}

pub async fn log_in(session: &mut Handle<Client>, account: &str, key: &Arc<PrivateKey>) -> AuthResult {
    let hash = key.algorithm().is_rsa().then_some(ssh_key::HashAlg::Sha256);
    session
        .authenticate_publickey(account, PrivateKeyWithHashAlg::new(key.clone(), hash))
        .await
        .expect("an answer")
}

/// An SFTP session on which anything can be sent.
pub struct Raw {
    pub session: Handle<Client>,
    pub channel: Channel<Msg>,
    pub words: LastWords,
    pub stderr: Vec<u8>,
    pub exit_status: Option<u32>,
    received: Vec<u8>,
}

/// A reply: its type, its id and the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub kind: u8,
    pub id: u32,
    pub body: Vec<u8>,
}

impl Reply {
    /// The code of a status.
    pub fn status(&self) -> u32 {
        assert_eq!(self.kind, 101, "{self:?}");
        u32::from_be_bytes(self.body[..4].try_into().unwrap())
    }

    /// The text of a status.
    pub fn text(&self) -> String {
        assert_eq!(self.kind, 101, "{self:?}");
        String::from_utf8(first_string(&self.body[4..]).to_vec()).unwrap()
    }

    /// The handle, or the content of `SSH_FXP_DATA`.
    pub fn string(&self) -> &[u8] {
        assert!(matches!(self.kind, 102 | 103), "{self:?}");
        first_string(&self.body)
    }

    /// The number of names.
    pub fn count(&self) -> u32 {
        assert_eq!(self.kind, 104, "{self:?}");
        u32::from_be_bytes(self.body[..4].try_into().unwrap())
    }
}

fn first_string(body: &[u8]) -> &[u8] {
    let length = u32::from_be_bytes(body[..4].try_into().unwrap()) as usize;
    &body[4..4 + length]
}

/// A string as SFTP has it.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    let mut string = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    string.extend_from_slice(bytes);
    string
}

/// A packet of a type, an id and parts.
pub fn packet(kind: u8, id: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut content = vec![kind];
    content.extend_from_slice(&id.to_be_bytes());
    content.extend(parts.concat());
    string(&content)
}

/// `SSH_FXP_OPEN`
pub fn open(id: u32, path: &[u8], flags: u32) -> Vec<u8> {
    packet(3, id, &[&string(path), &flags.to_be_bytes(), &0u32.to_be_bytes()])
}

/// `SSH_FXP_WRITE`
pub fn write(id: u32, handle: &[u8], offset: u64, data: &[u8]) -> Vec<u8> {
    packet(6, id, &[&string(handle), &offset.to_be_bytes(), &string(data)])
}

/// `SSH_FXP_READ`
pub fn read(id: u32, handle: &[u8], offset: u64, length: u32) -> Vec<u8> {
    packet(5, id, &[&string(handle), &offset.to_be_bytes(), &length.to_be_bytes()])
}

/// Flags of `SSH_FXP_OPEN`: a new file, and one to read.
pub const WRITE: u32 = 2 | 8 | 16;
pub const READ: u32 = 1;

impl Raw {
    /// Logs in and begins the subsystem; says nothing yet.
    pub async fn begin(port: u16, account: &str, key: &Arc<PrivateKey>) -> Self {
        let (mut session, words) = connect(port).await;
        assert!(log_in(&mut session, account, key).await.success());
        let channel = session.channel_open_session().await.unwrap();
        channel.request_subsystem(true, "sftp").await.unwrap();
        let mut raw =
            Self { session, channel, words, stderr: Vec::new(), exit_status: None, received: Vec::new() };
        assert!(matches!(raw.next().await, Some(ChannelMsg::Success)));
        raw
    }

    /// The same, and the versions exchanged.
    pub async fn greeted(port: u16, account: &str, key: &Arc<PrivateKey>) -> Self {
        let mut raw = Self::begin(port, account, key).await;
        raw.send(&string(&[1, 0, 0, 0, 3])).await;
        let version = raw.content().await.expect("a version");
        assert_eq!(version[..5], [2, 0, 0, 0, 3]);
        raw
    }

    /// Sends bytes; a server that is gone is found out by the next read.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.channel.data_bytes(bytes.to_vec()).await;
    }

    async fn next(&mut self) -> Option<ChannelMsg> {
        timeout(Duration::from_secs(30), self.channel.wait()).await.expect("the server answers or closes")
    }

    /// The content of the next packet; none when the channel was closed.
    pub async fn content(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some((length, rest)) = self.received.split_first_chunk() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let content = rest[..length].to_vec();
                    self.received.drain(..4 + length);
                    return Some(content);
                }
            }
            match self.next().await? {
                ChannelMsg::Data { data } => self.received.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, ext: 1 } => self.stderr.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => self.exit_status = Some(exit_status),
                ChannelMsg::Close => return None,
                _ => {}
            }
        }
    }

    /// The next reply.
    pub async fn reply(&mut self) -> Reply {
        let content = self.content().await.unwrap_or_else(|| panic!("closed: {:?}", self.words));
        Reply {
            kind: content[0],
            id: u32::from_be_bytes(content[1..5].try_into().unwrap()),
            body: content[5..].into(),
        }
    }

    /// Sends one request and takes one reply.
    pub async fn ask(&mut self, request: &[u8]) -> Reply {
        self.send(request).await;
        self.reply().await
    }

    /// Opens a file that must open.
    pub async fn open(&mut self, path: &[u8], flags: u32) -> Vec<u8> {
        self.ask(&open(7, path, flags)).await.string().to_vec()
    }

    /// Waits until the server has ended the connection; its words.
    pub async fn goodbye(mut self) -> String {
        while self.content().await.is_some() {}
        last_words(self.session, &self.words).await
    }
}
