//! Passwords beside keys, over SFTP with stock clients: the second factor, its change, locks, the last login.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "helpers of tests are not seen as tests"
)]

mod support;

#[path = "logins/clients.rs"]
mod clients;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use serde_json::Value;
use support::gateway::{self, ACCOUNT, Gateway, OFFICE, until};
use support::passwords::{answering, choose, make_password, with_passwords};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn state(gateway: &Gateway, account: &str) -> Value {
    gateway.ask(&["account", "show", account])["login"].take()
}

#[test]
fn a_temporary_password_must_be_changed_and_the_new_one_logs_in() {
    let mut gateway = with_passwords("", &[]);
    gateway.start();
    let none = gateway.sftp(ACCOUNT, "pwd\n").ends(255);
    assert!(none.err.contains("PASSWORD-NONE"), "{}", none.err);

    let to = gateway.file("temporary");
    let made = gateway.todoke(&["account", "password", ACCOUNT, "--output", to.to_str().unwrap()]).ends(0);
    assert!(made.err.contains("certificates") && made.err.contains("stay as they are"), "E9: {}", made.err);
    let temporary = fs::read_to_string(&to).unwrap().trim().to_owned();
    assert!(!made.out.contains(&temporary) && temporary.len() == 14, "{}", made.out);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    gateway.todoke(&["account", "password", ACCOUNT, "--print"]).ends(1);
    assert_eq!(state(&gateway, ACCOUNT)["password"]["state"], "temporary");

    // Nobody can be asked: the key is proven and no more.
    let batch = gateway.sftp(ACCOUNT, "pwd\n").ends(255);
    assert!(batch.err.contains("Permission denied (keyboard-interactive,password)"), "{}", batch.err);
    // The method that cannot ask for another says where that is done.
    let password_only = ["-o", "PreferredAuthentications=publickey,password"];
    let cannot = answering(&gateway, ACCOUNT, ACCOUNT, &password_only, "pwd\n", &[&temporary]).ends(255);
    assert!(cannot.err.contains("PASSWORD-TEMPORARY"), "{}", cannot.err);
    assert!(cannot.err.contains("keyboard-interactive"), "{}", cannot.err);
    // The temporary one again and again is no new one.
    let same = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &[&temporary]).ends(255);
    assert!(
        same.err.contains("PASSWORD-TEMPORARY") && same.err.contains("PASSWORD-PREVIOUS"),
        "{}",
        same.err
    );

    let answers = [
        &temporary,
        "short1",
        "short1",
        "ＡＢＣＤ1234",
        "ＡＢＣＤ1234",
        "mine-1234",
        "mine-9999",
        "mine-1234",
        "mine-1234",
    ];
    let changed = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &answers).ends(0);
    for code in ["PASSWORD-TEMPORARY", "PASSWORD-LENGTH", "PASSWORD-WIDTH", "PASSWORD-REPEAT"] {
        assert!(changed.err.contains(code), "{code}: {}", changed.err);
    }
    assert!(!changed.err.contains("LAST-LOGIN"), "it was the first: {}", changed.err);

    let wrong =
        answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["MINE-1234", "mine-1234 ", "mine-1234"]);
    assert!(wrong.err.contains("PASSWORD-WRONG") && wrong.err.contains("PASSWORD-SPACE"), "{}", wrong.err);
    assert!(wrong.err.contains("LAST-LOGIN") && wrong.err.contains("127.0.0.1"), "{}", wrong.err);
    wrong.ends(0);
    answering(&gateway, ACCOUNT, ACCOUNT, &password_only, "pwd\n", &["mine-1234"]).ends(0);

    // Before its time: old, new, and again, in one dialogue.
    let change = ["-o", "KbdInteractiveDevices=change"];
    let answers = ["wrong-123", "next-1234", "next-1234", "mine-1234", "next-1234", "next-1234"];
    let changed = answering(&gateway, ACCOUNT, ACCOUNT, &change, "pwd\n", &answers);
    assert!(changed.err.contains("PASSWORD-WRONG"), "{}", changed.err);
    changed.ends(0);
    answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["next-1234"]).ends(0);

    let login = state(&gateway, ACCOUNT);
    assert_eq!(login["password"]["state"], "good");
    assert_eq!(login["password"]["change"], "chosen");
    assert_eq!(login["password"]["set_by"], serde_json::json!({ "account": ACCOUNT }));
    assert_eq!(login["last_login_from"], "127.0.0.1");
    // The insurer's own account logs in unattended, with its key, and without a word.
    let silent = gateway.sftp("I0001", "pwd\n").ends(0);
    let silent = if silent.err.is_empty() { gateway.sftp("I0001", "pwd\n").ends(0) } else { silent };
    assert_eq!(silent.err, "");

    // Each change was told by mail, and nothing holds a password.
    until("the mails are sealed", || {
        gateway.ask(&["mail", "list", "--account", ACCOUNT]).as_array().unwrap().len() == 3
    });
    gateway.stop();
    for file in gateway::files_under(gateway.temp.path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name.starts_with("answers") || name.starts_with("temporary") {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        for secret in [temporary.as_str(), "mine-1234", "next-1234"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
}

#[test]
fn half_a_year_later_nothing_but_a_change_is_possible() {
    let mut gateway = with_passwords("", &[]);
    gateway.start_inside();
    choose(&gateway, ACCOUNT, "mine-1234");
    gateway.clock.forward(170 * DAY);
    let soon = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(0);
    assert!(soon.err.contains("PASSWORD-EXPIRES"), "{}", soon.err);
    let running = Connected::begin(&gateway, "mine-1234");
    running.makes("/submit/before").unwrap();
    gateway.clock.forward(11 * DAY);
    running.cannot_send();

    let answers = ["mine-1234", "mine-1234", "mine-1234", "next-1234", "next-1234"];
    let expired = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &answers).ends(0);
    assert!(
        expired.err.contains("PASSWORD-EXPIRED") && expired.err.contains("PASSWORD-PREVIOUS"),
        "{}",
        expired.err
    );
    // That was another connection of the same login, and the new password counts for all of them.
    running.makes("/submit/after").unwrap();
    drop(running);
    let journal = fs::read_dir(gateway.spool().join("journal")).unwrap();
    let journal: String = journal.filter_map(|e| fs::read_to_string(e.unwrap().path()).ok()).collect();
    assert_eq!(journal.matches("\"event\":\"password_expired\"").count(), 1);

    // The next one's end is told in time, once, also by a daemon that was down on the day.
    let told = |gateway: &Gateway| {
        let mails = gateway.ask(&["mail", "list", "--account", ACCOUNT]);
        mails
            .as_array()
            .unwrap()
            .iter()
            .filter(|mail| mail["about"]["notice"]["kind"] == "password-ends")
            .count()
    };
    assert_eq!(told(&gateway), 0);
    gateway.stop();
    gateway.clock.forward(168 * DAY);
    gateway.start_inside();
    until("the password's end is told", || told(&gateway) == 1);
    let get =
        answering(&gateway, ACCOUNT, ACCOUNT, &[], "get /account/profile.toml\n", &["next-1234"]).ends(0);
    assert!(get.err.contains("PASSWORD-EXPIRES"), "{}", get.err);
    let profile = fs::read_to_string(gateway.work().join("profile.toml")).unwrap();
    for line in ["# 今回のログイン: ", "# 前回のログイン: ", "# パスワードの有効期限: "]
    {
        assert!(profile.contains(line), "{line}: {profile}");
    }
    gateway.stop();
    gateway.start_inside();
    gateway.sftp("I0001", "ls /\n").ends(0);
    assert_eq!(told(&gateway), 1, "not again after a restart");

    // A temporary one that nobody uses lapses.
    let unused = make_password(&gateway, ACCOUNT, &["--reset"]);
    gateway.clock.forward(61 * DAY);
    let lapsed = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &[&unused]).ends(255);
    assert!(lapsed.err.contains("PASSWORD-LAPSED"), "{}", lapsed.err);
    assert_eq!(state(&gateway, ACCOUNT)["password"]["state"], "lapsed");
    gateway.stop();
}

