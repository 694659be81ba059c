//! Snapshots take the place of entries, and what was deleted is gone.

use super::*;
use crate::{Name, RecoveryKey};

/// What a deleted passkey's core is made of, to be looked for afterwards.
const DELETED: [u8; 60] = *b"a private key that nobody must find again once it is deleted";

impl World {
    /// Devices that begin with a snapshot after a few entries already.
    fn compacting(seed: u64, devices: usize, after: usize) -> Self {
        let mut world = World::of(seed, devices);
        for device in &mut world.devices {
            device.replica_mut().compact_after(after);
        }
        world
    }

    fn use_until_compacted(&mut self, devices: &[usize]) {
        let base = |world: &Self, device: usize| world.devices[device].replica().base;
        let before: Vec<_> = devices.iter().map(|device| base(self, *device)).collect();
        for _ in 0..40 {
            for device in devices {
                self.put(*device);
            }
            self.settle();
            if devices.iter().zip(&before).all(|(device, before)| base(self, *device) != *before) {
                return;
            }
        }
        panic!("no snapshot takes effect");
    }

    fn put_deleted(&mut self, device: usize) -> RecordId {
        let record = RecordId(crate::crypto::random(&mut self.rng));
        let op = Op::Put {
            record,
            account: AccountId([2; 8]),
            core: DELETED.to_vec(),
            registers: vec![],
            shadows: vec![],
        };
        self.tell(device, Event::Local(vec![op]));
        record
    }
}

fn contains(journal: &[Vec<u8>], needle: &[u8]) -> bool {
    journal.iter().any(|record| record.windows(needle.len()).any(|window| window == needle))
}

#[test]
fn a_snapshot_erases_old_epochs_and_with_them_what_was_deleted() {
    let mut world = World::compacting(50, 3, 20);
    let record = world.put_deleted(0);
    let kept = world.put(1);
    world.settle();
    let before: Vec<_> =
        world.devices[0].replica().epochs.values().filter_map(|epoch| epoch.key.clone()).collect();
    let archive = world.mailbox.with(|held| held.clone());
    assert!(before.iter().any(|key| contains(world.devices[1].journal(), &key.secret)), "there to be erased");
    world.delete(2, record);
    world.settle();
    world.use_until_compacted(&[0, 1, 2]);
    world.assert_equal(&[0, 1, 2]);
    for device in 0..3 {
        for key in &before {
            assert!(!contains(world.devices[device].journal(), &key.secret), "device {device}");
            assert!(world.devices[device].replica().epochs().all(|epoch| epoch != key.id), "device {device}");
        }
        // A thief with this disk and everything the mailbox ever held.
        let disk = world.devices[device].journal().clone();
        let mut thief = Replica::open(disk.iter().map(Vec::as_slice), Seeded::new(1)).unwrap();
        for (_, sealed) in archive.iter().chain(&world.mailbox.with(|held| held.clone())) {
            thief.handle(world.now_ms, Event::Received(sealed.clone()));
        }
        let opens = |(_, sealed): &(Name, Vec<u8>)| {
            let epoch =
                crate::crypto::epoch_of(sealed).and_then(|epoch| thief.epochs.get(&epoch)?.key.clone());
            epoch.is_some_and(|key| crate::entry::Signed::open(&key, sealed).is_some())
        };
        assert!(!archive.iter().any(opens), "device {device} can open what was sealed before");
        assert!(thief.record(record).is_none() && thief.record(kept).is_some());
        assert!(thief.state().deleted.contains(&record), "what is deleted stays deleted");
    }
    assert_eq!(world.alarms, []);
}

#[test]
fn a_newcomer_begins_with_the_snapshot_alone() {
    let mut world = World::compacting(51, 2, 20);
    let record = world.put(0);
    world.use_until_compacted(&[0, 1]);
    // Another mailbox, which never held what the snapshot covers.
    world.mailbox.with(Vec::clear);
    world.alarms.clear();
    world.settle();
    let held = world.mailbox.with(|held| held.len());
    assert!(held < 25, "{held} messages in place of everything ever said");
    let newcomer = world.join(1);
    world.settle();
    assert!(world.has(newcomer, record));
    world.assert_equal(&[0, 1, newcomer]);
    let later = world.put(newcomer);
    world.settle();
    assert!(world.has(0, later) && world.has(1, later));
    world.reopen(newcomer);
    world.settle();
    world.assert_equal(&[0, 1, newcomer]);
}

#[test]
fn a_newcomer_that_loses_power_while_the_snapshot_comes_begins_again() {
    let mut world = World::compacting(52, 2, 20);
    let record = world.put(0);
    world.use_until_compacted(&[0, 1]);
    let newcomer = world.join(0);
    let journal = world.devices[newcomer].journal().clone();
    for cut in 2..journal.len() {
        world.restore(newcomer, journal[..cut].to_vec());
        world.sync(newcomer);
        assert!(world.has(newcomer, record), "after {cut} records");
    }
    world.settle();
    world.assert_equal(&[0, 1, newcomer]);
}

