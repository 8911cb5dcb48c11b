//! Every client that offices use, unmodified, against the real daemon: each sends whole submissions in its own manner,
//! hears what became of them, fetches the receipt, and lists and fetches a document; and an insurer's day with stock `sftp`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it fails")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, INSURER_ACCOUNT, OFFICE, PDF, Ran, Set, until};

/// A gateway with a document in the outbox.
struct World {
    gateway: Gateway,
    /// The document's name there.
    document: String,
}

/// A set laid out in a folder of its own, and what is to become of it.
struct Laid {
    set: Set,
    folder: String,
    sha256: String,
}

impl World {
    fn new() -> Self {
        let gateway = Gateway::new();
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
            "2026年11月分",
        ];
        let placed = gateway.ask(&[&deliver[..], &["FILE.pdf"]].concat());
        let list = gateway.sftp(ACCOUNT, &format!("ls -1 /outbox/{OFFICE}\n")).ends(0).out;
        let document = list.lines().last().unwrap().rsplit('/').next().unwrap().to_owned();
        assert!(document.contains(placed["document"].as_str().unwrap()), "{list}");
        Self { gateway, document }
    }

    /// A set that is sound.
    fn sound(&self, records: u64) -> Laid {
        self.lay_out(self.gateway.set(records))
    }

    /// A set whose cover sheet is no PDF.
    fn unsound(&self, records: u64) -> Laid {
        let files =
            vec![("KPFD0006.CSV", self.gateway.filing(records)), ("soukatsu.pdf", b"no PDF at all".to_vec())];
        self.lay_out(Set::of("", files))
    }

    fn lay_out(&self, set: Set) -> Laid {
        let folder = self.gateway.lay_out(&set, ACCOUNT);
        Laid { sha256: set.sha256(), set, folder }
    }

    /// Runs a program where clients work.
    fn run(&self, package: &str, command: &mut Command) -> Ran {
        let output = command
            .current_dir(self.gateway.work())
            .env("HOME", self.gateway.work())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; the tests need it (package {package})"));
        Ran::of(&output)
    }

    fn port(&self) -> String {
        self.gateway.address.port().to_string()
    }

    fn key(&self) -> PathBuf {
        self.gateway.key(ACCOUNT)
    }

    /// What was sent is in the insurer's folder, whole.
    fn is_published(&self, laid: &Laid) {
        let receipt = self.gateway.receipt(ACCOUNT, &laid.set).expect("a receipt");
        self.receipt_is(&receipt, laid, "accepted");
        let number = receipt["number"].as_str().unwrap();
        self.gateway.reaches(number, "published");
        let there = self.gateway.insurer_spool().join("new").join(number);
        assert_eq!(fs::read(there.join("KPFD0006.CSV")).unwrap(), laid.set.files[0].1);
        assert_eq!(fs::read(there.join("cover.pdf")).unwrap(), laid.set.files[1].1);
    }

    /// What was sent is refused, and nothing reached the insurer.
    fn is_refused(&self, laid: &Laid) {
        let receipt = self.gateway.receipt(ACCOUNT, &laid.set).expect("a receipt");
        self.receipt_is(&receipt, laid, "refused");
        assert!(!receipt["findings"].as_array().unwrap().is_empty(), "{receipt:#}");
        let number = receipt["number"].as_str().unwrap();
        assert!(!self.gateway.insurer_spool().join("new").join(number).exists());
    }

    #[track_caller]
    fn receipt_is(&self, receipt: &Value, laid: &Laid, outcome: &str) {
        assert_eq!(receipt["outcome"], outcome, "{receipt:#}\n{}", self.gateway.log());
        assert_eq!(receipt["manifest_sha256"], laid.sha256.as_str(), "{receipt:#}");
    }

    /// The receipt that a client fetched.
    #[track_caller]
    fn fetched(&self, name: &str, laid: &Laid, outcome: &str) {
        let bytes = fs::read(self.gateway.work().join(name)).expect("the client fetched the receipt");
        self.receipt_is(&serde_json::from_slice(&bytes).unwrap(), laid, outcome);
    }

    #[track_caller]
    fn has_document(&self, name: &str) {
        assert_eq!(fs::read(self.gateway.work().join(name)).expect("the client fetched the document"), PDF);
    }

    fn script(&self, interpreter: &str, package: &str, script: &str, laid: &[&Laid]) -> Ran {
        let mut command = Command::new(interpreter);
        command.arg(if interpreter == "node" { "-e" } else { "-c" }).arg(script);
        command.args([&self.port(), self.key().to_str().unwrap(), ACCOUNT, &self.document]);
        for laid in laid {
            command.args([&laid.folder, &laid.sha256]);
        }
        if interpreter == "node" {
            let root = Command::new("npm").args(["root", "-g"]).output().expect("npm (package npm)");
            command.env("NODE_PATH", String::from_utf8(root.stdout).unwrap().trim());
        }
        self.run(package, &mut command)
    }
}