/// A connection of a login that goes on while the password's days end.
struct Connected {
    runtime: tokio::runtime::Runtime,
    _session: Handle<Client>,
    sftp: russh_sftp::client::SftpSession,
}

impl Connected {
    /// By key and password.
    fn begin(gateway: &Gateway, password: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let key = secret(gateway, ACCOUNT);
        let port = gateway.address.port();
        let password = password.to_owned();
        let (session, sftp) = runtime.block_on(async move {
            let mut session = connect(port, "127.0.0.1").await;
            assert!(!prove(&mut session, ACCOUNT, &key).await.success());
            assert!(session.authenticate_password(ACCOUNT, password).await.unwrap().success());
            let channel = session.channel_open_session().await.unwrap();
            channel.request_subsystem(true, "sftp").await.unwrap();
            let sftp = russh_sftp::client::SftpSession::new(channel.into_stream()).await.unwrap();
            (session, sftp)
        });
        Self { runtime, _session: session, sftp }
    }

    fn makes(&self, folder: &str) -> Result<(), String> {
        self.runtime.block_on(self.sftp.create_dir(folder)).map_err(|error| error.to_string())
    }

    /// Nothing can be sent any more; all else can be done (E4).
    fn cannot_send(&self) {
        let refused = self.makes("/submit/after").unwrap_err();
        assert!(refused.contains("PASSWORD-EXPIRED"), "{refused}");
        self.runtime.block_on(async {
            let refused = self.sftp.create("/submit/before/a").await.map(drop).unwrap_err().to_string();
            assert!(refused.contains("PASSWORD-EXPIRED"), "{refused}");
            self.sftp.read_dir("/outbox").await.unwrap();
        });
    }
}

