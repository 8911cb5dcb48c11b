//! Sending, end to end: the real daemon, stock OpenSSH.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may end where it fails")]

mod support;

use support::gateway::{ACCOUNT, Gateway};

#[test]
fn a_set_sent_as_the_contract_says_is_accepted_and_published() {
    let gateway = Gateway::new();
    let set = gateway.set(3);
    let receipt = gateway.send_taken(ACCOUNT, &set);
    assert_eq!(receipt["outcome"], "accepted", "{receipt:#}");
    let number = receipt["number"].as_str().unwrap();
    gateway.reaches(number, "published");
    assert!(gateway.insurer_spool().join("new").join(number).join("FILES.sha256").is_file());
}
