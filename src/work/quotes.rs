//! Quotes in CSV that people wrote.

/// Whether a quoted cell is still open where the text ends. The reader takes such a cell as ended, and whatever stands after the
/// quote that somebody forgot, other people's rows, as its content.
pub(super) fn is_left_open(text: &str) -> bool {
    const BEHIND: &str = "\n\0";
    let bytes = std::io::Read::chain(text.as_bytes(), BEHIND.as_bytes());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    let mut is_behind = false;
    while let Ok(true) = reader.read_byte_record(&mut record) {
        is_behind = record.len() == 1 && record.get(0) == Some(b"\0");
    }
    !is_behind
}

#[cfg(test)]
mod tests {
    use super::is_left_open;

    #[test]
    fn an_open_quote_is_seen_whatever_follows_it() {
        for text in ["", "a,b\n", "a,\"b\"", "a,\"b\nc\"\n", "a,\"b \"\"c\"\"\"\n", "a\"b,c\n", "a,\"\"\r\n"]
        {
            assert!(!is_left_open(text), "{text:?}");
        }
        for text in ["\"", "a,\"b\n", "a,\"b\nc,d\n", "a,\"b\"\"\n", "a,\"b\nc,\"d\"\ne,\"f\n"] {
            assert!(is_left_open(text), "{text:?}");
        }
    }
}
