//! Real clients against the SFTP door. Each must be installed: a missing client fails its test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};

use support::{ACCOUNT, World, read, succeeds, text};
use todoke::doors::sftp::Limits;

fn names(folder: impl AsRef<std::path::Path>) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn openssh_sftp_does_its_everyday_work() {
    let world = World::new();
    let big = world.make("big", 3_000_001);
    let small = world.make("届け.csv", 100);
    fs::create_dir_all(world.work.join("tree/deep")).unwrap();
    world.make("tree/one", 10);
    world.make("tree/deep/two", 300_000);
    succeeds(
        &world.sftp(
            &[],
            "put big
         put -p 届け.csv
         put -f big synced
         mkdir sub
         put -R tree sub
         rename big sub/bigger
         get sub/bigger back
         get -R sub/tree treeback
         ln synced never
        "
            .replace("         ln synced never\n", "")
            .as_str(),
        ),
    );
    assert_eq!(read(world.root.join("sub/bigger")), big);
    assert_eq!(read(world.root.join("synced")), big);
    assert_eq!(read(world.work.join("back")), big);
    assert_eq!(read(world.root.join("届け.csv")), small);
    let modified = |path: std::path::PathBuf| fs::metadata(path).unwrap().mtime();
    assert_eq!(modified(world.root.join("届け.csv")), modified(world.work.join("届け.csv")), "put -p");
    assert_eq!(read(world.work.join("treeback/deep/two")), read(world.work.join("tree/deep/two")));

    let listed = world.sftp(&[], "ls -l\ncd sub\npwd\nls\ndf\ndf -i\nchmod 600 bigger\n");
    succeeds(&listed);
    let out = String::from_utf8(listed.stdout).unwrap();
    assert!(out.contains("K0001    K0001             100"), "{out}");
    assert!(out.contains("届け.csv") && out.contains("Remote working directory: /sub"), "{out}");
    assert_eq!(fs::metadata(world.root.join("sub/bigger")).unwrap().mode() & 0o777, 0o600);

    succeeds(&world.sftp(
        &[],
        "rm synced\nrm sub/tree/one\nrm sub/tree/deep/two\nrmdir sub/tree/deep\nrmdir sub/tree\n",
    ));
    assert_eq!(names(&world.root), ["sub", "届け.csv"]);
    assert_eq!(names(world.root.join("sub")), ["bigger"]);
}

#[test]
fn openssh_sftp_goes_on_where_it_stopped() {
    let world = World::new();
    let content = world.make("file", 1_000_000);
    fs::write(world.root.join("file"), &content[..400_000]).unwrap();
    succeeds(&world.sftp(&[], "reput file\n"));
    assert_eq!(read(world.root.join("file")), content);
    fs::write(world.work.join("file"), &content[..123_456]).unwrap();
    succeeds(&world.sftp(&[], "reget file\n"));
    assert_eq!(read(world.work.join("file")), content);
}

#[test]
fn openssh_sftp_by_hand() {
    let world = World::new();
    world.make("file", 1000);
    let mut child = Command::new("sftp")
        .args(["-F", "none"])
        .args(world.ssh_options())
        .arg(format!("{ACCOUNT}@127.0.0.1"))
        .current_dir(&world.work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"put file\nls\nversion\nsymlink a b\nbye\n").unwrap();
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    let all = text(&output);
    assert!(all.contains("SFTP protocol version 3") && all.contains("Operation unsupported"), "{all}");
    assert_eq!(names(&world.root), ["file"]);
}

#[test]
fn openssh_sees_what_is_wrong() {
    let world = World::new();
    world.make("file", 10);
    let refused = world.sftp(&[], "put file x.refused\n");
    assert!(!refused.status.success());
    assert!(text(&refused).contains("SIG-WRONG-KEY 別の鍵で署名されています。"), "{}", text(&refused));
    let missing = world.sftp(&[], "get nothing\n");
    assert!(!missing.status.success() && text(&missing).contains("not found"), "{}", text(&missing));

    world.gate.suspended.lock().unwrap().push(ACCOUNT.to_owned());
    let suspended = world.sftp(&[], "ls\n");
    assert!(!suspended.status.success());
    assert!(text(&suspended).contains("ACCOUNT-SUSPENDED アカウントは停止中です。"), "{}", text(&suspended));
}

