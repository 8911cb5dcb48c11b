use std::sync::Arc;

use russh::keys::ssh_key::private::Ed25519Keypair;

use super::*;
use crate::signed::pki::{ACCOUNT, Pki};
use crate::store::local_blobs::{BlobOptions, LocalBlobs};
use crate::store::sample::{NOW, account_id};

const HOUR: i64 = 3_600_000;

/// A drop-box over a temporary folder.
struct World {
    temp: tempfile::TempDir,
    blobs: Arc<dyn Blobs>,
    dropbox: Dropbox,
}

fn limits() -> SubmitPolicy {
    SubmitPolicy {
        file_bytes_max: 1000,
        account_bytes_max: 3000,
        account_files_max: 8,
        account_folders_max: 3,
        unfinished_hours: 2,
        ..SubmitPolicy::default()
    }
}

fn place(path: &str) -> Place {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    Place { folder: folder.into(), name: name.into() }
}

fn anew() -> Begin {
    Begin { truncate: true, exclusive: false, create: true }
}

fn more() -> Begin {
    Begin { truncate: false, exclusive: false, create: true }
}

fn sign(manifest: &str) -> String {
    let key = Ed25519Keypair::from_seed(&[7; 32]).into();
    sshsig::sign(manifest.as_bytes(), SUBMISSION_NAMESPACE, &key).unwrap()
}

fn manifest(files: &[(&str, &str)]) -> String {
    let line = |(name, content): &(&str, &str)| format!("{}  {name}\n", Digest::of(content.as_bytes()));
    files.iter().map(line).collect::<Vec<_>>().concat()
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("blobs")).unwrap();
        std::fs::create_dir(temp.path().join("uploads")).unwrap();
        let blobs: Arc<dyn Blobs> =
            Arc::new(LocalBlobs::open(&temp.path().join("blobs"), BlobOptions::default()).unwrap());
        let dropbox = open(&temp, &blobs, &|_| false);
        Self { temp, blobs, dropbox }
    }

    /// As after a restart.
    fn again(&mut self, claimed: &dyn Fn(&BlobId) -> bool) {
        self.dropbox = open(&self.temp, &self.blobs, claimed);
    }

    fn begin(&self, path: &str, how: Begin, login: Login) -> (Upload, Box<dyn BlobWriter>) {
        self.dropbox.begin(&place(path), how, login, NOW).unwrap()
    }

    fn write(
        &self,
        to: &mut (Upload, Box<dyn BlobWriter>),
        at: u64,
        content: &str,
    ) -> Result<(), DropboxError> {
        self.dropbox.grow(&to.0, at + content.len() as u64, NOW)?;
        Ok(to.1.write_at(at, content.as_bytes())?)
    }

    fn try_put(&self, path: &str, content: &str, login: Login) -> Result<Option<ClaimedSet>, DropboxError> {
        let mut upload = self.dropbox.begin(&place(path), anew(), login, NOW)?;
        if let Err(e) = self.write(&mut upload, 0, content) {
            self.dropbox.abandon(&upload.0);
            return Err(e);
        }
        self.dropbox.close(upload.0, login, NOW)
    }

    fn put(&self, path: &str, content: &str, login: Login) -> Option<ClaimedSet> {
        self.try_put(path, content, login).unwrap()
    }

    /// A whole set of `a` and `b` at the top.
    fn set(&self, folder: &str, a: &str, b: &str, login: Login) -> ClaimedSet {
        let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        assert!(self.put(&at("a"), a, login).is_none());
        assert!(self.put(&at("b"), b, login).is_none());
        assert!(self.put(&at(MANIFEST), &manifest(&[("a", a), ("b", b)]), login).is_none());
        self.put(&at(SIGNATURE), "signature", login).expect("complete")
    }

    fn room(&self) -> (usize, u64) {
        let (files, bytes, _) = self.dropbox.usage();
        (files, bytes)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        self.dropbox.files(folder).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    fn on_disk(&self) -> usize {
        self.blobs.tidy().unwrap();
        self.blobs.scan().count()
    }
}

fn open(temp: &tempfile::TempDir, blobs: &Arc<dyn Blobs>, claimed: &dyn Fn(&BlobId) -> bool) -> Dropbox {
    let uploads = temp.path().join("uploads");
    let account = account_id("K0001");
    Dropbox::open(
        account,
        &uploads,
        limits(),
        ManifestLimits::default(),
        Arc::clone(blobs),
        claimed,
        Arc::new(|| false),
    )
    .unwrap()
}

