use super::*;

const MARK: &str = "m1-000123-6.0123456789abcdef";

fn mark() -> Mark {
    Mark::of_message_id(&format!("{MARK}@gateway.example.jp")).unwrap()
}

fn message(head: &str, body: &str) -> Vec<u8> {
    format!("{head}\n\n{body}").replace('\n', "\r\n").into_bytes()
}

#[test]
fn marks_are_found_in_every_dress() {
    for text in [
        format!("<bounce+{MARK}@gateway.example.jp>"),
        format!("bounce-{}@gateway.example.jp", MARK.to_uppercase()),
        format!("prvs=0123={MARK}@gateway.example.jp"),
        format!("Message-ID: <{MARK}@gateway.example.jp>"),
        MARK.to_owned(),
    ] {
        let mut found = Vec::new();
        marks::find(&text, &mut found);
        assert_eq!(found, [mark()], "{text}");
    }
    for text in [
        "",
        "m1-000123-6",
        "m1-000123-7.0123456789abcdef",
        "m1-000123-6.0123456789abcde",
        "m1-000123-6.0123456789abcdeg",
    ] {
        let mut found = Vec::new();
        marks::find(text, &mut found);
        assert_eq!(found, [], "{text}");
    }
    let mut found = Vec::new();
    let many: String = (0..100).map(|n| format!("m1-000123-6.{n:016x} ")).collect();
    marks::find(&many, &mut found);
    assert_eq!(found.len(), 16);
}

fn report(group: &str) -> Vec<u8> {
    message(
        &format!(
            "From: MAILER-DAEMON@mx.example.jp\nTo: bounce+{MARK}@gateway.example.jp\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=\"x\""
        ),
        &format!(
            "--x\nContent-Type: text/plain\n\nIt did not work.\n--x\nContent-Type: message/delivery-status\n\n\
             Reporting-MTA: dns; mx.example.jp\nOriginal-Envelope-Id: {MARK}\n\n{group}\n\n--x\n\
             Content-Type: text/rfc822-headers\n\nMessage-ID: <{MARK}@gateway.example.jp>\nSubject: x\n\n--x--\n"
        ),
    )
}

#[test]
fn reports_are_read() {
    let check = |group: &str, said: Said, status: Option<&str>, recipient: Option<&str>| {
        let got = read(&report(group)).unwrap();
        assert_eq!(
            (got.said, got.status.map(|s| s.to_string()), got.recipient.as_deref(), &got.marks[..]),
            (said, status.map(str::to_owned), recipient, &[mark()][..]),
            "{group}"
        );
    };
    let who = Some("soumu@example.jp");
    let group = |fields: &str| format!("Final-Recipient: rfc822; soumu@example.jp\n{fields}");
    for (fields, said, status) in [
        (
            "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 unknown",
            Said::Failed(Fault::Address),
            Some("5.1.1"),
        ),
        ("Action: failed\nStatus: 5.2.2", Said::Failed(Fault::Passing), Some("5.2.2")),
        ("Action: failed\nStatus: 5.7.1", Said::Failed(Fault::Passing), Some("5.7.1")),
        ("Action: failed\nStatus: 4.4.1", Said::Failed(Fault::Passing), Some("4.4.1")),
        (
            "ACTION: FAILED (really)\nstatus: 5.0.0\ndiagnostic-code: smtp; 550 5.1.1 no\n  such user",
            Said::Failed(Fault::Address),
            Some("5.1.1"),
        ),
        (
            "Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 Unknown user",
            Said::Failed(Fault::Address),
            Some("5.1.1"),
        ),
        ("Action: failed\nStatus: 5.0.0", Said::Failed(Fault::Passing), Some("5.0.0")),
        (
            "Action: delayed\nStatus: 4.4.1\nWill-Retry-Until: Tue, 24 Nov 2026 00:00:00 +0000",
            Said::Delayed,
            Some("4.4.1"),
        ),
        ("Action: relayed\nStatus: 2.1.9", Said::Relayed, Some("2.1.9")),
        ("Action: delivered\nStatus: 2.1.5", Said::Delivered, Some("2.1.5")),
        ("Action: expanded\nStatus: 2.1.5", Said::Delivered, Some("2.1.5")),
    ] {
        check(&group(fields), said, status, who);
    }
    let two = format!(
        "{}\n\n{}",
        group("Action: delivered\nStatus: 2.1.5"),
        group("Action: failed\nStatus: 5.1.1")
    );
    check(&two, Said::Failed(Fault::Address), Some("5.1.1"), who);
    check("X-Nothing: x", Said::Other, None, None);
}