#[test]
fn openssh_gets_no_shell() {
    let world = World::new();
    let ssh = |options: &[&str], command: &[&str]| {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none"]).args(world.ssh_options()).args(options);
        world.run(ssh.arg(format!("{ACCOUNT}@127.0.0.1")).args(command))
    };
    let output = ssh(&["-tt"], &["id"]);
    assert!(text(&output).contains("PTY allocation request failed"), "{}", text(&output));
    for command in [&["id"][..], &["internal-sftp"], &[], &["scp", "-t", "/"]] {
        let output = ssh(&[], command);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let all = text(&output);
        assert!(
            all.contains("SFTP-ONLY") && all.contains("SFTP専用") && all.contains("SFTP only: use sftp"),
            "{all}"
        );
    }
    let mut forward = Command::new("ssh");
    forward.args(["-F", "none"]).args(world.ssh_options()).args(["-o", "ExitOnForwardFailure=yes", "-N"]);
    let output = world.run(forward.args(["-R", "0:127.0.0.1:9", &format!("{ACCOUNT}@127.0.0.1")]));
    assert!(!output.status.success() && text(&output).contains("forward"), "{}", text(&output));
    let mut through = Command::new("ssh");
    through.args(["-F", "none"]).args(world.ssh_options()).args(["-W", "127.0.0.1:9"]);
    let output = world.run(through.arg(format!("{ACCOUNT}@127.0.0.1")));
    assert!(!output.status.success() && text(&output).contains("prohibited"), "{}", text(&output));
    let mut subsystem = Command::new("ssh");
    subsystem.args(["-F", "none"]).args(world.ssh_options()).args([
        "-s",
        &format!("{ACCOUNT}@127.0.0.1"),
        "netconf",
    ]);
    let output = world.run(&mut subsystem);
    assert!(text(&output).contains("subsystem request failed"), "{}", text(&output));
}

/// Transfers of many windows, with keys exchanged again and again and many requests under way: where a server that
/// waits in the wrong place stands still for ever.
#[test]
fn nothing_stands_still_when_keys_change() {
    let world = World::with(Limits { rekey_bytes: 8 << 20, ..Limits::default() });
    let content = world.make("big", 100 << 20);
    for options in [
        &["-o", "RekeyLimit=16M"][..],
        &["-R", "256", "-o", "RekeyLimit=16M"],
        &["-R", "256", "-B", "32768", "-c", "chacha20-poly1305@openssh.com"],
        &["-c", "aes256-ctr", "-o", "MACs=hmac-sha2-256-etm@openssh.com", "-o", "RekeyLimit=1M"],
    ] {
        succeeds(&world.sftp(options, "put big\nget big back\n"));
        assert!(read(world.root.join("big")) == content, "{options:?}");
        assert!(read(world.work.join("back")) == content, "{options:?}");
    }
}

#[test]
fn all_announced_algorithms_work() {
    let world = World::new();
    world.make("file", 70_000);
    let mut options: Vec<String> = Vec::new();
    for cipher in
        ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"]
    {
        options.push(format!("Ciphers={cipher}"));
    }
    for kex in ["curve25519-sha256", "ecdh-sha2-nistp256", "diffie-hellman-group16-sha512"] {
        options.push(format!("KexAlgorithms={kex}"));
    }
    for mac in ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256"] {
        options.push(format!("Ciphers=aes192-ctr,MACs={mac}").replace(",MACs", " -oMACs"));
    }
    for option in options {
        let parts: Vec<&str> = option.split(" -o").flat_map(|part| ["-o", part]).collect();
        succeeds(&world.sftp(&parts, "put file\nget file back\n"));
    }
    for option in [
        "Ciphers=aes128-cbc",
        "MACs=hmac-sha1 -oCiphers=aes128-ctr",
        "KexAlgorithms=diffie-hellman-group14-sha1",
    ] {
        let parts: Vec<&str> = option.split(" -o").flat_map(|part| ["-o", part]).collect();
        let output = world.sftp(&parts, "ls\n");
        assert!(!output.status.success() && text(&output).contains("no matching"), "{}", text(&output));
    }
}