#[test]
fn a_power_cut_at_any_record_around_a_snapshot_loses_nothing() {
    let mut world = World::compacting(53, 2, 12);
    let records: Vec<RecordId> = (0..3).map(|_| world.put(0)).collect();
    let mut snapshots = 0;
    for round in 0..30 {
        world.put(round % 2);
        let (before, uncovered) =
            (world.devices[0].journal().clone(), world.devices[0].replica().uncovered());
        world.settle();
        if world.devices[0].replica().uncovered() < uncovered {
            snapshots += 1;
            // The journal is the one before or the one after, never half of both.
            let now = world.devices[0].journal().clone();
            for journal in [before, now] {
                world.restore(0, journal);
                world.settle();
                assert!(records.iter().all(|record| world.has(0, *record)));
                world.assert_equal(&[0, 1]);
                world.devices[0].replica_mut().compact_after(12);
            }
        }
    }
    assert!(snapshots >= 2, "{snapshots} snapshots");
    assert_eq!(world.alarms, []);
}

#[test]
fn a_device_that_stays_away_holds_up_the_snapshot_and_loses_nothing() {
    let mut world = World::compacting(54, 3, 12);
    let away = world.devices.pop().unwrap();
    let mut records = Vec::new();
    for round in 0..30 {
        records.push(world.put(round % 2));
        world.settle();
    }
    assert!(world.devices[0].replica().uncovered() > 30, "a snapshot would shut the third one out");
    world.devices.push(away);
    for _ in 0..3 {
        world.put(2);
        world.settle();
    }
    assert!(world.devices[0].replica().uncovered() < 30, "now it may be");
    assert!(records.iter().all(|record| world.has(2, *record)));
    world.assert_equal(&[0, 1, 2]);
}

#[test]
fn the_recovery_key_opens_the_newest_snapshot() {
    let mut world = World::compacting(55, 2, 12);
    let key = RecoveryKey::generate(&mut world.rng);
    let keys = key.keys(Suite::P256).public().clone();
    let log = keys.log();
    world.tell(0, Event::Admit { keys, recovery: true, name: b"paper".to_vec() });
    let letter = world.devices[0].replica_mut().recovery_letter(&key).unwrap();
    world.tell(0, Event::Post(letter));
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    world.tell(0, Event::Local(vec![confirmed]));
    let record = world.put(1);
    world.use_until_compacted(&[0, 1]);
    assert!(world.devices[0].replica().is_backed_up(record));
    // The device that has made the key burns; the other one has the first letter, and has written again.
    world.devices.remove(0);
    // A mailbox of which only the newest is left.
    world.mailbox.with(Vec::clear);
    world.settle();
    let held = world.mailbox.with(|held| held.clone());
    let letters = held.iter().map(|(_, bytes)| bytes.as_slice());
    let mut paper = key.open_newest(Suite::P256, letters, Seeded::new(9)).expect("a letter is there");
    held.iter().for_each(|(_, bytes)| drop(paper.handle(world.now_ms, Event::Received(bytes.clone()))));
    assert!(paper.record(record).is_some());
}

#[test]
fn many_courses_of_events_with_snapshots_joins_and_revocations_converge() {
    for seed in 0..24 {
        let mut rng = Seeded::new(1000 + seed);
        let mut world = World::compacting(seed, 3, 6);
        let (mut records, mut live) = (Vec::new(), vec![0, 1, 2]);
        for _ in 0..60 {
            let device = live[rng.below(live.len() as u64) as usize];
            match rng.below(12) {
                0..4 => records.push(world.put(device)),
                4 if !records.is_empty() => {
                    let record = records[rng.below(records.len() as u64) as usize];
                    world.delete(device, record);
                }
                5 if !records.is_empty() => {
                    let record = records[rng.below(records.len() as u64) as usize];
                    let set = Op::Set { record, number: 1, value: vec![rng.below(9) as u8], by_user: true };
                    world.tell(device, Event::Local(vec![set]));
                }
                6 => world.reopen(device),
                7 if live.len() > 2 && rng.below(6) == 0 => {
                    let last = live.pop().unwrap();
                    let log = world.log(last);
                    world.tell(0, Event::Revoke { log, why: 1 });
                }
                8 if live.len() < 5 && rng.below(4) == 0 => live.push(world.join(device)),
                9 => world.settle(),
                _ => drop(world.sync(device)),
            }
            world.devices.iter_mut().for_each(|device| device.replica_mut().compact_after(6));
        }
        for _ in 0..4 {
            for device in &live {
                world.put(*device);
            }
            world.settle();
        }
        world.assert_equal(&live);
        for device in &live {
            let uncovered = world.devices[*device].replica().uncovered();
            assert!(uncovered < 60, "seed {seed}: device {device} keeps {uncovered} entries");
            let journal = world.devices[*device].journal().clone();
            let again = Replica::open(journal.iter().map(Vec::as_slice), Seeded::new(1)).unwrap();
            assert_eq!(again.state(), world.devices[*device].replica().state(), "seed {seed}");
        }
    }
}
