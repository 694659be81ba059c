//! A story told once, and the power cut after each of its steps: what a disk may hold then is put together from the
//! steps, and the program has to make something of it.
//!
//! The disk of this model keeps what was synced and no more, as the standard allows: a file's bytes by a sync of the
//! file, names by a sync of their folder. What was not synced may be there, in the order in which it was done, up to any
//! point and with the last write torn; one file's and one folder's apart from the others'.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use doppelkey::client::Client;
use doppelkey_sync::Seeded;

use super::steps::{Step, Steps};
use super::stories::Story;

/// What was done to a story.
#[derive(Clone, Copy, Debug, Default)]
pub struct PowerCuts {
    /// How many steps it has.
    pub steps: u64,
    /// From how many different disks its program was started.
    pub disks: u64,
    /// How many promises were looked at, and were kept.
    pub kept: u64,
}

/// Cuts the power after every `stride`-th step from `first` (counted from 1) on. `None` without a C compiler.
///
/// # Panics
/// If a promise is broken, or the program does not start.
pub fn power_cuts(story: Story, first: u64, stride: u64, seed: u64) -> Option<PowerCuts> {
    let (mut client, mut rng) = (Client::ephemeral(), Seeded::new(seed));
    let watched = Steps::new()?;
    let promises = story.tell(&watched, &mut client);
    let steps = watched.taken();
    let mut told = PowerCuts { steps: steps.len() as u64, ..PowerCuts::default() };
    let (mut disk, mut seen) = (Disk::default(), BTreeSet::new());
    for (number, step) in (1..).zip(&steps) {
        disk.take(step);
        if number < first || !(number - first).is_multiple_of(stride) {
            continue;
        }
        let due: Vec<_> = promises
            .iter()
            .filter(|promise| promise.since <= number && promise.until.is_none_or(|until| number <= until))
            .collect();
        for luck in [Luck::Nothing, Luck::Names, Luck::Bytes, Luck::Any, Luck::Any] {
            let left = disk.after_a_power_cut(luck, &mut rng);
            let mut hasher = DefaultHasher::new();
            (&left, due.len()).hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                continue;
            }
            // Where the story was told: a sync file says where its mailbox is, and that one has lost power, too.
            clear(watched.folder());
            write(&left, watched.folder());
            story.keeps(watched.folder(), &due, &mut client).unwrap_or_else(|broken| {
                let sizes: Vec<_> = left.iter().map(|(name, bytes)| (name, bytes.as_ref().map(Vec::len))).collect();
                panic!("{story:?}, power cut after step {number}, {step:.60?}, {luck:?}, seed {seed}, {sizes:?}: {broken}")
            });
            told.disks += 1;
            told.kept += due.len() as u64;
        }
    }
    Some(told)
}

/// What of the things that were not synced is there after a power cut.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Nothing,
    /// All names, and no bytes: a rename that overtook what it was made for.
    Names,
    /// All bytes, and no names.
    Bytes,
    /// Of each file and folder some, in order.
    Any,
}

/// By name: a file's bytes, or `None` for a folder.
type Left = BTreeMap<String, Option<Vec<u8>>>;

/// Files and names, with what of them is durable.
#[derive(Default)]
struct Disk {
    files: Vec<File>,
    /// The names of now, and what they stand for.
    names: BTreeMap<String, Node>,
    durable_names: BTreeMap<String, Node>,
    /// Since the last sync of the folder that they are in.
    changes: Vec<(String, Change)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Clone)]
