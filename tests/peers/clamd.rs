//! The scanner's contract, run against the fake and against a real clamd, over TCP and a Unix socket; then what only a
//! real one can do.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use todoke::doors::clamd::{Bounds, ScannerAddress, scanner};
use todoke::work::ports::{FixedScanner, NoScanner, Scan, Scanner, ScannerDown, Unscanned};

use super::super::{Running, free_port, program, until};

const MIB: usize = 1024 * 1024;

/// A clamd of its own with one hand-made signature, in a folder of its own.
struct World {
    clamd: Running,
    tcp: ScannerAddress,
    unix: ScannerAddress,
    _dir: tempfile::TempDir,
}

const CONFIG: &str = "\
Foreground yes
ConcurrentDatabaseReload yes
StreamMaxLength 4M
MaxFileSize 3M
MaxScanSize 3M
AlertExceedsMax yes
MaxThreads 4
SelfCheck 0
";

impl World {
    fn start() -> Self {
        Self::start_with(|_| ())
    }

    fn start_with(prepare: impl FnOnce(&std::path::Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("db");
        std::fs::create_dir(&database).unwrap();
        let signature =
            FixedScanner::VIRUS.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        std::fs::write(database.join("test.ndb"), format!("Todoke.Test:0:*:{signature}\n")).unwrap();
        prepare(&database);
        let (port, socket) = (free_port(), dir.path().join("clamd.sock"));
        let config = format!(
            "{CONFIG}DatabaseDirectory {}\nLocalSocket {}\nTCPSocket {port}\nTCPAddr 127.0.0.1\nTemporaryDirectory {}\n",
            database.display(),
            socket.display(),
            dir.path().display(),
        );
        let file = dir.path().join("clamd.conf");
        std::fs::write(&file, config).unwrap();
        let clamd = Running::start(
            Command::new(program("clamd", "clamav-daemon"))
                .arg("-c")
                .arg(&file)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let tcp: ScannerAddress = format!("tcp://127.0.0.1:{port}").parse().unwrap();
        let unix: ScannerAddress = format!("unix:{}", socket.display()).parse().unwrap();
        until("clamd answers", || {
            [&tcp, &unix].iter().all(|address| scanner(address, Bounds::default()).patterns().is_ok())
        });
        Self { clamd, tcp, unix, _dir: dir }
    }

    fn clients(&self) -> [Box<dyn Scanner>; 2] {
        [&self.tcp, &self.unix].map(|address| scanner(address, Bounds::default()))
    }
}

fn scan(scanner: &dyn Scanner, content: &[u8]) -> Scan {
    scanner.scan(&mut &*content, content.len() as u64)
}

/// What every scanner must do that is there and has the test signature.
fn contract(scanner: &dyn Scanner) {
    let engine = scanner.patterns().unwrap().engine;
    for size in [0, 1, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 2 * MIB] {
        let content = vec![b'x'; size];
        assert_eq!(scan(scanner, &content), Scan::Clean { engine: engine.clone() }, "{size} bytes");
    }
    for at in [0, 100_000, 2 * MIB] {
        let content = [&vec![b'x'; at], FixedScanner::VIRUS, b"\r\n"].concat();
        let Scan::Infected { name } = scan(scanner, &content) else { panic!("not found at {at}") };
        assert!(name.starts_with("Todoke.Test"), "{name}");
    }
    for announced in [9, 11] {
        let wrong = scanner.scan(&mut &b"ten bytes."[..], announced);
        assert!(matches!(wrong, Scan::NotScanned { why: Unscanned::Content(_) }), "{wrong:?}");
    }
    let broken = scanner.scan(&mut b"some".chain(Broken), 10);
    assert!(matches!(broken, Scan::NotScanned { why: Unscanned::Content(_) }), "{broken:?}");
    // None of that has harmed it.
    assert_eq!(scan(scanner, b"fine"), Scan::Clean { engine });
}

struct Broken;
impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("disk"))
    }
}

/// What every scanner must do that is down.
fn contract_down(scanner: &dyn Scanner) {
    assert!(matches!(scan(scanner, b"x"), Scan::Down { .. }));
    assert!(scanner.patterns().is_err());
}

