//! Clients that mean harm, or do not know what they do, against the SFTP door.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::ChannelMsg;
use support::raw::{self, READ, Raw, WRITE, connect, log_in, packet, string};
use support::{ACCOUNT, World, gateway, read, succeeds, text};
use todoke::doors::sftp::Limits;

const NO_SUCH_FILE: u32 = 2;
const FAILURE: u32 = 4;
const BAD_MESSAGE: u32 = 5;
const UNSUPPORTED: u32 = 8;

/// Runs a conversation with a greeted session.
fn talk<T>(world: &World, conversation: impl AsyncFnOnce(Raw) -> T) -> T {
    world
        .runtime
        .block_on(async { conversation(Raw::greeted(world.port, ACCOUNT, &world.secret("key")).await).await })
}

/// Sends bytes on a greeted session and expects to be thrown out with this code.
fn thrown_out(world: &World, code: &str, bytes: &[u8]) {
    let words = talk(world, async |mut raw| {
        raw.send(bytes).await;
        raw.goodbye().await
    });
    assert!(words.starts_with(code), "{:?}: {words}", &bytes[..bytes.len().min(40)]);
}

#[test]
fn malformed_packets_end_the_connection() {
    let world = World::new();
    let opened = raw::open(1, b"/file", WRITE);
    let truncated = string(&opened[4..opened.len() - 3]);
    let inner_too_long = packet(3, 1, &[&0xffff_ffff_u32.to_be_bytes(), b"/file"]);
    for bytes in [
        vec![0, 0, 0, 0],
        vec![0xff, 0xff, 0xff, 0xff],
        (256 * 1024 + 1_u32).to_be_bytes().to_vec(),
        truncated,
        inner_too_long,
        string(&[4]),
        string(&[4, 0, 0]),
        string(&[1, 0, 0, 0, 3]),
        packet(9, 1, &[&string(b"/x"), &0x10_u32.to_be_bytes()]),
        packet(9, 1, &[&string(b"/x"), &0x8000_0000_u32.to_be_bytes(), &0xffff_ffff_u32.to_be_bytes()]),
        packet(200, 1, &[]),
    ] {
        thrown_out(&world, "SFTP-PACKET", &bytes);
    }
    assert!(fs::read_dir(&world.root).unwrap().next().is_none());
}

#[test]
fn nothing_goes_before_the_version() {
    let world = World::new();
    for (code, bytes) in [
        ("SFTP-VERSION", string(&[1, 0, 0, 0, 2])),
        ("SFTP-VERSION", string(&[1, 0, 0, 0, 0])),
        ("SFTP-PACKET", string(&[1, 0, 0])),
        ("SFTP-PACKET", string(&[1, 0, 0, 0, 3, 9])),
        ("SFTP-PACKET", packet(17, 1, &[&string(b"/")])),
        ("SFTP-PACKET", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        let words = world.runtime.block_on(async {
            let mut raw = Raw::begin(world.port, ACCOUNT, &world.secret("key")).await;
            raw.send(&bytes).await;
            raw.goodbye().await
        });
        assert!(words.starts_with(code), "{words}");
    }
}

/// A packet that says it is longer than it may be, whose content is made of requests: none of them may be obeyed.
#[test]
fn content_is_never_read_as_requests() {
    let world = World::new();
    fs::write(world.root.join("victim"), b"here").unwrap();
    let remove = packet(13, 99, &[&string(b"/victim")]);
    let smuggled = remove.repeat(20_000);
    assert!(smuggled.len() > 256 * 1024);
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", WRITE).await;
        raw.send(&raw::write(1, &handle, 0, &smuggled)).await;
        assert!(raw.goodbye().await.starts_with("SFTP-PACKET"));
    });
    assert_eq!(read(world.root.join("victim")), b"here");
    // Within bounds the same bytes are content.
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", WRITE).await;
        assert_eq!(raw.ask(&raw::write(1, &handle, 0, &remove.repeat(1000))).await.status(), 0);
        assert_eq!(raw.ask(&packet(4, 2, &[&string(&handle)])).await.status(), 0);
    });
    assert_eq!(read(world.root.join("victim")), b"here");
    assert_eq!(read(world.root.join("file")), remove.repeat(1000));
}

