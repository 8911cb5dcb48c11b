//! The log: operators' lines in English, as text or JSON, on standard error. One event is one line, whatever strangers put
//! into its fields.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::model::time::{Clock, SystemClock};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level, part, words, fields.
    #[default]
    Text,
    /// Without the time and with a priority (`<4>`), as the journal of systemd likes it.
    Journal,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// What to use where nothing is configured: [`LogFormat::Journal`] when standard error is the journal.
    pub fn usual() -> Self {
        let named = std::env::var("JOURNAL_STREAM").ok();
        let here = rustix::fs::fstat(std::io::stderr()).ok().map(|s| format!("{}:{}", s.st_dev, s.st_ino));
        if named.is_some() && named == here { Self::Journal } else { Self::Text }
    }
}

/// Overrides the configured level: `TODOKE_LOG=debug`, `TODOKE_LOG=info,todoke::doors::sftp=trace`.
pub const LEVEL_VARIABLE: &str = "TODOKE_LOG";

/// Why logging cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level.
    #[error(
        "{0:?} is not a log level: allowed are error, warn, info, debug, trace, off, and lists such as info,todoke::doors::sftp=debug"
    )]
    Level(String),
    /// A second time in one process.
    #[error("logging was set up already")]
    Twice,
    /// The log is gone.
    #[error("the log's level can no longer be changed")]
    Gone,
}

/// Changes the level of a running log.
#[derive(Debug, Clone)]
pub struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    /// From now on.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        self.0.reload(filter(level)?).map_err(|_| LogError::Gone)
    }
}

/// Longest list of levels.
const LEVEL_BYTES_MAX: usize = 1000;

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let wrong = || LogError::Level(level.chars().take(80).collect());
    // The parser takes any single word for the name of a part and logs nothing else: "inof" would silence the log.
    let names_level = |d: &str| {
        let level = d.rsplit_once('=').map_or(d, |(_, level)| level).trim();
        level.eq_ignore_ascii_case("off") || level.parse::<Level>().is_ok()
    };
    if level.len() > LEVEL_BYTES_MAX || level.trim().is_empty() || !level.split(',').all(names_level) {
        return Err(wrong());
    }
    EnvFilter::builder().parse(level).map_err(|_| wrong())
}

/// Starts logging to standard error, once in a process. The environment's [`LEVEL_VARIABLE`] wins over `level`.
pub fn install(format: LogFormat, level: &str) -> Result<LogLevel, LogError> {
    let from_env = std::env::var(LEVEL_VARIABLE).ok().filter(|l| !l.is_empty());
    let (subscriber, handle) = build(format, from_env.as_deref().unwrap_or(level), std::io::stderr)?;
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    Ok(handle)
}

/// A subscriber that writes to `writer`.
fn build<W>(
    format: LogFormat,
    level: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, LogLevel), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer).event_format(Line(format));
    Ok((tracing_subscriber::registry().with(filter).with(lines), LogLevel(handle)))
}

/// Writes one event as one line.
struct Line(LogFormat);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let now = SystemClock.now();
        if self.0 == LogFormat::Json {
            let mut object = serde_json::Map::new();
            object.insert("at".into(), now.to_string().into());
            object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
            object.insert("target".into(), target.into());
            object.insert("message".into(), fields.message.into());
            let rest = fields.others.into_iter().map(|(name, value)| (name.to_owned(), value));
            // In an object of their own, where no field can pass for the log's own ones.
            object.insert("fields".into(), rest.collect::<serde_json::Map<_, _>>().into());
            let text = serde_json::to_string(&object).map_err(|_| fmt::Error)?;
            return writeln!(out, "{}", Escaped(&text));
        }
        match self.0 {
            LogFormat::Journal => write!(out, "<{}>{target}: ", priority(*level))?,
            _ => write!(out, "{now} {level:>5} {target}: ")?,
        }
        write!(out, "{}", Escaped(&fields.message))?;
        for (name, value) in &fields.others {
            match value {
                serde_json::Value::String(text) if is_bare(text) => write!(out, " {name}={text}")?,
                serde_json::Value::String(text) => write!(out, " {name}={}", Quoted(text))?,
                other => write!(out, " {name}={other}")?,
            }
        }
        writeln!(out)
    }
}

/// As syslog counts.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Longest message or field.
const FIELD_CHARS_MAX: usize = 4000;

