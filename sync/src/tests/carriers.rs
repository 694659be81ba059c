//! What bad carriers can do: be noticed.

use std::fs;
use std::io;

use super::*;
use crate::{Folder, Listing, Misbehaviour, Name, Order, conformance};

#[test]
fn memory_conforms() {
    let mailbox = MemoryMailbox::default();
    conformance(|| Box::new(mailbox.clone()));
}

#[test]
fn a_folder_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance(|| Box::new(Folder::open(directory.path()).unwrap()));
}

#[cfg(unix)]
#[test]
fn a_folder_with_pipes_and_files_without_end_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(directory.path()).unwrap();
    let [endless, pipe, whole] = [1_u8, 2, 3].map(|byte| {
        let bytes = [byte; 100];
        folder.put(Name::of(&bytes), &bytes).unwrap();
        Name::of(&bytes)
    });
    // Another who writes here, or a carrier that copies links, puts something else in their place.
    let path = |name: Name| directory.path().join(format!("{name}.entry"));
    for name in [endless, pipe] {
        fs::remove_file(path(name)).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", path(endless)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path(pipe)).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo runs");
    assert_eq!(folder.get(endless).unwrap(), None);
    assert_eq!(folder.get(pipe).unwrap(), None);
    assert_eq!(folder.list(0).unwrap().items.len(), 1, "the whole one");
    assert!(folder.get(whole).unwrap().is_some());
    // What belongs there takes its place again.
    folder.put(pipe, &[2; 100]).unwrap();
    assert!(folder.get(pipe).unwrap().is_some());
}

#[test]
fn two_devices_converge_through_a_folder_full_of_rubbish() {
    let directory = tempfile::tempdir().unwrap();
    let folder = || -> Vec<Box<dyn Mailbox>> { vec![Box::new(Folder::open(directory.path()).unwrap())] };
    let mut world = World::of(30, 2);
    for device in 0..2 {
        let journal = world.devices[device].journal().clone();
        let replica = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        world.devices[device] = Driver::new(replica, Vec::new(), journal, folder());
    }
    let record = world.put(0);
    world.sync(0);
    let entries: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
    let bytes = fs::read(&entries[0]).unwrap();
    fs::write(directory.path().join("holiday.jpg"), b"foreign").unwrap();
    fs::write(directory.path().join(format!("{}.entry", Name([3; 16]))), &bytes).unwrap();
    fs::write(directory.path().join(format!("{}.entry", Name([4; 16]))), b"").unwrap();
    fs::create_dir(directory.path().join(format!("{}.entry", Name([5; 16])))).unwrap();
    fs::write(directory.path().join("x.sync-conflict-20260101-000000-ABCDEFG.entry"), b"conflict").unwrap();
    // One file is only half there yet, as a copy in progress is.
    fs::write(&entries[0], &bytes[..bytes.len() / 2]).unwrap();
    world.sync(1);
    fs::write(&entries[0], &bytes).unwrap();
    world.sync(1);
    assert!(world.has(1, record));
    world.assert_equal(&[0, 1]);
    assert_eq!(world.alarms, []);
}

#[test]
fn a_folder_that_loses_a_file_raises_an_alarm_and_gets_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::of(31, 1);
    let journal = world.devices[0].journal().clone();
    let replica = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
    world.devices[0] =
        Driver::new(replica, Vec::new(), journal, vec![Box::new(Folder::open(directory.path()).unwrap())]);
    world.put(0);
    world.sync(0);
    world.sync(0);
    let file = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&file).unwrap();
    world.sync(0);
    world.sync(0);
    assert_eq!(world.alarms, [(0, Alarm::Mailbox(0, Misbehaviour::RolledBack))]);
    assert!(file.exists(), "what is missing is put again");
}

