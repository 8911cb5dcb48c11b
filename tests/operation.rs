//! The daemon in operation: one owner, stopping, reloading, the service manager, monitors, damage, a full disk, a wrong
//! clock. Needs to be root, for another user's root and for disks of a few megabytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test may end where it fails, and damages what it needs to damage"
)]

mod support;

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PATIENCE, PDF, Set, until};
use support::served::Served;

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The answer to a plain GET: its status, and its body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// What the daemon said since some line of the log.
fn since(gateway: &Gateway, mark: usize) -> String {
    gateway.log()[mark..].to_owned()
}

#[test]
fn one_daemon_owns_a_root() {
    let gateway = Gateway::new();
    let second = gateway.todoke(&["serve"]).ends(3);
    assert!(second.err.contains("ROOT-LOCKED"), "{second:?}");
    gateway.send_taken(ACCOUNT, &gateway.set(1));
}

#[test]
fn a_start_waits_for_a_command_that_has_the_store() {
    let mut gateway = Gateway::set_up(&[]);
    let held = todoke::store::root::Root::open(&gateway.spool()).unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        drop(held);
    });
    gateway.start();
    ends.join().unwrap();
    gateway.send_taken(ACCOUNT, &gateway.set(1));
}

#[test]
fn a_root_of_another_user_is_refused_with_words() {
    let gateway = Gateway::set_up(&[]);
    std::os::unix::fs::chown(gateway.spool(), Some(65534), None).expect("this test must be root");
    for command in [&["serve"][..], &["insurer", "list"]] {
        let ran = gateway.todoke(command).ends(2);
        assert!(ran.err.contains("ROOT-NOT-OURS") && ran.err.contains("65534"), "{ran:?}");
    }
}

/// 20 MB at 4 MB/s: long enough for everything to happen while it is under way.
fn slow_upload(gateway: &Gateway) -> support::gateway::SftpSession {
    gateway.make("big", support::content(20 << 20));
    let mut upload = gateway.session(ACCOUNT, ACCOUNT, &["-l", "32000"]);
    upload.tell("put big /submit/big");
    until("the upload is under way", || {
        let sessions = &gateway.ask(&["status"])["sessions"];
        sessions[0]["bytes_in"].as_u64().unwrap_or(0) > 1 << 20
    });
    upload
}

#[test]
fn a_stop_lets_transfers_end_and_takes_nothing_new() {
    let mut gateway = Gateway::set_up(&[]);
    let mut daemon = Served::start(&gateway, |_| ());
    gateway.find();
    let upload = slow_upload(&gateway);
    daemon.signal(Signal::TERM);
    until("it stops", || gateway.log().contains("stopping"));
    let late = gateway.sftp_with(ACCOUNT, ACCOUNT, &["-o", "ConnectTimeout=5"], "ls /\n");
    assert_ne!(late.code, 0, "{late:?}");
    upload.ends().ends(0);
    assert!(daemon.ends().success());
    gateway.start();
    let listed = gateway.sftp(ACCOUNT, "ls -l /submit\n").ends(0);
    assert!(listed.out.contains(&format!("{}", 20 << 20)), "{listed:?}");
    gateway.stop();

    // What takes longer than the grace is cut, and can be continued.
    gateway.configure(&[("sftp", "drain_seconds", "1")]);
    let mut daemon = Served::start(&gateway, |_| ());
    gateway.find();
    let upload = slow_upload(&gateway);
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    assert_ne!(upload.ends().code, 0);
    gateway.start();
    gateway.sftp(ACCOUNT, "reput big /submit/big\n").ends(0);
}

#[test]
fn a_signal_that_comes_while_it_starts_waits_for_the_start() {
    let gateway = Gateway::set_up(&[]);
    let log = || std::fs::read_to_string(gateway.file("log")).unwrap_or_default();
    let mut daemon = Served::spawn(&gateway, |_| ());
    until("it starts", || log().contains("the store is open"));
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    let status = daemon.ends();
    assert!(status.success(), "{status}: {}", log());
    assert!(log().contains("stopped"), "{}", log());
}

