//! `/account`, end to end: the real daemon, stock OpenSSH, a real mail host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "a test may end where it fails, and lists its cases"
)]

mod support;

use support::gateway::{ACCOUNT, Gateway, INSURER_ACCOUNT, until};
use support::mailhost::{MailHost, Taken};

fn with_mail(host: &MailHost) -> Gateway {
    Gateway::with(&[("mail", "url", &host.url())])
}

fn profile(gateway: &Gateway, account: &str) -> String {
    String::from_utf8(gateway.get(account, "/account/profile.toml").expect("a profile")).unwrap()
}

/// Mails until there are so many.
fn mails(host: &MailHost, count: usize) -> Vec<Taken> {
    until(&format!("{count} mails"), || host.taken().len() >= count);
    host.taken()
}

#[test]
fn a_changed_profile_takes_effect_and_both_addresses_are_told() {
    let host = MailHost::start();
    let gateway = with_mail(&host);
    let before = profile(&gateway, ACCOUNT);
    for line in
        ["user_name = \"総務課\"", "mail = \"soumu@example.jp\"", "code = \"1234\"", "insurer = \"06139999\""]
    {
        assert!(before.contains(line), "{before}");
    }
    gateway.make("profile.toml", before.replace("soumu@", "jinji@").replace("総務課", "人事課"));
    gateway.sftp(ACCOUNT, "put -p profile.toml /account/\nls -l /account\n").ends(0);

    let row = gateway.ask(&["account", "show", ACCOUNT]);
    assert_eq!((&row["mail"], &row["user_name"]), (&"jinji@example.jp".into(), &"人事課".into()));
    assert!(profile(&gateway, ACCOUNT).contains("mail = \"jinji@example.jp\""));
    let mut told = mails(&host, 2);
    told.sort_by(|a, b| a.to.cmp(&b.to));
    assert_eq!([told[0].to.as_str(), &told[1].to], ["jinji@example.jp", "soumu@example.jp"]);
    for mail in &told {
        assert!(mail.subject.starts_with("株式会社見本工業 様"), "{mail:?}");
        assert!(mail.body.contains("K0001") && mail.body.contains("・メールアドレス"), "{mail:?}");
        for person in ["人事課", "総務課", "jinji@", "soumu@"] {
            assert!(!mail.body.contains(person) && !mail.subject.contains(person), "{mail:?}");
        }
    }
    let history = String::from_utf8(gateway.get(ACCOUNT, "/history/account.csv").unwrap()).unwrap();
    assert!(
        history.starts_with('\u{feff}') && history.contains("登録内容の変更,,利用者名、メールアドレス"),
        "{history}"
    );

    // The same again, as after a lost answer: nothing happens.
    gateway.sftp(ACCOUNT, "put profile.toml /account/profile.toml\n").ends(0);
    // One value alone, by a passing name, as careful clients do; the language holds from the next login on.
    gateway.make("one.toml", "language = \"en\"\n");
    gateway
        .sftp(ACCOUNT, "put one.toml /account/profile.toml.part\nrename /account/profile.toml.part /account/profile.toml\n")
        .ends(0);
    let told = mails(&host, 3);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[2].to, "jinji@example.jp");
    assert!(told[2].subject.starts_with("株式会社見本工業: your registration"), "{:?}", told[2]);
    assert!(profile(&gateway, ACCOUNT).contains("# What is registered"));
}

