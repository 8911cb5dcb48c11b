//! CP932 (windows-31j) by table: which pairs of bytes are characters, and which of them a society cannot print (K45).

use std::sync::LazyLock;

/// What one byte or pair of bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Unit {
    /// Not a character of CP932.
    Bad = 0,
    /// JIS X 0208, levels 1 and 2.
    Plain = 1,
    /// NEC or IBM extension (髙 﨑 ① ㈱).
    Extension = 2,
    /// User-defined (外字): no shape outside the machine it was drawn on.
    Gaiji = 3,
}

static PAIRS: LazyLock<Vec<Unit>> = LazyLock::new(|| {
    let mut table = vec![Unit::Bad; 1 << 16];
    for lead in (0x81..=0x9f_u8).chain(0xe0..=0xfc) {
        for trail in (0x40..=0x7e_u8).chain(0x80..=0xfc) {
            let (_, bad) = encoding_rs::SHIFT_JIS.decode_without_bom_handling(&[lead, trail]);
            table[usize::from(lead) << 8 | usize::from(trail)] = match lead {
                _ if bad => Unit::Bad,
                0x87 | 0xed | 0xee | 0xfa..=0xfc => Unit::Extension,
                0xf0..=0xf9 => Unit::Gaiji,
                _ => Unit::Plain,
            };
        }
    }
    table
});

/// The table of pairs: index `lead << 8 | trail`.
pub(crate) fn pairs() -> &'static [Unit] {
    &PAIRS
}

/// Whether a byte begins a pair.
pub(crate) const fn is_lead(byte: u8) -> bool {
    matches!(byte, 0x81..=0x9f | 0xe0..=0xfc)
}

/// The text, with U+FFFD where bytes are no character.
pub(crate) fn decode(bytes: &[u8]) -> String {
    encoding_rs::SHIFT_JIS.decode_without_bom_handling(bytes).0.into_owned()
}

/// What is first in these bytes, which begin at a character, and how many bytes it takes.
pub(crate) fn first(bytes: &[u8]) -> (Unit, usize) {
    match bytes {
        [byte, ..] if !is_lead(*byte) => match byte {
            0..=0x7f | 0xa1..=0xdf => (Unit::Plain, 1),
            _ => (Unit::Bad, 1),
        },
        [lead, trail, ..] => match pairs()[usize::from(*lead) << 8 | usize::from(*trail)] {
            // A bad pair must not swallow an ASCII byte: it may be a separator's neighbour.
            Unit::Bad if trail.is_ascii() => (Unit::Bad, 1),
            unit => (unit, 2),
        },
        _ => (Unit::Bad, 1),
    }
}

/// How many characters these bytes are.
pub(crate) fn chars(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        bytes = &bytes[first(bytes).1..];
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kanji_are_told_apart() {
        let unit = |c: &str| first(&encoding_rs::SHIFT_JIS.encode(c).0).0;
        for c in ["高", "崎", "亜", "熙", "ア", "　", "ｱ", "A"] {
            assert_eq!(unit(c), Unit::Plain, "{c}");
        }
        for c in ["髙", "﨑", "①", "㈱"] {
            assert_eq!(unit(c), Unit::Extension, "{c}");
        }
        assert_eq!(first(b"\xf0\x40"), (Unit::Gaiji, 2));
        assert_eq!(first(b"\x81"), (Unit::Bad, 1));
        assert_eq!(first(b"\x81,"), (Unit::Bad, 1));
        assert_eq!(first(b"\xa0"), (Unit::Bad, 1));
        assert_eq!(first(b"\xff"), (Unit::Bad, 1));
        assert_eq!(chars(&encoding_rs::SHIFT_JIS.encode("見本 ﾀﾛｳ").0), 6);
    }
}
