use super::*;
use crate::model::event::Event;
use crate::model::ids::AccountId;
use crate::model::party::Actor;

const NOW: Timestamp = Timestamp(1_795_392_000_000);
const UUID: &str = "00112233445566778899aabbccddeeff";

fn open(folder: &Path, witnesses: &Witnesses) -> Result<(Journal, Option<Cut>), JournalError> {
    let options = JournalOptions { segment_bytes: 4000 };
    Journal::open(folder, UUID, options, witnesses, 0, NOW).map(|opened| (opened.journal, opened.cut))
}

fn opened(folder: &Path) -> (Journal, Option<Cut>) {
    open(folder, &Witnesses::default()).unwrap()
}

fn records(journal: &Journal, count: u64) -> Vec<Record> {
    let after = journal.position().seq;
    let event = |seq| match seq {
        1 => Event::EpochBegan { epoch: 1, uuid: UUID.to_owned() },
        _ => Event::DropboxSwept { account: AccountId::parse("K0001").unwrap(), files: seq, bytes: 1 },
    };
    let record = |seq| Record { seq, at: NOW.plus(seq.cast_signed()), by: Actor::Daemon, event: event(seq) };
    (after + 1..=after + count).map(record).collect()
}

/// Commits of these sizes; returns where the last segment and the journal end after each.
fn filled(folder: &Path, commits: &[u64]) -> Vec<(PathBuf, u64, Position)> {
    let (mut journal, _) = opened(folder);
    commits
        .iter()
        .map(|count| {
            let position = journal.append(&records(&journal, *count)).unwrap();
            let (_, last) = segments(folder).unwrap().pop().unwrap();
            (last.clone(), last.metadata().unwrap().len(), position)
        })
        .collect()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for (_, path) in segments(from).unwrap() {
        std::fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

fn in_copy(copy: &Path, original: &Path) -> PathBuf {
    copy.join(original.file_name().unwrap())
}

#[test]
fn what_is_written_is_read_back_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), &[1, 3, 20, 1, 30, 7]);
    assert!(segments(dir.path()).unwrap().len() >= 3);
    let verified = verify(dir.path()).unwrap();
    assert_eq!((verified.tail, &verified.position), (None, &ends[5].2));
    assert_eq!(verified.position.seq, 62);
    let mut reader = Reader::from_start(dir.path());
    let mut read = Vec::new();
    while let Next::Batch(batch) = reader.next_batch().unwrap() {
        read.extend(batch.records().map(|record| record.unwrap().0));
    }
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(read, records(&opened(empty.path()).0, 62));
    let (journal, cut) = opened(dir.path());
    assert_eq!((journal.position(), cut), (&ends[5].2, None));
    let mut after = journal.read_after(24).unwrap();
    let Next::Batch(batch) = after.next_batch().unwrap() else { panic!() };
    assert!(batch.records().next().unwrap().unwrap().0.seq <= 25);
}

#[test]
fn a_last_commit_torn_anywhere_is_cut_whole_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), &[1, 2, 3, 4]);
    let ((last, before, durable), (_, end, _)) = (&ends[2], &ends[3]);
    let whole = std::fs::read(last).unwrap();
    let torn = |content: &[u8], what: &str| {
        let copied = copy(dir.path());
        std::fs::write(in_copy(copied.path(), last), content).unwrap();
        let tail = verify(copied.path()).unwrap();
        assert_eq!(&tail.position, durable, "{what}");
        let (mut journal, cut) = opened(copied.path());
        assert_eq!(journal.position(), durable, "{what}");
        let at = usize::try_from(*before).unwrap();
        match cut {
            Some(cut) => assert_eq!(std::fs::read(&cut.kept).unwrap(), &content[at..], "{what}"),
            None => assert_eq!(content.len(), at, "{what}"),
        }
        journal.append(&records(&journal, 2)).unwrap();
        drop(journal);
        let (journal, cut) = opened(copied.path());
        assert_eq!((journal.position().seq, cut), (durable.seq + 2, None), "{what}");
    };
    for length in *before..*end {
        torn(&whole[..usize::try_from(length).unwrap()], &format!("truncated at {length}"));
    }
    let before = usize::try_from(*before).unwrap();
    for page in [before + 100, before + 300] {
        // The file's size got to the disk and its pages did not; or the first page did not and the others did.
        let mut zeros = whole.clone();
        zeros[page..].fill(0);
        torn(&zeros, "zeros at the end");
        let mut hole = whole.clone();
        hole[before..page].fill(0);
        torn(&hole, "zeros in front");
    }
    torn(&[&whole[..before], &[b'x'; 5000][..]].concat(), "rubbish");
}

