//! `/history/sent.csv`, `/history/received.csv` and `/history/mails.csv`: what a clerk opens in a spreadsheet (K38: date and time, not
//! content).

use chrono_tz::Tz;

use super::blobs::Blobs;
use super::cards;
use super::ledger::{
    ApplicationFilter, CertificateFilter, Ledger, LedgerError, MailFilter, SubmissionFilter, Swept,
};
use crate::model::account_history::AccountFactKind;
use crate::model::application::{Application, ApplicationKind, ApplicationState};
use crate::model::card::{DocumentCard, SubmissionCard};
use crate::model::certificate::{Certificate, CertificateStanding};
use crate::model::escape;
use crate::model::finding::{Language, Text};
use crate::model::mail::{ADDRESS_MARKED, Mail, MailState, Report, Subject};
use crate::model::party::Account;
use crate::model::renewal::RenewalStage;
use crate::model::submission::{Kind, State, Submission};
use crate::model::time::Timestamp;

/// Makes histories.
pub struct Reader<'a> {
    /// Submissions and documents.
    pub ledger: &'a dyn Ledger,
    /// Their cards.
    pub blobs: &'a dyn Blobs,
    /// Times are local.
    pub zone: Tz,
    /// Newest rows shown (`listed_max`).
    pub rows_max: usize,
}

/// A state in a clerk's words.
pub fn state_word(state: State, language: Language) -> &'static str {
    let (ja, en) = match state {
        State::Held => ("確認待ち", "held"),
        State::Accepted | State::Publishing | State::Published => ("受付済み", "accepted"),
        State::Collected => ("健保組合が取込み", "collected"),
        State::Imported => ("取込み完了", "imported"),
        State::ImportFailed => ("健保組合で確認中", "import failed"),
        State::Refused => ("受付不可", "refused"),
        State::Withdrawn => ("取下げ済み", "withdrawn"),
        State::CarriedOut => ("取下げの申し出", "withdrawal"),
    };
    match language {
        Language::Ja => ja,
        Language::En => en,
    }
}

/// An account's event, what it is about, and more about it.
fn fact_words(what: &AccountFactKind, zone: Tz) -> (Text, String, Text) {
    match what {
        AccountFactKind::CertificateEnds { id, ends_at, stage } => {
            let day = ends_at.date_in(zone);
            let event = match stage {
                RenewalStage::Before(_) => Text::new("証明書有効期限切れ事前通知", "certificate ends"),
                RenewalStage::Ended => Text::new("証明書有効期限切れ通知", "certificate has ended"),
            };
            let details = Text::new(format!("有効期限 {day}"), format!("valid until {day}"));
            (event, id.to_string(), details)
        }
        AccountFactKind::ProfileChanged(fields) => {
            let join = |of: fn(&Text) -> &str, with: &str| {
                fields.iter().map(|field| of(&field.words()).to_owned()).collect::<Vec<_>>().join(with)
            };
            let details = Text::new(join(|text| &text.ja, "、"), join(|text| &text.en, ", "));
            (Text::new("登録内容の変更", "registration changed"), String::new(), details)
        }
    }
}

/// The state, and that it was a test (H3).
fn shown_state(submission: &Submission, language: Language) -> String {
    let word = state_word(submission.state, language);
    match (submission.test, language) {
        (false, _) => word.to_owned(),
        (true, Language::Ja) => format!("テスト: {word}"),
        (true, Language::En) => format!("TEST: {word}"),
    }
}

fn row(out: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| escape::csv_field(cell)).collect();
    out.push_str(&cells.join(","));
    out.push_str("\r\n");
}