#[test]
fn packets_may_come_in_any_pieces() {
    let world = World::new();
    talk(&world, async |mut raw| {
        let stat = packet(17, 5, &[&string(b"/")]);
        for byte in &stat {
            raw.send(std::slice::from_ref(byte)).await;
        }
        assert_eq!(raw.reply().await.kind, 105);
        // What is left over in a packet is ignored (rclone sends such), not read as the next one.
        let mut stat = stat;
        let remove = packet(13, 6, &[&string(b"/")]);
        stat[3] += u8::try_from(remove.len()).unwrap();
        stat.extend_from_slice(&remove);
        raw.send(&stat.repeat(500)).await;
        for _ in 0..500 {
            assert_eq!(raw.reply().await.id, 5);
        }
    });
}

#[test]
fn names_are_checked_and_nothing_leads_outside() {
    let world = World::new();
    fs::write(world.temp.path().join("outside"), b"secret").unwrap();
    talk(&world, async |mut raw| {
        for (path, status, code) in [
            (&b"/a\xff"[..], BAD_MESSAGE, "PATH-UTF8"),
            (b"/\x93\xcd\x82\xaf", BAD_MESSAGE, "PATH-UTF8"),
            (b"/a\0b", BAD_MESSAGE, "PATH-CONTROL"),
            (b"/a\nb", BAD_MESSAGE, "PATH-CONTROL"),
            (b"/a\x1b[31m", BAD_MESSAGE, "PATH-CONTROL"),
            (&[b'a'; 300], BAD_MESSAGE, "PATH-LONG"),
            (&b"/a".repeat(100), BAD_MESSAGE, "PATH-LONG"),
            (&b"/".repeat(5000), BAD_MESSAGE, "PATH-LONG"),
            (b"../outside", NO_SUCH_FILE, "NO-SUCH-FILE"),
            (b"/../outside", NO_SUCH_FILE, "NO-SUCH-FILE"),
            (b"/x/../../outside", NO_SUCH_FILE, "NO-SUCH-FILE"),
            (b"..\\outside", NO_SUCH_FILE, "NO-SUCH-FILE"),
        ] {
            for request in
                [packet(17, 1, &[&string(path)]), raw::open(1, path, READ), packet(13, 1, &[&string(path)])]
            {
                let reply = raw.ask(&request).await;
                assert_eq!(reply.status(), status, "{reply:?}");
                assert!(reply.text().starts_with(code), "{}", reply.text());
            }
        }
        // Two spellings of one name are one file.
        raw.open("/ガ".as_bytes(), WRITE).await;
        assert_eq!(raw.ask(&packet(17, 1, &[&string("/カ\u{3099}".as_bytes())])).await.kind, 105);
    });
}