#[test]
fn wrong_passwords_lock_the_account_which_unlocks_by_itself() {
    let mut gateway = with_passwords("", &[]);
    gateway.add_account(
        "M0001",
        &["--office", OFFICE, "--mail", "m@example.jp", "--user-name", "給与", "--machine", "--second"],
    );
    gateway.start_inside();
    choose(&gateway, ACCOUNT, "mine-1234");
    let locked = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["bad-12345"]);
    assert!(locked.err.contains("PASSWORD-WRONG"), "{}", locked.err);
    locked.ends(255);
    let locked = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["bad-12345"]).ends(255);
    assert!(locked.err.contains("LOGIN-LOCKED"), "{}", locked.err);
    let right = answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(255);
    assert!(right.err.contains("LOGIN-LOCKED"), "the right one too: {}", right.err);
    assert!(state(&gateway, ACCOUNT)["locked_until_at"].is_string());
    gateway.sftp("M0001", "pwd\n").ends(0);

    // Over a restart, too.
    gateway.stop();
    gateway.start_inside();
    answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(255);
    gateway.clock.forward(31 * MINUTE);
    answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(0);

    for _ in 0..2 {
        answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["bad-12345"]);
    }
    answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(255);
    gateway.todoke(&["account", "unlock", ACCOUNT]).ends(0);
    answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &["mine-1234"]).ends(0);
    // Two passwords and two locks.
    until("the mails are sealed", || {
        let mails = gateway.ask(&["mail", "list", "--account", ACCOUNT]);
        mails.as_array().unwrap().iter().filter(|mail| mail["about"]["login"].is_u64()).count() == 4
    });
    gateway.stop();
}

struct Client;

impl client::Handler for Client {
    type Error = russh::Error;
    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn connect(port: u16, from: &str) -> Handle<Client> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    client::connect_stream(Arc::new(client::Config::default()), stream, Client).await.unwrap()
}

async fn prove(session: &mut Handle<Client>, account: &str, key: &Arc<PrivateKey>) -> AuthResult {
    session.authenticate_publickey(account, PrivateKeyWithHashAlg::new(key.clone(), None)).await.unwrap()
}