#[test]
fn a_reload_changes_what_it_may_and_a_wrong_one_nothing() {
    let mut gateway = Gateway::set_up(&[]);
    let daemon = Served::start(&gateway, |_| ());
    gateway.find();
    gateway.make("five", [b'x'; 5000]);
    let mut session = gateway.session(ACCOUNT, ACCOUNT, &[]);
    session.does("put five /submit/a");
    let reload = |gateway: &Gateway| {
        let mark = gateway.log().len();
        daemon.signal(Signal::HUP);
        until("the configuration was read", || since(gateway, mark).contains("configuration was"));
        since(gateway, mark)
    };
    gateway.configure(&[
        ("submit", "file_bytes_max", "4000"),
        ("log", "level", "\"debug\""),
        ("control", "clients_max", "31"),
    ]);
    reload(&gateway);
    session.does("-put five /submit/b\nls /submit");
    assert!(session.errors().contains("QUOTA-FILE-SIZE"), "{}", session.errors());
    assert!(gateway.log().contains("DEBUG"));

    // One key is wrong: none of the others is put in force, and the place is said.
    gateway.configure(&[("submit", "file_bytes_max", "9000"), ("sessions", "person_max", "\"many\"")]);
    let said = reload(&gateway);
    assert!(
        said.contains("ERROR") && said.contains("person_max") && said.contains("nothing was changed"),
        "{said}"
    );
    gateway.make("six", [b'x'; 6000]);
    session.does("-put six /submit/c");
    assert_eq!(session.errors().matches("QUOTA-FILE-SIZE").count(), 2, "{}", session.errors());
    // A wrong table of an insurer or a form is as wrong.
    gateway.configure(&[("sessions", "person_max", "1")]);
    let form = gateway.dir().join("conf/forms/2200700.toml");
    let text = fs::read_to_string(&form).unwrap();
    fs::write(&form, format!("{text}\nnonsense")).unwrap();
    assert!(reload(&gateway).contains("nothing was changed"));
    fs::write(&form, text).unwrap();
    reload(&gateway);
    session.does("put six /submit/c");
    session.ends().ends(0);
}

#[test]
fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let nobody = free_address();
    let gateway = Gateway::with(&[
        ("mail", "url", &format!("\"smtp://{nobody}\"")),
        ("scanner", "address", &format!("\"tcp://{nobody}\"")),
    ]);
    let mode = |name: &str, mode| {
        fs::set_permissions(gateway.dir().join(name), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("spool/journal", 0o755);
    mode("spool/keys/receipt_ed25519_key", 0o644);
    mode(&format!("spool/insurers/{INSURER}/new"), 0o777);
    fs::write(gateway.dir().join("conf/forms/2200700.toml"), "form = 3").unwrap();
    fs::write(
        gateway.dir().join(format!("conf/insurers/{INSURER}.toml")),
        "[documents]\ntypes = [\"a/b\"]\n",
    )
    .unwrap();
    fs::write(gateway.dir().join("conf/notices/arrival.toml"), "subject = \"{nothing}\"").unwrap();
    let report = gateway.todoke(&["doctor", "--json"]).ends(1).json();
    let lines = report["checks"].as_array().or(report.as_array()).unwrap();
    let wrong: Vec<_> = lines.iter().filter(|line| line["verdict"] == "error").collect();
    for (check, found) in [
        ("data root", "journal is open to others"),
        ("receipt key", ""),
        ("spool", "open to others"),
        ("rule tables", "2200700.toml"),
        ("policy", "a/b"),
        ("notice", "arrival.toml"),
        ("virus scanner", ""),
        ("mail server", &nobody.to_string()),
    ] {
        let line = wrong.iter().find(|line| {
            line["check"].as_str().unwrap().contains(check) && line["found"].as_str().unwrap().contains(found)
        });
        let line = line.unwrap_or_else(|| panic!("{check}: {found:?} is not in {wrong:#?}"));
        assert!(line["action"].as_str().is_some_and(|action| !action.is_empty()), "{line}");
    }
}

#[test]
fn monitors_see_figures_and_health() {
    let metrics = free_address();
    let mut gateway = Gateway::set_up(&[("metrics", "listen", &format!("\"{metrics}\""))]);
    let mut daemon = Served::start(&gateway, |_| ());
    gateway.find();
    gateway.send_taken(ACCOUNT, &gateway.set(2));
    let status = gateway.ask(&["status"]);
    assert_eq!(status["running"], true);
    assert_eq!(status["health"]["ok"], true, "{status:#}");
    assert_eq!(status["health"]["ready"], true, "{status:#}");
    assert_eq!(status["alarms"], serde_json::json!([]), "{status:#}");
    let (code, body) = get(metrics, "/metrics");
    assert_eq!(code, 200);
    for figure in [
        "todoke_submissions_total{verdict=\"accepted\"} 1",
        "todoke_verdict_seconds_bucket",
        "todoke_journal_fsync_seconds_bucket",
        "todoke_upload_file_bytes_bucket",
        "todoke_upload_bytes_total",
        "todoke_disk_free_bytes",
        "todoke_logins_total",
    ] {
        assert!(body.contains(figure), "{figure}: {body}");
    }
    assert!(!body.contains("K0001") && !body.contains("見本"), "{body}");
    assert_eq!(get(metrics, "/healthz").0, 200);
    let (code, body) = get(metrics, "/readyz");
    assert_eq!(
        (code, serde_json::from_str::<Value>(&body).unwrap()["ready"].clone()),
        (200, true.into()),
        "{body}"
    );
    // While it stops it is alive, and not ready.
    let upload = slow_upload(&gateway);
    daemon.signal(Signal::TERM);
    until("it is not ready", || get(metrics, "/readyz").0 == 503);
    assert_eq!(get(metrics, "/healthz").0, 200);
    assert!(get(metrics, "/readyz").1.contains("stopping"));
    upload.ends().ends(0);
    assert!(daemon.ends().success());
}

#[test]
fn the_service_manager_is_told() {
    let mut gateway = Gateway::set_up(&[]);
    let path = gateway.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).expect("the daemon says something");
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let hears = |what: &str| {
        let mut seen = String::new();
        while !seen.contains(what) {
            seen = heard();
        }
        seen
    };
    let mut daemon = Served::start(&gateway, |serve| {
        serve.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    });
    assert!(hears("READY=1").contains("STATUS=serving SFTP on 127.0.0.1:"));
    for _ in 0..3 {
        hears("WATCHDOG=1");
    }
    daemon.signal(Signal::HUP);
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    gateway.find();
    let upload = slow_upload(&gateway);
    daemon.signal(Signal::TERM);
    hears("STOPPING=1");
    // While transfers end it is alive still.
    hears("WATCHDOG=1");
    upload.ends().ends(0);
    assert!(daemon.ends().success());
}

