use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn insurer() -> InsurerCode {
    InsurerCode::parse("06139999").unwrap()
}

fn month(text: &str) -> Month {
    Month::parse(text).unwrap()
}

fn number(serial: u64) -> Number {
    Number { epoch: 1, serial }
}

fn mark(record: u8, insured: Option<u8>) -> Mark {
    Mark { record: [record; 16], insured: insured.map(|n| [n; 8]) }
}

/// Claims in 2026-11 with 24 months; gives the repeats, and keeps the marks if there are none.
fn claim_in(seen: &Seen, at: &str, serial: u64, marks: &[Mark], counts: &[u64]) -> Vec<(usize, u64)> {
    let insurer = insurer();
    let claiming = Claiming {
        insurer: &insurer,
        since: month(at).before(24),
        month: month(at),
        number: number(serial),
        marks,
        even_if_repeated: false,
    };
    let claim =
        seen.claim(claiming, &mut |earlier| io::Result::Ok(counts.contains(&earlier.serial))).unwrap();
    claim.sync().unwrap();
    let repeats = claim.repeats.iter().map(|(at, by)| (*at, by.serial)).collect();
    claim.keep();
    repeats
}

fn claim(seen: &Seen, serial: u64, marks: &[Mark], counts: &[u64]) -> Vec<(usize, u64)> {
    claim_in(seen, "2026-11", serial, marks, counts)
}

