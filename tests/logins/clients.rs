//! Key, then password, with paramiko and asyncssh: what a script of an office sees when its password is right, wrong, temporary,
//! over its days, or locked, by the method `password` and by keyboard-interactive.

use std::process::{Command, Stdio};

use super::support::gateway::{ACCOUNT, Gateway, Ran, until};
use super::support::passwords::{choose, make_password, with_passwords};
use super::{DAY, MINUTE};

/// Says what it is asked, answers, and says how it ended: `in`, with what it sees; `told` what; or `out`.
const PARAMIKO: &str = r"
import paramiko, sys
port, key, user, method, *answers = sys.argv[1:]
# The other transport asks for the service again before each factor, which the server does not answer.
t = paramiko.ServiceRequestingTransport(('127.0.0.1', int(port)))
t.start_client(timeout=120); t.auth_timeout = 120
left = t.auth_publickey(user, paramiko.Ed25519Key.from_private_key_file(key))
print('left', sorted(left))
def asked(title, instructions, prompts):
    if instructions: print('said', instructions)
    print('asked', [p for p, echo in prompts])
    if len(answers) < len(prompts): sys.exit('asked too much')
    return [answers.pop(0) for _ in prompts]
try:
    if not left: pass                          # the key ended the login: the words come on the channel
    elif method == 'password':
        while True:
            try: t.auth_password(user, answers.pop(0), fallback=False); break
            except paramiko.BadAuthenticationType: raise
            except paramiko.AuthenticationException:
                if not answers: raise
                print('wrong')
    else: t.auth_interactive(user, asked, 'change' if method == 'change' else '')
except paramiko.AuthenticationException: print('out'); sys.exit(0)
channel = t.open_session(); channel.invoke_subsystem('sftp')
try: print('in', paramiko.SFTPClient(channel).listdir('/'))
except (EOFError, OSError, paramiko.SSHException):
    said = b''
    while piece := channel.recv_stderr(65536): said += piece
    print('told', said.decode())
t.close()
";

const ASYNCSSH: &str = r"
import asyncio, asyncssh, sys
port, key, user, method, *answers = sys.argv[1:]
asks = 0
class Client(asyncssh.SSHClient):
    def password_auth_requested(self):
        global asks
        if method != 'password' or not answers: return None
        asks += 1
        print('left' if asks == 1 else 'wrong')
        return answers.pop(0)
    def kbdint_auth_requested(self):
        global asks
        if method == 'password' or asks: return None
        asks += 1
        print('left')
        return 'change' if method == 'change' else ''
    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        if instructions: print('said', instructions)
        print('asked', [p for p, echo in prompts])
        if len(answers) < len(prompts): return None
        return [answers.pop(0) for _ in prompts]
async def main():
    try:
        c, _ = await asyncssh.create_connection(Client, '127.0.0.1', int(port), username=user, client_keys=[key], known_hosts=None, config=None, login_timeout=120)
    except asyncssh.PermissionDenied: print('out'); return
    # What a library's SFTP client throws away: the words on standard error.
    process = await c.create_process(subsystem='sftp', encoding=None)
    try:
        process.stdin.write(bytes([0, 0, 0, 5, 1, 0, 0, 0, 3]))
        version = await process.stdout.read(5)
    except (asyncssh.Error, OSError): version = b''
    if not version:
        print('told', (await process.stderr.read()).decode()); return
    async with c.start_sftp_client() as sftp: print('in', await sftp.listdir('/'))
    c.close()
asyncio.run(main())
";

/// Logs in by this script; gives what it printed.
fn log_in(gateway: &Gateway, script: &str, method: &str, answers: &[&str]) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", script, &gateway.address.port().to_string()]).arg(gateway.key(ACCOUNT));
    python.args([ACCOUNT, method]).args(answers).current_dir(gateway.work()).stdin(Stdio::null());
    let ran = Ran::of(&python.output().expect("python3 (package python3)")).ends(0);
    assert!(ran.out.starts_with("left"), "the key alone was enough, or nothing: {ran:?}");
    ran.out
}

#[track_caller]
fn comes_in(said: &str) {
    assert!(said.contains("\nin [") && said.contains("submit"), "{said}");
}

