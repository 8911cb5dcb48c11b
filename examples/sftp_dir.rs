//! The SFTP door in front of a plain folder, to measure the door alone:
//! `sftp_dir ADDRESS HOST_KEY AUTHORIZED_KEY ACCOUNT FOLDER`.

#[path = "../tests/support/dir.rs"]
mod dir;

use std::sync::Arc;

use anyhow::Context as _;
use russh::keys::{load_public_key, load_secret_key};
use todoke::doors::sftp::{Limits, start};
use todoke::model::time::SystemClock;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, host_key, key, account, folder] = arguments.as_slice() else {
        anyhow::bail!("usage: sftp_dir ADDRESS HOST_KEY AUTHORIZED_KEY ACCOUNT FOLDER");
    };
    let listener = tokio::net::TcpListener::bind(address).await.context("while binding")?;
    let host_key = load_secret_key(host_key, None).context("while reading the host key")?;
    let key = load_public_key(key).context("while reading the authorized key")?;
    let gate = dir::Keys::new(vec![(account.clone(), key)], Arc::new(dir::Dir::new(folder)));
    let _server =
        start(vec![listener], vec![host_key], Limits::default(), Arc::new(gate), Arc::new(SystemClock));
    std::future::pending().await
}
