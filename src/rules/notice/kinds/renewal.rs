//! A certificate ends, or has ended (証明書有効期限切れ事前通知, C); and the operator's list of such certificates.

use chrono::NaiveDate;

use super::{Addressed, CONTACT, INSURER, Kind, Notice, OFFICE, body, may, must, sample_day};
use crate::model::finding::{Language, Text};
use crate::model::ids::CertificateId;
use crate::model::renewal::RenewalStage;
use crate::rules::notice::words::Values;
use crate::rules::renewal::Need;

pub(super) static KIND: Kind = Kind {
    name: "certificate-ends",
    default_text: include_str!("../../../../conf/notices/certificate-ends.toml"),
    slots: &[
        OFFICE,
        INSURER,
        must("account"),
        must("certificate"),
        must("last_day"),
        must("days"),
        body("todo"),
        CONTACT,
    ],
    sample: |language| sample(RenewalStage::Before(30)).values(language),
};

pub(super) static ENDED_KIND: Kind = Kind {
    name: "certificate-ended",
    default_text: include_str!("../../../../conf/notices/certificate-ended.toml"),
    slots: &[OFFICE, INSURER, must("account"), must("certificate"), must("last_day"), body("todo"), CONTACT],
    sample: |language| sample(RenewalStage::Ended).values(language),
};

pub(super) static LIST_KIND: Kind = Kind {
    name: "renewals",
    default_text: include_str!("../../../../conf/notices/renewals.toml"),
    slots: &[may("gateway"), must("count"), may("tomorrow"), body("certificates")],
    sample: |language| {
        let row = RenewalRow {
            account: "K0001".to_owned(),
            certificate: "C1-000012-3".to_owned(),
            last_day: sample_day(24),
            need: Text::new("更新が必要", "to be renewed"),
        };
        RenewalList { gateway: "todoke".to_owned(), tomorrow: 1, rows: vec![row] }.values(language)
    },
};

/// A certificate ends, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEndsNotice {
    /// Office (the account's first, where it acts for several).
    pub to: Addressed,
    /// Whose: a mailbox may serve several (K9).
    pub account: String,
    /// Which.
    pub certificate: CertificateId,
    /// The last whole day on which it may be used.
    pub last_day: NaiveDate,
    /// Local days until then.
    pub days: i64,
    /// What is said.
    pub stage: RenewalStage,
    /// What is to be done.
    pub need: Need,
    /// It was applied for, and waits for somebody.
    pub waits: bool,
    /// The account may also log in by a registered key, which does not end.
    pub has_key: bool,
}

fn sample(stage: RenewalStage) -> CertificateEndsNotice {
    CertificateEndsNotice {
        to: Addressed::sample(),
        account: "K0001".to_owned(),
        certificate: CertificateId { epoch: 1, serial: 12 },
        last_day: sample_day(30),
        days: 7,
        stage,
        need: Need::Renew,
        waits: false,
        has_key: true,
    }
}

impl CertificateEndsNotice {
    fn todo(&self) -> Text {
        if self.waits {
            return Text::new(
                "更新の申請は受け付けています。発行されると、あらためてメールでお知らせします。",
                "The renewal was applied for. You will be told by mail when the new certificate is issued.",
            );
        }
        if let Need::Use(next) = self.need {
            return Text::new(
                format!(
                    "新しい証明書({next})は発行済みですが、まだ使われていません。\n\
                     送信に使うシステムのご担当者に、次の作業をお願いしてください。\n\
                     /account/ から {next}.crt または {next}-cert.pub を受信し、\n\
                     新しい鍵とともにシステムに設定します。"
                ),
                format!(
                    "The new certificate ({next}) is issued and was not used yet.\n\
                     Fetch {next}.crt or {next}-cert.pub from /account/ and install it\n\
                     with the new key in your system."
                ),
            );
        }
        let how = Text::new(
            "送信に使うシステムのご担当者に、次の作業をお願いしてください。\n\
             新しい鍵を作り、その公開鍵を /account/renew.pub として\n\
             (証明書署名要求なら /account/renew.csr として)送信します。\n\
             新しい証明書は /account/ に置かれます。\n\
             今の期限までは、新旧どちらの証明書も使えます。",
            "Please ask whoever looks after your sending system to do this:\n\
             make a new key and put its public half as /account/renew.pub (or a\n\
             certificate request as /account/renew.csr). The new certificate\n\
             appears in /account/. Both may be used until the present one ends.",
        );
        match (self.stage, self.has_key) {
            (RenewalStage::Before(_), _) => how,
            (RenewalStage::Ended, true) => Text::new(
                format!("登録済みの SSH 鍵では、今もログインできます。\n{}", how.ja),
                format!("The registered SSH key still logs in.\n{}", how.en),
            ),
            (RenewalStage::Ended, false) => Text::new(
                "この証明書では、もうログインできません。新しい鍵を作り、その公開鍵を\n\
                 下記の窓口へ届けて、証明書の更新をお申し出ください。受け取りのための\n\
                 ログインとパスワードをお渡しします。",
                "It logs in no more. Make a new key, hand its public half to the\n\
                 contact below and ask for the renewal. You get a login and a password\n\
                 to fetch the new certificate with.",
            ),
        }
    }
}

impl Notice for CertificateEndsNotice {
    fn kind(&self) -> &'static Kind {
        if self.stage == RenewalStage::Ended { &ENDED_KIND } else { &KIND }
    }
    fn values(&self, language: Language) -> Values {
        self.to
            .values(language)
            .line("account", &self.account)
            .number("certificate", self.certificate)
            .day("last_day", self.last_day)
            .number("days", self.days.max(0))
            .text("todo", &self.todo())
    }
}

/// One line of the operator's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalRow {
    /// Whose.
    pub account: String,
    /// Which.
    pub certificate: String,
    /// Its last day.
    pub last_day: NaiveDate,
    /// What it needs.
    pub need: Text,
}

/// Certificates that end soon, or ended, and were not replaced: for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalList {
    /// The gateway's name.
    pub gateway: String,
    /// How many of them end by tomorrow, or have ended.
    pub tomorrow: usize,
    /// All of them, the most urgent first.
    pub rows: Vec<RenewalRow>,
}

impl Notice for RenewalList {
    fn kind(&self) -> &'static Kind {
        &LIST_KIND
    }
    fn values(&self, language: Language) -> Values {
        let rows = self.rows.iter().map(|row| {
            let need = row.need.get(language);
            let line = format!("{}  {}  {}  {need}", row.last_day, row.account, row.certificate);
            format!("  {}", crate::rules::notice::clean(&line, 100))
        });
        Values::new(language)
            .line("gateway", &self.gateway)
            .number("count", self.rows.len())
            .number("tomorrow", self.tomorrow)
            .list("certificates", rows)
    }
}