#[test]
fn damage_before_the_last_commit_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), &[1, 2, 8, 8, 3, 1]);
    let (last, before, _) = &ends[4];
    assert!(segments(dir.path()).unwrap().len() >= 2);
    let mut tried = 0;
    for (_, segment) in segments(dir.path()).unwrap() {
        let whole = std::fs::read(&segment).unwrap();
        let end = if segment == *last { usize::try_from(*before).unwrap() } else { whole.len() };
        for at in (0..end).step_by(97).chain(end - 3..end) {
            let copied = copy(dir.path());
            let mut wrong = whole.clone();
            wrong[at] ^= 1 << (at % 8);
            std::fs::write(in_copy(copied.path(), &segment), &wrong).unwrap();
            let error = open(copied.path(), &Witnesses::default()).unwrap_err();
            match &error {
                JournalError::Damaged { place, .. } => {
                    assert!(place.offset <= at as u64, "byte {at}: {error}");
                    assert_eq!(place.file.file_name(), segment.file_name(), "byte {at}: {error}");
                }
                JournalError::Version { .. } => assert!(at < 20),
                other => panic!("byte {at}: {other}"),
            }
            assert!(verify(copied.path()).is_err() || segment == *last, "byte {at}");
            assert_eq!(
                std::fs::read(in_copy(copied.path(), &segment)).unwrap(),
                wrong,
                "nothing was changed"
            );
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn a_cut_needs_that_nobody_saw_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), &[1, 2, 3]);
    let (last, end, position) = ends.last().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(last).unwrap();
    file.set_len(end - 1).unwrap();
    for witnesses in [
        Witnesses { applied: Some(position.seq), closed: None },
        Witnesses { applied: None, closed: Some(position.seq) },
    ] {
        let error = open(dir.path(), &witnesses).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("complete once"), "{error}");
        assert_eq!(last.metadata().unwrap().len(), end - 1);
    }
    let (journal, cut) = open(dir.path(), &Witnesses { applied: Some(3), closed: None }).unwrap();
    assert_eq!(journal.position().seq, 3);
    assert_eq!(cut.unwrap().place.line, 7);
}

#[test]
fn missing_and_foreign_segments_are_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), &[1, 20, 20, 20]);
    let all = segments(dir.path()).unwrap();
    assert!(all.len() >= 3);
    for (_, gone) in &all[..all.len() - 1] {
        let copied = copy(dir.path());
        std::fs::remove_file(in_copy(copied.path(), gone)).unwrap();
        let error = open(copied.path(), &Witnesses::default()).unwrap_err();
        assert!(
            matches!(&error, JournalError::Missing { file, .. } if file.ends_with(gone.file_name().unwrap()))
        );
    }
    let copied = copy(dir.path());
    let second = in_copy(copied.path(), &all[1].1);
    let text = std::fs::read_to_string(&second).unwrap().replace(UUID, &UUID.replace('0', "f"));
    std::fs::write(&second, text).unwrap();
    let error = open(copied.path(), &Witnesses::default()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place.line == 1), "{error}");
}

#[test]
fn reordered_and_repeated_lines_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let ends = filled(dir.path(), &[1, 1, 1, 1]);
    let text = std::fs::read_to_string(&ends[0].0).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for order in [[0, 1, 3, 2, 4].as_slice(), &[0, 1, 2, 2, 3, 4], &[0, 1, 3, 4], &[0, 2, 3, 4]] {
        let copied = copy(dir.path());
        let wrong: String = order.iter().map(|at| lines[*at]).collect();
        std::fs::write(in_copy(copied.path(), &ends[0].0), wrong).unwrap();
        assert!(
            matches!(open(copied.path(), &Witnesses::default()), Err(JournalError::Damaged { .. })),
            "{order:?}"
        );
    }
}
