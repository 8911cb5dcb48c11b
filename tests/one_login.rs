//! One login at a time (K14) as DESIGN.md section 3 has it, with the several connections of real clients: those of one key from
//! one address are one login, and whoever comes from elsewhere meanwhile is told since when and from where it runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chrono::{DateTime, FixedOffset, TimeDelta};
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, Ran, Set, until};
use support::passwords::{answering, choose, with_passwords};

const PASSWORD: &str = "mine-1234";
/// Bytes of the large document.
const LARGE: usize = 8 << 20;

/// A gateway at work, and how its person account logs in.
struct World {
    gateway: Gateway,
    /// Asked for beside the key.
    password: Option<&'static str>,
    /// The name of a large document in the outbox.
    document: String,
    large: Vec<u8>,
}

impl World {
    fn new(password: Option<&'static str>) -> Self {
        let mut gateway = if password.is_some() { with_passwords("", &[]) } else { Gateway::set_up(&[]) };
        gateway.start();
        if let Some(password) = password {
            choose(&gateway, ACCOUNT, password);
        }
        let mut large = b"%PDF-1.4\n".to_vec();
        large.extend((large.len()..LARGE - 6).map(|n| b"0123456789abcdef\n"[n % 17]));
        large.extend(b"%%EOF\n");
        fs::write(gateway.file("large.pdf"), &large).unwrap();
        let words = ["--insurer", INSURER, "--account", ACCOUNT, "--type", "納入告知書", "--title", "11月分"];
        gateway.todoke(&[&["deliver"], &words[..], &["large.pdf"]].concat()).ends(0);
        let mut world = Self { gateway, password, document: String::new(), large };
        let listed = world.sftp(&[], &format!("ls -1 /outbox/{OFFICE}\n")).ends(0).out;
        listed.lines().last().unwrap().rsplit('/').next().unwrap().clone_into(&mut world.document);
        world
    }

    /// Stock `sftp`, by whatever the account logs in with.
    fn sftp(&self, more: &[&str], batch: &str) -> Ran {
        match self.password {
            Some(password) => answering(&self.gateway, ACCOUNT, ACCOUNT, more, batch, &[password]),
            None => self.gateway.sftp_with(ACCOUNT, ACCOUNT, more, batch),
        }
    }

    /// Connections of the account now: when each began, and from where.
    fn connections(&self) -> Vec<(DateTime<FixedOffset>, String)> {
        let status = self.gateway.ask(&["status"]);
        let sessions = status["sessions"].as_array().unwrap().iter();
        let of = sessions.filter(|session| session["account"] == ACCOUNT);
        of.map(|session| {
            let since = session["since"].as_str().unwrap();
            let from = session["from"].as_str().unwrap().rsplit_once(':').unwrap().0;
            (DateTime::parse_from_rfc3339(since).unwrap(), from.to_owned())
        })
        .collect()
    }

    /// Waits until the client has at least so many connections at once; all of them are one login, and from elsewhere nobody
    /// comes in.
    #[track_caller]
    fn is_one_login_of(&self, least: usize) {
        until("the client has several connections", || self.connections().len() >= least);
        let there = self.connections();
        assert!(there.iter().all(|(_, from)| from == "127.0.0.1"), "{there:?}");
        let elsewhere = self.sftp(&["-o", "BindAddress=127.0.0.2"], "ls /\n");
        assert_ne!(elsewhere.code, 0, "{elsewhere:?}");
        self.says_who_is_there(&elsewhere.err, there.iter().map(|(since, _)| *since).min().unwrap());
    }

    /// The refusal says since when and from where the login runs that began then.
    #[track_caller]
    #[allow(clippy::unused_self, reason = "reads as what the world says")]
    fn says_who_is_there(&self, said: &str, began: DateTime<FixedOffset>) {
        let minutes = (0..3).map(|later| {
            let at = (began + TimeDelta::seconds(30 * later)).with_timezone(&chrono_tz::Asia::Tokyo);
            format!("このアカウントは {} から 127.0.0.1 で使用中です", at.format("%m/%d %H:%M"))
        });
        assert!(
            said.contains("LOGIN-ELSEWHERE ") && minutes.into_iter().any(|m| said.contains(&m)),
            "{said}"
        );
    }

