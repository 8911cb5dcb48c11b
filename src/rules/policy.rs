//! Policies that belong to no single component: how the gateway is called, how much one account may send, how many
//! sessions it may have. Values only; the configuration fills them.

use chrono_tz::Tz;
use serde::Deserialize;

use crate::model::finding::Language;

/// `[gateway]`: what the whole gateway shares.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayPolicy {
    /// How it calls itself in mails, receipts and logs.
    pub name: String,
    /// The data root, relative to the folder that holds `conf/`.
    pub root: String,
    /// Where days begin and end, IANA name.
    #[serde(deserialize_with = "zone")]
    pub zone: Tz,
    /// Language of accounts that chose none.
    pub language: Language,
}

fn zone<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Tz, D::Error> {
    let name = String::deserialize(from)?;
    name.parse().map_err(|_| serde::de::Error::custom("must be an IANA zone, such as Asia/Tokyo"))
}

impl Default for GatewayPolicy {
    fn default() -> Self {
        Self {
            name: "todoke".to_owned(),
            root: "spool".to_owned(),
            zone: chrono_tz::Asia::Tokyo,
            language: Language::Ja,
        }
    }
}

/// `[control]`: the Unix socket through which the command line talks to the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlPolicy {
    /// Unix group (name or number) that may use it beside the daemon's own user and root; empty means nobody.
    pub group: String,
    /// Commands under way at the same time.
    pub clients_max: usize,
    /// A command line that stays silent for so long is disconnected.
    pub timeout_seconds: u64,
    /// The largest file that `deliver` or `import` may bring.
    pub payload_bytes_max: u64,
}

impl Default for ControlPolicy {
    fn default() -> Self {
        Self { group: String::new(), clients_max: 32, timeout_seconds: 30, payload_bytes_max: 256 << 20 }
    }
}

/// `[reconciliation]`: the books of each day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconciliationPolicy {
    /// So many days' books are shown to accounts in `/history/reconciliation`.
    pub shown_days: u32,
    /// Books are kept for so many days.
    pub keep_days: u32,
    /// Blobs whose hash `todoke reconcile` looks at, of those that are there, unless it is told to look at all.
    pub sample: u32,
}

impl Default for ReconciliationPolicy {
    fn default() -> Self {
        Self { shown_days: 93, keep_days: 3_660, sample: 200 }
    }
}

/// `[sessions]`: logins at the same time (K14).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsPolicy {
    /// Of an account that people use. Connections of one key from one address count as one.
    pub person_max: usize,
    /// Of an account that a payroll system uses (`account add --machine`).
    pub machine_max: usize,
    /// Connections of one enrolment login.
    pub enrolment_max: usize,
}

impl Default for SessionsPolicy {
    fn default() -> Self {
        Self { person_max: 1, machine_max: 8, enrolment_max: 4 }
    }
}

/// `[submit]`: what one account may send, and how long todoke waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SubmitPolicy {
    /// The close that completes a set waits this long for the verdict.
    pub verdict_wait_seconds: u64,
    /// Sets judged at the same time.
    pub intake_threads: usize,
    /// Complete sets that may wait for a thread; beyond, a close is answered "try again".
    pub sets_waiting_max: usize,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of unfinished sets in one account's drop-box.
    pub account_bytes_max: u64,
    /// Files of unfinished sets in one account's drop-box.
    pub account_files_max: usize,
    /// Folders in one account's drop-box.
    pub account_folders_max: usize,
    /// Below so much free disk nothing is taken in.
    pub free_bytes_min: u64,
    /// Refused submissions of one account in an hour; beyond that it is told to wait.
    pub refusals_per_hour_max: usize,
    /// Files of a set that stays unfinished are removed after so many hours.
    pub unfinished_hours: u32,
    /// The same files under another manifest are held until the operator has looked (else they pass).
    pub hold_same_content: bool,
    /// A receipt's `# id:` is reserved for a filing year that begins in this month.
    pub year_begins_month: u32,
    /// Bytes of a file that is put into `/account`.
    pub self_service_file_bytes_max: usize,
    /// Newest submissions or documents that `/receipts` and `/history` show.
    pub listed_max: usize,
}