#[test]
fn handles_are_counted_and_not_confused() {
    let world = World::with(Limits { handles_max: 100, ..Limits::default() });
    fs::write(world.root.join("file"), b"0123456789").unwrap();
    talk(&world, async |mut raw| {
        let mut handles = Vec::new();
        for n in 0..10_000_u32 {
            // Fifty at a time: this client stands still when it has too much to read.
            if n % 50 == 0 {
                for id in n..n + 50 {
                    raw.send(&raw::open(id, b"/file", READ)).await;
                }
            }
            let reply = raw.reply().await;
            assert_eq!(reply.id, n);
            if n < 100 {
                handles.push(reply.string().to_vec());
            } else {
                assert_eq!(reply.status(), FAILURE);
                assert!(reply.text().starts_with("SFTP-HANDLES"), "{}", reply.text());
            }
        }
        assert_eq!(world.tree.open.load(Ordering::SeqCst), 100);
        let unknown = async |raw: &mut Raw, request: &[u8], code: &str| {
            let reply = raw.ask(request).await;
            assert_eq!(reply.status(), FAILURE);
            assert!(reply.text().starts_with(code), "{}", reply.text());
        };
        let closed = handles.remove(0);
        assert_eq!(raw.ask(&packet(4, 1, &[&string(&closed)])).await.status(), 0);
        let folder = raw.ask(&packet(11, 1, &[&string(b"/")])).await.string().to_vec();
        assert_ne!(closed, folder);
        unknown(&mut raw, &packet(4, 1, &[&string(&closed)]), "SFTP-HANDLE").await;
        unknown(&mut raw, &raw::read(1, &closed, 0, 10), "SFTP-HANDLE").await;
        unknown(&mut raw, &raw::read(1, b"", 0, 10), "SFTP-HANDLE").await;
        unknown(&mut raw, &raw::read(1, &[0; 300], 0, 10), "SFTP-HANDLE").await;
        unknown(&mut raw, &raw::read(1, &folder, 0, 10), "SFTP-HANDLE-KIND").await;
        unknown(&mut raw, &raw::write(1, &folder, 0, b"x"), "SFTP-HANDLE-KIND").await;
        unknown(&mut raw, &packet(12, 1, &[&string(&handles[0])]), "SFTP-HANDLE-KIND").await;
        unknown(&mut raw, &packet(12, 1, &[&string(&closed)]), "SFTP-HANDLE").await;
        // The end of a file, and reads of every length about it.
        let eof = raw.ask(&raw::read(1, &handles[0], 10, 10)).await;
        assert_eq!(eof.status(), 1);
        assert_eq!(raw.ask(&raw::read(1, &handles[0], 1 << 50, 10)).await.status(), 1);
        assert_eq!(raw.ask(&raw::read(1, &handles[0], 0, 0)).await.status(), 1);
        assert_eq!(raw.ask(&raw::read(1, &handles[0], 4, u32::MAX)).await.string(), b"456789");
        // A listing ends and goes on having ended.
        assert_eq!(raw.ask(&packet(12, 1, &[&string(&folder)])).await.count(), 1);
        assert_eq!(raw.ask(&packet(12, 1, &[&string(&folder)])).await.status(), 1);
        assert_eq!(raw.ask(&packet(12, 1, &[&string(&folder)])).await.status(), 1);
        drop(raw);
    });
    world.wait_until("open files are dropped", || world.tree.open.load(Ordering::SeqCst) == 0);
    world.wait_until("the session's guard is dropped", || world.gate.sessions.load(Ordering::SeqCst) == 0);
}

#[test]
fn what_is_not_known_is_not_supported() {
    let world = World::new();
    talk(&world, async |mut raw| {
        for request in [
            packet(19, 1, &[&string(b"/a")]),
            packet(20, 1, &[&string(b"/a"), &string(b"/b")]),
            packet(21, 1, &[b"anything"]),
            packet(255, 1, &[]),
            packet(200, 1, &[&string(b"hardlink@openssh.com"), &string(b"/a"), &string(b"/b")]),
            packet(200, 1, &[&string(b"copy-data"), b"whatever"]),
        ] {
            let reply = raw.ask(&request).await;
            assert_eq!(reply.status(), UNSUPPORTED);
            assert!(reply.text().starts_with("SFTP-UNSUPPORTED"));
        }
        let limits = raw.ask(&packet(200, 1, &[&string(b"limits@openssh.com")])).await;
        assert_eq!(limits.kind, 201);
        let values: Vec<u64> =
            limits.body.chunks(8).map(|value| u64::from_be_bytes(value.try_into().unwrap())).collect();
        assert_eq!(values, [262_144, 261_120, 261_120, 1024]);
    });
}

/// A client that asks for gigabytes and never reads: bounded memory, and the end after the stall time.
#[test]
fn who_never_reads_is_let_go() {
    let world = World::with(Limits { stall_seconds: 2, ..Limits::default() });
    fs::write(world.root.join("file"), support::content(8 << 20)).unwrap();
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", READ).await;
        let request = raw::read(1, &handle, 0, 255 * 1024);
        raw.send(&request.repeat(2000)).await;
        // Nothing is read from here on: the window of 4 MiB fills, then the server's output.
        for _ in 0..1000 {
            if world.server.sessions().is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:?}", world.server.sessions());
    });
    world.wait_until("what was queued is dropped", || world.server.queued_bytes() == 0);
    world.wait_until("files are dropped", || world.tree.open.load(Ordering::SeqCst) == 0);
}