fn head(language: Language, ja: &[&str], en: &[&str]) -> String {
    let mut out = String::from("\u{feff}");
    let names = match language {
        Language::Ja => ja,
        Language::En => en,
    };
    row(&mut out, &names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    out
}

impl Reader<'_> {
    fn local(&self, at: Option<Timestamp>) -> String {
        at.map(|at| at.shown_in(self.zone)).unwrap_or_default()
    }

    /// What an account sent, newest first.
    pub fn sent(&self, account: &Account) -> Result<String, LedgerError> {
        let language = account.language;
        let mut out = head(
            language,
            &[
                "受付番号",
                "送信日時",
                "種別",
                "事業所",
                "状態",
                "送信者の番号",
                "件名",
                "ファイル数",
                "判定日時",
                "取込日時",
                "取下げ日時",
            ],
            &[
                "number",
                "received",
                "kind",
                "office",
                "state",
                "id",
                "subject",
                "files",
                "decided",
                "collected",
                "withdrawn",
            ],
        );
        let filter = SubmissionFilter { account: Some(account.id.clone()), ..SubmissionFilter::default() };
        let mut sweeps = self.ledger.sweeps(&account.id, self.rows_max)?.into_iter().peekable();
        for s in self.ledger.submissions(&filter, self.rows_max)? {
            while let Some(swept) = sweeps.next_if(|swept| swept.at >= s.received_at) {
                self.swept(&mut out, &swept, language);
            }
            let card: Option<SubmissionCard> = cards::get(self.blobs, &s.card).ok();
            let (id, subject, files) = card.map_or_else(
                || (String::new(), String::new(), 0),
                |c| (c.id.unwrap_or_default(), c.subject.unwrap_or_default(), c.names.len()),
            );
            let kind = match (s.withdraws, s.kind, language) {
                (Some(_), _, Language::Ja) => "取下げ",
                (Some(_), _, Language::En) => "withdrawal",
                (None, Kind::Filing, Language::Ja) => "電子申請",
                (None, Kind::Filing, Language::En) => "filing",
                (None, Kind::Other, Language::Ja) => "電子申請以外",
                (None, Kind::Other, Language::En) => "other",
            };
            row(
                &mut out,
                &[
                    s.number.to_string(),
                    self.local(Some(s.received_at)),
                    kind.to_owned(),
                    s.office.as_ref().map(ToString::to_string).unwrap_or_default(),
                    shown_state(&s, language),
                    id,
                    subject,
                    files.to_string(),
                    self.local(s.decided_at),
                    self.local(s.collected_at),
                    self.local(s.withdrawn_at),
                ],
            );
        }
        for swept in sweeps {
            self.swept(&mut out, &swept, language);
        }
        Ok(out)
    }

    /// An unfinished set that was removed: there is no receipt, only how many files went, and when.
    fn swept(&self, out: &mut String, swept: &Swept, language: Language) {
        let state = match language {
            Language::Ja => "未完成のため削除",
            Language::En => "removed, unfinished",
        };
        let mut cells = vec![String::new(); 11];
        state.clone_into(&mut cells[4]);
        cells[7] = swept.files.to_string();
        cells[8] = self.local(Some(swept.at));
        row(out, &cells);
    }

    /// What happened to the account itself, newest first: what was changed, never what it was changed to.
    pub fn account(&self, account: &Account) -> Result<String, LedgerError> {
        let language = account.language;
        let mut out =
            head(language, &["日時", "できごと", "対象", "内容"], &["at", "event", "about", "details"]);
        for fact in self.ledger.account_history(&account.id, self.rows_max)? {
            let (event, about, details) = fact_words(&fact.what, self.zone);
            let say = |text: &Text| text.get(language).to_owned();
            row(&mut out, &[self.local(Some(fact.at)), say(&event), about, say(&details)]);
        }
        Ok(out)
    }

    /// The account's certificates and applications, newest first, with every state's date (H11-H13).
    pub fn certificates(&self, account: &Account) -> Result<String, LedgerError> {
        let language = account.language;
        let states = ApplicationState::ALL;
        let (ja, en): (Vec<_>, Vec<_>) = states.iter().map(|s| (s.text().ja, s.name().to_owned())).unzip();
        let ja_head = [
            "証明書",
            "種別",
            "鍵の指紋",
            "有効開始",
            "有効終了",
            "状況",
            "申請番号",
            "申請の種類",
            "金額(円)",
        ];
        let en_head = [
            "certificate",
            "kind",
            "key",
            "valid_from",
            "valid_until",
            "state",
            "application",
            "applied_for",
            "fee_jpy",
        ];
        let whole = |head: &[&'static str], more: &[String]| -> Vec<String> {
            head.iter().map(|h| (*h).to_owned()).chain(more.iter().cloned()).collect()
        };
        let names = match language {
            Language::Ja => whole(&ja_head, &ja),
            Language::En => whole(&en_head, &en),
        };
        let mut out = String::from("\u{feff}");
        row(&mut out, &names);
        let filter = CertificateFilter { account: Some(account.id.clone()), ..CertificateFilter::default() };
        let certificates = self.ledger.certificates(&filter, self.rows_max)?;
        let filter = ApplicationFilter { account: Some(account.id.clone()), ..ApplicationFilter::default() };
        let applications = self.ledger.applications(&filter, self.rows_max)?;
        let waiting = applications.iter().filter(|of| of.certificate.is_none());
        for of in waiting {
            row(&mut out, &self.certificate_cells(None, Some(of), language));
        }
        for of in &certificates {
            let application = applications.iter().find(|application| Some(application.id) == of.application);
            row(&mut out, &self.certificate_cells(Some(of), application, language));
        }
        Ok(out)
    }

    fn certificate_cells(
        &self,
        of: Option<&Certificate>,
        application: Option<&Application>,
        language: Language,
    ) -> Vec<String> {
        let say = |text: &Text| text.get(language).to_owned();
        let now = self.ledger.head().at;
        let kind = of.map(|of| match (&of.x509, &of.openssh) {
            (Some(_), Some(_)) => "X.509 + OpenSSH",
            (Some(_), None) => "X.509",
            _ => "OpenSSH",
        });
        let state = of.map(|of| match of.standing_at(now) {
            CertificateStanding::Holds => Text::new("有効", "valid"),
            CertificateStanding::Future => Text::new("有効期間前", "not yet valid"),
            CertificateStanding::Ended => Text::new("期限切れ", "ended"),
            CertificateStanding::Revoked => Text::new("失効", "revoked"),
        });
        let state = state.or_else(|| application.map(|of| of.state.text()));
        let applied = application.map(|of| match of.kind {
            ApplicationKind::New => Text::new("新規", "new"),
            ApplicationKind::Renewal => Text::new("更新", "renewal"),
            ApplicationKind::Reissue => Text::new("再発行", "reissue"),
        });
        let mut cells = vec![
            of.map(|of| of.id.to_string()).unwrap_or_default(),
            kind.unwrap_or_default().to_owned(),
            of.map(|of| of.fingerprint.clone()).unwrap_or_default(),
            self.local(of.map(|of| of.not_before)),
            self.local(of.map(|of| of.not_after)),
            state.as_ref().map(say).unwrap_or_default(),
            application.map(|of| of.id.to_string()).unwrap_or_default(),
            applied.as_ref().map(say).unwrap_or_default(),
            application.map(|of| of.fee.to_string()).unwrap_or_default(),
        ];
        cells.extend(
            ApplicationState::ALL
                .iter()
                .map(|state| self.local(application.and_then(|of| of.entered_at(*state)))),
        );
        cells
    }

    /// What lies in an account's outbox, oldest first.
    pub fn received(&self, account: &Account) -> Result<String, LedgerError> {
        let language = account.language;
        let mut out = head(
            language,
            &[
                "文書番号",
                "到着日時",
                "事業所",
                "種類",
                "標題",
                "ファイル名",
                "大きさ",
                "保管期限",
                "初回取得",
                "最終取得",
                "対象の受付番号",
                "途中までの取得",
                "期限後も保管",
            ],
            &[
                "document",
                "placed",
                "office",
                "type",
                "title",
                "file",
                "bytes",
                "kept_until",
                "first_fetched",
                "last_fetched",
                "in_reply_to",
                "partly_fetched",
                "held",
            ],
        );
        for d in self.ledger.documents(&account.id, None, None, self.rows_max)? {
            let card: Option<DocumentCard> = cards::get(self.blobs, &d.card).ok();
            row(
                &mut out,
                &[
                    d.id.to_string(),
                    self.local(Some(d.placed_at)),
                    d.office.to_string(),
                    d.kind.clone(),
                    card.map(|c| c.title).unwrap_or_default(),
                    d.name(),
                    d.size.to_string(),
                    self.local(Some(d.expires_at)),
                    self.local(d.fetched.map(|f| f.0)),
                    self.local(d.fetched.map(|f| f.1)),
                    d.in_reply_to.map(|n| n.to_string()).unwrap_or_default(),
                    self.local(d.partly_fetched.filter(|_| d.fetched.is_none()).map(|(at, _)| at)),
                    d.hold.map(|hold| self.local(Some(hold.since))).unwrap_or_default(),
                ],
            );
        }
        Ok(out)
    }

    /// Mails about this account, newest first: what became of each, so that a clerk sees that an address does not work.
    pub fn mails(&self, account: &Account) -> Result<String, LedgerError> {
        let language = account.language;
        let mut out = head(
            language,
            &["メール番号", "作成日時", "内容", "状態", "届かなかった理由", "確認日時"],
            &["mail", "made", "about", "state", "why_not", "noticed"],
        );
        let filter = MailFilter { account: Some(account.id.clone()), ..MailFilter::default() };
        for mail in self.ledger.mails(&filter, self.rows_max)? {
            let (state, why, at) = mail_words(&mail);
            let cells = [
                mail.id.to_string(),
                self.local(Some(mail.sealed_at)),
                about_word(&mail.subject).get(language).to_owned(),
                state.get(language).to_owned(),
                why.get(language).to_owned(),
                self.local(at),
            ];
            row(&mut out, &cells);
        }
        Ok(out)
    }
}

