//! Who may end whose membership, and what a revoked device can still do: nothing that hurts.

use super::*;
use crate::RecoveryKey;

#[test]
fn a_revoked_device_learns_nothing_new() {
    let mut world = World::of(20, 3);
    let known = world.put(0);
    world.settle();
    let thief = world.log(2);
    world.tell(0, Event::Revoke { log: thief, why: 1 });
    world.settle();
    let later = world.put(1);
    world.settle();
    world.assert_equal(&[0, 1]);
    assert!(world.has(2, known) && !world.has(2, later));
    assert!(world.devices[0].replica().exposed(thief).contains(&known), "the worklist of keys to replace");
    assert!(!world.devices[0].replica().exposed(thief).contains(&later));
    assert!(world.alarms.contains(&(2, Alarm::NotAMember)), "it is told, and keeps what it has");
}

#[test]
fn what_a_thief_could_fetch_is_exposed_although_its_device_never_said_that_it_has_it() {
    let mut world = World::of(29, 3);
    let thief = world.log(2);
    // Nobody has acknowledged anything.
    let fetched = world.put(0);
    assert!(world.devices[0].replica().exposed(thief).contains(&fetched));
    world.tell(0, Event::Revoke { log: thief, why: 1 });
    let later = world.put(0);
    assert_eq!(world.devices[0].replica().exposed(thief), [fetched]);
    assert!(world.devices[0].replica().exposed(world.log(1)).contains(&later));
}

#[test]
fn what_a_revoked_device_destroys_afterwards_stays() {
    let mut world = World::of(21, 3);
    let record = world.put(0);
    world.settle();
    // The thief deletes before it hears of its end; the others revoke it without having seen that.
    world.delete(2, record);
    let sealed = world.mailbox.with(|held| held.pop().unwrap());
    world.tell(0, Event::Revoke { log: world.log(2), why: 1 });
    world.sync(1);
    world.mailbox.with(|held| held.push(sealed));
    world.settle();
    world.assert_equal(&[0, 1]);
    assert!(world.has(0, record) && world.has(1, record));
}

#[test]
fn of_two_members_that_revoke_each_other_the_senior_stays() {
    let mut world = World::of(22, 3);
    let (one, two) = (world.log(1), world.log(2));
    world.tell(1, Event::Revoke { log: two, why: 1 });
    world.tell(2, Event::Revoke { log: one, why: 1 });
    world.settle();
    world.assert_equal(&[0, 1]);
    let members = world.devices[0].replica().members();
    assert!(members.is_live(one) && !members.is_live(two));
}

#[test]
fn a_junior_cannot_revoke_a_senior_alone_and_two_independent_ones_can() {
    let mut world = World::of(23, 3);
    let founder = world.log(0);
    world.tell(2, Event::Revoke { log: founder, why: 1 });
    world.settle();
    world.assert_equal(&[0, 1, 2]);
    assert!(world.devices[1].replica().members().is_live(founder));
    world.tell(1, Event::Revoke { log: founder, why: 1 });
    world.settle();
    world.assert_equal(&[1, 2]);
    assert!(!world.devices[1].replica().members().is_live(founder));
}