/// Words on stderr that nobody reads do not keep a session that was ended.
#[test]
fn who_never_reads_is_sent_away_at_once_all_the_same() {
    let world = World::new();
    fs::write(world.root.join("file"), support::content(8 << 20)).unwrap();
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", READ).await;
        raw.send(&raw::read(1, &handle, 0, 255 * 1024).repeat(200)).await;
        let link = world.gate.evictions.lock().unwrap().values().next().unwrap().clone();
        link.evict();
        // Far less than a client has that merely stalls.
        let ended = async {
            while !world.server.sessions().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(Limits::default().stall_seconds / 3), ended).await.unwrap();
    });
    world.wait_until("files are dropped", || world.tree.open.load(Ordering::SeqCst) == 0);
}

/// A client that does not read, and floods: sent away at the bound, while others work.
#[test]
fn a_flood_without_reading_is_bounded() {
    let limits =
        Limits { queue_bytes_max: 4 << 20, output_bytes_max: 1 << 20, stall_seconds: 3, ..Limits::default() };
    let world = World::with(limits);
    fs::write(world.root.join("file"), support::content(1 << 20)).unwrap();
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", READ).await;
        let mut most = 0;
        raw.send(&raw::read(1, &handle, 0, 255 * 1024).repeat(100)).await;
        let flood = raw::write(1, &handle, 0, &vec![0; 200_000]);
        for _ in 0..1000 {
            let _ = tokio::time::timeout(Duration::from_millis(500), raw.send(&flood)).await;
            most = most.max(world.server.queued_bytes());
            if world.server.sessions().is_empty() || raw.session.is_closed() {
                break;
            }
        }
        assert!(most <= 4 << 20, "{most}");
        let words = raw.goodbye().await;
        // This client does not even read while it writes, so it may not hear it, or be cut for stalling first.
        assert!(
            words.is_empty() || words.starts_with("SFTP-FLOOD") || words.starts_with("SESSION-STALLED"),
            "{words}"
        );
    });
    world.make("fine", 100_000);
    succeeds(&world.sftp(&[], "put fine\n"));
    world.wait_until("the queue is given back", || world.server.queued_bytes() == 0);
}

/// A client that sends without bound but reads is slowed down, not sent away, however slow the disk.
#[test]
fn who_reads_may_send_without_bound() {
    let world =
        World::with(Limits { queue_bytes_max: 2 << 20, queue_bytes_total_max: 4 << 20, ..Limits::default() });
    world.tree.slow_writes.store(true, Ordering::SeqCst);
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/file", WRITE).await;
        let piece = support::content(100_000);
        let mut most = 0;
        for n in 0..300_u32 {
            raw.send(&raw::write(n, &handle, u64::from(n) * 100_000, &piece)).await;
            most = most.max(world.server.queued_bytes());
        }
        for n in 0..300 {
            let reply = raw.reply().await;
            assert_eq!((reply.id, reply.status()), (n, 0));
        }
        assert!(most <= 2 << 20, "{most}");
    });
    assert_eq!(fs::metadata(world.root.join("file")).unwrap().len(), 30_000_000);
}

#[test]
fn a_verdict_holds_up_its_own_path_only() {
    let world = World::new();
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/x.later", WRITE).await;
        raw.send(&packet(4, 1, &[&string(&handle)])).await;
        // The same path waits, in order; what depends on what waits, too; everything else goes on.
        raw.send(&packet(18, 2, &[&string(b"/x.later"), &string(b"/y")])).await;
        raw.send(&packet(17, 3, &[&string(b"/y")])).await;
        raw.send(&packet(17, 4, &[&string(b"/x.later")])).await;
        raw.send(&packet(17, 5, &[&string(b"/z")])).await;
        assert_eq!((raw.reply().await.id, world.tree.concluded.load(Ordering::SeqCst)), (5, 0));
        let handle = raw.open(b"/z", WRITE).await;
        assert_eq!(raw.ask(&raw::write(6, &handle, 0, b"z")).await.status(), 0);
        assert_eq!(raw.ask(&packet(4, 8, &[&string(&handle)])).await.status(), 0);
        world.tree.verdicts.send_replace(true);
        let mut replies = Vec::new();
        for _ in 0..4 {
            let reply = raw.reply().await;
            replies.push((reply.id, if reply.kind == 101 { reply.status() } else { 0 }));
        }
        assert_eq!(replies, [(1, 0), (2, 0), (3, 0), (4, NO_SUCH_FILE)]);
    });
}