/// An event's message and its other fields in order.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn text(&mut self, field: &Field, text: &str) {
        let text = match text.char_indices().nth(FIELD_CHARS_MAX) {
            Some((at, _)) => format!("{}...", &text[..at]),
            None => text.to_owned(),
        };
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), text.into()));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push((field.name(), value.into()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), value.into()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push((field.name(), value.into()));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push((field.name(), value.into()));
    }
}

/// Needs no quotes: nothing in it could be taken for another field.
fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !must_escape(c) && !matches!(c, '"' | '=' | '\\'))
}

/// Characters that could begin a line, drive a terminal, or turn the reading direction.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text with such characters as `\n`, `\u{1b}`.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if must_escape(c) {
                // Unlike `\u{1b}`, four digits are an escape in JSON too; all these characters fit.
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c => write!(f, "\\u{:04x}", u32::from(c))?,
                }
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The same in quotes, with quotes and backslashes escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.0.replace('\\', "\\\\").replace('"', "\\\"");
        write!(f, "\"{}\"", Escaped(&inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    fn logging(format: LogFormat, level: &str, log: impl FnOnce(&LogLevel, &Sink)) {
        let sink = Sink::default();
        let writer = sink.clone();
        let (subscriber, handle) = build(format, level, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&handle, &sink));
    }

    const NASTY: &str = "a\nFAKE ERROR line\r\u{1b}[2J\u{202e}gpj \"q\" \\ x=1\u{2028}";

    #[test]
    fn one_event_is_one_line_whatever_is_in_it() {
        logging(LogFormat::Text, "info", |_, sink| {
            tracing::info!(name = NASTY, size = 3, fine = "yes", "login refused: {NASTY}");
            let line = sink.take();
            assert_eq!(line.matches(['\n', '\r', '\u{2028}', '\u{1b}', '\u{202e}']).count(), 1, "{line:?}");
            assert!(
                line.contains(
                    r#" name="a\nFAKE ERROR line\r\u001b[2J\u202egpj \"q\" \\ x=1\u2028" size=3 fine=yes"#
                ),
                "{line}"
            );
            assert!(line.contains("  INFO todoke::doors::log::tests: login refused: a\\nFAKE"), "{line}");
            assert_eq!(line.as_bytes()[23], b'Z', "an RFC 3339 time leads: {line}");
        });
    }

    #[test]
    fn json_is_one_object_and_reads_back() {
        logging(LogFormat::Json, "info", |_, sink| {
            tracing::warn!(message_id = NASTY, level = "forged", bytes = 7_u64, ok = true, "disk {}", NASTY);
            let line = sink.take();
            assert_eq!(line.matches(['\n', '\u{2028}', '\u{202e}']).count(), 1, "{line:?}");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["level"], "warn");
            assert_eq!(value["fields"]["message_id"], NASTY);
            assert_eq!(value["fields"]["level"], "forged");
            assert_eq!((&value["fields"]["bytes"], &value["fields"]["ok"]), (&7.into(), &true.into()));
            assert_eq!(value["message"], format!("disk {NASTY}"));
        });
    }

    #[test]
    fn the_journal_gets_priorities_and_no_time() {
        logging(LogFormat::Journal, "debug", |_, sink| {
            tracing::error!("bad");
            tracing::debug!("dull");
            assert_eq!(
                sink.take(),
                "<3>todoke::doors::log::tests: bad\n<7>todoke::doors::log::tests: dull\n"
            );
        });
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        logging(LogFormat::Text, "warn", |level, sink| {
            tracing::info!("unseen");
            assert_eq!(sink.take(), "");
            level.set("info,todoke::doors::log=debug").unwrap();
            tracing::debug!("seen");
            assert!(sink.take().contains("seen"));
            for wrong in ["inof", "", "info,", "todoke=loud", "info;debug"] {
                assert!(matches!(level.set(wrong), Err(LogError::Level(_))), "{wrong}");
            }
            tracing::debug!("still");
            assert!(sink.take().contains("still"), "a refused level changes nothing");
        });
    }

    #[test]
    fn over_long_fields_are_cut() {
        logging(LogFormat::Text, "info", |_, sink| {
            tracing::info!(name = "あ".repeat(100_000).as_str(), "x");
            assert_eq!(sink.take().chars().filter(|c| *c == 'あ').count(), FIELD_CHARS_MAX);
        });
    }
}
