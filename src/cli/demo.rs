//! `todoke demo`: everything at work once, in a temporary folder, in a few seconds.
//!
//! The daemon is the real one, the filing goes through a real SFTP session, the mail through a real SMTP connection;
//! only the clock is set by hand, so that 71 days pass at once.

mod sink;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use russh::keys::ssh_key::PrivateKey;

use super::Globals;
use super::exit::Exit;
use super::out;
use crate::client::sftp::Session;
use crate::config::Config;
use crate::daemon::{self, Running, World};
use crate::desk::{Kind, Trouble};
use crate::filing::RuleSet;
use crate::filing::sample::SampleFiling;
use crate::model::finding::Language;
use crate::model::ids::{AccountId, Digest, InsurerCode, OfficeCode};
use crate::model::party::{Actor, Role};
use crate::model::time::{Clock, DAY, SystemClock, Timestamp};
use crate::rules::policy::SecondAccount;
use crate::signed::sshsig::{self, SUBMISSION_NAMESPACE};
use crate::store::gateway_keys;
use crate::store::keys::{public_line, random};
use crate::work::parties::{AccountForm, AccountRules, InsurerForm, Mode, OfficeForm, Parties};
use sink::MailSink;

/// Show everything at work in a temporary folder.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Leave the temporary folder, to look around in it
    #[arg(long)]
    keep: bool,
}

const INSURER: &str = "06139999";
const OFFICE: &str = "1234";
const ACCOUNT: &str = "K0001";

impl Demo {
    pub(super) fn run(self, globals: &Globals) -> Result<Exit, Trouble> {
        let out = globals.out();
        let began = Instant::now();
        let line = |text: &str| out.line(&format!("{:5.2} s  {text}", began.elapsed().as_secs_f64()));
        let folder = temporary().map_err(|e| Trouble::fault(format!("{e:#}")))?;
        let mut printed = Ok(());
        let shown = show(&folder, &mut |text| {
            if printed.is_ok() {
                printed = line(text);
            }
        });
        if self.keep {
            out::note(&format!("the folder is {}", folder.display()));
        } else if let Err(error) = std::fs::remove_dir_all(&folder) {
            out::note(&format!("{} could not be removed: {error}", folder.display()));
        }
        shown.map_err(|e| Trouble::new(Kind::Fault, "DEMO", format!("{e:#}")))?;
        printed?;
        Ok(Exit::Done)
    }
}

/// A clock that runs, and can be moved on.
#[derive(Default)]
struct MovedClock(AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0.load(Ordering::SeqCst))
    }
}

fn temporary() -> anyhow::Result<PathBuf> {
    let mut name = [0; 8];
    random(&mut name)?;
    let folder = std::env::temp_dir().join(format!("todoke-demo-{}", hex::encode(name)));
    std::fs::DirBuilder::new()
        .create(&folder)
        .with_context(|| format!("while making {}", folder.display()))?;
    Ok(folder)
}

fn configuration(folder: &Path, smtp: u16) -> anyhow::Result<Config> {
    let file = folder.join("conf/todoke.toml");
    std::fs::create_dir_all(folder.join("conf"))?;
    let text = format!(
        "[gateway]\nroot = \"spool\"\n\
         [sftp]\nlisten = \"127.0.0.1:0\"\n\
         [scanner]\naddress = \"none\"\n\
         [mail]\nurl = \"smtp://127.0.0.1:{smtp}\"\nfrom = \"todoke@gateway.example\"\ncontact = \"東京見本健康保険組合 適用課\"\ngather = \"0s\"\ninterval = \"0s\"\n\
         [delivery]\nsettle_seconds = 0\n\
         [submit]\nfree_bytes_min = 1\n\
         [metrics]\nlisten = \"\"\n"
    );
    std::fs::write(&file, text)?;
    Ok(Config::load(&file)?)
}