#[test]
fn a_set_is_claimed_once_and_takes_room_until_its_answer() {
    let world = World::new();
    let set = world.set("", "one", "two", 1);
    assert_eq!(set.files.iter().map(|f| (f.size, f.fresh)).collect::<Vec<_>>(), [(3, true), (3, true)]);
    assert_eq!(world.names(""), Vec::<String>::new());
    let (files, bytes) = world.room();
    assert_eq!(files, 4, "claimed files still take room");
    assert!(bytes > 6);
    assert_eq!(world.dropbox.blobs().len(), 4, "and are nobody's orphans");
    // The names are free: the next file of the same name is another version.
    world.put("a", "next", 1);
    assert_eq!(world.names(""), ["a"]);
    let kept: Vec<BlobId> = set.files.iter().map(|f| f.blob.clone()).collect();
    world.dropbox.consume(&set, &kept).unwrap();
    assert_eq!(world.room(), (1, 4));
    assert_eq!(world.on_disk(), 3, "manifest and signature are gone, the ledger's stay");
    // Again changes nothing, and above all takes nothing of the ledger's.
    world.dropbox.consume(&set, &[]).unwrap();
    assert_eq!((world.room(), world.on_disk()), ((1, 4), 3));
}

#[test]
fn what_is_given_back_keeps_newer_versions_and_completes_with_them() {
    let world = World::new();
    // `b` is a leftover of login 1; login 2 completes, and sends the right `b` before the answer is there.
    world.put("b", "old", 1);
    world.put("a", "one", 2);
    world.put(MANIFEST, &manifest(&[("a", "one"), ("b", "two")]), 2);
    let set = world.put(SIGNATURE, "signature", 2).unwrap();
    assert_eq!(set.files.iter().map(|f| f.fresh).collect::<Vec<_>>(), [true, false]);
    assert!(world.put("b", "two", 2).is_none(), "its manifest is away");
    let newer = world.dropbox.give_back(set).unwrap().expect("complete with the newer one");
    assert_eq!(newer.files[1].size, 3);
    assert!(newer.files.iter().all(|f| f.fresh));
    assert_eq!(world.blobs.get(&newer.files[1].blob, 10).unwrap(), b"two");
    // Nothing new came while it was away: it is not complete anew, and nothing is counted twice.
    assert!(world.dropbox.give_back(newer).unwrap().is_none());
    assert_eq!(world.names(""), [MANIFEST, SIGNATURE, "a", "b"]);
    assert_eq!(world.room().0, 4);
    assert_eq!(world.on_disk(), 4, "the older `b` is gone");
}

#[test]
fn what_is_given_back_after_its_session_survives_a_restart() {
    let mut world = World::new();
    world.dropbox.make_folder("n", 1, NOW).unwrap();
    let set = world.set("n", "one", "two", 1);
    world.dropbox.end_login(1).unwrap();
    world.dropbox.give_back(set).unwrap();
    let room = world.room();
    world.again(&|_| false);
    assert_eq!(world.names("n"), [MANIFEST, SIGNATURE, "a", "b"]);
    assert_eq!(world.room(), room);
}

#[test]
fn a_dead_connection_does_not_hold_up_the_one_that_goes_on() {
    let world = World::new();
    let mut dead = world.begin("a", anew(), 1);
    world.write(&mut dead, 0, "half").unwrap();
    // `reput`: the old connection has not noticed yet that it is dead.
    let mut next = world.begin("a", more(), 1);
    assert_eq!(next.1.size().unwrap(), 4);
    world.write(&mut next, 4, "-rest").unwrap();
    // What the old one still writes reaches nobody.
    assert!(matches!(world.write(&mut dead, 0, "EVIL"), Err(DropboxError::Replaced)));
    world.put(MANIFEST, &manifest(&[("a", "half-rest")]), 1);
    world.put(SIGNATURE, "signature", 1);
    let set = world.dropbox.close(next.0, 1, NOW).unwrap().expect("complete");
    assert_eq!(world.blobs.get(&set.files[0].blob, 100).unwrap(), b"half-rest");
    let (files, _) = world.room();
    assert_eq!(files, 4, "the dead one's bytes take room while it may write");
    world.dropbox.abandon(&dead.0);
    assert_eq!(world.room().0, 3);
}

