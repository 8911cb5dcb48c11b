//! kill -9 over the whole path: offices send over SFTP, the insurer's importer moves folders, the insurer leaves
//! documents, mails go out, and the daemon is killed again and again at moments that nobody chose. At the end everything
//! that was acknowledged is there, exactly once, whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test may end where it fails; its importer renames as importers do"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::gateway::{Gateway, OFFICE, PDF, Set, until};
use support::served::Served;
use todoke::model::ids::Digest;

/// Times the daemon is killed.
const ROUNDS: usize = 30;
/// Clients that send at the same time, each with an account of its own.
const CLIENTS: usize = 4;

/// Takes every mail; keeps each with its Message-ID.
struct MailSink {
    port: u16,
    mails: Arc<Mutex<Vec<String>>>,
}

impl MailSink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&mails);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                // A daemon that dies in the middle ends only its own connection.
                std::thread::spawn(move || speak(&stream, &kept));
            }
        });
        Self { port, mails }
    }
}

fn speak(stream: &TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut say = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    say.write_all(b"220 sink\r\n")?;
    while let Some(line) = lines.next() {
        let line = line?;
        let answer: &[u8] = match line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" => b"250-sink\r\n250 8BITMIME\r\n",
            "DATA" => {
                say.write_all(b"354 go on\r\n")?;
                let mut mail = String::new();
                loop {
                    let Some(line) = lines.next() else { return Ok(()) };
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    mail += &line;
                    mail.push('\n');
                }
                kept.lock().unwrap().push(mail);
                b"250 taken\r\n"
            }
            "QUIT" => {
                say.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 fine\r\n",
        };
        say.write_all(answer)?;
    }
    Ok(())
}

/// What the clients were told.
#[derive(Default)]
struct Told {
    /// Receipts of submissions that were acknowledged: by manifest hash, with the filing's hash.
    taken: Mutex<BTreeMap<String, (String, Digest)>>,
    /// Attempts that broke off, for the report.
    broken: AtomicUsize,
}