#[test]
fn hosts_without_reports_are_understood() {
    let check = |head: &str, body: &str, said: Said, status: Option<&str>| {
        let got = read(&message(head, body)).unwrap();
        assert_eq!(
            (got.said, got.status.map(|s| s.to_string())),
            (said, status.map(str::to_owned)),
            "{head}\n{body}"
        );
        got
    };
    let qmail = format!(
        "Hi. This is the qmail-send program at mx.example.jp.\nI'm afraid I wasn't able to deliver your message to the following \
         addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<soumu@example.jp>:\nSorry, no mailbox \
         here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\nMessage-ID: <{MARK}@gateway.example.jp>\n"
    );
    let got = check(
        "From: MAILER-DAEMON@mx.example.jp\nSubject: failure notice",
        &qmail,
        Said::Failed(Fault::Address),
        Some("5.1.1"),
    );
    assert_eq!((got.marks, got.recipient.as_deref()), (vec![mark()], Some("soumu@example.jp")));

    let exim = "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to \
                one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  soumu@example.jp\n    \
                Unrouteable address\n";
    let head = "From: Mail Delivery System <Mailer-Daemon@mx.example.jp>\nX-Failed-Recipients: soumu@example.jp\nAuto-Submitted: auto-replied\nSubject: Mail delivery failed: returning message to sender";
    let got = check(head, exim, Said::Failed(Fault::Address), Some("5.1.2"));
    assert_eq!(got.recipient.as_deref(), Some("soumu@example.jp"));

    let exchange = "Your message to soumu@example.jp couldn't be delivered.\n\nsoumu wasn't found at example.jp.\n\nRemote Server returned '550 \
                    5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup'\n";
    check(
        "From: Microsoft Outlook <postmaster@example.jp>\nSubject: Undeliverable: x",
        exchange,
        Said::Failed(Fault::Address),
        Some("5.1.10"),
    );

    check(
        "From: MAILER-DAEMON@x.jp\nSubject: failure notice",
        "<a@b.jp>: 552 mailbox is full",
        Said::Failed(Fault::Passing),
        Some("5.2.2"),
    );
    check(
        "From: MAILER-DAEMON@x.jp\nSubject: Warning: could not send message for past 4 hours",
        "THIS IS A WARNING MESSAGE ONLY. It will be retried.",
        Said::Delayed,
        None,
    );
    check(
        "From: MAILER-DAEMON@x.jp\nSubject: =?UTF-8?B?6YWN5L+h5LiN6IO9?=",
        "宛先が見つかりません",
        Said::Failed(Fault::Address),
        Some("5.1.1"),
    );
}

#[test]
fn a_refusal_without_enhanced_code_blames_the_address_by_its_words_only() {
    for (text, blamed) in [
        ("User unknown", Some("5.1.1")),
        ("<soumu@example.jp>: No such user here", Some("5.1.1")),
        ("<no-spam@example.jp>... User unknown", Some("5.1.1")),
        ("Requested action not taken: mailbox unavailable", Some("5.1.1")),
        ("soumu@example.jp does\nnot exist", Some("5.1.1")),
        ("Account disabled", Some("5.2.1")),
        ("", None),
        ("Blocked - see http://spamhaus.example/ your IP is listed", None),
        ("Mailbox unavailable: your IP is on our blocklist", None),
        ("Sender address rejected: domain does not exist", None),
        ("Host not found", None),
        ("<user.unknown@example.jp> go away", None),
        ("relaying to unknown recipient denied", None),
        ("mailbox is full", None),
    ] {
        assert_eq!(blame(text).map(|status| status.to_string()).as_deref(), blamed, "{text}");
    }
}

