//! Who acts for whom, with stock clients: an agent with several offices, a delegation that ends while a session runs, late
//! answers, a head office, and a test account beside its production twin.

#![allow(clippy::unwrap_used, reason = "a test file as a whole")]

mod support;

use std::fs;

use support::gateway::{ACCOUNT, Gateway, INSURER, OFFICE, PDF, Set, until};
use todoke::filing::RuleSet;
use todoke::filing::sample::SampleFiling;

const AGENT: &str = "S0001";

/// A sound set for this office; `first` is the first person's number.
fn set_for(gateway: &Gateway, office: &str, head: &str, first: u64) -> Set {
    set_with_record_of(gateway, office, office, head, first)
}

/// The same, with a record that names another office (KPFD.md, Data record).
fn set_with_record_of(gateway: &Gateway, office: &str, of_record: &str, head: &str, first: u64) -> Set {
    let rules = RuleSet::builtin().unwrap();
    let mut filing = SampleFiling::starting_at(&rules, &["2200700"], first, 1, gateway.today());
    office.clone_into(&mut filing.media[0]);
    office.clone_into(&mut filing.offices[0][0]);
    let own = filing.records[0].len() - 3;
    of_record.clone_into(&mut filing.records[0][own]);
    Set::of(head, vec![("KPFD0006.CSV", filing.bytes()), ("soukatsu.pdf", PDF.to_vec())])
}

/// K0001 of office 1234; agent S0001 who acts for 1234 and 5678; office 9999 for nobody.
fn with_agent() -> Gateway {
    let gateway = Gateway::new();
    for office in ["5678", "9999"] {
        gateway.add_office(office);
    }
    let more =
        ["--role", "agent", "--office", "1234", "--user-name", "見本社労士事務所", "--mail", "s@example.jp"];
    gateway.add_account(AGENT, &more);
    gateway.todoke(&["office", "delegate", "5678", "--to", AGENT]).ends(0);
    gateway
}