    /// The login is over: the account can be used from another address.
    fn is_free(&self) {
        until("no connection is left", || self.connections().is_empty());
        // Its place is free a moment after that.
        until("it may come from elsewhere", || {
            self.sftp(&["-o", "BindAddress=127.0.0.2"], "ls /\n").code == 0
        });
        until("that one is gone as well", || self.connections().is_empty());
    }

    /// What was sent is accepted and in the insurer's folder.
    fn is_published(&self, set: &Set) {
        let path = format!("/receipts/by-manifest/{}.json", set.sha256());
        self.sftp(&[], &format!("get {path} receipt.json\n")).ends(0);
        let bytes = fs::read(self.gateway.work().join("receipt.json")).unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
        self.gateway.reaches(receipt["number"].as_str().unwrap(), "published");
    }

    /// A client where clients work.
    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.gateway.work()).env("HOME", self.gateway.work()).stdin(Stdio::null());
        command
    }

    fn port(&self) -> String {
        self.gateway.address.port().to_string()
    }

    fn key(&self) -> PathBuf {
        self.gateway.key(ACCOUNT)
    }

    /// Runs a client to its end, which must be a good one.
    #[track_caller]
    #[allow(clippy::unused_self, reason = "reads as what the world does")]
    fn runs(&self, package: &str, command: &mut Command) -> Ran {
        let output =
            command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (package {package})"));
        Ran::of(&output).ends(0)
    }

    /// A client that is held up, so that its connections can be counted; ended then.
    #[track_caller]
    fn held_up(&self, package: &str, command: &mut Command, least: usize) {
        let log = self.gateway.file("client.log");
        command.stdout(File::create(&log).unwrap()).stderr(File::options().append(true).open(&log).unwrap());
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error} (package {package})"));
        let mut held = Held(child);
        until("the client has several connections", || {
            let ended = held.0.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&log).unwrap());
            self.connections().len() >= least
        });
        self.is_one_login_of(least);
        assert!(held.0.try_wait().unwrap().is_none(), "{}", fs::read_to_string(&log).unwrap());
    }

    /// A script that says `open` when it has connected as often as it wants, and goes on when it is told to.
    fn script(&self, interpreter: &str, script: &str, more: &[&str]) -> Script {
        let mut command = self.client(interpreter);
        command.arg(if interpreter == "node" { "-e" } else { "-c" }).arg(script);
        command.args([
            &self.port(),
            self.key().to_str().unwrap(),
            ACCOUNT,
            self.password.unwrap_or_default(),
        ]);
        command.args(more);
        if interpreter == "node" {
            let root = Command::new("npm").args(["root", "-g"]).output().expect("npm (package npm)");
            command.env("NODE_PATH", String::from_utf8(root.stdout).unwrap().trim());
        }
        let log = self.gateway.file("script.log");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().expect(interpreter);
        let (tell, said) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Script { held: Held(child), tell, said, log }
    }
}

/// A client; killed when it is done with.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Script {
    held: Held,
    tell: ChildStdin,
    said: BufReader<ChildStdout>,
    log: PathBuf,
}

impl Script {
    /// Waits for its next line.
    #[track_caller]
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "it ended: {}", fs::read_to_string(&self.log).unwrap());
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.tell.write_all(b"go\n").unwrap();
    }

    /// Goes on to its end, which must be a good one.
    #[track_caller]
    fn ends(mut self) {
        self.go_on();
        let status = self.held.0.wait().unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(&self.log).unwrap());
    }
}

