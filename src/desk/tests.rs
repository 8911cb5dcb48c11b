use super::*;

#[test]
fn what_the_command_line_asks_survives_the_socket() {
    use crate::model::ids::AccountId;
    use crate::work::parties::{AccountForm, Mode, PartyName};
    let account = AccountId::parse("K0001").unwrap();
    for request in [
        Request::Status,
        Request::Party(PartyRequest::SetAccount(Box::new(AccountForm::of(account.clone())), Mode::Add)),
        Request::Party(PartyRequest::Show(PartyName::Account(account))),
        Request::Purge(PurgeRequest::DryRun(Timestamp(5))),
        Request::Mail(MailRequest::Test {
            to: "a@example.jp".to_owned(),
            kind: Some("arrival".to_owned()),
            language: crate::model::finding::Language::En,
        }),
    ] {
        let line = serde_json::to_vec(&request).unwrap();
        let back: Request = serde_json::from_slice(&line).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
    }
    assert!(
        serde_json::from_str::<Request>("{\"party\":{\"set_insurer\":[{\"code\":\"1\"},\"add\"]}}").is_err()
    );
}

#[test]
fn trouble_keeps_its_kind_over_the_socket() {
    let told: Response = Err(Trouble::refused("EXISTS", "it exists"));
    let line = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Response>(&line).unwrap(), told);
    assert!(told.is_err_and(|trouble| trouble.to_string() == "EXISTS it exists"));
}