#[test]
fn verdicts_under_way_are_bounded_and_survive_the_client() {
    let world = World::with(Limits { verdicts_max: 20, ..Limits::default() });
    talk(&world, async |mut raw| {
        let mut handles = Vec::new();
        for n in 0..50 {
            handles.push(raw.open(format!("/{n}.later").as_bytes(), WRITE).await);
        }
        for handle in &handles {
            raw.send(&packet(4, 1, &[&string(handle)])).await;
        }
        raw.send(&packet(17, 2, &[&string(b"/")])).await;
        world.tree.verdicts.send_replace(true);
        let mut ids = Vec::new();
        for _ in 0..51 {
            ids.push(raw.reply().await.id);
        }
        assert_eq!(ids.iter().filter(|id| **id == 1).count(), 50);
        // Now one whose client does not wait for it.
        world.tree.verdicts.send_replace(false);
        let handle = raw.open(b"/last.later", WRITE).await;
        raw.send(&packet(4, 1, &[&string(&handle)])).await;
        while world.server.sessions()[0].busy != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(raw);
    });
    world.wait_until("the session is gone", || world.gate.sessions.load(Ordering::SeqCst) == 0);
    assert_eq!(world.tree.concluded.load(Ordering::SeqCst), 50);
    world.tree.verdicts.send_replace(true);
    world.wait_until("the work went on", || world.tree.concluded.load(Ordering::SeqCst) == 51);
}

#[test]
fn a_loud_refusal_comes_before_its_status() {
    let world = World::new();
    talk(&world, async |mut raw| {
        let handle = raw.open(b"/x.refused", WRITE).await;
        let reply = raw.ask(&packet(4, 1, &[&string(&handle)])).await;
        assert_eq!(reply.status(), 3);
        assert_eq!(reply.text(), "SIG-WRONG-KEY 別の鍵で署名されています。");
        assert!(reply.body.ends_with(b"\0\0\0\x02ja"));
        assert_eq!(String::from_utf8(raw.stderr).unwrap(), "SIG-WRONG-KEY 別の鍵で署名されています。\n");
    });
}

#[test]
fn a_panic_ends_one_session_only() {
    let world = World::new();
    talk(&world, async |mut bystander| {
        let mut raw = Raw::greeted(world.port, ACCOUNT, &world.secret("key")).await;
        let handle = raw.open(b"/x.panic", WRITE).await;
        raw.send(&raw::write(1, &handle, 0, b"x")).await;
        assert!(raw.goodbye().await.starts_with("GATEWAY-FAULT"));
        assert_eq!(bystander.ask(&packet(17, 1, &[&string(b"/")])).await.kind, 105);
    });
}