/// The code that a set with a cover sheet that is no PDF is refused with.
const NO_PDF: &str = "SET-NOT-PDF";

#[test]
fn openssh_in_a_batch() {
    let world = World::new();
    let (sound, unsound) = (world.sound(1), world.unsound(2));
    let (folder, sha256, document) = (&sound.folder, &sound.sha256, &world.document);
    let batch = format!(
        "-mkdir /submit/{sha256}\nput -p {folder}/* /submit/{sha256}/\n\
         get /receipts/by-manifest/{sha256}.json receipt.json\n\
         ls -l /submit/{sha256}\nget -p /outbox/{OFFICE}/{document} document.pdf\nreget /outbox/{OFFICE}/{document} document.pdf\n"
    );
    world.gateway.sftp(ACCOUNT, &batch).ends(0);
    world.fetched("receipt.json", &sound, "accepted");
    world.has_document("document.pdf");
    world.is_published(&sound);

    let (folder, sha256) = (&unsound.folder, &unsound.sha256);
    let ran =
        world.gateway.sftp(ACCOUNT, &format!("-mkdir /submit/{sha256}\nput {folder}/* /submit/{sha256}/\n"));
    assert!(ran.err.contains(NO_PDF), "{ran:?}");
    ran.ends(1);
    world.is_refused(&unsound);
}

/// A whole folder at once, by temporary names, continued after a break, and with `fsync`: as people and scripts vary it.
#[test]
fn openssh_by_other_ways() {
    let world = World::new();
    let whole = world.sound(1);
    world.gateway.sftp(ACCOUNT, &format!("put -r -p {} /submit/\n", whole.folder)).ends(0);
    world.is_published(&whole);

    let parts = world.sound(2);
    let mut batch = String::new();
    for name in ["SHA256SUMS.sig", "KPFD0006.CSV", "SHA256SUMS", "soukatsu.pdf"] {
        batch += &format!(
            "put -f {}/{name} /submit/{name}.part\nrename /submit/{name}.part /submit/{name}\n",
            parts.folder
        );
    }
    world.gateway.sftp(ACCOUNT, &batch).ends(0);
    world.is_published(&parts);

    let broken = world.sound(300);
    let filing = &broken.set.files[0].1;
    world.gateway.make("half", &filing[..filing.len() / 2]);
    world.gateway.sftp(ACCOUNT, "put half /submit/KPFD0006.CSV\n").ends(0);
    let f = &broken.folder;
    let batch = format!("cd /submit\nreput {f}/KPFD0006.CSV\nput {f}/soukatsu.pdf\nput {f}/SHA256SUMS*\n");
    world.gateway.sftp(ACCOUNT, &batch).ends(0);
    world.is_published(&broken);

    let hurried = world.unsound(3);
    let batch = format!("put -r {} /submit/x\n", hurried.folder);
    let ran = world.gateway.sftp_with(ACCOUNT, ACCOUNT, &["-R", "64", "-q"], &batch);
    assert!(ran.err.contains(NO_PDF), "{ran:?}");
    world.is_refused(&hurried);
}

