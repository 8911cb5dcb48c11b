//! `/account`, end to end: the real daemon, stock OpenSSH, a real mail host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::too_many_lines,
    reason = "a test may end where it fails, and lists its cases"
)]

mod support;

use support::gateway::{ACCOUNT, Gateway, INSURER, INSURER_ACCOUNT, until};
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
    // All but the times of the logins, which each session's file shows.
    let registered = |text: &str| {
        text.lines().filter(|line| !line.contains("のログイン: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(registered(&profile(&gateway, ACCOUNT)), registered(&before));
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

/// The insurer's policy, beside what the gateway has.
fn insurer_policy(gateway: &Gateway, text: &str) {
    let folder = gateway.dir().join("conf/insurers");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{INSURER}.toml")), text).unwrap();
}

/// The public half of a key, as a file where clients work.
fn public(gateway: &Gateway, key: &str) -> Vec<u8> {
    std::fs::read(gateway.key(key).with_extension("pub")).unwrap()
}

/// A gateway whose account has a certificate over the key `old`, and the certificate's number.
fn certified(policy: &str) -> (Gateway, String) {
    let mut gateway = Gateway::set_up(&[]);
    insurer_policy(&gateway, policy);
    gateway.start();
    let key = gateway.key("old").with_extension("pub");
    gateway.todoke(&["cert", "issue", ACCOUNT, "--ssh-key", key.to_str().unwrap()]).ends(0);
    let id =
        gateway.ask(&["cert", "list", "--account", ACCOUNT])[0]["certificate"].as_str().unwrap().to_owned();
    (gateway, id)
}

#[test]
fn a_new_key_that_is_put_is_certified_once_and_the_old_certificate_holds_on() {
    // The window is open from the first day on.
    let (gateway, old) = certified("[renewal]\nopens_months = 40\n");
    gateway.make("same.pub", public(&gateway, "old"));
    let ran = gateway.sftp(ACCOUNT, "put same.pub /account/renew.pub\n").ends(1);
    assert!(ran.err.contains("RENEW-SAME-KEY"), "{}", ran.err);
    gateway.make("none.pub", "ssh-ed25519 nothing\n");
    let ran = gateway.sftp(ACCOUNT, "put none.pub /account/renew.pub\n").ends(1);
    assert!(ran.err.contains("KEY-UNUSABLE"), "{}", ran.err);

    gateway.make("renew.pub", public(&gateway, "new"));
    gateway.sftp(ACCOUNT, "put -p renew.pub /account/renew.pub.part\nrename /account/renew.pub.part /account/renew.pub\nls -l /account/renew.pub\n").ends(0);
    // The same again, as after a lost answer, is the same renewal.
    gateway.sftp(ACCOUNT, "put renew.pub /account/\n").ends(0);
    let rows = gateway.ask(&["cert", "list", "--account", ACCOUNT]);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows:#}");
    let new = rows[0]["certificate"].as_str().unwrap().to_owned();
    let line = gateway.get(ACCOUNT, &format!("/account/{new}-cert.pub")).unwrap();
    let file = gateway.make("new-cert.pub", line);
    let shown = std::process::Command::new("ssh-keygen").arg("-Lf").arg(file).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(ACCOUNT) && shown.contains(&gateway.fingerprint("new")), "{shown}");
    for id in [&old, &new] {
        assert_eq!(
            gateway.ask(&["cert", "show", id])["state"],
            "holds",
            "{id}: both hold while they overlap"
        );
    }

    let table = String::from_utf8(gateway.get(ACCOUNT, "/account/certificates.csv").unwrap()).unwrap();
    assert!(table.starts_with("\u{feff}証明書,種別,"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let row = table.lines().find(|line| line.starts_with(&new)).unwrap();
    assert!(row.contains("X.509 + OpenSSH") && row.contains("有効") && row.contains("更新,7800"), "{row}");
    let listing = gateway.sftp(ACCOUNT, "ls -1 /account\nls -1 /account/authorities\n").ends(0).out;
    for name in [
        format!("{new}.crt"),
        format!("{new}-cert.pub"),
        format!("{old}.crt"),
        "fingerprints.txt".into(),
        "ssh-1.pub".into(),
    ] {
        assert!(listing.contains(&name), "{name}: {listing}");
    }
    let state = gateway.ask(&["account", "applications", "--account", ACCOUNT]);
    assert_eq!(
        (&state[0]["kind"], &state[0]["state"]),
        (&"renewal".into(), &"downloaded".into()),
        "{state:#}"
    );
    assert_eq!(state[0]["downloads"], 1, "{state:#}");
    // Every state with its date (H11-H13): 申請済 to ダウンロード済み, and nothing after it.
    let head: Vec<_> = table.lines().next().unwrap().split(',').collect();
    let cells: Vec<_> = row.split(',').collect();
    let date = |name: &str| cells[head.iter().position(|cell| *cell == name).unwrap()];
    assert!(date("ダウンロード済み").starts_with("20") && date("利用開始").is_empty(), "{table}");
}

#[test]
fn a_request_that_openssl_made_renews_and_its_certificate_logs_in() {
    let (gateway, old) = certified("[renewal]\nopens_months = 40\n");
    let openssl = |args: &str| {
        let ran = std::process::Command::new("openssl")
            .args(args.split(' '))
            .current_dir(gateway.work())
            .output()
            .expect("openssl (package openssl)");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    openssl(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.pem -out renew.csr -subj /CN=K0001",
    );
    // Changed on its way.
    let text = std::fs::read_to_string(gateway.work().join("renew.csr")).unwrap();
    let bad: Vec<_> = text.lines().map(|line| if line.len() == 64 { &line[..60] } else { line }).collect();
    gateway.make("bad.csr", bad.join("\n"));
    let ran = gateway.sftp(ACCOUNT, "put bad.csr /account/renew.csr\n").ends(1);
    assert!(ran.err.contains("CSR-"), "{}", ran.err);
    // As GUI clients put it, and once more, as after a lost answer.
    gateway.sftp(ACCOUNT, "put -p renew.csr /account/renew.csr\nput renew.csr /account/\n").ends(0);
    let rows = gateway.ask(&["cert", "list", "--account", ACCOUNT]);
    assert_eq!(rows.as_array().unwrap().len(), 2, "{rows:#}");
    let new = rows[0]["certificate"].as_str().unwrap();
    assert_eq!(rows[0]["predecessor"], old.as_str());
    let batch = format!(
        "get /account/{new}.crt new.crt\nget /account/{new}-ca.crt ca.crt\nget /account/{new}-cert.pub new-cert.pub\n"
    );
    gateway.sftp(ACCOUNT, &batch).ends(0);
    openssl("verify -CAfile ca.crt new.crt");
    assert_eq!(openssl("x509 -in new.crt -noout -pubkey"), openssl("pkey -in new.pem -pubout"));
    openssl("pkey -in new.pem -traditional -out new");
    let key = gateway.work().join("new");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let identity = format!("IdentityFile={}", key.display());
    let certificate = format!("CertificateFile={}", gateway.work().join("new-cert.pub").display());
    let options = ["-o", &identity, "-o", &certificate];
    gateway.sftp_bare(ACCOUNT, &options, "ls /account\n").ends(0);
    until("it is in use", || {
        gateway.ask(&["account", "applications", "--account", ACCOUNT])[0]["state"] == "in-use"
    });
}

#[test]
fn where_the_insurer_asks_a_renewal_waits_for_consent_class_and_payment() {
    let policy =
        "[renewal]\nopens_months = 40\nconsent = true\n[enrolment.fees]\nstandard = 7800\nboth = 15600\n";
    let (gateway, _) = certified(policy);
    let none = gateway.make("renew.toml", "consent = \"1\"\n");
    let ran = gateway.sftp(ACCOUNT, &format!("put {} /account/renew.toml\n", none.display())).ends(1);
    assert!(ran.err.contains("RENEW-NOTHING"), "{}", ran.err);
    gateway.make("renew.pub", public(&gateway, "new"));
    gateway.sftp(ACCOUNT, "put renew.pub /account/\nput renew.pub /account/\n").ends(0);
    let of = |what: &str| gateway.ask(&["account", "applications", "--account", ACCOUNT])[0][what].clone();
    assert_eq!((of("state"), of("waits_for_consent")), ("applied".into(), true.into()));
    let waiting = gateway.ask(&["status"])["applications"][0]["waits_for"].to_string();
    assert!(waiting.contains("consent"), "{waiting}");
    let terms = String::from_utf8(gateway.get(ACCOUNT, "/account/terms.txt").unwrap()).unwrap();
    assert!(terms.contains("利用規約"), "{terms}");
    let form = String::from_utf8(gateway.get(ACCOUNT, "/account/renew.toml").unwrap()).unwrap();
    assert!(form.contains("both (15,600)"), "{form}");
    gateway.make("renew.toml", &form);
    let ran = gateway.sftp(ACCOUNT, "put renew.toml /account/\n").ends(1);
    assert!(ran.err.contains("RENEW-CONSENT"), "{}", ran.err);
    let filled =
        form.replace("consent = \"\"", "consent = \"1\"").replace("class = \"standard\"", "class = \"both\"");
    gateway.make("renew.toml", filled);
    gateway.sftp(ACCOUNT, "put renew.toml /account/\nput renew.toml /account/\n").ends(0);
    assert_eq!(
        (of("state"), of("fee"), of("class"), of("terms")),
        ("issued".into(), 15_600.into(), "both".into(), "1".into())
    );
    assert!(gateway.get(ACCOUNT, "/account/renew.toml").is_none(), "nothing waits any more");
    assert_eq!(gateway.ask(&["cert", "list", "--account", ACCOUNT]).as_array().unwrap().len(), 2);
}

#[test]
fn outside_the_window_a_renewal_is_refused_with_the_date_and_an_operator_may_be_asked() {
    let (mut gateway, old) = certified("");
    gateway.make("renew.pub", public(&gateway, "new"));
    let ran = gateway.sftp(ACCOUNT, "put renew.pub /account/\n").ends(1);
    assert!(
        ran.err.contains("RENEW-NOT-YET") && ran.err.contains(&old) && ran.err.contains("から受け付けます"),
        "{}",
        ran.err
    );
    let ran = gateway.sftp(INSURER_ACCOUNT, "put renew.pub /account/\n").ends(1);
    assert!(ran.err.contains("RENEW-NONE"), "{}", ran.err);

    gateway.stop();
    insurer_policy(&gateway, "[renewal]\nopens_months = 40\napproval = \"operator\"\n");
    gateway.start();
    gateway.sftp(ACCOUNT, "put renew.pub /account/\nput renew.pub /account/\n").ends(0);
    let of = gateway.ask(&["account", "applications", "--account", ACCOUNT]);
    assert_eq!(
        (&of[0]["kind"], &of[0]["state"], of.as_array().unwrap().len()),
        (&"renewal".into(), &"applied".into(), 1),
        "{of:#}"
    );
    gateway.make("other.pub", public(&gateway, "other"));
    let ran = gateway.sftp(ACCOUNT, "put other.pub /account/renew.pub\n").ends(1);
    assert!(ran.err.contains("RENEW-APPLIED"), "{}", ran.err);
    let table = String::from_utf8(gateway.get(ACCOUNT, "/account/certificates.csv").unwrap()).unwrap();
    assert!(table.contains("申請済"), "{table}");
}
