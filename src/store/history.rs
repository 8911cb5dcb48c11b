//! `/history/sent.csv` and `/history/received.csv`: what a clerk opens in a spreadsheet (K38: date and time, not
//! content).

use chrono_tz::Tz;

use super::blobs::Blobs;
use super::cards;
use super::ledger::{Ledger, LedgerError, SubmissionFilter, Swept};
use crate::model::account_history::AccountFactKind;
use crate::model::card::{DocumentCard, SubmissionCard};
use crate::model::escape;
use crate::model::finding::{Language, Text};
use crate::model::party::Account;
use crate::model::renewal::RenewalStage;
use crate::model::submission::{Kind, State};
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
        at.map(|at| at.utc().with_timezone(&self.zone).format("%Y-%m-%d %H:%M:%S").to_string())
            .unwrap_or_default()
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
                    s.office.map(|o| o.to_string()).unwrap_or_default(),
                    state_word(s.state, language).to_owned(),
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
                ],
            );
        }
        Ok(out)
    }
}