#[test]
fn replacing_or_removing_an_open_file_does_not_free_its_room() {
    let world = World::new();
    let mut open = Vec::new();
    // The same name over and over: each older one has lost it, and is still there to be written.
    for _ in 0..3 {
        let mut upload = world.begin("a", anew(), 1);
        world.write(&mut upload, 0, &"x".repeat(900)).unwrap();
        open.push(upload);
    }
    assert_eq!(world.room(), (3, 2700));
    let mut fourth = world.begin("a", anew(), 1);
    let refused = world.write(&mut fourth, 0, &"x".repeat(900));
    assert!(matches!(refused, Err(DropboxError::Full { bound: "account_bytes_max", .. })), "{refused:?}");
    world.dropbox.remove(&place("a"), 1).unwrap();
    assert_eq!(world.room().0, 4);
    for upload in open {
        assert!(matches!(world.dropbox.close(upload.0, 1, NOW), Err(DropboxError::Replaced)));
    }
    world.dropbox.abandon(&fourth.0);
    assert_eq!(world.room(), (0, 0));
    assert_eq!(world.on_disk(), 0);
}

#[test]
fn a_file_renamed_while_it_is_written_is_closed_under_its_new_name() {
    let world = World::new();
    let mut upload = world.begin("a.part", anew(), 1);
    world.write(&mut upload, 0, "one").unwrap();
    assert!(world.dropbox.rename(&place("a.part"), &place("a"), false, 1, NOW).unwrap().is_none());
    world.put(MANIFEST, &manifest(&[("a", "one")]), 1);
    assert!(world.put(SIGNATURE, "signature", 1).is_none(), "it is still being written");
    assert!(world.dropbox.close(upload.0, 1, NOW).unwrap().is_some());
    // And what must not stay is found under whatever name.
    let mut key = world.begin("b.part", anew(), 1);
    world.write(&mut key, 0, "secret").unwrap();
    world.dropbox.rename(&place("b.part"), &place("c"), false, 1, NOW).unwrap();
    world.dropbox.discard(&key.0).unwrap();
    assert_eq!(world.names(""), Vec::<String>::new());
    assert_eq!(world.room().0, 3);
}

#[test]
fn bounds_are_kept_and_can_be_changed() {
    let world = World::new();
    let full = |result: Result<Option<ClaimedSet>, DropboxError>| match result {
        Err(DropboxError::Full { bound, .. }) => bound,
        other => panic!("{other:?}"),
    };
    assert_eq!(full(world.try_put("a", &"x".repeat(1001), 1)), "file_bytes_max");
    for name in ["a", "b", "c"] {
        world.put(name, &"x".repeat(1000), 1);
    }
    assert_eq!(full(world.try_put("d", "x", 1)), "account_bytes_max");
    world.dropbox.set_limits(SubmitPolicy { account_files_max: 4, account_bytes_max: 10_000, ..limits() });
    world.put("d", "x", 1);
    assert_eq!(full(world.try_put("e", "x", 1)), "account_files_max");
    for name in ["1", "2", "3"] {
        world.dropbox.make_folder(name, 1, NOW).unwrap();
    }
    let refused = world.dropbox.make_folder("4", 1, NOW);
    assert!(matches!(refused, Err(DropboxError::Full { bound: "account_folders_max", .. })));
}

#[test]
fn a_long_session_may_commit_more_sets_than_there_may_be_folders() {
    let world = World::new();
    for n in 0..20 {
        let folder = n.to_string();
        world.dropbox.make_folder(&folder, 1, NOW.plus(n)).unwrap();
        let set = world.set(&folder, "one", "two", 1);
        world.dropbox.consume(&set, &[]).unwrap();
        assert!(world.dropbox.folder(&folder).is_some(), "a client may still set its times");
        assert!(world.dropbox.stat(&place(&format!("{folder}/a")), 1).is_some());
    }
    assert_eq!(world.dropbox.folders().len(), 3);
    assert_eq!(world.room(), (0, 0));
    world.dropbox.end_login(1).unwrap();
    assert_eq!(world.dropbox.folders().len(), 0);
    assert!(world.dropbox.stat(&place("19/a"), 1).is_none());
}

