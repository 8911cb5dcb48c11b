//! What the client does to a server.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Target;
use crate::client::{Connection, Requests, logins};

/// Files that belong together, and the folder that is made for them.
struct Parcel {
    folder: Option<String>,
    files: Vec<Upload>,
}

struct Upload {
    path: String,
    content: Vec<u8>,
}

fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// What a request under way was for.
enum Asked {
    Folder(Vec<Upload>),
    Open(Upload),
    Write,
    Close,
}

/// Open for writing takes two answers more.
const REQUESTS_PER_FILE: usize = 2;

/// Sends parcels in order, several at the same time, with at most so many requests under way.
async fn send(
    connection: &mut Connection,
    mut parcels: VecDeque<Parcel>,
    in_flight: usize,
) -> anyhow::Result<()> {
    let mut requests = Requests::default();
    let mut asked: HashMap<u32, Asked> = HashMap::new();
    let (mut next, mut reserved) = (0_u32, 0);
    loop {
        while let Some(parcel) = parcels.front() {
            let cost = parcel.files.len() * REQUESTS_PER_FILE;
            if reserved > 0 && reserved + cost > in_flight {
                break;
            }
            reserved += cost;
            let Some(parcel) = parcels.pop_front() else { break };
            match parcel.folder {
                Some(folder) => {
                    next += 1;
                    requests.mkdir(next, &folder);
                    asked.insert(next, Asked::Folder(parcel.files));
                }
                None => open_all(parcel.files, &mut requests, &mut asked, &mut next),
            }
        }
        connection.send(&mut requests).await?;
        if asked.is_empty() {
            return Ok(());
        }
        let mut reply = Some(connection.reply().await?);
        while let Some(came) = reply {
            match asked.remove(&came.id).context("an answer to nothing")? {
                Asked::Folder(files) => {
                    came.ok().context("while making a folder")?;
                    open_all(files, &mut requests, &mut asked, &mut next);
                }
                Asked::Open(upload) => {
                    let handle = came.handle().with_context(|| format!("while opening {}", upload.path))?;
                    requests.write(next + 1, handle, &upload.content);
                    requests.close(next + 2, handle);
                    asked.insert(next + 1, Asked::Write);
                    asked.insert(next + 2, Asked::Close);
                    next += 2;
                }
                Asked::Write => came.ok().context("while writing")?,
                Asked::Close => {
                    came.ok().context("while closing")?;
                    reserved -= REQUESTS_PER_FILE;
                }
            }
            reply = connection.reply_ready()?;
        }
    }
}

