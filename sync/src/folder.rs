//! A folder as a carrier: Syncthing, a USB stick, git or a network drive takes it to the other devices.
//!
//! One file an entry, named after its bytes, written once and never changed: no carrier can make a conflict of it.
//! Foreign, unfinished and renamed files are ignored; a file is believed once its bytes have its name.

use std::collections::BTreeMap;
use std::format;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::vec::Vec;

use crate::carrier::{Listing, Mailbox};
use crate::driver::NAMES_MAX;
use crate::entry::ENTRY_MAX;
use crate::id::Name;
use crate::mailbox::Order;

/// What an entry's file is called after its name.
const SUFFIX: &str = ".entry";

/// The most bytes of entries in one list. Whoever else writes here could put more than a device has memory.
const PAGE_MAX: u64 = 4 << 20;

/// How long a broken file must look the same before it is left alone: longer than file systems round the time of a change
/// (FAT: two seconds), or a carrier could put the rest into it and it would still look the same.
const SETTLED: Duration = Duration::from_secs(3);

/// What a file looks like without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    size: u64,
    modified: Option<SystemTime>,
}

/// A file whose bytes did not have its name.
#[derive(Debug)]
struct Broken {
    look: Look,
    /// Since when it has looked like this, by this process's clock: a network drive's may be another.
    since: Instant,
    /// Whether it was read again after it had [settled](SETTLED).
    is_given_up: bool,
}

/// Entries as files of one directory.
#[derive(Debug)]
pub struct Folder {
    directory: PathBuf,
    /// In the order in which this process found them: a folder has none of its own.
    found: Vec<Name>,
    /// Files whose bytes do not have their name, such as one that a carrier is still copying: some make it as long as it
    /// will be before they write a byte.
    broken: BTreeMap<Name, Broken>,
}

impl Folder {
    /// The folder at this path; makes it.
    pub fn open(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        Ok(Folder { directory: PathBuf::from(directory), found: Vec::new(), broken: BTreeMap::new() })
    }

    fn path(&self, name: Name) -> PathBuf {
        self.directory.join(format!("{name}{SUFFIX}"))
    }

    /// The names in the directory with what their files look like, if there are no more than so many. Files that are
    /// called otherwise take time, and no memory.
    fn scan(&self, most: u64) -> io::Result<BTreeMap<Name, Look>> {
        let mut names = BTreeMap::new();
        for file in fs::read_dir(&self.directory)? {
            let file = file?;
            let name = file.file_name();
            if let Some(name) = name.to_str().and_then(|name| Name::parse(name.strip_suffix(SUFFIX)?))
                && let Ok(metadata) = file.metadata()
                && metadata.is_file()
            {
                names.insert(name, Look { size: metadata.len(), modified: metadata.modified().ok() });
                if names.len() as u64 > most {
                    let why = "it has more files than any circle has entries";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
        }
        Ok(names)
    }

    /// The file's bytes if they have this name.
    fn read(&self, name: Name) -> io::Result<Option<Vec<u8>>> {
        match self.read_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read,
        }
    }

    /// As [`read`](Self::read), but a file that is not there is an error.
    fn read_file(&self, name: Name) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name);
        // Whoever else writes here could put a pipe, which would be waited for, or a link to something without end.
        if !fs::symlink_metadata(&path)?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(ENTRY_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok((Name::of(&bytes) == name).then_some(bytes))
    }

    /// Remembers that this file was read now, and is broken.
    fn note_broken(&mut self, name: Name, look: Look, now: Instant) {
        let before = self.broken.get(&name).filter(|broken| broken.look == look);
        let since = before.map_or(now, |broken| broken.since);
        // Without a time of its last change nobody can tell that it has changed.
        let is_given_up = look.modified.is_some() && now.duration_since(since) >= SETTLED;
        self.broken.insert(name, Broken { look, since, is_given_up });
    }
}

impl Mailbox for Folder {
    fn order(&self) -> Order {
        Order::Private
    }