#[test]
fn one_event_is_one_line_whatever_strangers_send() {
    for format in ["text", "json"] {
        let gateway =
            Gateway::with(&[("log", "format", &format!("\"{format}\"")), ("log", "level", "\"debug\"")]);
        let odd = "evil\u{1b}[31m\u{202e}\n2026-01-01T00:00:00Z ERROR forged";
        let before = gateway.log().len();
        let _ = gateway.sftp_with(odd, ACCOUNT, &[], "ls\n");
        gateway
            .sftp(ACCOUNT, "-ls \"/submit/\u{1b}[31m\u{202e}\"\n-put /dev/null \"/submit/a\u{7}b\"\n")
            .ends(0);
        gateway.send_taken(ACCOUNT, &gateway.set_with("# subject: 見本 太郎の届\n", 1));
        let log = since(&gateway, before);
        assert!(log.lines().count() > 3, "{log}");
        for line in log.lines() {
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            if format == "json" {
                assert!(
                    serde_json::from_str::<Value>(line).is_ok_and(|line| line["level"].is_string()),
                    "{line}"
                );
            } else {
                assert!(!line.starts_with("2026-01-01"), "{line}");
            }
        }
        assert!(!log.contains("太郎"), "{log}");
    }
}

/// The journal's segments, in order.
fn segments(gateway: &Gateway) -> Vec<PathBuf> {
    let entries = fs::read_dir(gateway.spool().join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    segments.sort();
    segments
}

#[test]
fn a_bit_flipped_in_the_middle_of_the_journal_stops_the_daemon_with_its_place() {
    let mut gateway = Gateway::new();
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    gateway.reaches(receipt["number"].as_str().unwrap(), "published");
    gateway.stop();
    let segment = segments(&gateway).pop().unwrap();
    let whole = fs::read(&segment).unwrap();
    let lines = whole.split(|b| *b == b'\n').count();
    let mut damaged = whole.clone();
    let at = whole.len() / 2;
    damaged[at] ^= 1;
    fs::write(&segment, &damaged).unwrap();
    let line = whole[..at].split(|b| *b == b'\n').count();
    // Of an index that is there, of one that must be rebuilt, and by the tool that looks.
    for turn in 0..2 {
        let ran = gateway.todoke(&["serve"]).ends(4);
        let place = format!("{}, line {line},", segment.file_name().unwrap().to_str().unwrap());
        assert!(ran.err.contains("damaged at") && ran.err.contains(&place), "{place} of {lines}: {ran:?}");
        let verify = gateway.todoke(&["journal", "verify"]);
        assert!(verify.code != 0 && verify.err.contains(&place), "{verify:?}");
        assert_eq!(fs::read(&segment).unwrap(), damaged, "nothing was changed");
        if turn == 0 {
            fs::remove_dir_all(gateway.spool().join("index")).unwrap();
        }
    }
    fs::write(&segment, &whole).unwrap();
    gateway.todoke(&["journal", "verify"]).ends(0);
    gateway.start();
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_torn_end_of_the_journal_is_cut_and_kept_aside() {
    let mut gateway = Gateway::new();
    gateway.send_taken(ACCOUNT, &gateway.set(1));
    gateway.kill();
    let segment = segments(&gateway).pop().unwrap();
    let mut file = fs::File::options().append(true).open(&segment).unwrap();
    file.write_all(b"{\"record\":{\"seq\":99999,\"at\":1,\"by\":\"dae").unwrap();
    gateway.start();
    assert!(gateway.log().contains("cut and kept aside"), "{}", gateway.log());
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 1);
    let aside = gateway
        .tree()
        .into_iter()
        .any(|path| fs::read(path).is_ok_and(|bytes| bytes.ends_with(b"\"by\":\"dae")));
    assert!(aside, "{:#?}", gateway.tree());
    gateway.stop();
    gateway.todoke(&["journal", "verify"]).ends(0);
}

/// Does something to the files of an index.
type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn a_damaged_index_is_rebuilt_unasked() {
    let mut gateway = Gateway::new();
    fs::write(gateway.file("FILE.pdf"), PDF).unwrap();
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    gateway.reaches(receipt["number"].as_str().unwrap(), "published");
    let deliver = [
        "deliver",
        "--insurer",
        INSURER,
        "--account",
        ACCOUNT,
        "--type",
        "納入告知書",
        "--title",
        "x",
        "FILE.pdf",
    ];
    gateway.todoke(&deliver).ends(0);
    until("the mail was tried", || {
        gateway.ask(&["mail", "list"])[0]["attempts"].as_u64().is_some_and(|n| n > 0)
    });
    let seen = |gateway: &Gateway| {
        let mut mails = gateway.ask(&["mail", "list"]);
        for mail in mails.as_array_mut().unwrap() {
            for key in ["attempts", "due_at", "last_reply"] {
                mail[key] = Value::Null;
            }
        }
        [
            gateway.ask(&["submission", "list"]),
            gateway.ask(&["outbox", "list", ACCOUNT]),
            mails,
            gateway.ask(&["account", "list"]),
        ]
    };
    let before = seen(&gateway);
    let index = gateway.spool().join("index");
    let files = |index: &Path| -> Vec<PathBuf> {
        walkdir::WalkDir::new(index)
            .into_iter()
            .map(|e| e.unwrap())
            .filter(|e| e.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect()
    };
    let damages: [(&str, Damage<'_>); 5] = [
        ("removed", &|index| fs::remove_dir_all(index).unwrap()),
        ("emptied", &|index| files(index).iter().for_each(|file| fs::write(file, b"").unwrap())),
        ("garbled", &|index| {
            for path in files(index) {
                let mut bytes = fs::read(&path).unwrap();
                bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x55);
                fs::write(&path, bytes).unwrap();
            }
        }),
        ("truncated", &|index| {
            for path in files(index) {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }),
        ("one byte wrong", &|index| {
            let path = files(index).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
            let mut file = fs::File::options().read(true).write(true).open(&path).unwrap();
            file.seek(SeekFrom::Start(300)).unwrap();
            let mut byte = [0];
            file.read_exact(&mut byte).unwrap();
            file.seek(SeekFrom::Start(300)).unwrap();
            file.write_all(&[byte[0] ^ 4]).unwrap();
        }),
    ];
    for (n, (name, damage)) in damages.iter().enumerate() {
        if n % 2 == 0 {
            gateway.stop();
        } else {
            gateway.kill();
        }
        damage(&index);
        gateway.start();
        assert_eq!(seen(&gateway), before, "{name}");
    }
    gateway.send_taken(ACCOUNT, &gateway.set(2));
}

/// The daemon's clock is this far ahead (`+9h`), the monotonic one is not.
fn ahead(serve: &mut std::process::Command, by: &str) {
    let library = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|arch| format!("/usr/lib/{arch}/faketime/libfaketimeMT.so.1"));
    let library =
        library.iter().find(|file| Path::new(file).exists()).expect("libfaketime (package faketime)");
    serve.env("LD_PRELOAD", library).env("FAKETIME", by).env("DONT_FAKE_MONOTONIC", "1");
}

/// A machine whose clock keeps local time begins nine hours ahead, until it asks a time server.
#[test]
fn a_clock_that_was_ahead_and_was_put_right_holds_nothing_up() {
    let mut gateway = Gateway::set_up(&[]);
    let mut daemon = Served::start(&gateway, |serve| ahead(serve, "+9h"));
    gateway.find();
    let first = gateway.send_taken(ACCOUNT, &gateway.set(1));
    gateway.reaches(first["number"].as_str().unwrap(), "published");
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());

    let daemon = Served::start(&gateway, |_| {});
    gateway.find();
    let second = gateway.send_taken(ACCOUNT, &gateway.set(2));
    gateway.reaches(second["number"].as_str().unwrap(), "published");
    fs::write(gateway.file("FILE.pdf"), PDF).unwrap();
    let to = ["deliver", "--insurer", INSURER, "--account", ACCOUNT, "--type", "納入告知書", "--title", "x"];
    gateway.todoke(&[&to[..], &["FILE.pdf"]].concat()).ends(0);
    until("its arrival is announced", || !gateway.ask(&["mail", "list"]).as_array().unwrap().is_empty());
    let said = |status: &Value| {
        status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "CLOCK-BEHIND")
    };
    until("it is said", || said(&gateway.ask(&["status"])));
    let doctor = gateway.todoke(&["doctor"]);
    assert!(doctor.out.contains("CLOCK-BEHIND"), "{}", doctor.out);
    daemon.kill();
}