impl Default for SubmitPolicy {
    fn default() -> Self {
        Self {
            verdict_wait_seconds: 8,
            intake_threads: 64,
            sets_waiting_max: 1_000,
            file_bytes_max: 100 << 20,
            account_bytes_max: 2 << 30,
            account_files_max: 2_000,
            account_folders_max: 500,
            free_bytes_min: 1 << 30,
            refusals_per_hour_max: 60,
            unfinished_hours: 72,
            hold_same_content: true,
            year_begins_month: 4,
            self_service_file_bytes_max: 64 << 10,
            listed_max: 10_000,
        }
    }
}

/// `[signatures]`: what certificates of external authorities are held against.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct SignaturesPolicy {
    /// Files with lists of revoked certificates, DER or PEM. A list past its date refuses its authority's certificates.
    pub revocation_lists: Vec<String>,
    /// An X.509 certificate must name a purpose; if not, one that names none is for any.
    pub purpose_required: bool,
}

/// `[accounts]` of an insurer's file: how many accounts an office may have (K4 K10).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsPolicy {
    /// What happens when an office gets a second account of its own.
    pub second_account: SecondAccount,
}

/// What happens when an office gets a second account of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum SecondAccount {
    /// It is made.
    Allow,
    /// It is made, and the operator is told.
    #[default]
    Warn,
    /// It is refused, but for `--second`.
    Refuse,
}

/// `[delegations]` of an insurer's file: what an ended delegation leaves behind (K13 K16).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(try_from = "DelegationTable")]
pub struct DelegationPolicy {
    /// Where an answer goes whose filer acts for the office no more.
    pub late_answer: LateAnswer,
    /// What was placed for the office while the delegation held.
    pub ended_outbox: EndedOutbox,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct DelegationTable {
    late_answer: LateAnswer,
    ended_outbox: EndedOutbox,
}

impl TryFrom<DelegationTable> for DelegationPolicy {
    type Error = &'static str;

    fn try_from(table: DelegationTable) -> Result<Self, Self::Error> {
        let DelegationTable { late_answer, ended_outbox } = table;
        if late_answer == LateAnswer::Filer && ended_outbox == EndedOutbox::Close {
            return Err(
                "late_answer = \"filer\" puts answers where ended_outbox = \"close\" shows nothing, so that nobody \
                        could read them; choose late_answer = \"office\" or \"paper\", or ended_outbox = \"keep\"",
            );
        }
        Ok(Self { late_answer, ended_outbox })
    }
}

/// Where an answer goes whose filer acts for the office no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum LateAnswer {
    /// To the office's own account; without one it is reported as paper.
    #[default]
    Office,
    /// To the account that filed all the same (K13 to the letter).
    Filer,
    /// It is reported as paper.
    Paper,
}

/// What becomes of an outbox whose delegation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum EndedOutbox {
    /// What lies there can be fetched until it expires: it answers what the account filed (K13).
    #[default]
    Keep,
    /// It is not shown any more, from the day after the last one.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_do_not_go_into_an_outbox_that_is_not_shown() {
        let read = |text: &str| toml::from_str::<DelegationPolicy>(text);
        assert_eq!(read("late_answer = \"filer\"").unwrap().late_answer, LateAnswer::Filer);
        assert_eq!(read("ended_outbox = \"close\"").unwrap().ended_outbox, EndedOutbox::Close);
        let error = read("late_answer = \"filer\"\nended_outbox = \"close\"").unwrap_err().to_string();
        assert!(error.contains("nobody could read them"), "{error}");
        assert!(read("late = 1").is_err());
    }
}