    /// Whether anything has carried away what is in it nobody tells.
    fn is_near(&self) -> bool {
        true
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        if self.read(name)?.is_some() {
            return Ok(());
        }
        // The dot hides it from Syncthing's and people's eyes; the rename makes it whole or absent.
        let unfinished = self.directory.join(format!(".{name}.{}.tmp", std::process::id()));
        let written = (|| {
            let mut file = File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.path(name))?;
            #[cfg(unix)]
            File::open(&self.directory)?.sync_all()?;
            Ok(())
        })();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        let present = self.scan(NAMES_MAX)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "how long this process has seen a file, nobody asks but this"
        )]
        let now = Instant::now();
        self.broken.retain(|name, _| present.contains_key(name));
        let since = usize::try_from(since).unwrap_or(usize::MAX);
        let first_gone = self.found.iter().position(|name| !present.contains_key(name));
        self.found.retain(|name| present.contains_key(name));
        if let Some(first_gone) = first_gone.filter(|first_gone| *first_gone < since) {
            // What the caller counted has changed. Whatever is new would make up for the number of what is gone, and be
            // skipped: it is for the next list, which begins anew.
            return Ok(Listing { items: Vec::new(), head: first_gone as u64 });
        }
        let known: std::collections::BTreeSet<Name> = self.found.iter().copied().collect();
        let (mut read, mut room, mut is_whole) = (BTreeMap::new(), PAGE_MAX, true);
        for (name, look) in &present {
            let is_given_up =
                self.broken.get(name).is_some_and(|broken| broken.is_given_up && broken.look == *look);
            if known.contains(name) || is_given_up || look.size > ENTRY_MAX as u64 {
                continue;
            }
            if look.size > room {
                is_whole = false;
                break;
            }
            match self.read_file(*name) {
                Ok(Some(bytes)) => {
                    room = room.saturating_sub(bytes.len() as u64);
                    self.broken.remove(name);
                    self.found.push(*name);
                    read.insert(*name, bytes);
                }
                Ok(None) => self.note_broken(*name, *look, now),
                // It went after the look at the folder, and may come again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let new = self.found.iter().skip(since);
        let items = new.map(|name| (*name, read.remove(name))).collect();
        // What did not go into this page is at least one more.
        Ok(Listing { items, head: self.found.len() as u64 + u64::from(!is_whole) })
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        self.read(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_more_than_goes_into_memory_is_listed_page_by_page() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(directory.path()).unwrap();
        for number in 0..10_u8 {
            let bytes = std::vec![number; ENTRY_MAX];
            folder.put(Name::of(&bytes), &bytes).unwrap();
        }
        let mut again = Folder::open(directory.path()).unwrap();
        let (mut pages, mut since) = (Vec::new(), 0);
        while pages.last() != Some(&0) {
            let listing = again.list(since).unwrap();
            since += listing.items.len() as u64;
            pages.push(listing.items.len());
            assert_eq!(listing.head > since, since < 10, "whether there is more");
        }
        assert_eq!(pages, [4, 4, 2, 0]);
    }

    #[test]
    fn a_file_that_has_its_length_before_its_bytes_is_read_once_they_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(directory.path()).unwrap();
        let bytes = [7; 100];
        let name = Name::of(&bytes);
        let (path, long_ago) =
            (folder.path(name), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let write = |bytes: &[u8], modified: Option<SystemTime>| {
            fs::write(&path, bytes).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            modified.into_iter().for_each(|modified| file.set_modified(modified).unwrap());
        };
        let names = |folder: &mut Folder| folder.list(0).unwrap().items.len();
        // Within the same tick of the clock: it looks the same.
        for (bytes, count) in [([0; 100], 0), (bytes, 1)] {
            write(&bytes, Some(long_ago));
            assert_eq!(names(&mut folder), count);
        }
        // Whatever is there for long is read once more, and then left alone until it changes.
        let mut folder = Folder::open(directory.path()).unwrap();
        write(&[0; 100], Some(long_ago));
        for is_given_up in [false, true] {
            assert_eq!(names(&mut folder), 0);
            let broken = folder.broken.get_mut(&name).unwrap();
            assert_eq!(broken.is_given_up, is_given_up);
            broken.since -= SETTLED;
        }
        write(&bytes, Some(long_ago));
        assert_eq!(names(&mut folder), 0, "it was not read");
        write(&bytes, None);
        assert_eq!(names(&mut folder), 1);
        // Once a file has gone, nothing is remembered of it.
        let mut folder = Folder::open(directory.path()).unwrap();
        write(&[0; 100], None);
        assert_eq!((names(&mut folder), folder.broken.len()), (0, 1));
        fs::remove_file(&path).unwrap();
        assert_eq!((names(&mut folder), folder.broken.len()), (0, 0));
    }

    #[test]
    fn a_folder_with_more_entries_than_any_circle_is_given_up_and_what_else_is_in_it_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        for number in 0..4_u8 {
            fs::write(directory.path().join(format!("strange {number}.entry")), [number]).unwrap();
            fs::write(folder.path(Name([number; 16])), [number]).unwrap();
        }
        assert_eq!(folder.scan(4).unwrap().len(), 4);
        assert_eq!(folder.scan(3).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
