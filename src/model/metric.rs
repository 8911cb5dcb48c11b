//! Names of the figures that are counted, with their units and labels: used with `metrics::counter!` and its sisters, by
//! whoever does the thing; described, bucketed and served by the metrics door.

/// Counter, label `verdict` (accepted, held, refused): submissions judged.
pub const SUBMISSIONS: &str = "todoke_submissions_total";
/// Counter: bytes taken in over SFTP.
pub const UPLOAD_BYTES: &str = "todoke_upload_bytes_total";
/// Histogram: bytes of one uploaded file.
pub const UPLOAD_FILE_BYTES: &str = "todoke_upload_file_bytes";
/// Histogram: seconds from the close that completes a submission to its verdict.
pub const VERDICT_SECONDS: &str = "todoke_verdict_seconds";
/// Histogram: seconds of one journal fsync.
pub const JOURNAL_FSYNC_SECONDS: &str = "todoke_journal_fsync_seconds";
/// Histogram, label `result` (sent, deferred, failed): seconds of one attempt to send a mail.
pub const MAIL_ATTEMPT_SECONDS: &str = "todoke_mail_attempt_seconds";
/// Histogram, label `result` (`clean`, `infected`, `not_scanned`, `down`): seconds of one scan.
pub const SCAN_SECONDS: &str = "todoke_scan_seconds";
/// Counter: documents placed in outboxes.
pub const DOCUMENTS_PLACED: &str = "todoke_documents_placed_total";
/// Counter, label `reason` (expired, recalled): documents removed.
pub const DOCUMENTS_REMOVED: &str = "todoke_documents_removed_total";
/// Counter, label `result` (accepted, refused): logins.
pub const LOGINS: &str = "todoke_logins_total";
/// Gauge: SFTP sessions open now.
pub const SESSIONS: &str = "todoke_sessions";
/// Gauge: submissions held now.
pub const SUBMISSIONS_HELD: &str = "todoke_submissions_held";
/// Gauge: mails waiting now.
pub const MAILS_QUEUED: &str = "todoke_mails_queued";
/// Gauge: free bytes where the data root lies.
pub const DISK_FREE_BYTES: &str = "todoke_disk_free_bytes";
/// Gauge: sequence number of the journal's last event.
pub const JOURNAL_SEQUENCE: &str = "todoke_journal_sequence";
/// Gauge: days since the virus patterns were made; -1 when the scanner tells no date.
pub const PATTERN_AGE_DAYS: &str = "todoke_pattern_age_days";
/// Gauge, label `code`: alarms that hold now.
pub const ALARMS: &str = "todoke_alarms";
/// Counter: batches closed at cut-offs.
pub const BATCHES: &str = "todoke_batches_total";
/// Gauge: local days that ended and whose books are not closed.
pub const DAYS_OPEN: &str = "todoke_days_open";
/// Gauge: 1 when the scanner answered last, else 0.
pub const SCANNER_UP: &str = "todoke_scanner_up";
/// Gauge, label `days` (1, 7, 30, 90): certificates that end within so many days, or have ended, with no successor in use.
pub const CERTIFICATES_ENDING: &str = "todoke_certificates_ending";
/// Gauge: certificates among them whose successor is issued and was not used yet.
pub const CERTIFICATES_UNUSED: &str = "todoke_certificates_unused";
