//! Pages: sled takes microseconds and hundreds of bytes of memory for each key it holds, whatever the key's size, and an
//! index has millions of small ones. So neighbours are kept together, a page of them under one key of sled's.
//!
//! A page covers all keys from its own on and before the next page's. Its entries stand in the order of their keys, each as
//! three numbers (bytes shared with the key before, bytes of the key after those, bytes of the value; seven bits a byte, the
//! lowest first), the rest of the key, the value. A page with nothing left in it is removed; sparse neighbours are not joined.

use super::{Change, IndexError};

/// From here on a page is cut in two. Every change writes its whole page anew: larger ones would make an index quicker to
/// build, and each commit more to write.
pub(super) const PAGE_BYTES: usize = 640;
/// The three numbers of an entry, at most.
const HEAD_BYTES_MAX: usize = 15;

/// A page as it was read.
#[derive(Debug)]
pub(super) struct Page<B> {
    bytes: B,
    /// All keys, one after the other.
    keys: Vec<u8>,
    /// Where each entry's key begins and ends in `keys`, and its value in `bytes`.
    entries: Vec<[u32; 4]>,
}

impl<B: AsRef<[u8]>> Page<B> {
    /// An error if these bytes are no page.
    pub(super) fn read(bytes: B) -> Result<Self, IndexError> {
        let (mut keys, mut entries) = (Vec::new(), Vec::new());
        Self::entries(bytes.as_ref(), &mut keys, &mut entries)
            .ok_or_else(|| IndexError("a page of it cannot be read".into()))?;
        Ok(Self { bytes, keys, entries })
    }

    fn entries(bytes: &[u8], keys: &mut Vec<u8>, entries: &mut Vec<[u32; 4]>) -> Option<()> {
        let place = |at: usize| u32::try_from(at).ok();
        keys.reserve(bytes.len() * 2);
        let (mut at, mut last) = (0, 0..0);
        while at < bytes.len() {
            let (shared, own, value) =
                (number(bytes, &mut at)?, number(bytes, &mut at)?, number(bytes, &mut at)?);
            if shared > last.len() {
                return None;
            }
            let from = keys.len();
            keys.extend_from_within(last.start..last.start + shared);
            keys.extend_from_slice(bytes.get(at..)?.get(..own)?);
            at += own;
            let until = at.checked_add(value).filter(|until| *until <= bytes.len())?;
            if !entries.is_empty() && keys[last.clone()] >= keys[from..] {
                return None;
            }
            last = from..keys.len();
            entries.push([place(last.start)?, place(last.end)?, place(at)?, place(until)?]);
            at = until;
        }
        Some(())
    }

    /// How many entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// One entry's key.
    pub(super) fn key(&self, at: usize) -> &[u8] {
        let [from, until, ..] = self.entries[at];
        &self.keys[from as usize..until as usize]
    }

    /// One entry's value.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        let [.., from, until] = self.entries[at];
        &self.bytes.as_ref()[from as usize..until as usize]
    }

    /// How many keys stand before this one.
    pub(super) fn before(&self, key: &[u8]) -> usize {
        self.entries.partition_point(|[from, until, ..]| &self.keys[*from as usize..*until as usize] < key)
    }

    /// The value under this key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let at = self.before(key);
        (at < self.len() && self.key(at) == key).then(|| self.value(at))
    }

    /// What the page becomes with these changes, which are in the order of their keys, each once: no page, itself, or several.
    /// With the key of each; but the first keeps that of this page.
    pub(super) fn changed(&self, changes: &[Change]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut merged: Vec<(&[u8], &[u8])> = Vec::with_capacity(self.len() + changes.len());
        let mut at = 0;
        for (key, value) in changes {
            while at < self.len() && self.key(at) < key.as_slice() {
                merged.push((self.key(at), self.value(at)));
                at += 1;
            }
            if at < self.len() && self.key(at) == key.as_slice() {
                at += 1;
            }
            merged.extend(value.as_ref().map(|value| (key.as_slice(), value.as_slice())));
        }
        // Keys that count up are added at the end, and nothing comes before them later: full pages stay behind.
        let grows_at_its_end = at == self.len();
        merged.extend((at..self.len()).map(|at| (self.key(at), self.value(at))));
        cut(&merged, grows_at_its_end)
    }
}

/// Puts entries into pages: as full as may be, or evenly.
fn cut(entries: &[(&[u8], &[u8])], full: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut enough = PAGE_BYTES;
    if !full {
        let lasts = std::iter::once(&[][..]).chain(entries.iter().map(|(key, _)| *key));
        let all: usize = lasts.zip(entries).map(|(last, entry)| size(last, entry)).sum();
        enough = all.div_ceil(all.div_ceil(PAGE_BYTES).max(1));
    }
    let mut pages: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut last: &[u8] = &[];
    for entry @ (key, value) in entries {
        match pages.last_mut() {
            Some((_, page)) if page.len() < enough && page.len() + size(last, entry) <= PAGE_BYTES => {
                put(last, entry, page);
            }
            _ => {
                let mut page = Vec::with_capacity(enough.max(HEAD_BYTES_MAX + key.len() + value.len()));
                put(&[], entry, &mut page);
                pages.push((key.to_vec(), page));
            }
        }
        last = key;
    }
    pages
}