/// At a terminal, as a person types it.
#[test]
fn openssh_interactive() {
    let world = World::new();
    let (sound, unsound) = (world.sound(1), world.unsound(2));
    let mut typed = String::new();
    for laid in [&sound, &unsound] {
        let name = &laid.folder;
        typed += &format!("mkdir /submit/{name}\nlcd {name}\ncd /submit/{name}\n");
        typed += "put KPFD0006.CSV\nput -p soukatsu.pdf\nput SHA256SUMS\nls -l\nput SHA256SUMS.sig\nls -l\nlcd ..\n";
    }
    typed += &format!("get /receipts/by-manifest/{}.json receipt.json\n", sound.sha256);
    typed += &format!("cd /outbox/{OFFICE}\nls\nget {} document.pdf\nbye\n", world.document);
    world.gateway.make("typed", typed);
    let sftp = format!(
        "sftp -F none -o {} {ACCOUNT}@127.0.0.1",
        world.gateway.ssh_options(ACCOUNT).into_iter().filter(|o| o != "-o").collect::<Vec<_>>().join(" -o ")
    );
    let python = r"
import os, pty, sys, select, time
lines = open('typed').read().splitlines()
pid, terminal = pty.fork()
if pid == 0: os.execvp('sh', ['sh', '-c', 'exec ' + sys.argv[1]])
seen, answered = b'', 0
until = time.monotonic() + 120
while time.monotonic() < until:
    if select.select([terminal], [], [], 1)[0]:
        try: piece = os.read(terminal, 65536)
        except OSError: break
        if not piece: break
        seen += piece
    # One line for each prompt, as somebody who reads would.
    while seen.count(b'sftp> ') > answered and answered < len(lines):
        os.write(terminal, lines[answered].encode() + b'\n'); answered += 1
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    let ran = world.run("python3", Command::new("python3").args(["-c", python, &sftp])).ends(0);
    assert!(ran.out.contains(NO_PDF), "{}", ran.out);
    assert!(ran.out.contains(&world.document), "{}", ran.out);
    world.fetched("receipt.json", &sound, "accepted");
    world.has_document("document.pdf");
    world.is_published(&sound);
    world.is_refused(&unsound);
}

#[test]
fn psftp() {
    let world = World::new();
    let ppk = world.gateway.file("key.ppk");
    let mut puttygen = Command::new("puttygen");
    world.run("putty-tools", puttygen.arg(world.key()).args(["-O", "private", "-o"]).arg(&ppk)).ends(0);
    let host = world.gateway.file("host.pub");
    let known = fs::read_to_string(world.gateway.file("known_hosts")).unwrap();
    fs::write(&host, known.split_once(' ').unwrap().1).unwrap();
    let print = world.run("openssh-client", Command::new("ssh-keygen").arg("-lf").arg(&host)).ends(0).out;
    let psftp = |script: &str| {
        world.gateway.make("script", script);
        let mut psftp = Command::new("psftp");
        psftp
            .args(["-batch", "-hostkey", print.split(' ').nth(1).unwrap(), "-P", &world.port(), "-i"])
            .arg(&ppk);
        world.run("putty-tools", psftp.args(["-b", "script"]).arg(format!("{ACCOUNT}@127.0.0.1")))
    };
    let (sound, unsound) = (world.sound(1), world.unsound(2));
    let send = |laid: &Laid| {
        let (from, to) = (&laid.folder, &laid.sha256);
        format!(
            "lcd {from}\nmkdir /submit/{to}\ncd /submit/{to}\nmput KPFD0006.CSV soukatsu.pdf\nput SHA256SUMS\nput SHA256SUMS.sig\nlcd ..\n"
        )
    };
    let more = format!(
        "get /receipts/by-manifest/{}.json receipt.json\nls /outbox/{OFFICE}\nget /outbox/{OFFICE}/{} document.pdf\nquit\n",
        sound.sha256, world.document
    );
    let ran = psftp(&(send(&sound) + &more)).ends(0);
    assert!(ran.out.contains(&world.document), "{ran:?}");
    world.fetched("receipt.json", &sound, "accepted");
    world.has_document("document.pdf");
    world.is_published(&sound);

    let whole = world.sound(3);
    psftp(&format!("put -r {} /submit/whole\nquit\n", whole.folder)).ends(0);
    world.is_published(&whole);

    let ran = psftp(&(send(&unsound) + "quit\n"));
    assert!(ran.err.contains(NO_PDF) || ran.out.contains(NO_PDF), "{ran:?}");
    assert_ne!(ran.code, 0, "{ran:?}");
    world.is_refused(&unsound);
}