enum Change {
    Name(String, Node),
    Rename(String, String),
    Remove(String),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    writes: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(name) => {
                self.files.push(File::default());
                self.change(name, Change::Name(name.clone(), Node::File(self.files.len() - 1)));
            }
            Step::MakeFolder(name) => self.change(name, Change::Name(name.clone(), Node::Folder)),
            Step::Rename(from, to) => self.change(to, Change::Rename(from.clone(), to.clone())),
            Step::Link(from, to) => {
                if let Some(&node) = self.names.get(from) {
                    self.change(to, Change::Name(to.clone(), node));
                }
            }
            Step::Remove(name) => self.change(name, Change::Remove(name.clone())),
            Step::Write(name, offset, bytes) => self.write(name, Write::Bytes(*offset, bytes.clone())),
            Step::Truncate(name, length) => self.write(name, Write::Length(*length)),
            Step::Sync(name) => match self.names.get(name) {
                Some(&Node::File(file)) => self.files[file].sync(),
                _ => self.sync_folder(name),
            },
        }
    }

    fn change(&mut self, name: &str, change: Change) {
        change.apply(&mut self.names);
        self.changes.push((folder_of(name).to_owned(), change));
    }

    fn write(&mut self, name: &str, write: Write) {
        // A file whose name is gone may still be written, and is gone whatever happens.
        if let Some(&Node::File(file)) = self.names.get(name) {
            self.files[file].writes.push(write);
        }
    }

    fn sync_folder(&mut self, folder: &str) {
        let durable = &mut self.durable_names;
        self.changes.retain(|(of, change)| {
            if of == folder {
                change.apply(durable);
            }
            of != folder
        });
    }

    /// What may be left of it.
    fn after_a_power_cut(&self, luck: Luck, rng: &mut Seeded) -> Left {
        let mut names = self.durable_names.clone();
        let mut reached = BTreeMap::new();
        for (folder, change) in &self.changes {
            let still = reached.entry(folder).or_insert(true);
            *still &= match luck {
                Luck::Nothing | Luck::Bytes => false,
                Luck::Names => true,
                Luck::Any => rng.chance(0.8),
            };
            if *still {
                change.apply(&mut names);
            }
        }
        let has_folder = |name: &str| {
            let folder = folder_of(name);
            folder == "." || names.get(folder) == Some(&Node::Folder)
        };
        // What maps its bytes into memory is made anew by SQLite whenever it is not in use.
        let kept = names.iter().filter(|(name, _)| has_folder(name) && !name.ends_with("-shm"));
        let bytes = |node: &Node| match node {
            Node::Folder => None,
            Node::File(file) => Some(self.files[*file].after_a_power_cut(luck, rng)),
        };
        let mut bytes = bytes;
        kept.map(|(name, node)| (name.clone(), bytes(node))).collect()
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Change::Name(name, node) => {
                names.insert(name.clone(), *node);
            }
            Change::Remove(name) => {
                names.remove(name);
            }
            Change::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl File {
    fn sync(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            write.apply(&mut self.durable);
        }
    }

    fn after_a_power_cut(&self, luck: Luck, rng: &mut Seeded) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for write in &self.writes {
            match luck {
                Luck::Nothing | Luck::Names => break,
                Luck::Any if rng.chance(0.3) => {
                    if let Write::Bytes(offset, written) = write {
                        let torn = rng.below(written.len() as u64 + 1) as usize;
                        Write::Bytes(*offset, written[..torn].to_vec()).apply(&mut bytes);
                    }
                    break;
                }
                Luck::Bytes | Luck::Any => write.apply(&mut bytes),
            }
        }
        bytes
    }
}

impl Write {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Write::Length(length) => bytes.resize(*length, 0),
            Write::Bytes(offset, written) => {
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(".", |(folder, _)| folder)
}

/// Removes what is in a folder.
fn clear(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it is ours") {
        let path = entry.expect("it can be read").path();
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.expect("no program uses it any more");
    }
}

/// Puts files and folders where the program looks for them, for their owner alone, as it does itself.
fn write(left: &Left, folder: &Path) {
    for (name, bytes) in left {
        let path = folder.join(name);
        let Some(bytes) = bytes else {
            std::fs::create_dir(&path).expect("a folder comes before what is in it");
            continue;
        };
        std::fs::write(&path, bytes).expect("there is room");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("it is ours");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(steps: &[Step], luck: Luck) -> Left {
        let mut disk = Disk::default();
        steps.iter().for_each(|step| disk.take(step));
        disk.after_a_power_cut(luck, &mut Seeded::new(1))
    }

    #[test]
    fn what_was_synced_is_there_and_what_was_not_may_be() {
        let new = "new".to_owned();
        let mut steps = vec![Step::Create(new.clone()), Step::Write(new.clone(), 0, b"hello".to_vec())];
        assert!(left(&steps, Luck::Nothing).is_empty());
        assert_eq!(left(&steps, Luck::Names)["new"], Some(vec![]));
        steps.extend([Step::Sync(new.clone()), Step::Rename(new, "file".into())]);
        assert!(left(&steps, Luck::Nothing).is_empty(), "no name was synced");
        assert_eq!(left(&steps, Luck::Names)["file"].as_deref(), Some(&b"hello"[..]));
        steps.push(Step::Sync(".".into()));
        assert_eq!(left(&steps, Luck::Nothing)["file"].as_deref(), Some(&b"hello"[..]));
        steps.push(Step::Write("file".into(), 5, b" there".to_vec()));
        assert_eq!(left(&steps, Luck::Nothing)["file"].as_deref(), Some(&b"hello"[..]));
        assert_eq!(left(&steps, Luck::Bytes)["file"].as_deref(), Some(&b"hello there"[..]));
    }
}
