//! What a carrier, or a member whose device was stolen, could try beyond what it is expected to.

use super::*;

fn register(world: &World, device: usize, record: RecordId) -> Vec<u8> {
    world.devices[device].replica().record(record).expect("it is there").registers[&1].value.clone()
}

fn name(record: RecordId, value: u8) -> Event {
    Event::Local(vec![Op::Set { record, number: 1, value: vec![value], by_user: true }])
}

/// The last word counts, and a member's clock says which is last. One at the end of time would be the last for ever.
#[test]
fn a_thiefs_clock_at_the_end_of_time_stops_nobody_and_its_words_do_not_outlive_it() {
    for years in [80, 10_000] {
        let mut world = World::of(71, 3);
        let record = world.put(0);
        let older = world.put(0);
        world.settle();
        let thief = world.log(2);
        let ahead = (world.now_ms + years * 365 * 86_400_000) << 16;
        world.devices[2].replica_mut().hlc = if years > 1000 { u64::MAX - 1 } else { ahead };
        world.tell(2, name(record, 66));
        world.tell(2, Event::Local(vec![Op::Used { record: older, time_s: u64::MAX }]));
        world.settle();
        let alarmed = world.alarms.iter().any(|(_, alarm)| *alarm == Alarm::Ahead(thief));
        assert_eq!(alarmed, years > 1000, "{:?}", world.alarms);
        world.tell(0, Event::Revoke { log: thief, why: 1 });
        world.settle();
        world.tell(1, name(record, 7));
        world.settle();
        world.assert_equal(&[0, 1]);
        assert_eq!(register(&world, 0, record), [7], "the owner's word counts again");
        let used_s = world.devices[0].replica().record(older).expect("it is there").used_s;
        assert!(used_s <= world.now_ms / 1000 + 101 * 365 * 86_400, "it was used at {used_s} s");
    }
}

#[test]
fn a_device_whose_clock_is_years_off_joins_is_heard_and_hears() {
    const YEARS_MS: u64 = 30 * 365 * 86_400_000;
    for clock in [START_MS - YEARS_MS, START_MS + YEARS_MS, 0] {
        let mut world = World::of(72, 2);
        let first = world.put(0);
        world.settle();
        let newcomer = world.join(0);
        let own = RecordId([9; 16]);
        let mut told = Vec::new();
        for round in 0..6 {
            let now = clock + round * 2 * crate::ACKNOWLEDGE_AFTER_MS;
            let event = if round == 0 { Event::Local(vec![put_op(own)]) } else { Event::Tick };
            told.extend(world.devices[newcomer].handle(now, event).unwrap());
            told.extend(world.devices[newcomer].sync(now).unwrap());
            world.settle_but(newcomer);
        }
        assert!(world.has(newcomer, first) && world.has(0, own) && world.has(1, own), "clock {clock}");
        // A name that one gives after the other has the last word, whatever their clocks say.
        world.tell(0, name(own, 5));
        world.settle_but(newcomer);
        world.devices[newcomer].sync(clock).unwrap();
        world.devices[newcomer].handle(clock, name(own, 6)).unwrap();
        world.devices[newcomer].sync(clock).unwrap();
        world.settle_but(newcomer);
        assert_eq!(register(&world, 0, own), [6], "clock {clock}");
        let alarms = told.iter().filter(|report| matches!(report, Report::Alarm(_))).count();
        assert!(alarms == 0 && world.alarms.is_empty(), "{told:?} {:?}", world.alarms);
    }
}

#[test]
fn a_relay_that_swaps_two_circles_shows_neither_anything_of_the_other() {
    let mut worlds = [World::of(73, 2), World::of(74, 2)];
    let records = [worlds[0].put(0), worlds[1].put(0)];
    worlds.iter_mut().for_each(World::settle);
    let swap = |worlds: &[World; 2]| {
        let [one, other] = worlds.each_ref().map(|world| world.mailbox.with(core::mem::take));
        worlds[0].mailbox.with(|held| *held = other);
        worlds[1].mailbox.with(|held| *held = one);
    };
    let states = worlds.each_ref().map(|world| world.devices[0].replica().state().clone());
    swap(&worlds);
    for (own, world) in worlds.iter_mut().enumerate() {
        // A device looks through a mailbox from the start when it is on again: what it misses there it puts again.
        world.reopen(0);
        world.settle();
        // Somebody joins meanwhile.
        let newcomer = world.join(0);
        world.settle();
        for device in 0..3 {
            assert!(world.has(device, records[own]), "device {device} has its own");
            assert!(!world.has(device, records[1 - own]), "device {device} has the other circle's");
        }
        assert_eq!(world.devices[0].replica().state(), &states[own]);
        assert_eq!(world.devices[newcomer].replica().members().live().count(), 3);
    }
    swap(&worlds);
    for world in &mut worlds {
        (0..3).for_each(|device| world.reopen(device));
        world.settle();
        world.assert_equal(&[0, 1, 2]);
    }
}

/// Of whatever randomness its device has.
#[test]
fn a_recovery_key_has_128_free_bits() {
    let mut rng = Seeded::new(2611);
    let keys: Vec<_> =
        (0..randomness::SAMPLES).map(|_| crate::RecoveryKey::generate(&mut rng).seed().to_vec()).collect();
    randomness::assert_every_bit_is_free("recovery keys", 128, &keys);
}