/// curl does not look at the answer to a close: for a verdict by exit status it must rename, or fetch the receipt.
#[test]
fn curl() {
    let world = World::new();
    let url = format!("sftp://127.0.0.1:{}", world.port());
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--user", &format!("{ACCOUNT}:"), "--key"]).arg(world.key());
        world.run("curl", curl.arg("--pubkey").arg(world.key().with_extension("pub")).args(more))
    };
    let (sound, plain, unsound) = (world.sound(1), world.sound(2), world.unsound(3));
    let send = |laid: &Laid| {
        let to = format!("{url}/submit/{}", laid.sha256);
        for name in ["KPFD0006.CSV", "soukatsu.pdf", "SHA256SUMS"] {
            curl(&["--ftp-create-dirs", "-T", &format!("{}/{name}", laid.folder), &format!("{to}/{name}")])
                .ends(0);
        }
        let at = format!("/submit/{}/SHA256SUMS.sig", laid.sha256);
        let rename = format!("-rename {at}.part {at}");
        curl(&[
            "-T",
            &format!("{}/SHA256SUMS.sig", laid.folder),
            "-Q",
            &rename,
            &format!("{to}/SHA256SUMS.sig.part"),
        ])
    };
    send(&sound).ends(0);
    curl(&["-f", "-o", "receipt.json", &format!("{url}/receipts/by-manifest/{}.json", sound.sha256)]).ends(0);
    world.fetched("receipt.json", &sound, "accepted");
    world.is_published(&sound);
    let refused = send(&unsound);
    assert_ne!(refused.code, 0, "{refused:?}");
    curl(&["-o", "refused.json", &format!("{url}/receipts/by-manifest/{}.json", unsound.sha256)]).ends(0);
    world.fetched("refused.json", &unsound, "refused");
    world.is_refused(&unsound);

    let files = format!("{}/{{KPFD0006.CSV,soukatsu.pdf,SHA256SUMS,SHA256SUMS.sig}}", plain.folder);
    curl(&["-T", &files, "--ftp-create-dirs", &format!("{url}/submit/plain/")]).ends(0);
    world.is_published(&plain);
    let listed = curl(&[&format!("{url}/outbox/{OFFICE}/")]).ends(0);
    assert!(listed.out.contains(&world.document), "{listed:?}");
    // curl wants names in URLs escaped.
    let escaped: String = world.document.bytes().map(|b| format!("%{b:02X}")).collect();
    curl(&["-o", "document.pdf", &format!("{url}/outbox/{OFFICE}/{escaped}")]).ends(0);
    world.has_document("document.pdf");
    let missing = curl(&["-o", "none", &format!("{url}/receipts/by-manifest/{}.json", "0".repeat(64))]);
    assert_eq!(missing.code, 78, "{missing:?}");
}

