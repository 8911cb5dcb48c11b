//! A session with a gateway: one SSH connection with one SFTP channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use russh::Disconnect;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, ssh_key::PublicKey};
use russh_sftp::client::SftpSession;
use russh_sftp::protocol::OpenFlags;
use tokio::io::AsyncWriteExt;

/// Accepts one host key and no other.
struct Pinned(PublicKey);

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data() == self.0.key_data(),
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}

/// An open session.
pub struct Session {
    connection: Handle<Pinned>,
    sftp: SftpSession,
}

/// Seconds a reply may take: longer than a close waits for its verdict.
const REPLY_SECONDS: u64 = 60;

impl Session {
    /// Connects, checks that the gateway has this host key, logs in, and starts SFTP.
    pub async fn open(
        address: SocketAddr,
        host_key: &PublicKey,
        account: &str,
        key: PrivateKey,
    ) -> anyhow::Result<Self> {
        let config = client::Config {
            inactivity_timeout: Some(Duration::from_secs(REPLY_SECONDS)),
            nodelay: true,
            ..client::Config::default()
        };
        let mut connection = client::connect(Arc::new(config), address, Pinned(host_key.clone()))
            .await
            .with_context(|| format!("while connecting to {address}"))?;
        let hash = connection.best_supported_rsa_hash().await?.flatten();
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        let login = connection.authenticate_publickey(account, key).await?;
        anyhow::ensure!(login.success(), "the gateway did not let account {account} in with this key");
        let channel = connection.channel_open_session().await?;
        channel.request_subsystem(true, "sftp").await?;
        let sftp = SftpSession::new(channel.into_stream()).await?;
        sftp.set_timeout(REPLY_SECONDS);
        Ok(Self { connection, sftp })
    }

    /// Makes a folder; one that is there is fine.
    pub async fn make_folder(&self, path: &str) -> anyhow::Result<()> {
        match self.sftp.create_dir(path).await {
            Ok(()) => Ok(()),
            Err(_) if self.sftp.metadata(path).await.is_ok_and(|m| m.is_dir()) => Ok(()),
            Err(e) => Err(e).with_context(|| format!("while making {path}")),
        }
    }

    /// Sends one file. An error carries the gateway's `CODE text`.
    pub async fn put(&self, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        let mut file =
            self.sftp.open_with_flags(path, flags).await.with_context(|| format!("while opening {path}"))?;
        file.write_all(bytes).await.with_context(|| format!("while writing {path}"))?;
        // Closes, and hears the verdict.
        file.shutdown().await.with_context(|| format!("while closing {path}"))
    }

    /// Fetches one file.
    pub async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.sftp.read(path).await.with_context(|| format!("while fetching {path}"))
    }

    /// Names in a folder, sorted.
    pub async fn list(&self, path: &str) -> anyhow::Result<Vec<String>> {
        let listing = self.sftp.read_dir(path).await.with_context(|| format!("while listing {path}"))?;
        let mut names: Vec<String> = listing.map(|entry| entry.file_name()).collect();
        names.sort();
        Ok(names)
    }

    /// Says goodbye.
    pub async fn close(self) {
        // The other side may be gone first; then there is nobody to say it to.
        let _ = self.sftp.close().await;
        let _ = self.connection.disconnect(Disconnect::ByApplication, "", "").await;
    }
}