fn show(folder: &Path, line: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let sink = MailSink::start()?;
    let config = configuration(folder, sink.port())?;
    let clock = Arc::new(MovedClock::default());
    let (own, began) = (Arc::clone(&clock), SystemClock.now());
    let world = World {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        uptime: Arc::new(move || own.now().since(began)),
    };
    let spool = config.places.root.join("insurers").join(INSURER);
    let running = daemon::start(config, &world, None)?;
    let address = running.sftp_address();
    line(&format!("the daemon serves SFTP on {address}, spool in {}", folder.join("spool").display()));

    let key = parties(&running)?;
    line(&format!(
        "made: insurer {INSURER} 東京見本健康保険組合, office {OFFICE} 株式会社見本工業, account {ACCOUNT} with a new ed25519 key"
    ));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let number = runtime.block_on(send(&running, &key, line))?;
    let published = spool.join("new").join(&number);
    wait("the insurer's folder", || published.is_dir())?;
    let names = names_in(&published)?;
    line(&format!("the insurer finds {}: {}", short(&published, folder), names.join(", ")));
    let sums = std::fs::read_to_string(published.join("FILES.sha256"))?;
    for sum in sums.lines() {
        let (sha256, name) = sum.split_once("  ").context("FILES.sha256 is malformed")?;
        ensure!(Digest::of(&std::fs::read(published.join(name))?).to_string() == sha256, "{name} differs");
    }
    line(&format!("FILES.sha256 holds for its {} files", sums.lines().count()));
    #[allow(clippy::disallowed_methods, reason = "plays the importer, who is somebody else")]
    std::fs::rename(&published, spool.join("cur").join(&number))?;
    line("the importer renames it to cur/: collected, no more to be withdrawn");

    let job = spool.join("outgoing/2026-11");
    std::fs::create_dir_all(&job)?;
    std::fs::write(job.join("notice.pdf"), PDF)?;
    let delivery = format!(
        "account,office,in_reply_to,file,type,title\r\n,,{number},notice.pdf,決定通知書,資格取得確認\r\n"
    );
    std::fs::write(job.join("delivery.csv"), delivery)?;
    line("the insurer leaves notice.pdf and delivery.csv in outgoing/2026-11/, in reply to the filing");
    let mail = sink.wait(Duration::from_secs(20)).context("no mail arrived")?;
    line(&format!("the office's group mailbox gets: {}", mail.subject));
    runtime.block_on(fetch(&running, &key, line))?;

    // A day at a time: a clock that leaps stops the purge until the operator has looked.
    let purge = Arc::clone(&running.house().stages.purge);
    let mut removed = 0;
    for day in 1..=71 {
        clock.0.fetch_add(DAY, Ordering::SeqCst);
        let progress = purge.step(clock.now())?;
        removed += progress.done;
        if progress.done > 0 {
            line(&format!("day {day}: the purge removes {} document whose 70 days are over", progress.done));
        }
    }
    ensure!(removed == 1, "the purge removed {removed} documents");
    runtime.block_on(async {
        let session = login(&running, &key).await?;
        let left = session.list(&format!("/outbox/{OFFICE}")).await?;
        session.close().await;
        ensure!(left.is_empty(), "the outbox still shows {left:?}");
        anyhow::Ok(())
    })?;
    let events = running.house().ledger.head().seq;
    line(&format!(
        "71 days later the outbox is empty; the journal tells why in {events} events that name nobody"
    ));
    // With it goes the client, which would not answer the daemon's farewell.
    drop(runtime);
    running.stop(Duration::from_secs(5))?;
    line("the daemon stopped in order");
    Ok(())
}