fn submitted(gateway: &Gateway) -> Vec<String> {
    let rows = gateway.ask(&["submission", "list"]);
    rows.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_agent_files_for_its_offices_and_for_no_other() {
    let gateway = with_agent();
    for (first, office) in [(0, "1234"), (10, "5678")] {
        let receipt = gateway.send_taken(AGENT, &set_for(&gateway, office, "", first));
        assert_eq!((&receipt["outcome"], &receipt["office"]), (&"accepted".into(), &office.into()));
        gateway.reaches(receipt["number"].as_str().unwrap(), "published");
    }
    let ran = gateway.send(AGENT, &set_for(&gateway, "9999", "", 20));
    assert!(ran.code != 0 && ran.err.contains("KPFD-OFFICE-FOREIGN"), "{}", ran.err);
    // `# office:` must agree with the filing.
    let ran = gateway.send(AGENT, &set_for(&gateway, "5678", "# office: 1234\n", 30));
    assert!(ran.code != 0 && ran.err.contains("KPFD-OFFICE-MISMATCH"), "{}", ran.err);
    // Without a filing to tell the office, it must be said.
    let other = |head: &str| Set::of(head, vec![("letter.pdf", PDF.to_vec())]);
    let ran = gateway.send(AGENT, &other("# kind: other\n"));
    assert!(ran.code != 0 && ran.err.contains("ROUTE-OFFICE-UNNAMED"), "{}", ran.err);
    gateway.send(AGENT, &other("# kind: other\n# office: 5678\n")).ends(0);
    let outboxes = gateway.sftp(AGENT, "ls -1 /outbox\n").ends(0).out;
    assert!(
        outboxes.contains("1234") && outboxes.contains("5678") && !outboxes.contains("9999"),
        "{outboxes}"
    );
}

#[test]
fn a_delegation_ends_in_a_running_session_and_its_answers_go_on_to_the_office() {
    let gateway = with_agent();
    let mut numbers = Vec::new();
    for (first, office) in [(0, "1234"), (10, "5678")] {
        let receipt = gateway.send_taken(AGENT, &set_for(&gateway, office, "", first));
        numbers.push(receipt["number"].as_str().unwrap().to_owned());
    }
    let pdf = gateway.make("decision.pdf", PDF);
    let deliver = |number: &str, title: &str| {
        let args = ["deliver", "--insurer", INSURER, "--in-reply-to", number, "--type", "決定通知書"];
        gateway.todoke(&[&args[..], &["--title", title, pdf.to_str().unwrap(), "--json"]].concat())
    };
    assert_eq!(deliver(&numbers[0], "in time").ends(0).json()["account"], AGENT);

    // A set whose last file comes after the end.
    let late = set_for(&gateway, "1234", "", 20);
    let from = gateway.lay_out(&late, AGENT);
    let batch = late.batch(&from);
    let (before, last) = batch.trim_end().rsplit_once('\n').unwrap();
    let mut session = gateway.session(AGENT, AGENT, &[]);
    session.does(before);
    let ended = gateway.todoke(&["office", "undelegate", "1234", "--to", AGENT]).ends(0);
    assert!(ended.err.contains("acts for office 1234 no more"), "{}", ended.err);
    gateway.todoke(&["office", "undelegate", "5678", "--to", AGENT]).ends(0);
    session.does(&format!("-{last}"));
    assert!(session.errors().contains("ROUTE-DELEGATION-ENDED"), "{}", session.errors());
    // What was placed while it held is its to fetch (K13).
    session.does("get /outbox/1234/* .");
    session.ends().ends(0);
    let receipt = gateway.receipt(AGENT, &late).unwrap();
    let finding = &receipt["findings"][0];
    let yesterday = gateway.today().pred_opt().unwrap().to_string();
    assert!(finding["message"]["en"].as_str().unwrap().contains(&yesterday), "{finding}");
    // Nor does it withdraw what it filed for the office.
    let withdrawal = Set::of(&format!("# withdraw: {}\n", numbers[0]), vec![]);
    let ran = gateway.send(AGENT, &withdrawal);
    assert!(ran.code != 0 && ran.err.contains("ROUTE-DELEGATION-ENDED"), "{}", ran.err);

    // Late answers: to the office's account, or on paper.
    assert_eq!(deliver(&numbers[0], "late").ends(0).json()["account"], ACCOUNT);
    let paper = deliver(&numbers[1], "late").ends(1);
    assert!(paper.err.contains("PAPER-NO-ACCOUNT"), "{}", paper.err);
    let listed = gateway.ask(&["office", "delegations", "--account", AGENT]);
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ended"], "{listed}: what began today and ended at once never held");

    // The insurer may want its outbox closed, or answers to go to the filer all the same.
    let policy = gateway.dir().join(format!("conf/insurers/{INSURER}.toml"));
    fs::create_dir_all(policy.parent().unwrap()).unwrap();
    fs::write(&policy, "[delegations]\nended_outbox = \"close\"\n").unwrap();
    assert_eq!(gateway.sftp(AGENT, "ls -1 /outbox\n").ends(0).out.lines().count(), 1, "only the command");
    fs::write(&policy, "[delegations]\nlate_answer = \"filer\"\n").unwrap();
    assert_eq!(deliver(&numbers[0], "later").ends(0).json()["account"], AGENT);
    gateway.todoke(&["doctor"]);
    // Not both: the filer could not see them.
    fs::write(&policy, "[delegations]\nended_outbox = \"close\"\nlate_answer = \"filer\"\n").unwrap();
    let doctor = gateway.todoke(&["doctor"]);
    assert!(doctor.out.contains("nobody could read them") || doctor.err.contains("nobody could read them"));
    fs::write(&policy, "[delegations]\nlate_answer = \"agent\"\n").unwrap();
    let doctor = gateway.todoke(&["doctor"]);
    assert!(doctor.out.contains("late_answer") || doctor.err.contains("late_answer"), "{doctor:?}");
}

#[test]
fn days_begin_and_end_at_local_midnight_and_a_head_office_files_for_its_subsidiary() {
    let mut gateway = Gateway::set_up(&[]);
    gateway.add_office("5678");
    gateway.start_inside();
    let day = |offset: i64| (gateway.today() + chrono::Days::new(offset.unsigned_abs())).to_string();
    let (from, last) = (day(1), day(2));
    gateway
        .todoke(&["office", "delegate", "5678", "--to", ACCOUNT, "--from", &from, "--until", &last])
        .ends(0);
    let send = |first: u64| {
        let ran = gateway.send(ACCOUNT, &set_for(&gateway, "5678", "", first));
        if ran.code == 0 { "accepted".to_owned() } else { ran.err }
    };
    let early = send(0);
    assert!(early.contains("ROUTE-DELEGATION-NOT-BEGUN") && early.contains(&from), "{early}");
    gateway.clock.forward(24 * 3_600_000);
    assert_eq!(send(10), "accepted");
    gateway.clock.forward(24 * 3_600_000);
    assert_eq!(send(20), "accepted");
    gateway.clock.forward(24 * 3_600_000);
    let ended = send(30);
    assert!(ended.contains("ROUTE-DELEGATION-ENDED") && ended.contains(&last), "{ended}");
    let within = gateway.send(ACCOUNT, &set_with_record_of(&gateway, OFFICE, "5678", "", 40));
    assert!(within.code == 1 && within.err.contains("ROUTE-DELEGATION-ENDED"), "{}", within.err);
    // Its own office needs none.
    let own = gateway.send_taken(ACCOUNT, &set_for(&gateway, "1234", "", 40));
    assert_eq!(own["outcome"], "accepted");
}

#[test]
fn a_test_account_exercises_everything_and_nothing_of_it_reaches_the_insurer() {
    let gateway = Gateway::new();
    let key = gateway.key(ACCOUNT).with_extension("pub");
    let key = key.to_str().unwrap();
    let form =
        ["--insurer", INSURER, "--office", "1234", "--user-name", "総務課", "--mail", "test@example.jp"];
    // The same key as its production twin: the login name decides.
    let add = [&["account", "add", "T0001", "--test", "--ssh-key", key], &form[..]].concat();
    gateway.todoke(&add).ends(0);
    let second = [&["account", "add", "T0002", "--test", "--ssh-key", key], &form[..]].concat();
    let refused = gateway.todoke(&second).ends(1);
    assert!(refused.err.contains("KEY-TAKEN") && refused.err.contains("T0001"), "{}", refused.err);

    let set = set_for(&gateway, "1234", "", 0);
    let from = gateway.lay_out(&set, ACCOUNT);
    gateway.sftp_with("T0001", ACCOUNT, &[], &set.batch(&from)).ends(0);
    let got = |path: &str| {
        let to = gateway.file("got");
        gateway.sftp_with("T0001", ACCOUNT, &[], &format!("get {path} {}\n", to.display())).ends(0);
        fs::read_to_string(to).unwrap()
    };
    let receipt: serde_json::Value =
        serde_json::from_str(&got(&format!("/receipts/by-manifest/{}.json", set.sha256()))).unwrap();
    assert_eq!((&receipt["test"], &receipt["outcome"]), (&true.into(), &"accepted".into()));
    let number = receipt["number"].as_str().unwrap();
    let page = got(&format!("/receipts/{number}.findings.html"));
    assert!(page.contains("TEST"), "{page}");
    let sent = got("/history/sent.csv");
    assert!(sent.contains("テスト"), "{sent}");

    // The same filing in earnest is no repeat of the test.
    let production = gateway.send_taken(ACCOUNT, &set);
    assert_eq!((&production["test"], &production["outcome"]), (&false.into(), &"accepted".into()));
    gateway.reaches(production["number"].as_str().unwrap(), "published");

    // A document and its mail.
    let pdf = gateway.make("decision.pdf", PDF);
    let placed = gateway.ask(&[
        "deliver",
        "--insurer",
        INSURER,
        "--in-reply-to",
        number,
        "--type",
        "決定通知書",
        pdf.to_str().unwrap(),
    ]);
    assert_eq!(placed["account"], "T0001");
    // How it is marked is told in work::notify's tests.
    until("the mail is sealed", || {
        let mails = gateway.ask(&["mail", "list", "--account", "T0001"]);
        mails.as_array().is_some_and(|mails| !mails.is_empty())
    });

    // Withdrawn by itself.
    let withdrawal = Set::of(&format!("# withdraw: {number}\n"), vec![]);
    let from = gateway.lay_out(&withdrawal, ACCOUNT);
    gateway.sftp_with("T0001", ACCOUNT, &[], &withdrawal.batch(&from)).ends(0);
    assert!(got(&format!("/receipts/{number}.withdrawn.json")).contains("\"test\": true"));
    assert_eq!(submitted(&gateway).len(), 3);

    // Nothing under the insurer's folder but the production submission and the list of accounts.
    let named: Vec<String> = support::gateway::files_under(&gateway.insurer_spool())
        .iter()
        .filter(|path| {
            let text = fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap();
            text.contains("T0001") || path.to_string_lossy().contains(number)
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(named.is_empty(), "{named:?}");
}
