//! What the rules of filings come to where they are used: at intake, offline, and in the operator's hands.
#![allow(clippy::unwrap_used, reason = "a test that fails here should say so at once")]

mod support;

use std::fs;

use chrono::{Datelike as _, Days};
use serde_json::Value;
use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PDF, Ran, Set, until};
use todoke::filing::sample;
use todoke::model::ids::{Digest, Number};
use todoke::model::time::{Clock as _, DAY, SystemClock};

/// A filing with a cover sheet that is like no other.
fn set(head: &str, filing: &[u8], n: usize) -> Set {
    let cover = [PDF, format!("% {n}\n%%EOF\n").as_bytes()].concat();
    Set::of(head, vec![("KPFD0006.CSV", filing.to_vec()), ("soukatsu.pdf", cover)])
}

fn number(receipt: &Value) -> String {
    receipt["number"].as_str().unwrap().to_owned()
}

fn rules(receipt: &Value) -> Vec<&str> {
    receipt["findings"].as_array().unwrap().iter().map(|finding| finding["rule"].as_str().unwrap()).collect()
}

#[track_caller]
fn refused_for(ran: Ran, code: &str) {
    let ran = ran.ends(1);
    assert!(ran.err.lines().any(|line| line.starts_with(&format!("{code} "))), "{}", ran.err);
}

#[test]
fn a_record_that_was_accepted_is_refused_until_that_is_withdrawn() {
    let mut gateway = Gateway::set_up(&[]);
    gateway
        .add_account("K0002", &["--office", OFFICE, "--user-name", "人事課", "--mail", "jinji@example.jp"]);
    gateway.start();
    let filing = gateway.filing(3);
    let first = gateway.send_taken(ACCOUNT, &set("", &filing, 1));
    assert_eq!(first["outcome"], "accepted");

    let again = set("", &filing, 2);
    refused_for(gateway.send(ACCOUNT, &again), "SET-REPEATED");
    let receipt = gateway.receipt(ACCOUNT, &again).unwrap();
    assert_eq!(receipt["outcome"], "refused");
    assert_eq!(rules(&receipt), ["SET-REPEATED"; 3]);
    let finding = &receipt["findings"][0];
    assert_eq!((&finding["line"], &finding["form"]), (&Value::from(6), &Value::from("2200700")));
    assert!(finding["message"]["ja"].as_str().unwrap().contains(&number(&first)), "{finding}");
    refused_for(gateway.send("K0002", &set("", &filing, 3)), "SET-REPEATED");
    // Over a stop, and over a kill right after the answer.
    gateway.stop();
    gateway.start();
    refused_for(gateway.send(ACCOUNT, &set("", &filing, 4)), "SET-REPEATED");
    let other = gateway.filing(1);
    gateway.send_taken(ACCOUNT, &set("", &other, 5));
    gateway.kill();
    gateway.start();
    refused_for(gateway.send(ACCOUNT, &set("", &other, 6)), "SET-REPEATED");
    // The very same files under another id are somebody's to look at.
    let same = gateway.send_taken(ACCOUNT, &set("# id: other\n", &filing, 1));
    assert_eq!((&same["outcome"], rules(&same)), (&Value::from("held"), vec!["SAME-CONTENT"]));

    for number in [number(&same), number(&first)] {
        gateway.send_taken(ACCOUNT, &Set::of(&format!("# withdraw: {number}\n"), vec![]));
        gateway.reaches(&number, "withdrawn");
    }
    // Those that were refused meanwhile do not count either.
    assert_eq!(gateway.send_taken(ACCOUNT, &again)["outcome"], "accepted");
    refused_for(gateway.send(ACCOUNT, &set("", &filing, 7)), "SET-REPEATED");
    for month in fs::read_dir(gateway.spool().join("seen").join(INSURER)).unwrap() {
        let bytes = fs::read(month.unwrap().path()).unwrap();
        assert!(bytes.starts_with(b"todoke seen 1\0"));
    }
}