#[test]
fn a_recovery_member_that_agreed_beforehand_is_ended_by_any_member_and_by_nobody_without_its_word() {
    let mut world = World::of(28, 2);
    let (key, other) =
        (RecoveryKey::generate(&mut Seeded::new(1)), RecoveryKey::generate(&mut Seeded::new(2)));
    let circle = world.devices[0].replica().circle();
    let keys = key.keys(Suite::P256).public().clone();
    let log = keys.log();
    world.tell(0, Event::Admit { keys, recovery: true, name: b"PIN".to_vec() });
    world.settle();
    let lives = |world: &World, device: usize| world.devices[device].replica().members().is_live(log);
    // A junior, alone; with another's signature; with the signature for another circle.
    world.tell(1, Event::Revoke { log, why: 1 });
    for consent in [other.consent(Suite::P256, circle), key.consent(Suite::P256, crate::CircleId([9; 16]))] {
        world.tell(1, Event::Retire { log, consent });
    }
    world.settle();
    assert!(lives(&world, 0) && lives(&world, 1));
    let later = world.put(0);
    world.settle();
    assert!(world.has(1, later), "who was refused is a member as before");
    world.tell(1, Event::Retire { log, consent: key.consent(Suite::P256, circle) });
    world.settle();
    world.assert_equal(&[0, 1]);
    assert!(!lives(&world, 0) && !lives(&world, 1));
    // Nothing of the kind ends a device.
    let device = world.log(0);
    world.tell(1, Event::Retire { log: device, consent: key.consent(Suite::P256, circle) });
    world.settle();
    assert!(world.devices[1].replica().members().is_live(device));
}

#[test]
fn a_thief_gains_no_accomplice_by_admitting_one() {
    let mut world = World::of(24, 3);
    let thief = world.log(2);
    let accomplice = world.join(2);
    world.settle();
    let accomplice_log = world.log(accomplice);
    assert_eq!(world.devices[0].replica().members().admitted_by(thief), [accomplice_log], "the cascade list");
    // The two together are not independent: they cannot outvote the founder.
    let founder = world.log(0);
    world.tell(2, Event::Revoke { log: founder, why: 1 });
    world.tell(accomplice, Event::Revoke { log: founder, why: 1 });
    world.settle();
    assert!(world.devices[1].replica().members().is_live(founder));
}

#[test]
fn a_device_that_retires_leaves_its_records() {
    let mut world = World::of(25, 2);
    let record = world.put(1);
    world.settle();
    world.tell(1, Event::Revoke { log: world.log(1), why: 0 });
    world.settle();
    assert!(world.has(0, record) && !world.devices[0].replica().members().is_live(world.log(1)));
}

#[test]
fn the_recovery_key_alone_restores_everything() {
    the_recovery_key_restores(Suite::P256);
}

#[cfg(feature = "post-quantum")]
#[test]
fn the_recovery_key_alone_restores_everything_of_a_post_quantum_circle() {
    the_recovery_key_restores(Suite::MlKem768P256);
}

fn the_recovery_key_restores(suite: Suite) {
    let mut world = World::of_suite(suite, 26, 2);
    let key = RecoveryKey::generate(&mut world.rng);
    let log = admit_paper(&mut world, &key);
    let record = world.put(1);
    world.settle();
    world.tell(0, Event::Revoke { log: world.log(1), why: 1 });
    let after_rotation = world.put(0);
    world.settle();
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    assert!(!world.devices[0].replica().is_backed_up(record), "an unconfirmed paper is no backup");
    world.tell(0, Event::Local(vec![confirmed]));
    world.settle();
    assert!(world.devices[0].replica().is_backed_up(after_rotation), "a confirmed one is");
    // Every device burns. What is left: the mailbox and the paper.
    let founder = world.log(0);
    world.devices.clear();
    let replica = open_paper(&world, &key, suite).expect("the letter is in the mailbox");
    world.devices.push(Driver::new(replica, Vec::new(), Vec::new(), vec![Box::new(world.mailbox.clone())]));
    world.sync(0);
    assert!(world.has(0, record) && world.has(0, after_rotation));
    let phone = world.join(0);
    world.tell(0, Event::Revoke { log: founder, why: 1 });
    world.settle();
    assert!(world.has(phone, record) && world.has(phone, after_rotation));
    let members = world.devices[phone].replica().members();
    assert!(!members.is_live(founder) && members.is_live(world.log(phone)));
}