#[test]
fn a_folder_that_loses_one_file_and_gets_another_at_once_shows_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::of(32, 2);
    for device in 0..2 {
        let journal = world.devices[device].journal().clone();
        let replica = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        let folder = Box::new(Folder::open(directory.path()).unwrap());
        world.devices[device] = Driver::new(replica, Vec::new(), journal, vec![folder]);
    }
    for device in [0, 1, 0] {
        world.sync(device);
    }
    let files =
        || -> Vec<_> { fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect() };
    let before = files();
    let record = world.put(1);
    let came = files().len() - before.len();
    assert!(came > 0, "the record is there");
    before[..came].iter().for_each(|file| fs::remove_file(file).unwrap());
    world.sync(0);
    assert!(world.has(0, record));
    assert_eq!(world.alarms, [(0, Alarm::Mailbox(0, Misbehaviour::RolledBack))]);
    assert!(before.iter().all(|file| file.exists()), "what is missing is put again");
}

#[test]
fn what_is_rolled_back_or_rewritten_while_a_device_is_off_is_noticed_when_it_is_on_again() {
    for story in 0..4 {
        let mut world = World::of(48, 2);
        for _ in 0..3 {
            world.put(1);
        }
        world.settle();
        let seen = world.devices[0].replica().seen(0).expect("everything was seen");
        let journal = world.devices[0].journal().clone();
        world.mailbox.with(|held| match story {
            0 => held.truncate(held.len() - 2),
            1 => held.swap(1, 2),
            2 => drop(held.remove(held.len() - 2)),
            _ => {}
        });
        world.restore(0, journal);
        world.devices[0].replica_mut().expect(0, seen);
        world.sync(0);
        let expected: &[_] = match story {
            3 => &[],
            _ => &[(0, Alarm::Mailbox(0, Misbehaviour::RolledBack))],
        };
        assert_eq!(world.alarms, expected, "story {story}");
        world.settle();
        world.assert_equal(&[0, 1]);
    }
}

#[test]
fn a_mailbox_that_rolls_back_is_noticed_at_once_and_healed() {
    let mut world = World::of(32, 2);
    let record = world.put(0);
    world.settle();
    world.mailbox.with(|held| held.truncate(2));
    world.sync(1);
    assert_eq!(world.alarms, [(1, Alarm::Mailbox(0, Misbehaviour::RolledBack))]);
    world.settle();
    let newcomer = world.join(0);
    world.settle();
    assert!(world.has(newcomer, record));
}

#[test]
fn a_mailbox_that_withholds_what_it_acknowledged_is_noticed_by_the_writer() {
    let mut world = World::of(33, 2);
    world.put(0);
    world.mailbox.with(|held| held.pop());
    world.sync(0);
    world.sync(0);
    assert_eq!(world.alarms, [(0, Alarm::Mailbox(0, Misbehaviour::Withholds))]);
    world.sync(0);
    world.settle();
    world.assert_equal(&[0, 1]);
}

#[test]
fn a_reply_to_what_was_asked_before_a_restart_is_no_reply_to_what_is_asked_after_it() {
    let mut world = World::of(35, 1);
    let poll = |replica: &mut Replica<Seeded>| {
        let effects = replica.handle(START_MS, Event::Poll { mailbox: 0 });
        effects.iter().find_map(|effect| match effect {
            Effect::List { request, .. } => Some(*request),
            _ => None,
        })
    };
    let listed = |request| Event::Listed { mailbox: 0, request, items: vec![], head: 0 };
    let journal = world.devices[0].journal().clone();
    let mut begin = || Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
    let before = poll(&mut begin()).unwrap();
    let mut replica = begin();
    let after = poll(&mut replica).unwrap();
    // A carrier with a memory of its own, a computer that a microcontroller is plugged into, may hold the first one back.
    replica.handle(START_MS, listed(before));
    assert_eq!(replica.seen(0), None, "not taken for a complete list");
    replica.handle(START_MS, listed(after));
    assert!(replica.seen(0).is_some());
}