#[test]
fn openssh_with_rsa_never_by_sha1() {
    let world = World::new();
    let rsa = format!("IdentityFile={}", world.file("rsa").display());
    let login = |algorithm: &str| {
        let mut command = Command::new("sftp");
        let options: Vec<String> = world
            .ssh_options()
            .into_iter()
            .map(|o| if o.starts_with("IdentityFile") { rsa.clone() } else { o })
            .collect();
        command
            .args(["-F", "none"])
            .args(options)
            .arg("-o")
            .arg(format!("PubkeyAcceptedAlgorithms={algorithm}"));
        fs::write(world.file("batch"), "ls\n").unwrap();
        world.run(command.arg("-b").arg(world.file("batch")).arg(format!("{ACCOUNT}@127.0.0.1")))
    };
    succeeds(&login("rsa-sha2-512"));
    succeeds(&login("rsa-sha2-256"));
    let sha1 = login("ssh-rsa");
    assert!(!sha1.status.success(), "{}", text(&sha1));
}

#[test]
fn scp_speaks_sftp() {
    let world = World::new();
    let content = world.make("file", 500_000);
    let mut scp = Command::new("scp");
    scp.args(["-F", "none"])
        .args(world.ssh_options())
        .args(["file", &format!("{ACCOUNT}@127.0.0.1:/copied")]);
    succeeds(&world.run(&mut scp));
    assert_eq!(read(world.root.join("copied")), content);
}

#[test]
fn psftp() {
    let world = World::new();
    let content = world.make("file", 2_000_000);
    let ppk = world.file("key.ppk");
    let mut puttygen = Command::new("puttygen");
    puttygen.arg(world.file("key")).args(["-O", "private", "-o"]).arg(&ppk);
    succeeds(&world.run(&mut puttygen));
    let fingerprint = Command::new("ssh-keygen").arg("-lf").arg(world.file("host.pub")).output().unwrap();
    let fingerprint = String::from_utf8(fingerprint.stdout).unwrap().split(' ').nth(1).unwrap().to_owned();
    fs::write(
        world.file("script"),
        "put file\nmkdir sub\nmv file sub/file\nls sub\ncd sub\nget file back\nreget file back\nquit\n",
    )
    .unwrap();
    let mut psftp = Command::new("psftp");
    psftp.args(["-batch", "-hostkey", &fingerprint, "-P", &world.port.to_string(), "-i"]).arg(ppk);
    let output = world.run(psftp.arg("-b").arg(world.file("script")).arg(format!("{ACCOUNT}@127.0.0.1")));
    succeeds(&output);
    assert_eq!(read(world.root.join("sub/file")), content);
    assert_eq!(read(world.work.join("back")), content);
}

#[test]
fn curl() {
    let world = World::new();
    let content = world.make("file", 1_500_000);
    let url = format!("sftp://127.0.0.1:{}/", world.port);
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--user", &format!("{ACCOUNT}:"), "--key"]).arg(world.file("key"));
        world.run(curl.arg("--pubkey").arg(world.file("key.pub")).args(more))
    };
    succeeds(&curl(&["-T", "file", &format!("{url}up")]));
    assert_eq!(read(world.root.join("up")), content);
    succeeds(&curl(&["-o", "down", &format!("{url}up")]));
    assert_eq!(read(world.work.join("down")), content);
    let listed = curl(&[&url]);
    succeeds(&listed);
    assert!(text(&listed).contains(" up"), "{}", text(&listed));
    succeeds(&curl(&["-Q", "-rename /up /renamed", "-o", "/dev/null", &url]));
    assert_eq!(names(&world.root), ["renamed"]);
}

#[test]
fn lftp() {
    let world = World::new();
    fs::create_dir(world.work.join("tree")).unwrap();
    for n in 0..30 {
        world.make(&format!("tree/{n}"), n * 1000);
    }
    let script = format!(
        "set sftp:connect-program \"{} -a -x\"; set net:max-retries 1; open -u {ACCOUNT},x sftp://127.0.0.1:{}; \
         mirror -R -P 4 tree tree; mv tree moved; ls moved; mirror moved back; bye",
        world.ssh_command(),
        world.port
    );
    let output = world.run(Command::new("lftp").args(["--norc", "-c", &script]));
    succeeds(&output);
    assert_eq!(names(world.root.join("moved")).len(), 30);
    assert_eq!(read(world.work.join("back/29")), read(world.work.join("tree/29")));
}