#[test]
fn a_clock_that_leapt_pauses_the_purge_until_it_is_confirmed() {
    let mut gateway = Gateway::set_up(&[("purge", "schedule", "\"* * * * * *\"")]);
    fs::write(gateway.file("FILE.pdf"), PDF).unwrap();
    let deliver = [
        "deliver",
        "--insurer",
        INSURER,
        "--account",
        ACCOUNT,
        "--type",
        "納入告知書",
        "--title",
        "x",
        "FILE.pdf",
    ];
    gateway.todoke(&deliver).ends(0);
    let mut daemon = Served::start(&gateway, |serve| {
        ahead(serve, "+365d");
    });
    gateway.find();
    until("the purge is paused", || !gateway.ask(&["status"])["purge"]["paused"].is_null());
    let status = gateway.ask(&["status"]);
    assert!(
        status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "PURGE-PAUSED"),
        "{status:#}"
    );
    assert!(status["purge"]["paused"].as_str().unwrap().contains("purge --confirm"), "{status:#}");
    assert_eq!(gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().len(), 1);
    // The pause outlives a restart.
    daemon.signal(Signal::TERM);
    assert!(daemon.ends().success());
    let daemon = Served::start(&gateway, |serve| {
        ahead(serve, "+365d");
    });
    until("the purge is paused still", || !gateway.ask(&["status"])["purge"]["paused"].is_null());
    assert_eq!(gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().len(), 1);
    gateway.todoke(&["purge", "--confirm", "--yes"]).ends(0);
    until("the document is gone", || {
        gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().is_empty()
    });
    assert!(gateway.ask(&["status"])["purge"]["paused"].is_null());
    daemon.kill();
}