#[test]
fn logins_by_anything_but_a_listed_key_fail() {
    let world = World::new();
    let (key, other, rsa) = (world.secret("key"), world.secret("other"), world.secret("rsa"));
    world.runtime.block_on(async {
        let (mut session, _) = connect(world.port).await;
        let refused = session.authenticate_none(ACCOUNT).await.unwrap();
        let russh::client::AuthResult::Failure { remaining_methods, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(&**remaining_methods, [russh::MethodKind::PublicKey]);
        assert!(!session.authenticate_password(ACCOUNT, "password").await.unwrap().success());
        assert!(!log_in(&mut session, ACCOUNT, &other).await.success());
        // The user changes in the middle: what was proven for one counts for nobody else.
        assert!(!log_in(&mut session, "K0002", &key).await.success());
        assert!(!log_in(&mut session, "", &key).await.success());
        assert!(!log_in(&mut session, &"K".repeat(5000), &key).await.success());
        assert!(!log_in(&mut session, "K0001\0", &key).await.success());
        assert!(log_in(&mut session, ACCOUNT, &rsa).await.success());
        assert!(session.channel_open_session().await.is_ok());
    });
}

#[test]
fn login_attempts_are_limited() {
    let world = World::with(Limits { auth_attempts_max: 4, ..Limits::default() });
    let other = world.secret("other");
    world.runtime.block_on(async {
        let (mut session, _) = connect(world.port).await;
        let mut attempts = 0;
        for n in 0..100 {
            // A new name each time: the count must not begin again.
            let hash = russh::keys::PrivateKeyWithHashAlg::new(other.clone(), None);
            match session.authenticate_publickey(format!("K{n:04}"), hash).await {
                Ok(result) if !result.success() && !session.is_closed() => attempts += 1,
                _ => break,
            }
        }
        assert!(attempts <= 5, "{attempts}");
    });
    // Probes that are answered with yes are limited too (ssh sends one per key, then signs).
    succeeds(&world.sftp(&[], "ls\n"));
}

#[test]
fn certificates_are_refused_and_the_key_inside_still_works() {
    let world = World::new();
    let signed = std::process::Command::new("ssh-keygen")
        .args(["-q", "-s"])
        .arg(world.file("other"))
        .args(["-I", "forged", "-n", ACCOUNT, "-V", "+1h"])
        .arg(world.file("key.pub"))
        .status()
        .unwrap();
    assert!(signed.success());
    let certificate = russh::keys::load_openssh_certificate(world.file("key-cert.pub")).unwrap();
    world.runtime.block_on(async {
        let (mut session, _) = connect(world.port).await;
        let result =
            session.authenticate_openssh_cert(ACCOUNT, world.secret("key"), certificate).await.unwrap();
        assert!(!result.success());
        assert!(log_in(&mut session, ACCOUNT, &world.secret("key")).await.success());
    });
    // Stock ssh offers the certificate beside the key by itself, and goes on to the bare key.
    succeeds(&world.sftp(&[], "ls\n"));
}

#[test]
fn who_is_not_admitted_hears_why_and_can_do_nothing() {
    let world = World::new();
    world.gate.suspended.lock().unwrap().push(ACCOUNT.to_owned());
    world.runtime.block_on(async {
        let mut raw = Raw::begin(world.port, ACCOUNT, &world.secret("key")).await;
        raw.send(&string(&[1, 0, 0, 0, 3])).await;
        assert_eq!(raw.content().await, None);
        assert_eq!(raw.exit_status, Some(1));
        assert_eq!(
            String::from_utf8(raw.stderr.clone()).unwrap().trim_end(),
            "ACCOUNT-SUSPENDED アカウントは停止中です。"
        );
        assert!(raw.goodbye().await.starts_with("ACCOUNT-SUSPENDED"));
    });
    gateway::until("its place is free again", || world.server.startups() == 0);
}

#[test]
fn channels_are_counted() {
    let world = World::with(Limits { channels_max: 3, ..Limits::default() });
    world.runtime.block_on(async {
        let (mut session, _) = connect(world.port).await;
        assert!(log_in(&mut session, ACCOUNT, &world.secret("key")).await.success());
        let mut channels = Vec::new();
        for _ in 0..3 {
            channels.push(session.channel_open_session().await.unwrap());
        }
        assert!(session.channel_open_session().await.is_err());
        // Ask for everything that is not offered; each is answered.
        let channel = channels.pop().unwrap();
        let (mut replies, requests) = channel.split();
        requests.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        requests.set_env(true, "LANG", "C").await.unwrap();
        requests.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
        requests.request_subsystem(true, "shell").await.unwrap();
        for _ in 0..4 {
            assert!(matches!(replies.wait().await, Some(ChannelMsg::Failure)));
        }
        requests.exec(true, "rm -rf /").await.unwrap();
        let (mut said, mut status) = (Vec::new(), None);
        while let Some(message) = replies.wait().await {
            match message {
                ChannelMsg::ExtendedData { data, ext: 1 } => said.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        assert!(String::from_utf8(said).unwrap().contains("SFTP only"));
        assert_eq!(status, Some(1));
        // The place is free again.
        requests.close().await.unwrap();
        for _ in 0..100 {
            if session.channel_open_session().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no channel");
    });
}

/// Thousands of connections that never log in: others do, and the number held stays bounded.
#[test]
fn connections_held_before_login_give_way() {
    let world = World::with(Limits { startups_max: 60, startups_per_source_max: 40, ..Limits::default() });
    world.make("file", 1000);
    let mut held = Vec::new();
    for n in 0..2000 {
        held.push(TcpStream::connect(("127.0.0.1", world.port)).unwrap());
        if n % 100 == 0 {
            assert!(world.server.startups() <= 40);
        }
    }
    succeeds(&world.sftp(&[], "put file\n"));
    world.wait_until("the displaced are gone", || world.server.sessions().len() <= 40);
    // The displaced see the end.
    held[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut heard = Vec::new();
    if let Err(error) = held[0].read_to_end(&mut heard) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    // Who had to go at once was not even greeted.
    assert!(
        heard.is_empty() || heard.starts_with(b"SSH-2.0-todoke\r\n"),
        "{}",
        String::from_utf8_lossy(&heard)
    );
}

#[test]
fn login_must_come_in_time() {
    let world = World::with(Limits { login_grace_seconds: 1, ..Limits::default() });
    let mut silent = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut heard = Vec::new();
    silent.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"SSH-2.0-todoke\r\n");
    let words = world.runtime.block_on(async {
        let (session, words) = connect(world.port).await;
        raw::last_words(session, &words).await
    });
    assert!(words.starts_with("LOGIN-TIME"));
}

#[test]
fn idle_sessions_end() {
    let world = World::with(Limits { idle_seconds: 1, ..Limits::default() });
    let words = talk(&world, async |raw| raw.goodbye().await);
    assert!(words.starts_with("SESSION-IDLE"), "{words}");
}

#[test]
fn a_newer_session_can_take_over() {
    let world = World::new();
    talk(&world, async |raw| {
        let link = world.gate.evictions.lock().unwrap().values().next().unwrap().clone();
        link.evict();
        assert!(raw.goodbye().await.starts_with("SESSION-REPLACED"));
    });
}

#[test]
fn connections_are_counted() {
    let world = World::with(Limits { connections_max: 3, ..Limits::default() });
    let held: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", world.port)).unwrap()).collect();
    world.wait_until("they are in", || world.server.sessions().len() == 3);
    let mut one_more = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
    let mut heard = String::new();
    one_more.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("LOGIN-CROWDED"), "{heard}");
    drop(held);
    world.wait_until("they are out", || world.server.sessions().is_empty());
    succeeds(&world.sftp(&[], "ls\n"));
}

#[test]
fn garbage_before_login_harms_nobody() {
    use std::io::Write as _;
    let world = World::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"SSH-1.5-old\r\n",
        &[0xff; 4096],
        b"SSH-2.0-x\r\n\0\0\0\x01\0",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14\0\0\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port)).unwrap();
        stream.write_all(bytes).unwrap();
    }
    succeeds(&world.sftp(&[], "ls\n"));
    world.wait_until("all are gone", || world.server.sessions().is_empty());
}