#[test]
fn loss_and_acquisition_on_one_day_are_taken() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start_inside();
    let rules = todoke::filing::RuleSet::builtin().unwrap();
    let day = gateway.today().checked_sub_days(Days::new(40)).unwrap();
    let (era, ymd) = ("9", format!("{:02}{:02}{:02}", day.year() - 2018, day.month(), day.day()));
    let one = |code: &str, date: &str| {
        let mut filing = sample::SampleFiling::starting_at(&rules, &[code], 500, 1, gateway.today());
        let form = rules.form(todoke::filing::Profile::Kpfd, code).unwrap();
        for (key, value) in [(format!("{date}_era"), era), (format!("{date}_ymd"), ymd.as_str())] {
            value.clone_into(&mut filing.records[0][form.field(&key).unwrap()]);
        }
        if code == "2201700" {
            // Another cause than leaving or death: no date of it.
            for (key, value) in [("cause", "11"), ("left_era", ""), ("left_ymd", "")] {
                value.clone_into(&mut filing.records[0][form.field(key).unwrap()]);
            }
        }
        filing.bytes()
    };
    assert_eq!(gateway.send_taken(ACCOUNT, &set("", &one("2201700", "lost"), 1))["outcome"], "accepted");
    assert_eq!(gateway.send_taken(ACCOUNT, &set("", &one("2200700", "acquired"), 2))["outcome"], "accepted");
    refused_for(gateway.send(ACCOUNT, &set("", &one("2200700", "acquired"), 3)), "SET-REPEATED");
}

/// Each record names an office too: the filing is for all of them (K8 E13).
#[test]
fn a_record_of_an_office_of_others_refuses_the_filing() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start_inside();
    let rules = todoke::filing::RuleSet::builtin().unwrap();
    let mut filing = sample::SampleFiling::starting_at(&rules, &["2200700"], 700, 2, gateway.today());
    let at = filing.records[1].len() - 3;
    filing.records[1][at] = "9999".into();
    let one = set("", &filing.bytes(), 1);
    refused_for(gateway.send(ACCOUNT, &one), "KPFD-OFFICE-FOREIGN");
    let receipt = gateway.receipt(ACCOUNT, &one).unwrap();
    let finding = &receipt["findings"][0];
    assert_eq!((&finding["line"], &finding["value"]), (&Value::from(7), &Value::from("9999")));
    filing.records[1][at] = OFFICE.into();
    assert_eq!(gateway.send_taken(ACCOUNT, &set("", &filing.bytes(), 2))["outcome"], "accepted");
}

/// A window of one day, the day after tomorrow.
fn window(gateway: &Gateway, outside: &str) -> String {
    let opens = gateway.today().checked_add_days(Days::new(2)).unwrap();
    let day = opens.day();
    let text = format!("[filing.calendar]\nfrom_day = {day}\nto_day = {day}\noutside = \"{outside}\"\n");
    fs::write(gateway.dir().join(format!("conf/insurers/{INSURER}.toml")), text).unwrap();
    opens.to_string()
}

#[test]
fn outside_the_window_a_filing_waits_for_the_next_opening_and_is_judged_then() {
    let mut gateway = Gateway::set_up(&[]);
    let opens = window(&gateway, "hold");
    gateway.start_inside();
    let filing = gateway.filing(2);
    let held = gateway.send_taken(ACCOUNT, &set("", &filing, 1));
    assert_eq!((&held["outcome"], rules(&held)), (&Value::from("held"), vec!["SET-HELD"]));
    assert_eq!(held["stages"]["routing"]["verdict"], "held");
    assert_eq!(held["stages"]["routing"]["detail"], "CALENDAR");
    let said = held["findings"][0]["message"]["ja"].as_str().unwrap();
    assert!(said.contains(&opens), "{said}");
    refused_for(gateway.send(ACCOUNT, &set("", &filing, 2)), "SET-REPEATED-HELD");
    assert_eq!(gateway.state(&number(&held)), "held");
    gateway.clock.forward(2 * DAY);
    gateway.reaches(&number(&held), "published");
    let path = format!("/receipts/{}.accepted.json", number(&held));
    let decided: Value = serde_json::from_slice(&gateway.get(ACCOUNT, &path).expect("a receipt")).unwrap();
    assert!(rules(&decided).is_empty(), "{decided}");
    assert!(gateway.insurer_spool().join("new").join(number(&held)).is_dir());
    refused_for(gateway.send(ACCOUNT, &set("", &filing, 3)), "SET-REPEATED");
}