fn open_all(files: Vec<Upload>, requests: &mut Requests, asked: &mut HashMap<u32, Asked>, next: &mut u32) {
    for upload in files {
        *next += 1;
        requests.open(*next, &upload.path);
        asked.insert(*next, Asked::Open(upload));
    }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Many small files.
pub(crate) fn put(target: &Target, files: u64, size: usize, in_flight: usize) -> anyhow::Result<Value> {
    let login = logins(&target.keys, target.certificates.as_deref())?.swap_remove(0);
    let content = vec![b'x'; size];
    let parcel = |at| {
        let path = format!("{}/submit/file-{at:06}.dat", target.base);
        Parcel { folder: None, files: vec![Upload { path, content: content.clone() }] }
    };
    let parcels = (0..files).map(parcel).collect();
    run(async {
        let mut connection = Connection::open(target, &login).await?;
        let began = Instant::now();
        send(&mut connection, parcels, in_flight).await?;
        let wall = seconds(began);
        connection.leave().await;
        Ok(json!({ "wall": wall }))
    })
}

/// A listing.
pub(crate) fn list(target: &Target, path: &str, names_to: Option<&Path>) -> anyhow::Result<Value> {
    let login = logins(&target.keys, target.certificates.as_deref())?.swap_remove(0);
    run(async {
        let mut connection = Connection::open(target, &login).await?;
        let began = Instant::now();
        let names = connection.list(&format!("{}{path}", target.base)).await?;
        let wall = seconds(began);
        connection.leave().await;
        if let Some(to) = names_to {
            std::fs::write(to, names.join("\n"))?;
        }
        Ok(json!({ "wall": wall, "names": names.len() }))
    })
}

/// Short sessions.
pub(crate) fn visit(target: &Target, visits: u64, together: usize) -> anyhow::Result<Value> {
    let logins = logins(&target.keys, target.certificates.as_deref())?;
    run(async {
        let room = Arc::new(Semaphore::new(together));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for (at, login) in (0..visits).zip(logins.into_iter().cycle()) {
            let (room, target) = (room.clone(), target.clone());
            tasks.spawn(async move {
                let _place = room.acquire().await?;
                let mut connection = Connection::open(&target, &login).await?;
                let path = format!("{}/submit/visit-{at:06}.dat", target.base);
                let files = vec![Upload { path, content: vec![b'x'; 2048] }];
                send(&mut connection, VecDeque::from([Parcel { folder: None, files }]), 64).await?;
                connection.leave().await;
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(json!({ "wall": seconds(began) }))
    })
}

/// Connections that log in and leave.
pub(crate) fn login(target: &Target, times: u64, together: usize) -> anyhow::Result<Value> {
    let logins = logins(&target.keys, target.certificates.as_deref())?;
    run(async {
        let room = Arc::new(Semaphore::new(together));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for (_, login) in (0..times).zip(logins.into_iter().cycle()) {
            let (room, target) = (room.clone(), target.clone());
            tasks.spawn(async move {
                let _place = room.acquire().await?;
                Connection::look_in(&target, &login).await
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(json!({ "wall": seconds(began) }))
    })
}

/// Sessions that do nothing.
pub(crate) fn idle(target: &Target, sessions: usize) -> anyhow::Result<Value> {
    let logins = logins(&target.keys, target.certificates.as_deref())?;
    run(async {
        let mut open = Vec::new();
        for login in logins.iter().cycle().take(sessions) {
            open.push(Connection::open(target, login).await?);
        }
        let ready = json!({ "ready": open.len() });
        std::io::Write::write_all(&mut std::io::stdout(), format!("{ready}\n").as_bytes())?;
        let mut rest = String::new();
        std::io::stdin().read_line(&mut rest)?;
        for connection in open {
            connection.leave().await;
        }
        Ok(json!({ "sessions": sessions }))
    })
}

/// The parcels of each account, in the order of their names.
fn read_sets(sets: &Path, base: &str) -> anyhow::Result<BTreeMap<String, VecDeque<Parcel>>> {
    let named = |folder: &Path| -> anyhow::Result<Vec<(String, std::path::PathBuf)>> {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        all.sort();
        Ok(all)
    };
    let mut by_account = BTreeMap::new();
    for (account, sets) in named(sets)? {
        let mut parcels = VecDeque::new();
        for (name, set) in named(&sets)? {
            let folder = format!("{base}/submit/{name}");
            let files = named(&set)?.into_iter().map(|(name, path)| {
                Ok(Upload { path: format!("{folder}/{name}"), content: std::fs::read(path)? })
            });
            let files = files.collect::<anyhow::Result<_>>()?;
            parcels.push_back(Parcel { folder: Some(folder), files });
        }
        by_account.insert(account, parcels);
    }
    Ok(by_account)
}

/// Whole submissions.
pub(crate) fn submit(
    target: &Target,
    sets: &Path,
    in_flight: usize,
    apart: bool,
    until: Option<(&Path, usize)>,
) -> anyhow::Result<Value> {
    let logins = logins(&target.keys, target.certificates.as_deref())?;
    let sets = read_sets(sets, &target.base)?;
    run(async {
        let mut clients = Vec::new();
        for (account, parcels) in sets {
            let login =
                logins.iter().find(|login| login.account == account).context("a set without a key")?;
            let connection = if apart { None } else { Some(Connection::open(target, login).await?) };
            clients.push((connection, login.clone(), parcels));
        }
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (connection, login, mut parcels) in clients {
            let target = target.clone();
            tasks.spawn(async move {
                if let Some(mut connection) = connection {
                    send(&mut connection, parcels, in_flight).await?;
                    return anyhow::Ok(Some(connection));
                }
                while let Some(parcel) = parcels.pop_front() {
                    let mut connection = Connection::open(&target, &login).await?;
                    send(&mut connection, VecDeque::from([parcel]), in_flight).await?;
                    connection.leave().await;
                }
                Ok(None)
            });
        }
        let mut open = Vec::new();
        while let Some(done) = tasks.join_next().await {
            open.extend(done??);
        }
        let answered = seconds(began);
        if let Some((folder, count)) = until {
            wait_for(folder, count).await?;
        }
        let wall = seconds(began);
        for connection in open {
            connection.leave().await;
        }
        Ok(json!({ "wall": wall, "answered": answered }))
    })
}

async fn wait_for(folder: &Path, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        // Each folder inside counts as a link; where the file system does not count them, they are listed.
        let links = usize::try_from(std::fs::metadata(folder)?.nlink())?;
        let there = if links > 2 { links - 2 } else { std::fs::read_dir(folder)?.count() };
        if there >= count {
            return Ok(());
        }
        anyhow::ensure!(
            began.elapsed() < Duration::from_mins(2),
            "{there} of {count} came to {}",
            folder.display()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