#[test]
fn a_recovery_key_says_nothing_before_it_has_read_all_and_is_heard_whenever_it_is_used_again() {
    let mut world = World::of(32, 3);
    let key = RecoveryKey::generate(&mut world.rng);
    admit_paper(&mut world, &key);
    world.settle();
    // While this is read, the recovery member has something to say about it.
    let log = world.log(2);
    world.tell(0, Event::Revoke { log, why: 1 });
    world.settle();
    for time in 1..=3 {
        let mut paper = open_paper(&world, &key, Suite::P256).expect("the letter is in the mailbox");
        paper.add_mailbox(0, crate::Order::Shared);
        for (_, bytes) in world.mailbox.with(|held| held.clone()) {
            let said = paper.handle(world.now_ms, Event::Received(bytes));
            assert!(puts(&said).is_empty(), "it may have used that number before");
        }
        let keys = crate::DeviceKeys::generate(Suite::P256, &mut world.rng).public().clone();
        let newcomer = keys.log();
        let admit = Event::Admit { keys, recovery: false, name: b"new".to_vec() };
        for event in [Event::Heard, admit] {
            for sealed in puts(&paper.handle(world.now_ms, event)) {
                world.mailbox.put(crate::Name::of(&sealed), &sealed).unwrap();
            }
        }
        world.settle();
        let members = world.devices[0].replica().members();
        assert!(members.is_live(newcomer), "time {time}: whom it admits is a member everywhere");
    }
    assert!(world.alarms.iter().all(|(_, alarm)| *alarm == Alarm::NotAMember), "{:?}", world.alarms);
}

#[test]
fn nobody_but_who_made_a_recovery_key_leads_it_into_another_circle() {
    let mut world = World::of(28, 2);
    let key = RecoveryKey::generate(&mut world.rng);
    admit_paper(&mut world, &key);
    world.settle();
    // The second device knows the public key, founds a circle of its own and writes to the recovery member.
    let mut trap = World::new(29);
    let keys = key.keys(Suite::P256).public().clone();
    let log = keys.log();
    trap.tell(0, Event::Admit { keys, recovery: true, name: b"paper".to_vec() });
    let replica = trap.devices[0].replica_mut();
    let letters = [replica.recovery_letter_again(log).unwrap(), replica.welcome(log, b"recovery/1").unwrap()];
    for letter in &letters {
        assert!(key.open_newest(Suite::P256, [letter.as_slice()], Seeded::new(2)).is_none());
    }
    world.mailbox.with(|held| held.extend(letters.map(|letter| (crate::Name::of(&letter), letter))));
    let replica = open_paper(&world, &key, Suite::P256).expect("the true letter is there, too");
    assert_eq!(replica.circle(), world.devices[0].replica().circle());
}

#[test]
fn a_recovery_key_that_was_not_confirmed_is_no_backup_beside_one_that_was() {
    let mut world = World::of(30, 1);
    let (paper, escrow) = (RecoveryKey::generate(&mut world.rng), RecoveryKey::generate(&mut world.rng));
    let log = admit_paper(&mut world, &paper);
    admit_paper(&mut world, &escrow);
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    world.tell(0, Event::Local(vec![confirmed]));
    let record = world.put(0);
    world.settle();
    assert!(world.devices[0].replica().is_backed_up(record));
    // The paper's keeper ends its membership: what is in escrow does not count.
    let mut keeper = open_paper(&world, &paper, Suite::P256).unwrap();
    keeper.add_mailbox(0, crate::Order::Shared);
    world.mailbox.clone().with(|held| {
        held.iter().for_each(|(_, bytes)| drop(keeper.handle(world.now_ms, Event::Received(bytes.clone()))));
    });
    for sealed in puts(&keeper.handle(world.now_ms, Event::Revoke { log, why: 0 })) {
        world.mailbox.with(|held| held.push((crate::Name::of(&sealed), sealed.clone())));
    }
    world.settle();
    assert!(!world.devices[0].replica().members().is_live(log));
    assert!(!world.devices[0].replica().is_backed_up(record));
}

/// A mailbox that has no room for letters to recovery members, until it is cleared.
struct Full(MemoryMailbox, alloc::sync::Arc<core::sync::atomic::AtomicBool>);