#[test]
fn what_cannot_be_changed_is_refused_with_words_and_changes_nothing() {
    let mut gateway = Gateway::new();
    let before = profile(&gateway, ACCOUNT);
    for (text, code) in [
        (before.replace("1234", "5678"), "PROFILE-FIXED"),
        ("role = \"insurer\"\n".to_owned(), "PROFILE-FIXED"),
        ("mail = \"a@example.jp, b@example.jp\"\n".to_owned(), "PROFILE-MAIL"),
        ("passwort = \"x\"\n".to_owned(), "PROFILE-UNKNOWN"),
        ("mail = soumu@example.jp\n".to_owned(), "PROFILE-FORM"),
        (String::new(), "PROFILE-EMPTY"),
        ("# \n".repeat(40_000), "QUOTA-FILE-SIZE"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n".to_owned(), "KEY-EXPOSED"),
    ] {
        gateway.make("profile.toml", &text);
        let ran = gateway.sftp(ACCOUNT, "put profile.toml /account/\n").ends(1);
        assert!(ran.err.contains(code), "{code}: {}", ran.err);
        let by_rename = "put profile.toml /account/.profile.toml.filepart\nrename /account/.profile.toml.filepart /account/profile.toml\n";
        let ran = gateway.sftp(ACCOUNT, by_rename).ends(1);
        assert!(ran.err.contains(code), "{code}: {}", ran.err);
    }
    for (batch, code) in [
        ("put profile.toml /account/other.toml\n", "ACCOUNT-NAME"),
        ("mkdir /account/x\n", "ACCOUNT-NAME"),
        ("rm /account/profile.toml\n", "ACCOUNT-NAME"),
        ("rename /account/profile.toml /submit/profile.toml\n", "ACCOUNT-NAME"),
        (
            "put profile.toml /account/a.profile.toml\nrename /account/a.profile.toml /submit/x\n",
            "ACCOUNT-NAME",
        ),
    ] {
        gateway.make("profile.toml", "language = \"en\"\n");
        let ran = gateway.sftp(ACCOUNT, batch).ends(1);
        assert!(ran.err.contains(code), "{batch}: {}", ran.err);
    }
    assert_eq!(profile(&gateway, ACCOUNT), before);
    assert_eq!(gateway.ask(&["mail", "list"]).as_array().unwrap().len(), 0);
    let alarms = gateway.ask(&["status"])["alarms"].to_string();
    assert!(alarms.contains("KEY-EXPOSED"), "{alarms}");
    gateway.stop();
    for file in gateway.tree() {
        let bytes = std::fs::read(&file).unwrap();
        let holds = bytes.windows(26).any(|bytes| bytes == b"BEGIN OPENSSH PRIVATE KEY-");
        assert!(!holds || file.to_str().unwrap().contains("/keys/"), "{}", file.display());
    }
}

#[test]
fn an_old_copy_does_not_undo_what_the_operator_changed() {
    let gateway = Gateway::new();
    let old = profile(&gateway, ACCOUNT);
    gateway.todoke(&["account", "change", ACCOUNT, "--mail", "jinji@example.jp"]).ends(0);
    gateway.make("profile.toml", old.replace("総務課", "人事課"));
    let ran = gateway.sftp(ACCOUNT, "put profile.toml /account/\n").ends(1);
    assert!(ran.err.contains("PROFILE-STALE"), "{}", ran.err);
    assert_eq!(gateway.ask(&["account", "show", ACCOUNT])["mail"], "jinji@example.jp");
}

#[test]
fn an_insurers_account_has_its_own_and_every_sftp_manner_holds() {
    let host = MailHost::start();
    let gateway = with_mail(&host);
    let text = profile(&gateway, INSURER_ACCOUNT);
    assert!(text.contains("role = \"insurer\"") && text.contains("mail = \"\""), "{text}");
    gateway.make("profile.toml", "mail = \"kenpo@example.jp\"\nuser_name = \"適用課\"\n");
    let ran = gateway
        .sftp(INSURER_ACCOUNT, "ls -l\nput -p profile.toml /account/profile.toml\nls -la /account\n")
        .ends(0);
    assert!(ran.out.contains("account") && ran.out.contains("outgoing"), "{}", ran.out);
    assert!(profile(&gateway, INSURER_ACCOUNT).contains("kenpo@example.jp"));
    assert_eq!(mails(&host, 1)[0].to, "kenpo@example.jp");

    // What a client may do around a put: look, set times, put over it, look again, go on with a part.
    gateway.make("ja.toml", "language = \"ja\"\n");
    gateway.make("en.toml", "language = \"en\"\n");
    gateway.make("head.toml", "langu");
    let batch = "put en.toml /account/profile.toml\nls -l /account/profile.toml\nchmod 600 /account/profile.toml\n\
                 put ja.toml /account/profile.toml.part\nls -l /account/profile.toml.part\n\
                 put head.toml /account/profile.toml.part\nreput ja.toml /account/profile.toml.part\n\
                 get /account/profile.toml now.toml\n\
                 rm /account/profile.toml.part\n-rm /account/profile.toml.part\ndf /account\n";
    gateway.sftp(ACCOUNT, batch).ends(0);
    assert!(profile(&gateway, ACCOUNT).contains("language = \"en\""));
    gateway.sftp(ACCOUNT, "get /account/certificates.csv.part\n").ends(1);
}