#[test]
fn lftp() {
    let world = World::new();
    let ssh = format!("ssh -F none {}", world.gateway.ssh_options(ACCOUNT).join(" "));
    let lftp = |script: &str| {
        let open = format!(
            "set sftp:connect-program \"{ssh} -a -x\"; set net:max-retries 1; set cmd:fail-exit yes; open -u {ACCOUNT},x sftp://127.0.0.1:{};",
            world.port()
        );
        world.run("lftp", Command::new("lftp").args(["--norc", "-c", &format!("{open} {script}")]))
    };
    let (sound, mirrored, named, unsound) =
        (world.sound(1), world.sound(2), world.sound(3), world.unsound(4));
    let put = |laid: &Laid| {
        let (from, to) = (&laid.folder, &laid.sha256);
        format!(
            "mkdir -p /submit/{to}; put -O /submit/{to} {from}/KPFD0006.CSV {from}/soukatsu.pdf {from}/SHA256SUMS; put -O /submit/{to} {from}/SHA256SUMS.sig;"
        )
    };
    let more = format!(
        "get /receipts/by-manifest/{}.json -o receipt.json; cls /outbox/{OFFICE}; get /outbox/{OFFICE}/{} -o document.pdf",
        sound.sha256, world.document
    );
    let ran = lftp(&(put(&sound) + &more)).ends(0);
    assert!(ran.out.contains(&world.document), "{ran:?}");
    world.fetched("receipt.json", &sound, "accepted");
    world.has_document("document.pdf");
    world.is_published(&sound);
    lftp(&format!("mirror -R -P 4 {} /submit/mirrored", mirrored.folder)).ends(0);
    world.is_published(&mirrored);
    lftp(&format!("set xfer:use-temp-file yes; {}", put(&named))).ends(0);
    world.is_published(&named);

    let refused = lftp(&put(&unsound));
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains(NO_PDF), "{refused:?}");
    world.is_refused(&unsound);
}

#[test]
fn rclone() {
    let world = World::new();
    let remote = format!(
        ":sftp,host=127.0.0.1,port={},user={ACCOUNT},key_file={}:",
        world.port(),
        world.key().display()
    );
    let rclone = |arguments: &[&str]| {
        let mut rclone = Command::new("rclone");
        world.run(
            "rclone",
            rclone
                .args(["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"])
                .args(arguments),
        )
    };
    let (sound, unsound) = (world.sound(1), world.unsound(2));
    rclone(&["copy", &sound.folder, &format!("{remote}/submit/{}", sound.sha256)]).ends(0);
    rclone(&["copyto", &format!("{remote}/receipts/by-manifest/{}.json", sound.sha256), "receipt.json"])
        .ends(0);
    world.fetched("receipt.json", &sound, "accepted");
    world.is_published(&sound);
    let refused = rclone(&["copy", &unsound.folder, &format!("{remote}/submit/{}", unsound.sha256)]);
    assert_ne!(refused.code, 0, "{refused:?}");
    world.is_refused(&unsound);

    let listed = rclone(&["lsf", &format!("{remote}/outbox/{OFFICE}")]).ends(0);
    assert_eq!(listed.out.trim(), world.document);
    rclone(&["copy", &format!("{remote}/outbox"), "outbox"]).ends(0);
    world.has_document(&format!("outbox/{OFFICE}/{}", world.document));
    rclone(&["check", "--download", &format!("{remote}/outbox"), "outbox"]).ends(0);
}

#[test]
fn sshfs() {
    let world = World::new();
    let mount = world.gateway.file("mount");
    fs::create_dir(&mount).unwrap();
    let mut sshfs = Command::new("sshfs");
    sshfs.arg(format!("{ACCOUNT}@127.0.0.1:/")).arg(&mount).args(world.gateway.ssh_options(ACCOUNT));
    world.run("sshfs", &mut sshfs).ends(0);
    let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let shell = |script: &str, laid: &Laid| {
            let mut sh = Command::new("sh");
            sh.args(["-ec", script, "sh", &laid.folder, &laid.sha256]).arg(&mount);
            world.run("coreutils", &mut sh)
        };
        // cp hears nothing of a close (FUSE does not tell): the receipt says it, a rename says it too.
        let (sound, named, unsound) = (world.sound(1), world.sound(2), world.unsound(3));
        shell("mkdir $3/submit/$2; cp -p $1/KPFD0006.CSV $1/soukatsu.pdf $1/SHA256SUMS $1/SHA256SUMS.sig $3/submit/$2/", &sound).ends(0);
        let receipt = mount.join(format!("receipts/by-manifest/{}.json", sound.sha256));
        until("the receipt is there", || {
            fs::copy(&receipt, world.gateway.work().join("receipt.json")).is_ok()
        });
        world.fetched("receipt.json", &sound, "accepted");
        world.is_published(&sound);
        let by_rename = "mkdir $3/submit/$2; cd $1; for f in *; do cp $f $3/submit/$2/$f.part; mv $3/submit/$2/$f.part $3/submit/$2/$f; done";
        shell(by_rename, &named).ends(0);
        world.is_published(&named);
        let refused = shell(by_rename, &unsound);
        assert_ne!(refused.code, 0, "{refused:?}");
        world.is_refused(&unsound);
        let documents: Vec<_> =
            fs::read_dir(mount.join("outbox").join(OFFICE)).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(documents.len(), 1);
        assert_eq!(fs::read(&documents[0]).unwrap(), PDF);
        assert!(fs::write(mount.join("outbox").join(OFFICE).join("x"), "x").is_err());
        assert!(symlink("a", mount.join("submit/link")).is_err());
    }));
    world.run("fuse3", Command::new("fusermount3").arg("-uz").arg(&mount)).ends(0);
    worked.unwrap();
}