/// What was collected and never imported is the last copy that can be imported; a clock a year ahead must not erase it.
#[test]
fn a_clock_that_leapt_erases_nothing_that_was_collected_before_it_is_confirmed() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start();
    let receipt = gateway.send_taken(ACCOUNT, &gateway.set(1));
    let number = receipt["number"].as_str().unwrap();
    gateway.reaches(number, "published");
    let spool = gateway.insurer_spool();
    let place = |folder: &str| spool.join(folder).join(number);
    fs::rename(place("new"), place("cur")).unwrap();
    gateway.reaches(number, "collected");
    gateway.make("left.txt", "left");
    gateway.sftp(ACCOUNT, "put left.txt /submit/").ends(0);
    let root = gateway.spool();
    let swept = || fs::read_to_string(root.join(format!("uploads/{ACCOUNT}.jsonl"))).unwrap();
    let books = || fs::read_dir(root.join("books")).map_or(0, Iterator::count);
    let before = (swept(), books());
    gateway.stop();

    let daemon = Served::start(&gateway, |serve| ahead(serve, "+365d"));
    gateway.find();
    // Each of five stages asks at its start, and cut-offs again after some seconds.
    let asked = || {
        let status = gateway.ask(&["status"]);
        let alarms = status["alarms"].as_array().unwrap().clone();
        let paused = alarms.iter().find(|alarm| alarm["code"] == "PURGE-PAUSED");
        paused.and_then(|alarm| alarm["count"].as_u64()).unwrap_or(0)
    };
    until("each has asked", || asked() > 5);
    assert!(!gateway.ask(&["status"])["purge"]["paused"].is_null());
    assert_eq!((swept(), books()), before);
    assert!(place("cur").join("KPFD0006.CSV").exists());
    gateway.todoke(&["purge", "--confirm", "--yes"]).ends(0);
    until("days are closed again", || books() > before.1);
    daemon.kill();
}