/// The engine's own SFTP program, spoken to as `FileZilla` speaks to it: a line for each command, events led by a character, and
/// bytes of files through shared memory.
const FILEZILLA: &str = r#"
import mmap, os, signal, subprocess, sys
signal.alarm(600)
port, _, user, password, ppk, mode, folder, name, document = sys.argv[1:]

class Engine:
    SIZE = 1 << 18

    def __init__(self):
        self.fd = os.memfd_create('buffers'); os.ftruncate(self.fd, self.SIZE)
        self.memory = mmap.mmap(self.fd, self.SIZE)
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(['fzsftp', '-v'], pass_fds=[self.fd], **pipes)
        assert self.line().startswith('0fzSftp started'), 'another version'
        self.do(f'keyfile "{ppk}"')

    def say(self, line): self.process.stdin.write(line.encode() + b'\n'); self.process.stdin.flush()

    def line(self):
        while True:
            kind = self.process.stdout.read(1)
            if not kind: raise SystemExit('fzsftp ended')
            # How much may be received and sent, asked without an end of line: no limit.
            if kind == b'@': self.say('-0-')
            elif kind == b'A': self.say('-1-')
            else: return kind.decode() + self.rest()

    def rest(self): return self.process.stdout.readline().decode().rstrip('\n')

    def do(self, command, file=None):
        self.say(command)
        listed, errors = [], []
        while True:
            line = self.line(); kind, text = line[:1], line[1:]
            if kind == '0': return listed
            if kind == '1':
                if text != '1': raise IOError(f'{command}: {errors}')
                return listed
            if kind == '2':
                errors.append(text)
                if text.startswith('FATAL'):
                    # The rest of what the server said goes on in further lines, to the end.
                    rest = self.process.stdout.read().decode(errors='replace')
                    raise PermissionError(' '.join(errors) + ' ' + rest)
            elif kind == '8': self.rest(); listed.append(self.rest())
            elif kind == '9': self.rest(); self.say('y')       # the host key is new
            elif kind == '<': self.say(password)
            elif kind == 'K': self.say(f'-{self.fd} {self.SIZE}')
            elif kind == 'L' and command.startswith('put'):
                data = file.read(self.SIZE); self.memory[:len(data)] = data
                self.say(f'-0 {len(data)}' if data else '-0')
            elif kind == 'L': file.write(self.memory[:int(text)]); self.say(f'-0 {self.SIZE}')
            elif kind == 'M': file.write(self.memory[:int(text)]); self.say('-1')

    def open(self): self.do(f'open "{user}@127.0.0.1" {port}'); return self
    def put(self, file, to):
        with open(file, 'rb') as f: self.do(f'put "{os.path.abspath(file)}" "{to}"', f)
    def get(self, file, to):
        with open(to, 'wb') as f: self.do(f'get "{file}" "{os.path.abspath(to)}"', f)

if mode == 'refused':
    try: Engine().open()
    except PermissionError as e: print(ascii(str(e)), flush=True); sys.exit(0)
    sys.exit('it came in')
browser, first, second = (Engine().open() for _ in range(3))
assert 'submit' in browser.do('ls')
print('open', flush=True); sys.stdin.readline()
browser.do(f'mkdir "/submit/{name}"')
first.put(f'{folder}/KPFD0006.CSV', f'/submit/{name}/KPFD0006.CSV')
second.put(f'{folder}/soukatsu.pdf', f'/submit/{name}/soukatsu.pdf')
first.put(f'{folder}/SHA256SUMS', f'/submit/{name}/SHA256SUMS')
second.put(f'{folder}/SHA256SUMS.sig', f'/submit/{name}/SHA256SUMS.sig')
first.get(f'/outbox/1234/{document}', 'filezilla.pdf')
browser.get(f'/receipts/by-manifest/{name}.json', 'filezilla.json')
assert f'{document}' in browser.do('ls "/outbox/1234"')
for engine in (browser, first, second): engine.say('quit')
"#;