#[test]
fn either_signature_completes_a_set_and_both_are_taken() {
    let world = World::new();
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|b| String::from_utf8_lossy(b).into_owned());
    world.put("a", "one", 1);
    world.put(MANIFEST, &manifest(&[("a", "one")]), 1);
    let set = world.put(CMS, "cms", 1).expect("complete");
    assert_eq!((bytes(&set.sshsig), bytes(&set.cms)), (None, Some("cms".into())));
    assert!(world.dropbox.give_back(set).unwrap().is_none());
    assert_eq!(world.names(""), [MANIFEST, CMS, "a"]);
    let set = world.put(SIGNATURE, "sshsig", 1).expect("both");
    assert_eq!((bytes(&set.sshsig), bytes(&set.cms)), (Some("sshsig".into()), Some("cms".into())));
    assert_eq!(world.names(""), [""; 0]);
    assert!(world.dropbox.stat(&place(CMS), 1).is_some(), "still there for the login that sent it");
    world.dropbox.consume(&set, &[]).unwrap();
}

#[test]
fn a_signature_that_is_being_written_belongs_to_the_set() {
    let world = World::new();
    world.put("a", "one", 1);
    let mut upload = world.begin(CMS, anew(), 1);
    world.put(MANIFEST, &manifest(&[("a", "one")]), 1);
    assert!(world.put(SIGNATURE, "sshsig", 1).is_none(), "the other one is under way");
    world.write(&mut upload, 0, "cms").unwrap();
    let set = world.dropbox.close(upload.0, 1, NOW).unwrap().expect("complete");
    assert!(set.sshsig.is_some() && set.cms.is_some());
}

#[test]
fn a_second_signature_that_comes_late_goes_with_its_login() {
    let mut world = World::new();
    world.dropbox.set_limits(SubmitPolicy::default());
    let manifest = manifest(&[("a", "one")]);
    let pki = Pki::new();
    pki.issue("ca", "p256", "ec:P-256", "/CN=K0001", ACCOUNT, "");
    pki.write("SHA256SUMS", manifest.as_bytes());
    pki.openssl("cms -sign -binary -in SHA256SUMS -out sig -signer p256.crt -inkey p256.key -outform PEM");
    let cms = String::from_utf8(pki.read("sig")).unwrap();
    for (first, late, signature) in [(SIGNATURE, CMS, cms), (CMS, SIGNATURE, sign(&manifest))] {
        world.put("a", "one", 1);
        world.put(MANIFEST, &manifest, 1);
        let set = world.put(first, "not looked at here", 1).expect("complete");
        world.dropbox.consume(&set, &[]).unwrap();
        assert!(world.put(late, &signature, 1).is_none());
        assert_eq!(world.names(""), [late]);
        world.dropbox.end_login(2).unwrap();
        assert_eq!(world.names(""), [late], "another login's end");
        world.dropbox.end_login(1).unwrap();
        assert_eq!(world.names(""), [""; 0]);
        world.again(&|_| false);
        assert_eq!(world.names(""), [""; 0], "the log says so too");
    }
}

#[test]
fn the_next_sets_signature_stays_when_its_login_ends() {
    let world = World::new();
    let set = world.set("", "one", "two", 1);
    world.dropbox.consume(&set, &[]).unwrap();
    let next = manifest(&[("c", "three")]);
    world.put(SIGNATURE, &sign(&next), 1);
    world.dropbox.end_login(1).unwrap();
    assert_eq!(world.names(""), [SIGNATURE]);
    world.put("c", "three", 2);
    assert!(world.put(MANIFEST, &next, 2).is_some(), "and completes its set");
}

#[test]
fn an_emptied_folder_stays_for_another_login_that_uses_it() {
    let world = World::new();
    world.dropbox.make_folder("n", 1, NOW).unwrap();
    assert!(matches!(world.dropbox.make_folder("n", 2, NOW), Err(DropboxError::Exists)));
    let set = world.set("n", "one", "two", 1);
    world.dropbox.consume(&set, &[]).unwrap();
    world.dropbox.end_login(1).unwrap();
    assert!(world.put("n/a", "one", 2).is_none());
    world.dropbox.end_login(2).unwrap();
    assert_eq!(world.names("n"), ["a"], "a folder with files stays");
}

#[test]
fn folders_that_commits_emptied_do_not_come_back_after_a_crash() {
    let mut world = World::new();
    for name in ["answered", "recorded", "begun"] {
        world.dropbox.make_folder(name, 1, NOW).unwrap();
    }
    let answered = world.set("answered", "one", "two", 1);
    world.dropbox.consume(&answered, &[]).unwrap();
    // Killed after the ledger had it and before the drop-box was told.
    let recorded = world.set("recorded", "three", "four", 1);
    world.put("begun/a", "five", 1);
    world.again(&|blob| recorded.versions.contains(blob));
    let folders =
        |world: &World| world.dropbox.folders().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(folders(&world), ["begun"]);
    // The same name again is another folder.
    world.dropbox.make_folder("answered", 2, NOW).unwrap();
    world.again(&|blob| recorded.versions.contains(blob));
    assert_eq!(folders(&world), ["answered", "begun"]);
}