/// What a mail is about, in a clerk's words.
fn about_word(subject: &Subject) -> Text {
    match subject {
        Subject::Arrival(documents) => {
            let n = documents.len();
            Text::new(format!("文書の到着 {n}件"), format!("{n} document(s) arrived"))
        }
        Subject::Refusal(number) => {
            Text::new(format!("受理されなかった送信 {number}"), format!("{number} was refused"))
        }
        Subject::Application(id, _) => Text::new(format!("証明書の申請 {id}"), format!("application {id}")),
        Subject::Login(_) => Text::new("ログインまたはパスワード", "login or password"),
        Subject::Swept => Text::new("未完成の送信の削除", "unfinished files were removed"),
        Subject::Recall(document) => {
            Text::new(format!("文書の取り消し {document}"), format!("{document} was recalled"))
        }
        Subject::Notice { kind, .. } => Text::new(format!("お知らせ ({kind})"), kind.clone()),
    }
}

/// State, why it did not arrive, and when that was noticed.
fn mail_words(mail: &Mail) -> (Text, Text, Option<Timestamp>) {
    let none = || Text::new("", "");
    let marked = || {
        Text::new(
            "メールアドレスに届きません。アドレスを変更してください",
            "nobody reads mail at the address; please change it",
        )
    };
    if let Some(report) = mail.report.as_ref().filter(|report| report.proven) {
        let status = report.status.clone().unwrap_or_default();
        let at = Some(report.at);
        match report.report {
            Report::Unreachable => {
                let why = marked();
                let why = Text::new(format!("{} {status}", why.ja), format!("{} {status}", why.en));
                return (Text::new("不達", "not delivered"), why, at);
            }
            Report::Failed => {
                let why = Text::new(
                    format!("相手のサーバーが受け取りませんでした {status}"),
                    format!("the other host did not take it {status}"),
                );
                return (Text::new("不達", "not delivered"), why, at);
            }
            Report::Delayed => return (Text::new("遅延", "delayed"), none(), at),
            Report::Delivered => return (Text::new("配達済み", "delivered"), none(), at),
            Report::Relayed | Report::Complaint | Report::AutoReply | Report::Member => {}
        }
    }
    let reply = mail.last_reply.clone().unwrap_or_default();
    match mail.state {
        MailState::Queued => (Text::new("送信待ち", "queued"), none(), None),
        MailState::Sent => (Text::new("送信済み", "sent"), none(), None),
        MailState::Dropped => (Text::new("取りやめ", "dropped"), none(), None),
        MailState::Failed if reply == ADDRESS_MARKED => (Text::new("未送信", "not sent"), marked(), None),
        MailState::Failed => (Text::new("不達", "not delivered"), Text::new(reply.clone(), reply), None),
    }
}