#[test]
fn paramiko() {
    let world = World::new();
    let (sound, handle, unsound) = (world.sound(1), world.sound(2), world.unsound(3));
    let ran = world.script(
        "python3",
        "python3-paramiko",
        r"
import os, sys, json, paramiko
port, key, user, document = int(sys.argv[1]), *sys.argv[2:5]
sets = list(zip(sys.argv[5::2], sys.argv[6::2]))
ssh = paramiko.SSHClient()
ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
ssh.connect('127.0.0.1', port, user, key_filename=key, allow_agent=False, look_for_keys=False)
sftp = ssh.open_sftp()
def receipt(name):
    sftp.get(f'/receipts/by-manifest/{name}.json', 'receipt.json')
    return json.load(open('receipt.json'))['outcome']
names = ['KPFD0006.CSV', 'soukatsu.pdf', 'SHA256SUMS', 'SHA256SUMS.sig']
folder, name = sets[0]                     # put() asks for the size after each, and must find it
sftp.mkdir(f'/submit/{name}')
for n in names:
    a = sftp.put(f'{folder}/{n}', f'/submit/{name}/{n}')
    assert a.st_size == os.path.getsize(f'{folder}/{n}')
    sftp.utime(f'/submit/{name}/{n}', None); sftp.chmod(f'/submit/{name}/{n}', 0o600)
assert sftp.listdir(f'/submit/{name}') == []
assert receipt(name) == 'accepted'
folder, name = sets[1]                     # by handle and rename, through a second channel
other = ssh.open_sftp()
for n in names:
    with other.open(f'/submit/{n}.tmp', 'wb') as f: f.set_pipelined(True); f.write(open(f'{folder}/{n}', 'rb').read())
    other.posix_rename(f'/submit/{n}.tmp', f'/submit/{n}')
assert receipt(name) == 'accepted'
folder, name = sets[2]
sftp.mkdir(f'/submit/{name}')
for n in names[:3]: sftp.put(f'{folder}/{n}', f'/submit/{name}/{n}')
try: sftp.put(f'{folder}/SHA256SUMS.sig', f'/submit/{name}/SHA256SUMS.sig'); raise SystemExit('taken')
except FileNotFoundError: pass             # it does not look at the answer to a close, but it looks for the file
assert receipt(name) == 'refused'
assert sftp.listdir('/outbox/1234') == [document]
sftp.get(f'/outbox/1234/{document}', 'document.pdf')
try: sftp.open(f'/submit/{name}/x', 'r'); raise SystemExit('read')
except PermissionError: pass
ssh.close()
",
        &[&sound, &handle, &unsound],
    );
    ran.ends(0);
    world.has_document("document.pdf");
    world.is_published(&sound);
    world.is_published(&handle);
    world.is_refused(&unsound);
}