fn secret(gateway: &Gateway, name: &str) -> Arc<PrivateKey> {
    Arc::new(PrivateKey::read_openssh_file(gateway.key(name)).unwrap())
}

/// One thing a client may ask while it logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    None(usize),
    Key(usize),
    Password(usize, bool),
    Interactive(usize, bool),
}

const ACCOUNTS: [&str; 2] = ["K0001", "K0002"];
const RIGHT: &str = "mine-1234";

async fn ask(session: &mut Handle<Client>, keys: &[Arc<PrivateKey>], what: Ask) -> Option<bool> {
    let given = |right| if right { RIGHT } else { "bad-12345" };
    let success = match what {
        Ask::None(user) => session.authenticate_none(ACCOUNTS[user]).await.ok()?.success(),
        Ask::Key(user) => prove(session, ACCOUNTS[user], &keys[user]).await.success(),
        Ask::Password(user, right) => {
            session.authenticate_password(ACCOUNTS[user], given(right)).await.ok()?.success()
        }
        Ask::Interactive(user, right) => {
            use KeyboardInteractiveAuthResponse::{InfoRequest, Success};
            let mut said =
                session.authenticate_keyboard_interactive_start(ACCOUNTS[user], None).await.ok()?;
            // It asks again a few times.
            while let InfoRequest { prompts, .. } = &said {
                let answers = prompts.iter().map(|_| given(right).to_owned()).collect();
                said = session.authenticate_keyboard_interactive_respond(answers).await.ok()?;
            }
            matches!(said, Success)
        }
    };
    Some(success)
}

/// Whether these in this order log in: the key of a name, then a right password for that name, with no other name between.
fn should_succeed(asks: &[Ask]) -> bool {
    let mut first = None;
    for what in asks {
        let (Ask::None(user) | Ask::Key(user) | Ask::Password(user, _) | Ask::Interactive(user, _)) = *what;
        if first != Some(user) {
            first = None;
        }
        match what {
            Ask::Key(_) => first = Some(user),
            Ask::Password(_, true) | Ask::Interactive(_, true) if first == Some(user) => return true,
            _ => {}
        }
    }
    false
}

/// Whether a client that asks these in this order comes in.
async fn tries(port: u16, keys: &[Arc<PrivateKey>], order: &[Ask]) -> bool {
    let mut session = connect(port, "127.0.0.1").await;
    for what in order {
        match ask(&mut session, keys, *what).await {
            Some(true) => return true,
            Some(false) => {}
            None => return false,
        }
    }
    false
}