#[test]
fn rclone() {
    let world = World::new();
    fs::create_dir(world.work.join("tree")).unwrap();
    for n in 0..20 {
        world.make(&format!("tree/{n}"), 1 + n * 50_000);
    }
    let remote = format!(
        ":sftp,host=127.0.0.1,port={},user={ACCOUNT},key_file={}:",
        world.port,
        world.file("key").display()
    );
    let rclone = |arguments: &[&str]| {
        let mut rclone = Command::new("rclone");
        rclone.args(["--config", "/dev/null", "--retries", "1"]).args(arguments);
        let output = world.run(&mut rclone);
        succeeds(&output);
        text(&output)
    };
    rclone(&["copy", "tree", &format!("{remote}/tree")]);
    assert_eq!(names(world.root.join("tree")).len(), 20);
    rclone(&["check", "--download", "tree", &format!("{remote}/tree")]);
    rclone(&["moveto", &format!("{remote}/tree/3"), &format!("{remote}/moved")]);
    assert!(rclone(&["lsf", &format!("{remote}/")]).contains("moved"));
    rclone(&["copy", &format!("{remote}/tree"), "back"]);
    assert_eq!(read(world.work.join("back/19")), read(world.work.join("tree/19")));
}

#[test]
fn sshfs() {
    let world = World::new();
    let mount = world.file("mount");
    fs::create_dir(&mount).unwrap();
    let mut sshfs = Command::new("sshfs");
    sshfs.arg(format!("{ACCOUNT}@127.0.0.1:/")).arg(&mount).args(world.ssh_options());
    succeeds(&world.run(&mut sshfs));
    let worked = std::panic::catch_unwind(|| {
        let content = support::content(700_000);
        fs::write(mount.join("file"), &content).unwrap();
        fs::create_dir(mount.join("sub")).unwrap();
        fs::rename(mount.join("file"), mount.join("sub/file")).unwrap();
        assert_eq!(read(mount.join("sub/file")), content);
        assert_eq!(names(&mount), ["sub"]);
        assert_eq!(read(world.root.join("sub/file")), content);
        assert!(std::os::unix::fs::symlink("a", mount.join("link")).is_err());
        fs::remove_file(mount.join("sub/file")).unwrap();
        fs::remove_dir(mount.join("sub")).unwrap();
    });
    succeeds(&world.run(Command::new("fusermount3").arg("-u").arg(&mount)));
    worked.unwrap();
}

fn script(world: &World, interpreter: &str, flag: &str, script: &str) {
    let mut command = Command::new(interpreter);
    command.arg(flag).arg(script).arg(world.port.to_string()).arg(world.file("key")).arg(ACCOUNT);
    if interpreter == "node" {
        let root = Command::new("npm").args(["root", "-g"]).output().expect("npm");
        command.env("NODE_PATH", String::from_utf8(root.stdout).unwrap().trim());
    }
    succeeds(&world.run(&mut command));
}

