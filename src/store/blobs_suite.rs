//! What every [`Blobs`] must do. Run by the tests of each implementation.

use std::io;
use std::io::Read;

use super::blobs::Blobs;
use super::durable;
use crate::model::ids::BlobId;
use crate::model::time::Timestamp;

/// 2026-11-23T00:00:00Z
const NOW: Timestamp = Timestamp(1_795_392_000_000);

/// Runs all of it, each part against fresh blobs; the first of what `make` returns only has to live as long.
pub(super) fn run<B: Blobs, G>(make: impl Fn() -> (G, B)) {
    type Part = fn(&dyn Blobs);
    let parts: [Part; 8] = [
        writes_anywhere,
        continues,
        reads_parts,
        refuses_large,
        removes_and_scans,
        restores,
        exports,
        syncs_together,
    ];
    for part in parts {
        let (_keep, blobs) = make();
        part(&blobs);
    }
}

fn writes_anywhere(blobs: &dyn Blobs) {
    let mut writer = blobs.create(NOW).unwrap();
    let id = writer.id().clone();
    assert!(id.as_str().starts_with("20261123-"), "{id}");
    writer.write_at(3, b"def").unwrap();
    writer.write_at(0, b"ab").unwrap();
    assert_eq!(writer.size().unwrap(), 6);
    writer.set_size(5).unwrap();
    writer.sync().unwrap();
    drop(writer);
    blobs.sync(std::slice::from_ref(&id)).unwrap();
    assert_eq!(blobs.get(&id, 5).unwrap(), b"ab\0de");
    let other = blobs.create(NOW).unwrap();
    assert_ne!(*other.id(), id);
}

fn continues(blobs: &dyn Blobs) {
    let id = blobs.put(b"begun", NOW).unwrap();
    let mut writer = blobs.reopen(&id).unwrap();
    assert_eq!((writer.id(), writer.size().unwrap()), (&id, 5));
    writer.write_at(5, b" and ended").unwrap();
    drop(writer);
    assert_eq!(blobs.get(&id, 100).unwrap(), b"begun and ended");
    let gone = BlobId::parse("20261123-0000000000000000").unwrap();
    assert_eq!(blobs.reopen(&gone).err().unwrap().kind(), io::ErrorKind::NotFound);
}

fn reads_parts(blobs: &dyn Blobs) {
    let id = blobs.put(b"0123456789", NOW).unwrap();
    let reader = blobs.open(&id).unwrap();
    assert_eq!(reader.size(), 10);
    let mut bytes = b"x".to_vec();
    reader.read_at(4, 3, &mut bytes).unwrap();
    reader.read_at(8, 100, &mut bytes).unwrap();
    reader.read_at(10, 1, &mut bytes).unwrap();
    reader.read_at(11, usize::MAX, &mut bytes).unwrap();
    assert_eq!(bytes, b"x45689");
    for _ in 0..2 {
        let mut all = String::new();
        reader.stream().read_to_string(&mut all).unwrap();
        assert_eq!(all, "0123456789");
    }
    // What is open can be read to its end, whatever happens to the name.
    blobs.remove(std::slice::from_ref(&id)).unwrap();
    bytes.clear();
    reader.read_at(0, 10, &mut bytes).unwrap();
    assert_eq!(bytes, b"0123456789");
}

fn refuses_large(blobs: &dyn Blobs) {
    let id = blobs.put(b"0123456789", NOW).unwrap();
    assert_eq!(blobs.get(&id, 10).unwrap().len(), 10);
    assert_eq!(blobs.get(&id, 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}

fn removes_and_scans(blobs: &dyn Blobs) {
    let mut ids: Vec<_> = (0..20).map(|i| blobs.put(b"x", NOW.plus_days(i % 3)).unwrap()).collect();
    ids.sort();
    let scan = || {
        let mut found = blobs.scan().collect::<io::Result<Vec<_>>>().unwrap();
        found.sort();
        found
    };
    assert_eq!(scan(), ids);
    let gone = ids.split_off(12);
    blobs.remove(&gone[..4]).unwrap();
    blobs.discard(&gone[4..]).unwrap();
    blobs.tidy().unwrap();
    assert_eq!(scan(), ids);
    blobs.remove(&gone).unwrap();
    blobs.discard(&gone).unwrap();
    assert_eq!(blobs.tidy().unwrap(), 0);
    assert_eq!(scan(), ids);
    for error in [
        blobs.open(&gone[0]).err().unwrap(),
        blobs.get(&gone[0], 1).err().unwrap(),
        blobs.sync(&gone[..1]).err().unwrap(),
    ] {
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
    // Asking for what is gone is a slip of the caller, not a failing disk.
    blobs.sync(&ids).unwrap();
    assert!(blobs.free_bytes().unwrap() > 0);
}

fn restores(blobs: &dyn Blobs) {
    let lost = blobs.put(b"bytes", NOW).unwrap();
    blobs.remove(std::slice::from_ref(&lost)).unwrap();
    let again = blobs.put(b"bytes", NOW.plus_days(1)).unwrap();
    blobs.restore(&lost, &again).unwrap();
    blobs.remove(std::slice::from_ref(&again)).unwrap();
    assert_eq!(blobs.get(&lost, 5).unwrap(), b"bytes");
    let other = blobs.put(b"other", NOW).unwrap();
    assert_eq!(blobs.restore(&lost, &other).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(blobs.get(&lost, 5).unwrap(), b"bytes");
}

fn exports(blobs: &dyn Blobs) {
    use std::os::unix::fs::PermissionsExt;
    let out = tempfile::tempdir().unwrap();
    let into = durable::open_folder(out.path()).unwrap();
    let id = blobs.put(b"content", NOW).unwrap();
    blobs.sync(std::slice::from_ref(&id)).unwrap();
    let group = rustix::process::getegid().as_raw();
    blobs.export(&id, &into, "KPFD0006.CSV", Some(group)).unwrap();
    let path = out.path().join("KPFD0006.CSV");
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o440);
    let again = blobs.export(&id, &into, "KPFD0006.CSV", None).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    blobs.export(&id, &into, "second", None).unwrap();
    for bad in ["", ".", "..", "../x", "a/b"] {
        assert_eq!(
            blobs.export(&id, &into, bad, None).unwrap_err().kind(),
            io::ErrorKind::InvalidInput,
            "{bad:?}"
        );
    }
    // What was given out stays when the blob goes.
    blobs.remove(std::slice::from_ref(&id)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"content");
    assert_eq!(blobs.export(&id, &into, "third", None).unwrap_err().kind(), io::ErrorKind::NotFound);
}

fn syncs_together(blobs: &dyn Blobs) {
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let ids: Vec<_> = (0..4).map(|_| blobs.put(b"x", NOW).unwrap()).collect();
                    blobs.sync(&ids).unwrap();
                }
            });
        }
    });
    assert_eq!(blobs.scan().count(), 160);
    blobs.sync(&[]).unwrap();
}