impl Mailbox for Full {
    fn order(&self) -> crate::Order {
        self.0.order()
    }

    fn put(&mut self, name: crate::Name, bytes: &[u8]) -> std::io::Result<()> {
        if crate::pairing::recovery(bytes).is_some() && self.1.load(core::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.0.put(name, bytes)
    }

    fn list(&mut self, since: u64) -> std::io::Result<crate::Listing> {
        self.0.list(since)
    }

    fn get(&mut self, name: crate::Name) -> std::io::Result<Option<Vec<u8>>> {
        self.0.get(name)
    }
}

#[test]
fn a_key_whose_letter_no_mailbox_took_is_no_backup() {
    let mut world = World::of(31, 1);
    let is_full = alloc::sync::Arc::new(core::sync::atomic::AtomicBool::new(true));
    let journal = world.devices[0].journal().clone();
    let replica = crate::Replica::open(journal.iter().map(Vec::as_slice), world.rng.fork()).unwrap();
    let mailbox: Box<dyn Mailbox> = Box::new(Full(world.mailbox.clone(), is_full.clone()));
    world.devices[0] = Driver::new(replica, Vec::new(), journal, vec![mailbox]);
    let key = RecoveryKey::generate(&mut world.rng);
    let log = admit_paper(&mut world, &key);
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    world.tell(0, Event::Local(vec![confirmed]));
    let record = world.put(0);
    world.settle();
    assert!(open_paper(&world, &key, Suite::P256).is_none(), "the key opens nothing");
    assert!(!world.devices[0].replica().is_backed_up(record), "and nobody says that it does");
    is_full.store(false, core::sync::atomic::Ordering::Relaxed);
    world.settle();
    assert!(open_paper(&world, &key, Suite::P256).is_some());
    assert!(world.devices[0].replica().is_backed_up(record));
}

#[test]
fn a_passkey_is_backed_up_by_paper_only_with_everything_that_its_author_had_seen() {
    let mut world = World::of(28, 1);
    let key = RecoveryKey::generate(&mut world.rng);
    let log = admit_paper(&mut world, &key);
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    world.tell(0, Event::Local(vec![confirmed]));
    world.settle();
    let backed_up = |world: &World, record| world.devices[0].replica().is_backed_up(record);
    // A power cut, or a bad mailbox: the first entry is not there, the second one is.
    let first = world.put(0);
    world.mailbox.with(|held| held.pop());
    let second = world.put(0);
    world.sync(0);
    let paper = |world: &World| {
        let replica = open_paper(world, &key, Suite::P256).unwrap();
        let mut paper = world.emptied();
        let mailbox: Box<dyn Mailbox> = Box::new(paper.mailbox.clone());
        paper.devices.push(Driver::new(replica, Vec::new(), Vec::new(), vec![mailbox]));
        paper.sync(0);
        paper
    };
    assert!(!paper(&world).has(0, second), "nobody can deliver it without the one before");
    assert!(!backed_up(&world, first) && !backed_up(&world, second), "so it must not count as kept");
    world.settle();
    world.settle();
    assert!(paper(&world).has(0, first) && paper(&world).has(0, second));
    assert!(backed_up(&world, first) && backed_up(&world, second));
}

#[test]
fn paper_and_a_folder_on_the_same_disk_are_no_backup() {
    let mut world = World::of(31, 1);
    let key = RecoveryKey::generate(&mut world.rng);
    let log = admit_paper(&mut world, &key);
    let confirmed = world.devices[0].replica().confirm_recovery(log);
    world.tell(0, Event::Local(vec![confirmed]));
    let folder = tempfile::tempdir().unwrap();
    let folder = || -> Box<dyn Mailbox> { Box::new(crate::Folder::open(folder.path()).unwrap()) };
    let journal = world.devices[0].journal().clone();
    let replica = || Replica::open(journal.iter().map(Vec::as_slice), Seeded::new(5)).unwrap();
    let backed_up = |mailboxes: Vec<Box<dyn Mailbox>>| {
        let mut device = Driver::new(replica(), Vec::new(), Vec::new(), mailboxes);
        let record = crate::RecordId([9; 16]);
        let put = Op::Put {
            record,
            account: crate::AccountId([1; 8]),
            core: vec![1; 100],
            registers: Vec::new(),
            shadows: Vec::new(),
        };
        device.handle(world.now_ms, Event::Local(vec![put])).unwrap();
        device.sync(world.now_ms).unwrap();
        device.sync(world.now_ms).unwrap();
        device.replica().is_backed_up(record)
    };
    assert!(!backed_up(vec![folder()]), "one disk has both");
    assert!(backed_up(vec![folder(), Box::new(MemoryMailbox::default())]), "the other one is elsewhere");
}

#[test]
fn a_revocation_costs_130_bytes_for_each_device_that_stays() {
    let bytes = |devices: usize| -> usize {
        let mut world = World::of(29, devices);
        let held = |world: &World| world.mailbox.with(|held| held.iter().map(|(_, bytes)| bytes.len()).sum());
        // What it has seen of the others it has said before: that is not the revocation's.
        world.put(0);
        let before: usize = held(&world);
        world.tell(0, Event::Revoke { log: world.log(devices - 1), why: 1 });
        held(&world) - before
    };
    let (few, many) = (bytes(3), bytes(13));
    assert!(many - few <= 10 * 130, "{few} bytes with two that stay, {many} with twelve");
}

/// Admits a recovery key's member, and writes to it.
fn admit_paper(world: &mut World, key: &RecoveryKey) -> LogId {
    let keys = key.keys(world.devices[0].replica().suite()).public().clone();
    let log = keys.log();
    world.tell(0, Event::Admit { keys, recovery: true, name: b"paper".to_vec() });
    let letter = world.devices[0].replica_mut().recovery_letter(key).unwrap();
    world.tell(0, Event::Post(letter));
    log
}

fn open_paper(world: &World, key: &RecoveryKey, suite: Suite) -> Option<Replica<Seeded>> {
    let held = world.mailbox.with(|held| held.clone());
    key.open_newest(suite, held.iter().map(|(_, bytes)| bytes.as_slice()), Seeded::new(99))
}

#[test]
fn a_stranger_cannot_read_a_welcome_or_forge_a_join() {
    let mut world = World::of(27, 1);
    let inviter = world.devices[0].replica();
    let invitation = Invitation {
        suite: Suite::P256,
        circle: inviter.circle(),
        founder: inviter.founder(),
        secret: [1; 16],
        expires_s: 0,
        mailbox: "m".into(),
    };
    let keys = crate::DeviceKeys::generate(Suite::P256, &mut world.rng);
    let letter = invitation.ask(&keys, b"phone", &mut world.rng);
    let mut blind = invitation.clone();
    blind.secret = [2; 16];
    assert!(blind.asked(&letter).is_none(), "without the invitation's secret the letter is noise");
    for index in 0..letter.len() {
        let mut wrong = letter.clone();
        wrong[index] ^= 1;
        assert!(invitation.asked(&wrong).is_none(), "byte {index}");
    }
    let request = invitation.asked(&letter).unwrap();
    let log = request.keys.log();
    assert!(world.devices[0].replica_mut().welcome(log, &[1; 16]).is_none(), "not admitted, no welcome");
    world.tell(0, Event::Admit { keys: request.keys, recovery: false, name: request.name });
    let welcome = world.devices[0].replica_mut().welcome(log, &invitation.secret).unwrap();
    let stranger = crate::DeviceKeys::generate(Suite::P256, &mut world.rng);
    assert!(invitation.accept(stranger, &welcome, Seeded::new(1)).is_err());
    assert!(blind.accept(keys.clone(), &welcome, Seeded::new(1)).is_err(), "bound to the invitation");
    assert!(invitation.accept(keys, &welcome, Seeded::new(1)).is_ok());
}
