//! Incident ids: what a stranger is told in place of the details, and what the log has beside them.

/// `E-` and six letters or digits that cannot be taken for one another over the telephone.
pub fn id() -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut bytes = [0; 6];
    // Without randomness the id is still an id: it joins a message with a log line, and guards nothing.
    let _ = getrandom::fill(&mut bytes);
    let tail: String = bytes.iter().map(|b| char::from(LETTERS[usize::from(b & 31)])).collect();
    format!("E-{tail}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn incidents_are_short_and_differ() {
        let many: std::collections::HashSet<_> = (0..100).map(|_| super::id()).collect();
        assert!(many.len() > 95);
        assert!(many.iter().all(|id| id.len() == 8 && !id.contains(['I', 'L', 'O', 'U'])));
    }
}