#[test]
fn the_fake_keeps_the_contract() {
    contract(&FixedScanner::clean());
    contract_down(&FixedScanner::saying(Scan::Down { why: ScannerDown::Cut }));
    assert_eq!(scan(&NoScanner, b"x"), Scan::NotScanned { why: Unscanned::NoScanner });
}

#[test]
fn clamd_keeps_the_contract() {
    let world = World::start();
    for client in world.clients() {
        contract(&*client);
    }
    drop(world.clamd);
    for address in [world.tcp, world.unix] {
        contract_down(&*scanner(&address, Bounds::default()));
    }
}

#[test]
fn content_beyond_a_limit_is_not_scanned_rather_than_clean() {
    let world = World::start();
    for client in world.clients() {
        // Over StreamMaxLength clamd answers and hangs up, often by a reset; that must be told apart from a crash.
        for size in [4 * MIB + 1, 5 * MIB, 64 * MIB] {
            let got = scan(&*client, &vec![b'x'; size]);
            assert_eq!(got, Scan::NotScanned { why: Unscanned::TooLarge { size: size as u64 } });
        }
        // Over MaxFileSize it has not looked at all of it.
        let got = scan(&*client, &vec![b'x'; 3 * MIB + MIB / 2]);
        assert!(
            matches!(&got, Scan::NotScanned { why: Unscanned::Limit { limit } } if limit.contains("Exceeded")),
            "{got:?}"
        );
        assert!(matches!(scan(&*client, b"still there"), Scan::Clean { .. }));
    }
}

#[test]
fn a_stopped_clamd_is_down_after_the_bound() {
    let world = World::start();
    let short = Duration::from_millis(300);
    world.clamd.signal(Signal::STOP);
    for address in [&world.tcp, &world.unix] {
        let hasty = scanner(address, Bounds { connect_max: short, silence_max: short, file_max: short * 20 });
        for size in [10, 8 * MIB] {
            let got = scan(&*hasty, &vec![b'x'; size]);
            assert_eq!(got, Scan::Down { why: ScannerDown::Hung { seconds: 0 } }, "{size} bytes");
        }
        let whole = scanner(address, Bounds { file_max: short, ..Bounds::default() });
        assert!(matches!(scan(&*whole, b"x"), Scan::Down { why: ScannerDown::Hung { .. } }));
        assert!(matches!(hasty.patterns(), Err(ScannerDown::Hung { .. })));
    }
    world.clamd.signal(Signal::CONT);
    for client in world.clients() {
        assert!(matches!(scan(&*client, b"awake"), Scan::Clean { .. }));
    }
}

#[test]
fn a_socket_whose_queue_is_full_is_down_after_the_bound() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clamd.sock");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 0).unwrap();
    let _waits = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let address = format!("unix:{}", path.display()).parse().unwrap();
    let hasty = scanner(&address, Bounds { connect_max: Duration::from_millis(200), ..Bounds::default() });
    assert_eq!(scan(&*hasty, b"x"), Scan::Down { why: ScannerDown::Hung { seconds: 0 } });
}

#[test]
fn a_clamd_killed_in_the_middle_is_down() {
    let world = World::start();
    let clients = world.clients();
    let world = std::sync::Mutex::new(Some(world));
    for client in &clients {
        // The content itself kills the scanner half-way.
        let content =
            io::repeat(b'x').take(200_000).chain(Killing(&world)).chain(io::repeat(b'x').take(600_000));
        let got = client.scan(&mut { content }, 800_000);
        assert!(matches!(got, Scan::Down { why: ScannerDown::Cut | ScannerDown::Unreachable(_) }), "{got:?}");
    }
}

struct Killing<'a>(&'a std::sync::Mutex<Option<World>>);
impl Read for Killing<'_> {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        drop(self.0.lock().unwrap().take());
        Ok(0)
    }
}