/// A disk of its own, a few megabytes large; unmounted when it goes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn under(gateway: &Gateway, mebibytes: usize) -> Self {
        Self::at(gateway.spool(), &gateway.file("spool-before"), mebibytes)
    }

    /// In the place of this folder, whose content it takes over.
    fn at(path: PathBuf, aside: &Path, mebibytes: usize) -> Self {
        fs::rename(&path, aside).unwrap();
        fs::create_dir(&path).unwrap();
        let size = format!("size={mebibytes}m,mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path).status();
        assert!(mounted.expect("mount (package mount)").success(), "this test must be root");
        let copied =
            Command::new("cp").arg("-a").arg(format!("{}/.", aside.display())).arg(&path).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&path, fs::metadata(aside).unwrap().permissions()).unwrap();
        Self(path)
    }

    /// Who opens a path here can only read, as on a disk that failed, until the answer is dropped.
    fn read_only(&self) -> ReadOnly {
        let ran = |args: &[&str]| {
            let mounted = Command::new("mount").args(args).arg(&self.0).status();
            assert!(mounted.expect("mount (package mount)").success());
        };
        ran(&["--bind", self.0.to_str().unwrap()]);
        let over = ReadOnly(self.0.clone());
        ran(&["-o", "remount,bind,ro"]);
        over
    }

    /// Leaves so many bytes free.
    fn fill(&self, left: u64) {
        let file = fs::File::create(self.0.join("filler")).unwrap();
        // The daemon writes too, so what was free a moment ago may not be.
        loop {
            let about = rustix::fs::statvfs(&self.0).unwrap();
            let length = (about.f_bavail * about.f_frsize).saturating_sub(left).max(1);
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length) {
                Err(rustix::io::Errno::NOSPC) => {}
                done => return done.unwrap(),
            }
        }
    }

    fn empty(&self) {
        let _ = fs::remove_file(self.0.join("filler"));
    }
}