#[test]
fn asyncssh() {
    let world = World::new();
    let laid: Vec<Laid> = (1..=5).map(|n| world.sound(n)).chain([world.unsound(6)]).collect();
    let ran = world.script(
        "python3",
        "asyncssh",
        r"
import sys, asyncio, asyncssh, json
port, key, user, document = int(sys.argv[1]), *sys.argv[2:5]
sets = list(zip(sys.argv[5::2], sys.argv[6::2]))
async def receipt(sftp, name):
    async with sftp.open(f'/receipts/by-manifest/{name}.json', 'rb') as f: return json.loads(await f.read())['outcome']
async def main():
    async with asyncssh.connect('127.0.0.1', port, username=user, client_keys=[key], known_hosts=None, config=None) as c:
        async with c.start_sftp_client() as sftp:
            # Whole folders at once, side by side: the files of a set arrive in any order.
            await asyncio.gather(*(sftp.put(folder, f'/submit/{name}', recurse=True, preserve=True) for folder, name in sets[:-1]))
            for _, name in sets[:-1]: assert await receipt(sftp, name) == 'accepted', name
            folder, name = sets[-1]
            await sftp.mkdir(f'/submit/{name}')
            try: await sftp.mput(f'{folder}/*', f'/submit/{name}'); raise SystemExit('taken')
            except asyncssh.SFTPFailure as e: assert 'SET-NOT-PDF' in e.reason, e.reason
            assert await receipt(sftp, name) == 'refused'
            assert await sftp.glob('/outbox/1234/*') == [f'/outbox/1234/{document}']
            await sftp.get(f'/outbox/1234/{document}', 'document.pdf', preserve=True)
asyncio.run(main())
",
        &laid.iter().collect::<Vec<_>>(),
    );
    ran.ends(0);
    world.has_document("document.pdf");
    for laid in &laid[..5] {
        world.is_published(laid);
    }
    world.is_refused(&laid[5]);
}

#[test]
fn node_ssh2() {
    let world = World::new();
    let (sound, unsound) = (world.sound(1), world.unsound(2));
    let ran = world.script(
        "node",
        "npm install -g ssh2",
        r"
const { Client } = require('ssh2'); const fs = require('fs');
const [port, key, user, paper, folder, name, folder2, name2] = process.argv.slice(1);
const c = new Client();
const p = (s, m, ...a) => new Promise((ok, no) => s[m](...a, (e, v) => e ? no(e) : ok(v)));
const must = (so, what) => { if (!so) throw new Error(what); };
c.on('error', e => { console.error(e); process.exit(1); });
c.on('ready', async () => {
  try {
    const s = await p(c, 'sftp');
    const receipt = async n => JSON.parse(await p(s, 'readFile', `/receipts/by-manifest/${n}.json`)).outcome;
    const names = ['KPFD0006.CSV', 'soukatsu.pdf', 'SHA256SUMS'];
    await p(s, 'mkdir', `/submit/${name}`);
    for (const n of names) await p(s, 'fastPut', `${folder}/${n}`, `/submit/${name}/${n}`, { mode: 0o640 });
    await p(s, 'fastPut', `${folder}/SHA256SUMS.sig`, `/submit/${name}/SHA256SUMS.sig`);
    await p(s, 'utimes', `/submit/${name}/SHA256SUMS.sig`, 1, 1);
    must(await receipt(name) === 'accepted', 'not accepted');
    await p(s, 'mkdir', `/submit/${name2}`);
    for (const n of names) await p(s, 'writeFile', `/submit/${name2}/${n}`, fs.readFileSync(`${folder2}/${n}`));
    let said; try { await p(s, 'fastPut', `${folder2}/SHA256SUMS.sig`, `/submit/${name2}/SHA256SUMS.sig`); } catch (e) { said = e; }
    must(said && said.message.includes('SET-NOT-PDF'), `refusal: ${said}`);
    must(await receipt(name2) === 'refused', 'not refused');
    const listed = (await p(s, 'readdir', '/outbox/1234')).map(e => e.filename);
    must(listed.join() === paper, listed.join());
    await p(s, 'fastGet', `/outbox/1234/${paper}`, 'document.pdf');
    c.end();
  } catch (e) { console.error(e); process.exit(1); }
}).connect({ host: '127.0.0.1', port: +port, username: user, privateKey: fs.readFileSync(key) });
",
        &[&sound, &unsound],
    );
    ran.ends(0);
    world.has_document("document.pdf");
    world.is_published(&sound);
    world.is_refused(&unsound);
}