#[test]
fn many_scans_at_once_keep_their_own_verdicts() {
    let world = World::start();
    let client = Arc::new(world.clients());
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let client = Arc::clone(&client);
            std::thread::spawn(move || {
                for round in 0..25 {
                    let infected = (thread + round) % 3 == 0;
                    let content =
                        [&vec![b'x'; 1000 * round][..], if infected { FixedScanner::VIRUS } else { b"" }]
                            .concat();
                    let got = scan(&*client[round % 2], &content);
                    assert_eq!(matches!(got, Scan::Infected { .. }), infected, "{got:?}");
                    assert_eq!(matches!(got, Scan::Clean { .. }), !infected, "{got:?}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn patterns_carry_number_and_date_where_clamd_knows_them() {
    let world = World::start_with(|database| {
        let inputs = tempfile::tempdir().unwrap();
        std::fs::write(inputs.path().join("daily.hdb"), "44d88612fea8a8f36de82e1278abb02f:68:Test-Hash\n")
            .unwrap();
        std::fs::write(inputs.path().join("COPYING"), "none\n").unwrap();
        let built = Command::new(program("sigtool", "clamav"))
            .args(["--build=daily.cud", "--unsigned", "--cvd-version=27001", "--flevel=90"])
            .env("SIGNDUSER", "todoke")
            .current_dir(&inputs)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        std::fs::copy(inputs.path().join("daily.cud"), database.join("daily.cud")).unwrap();
    });
    let patterns = world.clients()[0].patterns().unwrap();
    assert_eq!(patterns.number, Some(27001), "{patterns:?}");
    assert!(patterns.made.is_some());
    assert!(patterns.engine.starts_with("ClamAV ") && patterns.engine.ends_with("/27001"));
    let Scan::Clean { engine } = scan(&*world.clients()[1], b"x") else { panic!() };
    assert_eq!(engine, patterns.engine, "a receipt names the patterns of its scan");
}

/// A peer that says these bytes to whatever it hears, then hangs up.
fn saying(answer: &'static [u8]) -> Box<dyn Scanner> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"content\0\0\0\0") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                asked.push(byte[0]);
            }
            let _ = stream.write_all(answer);
            // Keeps listening, so that the answer is not lost to a reset.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    let address = format!("tcp://127.0.0.1:{port}").parse().unwrap();
    scanner(&address, Bounds::default())
}

#[test]
fn garbage_never_passes_for_clean() {
    static LONG: [u8; 100_000] = [b'x'; 100_000];
    for answer in [
        &b""[..],
        b"\0",
        b"OK\0",
        b"stream: OK\0",
        b"1: ClamAV 1.4.6\0",
        b"2: stream: OK\0",
        b"1: Postfix\x002: stream: OK\0",
        b"1: ClamAV 1.4.6\x003: stream: OK\0",
        b"1: ClamAV 1.4.6\x002: stream: OK",
        b"1: ClamAV 1.4.6\x002: stream: O\nK\0",
        b"220 mail.example.jp ESMTP\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xfe\0\0",
        &LONG,
    ] {
        let got = scan(&*saying(answer), b"content");
        assert!(
            matches!(got, Scan::Down { .. }),
            "{:?}: {got:?}",
            String::from_utf8_lossy(&answer[..answer.len().min(60)])
        );
    }
    // In whatever order, with both answers, it is one.
    for answer in [&b"1: ClamAV 1.4.6/1/x\x002: stream: OK\0"[..], b"2: stream: OK\x001: ClamAV 1.4.6/1/x\0"]
    {
        assert_eq!(scan(&*saying(answer), b"content"), Scan::Clean { engine: "ClamAV 1.4.6/1".into() });
    }
    // An infection counts even if nothing else comes.
    assert_eq!(scan(&*saying(b"2: stream: X FOUND\0"), b"content"), Scan::Infected { name: "X".into() });
}

#[test]
#[ignore = "measures; run by hand with --release --ignored --nocapture"]
fn figures() {
    let world = World::start();
    for (name, client) in ["tcp", "unix"].into_iter().zip(world.clients()) {
        for (size, rounds) in [(4_000, 500), (2 * MIB, 50)] {
            let content = vec![b'x'; size];
            let start = std::time::Instant::now();
            for _ in 0..rounds {
                assert!(matches!(scan(&*client, &content), Scan::Clean { .. }));
            }
            println!("{name} {size} bytes: {:?} a scan", start.elapsed() / rounds);
        }
    }
}