/// Answers as it is told, whatever it was asked.
struct Hostile(Vec<(Name, Option<Vec<u8>>)>, u64);

impl Mailbox for Hostile {
    fn order(&self) -> Order {
        Order::Shared
    }
    fn put(&mut self, _: Name, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn list(&mut self, _: u64) -> io::Result<Listing> {
        Ok(Listing { items: core::mem::take(&mut self.0), head: self.1 })
    }
    fn get(&mut self, _: Name) -> io::Result<Option<Vec<u8>>> {
        Ok(Some(vec![0; 5]))
    }
}

#[test]
fn garbage_from_a_mailbox_changes_nothing_and_is_noticed() {
    let mut world = World::of(34, 2);
    let record = world.put(0);
    world.settle();
    let sealed: Vec<Vec<u8>> =
        world.mailbox.with(|held| held.iter().map(|(_, bytes)| bytes.clone()).collect());
    let mut rng = Seeded::new(1);
    let mut items = Vec::new();
    for bytes in &sealed {
        let mut wrong = bytes.clone();
        let index = rng.below(wrong.len() as u64) as usize;
        wrong[index] ^= 1 << rng.below(8);
        items.push((Name::of(&wrong), Some(wrong.clone())));
        wrong.truncate(index);
        items.push((Name::of(&wrong), Some(wrong)));
        items.push((Name::of(bytes), Some(vec![1, 1, 2])));
        items.push((Name([9; 16]), None));
    }
    items.push((Name::of(&[]), Some(Vec::new())));
    let head = items.len() as u64;
    let journal = world.devices[0].journal().clone();
    let replica = Replica::open(journal.iter().map(Vec::as_slice), rng.fork()).unwrap();
    let mut device = Driver::new(replica, Vec::new(), journal, vec![Box::new(Hostile(items, head))]);
    let before = device.replica().state().clone();
    let reports = device.sync(world.now_ms).unwrap();
    let corrupt = Alarm::Mailbox(0, Misbehaviour::Corrupts);
    assert!(reports.iter().any(|report| matches!(report, Report::Alarm(alarm) if *alarm == corrupt)));
    assert_eq!(*device.replica().state(), before);
    device.handle(world.now_ms, Event::Local(vec![Op::Del { record }])).unwrap();
    assert!(device.replica().record(record).is_none(), "the device goes on");
}

/// Has always one more name.
struct Endless(u64);

impl Mailbox for Endless {
    fn order(&self) -> Order {
        Order::Shared
    }
    fn put(&mut self, _: Name, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
    fn list(&mut self, since: u64) -> io::Result<Listing> {
        self.0 += 1;
        let mut name = [0; 16];
        name[..8].copy_from_slice(&since.to_be_bytes());
        Ok(Listing { items: vec![(Name(name), None)], head: u64::MAX })
    }
    fn get(&mut self, _: Name) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

#[test]
fn a_mailbox_that_lists_without_end_is_left_alone_and_the_device_goes_on() {
    let (replica, effects) = Replica::found(Suite::P256, b"one", START_MS, Seeded::new(1));
    let mut device = Driver::new(replica, effects, Vec::new(), vec![Box::new(Endless(0))]);
    let reports = device.sync(START_MS).unwrap();
    assert!(reports.iter().any(|report| matches!(report, Report::Unreachable(0, _))), "{reports:?}");
    let record = RecordId([5; 16]);
    device.handle(START_MS, Event::Local(vec![put_op(record)])).unwrap();
    assert!(device.replica().record(record).is_some());
}

/// A disk that is full until told otherwise.
struct Disk(Vec<Vec<u8>>, std::sync::Arc<std::sync::atomic::AtomicBool>);

impl crate::Journal for Disk {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.push(record.to_vec());
        Ok(())
    }

    fn replace(&mut self, records: &[Vec<u8>]) -> io::Result<()> {
        self.0 = records.to_vec();
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_and_nothing_leaves_the_device_before_it_is_kept() {
    let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mailbox = MemoryMailbox::default();
    let (replica, effects) = Replica::found(Suite::P256, b"one", START_MS, Seeded::new(1));
    let disk = Disk(Vec::new(), full.clone());
    let mut device = Driver::new(replica, effects, disk, vec![Box::new(mailbox.clone())]);
    device.sync(START_MS).unwrap();
    let before = mailbox.with(|held| held.len());
    full.store(true, std::sync::atomic::Ordering::Relaxed);
    let record = RecordId([5; 16]);
    assert!(device.handle(START_MS, Event::Local(vec![put_op(record)])).is_err());
    assert!(device.sync(START_MS).is_err(), "it is tried again");
    assert_eq!(mailbox.with(|held| held.len()), before);
    full.store(false, std::sync::atomic::Ordering::Relaxed);
    device.sync(START_MS).unwrap();
    assert_eq!(mailbox.with(|held| held.len()), before + 1);
    let again = Replica::open(device.journal().0.iter().map(Vec::as_slice), Seeded::new(2)).unwrap();
    assert!(again.record(record).is_some());
}

/// A relay that answers every question with names that nobody has heard of.
struct Namesake;

impl Mailbox for Namesake {
    fn order(&self) -> Order {
        Order::Shared
    }

    fn put(&mut self, _: Name, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn list(&mut self, since: u64) -> std::io::Result<Listing> {
        let names = since..since + 50_000;
        let items = names.map(|number| (Name::of(&number.to_be_bytes()), None)).collect();
        Ok(Listing { items, head: u64::MAX })
    }

    fn get(&mut self, _: Name) -> std::io::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

#[test]
fn a_relay_that_lists_names_without_end_fills_no_memory() {
    let (replica, effects) = Replica::found(Suite::P256, b"one", 1, Seeded::new(1));
    let mut device = Driver::new(replica, effects, Vec::new(), vec![Box::new(Namesake)]);
    for _ in 0..2 {
        let reports = device.sync(1).unwrap();
        assert!(
            reports.iter().any(|report| matches!(report, Report::Unreachable(0, why) if format!("{why}").contains("more names"))),
            "{reports:?}"
        );
        assert!(device.replica().listed_names(0) as u64 <= crate::NAMES_MAX);
    }
}

/// A mailbox at an address.
#[derive(Clone)]
struct At(&'static str, MemoryMailbox);

impl Mailbox for At {
    fn order(&self) -> Order {
        Order::Shared
    }

    fn address(&self) -> Option<&str> {
        Some(self.0)
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        self.1.put(name, bytes)
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        self.1.list(since)
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        self.1.get(name)
    }
}

#[test]
fn devices_that_number_their_relays_differently_raise_no_alarm() {
    let mut world = World::of(70, 2);
    let [one, two] = [("one", 1), ("two", 2)].map(|(address, strange)| {
        let mut mailbox = MemoryMailbox::default();
        mailbox.put(Name::of(&[strange]), &[strange]).unwrap();
        At(address, mailbox)
    });
    for (device, mailboxes) in [[&one, &two], [&two, &one]].into_iter().enumerate() {
        let journal = world.devices[device].journal().clone();
        let replica = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        let mailboxes = mailboxes.map(|at| Box::new(at.clone()) as Box<dyn Mailbox>);
        world.devices[device] = Driver::new(replica, Vec::new(), journal, mailboxes.into());
        world.sync(device);
    }
    let greeting = world.devices[0].replica_mut().handle(world.now_ms, Event::PeerSeen { peer: 1 });
    let [Effect::Send { bytes, .. }] = &greeting[..] else { panic!("{greeting:?}") };
    let heard = Event::Peer { peer: 0, bytes: bytes.clone() };
    let mut effects = world.devices[1].replica_mut().handle(world.now_ms, heard);
    effects.retain(|effect| matches!(effect, Effect::Alarm(_)));
    assert_eq!(effects, []);
}