struct ReadOnly(PathBuf);

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Every size of the room that is left lets another write be the one that fails: upload, card, journal, index, spool.
#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged() {
    let mut gateway = Gateway::set_up(&[("submit", "free_bytes_min", "0")]);
    let disk = SmallDisk::under(&gateway, 24);
    gateway.start();
    let mut taken = Vec::new();
    let mut refused = 0;
    for (n, left) in [0, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256].into_iter().enumerate() {
        disk.fill(left << 10);
        for m in 0..4 {
            let set = gateway.set((10 * n + m + 1) as u64);
            let ran = gateway.send(ACCOUNT, &set);
            if ran.code != 0 {
                refused += 1;
                eprintln!("{left} KiB left, submission {m}: {}", ran.err.lines().next().unwrap_or_default());
                assert!(!ran.err.trim().is_empty(), "it says so: {ran:?}");
                assert!(gateway.receipt(ACCOUNT, &set).is_none() || ran.code != 0);
                break;
            }
            // Exit status 0 and no receipt: nothing was refused, the set is not complete.
            if let Some(receipt) = gateway.receipt(ACCOUNT, &set) {
                taken.push((set, receipt["number"].as_str().unwrap().to_owned()));
            }
        }
        assert!(gateway.is_alive(), "{left} KiB left:\n{}", gateway.log());
        disk.empty();
        // Room was made: it goes on by itself, or after a restart when the journal stopped.
        let set = gateway.set((10 * n + 9) as u64);
        if gateway.send(ACCOUNT, &set).code != 0 {
            let status = gateway.ask(&["status"]);
            let said =
                status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "JOURNAL-STOPPED");
            assert!(said, "{left} KiB left: {status:#}\n{}", gateway.log());
            gateway.kill();
            gateway.start();
            gateway.send(ACCOUNT, &set).ends(0);
        }
        let receipt = gateway.receipt(ACCOUNT, &set).expect("a receipt");
        taken.push((set, receipt["number"].as_str().unwrap().to_owned()));
    }
    assert!(refused > 0);
    for (set, number) in &taken {
        gateway.reaches(number, "published");
        assert_eq!(gateway.receipt(ACCOUNT, set).unwrap()["number"], number.as_str());
        let filing = gateway.insurer_spool().join("new").join(number).join("KPFD0006.CSV");
        assert_eq!(fs::read(filing).unwrap(), set.files[0].1);
    }
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), taken.len());
    gateway.stop();
    gateway.todoke(&["journal", "verify"]).ends(0);
}

/// A journal that finds no room is as it was before: the set stays with its sender, and is taken as soon as there is room,
/// without a restart.
#[test]
fn a_journal_without_room_goes_on_once_there_is_some() {
    let mut gateway = Gateway::set_up(&[]);
    let disk = SmallDisk::at(gateway.spool().join("journal"), &gateway.file("journal-before"), 1);
    gateway.start();
    let mut taken = Vec::new();
    for round in 0..3 {
        disk.fill(0);
        // The last page of the journal may have room for a few.
        let refused = (1..40).find_map(|n| {
            let set = gateway.set(100 * round + n);
            let ran = gateway.send(ACCOUNT, &set);
            if ran.code != 0 {
                return Some((set, ran));
            }
            taken.push(
                gateway.receipt(ACCOUNT, &set).expect("a receipt")["number"].as_str().unwrap().to_owned(),
            );
            None
        });
        let (set, ran) = refused.expect("the journal's disk is full");
        assert!(ran.err.contains("INTERNAL") && ran.err.contains("/submit"), "{}", ran.err);
        assert!(!ran.err.contains("by-manifest"), "it is known that it was not taken: {}", ran.err);
        assert!(gateway.receipt(ACCOUNT, &set).is_none());
        disk.empty();
        gateway.send(ACCOUNT, &set).ends(0);
        let receipt = gateway.receipt(ACCOUNT, &set).expect("a receipt, without a restart");
        assert_eq!(receipt["outcome"], "accepted");
        taken.push(receipt["number"].as_str().unwrap().to_owned());
        gateway.todoke(&["journal", "verify"]).ends(0);
    }
    for number in &taken {
        gateway.reaches(number, "published");
    }
    gateway.kill();
    gateway.start();
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), taken.len());
}

/// A disk that the system made read-only is told of before anything is sent.
#[test]
fn a_disk_that_became_read_only_is_told() {
    let mut gateway = Gateway::set_up(&[("submit", "free_bytes_min", "0")]);
    let disk = SmallDisk::under(&gateway, 24);
    gateway.start();
    let told = || {
        let status = gateway.ask(&["status"]);
        status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "DISK-READ-ONLY")
    };
    assert!(!told());
    let over = disk.read_only();
    until("the operator is told", told);
    let doctor = gateway.todoke(&["doctor"]);
    assert!(doctor.code != 0 && doctor.out.contains("read-only"), "{}", doctor.out);
    drop(over);
    until("the alarm ends with its cause", || !told());
}