/// One connection to look around and two that transfer, as it does with a queue; then one that is told why it may not come in.
fn filezilla(password: Option<&'static str>) {
    let world = World::new(password);
    let ppk = world.gateway.file("key.ppk");
    let mut puttygen = world.client("puttygen");
    world.runs("putty-tools", puttygen.arg(world.key()).args(["-O", "private", "-o"]).arg(&ppk));
    let ppk = ppk.to_str().unwrap();
    let set = world.gateway.set(3);
    let (folder, name) = (world.gateway.lay_out(&set, ACCOUNT), set.sha256());
    let more = |mode| [ppk, mode, &folder, &name, &world.document];
    let mut script = world.script("python3", FILEZILLA, &more("transfers"));
    assert_eq!(script.says(), "open");
    assert_eq!(world.connections().len(), 3);
    world.is_one_login_of(3);
    script.ends();
    assert_eq!(fs::read(world.gateway.work().join("filezilla.pdf")).unwrap(), world.large);
    assert!(world.gateway.work().join("filezilla.json").exists());
    world.is_published(&set);
    world.is_free();

    // Somebody is there already. It shows nothing of standard error: the words of a disconnect are what tells its user.
    let mut there = world.script("python3", FROM_ELSEWHERE, &[]);
    assert_eq!(there.says(), "open");
    let mut script = world.script("python3", FILEZILLA, &more("refused"));
    let said = script.says();
    assert!(said.contains("LOGIN-ELSEWHERE") && said.contains("127.0.0.2"), "{said}");
    script.ends();
    there.ends();
}

/// A connection from another address, which stays.
const FROM_ELSEWHERE: &str = r"
import paramiko, socket, sys
port, key, user, password = sys.argv[1:5]
t = (paramiko.ServiceRequestingTransport if password else paramiko.Transport)(socket.create_connection(('127.0.0.1', int(port)), source_address=('127.0.0.2', 0)))
t.start_client()
t.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file(key))
if password: t.auth_password(user, password, fallback=False)
paramiko.SFTPClient.from_transport(t).listdir('/')
print('open', flush=True); sys.stdin.readline()
t.close()
";

#[test]
fn filezilla_by_key() {
    filezilla(None);
}

#[test]
fn filezilla_by_key_and_password() {
    filezilla(Some(PASSWORD));
}

/// `--transfers 4 --checkers 8`: as many connections as it likes, first held up, then at full speed.
fn rclone(password: Option<&'static str>) {
    let world = World::new(password);
    let mut remote = format!(
        ":sftp,host=127.0.0.1,port={},user={ACCOUNT},key_file={}",
        world.port(),
        world.key().display()
    );
    if let Some(password) = password {
        let hidden = world.runs("rclone", world.client("rclone").args(["obscure", password])).out;
        remote += &format!(",pass={}", hidden.trim());
    }
    let rclone = |words: &[&str]| {
        let mut rclone = world.client("rclone");
        rclone
            .args(["--config", "/dev/null", "--transfers", "4", "--checkers", "8", "--retries", "1"])
            .args(words);
        rclone
    };
    for n in 0..8 {
        world.gateway.make(&format!("bulk/{n}"), vec![b'x'; 4 << 20]);
    }
    let bulk = format!("{remote}:/submit/bulk");
    // So slow, it has three of its four at work at a time.
    world.held_up("rclone", &mut rclone(&["--bwlimit", "64k", "copy", "bulk", &bulk]), 3);
    world.is_free();

    let set = world.gateway.set(3);
    let folder = world.gateway.lay_out(&set, ACCOUNT);
    let to = format!("{remote}:/submit/{}", set.sha256());
    world.runs("rclone", &mut rclone(&["copy", &folder, &to]));
    world.runs("rclone", &mut rclone(&["copy", &format!("{remote}:/outbox"), "fetched"]));
    let fetched = world.gateway.work().join("fetched").join(OFFICE).join(&world.document);
    assert_eq!(fs::read(fetched).unwrap(), world.large);
    world.is_published(&set);
    world.is_free();
}

