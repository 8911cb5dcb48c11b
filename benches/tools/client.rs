//! A lean SFTP client: requests go out in one piece, replies are taken as they come.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use russh::client::{self, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key, ssh_key};
use russh::{Channel, ChannelMsg, Disconnect, Preferred, cipher, kex};

use crate::Target;

/// The host key was made for this run, on this machine.
pub(crate) struct Anyone;

impl client::Handler for Anyone {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// An account: its name and its key.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) account: String,
    key: Arc<PrivateKey>,
    /// Presented in the bare key's place.
    certificate: Option<ssh_key::Certificate>,
}

impl Login {
    async fn enter(&self, session: &mut Handle<Anyone>, user: &str) -> anyhow::Result<()> {
        let entered = if let Some(certificate) = &self.certificate {
            session.authenticate_openssh_cert(user, self.key.clone(), certificate.clone()).await
        } else {
            let key = PrivateKeyWithHashAlg::new(self.key.clone(), None::<ssh_key::HashAlg>);
            session.authenticate_publickey(user, key).await
        };
        ensure!(entered.context("while logging in")?.success(), "{user} was not let in");
        Ok(())
    }
}

/// The accounts of a folder of keys, in order, with their certificates where there is a folder of those (`NAME-cert.pub`).
pub(crate) fn logins(folder: &Path, certificates: Option<&Path>) -> anyhow::Result<Vec<Login>> {
    let mut logins = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("while reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some() {
            continue;
        }
        let account = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let key =
            load_secret_key(&path, None).with_context(|| format!("while reading {}", path.display()))?;
        let certificate = match certificates.map(|folder| folder.join(format!("{account}-cert.pub"))) {
            Some(path) => {
                Some(ssh_key::Certificate::read_file(&path).with_context(|| path.display().to_string())?)
            }
            None => None,
        };
        logins.push(Login { account, key: Arc::new(key), certificate });
    }
    logins.sort_by(|a, b| a.account.cmp(&b.account));
    ensure!(!logins.is_empty(), "no keys in {}", folder.display());
    Ok(logins)
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    kind: u8,
    pub(crate) id: u32,
    body: Vec<u8>,
}

const SSH_FX_EOF: u32 = 1;

impl Reply {
    fn number(&self, at: usize) -> anyhow::Result<u32> {
        let bytes =
            self.body.get(at..).and_then(|rest| rest.first_chunk()).context("a reply is too short")?;
        Ok(u32::from_be_bytes(*bytes))
    }

    fn string(&self, at: usize) -> anyhow::Result<&[u8]> {
        let length = self.number(at)? as usize;
        self.body.get(at + 4..at + 4 + length).context("a reply is too short")
    }

    /// The code of `SSH_FXP_STATUS`.
    fn status(&self) -> anyhow::Result<u32> {
        ensure!(self.kind == 101, "a status was expected, not a reply of type {}", self.kind);
        self.number(0)
    }

    /// That it went well.
    pub(crate) fn ok(&self) -> anyhow::Result<()> {
        match self.status()? {
            0 => Ok(()),
            code => bail!("status {code}: {}", String::from_utf8_lossy(self.string(4)?)),
        }
    }

    /// The handle.
    pub(crate) fn handle(&self) -> anyhow::Result<&[u8]> {
        if self.kind == 101 {
            self.ok()?;
        }
        ensure!(self.kind == 102, "a handle was expected, not a reply of type {}", self.kind);
        self.string(0)
    }

    /// The names of `SSH_FXP_NAME`; none at the end.
    fn names(&self, into: &mut Vec<String>) -> anyhow::Result<bool> {
        if self.kind == 101 && self.status()? == SSH_FX_EOF {
            return Ok(false);
        }
        ensure!(self.kind == 104, "names were expected, not a reply of type {}", self.kind);
        let mut at = 4;
        for _ in 0..self.number(0)? {
            let name = self.string(at)?;
            into.push(String::from_utf8_lossy(name).into_owned());
            at += 4 + name.len();
            at += 4 + self.string(at)?.len();
            let flags = self.number(at)?;
            at += 4;
            at += [(1, 8), (2, 8), (4, 4), (8, 8)]
                .iter()
                .filter(|(flag, _)| flags & flag != 0)
                .map(|(_, n)| n)
                .sum::<usize>();
        }
        Ok(true)
    }
}

/// Requests, ready to be sent.
#[derive(Default)]
pub(crate) struct Requests(Vec<u8>);