#[test]
fn outside_the_window_a_filing_is_refused_where_the_insurer_says_so() {
    let mut gateway = Gateway::set_up(&[]);
    let opens = window(&gateway, "refuse");
    gateway.start_inside();
    let one = set("", &gateway.filing(1), 1);
    refused_for(gateway.send(ACCOUNT, &one), "SET-CLOSED");
    let receipt = gateway.receipt(ACCOUNT, &one).unwrap();
    assert_eq!((&receipt["outcome"], rules(&receipt)), (&Value::from("refused"), vec!["SET-CLOSED"]));
    assert!(receipt["findings"][0]["message"]["en"].as_str().unwrap().contains(&opens));
    gateway.clock.forward(2 * DAY);
    assert_eq!(gateway.send_taken(ACCOUNT, &one)["outcome"], "accepted");
}

#[test]
fn warnings_let_a_filing_through_and_stay_in_its_receipt() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start_inside();
    let mut filing = gateway.filing(1);
    filing.retain(|byte| *byte != b'\r');
    let receipt = gateway.send_taken(ACCOUNT, &set("# subject: 訂正ではありません\n", &filing, 1));
    assert_eq!(receipt["outcome"], "accepted");
    assert_eq!(rules(&receipt), ["KPFD-LF", "SET-CORRECTION"]);
    for finding in receipt["findings"].as_array().unwrap() {
        assert_eq!(finding["severity"], "warning");
    }
    assert_eq!(receipt["stages"]["format"]["verdict"], "pass");
    let number = number(&receipt);
    let table = gateway.get(ACCOUNT, &format!("/receipts/{number}.findings.csv")).unwrap();
    let table = String::from_utf8(table).unwrap();
    assert!(table.starts_with('\u{feff}') && table.contains("KPFD-LF") && table.contains("警告"), "{table}");
    let page = gateway.get(ACCOUNT, &format!("/receipts/{number}.findings.html")).unwrap();
    assert!(String::from_utf8(page).unwrap().contains("エラーはありません"));
    let evidence = gateway.insurer_spool().join("new").join(&number).join("evidence/receipt.json");
    until("it is published", || evidence.exists());
    assert!(fs::read_to_string(evidence).unwrap().contains("KPFD-LF"));
}

#[test]
fn what_a_check_says_offline_is_what_intake_says() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.start_inside();
    let mut filing = gateway.filing(2);
    let at = filing.windows(4).position(|four| four == b"2200").unwrap();
    let kana = filing[at..].iter().enumerate().filter(|(_, b)| **b == b',').nth(5).unwrap().0 + at + 1;
    filing[kana] = b'+';
    let set = set("", &filing, 1);
    gateway.send(ACCOUNT, &set);
    let receipt = gateway.receipt(ACCOUNT, &set).unwrap();
    let folder = gateway.lay_out(&set, ACCOUNT);
    let ran = gateway.plain(&["check", "--format", "json", &format!("work/{folder}")]);
    let mut findings = ran.json()["findings"].clone();
    for finding in findings.as_array_mut().unwrap() {
        finding["file"] = "KPFD0006.CSV".into();
    }
    assert!(!findings.as_array().unwrap().is_empty());
    assert_eq!(findings, receipt["findings"]);
    assert_eq!(findings[0]["field_name"]["en"], "name in kana");
    let refused = receipt["outcome"] == "refused";
    assert_eq!(ran.code, i32::from(refused));
}