#[test]
fn machines_that_answer_and_people_who_complain_are_no_failures() {
    for head in [
        "From: soumu@example.jp\nSubject: x\nAuto-Submitted: auto-replied (vacation)",
        "From: soumu@example.jp\nSubject: x\nX-Auto-Response-Suppress: All",
        "From: soumu@example.jp\nSubject: x\nPrecedence: auto_reply",
        "From: soumu@example.jp\nSubject: Out of Office: Undeliverable mail",
        "From: soumu@example.jp\nSubject: =?UTF-8?B?6Ieq5YuV5b+c562U?=",
        "From: soumu@example.jp\nSubject: x\nAuto-Submitted: auto-generated",
    ] {
        let got = read(&message(head, &format!("I am away. 550 5.1.1\nIn-Reply-To: <{MARK}@x>"))).unwrap();
        assert_eq!(got.said, Said::AutoReply, "{head}");
    }
    let person =
        read(&message("From: soumu@example.jp\nSubject: Re: your mail", "Who are you? 550 5.1.1")).unwrap();
    assert_eq!(person.said, Said::Other);

    let complaint = |kind: &str| {
        message(
            "From: arf@example.jp\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary=x",
            &format!(
                "--x\nContent-Type: text/plain\n\nx\n--x\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nVersion: 1\n\n--x\n\
                 Content-Type: message/rfc822\n\nMessage-ID: <{MARK}@gateway.example.jp>\nSubject: y\n\nbody\n--x--\n"
            ),
        )
    };
    let got = read(&complaint("abuse")).unwrap();
    assert_eq!((got.said, got.marks), (Said::Complaint, vec![mark()]));
    assert_eq!(read(&complaint("not-spam")).unwrap().said, Said::Other);
    let mdn = message(
        "From: soumu@example.jp\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=disposition-notification; boundary=x",
        "--x\nContent-Type: text/plain\n\nread\n--x\nContent-Type: message/disposition-notification\n\nDisposition: manual-action; displayed\n--x--\n",
    );
    assert_eq!(read(&mdn).unwrap().said, Said::AutoReply);
}

#[test]
fn whatever_comes_is_read_without_harm() {
    for raw in [
        &b""[..],
        b"\r\n\r\n",
        b"\0\xff\xfe",
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n--x\r\n--x",
    ] {
        let _ = read(raw);
    }
    let mut bomb = String::from("MIME-Version: 1.0\n");
    for n in 0..200 {
        bomb.push_str(&format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"));
    }
    let _ = read(bomb.as_bytes());
    let flat: String = (0..5000).map(|_| "--x\nContent-Type: text/plain\n\n550 5.1.1\n").collect();
    let _ = read(&message("MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x", &flat));
    proptest::proptest!(|(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..2000))| {
        let _ = read(&raw);
    });
}

/// What exim 4.96 sends back: its reports say 5.0.0 and leave the rest to words.
#[test]
fn exims_dialect_is_understood() {
    for (n, raw, said, status) in [
        (
            0,
            &include_bytes!("../../../tests/golden/bounces/exim-unrouteable.eml")[..],
            Said::Failed(Fault::Address),
            "5.1.2",
        ),
        (
            1,
            &include_bytes!("../../../tests/golden/bounces/exim-full.eml")[..],
            Said::Failed(Fault::Passing),
            "5.2.2",
        ),
        (
            2,
            &include_bytes!("../../../tests/golden/bounces/exim-no-domain.eml")[..],
            Said::Failed(Fault::Address),
            "5.1.2",
        ),
        (
            3,
            &include_bytes!("../../../tests/golden/bounces/exim-remote.eml")[..],
            Said::Failed(Fault::Address),
            "5.1.1",
        ),
        (4, &include_bytes!("../../../tests/golden/bounces/exim-delayed.eml")[..], Said::Delayed, "4.0.0"),
    ] {
        let got = read(raw).unwrap();
        let mark =
            Mark::of_message_id(&format!("m1-000123-6.{:016x}@gateway.example.jp", 0x100 + n)).unwrap();
        assert_eq!(
            (got.said, got.status.map(|s| s.to_string()).as_deref(), got.marks),
            (said, Some(status), vec![mark]),
            "{n}"
        );
        assert!(got.recipient.is_some());
    }
}