#[test]
fn host_keys_can_be_changed() {
    let world = World::new();
    succeeds(&world.sftp(&[], "ls\n"));
    world.server.set_host_keys(vec![russh::keys::load_secret_key(world.file("other"), None).unwrap()]);
    let output = world.sftp(&[], "ls\n");
    assert!(
        !output.status.success() && text(&output).contains("HOST IDENTIFICATION HAS CHANGED"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_drain_waits_for_transfers_and_not_for_the_idle() {
    let world = World::new();
    world.runtime.block_on(async {
        let key = world.secret("key");
        let mut working = Raw::greeted(world.port, ACCOUNT, &key).await;
        let idle = Raw::greeted(world.port, ACCOUNT, &key).await;
        let handle = working.open(b"/file", WRITE).await;
        let server = world.server.clone();
        let drain = tokio::spawn(async move { server.drain(Duration::from_mins(1)).await });
        assert!(idle.goodbye().await.starts_with("GATEWAY-STOPPING"));
        assert_eq!(working.ask(&raw::write(1, &handle, 0, b"all of it")).await.status(), 0);
        assert_eq!(working.ask(&packet(4, 1, &[&string(&handle)])).await.status(), 0);
        assert!(working.goodbye().await.starts_with("GATEWAY-STOPPING"));
        let drained = drain.await.unwrap();
        assert_eq!((drained.ended, drained.cut), (2, 0));
        assert!(tokio::net::TcpStream::connect(("127.0.0.1", world.port)).await.is_err());
    });
    assert_eq!(read(world.root.join("file")), b"all of it");
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let world = World::new();
    world.runtime.block_on(async {
        let mut raw = Raw::greeted(world.port, ACCOUNT, &world.secret("key")).await;
        raw.open(b"/file", WRITE).await;
        let drained = world.server.drain(Duration::from_millis(100)).await;
        assert_eq!((drained.ended, drained.cut), (0, 1));
        assert!(raw.goodbye().await.starts_with("GATEWAY-STOPPING"));
    });
}