#[test]
fn months_are_counted_and_named() {
    assert_eq!(month("2026-11").before(24), month("2024-11"));
    assert_eq!(month("2026-01").before(1), month("2025-12"));
    for bad in ["2026-13", "2026-1", "2026-11 ", "x", ".tmp-2026-11"] {
        assert_eq!(Month::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_record_is_recognised_over_restarts_if_its_submission_counts() {
    let dir = tempfile::tempdir().unwrap();
    for synced_with_blobs in [false, true] {
        let seen = Seen::open(dir.path(), synced_with_blobs).unwrap();
        if !synced_with_blobs {
            assert_eq!(claim(&seen, 1, &[mark(1, None), mark(2, Some(2))], &[]), []);
        }
        assert_eq!(claim(&seen, 9, &[mark(3, None), mark(2, None)], &[1]), [(1, 1)]);
        // Different insured's numbers are different people; the same, or one not given, may be the same person.
        assert_eq!(claim(&seen, 9, &[mark(2, Some(3))], &[]), []);
        assert_eq!(claim(&seen, 10, &[mark(2, Some(2))], &[1]), [(0, 1)]);
        assert_eq!(claim(&seen, 1, &[mark(1, None)], &[1]), [], "its own marks are no repeat");
        let other = InsurerCode::parse("06130000").unwrap();
        let claiming = Claiming {
            insurer: &other,
            since: month("2024-11"),
            month: month("2026-11"),
            number: number(11),
            marks: &[mark(1, None)],
            even_if_repeated: false,
        };
        let free = seen.claim(claiming, &mut |_| io::Result::Ok(true)).unwrap();
        assert_eq!(free.repeats, [], "another insurer's");
    }
    let seen = Seen::open(dir.path(), true).unwrap();
    assert_eq!(claim(&seen, 12, &[mark(1, None)], &[]), [], "refused and withdrawn ones do not count");
    assert_eq!(claim(&seen, 13, &[mark(1, None)], &[12]), [(0, 12)]);
    let file = dir.path().join("06139999/2026-11");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn what_was_not_committed_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::open(dir.path(), true).unwrap();
    let insurer = insurer();
    let claiming = |serial, marks| Claiming {
        insurer: &insurer,
        since: month("2024-11"),
        month: month("2026-11"),
        number: number(serial),
        marks,
        even_if_repeated: false,
    };
    let size = || std::fs::metadata(dir.path().join("06139999/2026-11")).unwrap().len();
    let marks = [mark(1, None), mark(2, None)];
    drop(seen.claim(claiming(1, &marks), &mut |_| io::Result::Ok(true)).unwrap());
    assert_eq!(size(), MARK_BYTES as u64);
    // One in the middle keeps its place, and says nothing.
    let first = seen.claim(claiming(2, &marks), &mut |_| io::Result::Ok(true)).unwrap();
    let behind = [mark(3, None)];
    seen.claim(claiming(3, &behind), &mut |_| io::Result::Ok(true)).unwrap().keep();
    drop(first);
    assert_eq!(size(), 4 * MARK_BYTES as u64);
    assert_eq!(claim(&seen, 4, &marks, &[1, 2, 3]), []);
    assert_eq!(claim(&Seen::open(dir.path(), true).unwrap(), 5, &marks, &[3, 4]), [(0, 4), (1, 4)]);
}

#[test]
fn two_at_once_do_not_both_go_through() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::open(dir.path(), true).unwrap();
    let committed = Mutex::new(Vec::new());
    let accepted: usize = std::thread::scope(|scope| {
        let one = |serial: u64| {
            let (seen, committed) = (&seen, &committed);
            move || {
                let insurer = insurer();
                let marks = [mark(1, None), mark(u8::try_from(serial).unwrap(), None)];
                let claiming = Claiming {
                    insurer: &insurer,
                    since: month("2024-11"),
                    month: month("2026-11"),
                    number: number(serial),
                    marks: &marks,
                    even_if_repeated: false,
                };
                let claim = seen
                    .claim(claiming, &mut |by| io::Result::Ok(committed.lock().unwrap().contains(&by)))
                    .unwrap();
                let free = claim.repeats.is_empty();
                if free {
                    std::thread::yield_now();
                    committed.lock().unwrap().push(number(serial));
                }
                claim.keep();
                usize::from(free)
            }
        };
        let threads: Vec<_> = (10..26).map(|serial| scope.spawn(one(serial))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 1);
}

#[test]
fn a_torn_end_is_written_over_and_damage_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    claim(&Seen::open(dir.path(), true).unwrap(), 1, &[mark(1, None), mark(2, None), mark(3, None)], &[]);
    let path = dir.path().join("06139999/2026-11");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[2 * MARK_BYTES + 3] ^= 1;
    bytes.truncate(bytes.len() - 7);
    std::fs::write(&path, &bytes).unwrap();
    let all = [mark(1, None), mark(2, None), mark(3, None)];
    let seen = Seen::open(dir.path(), true).unwrap();
    assert_eq!(claim(&seen, 2, &all, &[1]), [(0, 1)]);
    assert_eq!(claim(&seen, 3, &[mark(4, None)], &[]), []);
    let seen = Seen::open(dir.path(), true).unwrap();
    assert_eq!(claim(&seen, 4, &[mark(4, None), mark(1, None)], &[1, 3]), [(0, 3), (1, 1)]);
    // Every length that a crash may leave opens, and every whole mark of it is known.
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let seen = Seen::open(dir.path(), true).unwrap();
        let known = claim(&seen, 5, &[mark(1, None)], &[1]).len();
        assert_eq!(known, usize::from(len >= 2 * MARK_BYTES), "{len}");
    }
    std::fs::write(&path, [b'x'; 100]).unwrap();
    let error = Seen::open(dir.path(), true).unwrap_err();
    assert!(error.to_string().contains("2026-11"), "{error}");
}

#[test]
fn old_months_do_not_count_and_are_deleted_whole() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::open(dir.path(), true).unwrap();
    for (at, serial) in [("2024-10", 1), ("2024-11", 2), ("2026-10", 3)] {
        let own = mark(u8::try_from(serial).unwrap(), None);
        assert_eq!(claim_in(&seen, at, serial, &[own], &[]), []);
    }
    let all = [mark(1, None), mark(2, None), mark(3, None)];
    assert_eq!(claim(&seen, 9, &all, &[1, 2, 3]), [(1, 2), (2, 3)]);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(dir.path().join("06139999"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(seen.expire(&|_| month("2026-11").before(24)).unwrap(), 1);
    assert_eq!(names(), ["2024-11", "2026-10"]);
    assert_eq!(seen.expire(&|_| month("2026-11").before(24)).unwrap(), 0);
    assert_eq!(claim(&seen, 9, &all, &[1, 2, 3]), [(1, 2), (2, 3)]);
    assert_eq!(seen.expire(&|_| month("2026-11")).unwrap(), 2);
    assert_eq!(claim(&seen, 9, &all, &[1, 2, 3]), []);
    assert_eq!(names(), ["2026-11"]);
}

#[test]
fn memory_is_bounded_and_the_newest_months_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Seen::open_bounded(dir.path(), true, 3).unwrap();
    assert_eq!(claim_in(&seen, "2026-09", 1, &[mark(1, None), mark(2, None)], &[]), []);
    assert_eq!(claim_in(&seen, "2026-10", 2, &[mark(3, None), mark(4, None)], &[]), []);
    assert_eq!(claim(&seen, 9, &[mark(1, None), mark(3, None)], &[1, 2]), [(1, 2)]);
    // A month without room is still written to.
    assert_eq!(claim_in(&seen, "2026-09", 3, &[mark(5, None)], &[]), []);
    let seen = Seen::open(dir.path(), true).unwrap();
    assert_eq!(claim(&seen, 9, &[mark(1, None), mark(5, None)], &[1, 2, 3]), [(0, 1), (1, 3)]);
}
