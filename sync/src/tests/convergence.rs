//! Devices come to the same state, whatever came in between.

use super::*;

#[test]
fn what_one_device_puts_the_others_have() {
    let mut world = World::of(1, 3);
    let record = world.put(1);
    world.settle();
    world.assert_equal(&[0, 1, 2]);
    assert!((0..3).all(|device| world.has(device, record)));
    assert_eq!(world.alarms, []);
}

#[test]
fn a_delete_wins_over_everything_said_at_the_same_time() {
    let mut world = World::of(2, 3);
    let record = world.put(0);
    world.settle();
    world.delete(1, record);
    let set = Op::Set { record, number: 1, value: vec![2], by_user: true };
    world.tell(2, Event::Local(vec![set, Op::Used { record, time_s: 5 }]));
    world.settle();
    world.assert_equal(&[0, 1, 2]);
    assert!((0..3).all(|device| !world.has(device, record)));
    world.tell(0, Event::Local(vec![put_op(record)]));
    world.settle();
    assert!((0..3).all(|device| !world.has(device, record)), "nothing brings a deleted record back");
}

#[test]
fn the_user_wins_over_the_relying_party_and_the_later_word_over_the_earlier() {
    let mut world = World::of(3, 2);
    let record = world.put(0);
    world.settle();
    let set = |value, by_user| Event::Local(vec![Op::Set { record, number: 1, value: vec![value], by_user }]);
    world.tell(0, set(10, true));
    world.now_ms += 1000;
    world.tell(1, set(11, false));
    world.settle();
    let value = |world: &World, device: usize| {
        world.devices[device].replica().record(record).unwrap().registers[&1].value.clone()
    };
    assert_eq!((value(&world, 0), value(&world, 1)), (vec![10], vec![10]), "user > relying party");
    world.tell(1, set(12, true));
    world.settle();
    assert_eq!((value(&world, 0), value(&world, 1)), (vec![12], vec![12]), "later > earlier");
}

#[test]
fn backup_is_claimed_only_once_another_device_has_signed_for_it() {
    let mut world = World::of(4, 2);
    let record = world.put(0);
    world.sync(0);
    assert!(!world.devices[0].replica().is_backed_up(record), "in a mailbox is not on a device");
    world.sync(1);
    world.now_ms += 2 * crate::ACKNOWLEDGE_AFTER_MS;
    world.tell(1, Event::Tick);
    let reports = world.sync(0);
    assert!(reports.iter().any(|report| matches!(report, Report::Backup(id, true) if *id == record)));
    assert!(world.devices[0].replica().is_backed_up(record));
    let reports = world.tell(0, Event::Revoke { log: world.log(1), why: 1 });
    assert!(reports.iter().any(|report| matches!(report, Report::Backup(id, false) if *id == record)));
    assert!(!world.devices[0].replica().is_backed_up(record), "one device is one device again");
}

#[test]
fn a_newcomer_gets_everything_that_was_there_before() {
    let mut world = World::of(5, 2);
    let records: Vec<RecordId> = (0..20).map(|turn| world.put(turn % 2)).collect();
    world.delete(0, records[3]);
    world.settle();
    let newcomer = world.join(1);
    world.settle();
    world.assert_equal(&[0, 1, newcomer]);
    assert!(records.iter().enumerate().all(|(index, record)| world.has(newcomer, *record) == (index != 3)));
}

#[test]
fn two_newcomers_admitted_at_once_by_two_members_get_everything_too() {
    let mut world = World::of(6, 2);
    let before = world.put(0);
    world.settle();
    let (one, other) = (world.join(0), world.join(1));
    let (first, second) = (world.put(one), world.put(other));
    world.settle();
    world.assert_equal(&[0, 1, one, other]);
    for record in [before, first, second] {
        assert!((0..4).all(|device| world.has(device, record)));
    }
    assert_eq!(world.alarms, []);
}

#[test]
fn a_crash_after_any_record_of_the_journal_loses_nothing_that_was_answered() {
    let mut world = World::of(7, 2);
    let record = world.put(0);
    world.settle();
    world.delete(1, record);
    world.put(1);
    world.settle();
    let journal = world.devices[1].journal().clone();
    for length in 1..=journal.len() {
        let mut world = world.emptied();
        let replica = Replica::open(journal[..length].iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        world.devices.push(Driver::new(
            replica,
            Vec::new(),
            journal[..length].to_vec(),
            vec![Box::new(world.mailbox.clone())],
        ));
        world.sync(0);
        let whole = Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
        assert_eq!(world.devices[0].replica().state(), whole.state(), "cut after {length} records");
        assert_eq!(world.alarms, [], "cut after {length} records");
    }
}

#[test]
fn a_restored_backup_that_looks_before_it_speaks_goes_on_as_if_nothing_had_happened() {
    let mut world = World::of(9, 2);
    let backup = world.devices[1].journal().clone();
    let record = world.put(1);
    world.settle();
    world.restore(1, backup);
    world.settle();
    let second = world.put(1);
    world.settle();
    world.assert_equal(&[0, 1]);
    assert!(world.has(1, record) && world.has(0, second));
    assert_eq!(world.alarms, []);
}

#[test]
fn a_restored_backup_that_speaks_first_is_found_out_and_loses_no_record() {
    let mut world = World::of(10, 3);
    let backup = world.devices[1].journal().clone();
    let first = world.put(1);
    world.settle();
    world.restore(1, backup);
    let second = world.put(1);
    world.settle();
    world.assert_equal(&[0, 2]);
    let cloned = world.log(1);
    assert!(world.alarms.contains(&(0, Alarm::Forked(cloned))), "{:?}", world.alarms);
    assert!(world.alarms.contains(&(1, Alarm::Forked(cloned))), "the clone itself learns it");
    for device in [0, 2] {
        assert!(world.has(device, first) && world.has(device, second), "puts of both branches stay");
    }
    let again = world.join(0);
    world.settle();
    world.assert_equal(&[0, 2, again]);
    let third = world.put(again);
    world.settle();
    assert!(world.has(0, third), "with new keys it is a member again");
}