/// What the two scripts must see, in the order of an account's life.
fn life_of_a_password(script: &str) {
    let mut gateway = with_passwords("", &[]);
    gateway.start_inside();
    let log_in = |gateway: &Gateway, method: &str, answers: &[&str]| log_in(gateway, script, method, answers);

    // Temporary: the one method cannot ask for another and says where that is done; the other asks for it.
    let temporary = make_password(&gateway, ACCOUNT, &["--reset"]);
    let said = log_in(&gateway, "password", &[&temporary]);
    assert!(said.contains("told PASSWORD-TEMPORARY") && said.contains("keyboard-interactive"), "{said}");
    let answers = [&temporary, "short1", "short1", "mine-1234", "mine-12345", "mine-1234", "mine-1234"];
    let said = log_in(&gateway, "interactive", &answers);
    for code in ["PASSWORD-TEMPORARY", "PASSWORD-LENGTH", "PASSWORD-REPEAT"] {
        assert!(said.contains(code), "{code}: {said}");
    }
    comes_in(&said);

    // Right and wrong, by each method.
    comes_in(&log_in(&gateway, "password", &["mine-1234"]));
    comes_in(&log_in(&gateway, "interactive", &["mine-1234"]));
    let said = log_in(&gateway, "password", &["Mine-1234", "mine-1234"]);
    assert!(said.contains("wrong"), "{said}");
    comes_in(&said);
    let said = log_in(&gateway, "interactive", &["mine-1234 ", "mine-1234"]);
    assert!(said.contains("PASSWORD-SPACE"), "{said}");
    comes_in(&said);

    // Changed before its time: old, new, and new again in one question.
    let said = log_in(&gateway, "change", &["mine-1234", "next-1234", "next-1234"]);
    comes_in(&said);
    assert_eq!(said.matches("asked").count(), 1, "{said}");
    comes_in(&log_in(&gateway, "password", &["next-1234"]));

    // Half a year later.
    gateway.clock.forward(181 * DAY);
    let said = log_in(&gateway, "password", &["next-1234"]);
    assert!(said.contains("told PASSWORD-EXPIRED") && said.contains("keyboard-interactive"), "{said}");
    let said =
        log_in(&gateway, "interactive", &["next-1234", "next-1234", "next-1234", "last-1234", "last-1234"]);
    assert!(said.contains("PASSWORD-EXPIRED") && said.contains("PASSWORD-PREVIOUS"), "{said}");
    comes_in(&said);

    // Locked, for the right password too, by both methods; and free again by itself.
    let said = log_in(&gateway, "password", &["bad-1", "bad-2", "bad-3", "bad-4", "bad-5"]);
    assert!(said.contains("told LOGIN-LOCKED"), "{said}");
    for method in ["password", "interactive"] {
        let said = refused_before_it_is_asked(&gateway, script, method);
        assert!(said.contains("LOGIN-LOCKED"), "{said}");
    }
    gateway.clock.forward(31 * MINUTE);
    comes_in(&log_in(&gateway, "password", &["last-1234"]));

    // A reset, and nobody uses it in time.
    let unused = make_password(&gateway, ACCOUNT, &["--reset"]);
    gateway.clock.forward(61 * DAY);
    let said = refused_before_it_is_asked(&gateway, script, "interactive");
    assert!(said.contains("PASSWORD-LAPSED"), "{said}");
    assert!(!said.contains(&unused));
    choose(&gateway, ACCOUNT, "then-1234");
    comes_in(&log_in(&gateway, "password", &["then-1234"]));
    until("no session is left", || gateway.ask(&["status"])["sessions"].as_array().unwrap().is_empty());
    gateway.stop();
}

/// The key ends the login: what it is told.
fn refused_before_it_is_asked(gateway: &Gateway, script: &str, method: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", script, &gateway.address.port().to_string()]).arg(gateway.key(ACCOUNT));
    python.args([ACCOUNT, method, "last-1234"]).current_dir(gateway.work()).stdin(Stdio::null());
    let ran = Ran::of(&python.output().expect("python3 (package python3)"));
    assert!(!ran.out.contains("asked") && !ran.out.contains("in ["), "{ran:?}");
    ran.out + &ran.err
}

#[test]
fn paramiko_by_key_and_password() {
    life_of_a_password(PARAMIKO);
}

#[test]
fn asyncssh_by_key_and_password() {
    life_of_a_password(ASYNCSSH);
}
