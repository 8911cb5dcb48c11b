//! BER made plain: what Java and streaming tools write with indefinite lengths and strings in pieces, with definite lengths.
//!
//! CMS may come as BER (RFC 5652 section 2); the readers used here take DER alone. Bounded in depth; bytes in DER stay as they
//! are.

/// Deepest nesting; a certificate in a CMS message needs about 16.
pub(super) const DEPTH_MAX: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const OCTET_STRING: u8 = 0x04;

/// One element of a definite length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// The identifier octet.
    pub(super) tag: u8,
    /// Its content.
    pub(super) content: &'a [u8],
    /// All of it.
    pub(super) whole: &'a [u8],
}

/// The one element that these bytes are, with definite lengths all through; none if they are no such thing.
pub(super) fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let rest = copy(bytes, &mut out, 0)?;
    rest.is_empty().then_some(out)
}

/// The elements one after the other that plain bytes hold.
pub(super) fn elements(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (tag, length, start) = head(bytes)?;
        let end = start.checked_add(length?)?;
        let (whole, rest) = bytes.split_at_checked(end)?;
        found.push(Element { tag, content: whole.get(start..)?, whole });
        bytes = rest;
    }
    Some(found)
}

/// Identifier, length (none: indefinite) and where the content begins.
fn head(bytes: &[u8]) -> Option<(u8, Option<usize>, usize)> {
    let tag = *bytes.first()?;
    // Tags of more than one byte occur nowhere in CMS and X.509.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let first = *bytes.get(1)?;
    match first {
        0x80 => Some((tag, None, 2)),
        0..0x80 => Some((tag, Some(first.into()), 2)),
        _ => {
            let digits = usize::from(first & 0x7f);
            if digits > 4 {
                return None;
            }
            let length = bytes.get(2..2 + digits)?.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
            Some((tag, Some(length), 2 + digits))
        }
    }
}

/// Writes the first element plainly; gives what comes after it.
fn copy<'a>(bytes: &'a [u8], out: &mut Vec<u8>, depth: usize) -> Option<&'a [u8]> {
    let (tag, length, start) = head(bytes)?;
    let behind = bytes.get(start..)?;
    if tag & CONSTRUCTED == 0 {
        let (content, rest) = behind.split_at_checked(length?)?;
        put(tag, content, out);
        return Some(rest);
    }
    if depth == DEPTH_MAX {
        return None;
    }
    let (mut inside, definite_rest) = match length {
        Some(length) => {
            let (inside, rest) = behind.split_at_checked(length)?;
            (inside, Some(rest))
        }
        None => (behind, None),
    };
    let mut content = Vec::new();
    let rest = loop {
        match definite_rest {
            Some(rest) if inside.is_empty() => break rest,
            None if inside.starts_with(&[0, 0]) => break inside.get(2..)?,
            _ => inside = copy(inside, &mut content, depth + 1)?,
        }
    };
    if tag == OCTET_STRING | CONSTRUCTED {
        let pieces = elements(&content)?;
        if pieces.iter().any(|piece| piece.tag != OCTET_STRING) {
            return None;
        }
        let whole: Vec<u8> = pieces.iter().flat_map(|piece| piece.content).copied().collect();
        put(OCTET_STRING, &whole, out);
    } else {
        put(tag, &content, out);
    }
    Some(rest)
}

fn put(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    if let (Ok(short), true) = (u8::try_from(content.len()), content.len() < 0x80) {
        out.push(short);
    } else {
        let bytes = content.len().to_be_bytes();
        let digits: Vec<u8> = bytes.into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
        out.extend(digits);
    }
    out.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_become_definite_and_pieces_one() {
        let der = [0x30, 0x05, 0x02, 0x01, 0x07, 0x04, 0x00];
        assert_eq!(plain(&der).unwrap(), der);
        let indefinite =
            [0x30, 0x80, 0x02, 0x01, 0x07, 0x24, 0x80, 0x04, 0x01, b'a', 0x04, 0x01, b'b', 0, 0, 0, 0];
        assert_eq!(plain(&indefinite).unwrap(), [0x30, 0x07, 0x02, 0x01, 0x07, 0x04, 0x02, b'a', b'b']);
        let long_form = [0x30, 0x82, 0x00, 0x03, 0x02, 0x01, 0x07];
        assert_eq!(plain(&long_form).unwrap(), [0x30, 0x03, 0x02, 0x01, 0x07]);
        let mut large = vec![0x04, 0x82, 0x01, 0x00];
        large.extend([7; 256]);
        assert_eq!(plain(&large).unwrap(), large);
    }

    #[test]
    fn what_is_cut_off_too_deep_or_longer_is_none() {
        for bad in [
            &b""[..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x80, 0x02, 0x01],
            &[0x04, 0x80, 0, 0],
            &[0x30, 0x02, 0x02, 0x05],
            &[0x02, 0x01, 0x07, 0x00],
            &[0x1f, 0x81, 0x01, 0x00],
            &[0x04, 0x85, 1, 1, 1, 1, 1],
        ] {
            assert_eq!(plain(bad), None, "{bad:?}");
        }
        let deep = |n: usize| {
            let mut bytes = vec![0x02, 0x01, 0x00];
            for _ in 0..n {
                let mut outer = Vec::new();
                put(0x30, &bytes, &mut outer);
                bytes = outer;
            }
            bytes
        };
        assert!(plain(&deep(DEPTH_MAX)).is_some());
        assert_eq!(plain(&deep(DEPTH_MAX + 1)), None);
        assert_eq!(plain(&[0x30, 0x80].repeat(10_000)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_plain_stays_plain(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(once) = plain(&bytes) {
                prop_assert_eq!(plain(&once), Some(once.clone()));
                prop_assert!(elements(&once).is_some_and(|all| all.len() == 1));
            }
        }
    }
}