/// The file whose write the disk refused is not there for its set, however it was closed; what is sent once there is room
/// completes it.
#[test]
fn a_write_that_the_disk_refused_makes_no_file_that_counts() {
    let mut gateway = Gateway::set_up(&[("submit", "free_bytes_min", "0")]);
    let disk = SmallDisk::under(&gateway, 24);
    gateway.start();
    let large = format!("%PDF-1.7\n{}\n%%EOF\n", "% nothing of note\n".repeat(40_000)).into_bytes();
    let set = Set::of("# kind: other\n# office: 1234\n", vec![("large.pdf", large)]);
    let (from, to) = (gateway.lay_out(&set, ACCOUNT), set.sha256());
    let put = |name: &str| format!("put \"{from}/{name}\" /submit/{to}/\n");
    let begin = format!("mkdir /submit/{to}\n{}{}", put("SHA256SUMS"), put("SHA256SUMS.sig"));
    gateway.sftp(ACCOUNT, &begin).ends(0);
    disk.fill(256 << 10);
    let ran = gateway.sftp(ACCOUNT, &put("large.pdf")).ends(1);
    assert!(ran.err.contains("DISK-LOW"), "{}", ran.err);
    assert!(!ran.err.contains("INTERNAL"), "its close completed nothing: {}", ran.err);
    disk.empty();
    assert_eq!(gateway.ask(&["submission", "list"]).as_array().unwrap().len(), 0, "{}", gateway.log());
    assert!(gateway.receipt(ACCOUNT, &set).is_none());
    // What arrived before counts for going on.
    gateway.sftp(ACCOUNT, &put("large.pdf").replacen("put", "reput", 1)).ends(0);
    assert_eq!(gateway.receipt(ACCOUNT, &set).expect("a receipt")["outcome"], "accepted");
}

/// The same for documents: none is half there, and what the insurer left is taken once there is room.
#[test]
fn a_full_disk_keeps_deliveries_waiting() {
    let mut gateway =
        Gateway::set_up(&[("submit", "free_bytes_min", "0"), ("delivery", "settle_seconds", "0")]);
    let disk = SmallDisk::under(&gateway, 16);
    gateway.start();
    let outgoing = gateway.insurer_spool().join("outgoing");
    for (n, left) in [0, 8, 16, 32, 64, 128].into_iter().enumerate() {
        let job = outgoing.join(format!("job-{n}"));
        fs::create_dir(&job).unwrap();
        for file in 0..4 {
            fs::write(
                job.join(format!("{file}.pdf")),
                [
                    &b"%PDF-1.4\n%"[..],
                    "x".repeat(20_000).as_bytes(),
                    format!("\n% {n} {file}\n").as_bytes(),
                    PDF,
                ]
                .concat(),
            )
            .unwrap();
        }
        let rows: String = (0..4).map(|file| format!("{ACCOUNT},,,{file}.pdf,納入告知書,{n}\n")).collect();
        fs::write(
            job.join("delivery.csv.tmp"),
            format!("account,office,in_reply_to,file,type,title\n{rows}"),
        )
        .unwrap();
        disk.fill(left << 10);
        fs::rename(job.join("delivery.csv.tmp"), job.join("delivery.csv")).unwrap();
        // It is tried; whether it fails depends on the room.
        let mark = gateway.log().len();
        until("the job is tried", || !since(&gateway, mark).is_empty());
        assert!(gateway.is_alive(), "{}", gateway.log());
        disk.empty();
        let stopped = gateway.ask(&["status"])["alarms"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alarm| alarm["code"] == "JOURNAL-STOPPED");
        if stopped {
            gateway.kill();
            gateway.start();
        }
        until("the job is taken in", || {
            let status = gateway.ask(&["status"]);
            if status["alarms"].as_array().unwrap().iter().any(|alarm| alarm["code"] == "JOURNAL-STOPPED") {
                gateway.kill();
                gateway.start();
            }
            !job.exists()
                && gateway.ask(&["outbox", "list", ACCOUNT]).as_array().unwrap().len() == 4 * (n + 1)
        });
    }
    let troubles = gateway.log().matches("alarm code=\"DELIVERY-TROUBLE").count();
    assert!(troubles <= 6, "an alarm that holds is said once: {}", gateway.log());
    let fetched = gateway.sftp(ACCOUNT, &format!("get /outbox/{OFFICE}/*\n"));
    fetched.ends(0);
    assert_eq!(fs::read_dir(gateway.work()).unwrap().count(), 24);
    until("nothing of it is left", || {
        [".tmp", ".taking"]
            .iter()
            .all(|place| fs::read_dir(gateway.insurer_spool().join(place)).unwrap().count() == 0)
    });
    gateway.stop();
    gateway.todoke(&["journal", "verify"]).ends(0);
}