#[test]
fn rclone_by_key() {
    rclone(None);
}

#[test]
fn rclone_by_key_and_password() {
    rclone(Some(PASSWORD));
}

/// `mirror --parallel` and `pget -n 4`: several connections for one upload, and for one file.
fn lftp(password: Option<&'static str>) {
    let world = World::new(password);
    // Without BatchMode: lftp answers what ssh asks.
    let options = world.gateway.ssh_options(ACCOUNT).join(" ").replace("BatchMode=yes", "BatchMode=no");
    let open = format!(
        "set sftp:connect-program \"ssh -F none {options} -a -x\"; set net:max-retries 1; set cmd:fail-exit yes; set pget:min-chunk-size 1M; \
         open -u {ACCOUNT},{} sftp://127.0.0.1:{};",
        password.unwrap_or("x"),
        world.port()
    );
    let lftp = |script: &str| {
        let mut lftp = world.client("lftp");
        lftp.args(["--norc", "-c", &format!("{open} {script}")]);
        lftp
    };
    for n in 0..8 {
        world.gateway.make(&format!("bulk/{n}"), vec![b'x'; 4 << 20]);
    }
    let slow = "set net:limit-total-rate 64K; set net:limit-rate 16K;";
    let mirror = format!("{slow} mirror -R --parallel=4 bulk /submit/bulk");
    world.held_up("lftp", &mut lftp(&mirror), 4);
    world.is_free();
    let pget = format!("pget -n 4 /outbox/{OFFICE}/{} -o", world.document);
    world.held_up("lftp", &mut lftp(&format!("{slow} {pget} slow.pdf")), 4);
    world.is_free();

    let set = world.gateway.set(3);
    let folder = world.gateway.lay_out(&set, ACCOUNT);
    world.runs("lftp", &mut lftp(&format!("mirror -R --parallel=4 {folder} /submit/{}", set.sha256())));
    world.runs("lftp", &mut lftp(&format!("{pget} fast.pdf")));
    assert_eq!(fs::read(world.gateway.work().join("fast.pdf")).unwrap(), world.large);
    world.is_published(&set);
    world.is_free();
}

#[test]
fn lftp_by_key() {
    lftp(None);
}

#[test]
fn lftp_by_key_and_password() {
    lftp(Some(PASSWORD));
}

/// As WinSCP does it: a second connection for transfers in the background, opened beside the first, each with factors of its own.
/// One of the login's connections goes before the others, and the login stays.
fn in_the_background(interpreter: &str, script: &str, password: Option<&'static str>) {
    let world = World::new(password);
    let set = world.gateway.set(3);
    let (folder, name) = (world.gateway.lay_out(&set, ACCOUNT), set.sha256());
    let mut script = world.script(interpreter, script, &[&folder, &name, &world.document]);
    assert_eq!(script.says(), "open");
    assert_eq!(world.connections().len(), 3);
    world.is_one_login_of(3);
    script.go_on();
    assert_eq!(script.says(), "one less");
    until("one connection is gone", || world.connections().len() == 2);
    world.is_one_login_of(2);
    script.ends();
    assert_eq!(fs::read(world.gateway.work().join("background.pdf")).unwrap(), world.large);
    world.is_published(&set);
    world.is_free();
}

const PARAMIKO: &str = r"
import os, paramiko, sys, threading
port, key, user, password, folder, name, document = sys.argv[1:]
def connect():
    ssh = paramiko.SSHClient()
    ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    # The other transport asks for the service again before each factor, which the server does not answer.
    by = paramiko.ServiceRequestingTransport if password else paramiko.Transport
    ssh.connect('127.0.0.1', int(port), user, key_filename=key, password=password or None, allow_agent=False, look_for_keys=False,
        transport_factory=by)
    return ssh, ssh.open_sftp()