fn shared(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// About the room an entry takes after this key.
fn size(last: &[u8], (key, value): &(&[u8], &[u8])) -> usize {
    3 + key.len() - shared(last, key) + value.len()
}

fn put(last: &[u8], (key, value): &(&[u8], &[u8]), into: &mut Vec<u8>) {
    let shared = shared(last, key);
    for of in [shared, key.len() - shared, value.len()] {
        put_number(of, into);
    }
    into.extend_from_slice(&key[shared..]);
    into.extend_from_slice(value);
}

fn number(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_number(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    into.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(key: &str, value: Option<&str>) -> Change {
        (key.into(), value.map(Into::into))
    }

    fn pairs(pages: &[(Vec<u8>, Vec<u8>)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pages = pages.iter().map(|(_, page)| Page::read(page).unwrap());
        pages
            .flat_map(|page| {
                (0..page.len()).map(|at| (page.key(at).into(), page.value(at).into())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn a_page_finds_its_keys() {
        let empty = Page::read(&[][..]).unwrap();
        let changes =
            [change("a\0xy", Some("1")), change("a\0xz", Some("")), change("b", Some(&"v".repeat(300)))];
        let pages = empty.changed(&changes);
        let [(first, bytes)] = pages.as_slice() else { panic!("{} pages", pages.len()) };
        assert_eq!(first, b"a\0xy");
        let page = Page::read(bytes).unwrap();
        assert_eq!(page.get(b"a\0xz"), Some(&b""[..]));
        assert_eq!(page.get(b"b").map(<[u8]>::len), Some(300));
        assert_eq!((page.get(b"a"), page.get(b"c")), (None, None));
        assert_eq!((page.before(b"a\0xz"), page.before(b"c")), (1, 3));
        let gone = changes.map(|(key, _)| (key, None));
        assert!(page.changed(&gone).is_empty(), "nothing is left");
    }

    #[test]
    fn keys_that_count_up_leave_full_pages_and_others_leave_room() {
        let mut last = Vec::new();
        let (mut cut_at_end, mut full) = (0, 0);
        for at in 0_u32..1000 {
            let key = [&b"s"[..], &at.to_be_bytes()].concat();
            let mut pages = Page::read(&last).unwrap().changed(&[(key, Some(vec![b'v'; 20]))]);
            if pages.len() > 1 {
                cut_at_end += 1;
                full += usize::from(pages[0].1.len() > PAGE_BYTES * 9 / 10);
            }
            last = pages.pop().unwrap().1;
        }
        assert!(cut_at_end > 30 && full == cut_at_end, "{full} of {cut_at_end}");

        let many: Vec<_> = (0_u32..26).map(|at| (at.to_be_bytes().to_vec(), Some(vec![b'v'; 20]))).collect();
        let page = Page::read(&[][..]).unwrap().changed(&many).remove(0).1;
        let pages = Page::read(&page).unwrap().changed(&[(vec![0, 0, 0, 3, 9], Some(vec![b'w'; 60]))]);
        assert!(pages.len() == 2 && pages.iter().all(|(_, page)| page.len() > PAGE_BYTES / 3));
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        for bytes in [
            &[1, 1, 0, b'a'][..],
            &[0, 2, 0, b'a'],
            &[0, 1, 5, b'a'],
            &[0, 1],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 1, 0, 0],
            &[0, 1, 0, b'b', 0, 1, 0, b'a'],
            &[0, 1, 0, b'b', 1, 0, 0],
        ] {
            assert!(Page::read(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Page::read(bytes);
        }

        #[test]
        fn pages_hold_what_was_put_into_them(
            first in proptest::collection::btree_map("[abc]{1,12}", "v{0,90}", 0..60),
            then in proptest::collection::btree_map("[abc]{1,12}", proptest::option::of("w{0,90}"), 0..60),
        ) {
            let changes: Vec<Change> =
                first.iter().map(|(key, value)| change(key, Some(value))).collect();
            let pages = Page::read(&[][..]).unwrap().changed(&changes);
            prop_assert!(pages.iter().all(|(_, page)| page.len() <= PAGE_BYTES));
            // All of it in one page, however large: what follows cuts it.
            let mut all = first;
            let mut one = Vec::new();
            let mut last: &[u8] = &[];
            for (key, value) in &all {
                put(last, &(key.as_bytes(), value.as_bytes()), &mut one);
                last = key.as_bytes();
            }
            prop_assert_eq!(pairs(&pages), pairs(&[(Vec::new(), one.clone())]));
            let changes: Vec<Change> =
                then.iter().map(|(key, value)| change(key, value.as_deref())).collect();
            let pages = Page::read(&one).unwrap().changed(&changes);
            for (key, value) in then {
                match value {
                    Some(value) => all.insert(key, value),
                    None => all.remove(&key),
                };
            }
            let expected: Vec<(Vec<u8>, Vec<u8>)> =
                all.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            prop_assert_eq!(pairs(&pages), expected);
            for (place, page) in &pages {
                let page = Page::read(page).unwrap();
                prop_assert_eq!(page.key(0), place.as_slice());
            }
        }
    }
}