#[test]
fn paramiko() {
    let world = World::new();
    let content = world.make("file", 60 << 20);
    script(
        &world,
        "python3",
        "-c",
        r"
import sys, paramiko, stat
port, key, user = int(sys.argv[1]), sys.argv[2], sys.argv[3]
ssh = paramiko.SSHClient()
ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
ssh.connect('127.0.0.1', port, user, key_filename=key, allow_agent=False, look_for_keys=False)
sftp = ssh.open_sftp()
sftp.put('file', '/put')                       # pipelined, sends without bound
with sftp.open('/tiny', 'wb') as f:            # pipelined in small pieces
    f.set_pipelined(True)
    for n in range(20000): f.write(b'%09d\n' % n)
assert sftp.stat('/tiny').st_size == 200000
sftp.get('/put', 'back')                       # prefetches everything at once
sftp.mkdir('/sub'); sftp.rename('/tiny', '/sub/tiny')
assert sorted(sftp.listdir('/')) == ['put', 'sub']
assert [e.filename for e in sftp.listdir_iter('/sub')] == ['tiny']
assert stat.S_ISDIR(sftp.stat('/sub').st_mode) and sftp.normalize('/sub/../x') == '/x'
try: sftp.stat('/nothing'); assert False
except FileNotFoundError: pass
with sftp.open('/sub/tiny', 'ab') as f: f.write(b'end')
with sftp.open('/sub/tiny', 'rb') as f:
    f.seek(-3, 2); assert f.read() == b'end' and f.read(1) == b''
    assert f.readv([(0, 10), (10, 10)]).__next__() == b'000000000\n'
sftp.truncate('/sub/tiny', 5); assert sftp.stat('/sub/tiny').st_size == 5
other = ssh.open_sftp(); other.chmod('/sub/tiny', 0o600); other.close()
sftp.remove('/sub/tiny'); sftp.rmdir('/sub')
ssh.close()
",
    );
    assert!(read(world.root.join("put")) == content);
    assert!(read(world.work.join("back")) == content);
}

#[test]
fn asyncssh() {
    let world = World::new();
    let content = world.make("file", 20 << 20);
    script(
        &world,
        "python3",
        "-c",
        r"
import sys, asyncio, asyncssh
async def main(port, key, user):
    async with asyncssh.connect('127.0.0.1', port, username=user, client_keys=[key], known_hosts=None, config=None) as c:
        async with c.start_sftp_client() as sftp:
            await asyncio.gather(*(sftp.put('file', f'/{n}') for n in range(3)))
            await sftp.get('/2', 'back')
            assert sorted(await sftp.glob('/*')) == ['/0', '/1', '/2']
            v = await sftp.statvfs('/'); assert v.bsize == 4096 and v.bavail > 0
            await sftp.posix_rename('/0', '/1')
            assert sorted(n for n in await sftp.listdir('/') if n[0] != '.') == ['1', '2']
            async with sftp.open('/new', 'wb') as f:
                await f.write(b'x' * 1000000); await f.fsync()
            try: await sftp.symlink('a', '/b'); assert False
            except asyncssh.SFTPOpUnsupported: pass
        r = await c.run('id'); assert r.exit_status == 1 and 'SFTP only' in r.stderr
asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
",
    );
    assert!(read(world.root.join("2")) == content);
    assert!(read(world.work.join("back")) == content);
}

#[test]
fn node_ssh2() {
    let world = World::new();
    let content = world.make("file", 10 << 20);
    script(
        &world,
        "node",
        "-e",
        r"
const { Client } = require('ssh2'); const fs = require('fs');
const [port, key, user] = process.argv.slice(1);
const c = new Client();
const p = (s, m, ...a) => new Promise((ok, no) => s[m](...a, (e, v) => e ? no(e) : ok(v)));
c.on('error', e => { console.error(e); process.exit(1); });
c.on('ready', async () => {
  try {
    const s = await p(c, 'sftp');
    await p(s, 'fastPut', 'file', '/up'); await p(s, 'fastGet', '/up', 'back');
    await p(s, 'mkdir', '/sub'); await p(s, 'rename', '/up', '/sub/up');
    const names = (await p(s, 'readdir', '/sub')).map(e => e.filename);
    if (names.join() !== 'up') throw new Error(names.join());
    await p(s, 'ext_openssh_rename', '/sub/up', '/up');
    await p(s, 'rmdir', '/sub');
    c.end();
  } catch (e) { console.error(e); process.exit(1); }
}).connect({ host: '127.0.0.1', port: +port, username: user, privateKey: fs.readFileSync(key) });
",
    );
    assert!(read(world.root.join("up")) == content);
    assert!(read(world.work.join("back")) == content);
}

#[test]
fn a_long_folder_is_listed_whole() {
    let world = World::new();
    for n in 0..5000 {
        fs::write(world.root.join(format!("納入告知書-{n:05}.pdf")), b"").unwrap();
    }
    let listed = world.sftp(&[], "ls -1\nls -l\n");
    succeeds(&listed);
    assert_eq!(String::from_utf8(listed.stdout).unwrap().matches("納入告知書-").count(), 10_000);
}
