use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

fn check(text: &str, expected: &Expect) {
    let error = Config::parse(Path::new("conf/todoke.toml"), text).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn the_default_file_says_what_the_defaults_are() {
    let file = Path::new("here/conf/todoke.toml");
    let shipped = Config::parse(file, DEFAULT_TEXT).unwrap();
    let empty = Config::parse(file, "").unwrap();
    assert_eq!(shipped.gateway, empty.gateway);
    assert_eq!(shipped.sessions, empty.sessions);
    assert_eq!(shipped.signatures, empty.signatures);
    assert_eq!(shipped.submit, empty.submit);
    assert_eq!(shipped.control, empty.control);
    assert_eq!(shipped.sftp_listen, empty.sftp_listen);
    assert_eq!(shipped.sftp.limits, empty.sftp.limits);
    assert_eq!(shipped.scanner, empty.scanner);
    assert_eq!(shipped.mail, empty.mail);
    assert_eq!(shipped.metrics_listen, empty.metrics_listen);
    assert_eq!(shipped.log, empty.log);
    for (shipped, empty) in [
        (format!("{:?}", shipped.delivery), format!("{:?}", empty.delivery)),
        (format!("{:?}", shipped.spool), format!("{:?}", empty.spool)),
        (format!("{:?}", shipped.retention), format!("{:?}", empty.retention)),
        (format!("{:?}", shipped.purge), format!("{:?}", empty.purge)),
        (shipped.purge_schedule.to_string(), empty.purge_schedule.to_string()),
        (format!("{:?}", shipped.renewal_report), format!("{:?}", empty.renewal_report)),
    ] {
        assert_eq!(shipped, empty);
    }
    assert_eq!(shipped.places.root, Path::new("here/spool"));
}

#[test]
fn relative_paths_start_at_the_folder_that_holds_conf() {
    for (file, root, expected) in [
        ("/etc/todoke/todoke.toml", "/var/lib/todoke", "/var/lib/todoke"),
        ("/srv/x/conf/todoke.toml", "spool", "/srv/x/spool"),
        ("conf/todoke.toml", "spool", "./spool"),
        ("todoke.toml", "spool", "./../spool"),
    ] {
        assert_eq!(Places::of(Path::new(file), root).root, Path::new(expected), "{file}");
    }
}

#[test]
fn each_slip_names_file_line_key_value_and_what_is_allowed() {
    check(
        "[gateway]\nrot = \"x\"\n",
        &expect![
            "conf/todoke.toml:2: gateway.rot: unknown field `rot`, expected one of `name`, `root`, `zone`, `language`"
        ],
    );
    check(
        "[gateway]\nname = 5\n",
        &expect!["conf/todoke.toml:2: gateway.name = 5: invalid type: integer `5`, expected a string"],
    );
    check(
        "[gateway]\nzone = \"Asia/Tokio\"\n",
        &expect![[
            r#"conf/todoke.toml:2: gateway.zone = "Asia/Tokio": must be an IANA zone, such as Asia/Tokyo"#
        ]],
    );
    check(
        "[gateway]\nlanguage = \"fr\"\n",
        &expect![[
            r#"conf/todoke.toml:2: gateway.language = "fr": unknown variant `fr`, expected `ja` or `en`"#
        ]],
    );
    check(
        "\n[sftp]\nlisten = \"localhost\"\n[sftb]\nlisten = 1\n",
        &expect![[r#"
            conf/todoke.toml:3: sftp.listen = "localhost": must be ADDRESS:PORT, such as 127.0.0.1:2222, 0.0.0.0:22 or [::]:22
            conf/todoke.toml:4: sftb: unknown table; allowed are [gateway], [sftp], [sessions], [passwords], [submit], [signatures], [scanner], [mail], [delivery], [spool], [retention], [purge], [certificates], [reconciliation], [renewal], [control], [metrics], [log]"#]],
    );
    check(
        "[submit]\nverdict_wait_seconds = 0\naccount_bytes_max = -1\n",
        &expect![
            "conf/todoke.toml:3: submit.account_bytes_max = -1: invalid value: integer `-1`, expected a whole number, 0 or more"
        ],
    );
    check(
        "[submit]\nverdict_wait_seconds = 0\nyear_begins_month = 13\n",
        &expect![[r"
        conf/todoke.toml:2: submit.verdict_wait_seconds = 0: must be 1 to 120 seconds
        conf/todoke.toml:3: submit.year_begins_month = 13: must be a month, 1 to 12"]],
    );
    check(
        "[scanner]\naddress = \"\"\nsilence = \"150\"\n",
        &expect![[
            r#"conf/todoke.toml:3: scanner.silence = "150": "150" is not a length of time: a whole number and one of ms, s, m, h, d, such as 90s, 15m, 4h or 70d (at most 36500d)"#
        ]],
    );
    check(
        "[scanner]\naddress = \"no\"\n",
        &expect![[
            r#"conf/todoke.toml:2: scanner.address = "no": must be tcp://HOST:PORT, unix:PATH, or none (nothing is scanned then)"#
        ]],
    );
    check(
        "[mail]\nurl = \"mail.example.jp\"\nfrom = \"todoke\"\nretry = []\nuser = \"x\"\n",
        &expect![[r#"
        conf/todoke.toml:2: mail.url = "mail.example.jp": not a mail host: allowed are smtp://HOST[:PORT] and smtps://HOST[:PORT]; user and password have keys of their own
        conf/todoke.toml:3: mail.from = "todoke": must be one mail address, such as todoke@example.jp
        conf/todoke.toml:4: mail.retry = []: retry: 0 waits are listed; 1 to 64 are allowed
        conf/todoke.toml:5: mail.user = "x": user and password_file go together"#]],
    );
    check(
        "[mail]\nurl = \"smtp://me:secret@mail.example.jp\"\n",
        &expect![[
            r#"conf/todoke.toml:2: mail.url = "smtp://…@mail.example.jp": not a mail host: allowed are smtp://HOST[:PORT] and smtps://HOST[:PORT]; user and password have keys of their own"#
        ]],
    );
    check(
        "[log]\nlevel = \"loud\"\n[metrics]\nlisten = \"9464\"\n",
        &expect![[r#"
        conf/todoke.toml:2: log.level = "loud": must be error, warn, info, debug, trace, off, or a list such as info,todoke::doors::sftp=debug
        conf/todoke.toml:4: metrics.listen = "9464": must be ADDRESS:PORT, such as 127.0.0.1:2222, 0.0.0.0:22 or [::]:22"#]],
    );
    check(
        "[purge]\nschedule = \"03:30\"\ndue_maximum = 1\n",
        &expect![[r#"
        conf/todoke.toml:2: purge.schedule = "03:30": must be a cron expression of six fields (second, minute, hour, day, month, weekday), such as 0 30 3 * * *
        conf/todoke.toml:3: purge.due_maximum: unknown field `due_maximum`, expected one of `clock_leap_hours_max`, `due_max`, `due_share_max`, `due_share_from`, `batch`"#]],
    );
    check(
        "[purge]\nschedule = 5\n",
        &expect!["conf/todoke.toml:2: purge.schedule = 5: invalid type: integer, expected a string"],
    );
    check("[submit\n", &expect!["conf/todoke.toml:1: is not TOML: unclosed table, expected `]`"]);
    check(
        "sftp = 2222\n",
        &expect!["conf/todoke.toml:1: sftp = 2222: invalid type: integer `2222`, expected a table"],
    );
    check(
        "[sessions]\nperson_max = 0\nmachine_max = 99999999999999999999\n",
        &expect![
            "conf/todoke.toml:3: sessions.machine_max = 99999999999999999999: invalid type: integer `99999999999999999999`, expected a whole number, 0 or more"
        ],
    );
}

#[test]
fn a_reload_says_what_changed_and_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("conf/todoke.toml");
    std::fs::create_dir(dir.path().join("conf")).unwrap();
    std::fs::write(&file, DEFAULT_TEXT).unwrap();
    let cell = ConfigCell::new(Config::load(&file).unwrap());

    let text = DEFAULT_TEXT
        .replace("machine_max = 8", "machine_max = 9")
        .replace("127.0.0.1:2222", "127.0.0.1:2223")
        .replace("clients_max = 32\n", "");
    std::fs::write(&file, text).unwrap();
    let changed: Vec<String> = cell
        .reload()
        .unwrap()
        .into_iter()
        .map(|c| format!("{} {:?} -> {:?} restart: {}", c.key, c.old, c.new, c.needs_restart))
        .collect();
    expect![[r#"
        control.clients_max Some("32") -> None restart: true
        sessions.machine_max Some("8") -> Some("9") restart: false
        sftp.listen Some("\"127.0.0.1:2222\"") -> Some("\"127.0.0.1:2223\"") restart: true"#]]
    .assert_eq(&changed.join("\n"));
    assert_eq!(cell.get().sessions.machine_max, 9);

    std::fs::write(&file, "[sessions]\nmachine_max = 0\n").unwrap();
    assert!(cell.reload().is_err());
    assert_eq!(cell.get().sessions.machine_max, 9, "a wrong file changes nothing");
}

#[test]
fn an_insurer_may_have_a_policy_of_its_own() {
    use crate::rules::policy::{AccountsPolicy, SecondAccount};
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf");
    std::fs::create_dir_all(conf.join("insurers")).unwrap();
    std::fs::write(conf.join("todoke.toml"), "").unwrap();
    let config = Config::load(&conf.join("todoke.toml")).unwrap();
    let code = InsurerCode::parse("06139999").unwrap();
    let policy = || config.insurer_table::<AccountsPolicy>(&code, "accounts");
    assert_eq!(policy().unwrap().second_account, SecondAccount::Warn);
    let file = conf.join("insurers/06139999.toml");
    std::fs::write(&file, "[accounts]\nsecond_account = \"refuse\"\n").unwrap();
    assert_eq!(policy().unwrap().second_account, SecondAccount::Refuse);
    std::fs::write(&file, "[accounts]\nsecond_account = \"never\"\n[acounts]\n").unwrap();
    let text = policy().unwrap_err().to_string();
    let text = text.replace(&conf.display().to_string(), "CONF");
    expect![[r#"
        CONF/insurers/06139999.toml:2: accounts.second_account = "never": unknown variant `never`, expected one of `allow`, `warn`, `refuse`
        CONF/insurers/06139999.toml:3: acounts: unknown table; allowed are [accounts], [calendar], [certificates], [delegations], [documents], [enrolment], [filing], [login], [other], [renewal]"#]].assert_eq(&text);
}

#[test]
fn the_insurers_page_shows_a_calendar_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("conf");
    std::fs::create_dir_all(conf.join("insurers")).unwrap();
    std::fs::write(conf.join("todoke.toml"), "").unwrap();
    let config = Config::load(&conf.join("todoke.toml")).unwrap();
    let code = InsurerCode::parse("06139999").unwrap();
    let (none, days) = config.calendar(&code).unwrap();
    assert!(none.is_empty() && days.holidays.ends().is_some());
    let page = include_str!("../../conf/insurers/README.md");
    let table = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = conf.join("insurers/06139999.toml");
    std::fs::write(&file, table).unwrap();
    let (policy, _) = config.calendar(&code).unwrap();
    assert_eq!((policy.cut_offs.len(), policy.documents.len(), policy.filings.len()), (1, 2, 1));

    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        config.calendar(&code).unwrap_err().to_string().replace(&conf.display().to_string(), "CONF")
    };
    expect![[r#"CONF/insurers/06139999.toml:2: calendar.cut_offs = ["17:00"]: "17:00" must be a cron expression of six fields (second, minute, hour, day, month, weekday), such as 0 0 17 * * Mon-Fri"#]]
        .assert_eq(&told("[calendar]\ncut_offs = [\"17:00\"]\n"));
    expect![[r"CONF/insurers/06139999.toml: calendar: documents.day = 32: must be a day, 1 to 31"]]
        .assert_eq(&told("[[calendar.documents]]\ntypes = [\"x\"]\nday = 32\n"));
    expect![[r"CONF/insurers/06139999.toml: calendar.holidays: CONF/holidays/en.csv: No such file or directory (os error 2)"]]
        .assert_eq(&told("[calendar]\nholidays = \"en\"\n"));
    std::fs::create_dir(conf.join("holidays")).unwrap();
    std::fs::write(conf.join("holidays/en.csv"), "2026/1/1,New Year\nx\n").unwrap();
    assert!(told("[calendar]\nholidays = \"en\"\n").contains("en.csv: line 2"));
}