/// Looks into new/, takes one submission in, fails with another, leaves documents, reads what became of them.
#[test]
fn an_insurers_day() {
    let gateway = Gateway::with(&[("delivery", "settle_seconds", "0")]);
    let numbers: Vec<String> = (1..=2)
        .map(|n| {
            let receipt = gateway.send_taken(ACCOUNT, &gateway.set(n));
            let number = receipt["number"].as_str().unwrap().to_owned();
            gateway.reaches(&number, "published");
            number
        })
        .collect();
    let (good, bad) = (&numbers[0], &numbers[1]);
    let insurer = |batch: &str| gateway.sftp(INSURER_ACCOUNT, batch);
    let ran = insurer("ls -1 /new\nls -l /\n").ends(0);
    assert!(numbers.iter().all(|number| ran.out.contains(number)), "{ran:?}");
    for name in ["new", "cur", "done", "failed", "outgoing", "reports"] {
        assert!(ran.out.contains(name), "{ran:?}");
    }
    assert!(!ran.out.contains(".tmp") && !ran.out.contains(".taking"), "{ran:?}");

    insurer(&format!("rename /new/{good} /cur/{good}\nget -r /cur/{good} taken\n")).ends(0);
    let sums = Command::new("sha256sum")
        .args(["--quiet", "-c", "FILES.sha256"])
        .current_dir(gateway.work().join("taken"))
        .status();
    assert!(sums.expect("sha256sum (package coreutils)").success());
    gateway.reaches(good, "collected");
    insurer(&format!("rename /cur/{good} /done/{good}\n")).ends(0);
    gateway.reaches(good, "imported");

    gateway.make("reason", "3 行目: no such office");
    insurer(&format!(
        "rename /new/{bad} /cur/{bad}\nrename /cur/{bad} /failed/{bad}\nput reason /failed/{bad}.reason\n"
    ))
    .ends(0);
    gateway.reaches(bad, "import_failed");
    let shown = gateway.todoke(&["submission", "show", bad]).ends(0);
    assert!(shown.out.contains("no such office"), "{shown:?}");

    gateway.make("job/notice.pdf", PDF);
    gateway.make("job/lost.pdf", PDF);
    let sheet = format!(
        "account,office,in_reply_to,file,type,title\n,,{good},notice.pdf,決定通知書,資格取得\nK0009,,,lost.pdf,納入告知書,11月分\n"
    );
    gateway.make("job/delivery.csv", sheet);
    let batch = "mkdir /outgoing/2026-11\nput job/notice.pdf /outgoing/2026-11/\nput job/lost.pdf /outgoing/2026-11/\n\
         put job/delivery.csv /outgoing/2026-11/delivery.csv.tmp\nrename /outgoing/2026-11/delivery.csv.tmp /outgoing/2026-11/delivery.csv\n";
    insurer(batch).ends(0);
    until("the delivery is reported", || {
        insurer("ls -1 /reports\n").ends(0).out.contains("delivery-2026-11")
    });
    insurer("get /reports/* .\n").ends(0);
    let report = fs::read_dir(gateway.work()).unwrap().map(|e| e.unwrap().path());
    let report = report
        .into_iter()
        .find(|p| p.file_name().unwrap().to_string_lossy().starts_with("delivery-2026-11"))
        .unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("2,placed,D1-") && report.contains("K0009"), "{report}");
    assert!(fs::read_to_string(gateway.work().join("accounts.csv")).unwrap().contains(ACCOUNT));
    let office = gateway.sftp(ACCOUNT, &format!("ls -1 /outbox/{OFFICE}\nls -1 /receipts\n")).ends(0).out;
    assert_eq!(office.matches("決定通知書").count(), 1, "{office}");
    assert!(office.contains(&format!("{good}.collected.json")), "{office}");

    for refused in [
        format!("rename /done/{good} /new/{good}\n"),
        format!("rm /done/{good}/KPFD0006.CSV\n"),
        format!("put reason /done/{good}/x\n"),
        "ls /.tmp\n".to_owned(),
        "get /../../journal x\n".to_owned(),
    ] {
        insurer(&refused).ends(1);
    }
}