#[test]
fn what_is_left_alone_is_swept_a_folder_at_a_time_and_a_file_at_a_time_at_the_top() {
    let world = World::new();
    world.dropbox.make_folder("n", 1, NOW).unwrap();
    world.put("n/a", "one", 1);
    world.put("old", "12345", 1);
    let later = NOW.plus(HOUR);
    let fresh = world.dropbox.begin(&place("new"), anew(), 1, later).unwrap();
    world.dropbox.close(fresh.0, 1, later).unwrap();
    let mut open = world.dropbox.begin(&place("open"), anew(), 1, NOW).unwrap();
    world.write(&mut open, 0, "x").unwrap();
    assert_eq!(world.dropbox.stale(NOW.plus(2 * HOUR)), (0, 0));
    let now = NOW.plus(2 * HOUR + 1);
    assert_eq!(world.dropbox.stale(now), (2, 8));
    world.dropbox.sweep(now).unwrap();
    assert_eq!(world.names(""), ["new", "open"], "what is being written is not stale");
    assert!(world.dropbox.folder("n").is_none());
    assert_eq!(world.dropbox.stale(now), (0, 0));
    assert_eq!((world.room(), world.on_disk()), ((2, 1), 2));
}

#[test]
fn a_log_that_ends_anywhere_is_read_as_far_as_it_goes() {
    let mut world = World::new();
    world.dropbox.make_folder("n", 1, NOW).unwrap();
    world.put("n/a", "one", 1);
    world.put("n/b", "two", 1);
    world.dropbox.rename(&place("n/b"), &place("c"), false, 1, NOW).unwrap();
    world.put("n/a", "three", 1);
    world.put("d", "four", 1);
    world.dropbox.remove(&place("d"), 1).unwrap();
    let path = world.temp.path().join("uploads/K0001.jsonl");
    let whole = std::fs::read(&path).unwrap();
    for end in 0..=whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        world.again(&|_| false);
        let named: usize = world.names("").len() + world.dropbox.files("n").map_or(0, |f| f.len());
        assert_eq!(world.room().0, named, "cut at {end}");
        for name in world.dropbox.files("n").unwrap_or_default() {
            assert!(["a", "b"].contains(&name.0.as_str()), "cut at {end}: {name:?}");
        }
        // It can be written on, and what was written on is there at the next start.
        world.put("e", "after", 1);
        let (before, room) = (world.names(""), world.room());
        world.again(&|_| false);
        assert_eq!((world.names(""), world.room()), (before, room), "cut at {end}");
        world.dropbox.remove(&place("e"), 1).unwrap();
    }
    std::fs::write(&path, &whole).unwrap();
    world.again(&|_| false);
    assert_eq!((world.names(""), world.names("n")), (vec!["c".to_owned()], vec!["a".to_owned()]));
    // A leftover agrees or not, but is nobody's of this process.
    world.put(MANIFEST, &manifest(&[("c", "two")]), 1);
    let set = world.put(SIGNATURE, "s", 1).unwrap();
    assert!(!set.files[0].fresh);
}

