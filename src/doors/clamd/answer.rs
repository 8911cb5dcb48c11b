//! What clamd's answers mean.

use chrono::NaiveDateTime;

use crate::work::ports::{Patterns, ScannerDown, Unscanned};

/// What `INSTREAM` answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Clean,
    Found(String),
    Not(Unscanned),
}

/// Reads `stream: OK`, `stream: NAME FOUND`, `... ERROR`.
pub(super) fn parse_verdict(text: &str, size: u64) -> Result<Verdict, ScannerDown> {
    let said = text.strip_prefix("stream: ").unwrap_or(text);
    if said == "OK" && text != said {
        return Ok(Verdict::Clean);
    }
    if let Some(name) = said.strip_suffix(" FOUND").filter(|name| !name.is_empty() && text != said) {
        let limit = name.starts_with("Heuristics.Limits.Exceeded");
        return Ok(if limit {
            Verdict::Not(Unscanned::Limit { limit: name.into() })
        } else {
            Verdict::Found(name.into())
        });
    }
    let Some(error) = said.strip_suffix("ERROR").map(|e| e.trim_end_matches(['.', ' '])) else {
        return Err(ScannerDown::Garbled(shortened(text)));
    };
    if error.contains("size limit exceeded") {
        return Ok(Verdict::Not(Unscanned::TooLarge { size }));
    }
    // About the scanner rather than the content: later it may be well again. Anything else would come back the same.
    let unwell = [
        "memory",
        "temporary",
        "tempfile",
        "database",
        "engine",
        "timed out",
        "command",
        "thread",
        "open file",
        "write",
    ];
    let lower = error.to_ascii_lowercase();
    if unwell.iter().any(|word| lower.contains(word)) {
        return Err(ScannerDown::Unwell(shortened(error)));
    }
    Ok(Verdict::Not(Unscanned::Refused { said: shortened(error) }))
}

/// Reads `ClamAV 1.4.6/27001/Mon Nov 23 10:00:00 2026`, and `ClamAV 1.4.6` without patterns of a known number.
pub(super) fn parse_version(text: &str) -> Result<Patterns, ScannerDown> {
    let mut parts = text.splitn(3, '/');
    let name =
        parts.next().filter(|n| n.starts_with("ClamAV ")).ok_or(ScannerDown::Garbled(shortened(text)))?;
    let number: Option<u64> = parts.next().and_then(|n| n.parse().ok());
    let made = parts.next().and_then(|date| NaiveDateTime::parse_from_str(date, "%a %b %e %H:%M:%S %Y").ok());
    let engine = number.map_or_else(|| name.to_owned(), |number| format!("{name}/{number}"));
    Ok(Patterns { engine, number, made: made.filter(|_| number.is_some_and(|n| n > 0)) })
}

/// The first characters of an answer, for the log.
fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_and_without_patterns() {
        let patterns = parse_version("ClamAV 1.4.6/27001/Mon Nov 23 10:00:00 2026").unwrap();
        assert_eq!((patterns.engine.as_str(), patterns.number), ("ClamAV 1.4.6/27001", Some(27001)));
        assert_eq!(patterns.made.unwrap().to_string(), "2026-11-23 10:00:00");
        assert_eq!(
            parse_version("ClamAV 1.4.6/27001/Sun Nov  1 00:00:00 2026").unwrap().made.unwrap().to_string(),
            "2026-11-01 00:00:00"
        );
        let without = parse_version("ClamAV 1.4.6").unwrap();
        assert_eq!((without.engine.as_str(), without.number, without.made), ("ClamAV 1.4.6", None, None));
        assert_eq!(parse_version("ClamAV 1.4.6/0/Thu Jan  1 00:00:00 1970").unwrap().made, None);
        assert_eq!(parse_version("ClamAV 1.4.6/27001/soon").unwrap().made, None);
        assert!(parse_version("220 mail.example.jp ESMTP").is_err());
    }

    #[test]
    fn verdicts_are_read_and_only_ok_is_clean() {
        let verdict = |text| parse_verdict(text, 9);
        assert_eq!(verdict("stream: OK"), Ok(Verdict::Clean));
        assert_eq!(verdict("stream: Eicar-Test FOUND"), Ok(Verdict::Found("Eicar-Test".into())));
        assert_eq!(
            verdict("stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"),
            Ok(Verdict::Not(Unscanned::Limit { limit: "Heuristics.Limits.Exceeded.MaxFileSize".into() }))
        );
        assert_eq!(
            verdict("INSTREAM size limit exceeded. ERROR"),
            Ok(Verdict::Not(Unscanned::TooLarge { size: 9 }))
        );
        assert_eq!(
            verdict("stream: Bad format ERROR"),
            Ok(Verdict::Not(Unscanned::Refused { said: "Bad format".into() }))
        );
        for unwell in
            ["stream: Can't allocate memory ERROR", "Command read timed out ERROR", "UNKNOWN COMMAND ERROR"]
        {
            assert!(matches!(verdict(unwell), Err(ScannerDown::Unwell(_))), "{unwell}");
        }
        for garbage in
            ["OK", "stream: ok", "stream:  FOUND", "", "FOUND", "stream: OK but", "HTTP/1.1 400 Bad Request"]
        {
            assert!(matches!(verdict(garbage), Err(ScannerDown::Garbled(_))), "{garbage}");
        }
    }
}