impl Requests {
    fn add(&mut self, kind: u8, id: u32, parts: &[&[u8]]) {
        let length = 5 + parts.iter().map(|part| part.len()).sum::<usize>();
        // Everything sent here is far below 4 GiB.
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        self.0.push(kind);
        self.0.extend_from_slice(&id.to_be_bytes());
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    fn length(bytes: &[u8]) -> [u8; 4] {
        u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
    }

    pub(crate) fn mkdir(&mut self, id: u32, path: &str) {
        self.add(14, id, &[&Self::length(path.as_bytes()), path.as_bytes(), &[0; 4]]);
    }

    /// For a new file.
    pub(crate) fn open(&mut self, id: u32, path: &str) {
        let flags = 0x1a_u32.to_be_bytes();
        self.add(3, id, &[&Self::length(path.as_bytes()), path.as_bytes(), &flags, &[0; 4]]);
    }

    pub(crate) fn write(&mut self, id: u32, handle: &[u8], content: &[u8]) {
        let (a, b) = (Self::length(handle), Self::length(content));
        self.add(6, id, &[&a, handle, &[0; 8], &b, content]);
    }

    pub(crate) fn close(&mut self, id: u32, handle: &[u8]) {
        self.add(4, id, &[&Self::length(handle), handle]);
    }

    fn opendir(&mut self, id: u32, path: &str) {
        self.add(11, id, &[&Self::length(path.as_bytes()), path.as_bytes()]);
    }

    fn readdir(&mut self, id: u32, handle: &[u8]) {
        self.add(12, id, &[&Self::length(handle), handle]);
    }
}

/// One connection with one SFTP session.
pub(crate) struct Connection {
    session: Handle<Anyone>,
    channel: Channel<Msg>,
    received: Vec<u8>,
    /// Up to here it was taken.
    taken: usize,
}

impl Connection {
    /// Connects and logs in.
    async fn enter(target: &Target, login: &Login) -> anyhow::Result<Handle<Anyone>> {
        let config = client::Config {
            window_size: 8 << 20,
            nodelay: true,
            // The same for both servers, and what a stock client of today agrees on with either.
            preferred: Preferred {
                cipher: Cow::Borrowed(&[cipher::AES_128_GCM]),
                kex: Cow::Borrowed(&[kex::CURVE25519, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT]),
                ..Preferred::default()
            },
            ..client::Config::default()
        };
        let mut session = client::connect(Arc::new(config), ("127.0.0.1", target.port), Anyone)
            .await
            .context("while connecting")?;
        login.enter(&mut session, target.user.as_ref().unwrap_or(&login.account)).await?;
        Ok(session)
    }

    /// Connects, logs in, and leaves.
    pub(crate) async fn look_in(target: &Target, login: &Login) -> anyhow::Result<()> {
        let session = Self::enter(target, login).await?;
        let _ = session.disconnect(Disconnect::ByApplication, "", "").await;
        Ok(())
    }

    /// Connects, logs in, begins SFTP.
    pub(crate) async fn open(target: &Target, login: &Login) -> anyhow::Result<Self> {
        let session = Self::enter(target, login).await?;
        let channel = session.channel_open_session().await.context("while opening a channel")?;
        channel.request_subsystem(true, "sftp").await.context("while asking for SFTP")?;
        let mut connection = Self { session, channel, received: Vec::new(), taken: 0 };
        connection.send(&mut Requests(vec![0, 0, 0, 5, 1, 0, 0, 0, 3])).await?;
        ensure!(connection.packet().await?.first() == Some(&2), "no version came");
        Ok(connection)
    }

    /// Sends all of them in one piece.
    pub(crate) async fn send(&mut self, requests: &mut Requests) -> anyhow::Result<()> {
        if !requests.0.is_empty() {
            self.channel.data_bytes(std::mem::take(&mut requests.0)).await.context("while sending")?;
        }
        Ok(())
    }

    /// A packet that has come already.
    fn ready(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.received[self.taken..].split_first_chunk()?;
        let packet = rest.get(..u32::from_be_bytes(*length) as usize)?.to_vec();
        self.taken += 4 + packet.len();
        Some(packet)
    }

    async fn packet(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(packet) = self.ready() {
                return Ok(packet);
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data }) => self.received.extend_from_slice(&data),
                // Not an error: when the account was there last.
                Some(ChannelMsg::ExtendedData { data, .. }) if data.starts_with(b"LAST-LOGIN ") => {}
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    bail!("the server says: {}", String::from_utf8_lossy(&data))
                }
                Some(ChannelMsg::Failure) => bail!("the server offers no SFTP"),
                Some(ChannelMsg::Close) | None => bail!("the server closed the channel"),
                Some(_) => {}
            }
        }
    }

    fn reply_in(packet: &[u8]) -> anyhow::Result<Reply> {
        let Some((head, body)) = packet.split_first_chunk::<5>() else { bail!("a reply is too short") };
        let [kind, id @ ..] = *head;
        Ok(Reply { kind, id: u32::from_be_bytes(id), body: body.to_vec() })
    }

    /// The next reply.
    pub(crate) async fn reply(&mut self) -> anyhow::Result<Reply> {
        Self::reply_in(&self.packet().await?)
    }

    /// One that has come already.
    pub(crate) fn reply_ready(&mut self) -> anyhow::Result<Option<Reply>> {
        self.ready().map(|packet| Self::reply_in(&packet)).transpose()
    }

    /// The names in a folder, one request at a time as all clients do it.
    pub(crate) async fn list(&mut self, path: &str) -> anyhow::Result<Vec<String>> {
        let mut requests = Requests::default();
        requests.opendir(1, path);
        self.send(&mut requests).await?;
        let handle = self.reply().await?.handle().with_context(|| format!("while listing {path}"))?.to_vec();
        let mut names = Vec::new();
        loop {
            requests.readdir(2, &handle);
            self.send(&mut requests).await?;
            if !self.reply().await?.names(&mut names)? {
                break;
            }
        }
        requests.close(3, &handle);
        self.send(&mut requests).await?;
        self.reply().await?.ok()?;
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Says goodbye.
    pub(crate) async fn leave(self) {
        // The server may be gone first; then there is nobody to say it to.
        let _ = self.channel.close().await;
        let _ = self.session.disconnect(Disconnect::ByApplication, "", "").await;
    }
}