#[test]
fn a_folder_is_checked_as_a_set_and_files_by_themselves() {
    let gateway = Gateway::bare(&[]);
    let check = |args: &[&str]| gateway.plain(&[&["check", "--format", "json"], args].concat());
    let found = |ran: &Ran| {
        let value = ran.json();
        value["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| f["rule"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let filing = gateway.filing(2);
    gateway.make("set/KPFD0006.CSV", &filing);
    let ran = check(&["work/set"]).ends(1);
    assert_eq!((ran.json()["verdict"].as_str(), found(&ran)), (Some("error"), vec!["SET-COVER".to_owned()]));
    gateway.make("set/a.pdf", PDF);
    let lines = format!("{}  KPFD0006.CSV\n{}  a.pdf\n", Digest::of(&filing), Digest::of(PDF));
    gateway.make("set/SHA256SUMS", format!("# cover: a.pdf\n{lines}"));
    let ran = check(&["work/set"]).ends(0);
    assert_eq!((ran.json()["verdict"].as_str(), found(&ran).len()), (Some("ok"), 0));
    assert_eq!(ran.json()["files"][0]["records"], 2);
    gateway.make(
        "set/SHA256SUMS",
        format!("# office: 9999\n# cover: a.pdf\n# comment: 訂正\n{lines}{}  b.pdf\n", "0".repeat(64)),
    );
    let ran = check(&["work/set"]).ends(1);
    assert_eq!(found(&ran), ["SET-MISSING", "KPFD-OFFICE-MISMATCH", "SET-CORRECTION"]);
    gateway.make("set/SHA256SUMS", "# cover: x.pdf\n");
    assert!(found(&check(&["work/set"]).ends(1)).iter().any(|rule| rule.starts_with("MANIFEST-")));

    gateway.make("broken.pdf", "no PDF");
    gateway.make("claims.csv", sample::claims_bytes(&sample::claims(3)));
    gateway.make("draft.csv", gateway.filing(1));
    let all = ["work/broken.pdf", "work/claims.csv", "work/draft.csv", "work/set/SHA256SUMS"];
    let ran = check(&all).ends(1);
    assert_eq!(found(&ran), ["SET-NOT-PDF"]);
    assert_eq!(ran.json()["findings"][0]["file"], "work/broken.pdf");
    check(&["work/claims.csv", "work/draft.csv"]).ends(0);
    check(&["--profile", "kpfd", "work/claims.csv"]).ends(1);
    check(&["work/none.csv"]).ends(2);
    check(&[]).ends(2);

    let policy = gateway.dir().join(format!("conf/insurers/{INSURER}.toml"));
    fs::write(policy, "[filing]\nforms = [\"2265700\"]\n").unwrap();
    let by = |code: &str| gateway.todoke(&["check", "--format", "json", "--insurer", code, "work/draft.csv"]);
    let ran = by(INSURER).ends(1);
    assert_eq!(found(&ran), ["KPFD-FORM-REFUSED"]);
    let action = &ran.json()["findings"][0]["action"];
    assert!(action["ja"].as_str().unwrap().contains("2265700 賞与支払届"));
    assert!(action["en"].as_str().unwrap().contains("2265700 Bonus paid"), "{action}");
    let ran = by("06130000").ends(0);
    assert!(ran.err.contains("06130000.toml"), "{}", ran.err);

    for (format, begins) in [("text", "work/"), ("csv", "\u{feff}"), ("html", "<!DOCTYPE html>")] {
        let ran = gateway.plain(&["check", "--format", format, "work/broken.pdf"]).ends(1);
        assert!(ran.out.starts_with(begins) && ran.out.contains("SET-NOT-PDF"), "{}", ran.out);
    }
}

#[test]
fn a_folder_is_what_its_manifest_names_and_as_it_says() {
    let gateway = Gateway::bare(&[]);
    let found = |folder: &str, code: i32| {
        let ran = gateway.plain(&["check", "--format", "json", &format!("work/{folder}")]).ends(code);
        let one = |f: &Value| {
            let file = f["file"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned();
            (f["rule"].as_str().unwrap().to_owned(), file, f["severity"] == "error")
        };
        ran.json()["findings"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let one = |rule: &str, file: &str, error: bool| (rule.to_owned(), file.to_owned(), error);
    let lay = |folder: &str, head: &str, files: &[(&str, &[u8])]| {
        let set = Set::of(head, files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect());
        gateway.make(&format!("{folder}/SHA256SUMS"), &set.manifest);
        for (name, bytes) in files {
            gateway.make(&format!("{folder}/{name}"), bytes);
        }
    };
    let filing = gateway.filing(2);
    let files = [("KPFD0006.CSV", filing.as_slice()), ("soukatsu.pdf", PDF)];
    lay("sound", "", &files);
    assert_eq!(found("sound", 0), []);
    gateway.make("sound/soukatsu.pdf", [PDF, b"%%EOF\n"].concat());
    assert_eq!(found("sound", 1), [one("UPLOAD-HASH", "soukatsu.pdf", true)]);

    // What is not named is no cover sheet and no attachment, whatever it is.
    lay("bare", "", &files[..1]);
    gateway.make("bare/soukatsu.pdf", PDF);
    gateway.make("bare/memo.docx", "x");
    let unnamed = |file| one("SET-UNNAMED", file, false);
    let expected = [unnamed("memo.docx"), unnamed("soukatsu.pdf"), one("SET-COVER", "", true)];
    assert_eq!(found("bare", 1), expected);

    // Other transmissions are told by their content.
    let macros = b"PK\x03\x04 xl/workbook.xml xl/vbaProject.bin";
    let files = [("a.csv", filing.as_slice()), ("b.jpg", b"MZ"), ("c.xlsx", macros), ("d.txt", b"d")];
    lay("other", "# kind: other\n", &files);
    let expected = [
        one("SET-OTHER-FILING", "a.csv", true),
        one("SET-OTHER-CONTENT", "b.jpg", true),
        one("SET-OTHER-MACROS", "c.xlsx", true),
    ];
    assert_eq!(found("other", 1), expected);
    lay("renamed", "# kind: other\n", &[("KPFD0006.CSV", b"\xff")]);
    assert_eq!(found("renamed", 1), [one("SET-OTHER-FILING", "KPFD0006.CSV", true)]);
    let withdrawn = Number { epoch: 1, serial: 123 };
    gateway.make("gone/SHA256SUMS", format!("# withdraw: {withdrawn}\n"));
    assert_eq!(found("gone", 0), []);

    for (name, rule) in
        [("SHFD0006.CSV", "KPFD-SHFD"), ("a.JKK", "KPFD-JKK"), ("KPFD0006 (1).CSV", "KPFD-NAME")]
    {
        gateway.make(name, &filing);
        assert_eq!(found(name, 0), [one(rule, name, false)]);
        let said = gateway.plain(&["check", &format!("work/{name}")]).ends(0).out;
        assert!(
            said.contains("直さないと届け出られません") && !said.contains("そのまま届け出られます"),
            "{said}"
        );
    }
}

#[test]
fn an_offline_check_counts_days_in_the_zone_of_the_gateway() {
    let gateway = Gateway::set_up(&[]);
    let rules = todoke::filing::RuleSet::builtin().unwrap();
    // Of these two one day is ahead of the other at any hour.
    let days = || {
        [chrono_tz::Pacific::Kiritimati, chrono_tz::Pacific::Niue].map(|zone| SystemClock.now().date_in(zone))
    };
    let config = gateway.dir().join("conf/todoke.toml");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("zone = \"Asia/Tokyo\""));
    let form = rules.form(todoke::filing::Profile::Kpfd, "2265700").unwrap();
    let told_at = |[east, _]: [chrono::NaiveDate; 2]| {
        let mut filing = sample::SampleFiling::new(&rules, &["2265700"], 1, gateway.today());
        let ymd = format!("{:02}{:02}{:02}", east.year() - 2018, east.month(), east.day());
        for (key, value) in [("paid_era", "9"), ("paid_ymd", ymd.as_str())] {
            value.clone_into(&mut filing.records[0][form.field(key).unwrap()]);
        }
        gateway.make("draft.csv", filing.bytes());
        ["Pacific/Kiritimati", "Pacific/Niue"].map(|zone| {
            fs::write(&config, text.replace("Asia/Tokyo", zone)).unwrap();
            let ran = gateway.todoke(&["check", "--format", "json", "work/draft.csv"]);
            ran.out.contains("2265700-PAID-FUTURE")
        })
    };
    // Unless midnight came in between.
    let told = loop {
        let before = days();
        let told = told_at(before);
        if days() == before {
            break told;
        }
    };
    assert_eq!(told, [false, true]);
}

#[test]
fn all_that_was_found_is_counted_over_all_files_and_errors_are_listed_first() {
    let gateway = Gateway::bare(&[]);
    let rules = todoke::filing::RuleSet::builtin().unwrap();
    let mut warned = sample::SampleFiling::new(&rules, &["2200700"], 500, gateway.today());
    for record in &mut warned.records {
        record[7] = "髙髙髙".into();
    }
    gateway.make("warn.csv", warned.bytes());
    let mut wrong = sample::SampleFiling::starting_at(&rules, &["2200700"], 500, 1, gateway.today());
    wrong.records[0][22] = "1".into();
    gateway.make("err.csv", wrong.bytes());
    let check = |format: &str| {
        gateway.plain(&["check", "--format", format, "work/warn.csv", "work/err.csv"]).ends(1).out
    };
    for format in ["text", "html"] {
        let said = check(format);
        assert!(
            said.contains("エラーが 1 件、警告が 1500 件あります。"),
            "{format}: {}",
            said.lines().filter(|line| line.contains("エラー")).take(9).collect::<Vec<_>>().join("\n")
        );
        assert!(!said.contains("エラーはありません") && said.contains("2200700-TOTAL"), "{format}");
    }
    let json: Value = serde_json::from_str(&check("json")).unwrap();
    let counts = ["errors", "warnings", "more_findings"].map(|key| json[key].as_u64().unwrap());
    assert_eq!((counts, json["findings"].as_array().unwrap().len()), ([1, 1500, 501], 1000));
    assert!(check("csv").contains("2200700-TOTAL"));
}

#[test]
fn doctor_names_file_line_and_reason_of_a_wrong_table() {
    let gateway = Gateway::bare(&[]);
    let errors = || {
        let report = gateway.todoke(&["doctor", "--json"]).json();
        let checks = report["checks"].as_array().unwrap().clone();
        let of_tables =
            checks.iter().filter(|line| line["verdict"] == "error").map(|line| line["found"].to_string());
        of_tables.collect::<Vec<_>>().join("\n")
    };
    let table = gateway.dir().join("conf/forms/2265700.toml");
    let good = fs::read_to_string(&table).unwrap();
    let line = |text: &str, part: &str| text.lines().position(|l| l.contains(part)).unwrap() + 1;
    let cases = [
        ("class = \"name\"", "class = \"katakana\"", "katakana"),
        ("unit = 1000", "unit = 0", "must be 1 or more"),
        ("older = [\"22657041\"]", "older = [\"2265700\"]", "own code"),
        ("values = [\"2265700\"]", "values = [\"2200700\"]", "2265700"),
        ("正しくは {expected}", "正しくは {expectd}", "{expectd}"),
        ("total = \"total\"", "total = \"totals\"", "is no field of this form"),
        ("counts = [24]", "counts = [23]", "23"),
    ];
    for (from, to, reason) in cases {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        fs::write(&table, &bad).unwrap();
        let said = errors();
        // A rule is named by its line and id, anything else by its own line.
        let own = format!("2265700.toml:{}: ", line(&bad, to));
        let of_rule = format!("2265700.toml:{}: rule ", line(&bad, "id = \"2265700-TOTAL\"") - 1);
        assert!(said.contains(reason) && (said.contains(&own) || said.contains(&of_rule)), "{to}: {said}");
    }
    fs::write(&table, &good).unwrap();
    let policy = gateway.dir().join(format!("conf/insurers/{INSURER}.toml"));
    let cases = [
        ("[filing]\n[filing.severity]\nKPFD-QUOTE = \"error\"\n", "toml:3: ", "KPFD-QUOTED"),
        ("[filing]\nforms = [\"2202700\"]\n", "toml:2: ", "2202700"),
        ("[filing.counts]\n2200700 = [35]\n", "toml:2: ", "35"),
        (
            "[filing]\n[filing.calendar]\nfrom_day = 11\nto_day = 10\noutside = \"hold\"\n",
            "toml:",
            "from_day",
        ),
        ("[filing]\nrepeats_months = 500\n", "toml:2: ", "120"),
        ("[filing]\n\noffices_max = 0\n", "toml:3: ", "1 or more"),
        ("[filing.cover]\nrequired = true\nnames = [\"\"]\n", "toml:3: ", "every file"),
        ("[other]\ntypes = []\n", "toml:2: ", "taken = false"),
    ];
    for (text, place, reason) in cases {
        fs::write(&policy, text).unwrap();
        let said = errors();
        assert!(said.contains(place) && said.contains(reason), "{text}: {said}");
    }
    fs::remove_file(&policy).unwrap();
    assert!(!errors().contains("toml"), "{}", errors());
}