#[test]
fn all_orders_of_partial_authentication() {
    let mut gateway =
        with_passwords("failures_max = 1000000\n", &[("passwords", "source_failures_max", "1000000")]);
    gateway.add_account(
        "K0002",
        &["--office", OFFICE, "--mail", "b@example.jp", "--user-name", "経理課", "--second"],
    );
    gateway.start();
    for account in ACCOUNTS {
        choose(&gateway, account, RIGHT);
    }
    let keys: Vec<_> = ACCOUNTS.iter().map(|account| secret(&gateway, account)).collect();
    let steps = [Ask::None(0), Ask::Key(0), Ask::Key(1), Ask::Password(0, true), Ask::Interactive(0, true)];
    let mut orders: Vec<Vec<Ask>> = Vec::new();
    for a in steps {
        orders.push(vec![a]);
        for b in steps {
            orders.push(vec![a, b]);
            orders.extend(steps.iter().map(|c| vec![a, b, *c]));
        }
    }
    for last in [Ask::Password(1, true), Ask::Interactive(1, true)] {
        orders.extend(steps.iter().map(|first| vec![*first, last]));
        orders.extend(steps.iter().map(|middle| vec![Ask::Key(1), *middle, last]));
    }
    // Two factors for one name and a third request for another.
    orders.push(vec![Ask::Key(0), Ask::Key(1), Ask::Key(0), Ask::Password(0, true)]);
    orders.push(vec![Ask::Key(0), Ask::None(1), Ask::Password(0, true)]);
    orders.push(vec![Ask::Key(0), Ask::Key(0), Ask::Interactive(0, false), Ask::Password(0, true)]);
    orders.push(vec![Ask::Key(0), Ask::Password(0, false), Ask::Password(0, true)]);
    orders.push(vec![Ask::Password(0, false), Ask::Key(0), Ask::Interactive(0, false)]);
    orders.push(vec![Ask::Interactive(0, true), Ask::Key(0), Ask::Interactive(0, true)]);
    let port = gateway.address.port();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let orders = Arc::new(orders);
    let next = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (orders, next, keys) = (Arc::clone(&orders), Arc::clone(&next), keys.clone());
            runtime.spawn(async move {
                let mut succeeded = 0;
                while let Some(order) =
                    orders.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
                {
                    let came_in = tokio::time::timeout(gateway::PATIENCE, tries(port, &keys, order)).await;
                    let came_in = came_in.unwrap_or_else(|_| panic!("no answer: {order:?}"));
                    assert_eq!(came_in, should_succeed(order), "{order:?}");
                    succeeded += usize::from(came_in);
                }
                succeeded
            })
        })
        .collect();
    let succeeded: usize = runtime.block_on(async {
        futures_util::future::join_all(workers).await.into_iter().map(Result::unwrap).sum()
    });
    assert!(succeeded > 10, "{succeeded}");
    gateway.stop();
}

#[test]
fn a_storm_of_passwords_locks_nobody_else_out() {
    let mut gateway = with_passwords("", &[]);
    gateway.add_account(
        "K0002",
        &["--office", OFFICE, "--mail", "b@example.jp", "--user-name", "経理課", "--second"],
    );
    gateway.add_account(
        "M0001",
        &["--office", OFFICE, "--mail", "m@example.jp", "--user-name", "給与", "--machine", "--second"],
    );
    gateway.start();
    choose(&gateway, ACCOUNT, RIGHT);
    choose(&gateway, "K0002", "other-1234");
    let port = gateway.address.port();
    let stolen = secret(&gateway, "K0002");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (stop, tried) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let began = Instant::now();
    for attacker in 0..8 {
        let (stop, tried, stolen) = (Arc::clone(&stop), Arc::clone(&tried), Arc::clone(&stolen));
        runtime.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // One of them has stolen the key of an account that nobody uses. It comes from a place of its own: once a source is
                // locked its passwords lock no account any more.
                let (account, from) =
                    if attacker == 0 { ("K0002", "127.0.0.3") } else { (ACCOUNT, "127.0.0.2") };
                let mut session = connect(port, from).await;
                if attacker == 0 {
                    prove(&mut session, account, &stolen).await;
                }
                for _ in 0..10 {
                    if session.authenticate_password(account, "bad-12345").await.is_err() {
                        break;
                    }
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    until("the storm is up", || tried.load(Ordering::Relaxed) > 500);
    // Others, from elsewhere: with key and password, and with the key alone.
    for _ in 0..5 {
        answering(&gateway, ACCOUNT, ACCOUNT, &[], "pwd\n", &[RIGHT]).ends(0);
        gateway.sftp("M0001", "pwd\n").ends(0);
    }
    until("there were many", || tried.load(Ordering::Relaxed) > 2_000);
    until("who has the key is locked", || state(&gateway, "K0002")["locked_until_at"].is_string());
    let rate = tried.load(Ordering::Relaxed) / began.elapsed().as_secs().max(1);
    stop.store(true, Ordering::Relaxed);
    eprintln!("{rate} bad passwords a second");
    assert_eq!(state(&gateway, ACCOUNT)["locked_until_at"], Value::Null, "strangers lock nobody");
    let until_at = state(&gateway, ACCOUNT);
    assert_eq!(until_at["last_login_from"], "127.0.0.1");
    drop(runtime);
    gateway.stop();
}
