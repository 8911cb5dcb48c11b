//! A bell for what importers and insurers do in their folders. It may miss things (network file systems say nothing, queues
//! overflow): the scans at intervals are what is relied on.
//!
//! Asks the kernel only for what others do there: whatever reads and clears away rings nothing, and so taking in a
//! delivery of ten thousand files wakes nobody ten thousand times.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::model::ids::InsurerCode;
use crate::store::spool;

/// In `new/`, `cur/`, `done/`, `failed/`: what an importer does.
const MOVES: WatchFlags =
    WatchFlags::MOVE.union(WatchFlags::CREATE).union(WatchFlags::DELETE).union(FOLDER_ITSELF);
/// In `outgoing/`: folders of jobs.
const JOBS: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(FOLDER_ITSELF);
/// In `outgoing/JOB/`: files that are whole.
const FILES: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::MOVED_TO).union(FOLDER_ITSELF);
/// What an insurer puts there instead of a folder is not followed.
const FOLDER_ITSELF: WatchFlags = WatchFlags::ONLYDIR.union(WatchFlags::DONT_FOLLOW);

/// After a ring so long nothing is read: what comes in crowds rings together.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// Bytes of events that are read at once.
const EVENTS_BYTES: usize = 16 * 1024;

/// The watch; ends when it is dropped.
pub struct SpoolWatch {
    shared: Arc<Shared>,
    spool_root: PathBuf,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inotify: OwnedFd,
    /// Written to when the watch ends.
    end: OwnedFd,
    /// `outgoing/` of each insurer, by its watch.
    outgoing: Mutex<HashMap<i32, PathBuf>>,
}

impl SpoolWatch {
    /// `bell` is called on a thread of the watch and must not block.
    pub fn start(spool_root: &Path, bell: impl Fn() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inotify: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            end: eventfd(0, EventfdFlags::CLOEXEC)?,
            outgoing: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            if let Err(error) = own.run(&bell) {
                tracing::warn!(%error, "insurers' folders are watched no more; they are looked at at intervals");
            }
        })?;
        Ok(Self { shared, spool_root: spool_root.to_owned(), thread: Some(thread) })
    }

    /// Watches an insurer's folders from now on; one that is watched already stays so.
    pub fn add(&mut self, code: &InsurerCode) -> io::Result<()> {
        let own = spool::insurer_path(&self.spool_root, code);
        for folder in ["new", "cur", "done", "failed"] {
            add_watch(&self.shared.inotify, own.join(folder), MOVES)?;
        }
        let outgoing = own.join("outgoing");
        let watch = add_watch(&self.shared.inotify, &outgoing, JOBS)?;
        self.shared.outgoing().insert(watch, outgoing.clone());
        for job in std::fs::read_dir(&outgoing)? {
            self.shared.add_job(&job?.path());
        }
        Ok(())
    }
}

impl Drop for SpoolWatch {
    fn drop(&mut self) {
        self.stop();
    }
}

impl SpoolWatch {
    fn stop(&mut self) {
        // Fails only when the counter is full, and then the thread has been told.
        let _ = rustix::io::write(&self.shared.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn outgoing(&self) -> std::sync::MutexGuard<'_, HashMap<i32, PathBuf>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job's folder; whatever else lies in `outgoing/` is left to the scan, and so is one that is gone again.
    fn add_job(&self, folder: &Path) {
        match add_watch(&self.inotify, folder, FILES) {
            Ok(_) | Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
            Err(error) => {
                tracing::warn!(%error, "a folder in outgoing/ is not watched; it is looked at at intervals");
            }
        }
    }

    fn run(&self, bell: &dyn Fn()) -> io::Result<()> {
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS_BYTES];
        loop {
            let events = PollFd::new(&self.inotify, PollFlags::IN);
            let end = PollFd::new(&self.end, PollFlags::IN);
            if is_ready(&mut [end.clone(), events], None)? {
                return Ok(());
            }
            if self.read(&mut buffer)? {
                bell();
            }
            if is_ready(&mut [end], Some(&BREATH))? {
                return Ok(());
            }
        }
    }

    /// All events there are; whether there were any.
    fn read(&self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<bool> {
        let mut reader = Reader::new(&self.inotify, buffer);
        let mut rings = false;
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(rings),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::IGNORED) {
                // The folder is gone, and its watch with it.
                self.outgoing().remove(&event.wd());
                continue;
            }
            rings = true;
            let folder = self.outgoing().get(&event.wd()).cloned();
            if let (Some(folder), Some(name)) = (folder, event.file_name())
                && event.events().contains(ReadFlags::ISDIR)
            {
                use std::os::unix::ffi::OsStrExt as _;
                self.add_job(&folder.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
            }
        }
    }
}

/// Waits for any of these; whether the first one, which tells of the end, is ready.
fn is_ready(which: &mut [PollFd<'_>], at_most: Option<&Timespec>) -> io::Result<bool> {
    match poll(which, at_most) {
        Ok(_) => Ok(which.first().is_some_and(|end| !end.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::small_world::{INSURER, World, code};

    fn watched(world: &World) -> (SpoolWatch, Receiver<()>) {
        let (bell, heard) = channel();
        let mut watch = SpoolWatch::start(&world.spool_root(), move || {
            let _ = bell.send(());
        })
        .unwrap();
        watch.add(&code(INSURER)).unwrap();
        (watch, heard)
    }

    fn rings(heard: &Receiver<()>) {
        heard.recv_timeout(Duration::from_mins(1)).unwrap();
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "as importers and insurers do it")]
    fn what_importers_and_insurers_do_rings() {
        let world = World::new();
        std::fs::create_dir(world.spool("outgoing/there")).unwrap();
        let (watch, heard) = watched(&world);
        std::fs::create_dir(world.spool("new/1-000001-0")).unwrap();
        rings(&heard);
        std::fs::rename(world.spool("new/1-000001-0"), world.spool("cur/1-000001-0")).unwrap();
        rings(&heard);
        std::fs::write(world.spool("outgoing/there/a.pdf"), "a").unwrap();
        rings(&heard);
        std::fs::create_dir(world.spool("outgoing/late")).unwrap();
        rings(&heard);
        // The ring for the folder comes after its watch.
        std::fs::write(world.spool("outgoing/late/.a"), "a").unwrap();
        rings(&heard);
        std::fs::rename(world.spool("outgoing/late/.a"), world.spool("outgoing/late/a.pdf")).unwrap();
        rings(&heard);
        drop(watch);
        assert!(heard.recv().is_err(), "its thread is gone");
    }

    #[test]
    fn reading_and_clearing_away_ring_nothing() {
        let world = World::new();
        std::fs::create_dir(world.spool("outgoing/job")).unwrap();
        std::fs::write(world.spool("outgoing/job/a.pdf"), "a").unwrap();
        std::os::unix::fs::symlink("/", world.spool("outgoing/link")).unwrap();
        let (mut watch, heard) = watched(&world);
        watch.stop();
        std::fs::read(world.spool("outgoing/job/a.pdf")).unwrap();
        std::fs::remove_file(world.spool("outgoing/job/a.pdf")).unwrap();
        std::fs::remove_dir(world.spool("outgoing/job")).unwrap();
        std::fs::remove_file(world.spool("outgoing/link")).unwrap();
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        assert!(!watch.shared.read(&mut buffer).unwrap());
        std::fs::create_dir(world.spool("outgoing/next")).unwrap();
        assert!(watch.shared.read(&mut buffer).unwrap());
        assert!(heard.try_recv().is_err());
    }
}