#[test]
fn what_a_crash_breaks_off_can_be_continued_when_it_was_long_replaced_something_or_was_left_before() {
    let mut world = World::new();
    let size = UNLOGGED_BYTES_MAX + 1;
    let roomy = || SubmitPolicy { file_bytes_max: size, account_bytes_max: 2 * size, ..limits() };
    world.dropbox.set_limits(roomy());
    let mut long = world.begin("long", anew(), 1);
    world.write(&mut long, 0, &"x".repeat(usize::try_from(size).unwrap())).unwrap();
    world.put("replaced", "old", 1);
    let mut replacing = world.begin("replaced", anew(), 1);
    world.write(&mut replacing, 0, "ne").unwrap();
    let mut left = world.begin("left", anew(), 1);
    world.write(&mut left, 0, "par").unwrap();
    world.dropbox.abandon(&left.0);
    let mut short = world.begin("short", anew(), 1);
    world.write(&mut short, 0, "gone").unwrap();
    world.put("whole", "one", 1);

    world.again(&|_| false);
    world.dropbox.set_limits(roomy());
    assert_eq!(world.names(""), ["left", "long", "replaced", "whole"]);
    assert_eq!(world.room(), (4, 3 + size + 2 + 3));
    // None of the broken-off ones is taken for whole.
    let list = manifest(&[("left", "par"), ("replaced", "ne"), ("whole", "one")]);
    assert!(world.put(MANIFEST, &list, 2).is_none());
    assert!(world.put(SIGNATURE, "signature", 2).is_none());
    for (name, at, rest) in [("left", 3, ""), ("replaced", 2, "")] {
        let mut upload = world.begin(name, more(), 2);
        assert_eq!(upload.1.size().unwrap(), at);
        world.write(&mut upload, at, rest).unwrap();
        let set = world.dropbox.close(upload.0, 2, NOW).unwrap();
        assert_eq!(set.is_some(), name == "replaced");
    }
}

#[test]
fn what_the_ledger_has_is_not_the_drop_boxs_after_a_crash() {
    let mut world = World::new();
    let set = world.set("", "one", "two", 1);
    let ledgers: Vec<BlobId> = set.files.iter().map(|f| f.blob.clone()).collect();
    // The crash came before the log's lines.
    world.again(&|blob| ledgers.contains(blob));
    assert_eq!(world.names(""), [MANIFEST, SIGNATURE]);
    // Or before the commit: then everything is there, as nobody's of this process.
    world.again(&|_| false);
    assert_eq!(world.names(""), [MANIFEST, SIGNATURE, "a", "b"]);
}

#[test]
fn what_a_power_cut_shortened_is_unfinished_and_a_long_log_is_written_anew() {
    let mut world = World::new();
    world.put("a", "one", 1);
    let blob = world.dropbox.blobs().remove(0);
    world.blobs.reopen(&blob).unwrap().set_size(1).unwrap();
    world.again(&|_| false);
    world.put(MANIFEST, &manifest(&[("a", "o")]), 1);
    assert!(world.put(SIGNATURE, "s", 1).is_none(), "not there as it was closed");
    for n in 0..2000 {
        world.put("b", &n.to_string(), 1);
    }
    let path = world.temp.path().join("uploads/K0001.jsonl");
    world.again(&|_| false);
    assert!(std::fs::read_to_string(&path).unwrap().lines().count() < 20);
    let room = world.room();
    world.again(&|_| false);
    assert_eq!(
        (world.names(""), world.room()),
        (vec![MANIFEST.into(), SIGNATURE.into(), "a".into(), "b".into()], room)
    );
}

#[test]
fn names_after_a_commit_are_bounded() {
    let mut state = State::new(Arc::new(limits()));
    let shown = Shown { size: 1, modified: NOW };
    for n in 0..=state::NAMES_AFTER_MAX {
        state.remember(1, place(&n.to_string()), shown.clone());
    }
    assert!(state.remembered(1, &place("0")).is_none(), "the oldest is forgotten");
    assert!(state.remembered(1, &place("1")).is_some());
    assert!(state.forget(1, &place("1")) && !state.forget(1, &place("1")));
}

#[test]
fn two_sessions_that_complete_one_folder_get_one_set() {
    let world = Arc::new(World::new());
    world.dropbox.set_limits(SubmitPolicy {
        account_files_max: 1000,
        account_bytes_max: 1 << 20,
        ..limits()
    });
    for round in 0..20_u64 {
        let content = round.to_string();
        for (name, text) in [("a", content.as_str()), (MANIFEST, &manifest(&[("a", &content)]))] {
            world.put(name, text, round);
        }
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let world = Arc::clone(&world);
                std::thread::spawn(move || match world.try_put(SIGNATURE, "s", 100 + n) {
                    Ok(set) => set,
                    Err(DropboxError::Replaced) => None,
                    Err(e) => panic!("{e}"),
                })
            })
            .collect();
        let sets: Vec<ClaimedSet> = threads.into_iter().filter_map(|t| t.join().unwrap()).collect();
        assert_eq!(sets.len(), 1, "round {round}");
        for set in sets {
            world.dropbox.consume(&set, &[]).unwrap();
        }
        for name in world.names("") {
            world.dropbox.remove(&place(&name), 1).unwrap();
        }
        assert_eq!(world.room(), (0, 0));
    }
}