(a, browser), (b, first), (c, second) = connect(), connect(), connect()
assert 'submit' in browser.listdir('/')
print('open', flush=True); sys.stdin.readline()
c.close()
print('one less', flush=True); sys.stdin.readline()
def background():
    first.mkdir(f'/submit/{name}')
    for n in ['KPFD0006.CSV', 'soukatsu.pdf', 'SHA256SUMS', 'SHA256SUMS.sig']: first.put(f'{folder}/{n}', f'/submit/{name}/{n}')
work = threading.Thread(target=background); work.start()
browser.get(f'/outbox/1234/{document}', 'background.pdf')
work.join()
with browser.open(f'/receipts/by-manifest/{name}.json') as f: assert b'accepted' in f.read()
a.close(); b.close()
";

const ASYNCSSH: &str = r"
import asyncio, asyncssh, sys
port, key, user, password, folder, name, document = sys.argv[1:]
async def main():
    def connect():
        return asyncssh.connect('127.0.0.1', int(port), username=user, client_keys=[key], password=password or None, known_hosts=None, config=None)
    a, b, c = await asyncio.gather(connect(), connect(), connect())
    browser, first, second = [await each.start_sftp_client() for each in (a, b, c)]
    assert 'submit' in await browser.listdir('/')
    wait = lambda: asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print('open', flush=True); await wait()
    c.close(); await c.wait_closed()
    print('one less', flush=True); await wait()
    await asyncio.gather(first.put(folder, f'/submit/{name}', recurse=True), browser.get(f'/outbox/1234/{document}', 'background.pdf'))
    async with browser.open(f'/receipts/by-manifest/{name}.json', 'rb') as f: assert b'accepted' in await f.read()
    a.close(); b.close()
asyncio.run(main())
";

const SSH2: &str = r"
const { Client } = require('ssh2'); const fs = require('fs');
const [port, key, user, password, folder, name, paper] = process.argv.slice(1);
const p = (s, m, ...a) => new Promise((ok, no) => s[m](...a, (e, v) => e ? no(e) : ok(v)));
const connect = () => new Promise((ok, no) => {
  const c = new Client();
  c.on('error', no).on('ready', () => p(c, 'sftp').then(s => ok([c, s]), no));
  c.connect({ host: '127.0.0.1', port: +port, username: user, privateKey: fs.readFileSync(key), password: password || undefined, readyTimeout: 120000,
    authHandler: password ? ['publickey', 'password'] : ['publickey'] });
});
const lines = require('readline').createInterface({ input: process.stdin })[Symbol.asyncIterator]();
(async () => {
  const [[a, browser], [b, first], [c, second]] = await Promise.all([connect(), connect(), connect()]);
  if (!(await p(browser, 'readdir', '/')).some(e => e.filename === 'submit')) throw new Error('no submit');
  console.log('open'); await lines.next();
  c.end();
  console.log('one less'); await lines.next();
  await p(first, 'mkdir', `/submit/${name}`);
  await Promise.all([p(browser, 'fastGet', `/outbox/1234/${paper}`, 'background.pdf'), (async () => {
    for (const n of ['KPFD0006.CSV', 'soukatsu.pdf', 'SHA256SUMS', 'SHA256SUMS.sig']) await p(first, 'fastPut', `${folder}/${n}`, `/submit/${name}/${n}`);
  })()]);
  if (!String(await p(browser, 'readFile', `/receipts/by-manifest/${name}.json`)).includes('accepted')) throw new Error('not accepted');
  a.end(); b.end(); process.exit(0);
})().catch(e => { console.error(e); process.exit(1); });
";

#[test]
fn paramiko_in_the_background() {
    in_the_background("python3", PARAMIKO, None);
    in_the_background("python3", PARAMIKO, Some(PASSWORD));
}

#[test]
fn asyncssh_in_the_background() {
    in_the_background("python3", ASYNCSSH, None);
    in_the_background("python3", ASYNCSSH, Some(PASSWORD));
}

#[test]
fn ssh2_in_the_background() {
    in_the_background("node", SSH2, None);
    in_the_background("node", SSH2, Some(PASSWORD));
}