/// Sends one set after another; each until it has the receipt in hand.
fn client(gateway: &Gateway, account: &str, n: usize, stop: &AtomicBool, told: &Told) {
    let mut serial = 0;
    while !stop.load(Ordering::SeqCst) {
        serial += 1;
        // Every set is another: no filing is like one before.
        let set = one(gateway, n * 100_000 + serial);
        let from = gateway.lay_out(&set, account);
        let sha256 = set.sha256();
        let receipt = format!("{from}/receipt.json");
        let batch = format!("{}get /receipts/by-manifest/{sha256}.json {receipt}\n", set.batch(&from));
        let options =
            ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"];
        loop {
            let ran = gateway.sftp_with(account, account, &options, &batch);
            if ran.code == 0 {
                let receipt: Value =
                    serde_json::from_slice(&fs::read(gateway.work().join(&receipt)).unwrap()).unwrap();
                assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
                let number = receipt["number"].as_str().unwrap().to_owned();
                told.taken.lock().unwrap().insert(sha256, (number, Digest::of(&set.files[0].1)));
                break;
            }
            told.broken.fetch_add(1, Ordering::SeqCst);
            if stop.load(Ordering::SeqCst) {
                // What was not answered was not promised.
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn one(gateway: &Gateway, n: usize) -> Set {
    let cover = [PDF, format!("% {n}\n").as_bytes()].concat();
    Set::of("", vec![("KPFD0006.CSV", gateway.filing(1 + (n as u64) % 7)), ("soukatsu.pdf", cover)])
}

/// Renames folders onward, as an importer on the same machine does, and reads in between.
fn importer(gateway: &Gateway, stop: &AtomicBool) {
    let spool = gateway.insurer_spool();
    let names = |place: &str| -> Vec<String> {
        fs::read_dir(spool.join(place))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    while !stop.load(Ordering::SeqCst) {
        for name in names("new") {
            // Some stay in new/ for long: odd ones are taken only now and then.
            if name.ends_with(['1', '3', '5']) {
                continue;
            }
            fs::rename(spool.join("new").join(&name), spool.join("cur").join(&name)).unwrap();
        }
        for name in names("cur") {
            check_folder(&spool.join("cur").join(&name));
            if !name.ends_with(['2', '7']) {
                fs::rename(spool.join("cur").join(&name), spool.join("done").join(&name)).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A published folder is whole whenever anybody sees it.
fn check_folder(folder: &Path) {
    let sums = fs::read_to_string(folder.join("FILES.sha256")).unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    for line in sums.lines() {
        let (sha256, name) = line.split_once("  ").unwrap();
        assert_eq!(
            Digest::of(&fs::read(folder.join(name)).unwrap()).to_string(),
            sha256,
            "{}",
            folder.display()
        );
    }
}

/// Leaves one job after another; gives the contents that were handed over by the rename of `delivery.csv`.
fn insurer(gateway: &Gateway, stop: &AtomicBool) -> BTreeSet<Digest> {
    let outgoing = gateway.insurer_spool().join("outgoing");
    let mut left = BTreeSet::new();
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        let job = outgoing.join(format!("job-{n}"));
        fs::create_dir(&job).unwrap();
        let mut sheet = "account,office,in_reply_to,file,type,title\n".to_owned();
        for file in 0..CLIENTS {
            let bytes = [PDF, format!("% job {n} file {file}\n").as_bytes()].concat();
            left.insert(Digest::of(&bytes));
            fs::write(job.join(format!("{file}.pdf")), bytes).unwrap();
            sheet += &format!("K000{},,,{file}.pdf,納入告知書,11月分\n", file + 1);
        }
        fs::write(job.join("delivery.csv.tmp"), sheet).unwrap();
        fs::rename(job.join("delivery.csv.tmp"), job.join("delivery.csv")).unwrap();
        n += 1;
        std::thread::sleep(Duration::from_millis(150));
    }
    left
}

/// A number that differs in every run; printed, so that a failing run can be told apart.
fn random() -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn what_was_acknowledged_is_there_exactly_once_after_kills_at_any_moment() {
    let sink = MailSink::start();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut gateway = Gateway::set_up(&[
        ("sftp", "listen", &format!("\"127.0.0.1:{port}\"")),
        ("mail", "url", &format!("\"smtp://127.0.0.1:{}\"", sink.port)),
        ("mail", "retry", "[\"1s\"]"),
        ("delivery", "settle_seconds", "0"),
    ]);
    let accounts: Vec<String> = (1..=CLIENTS).map(|n| format!("K000{n}")).collect();
    for account in &accounts[1..] {
        gateway.add_account(
            account,
            &["--office", OFFICE, "--user-name", "総務課", "--mail", "soumu@example.jp"],
        );
    }
    // Once in order: then port and host key are known.
    gateway.start();
    gateway.stop();
    let (stop, imported) = (AtomicBool::new(false), AtomicBool::new(false));
    let told = Told::default();
    let left = std::thread::scope(|scope| {
        let gateway = &gateway;
        let mut daemon = Served::start(gateway, |_| ());
        let clients: Vec<_> = accounts
            .iter()
            .enumerate()
            .map(|(n, account)| {
                let (stop, told) = (&stop, &told);
                scope.spawn(move || client(gateway, account, n, stop, told))
            })
            .collect();
        let importer = scope.spawn(|| importer(gateway, &imported));
        let insurer = scope.spawn(|| insurer(gateway, &stop));
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(100 + random() % 2400));
            daemon.kill();
            let began = Instant::now();
            daemon = Served::start(gateway, |_| ());
            let taken = told.taken.lock().unwrap().len();
            eprintln!("kill {round}: {taken} taken so far; up again after {:?}", began.elapsed());
        }
        stop.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        let left = insurer.join().unwrap();
        settle(gateway);
        imported.store(true, Ordering::SeqCst);
        importer.join().unwrap();
        daemon.kill();
        left
    });
    gateway.start();
    settle(&gateway);
    submissions_are_there_once(&gateway, &told);
    documents_are_there_once(&gateway, &accounts, &left);
    mails_are_told_apart(&gateway, &sink);
    until("nothing of a crash is left", || {
        [".tmp", ".taking", "outgoing"]
            .iter()
            .all(|place| fs::read_dir(gateway.insurer_spool().join(place)).unwrap().count() == 0)
    });
    gateway.stop();
    gateway.todoke(&["journal", "verify"]).ends(0);
    eprintln!("{} attempts broke off and were made again", told.broken.load(Ordering::SeqCst));
}

/// Waits until every queue but the purge's is empty.
fn settle(gateway: &Gateway) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let status = gateway.ask(&["status"]);
        let waiting = |queue: &str| status["queues"][queue]["waiting"].as_u64().unwrap();
        let jobs = fs::read_dir(gateway.insurer_spool().join("outgoing")).unwrap().count();
        if jobs == 0 && ["judge", "publish", "announce", "mail"].iter().all(|queue| waiting(queue) == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{status:#}\n{jobs} jobs wait\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn submissions_are_there_once(gateway: &Gateway, told: &Told) {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for place in ["new", "cur", "done", "failed"] {
        for entry in fs::read_dir(gateway.insurer_spool().join(place)).unwrap() {
            places.entry(entry.unwrap().file_name().into_string().unwrap()).or_default().push(place);
        }
    }
    let listed = gateway.ask(&["submission", "list"]);
    let listed = listed.as_array().unwrap();
    let taken = told.taken.lock().unwrap();
    assert!(taken.len() >= ROUNDS, "only {} submissions came through", taken.len());
    let mut numbers = HashSet::new();
    let mut manifests = HashSet::new();
    for row in listed {
        let number = row["number"].as_str().unwrap();
        assert!(numbers.insert(number.to_owned()), "{number} twice");
        assert!(
            manifests.insert(row["manifest_sha256"].as_str().unwrap().to_owned()),
            "twice accepted: {row}"
        );
        // Every accepted one, acknowledged or not, is in one place, whole.
        let there = places.remove(number).unwrap_or_else(|| panic!("nowhere: {row}"));
        let [place] = there[..] else { panic!("{number} lies in {there:?}") };
        check_folder(&gateway.insurer_spool().join(place).join(number));
    }
    assert!(places.is_empty(), "of no submission: {places:?}");
    for (manifest, (number, filing)) in taken.iter() {
        let row = listed
            .iter()
            .find(|row| row["number"] == number.as_str())
            .unwrap_or_else(|| panic!("{number} is lost"));
        assert_eq!(row["manifest_sha256"], manifest.as_str());
        let folder = ["new", "cur", "done"].map(|place| gateway.insurer_spool().join(place).join(number));
        let folder = folder.iter().find(|folder| folder.exists()).unwrap();
        assert_eq!(Digest::of(&fs::read(folder.join("KPFD0006.CSV")).unwrap()), *filing);
    }
    eprintln!("{} acknowledged, {} recorded", taken.len(), listed.len());
}

fn documents_are_there_once(gateway: &Gateway, accounts: &[String], left: &BTreeSet<Digest>) {
    let mut found = BTreeSet::new();
    for account in accounts {
        let into = format!("outbox-{account}");
        fs::create_dir(gateway.work().join(&into)).unwrap();
        gateway.sftp(account, &format!("lcd {into}\nget /outbox/{OFFICE}/*\n")).ends(0);
        for entry in fs::read_dir(gateway.work().join(&into)).unwrap() {
            let digest = Digest::of(&fs::read(entry.unwrap().path()).unwrap());
            assert!(found.insert(digest), "a document is there twice");
        }
    }
    assert_eq!(found, *left);
    eprintln!("{} documents", left.len());
}

/// A mail that was repeated is the same mail, and no document was announced by two.
fn mails_are_told_apart(gateway: &Gateway, sink: &MailSink) {
    let mails = sink.mails.lock().unwrap();
    let mut seen: BTreeMap<String, &String> = BTreeMap::new();
    let mut repeated = 0;
    for mail in mails.iter() {
        let id = mail
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("message-id:"))
            .unwrap()
            .to_owned();
        if let Some(earlier) = seen.insert(id, mail) {
            assert_eq!(earlier, mail);
            repeated += 1;
        }
    }
    let listed = gateway.ask(&["mail", "list"]);
    let listed = listed.as_array().unwrap();
    assert!(listed.iter().all(|mail| mail["state"] == "sent"), "{listed:#?}");
    let sent: BTreeSet<&str> = listed.iter().map(|mail| mail["message_id"].as_str().unwrap()).collect();
    for id in seen.keys() {
        assert!(sent.iter().any(|sent| id.contains(sent)), "{id} is nobody's");
    }
    assert_eq!(sent.len(), seen.len());
    eprintln!("{} mails, {repeated} of them repeated", seen.len());
}