fn short(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

fn names_in(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn wait(what: &str, mut there: impl FnMut() -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while !there() {
        ensure!(Instant::now() < until, "{what} did not appear");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Makes the parties; gives the account's key.
fn parties(running: &Running) -> anyhow::Result<PrivateKey> {
    let house = running.house();
    let (by, now) = (Actor::Operator(rustix::process::getuid().as_raw()), house.now());
    let parties = Parties::new(Arc::clone(&house.ledger), Arc::clone(&house.blobs), house.spool_root());
    let insurer = InsurerCode::parse(INSURER)?;
    let office = OfficeCode::parse(OFFICE)?;
    let form = InsurerForm {
        code: insurer.clone(),
        name: Some("東京見本健康保険組合".into()),
        mail: None,
        group: None,
    };
    parties.set_insurer(&form, Mode::Add, &by, now)?;
    let form =
        OfficeForm {
            insurer: insurer.clone(), code: office.clone(), name: Some("株式会社見本工業".into())
        };
    parties.set_office(&form, Mode::Add, &by, now)?;
    let key = gateway_keys::generate("demo").map_err(|e| anyhow::anyhow!("{e}"))?;
    let form = AccountForm {
        insurer: Some(insurer),
        role: Some(Role::Office),
        offices: Some(vec![office]),
        user_name: Some("総務課".into()),
        mail: Some("soumu@example.jp".into()),
        keys: vec![public_line(key.public_key())],
        ..AccountForm::of(AccountId::parse(ACCOUNT)?)
    };
    let second = |_: &InsurerCode| SecondAccount::default();
    let rules = AccountRules { second: &second, language: Language::Ja };
    parties.set_account(&form, Mode::Add, rules, &by, now)?;
    Ok(key)
}

async fn login(running: &Running, key: &PrivateKey) -> anyhow::Result<Session> {
    let host_key = running.house().keys.host.public_key().clone();
    Session::open(running.sftp_address(), &host_key, ACCOUNT, key.clone()).await
}

/// Signs and sends a filing with its cover sheet; gives the receipt's number.
async fn send(running: &Running, key: &PrivateKey, line: &mut dyn FnMut(&str)) -> anyhow::Result<String> {
    let today = running.house().now().date_in(chrono_tz::Asia::Tokyo);
    let filing = SampleFiling::new(&RuleSet::builtin()?, &["2200700"], 3, today).bytes();
    let files: [(&str, &[u8]); 2] = [("KPFD0006.CSV", &filing), ("soukatsu.pdf", PDF)];
    let lines = files.map(|(name, bytes)| format!("{}  {name}\n", Digest::of(bytes)));
    let manifest = lines.concat();
    let signature = sshsig::sign(manifest.as_bytes(), SUBMISSION_NAMESPACE, key)?;
    line(&format!(
        "a filing of 3 資格取得届 ({} bytes) and its cover sheet are named in SHA256SUMS, and that is signed",
        filing.len()
    ));
    let session = login(running, key).await?;
    let name = Digest::of(manifest.as_bytes()).to_string();
    let folder = format!("/submit/{name}");
    session.make_folder(&folder).await?;
    for (file, bytes) in files {
        session.put(&format!("{folder}/{file}"), bytes).await?;
    }
    session.put(&format!("{folder}/SHA256SUMS"), manifest.as_bytes()).await?;
    session.put(&format!("{folder}/SHA256SUMS.sig"), signature.as_bytes()).await?;
    line("sent over SFTP; the last close was answered OK: received, durably");
    let receipt = session.get(&format!("/receipts/by-manifest/{name}.json")).await?;
    let receipt: serde_json::Value = serde_json::from_slice(&receipt)?;
    let text = |key: &str| receipt[key].as_str().unwrap_or_default().to_owned();
    let stages: Vec<String> = ["upload", "signature", "virus", "format", "routing"]
        .iter()
        .map(|stage| format!("{stage} {}", receipt["stages"][stage]["verdict"].as_str().unwrap_or_default()))
        .collect();
    line(&format!("receipt {} ({}): {}", text("number"), text("outcome"), stages.join(", ")));
    ensure!(text("outcome") == "accepted", "the filing was not accepted: {receipt:#}");
    session.close().await;
    Ok(text("number"))
}

/// Fetches the document.
async fn fetch(running: &Running, key: &PrivateKey, line: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let session = login(running, key).await?;
    let folder = format!("/outbox/{OFFICE}");
    let names = session.list(&folder).await?;
    let [name] = names.as_slice() else { anyhow::bail!("the outbox holds {names:?}") };
    let bytes = session.get(&format!("{folder}/{name}")).await?;
    ensure!(bytes == PDF, "the document differs");
    line(&format!("the office fetches {folder}/{name} ({} bytes)", bytes.len()));
    session.close().await;
    Ok(())
}

/// A small PDF of one empty page.
const PDF: &[u8] = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\nxref\n0 4\n0000000000 65535 f \n0000000009 00000 n \n0000000052 00000 n \n0000000101 00000 n \ntrailer<</Size 4/Root 1 0 R>>\nstartxref\n164\n%%EOF\n";
