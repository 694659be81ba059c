//! The small scope by a model checker: three devices, two entries each. The model's transitions *are* the product's
//! replica, so there is no model to be wrong.
//!
//! A step is: a device says its next entry (off the net); a device synchronizes with the mailbox; or it hands all it
//! has to another one. Every state that any order of steps leads to is visited.

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::hash::{Hash, Hasher};

use stateright::{Checker as _, Model, Property};

use super::*;
use crate::{DeviceKeys, Name, Stamp};

/// All of it happens at one time of day: only what is said and heard tells states apart.
const NOW_MS: u64 = START_MS + 1_000;
const FIRST: RecordId = RecordId([0xff; 16]);

#[derive(Clone, Copy)]
enum Say {
    Put,
    Delete,
    Rename,
    Revoke(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Say(usize),
    Synchronize(usize),
    Hand(usize, usize),
}

#[derive(Clone)]
struct World {
    replicas: Vec<Replica<Seeded>>,
    mailbox: BTreeMap<Name, Vec<u8>>,
    said: [usize; 3],
}

/// What tells two states apart: who holds which sealed entries, and how far each script is.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.said.hash(state);
        self.mailbox.keys().for_each(|name| name.hash(state));
        for replica in &self.replicas {
            let held: BTreeSet<Name> = replica.entries().map(|(name, _)| name).collect();
            held.hash(state);
        }
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        let held = |world: &World, device: usize| -> BTreeSet<Name> {
            world.replicas[device].entries().map(|(name, _)| name).collect()
        };
        self.said == other.said
            && self.mailbox == other.mailbox
            && (0..3).all(|device| held(self, device) == held(other, device))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frontiers: Vec<_> = self.replicas.iter().map(Replica::frontier).collect();
        f.debug_struct("World").field("said", &self.said).field("frontiers", &frontiers).finish()
    }
}

impl World {
    fn tell(&mut self, device: usize, event: Event) {
        self.replicas[device].handle(NOW_MS, event);
    }

    fn give(&mut self, device: usize, sealed: &[(Name, Vec<u8>)]) {
        for (_, bytes) in sealed {
            self.tell(device, Event::Received(bytes.clone()));
        }
    }

    fn all_of(&self, device: usize) -> Vec<(Name, Vec<u8>)> {
        let replica = &self.replicas[device];
        let letters = replica.letters.iter().map(|(name, letter)| (*name, letter.clone()));
        replica.entries().map(|(name, bytes)| (name, bytes.to_vec())).chain(letters).collect()
    }

    fn synchronize(&mut self, device: usize) {
        let held: Vec<_> = self.mailbox.iter().map(|(name, bytes)| (*name, bytes.clone())).collect();
        self.give(device, &held);
        self.mailbox.extend(self.all_of(device));
    }

    fn say(&mut self, device: usize, what: Say) {
        let record = RecordId([(10 * device + self.said[device]) as u8; 16]);
        let event = match what {
            Say::Put => Event::Local(vec![put_op(record)]),
            Say::Delete => Event::Local(vec![Op::Del { record: FIRST }]),
            Say::Rename => {
                let value = vec![device as u8];
                Event::Local(vec![Op::Set { record: FIRST, number: 1, value, by_user: true }])
            }
            Say::Revoke(other) => Event::Revoke { log: self.replicas[other].log(), why: 1 },
        };
        self.tell(device, event);
        self.said[device] += 1;
    }

    /// Everyone hears everything, and what that makes them say.
    fn at_rest(&self) -> Self {
        let mut world = self.clone();
        for round in 1..20 {
            let before = world.mailbox.len();
            for device in 0..3 {
                world.synchronize(device);
                let later = NOW_MS + round * 2 * crate::ACKNOWLEDGE_AFTER_MS;
                world.replicas[device].handle(later, Event::Tick);
            }
            if round > 1 && world.mailbox.len() == before {
                return world;
            }
        }
        panic!("the devices do not come to rest");
    }

    fn are_equal_at_rest(&self) -> bool {
        let rested = self.at_rest();
        let founder = &rested.replicas[0];
        let live = rested.replicas.iter().filter(|replica| founder.members().is_live(replica.log()));
        founder.members().is_live(founder.log())
            && live
                .clone()
                .all(|replica| replica.state() == founder.state() && replica.members() == founder.members())
            && live.count() >= 2
    }

    fn agree_where_they_have_the_same(&self) -> bool {
        let same = |one: &Replica<Seeded>, other: &Replica<Seeded>| {
            one.frontier() != other.frontier() || one.state() == other.state()
        };
        self.replicas.iter().all(|one| self.replicas.iter().all(|other| same(one, other)))
    }

    fn keep_deleted_what_is_deleted(&self) -> bool {
        let sound = |replica: &Replica<Seeded>| {
            replica.state().records.keys().all(|id| !replica.state().deleted.contains(id))
        };
        self.replicas.iter().all(sound)
    }

    fn void_what_a_revoked_log_said_outside_the_past(&self) -> bool {
        self.replicas.iter().all(|replica| {
            let registers = replica.state().records.values().flat_map(|record| record.registers.values());
            let counts = |stamp: &Stamp| stamp.seq <= replica.members().counts_until(stamp.log);
            registers.filter(|register| register.by_user).all(|register| counts(&register.stamp))
        })
    }
}

/// What the three devices say, in their order.
struct Scope([[Say; 2]; 3]);

impl Model for Scope {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let (mut founder, _) = Replica::found(Suite::Ideal, b"0", START_MS, Seeded::new(1));
        let keys: Vec<_> =
            (1..3).map(|number| DeviceKeys::generate(Suite::Ideal, &mut Seeded::new(10 + number))).collect();
        for keys in &keys {
            let keys = keys.public().clone();
            founder.handle(START_MS, Event::Admit { keys, recovery: false, name: Vec::new() });
        }
        founder.handle(START_MS, Event::Local(vec![put_op(FIRST)]));
        let mut replicas = Vec::new();
        for (number, keys) in (20..).zip(keys) {
            let welcome = founder.welcome(keys.public().log(), b"psk").unwrap();
            replicas.push(Replica::join(keys, &welcome, b"psk", Seeded::new(number)).unwrap().0);
        }
        replicas.insert(0, founder);
        vec![World { replicas, mailbox: BTreeMap::new(), said: [0; 3] }.at_rest()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for device in 0..3 {
            if world.said[device] < 2 {
                steps.push(Step::Say(device));
            }
            steps.push(Step::Synchronize(device));
        }
        // One pair that can meet is enough to go past the mailbox.
        steps.push(Step::Hand(2, 1));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        match step {
            Step::Say(device) => next.say(device, self.0[device][world.said[device]]),
            Step::Synchronize(device) => next.synchronize(device),
            Step::Hand(from, to) => next.give(to, &world.all_of(from)),
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1", |_, world: &World| world.agree_where_they_have_the_same()),
            Property::always("I2", |_, world: &World| world.said != [2; 3] || world.are_equal_at_rest()),
            Property::always("I3", |_, world: &World| world.keep_deleted_what_is_deleted()),
            Property::always("I6", |_, world: &World| world.void_what_a_revoked_log_said_outside_the_past()),
        ]
    }
}

fn check(script: [[Say; 2]; 3], states: usize) {
    let checker = Scope(script).checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    std::println!("{} states, {} steps", checker.unique_state_count(), checker.state_count());
    assert!(checker.unique_state_count() >= states, "{} states", checker.unique_state_count());
}

#[test]
fn every_state_of_puts_renames_and_deletes_is_sound() {
    check([[Say::Put, Say::Delete], [Say::Rename, Say::Put], [Say::Delete, Say::Rename]], 1_000);
}

#[test]
fn every_state_around_revocations_is_sound() {
    check([[Say::Rename, Say::Revoke(2)], [Say::Revoke(2), Say::Put], [Say::Rename, Say::Revoke(1)]], 1_000);
}

/// What the checker found first: the first device gets an entry in two forms, for two epochs, before it can deliver it.
#[test]
fn two_forms_of_one_entry_that_wait_together_are_no_fork() {
    use Step::{Hand, Synchronize};
    let script = [[Say::Rename, Say::Revoke(2)], [Say::Revoke(2), Say::Put], [Say::Rename, Say::Revoke(1)]];
    let scope = Scope(script);
    let mut world = scope.init_states().remove(0);
    let steps = [
        Step::Say(2),
        Synchronize(2),
        Synchronize(0),
        Step::Say(0),
        Synchronize(0),
        Step::Say(2),
        Hand(2, 1),
        Step::Say(1),
        Synchronize(2),
        Synchronize(1),
        Synchronize(0),
        Synchronize(1),
        Step::Say(1),
        Synchronize(1),
        Synchronize(0),
        Step::Say(0),
        Synchronize(0),
        Synchronize(1),
    ];
    for step in steps {
        world = scope.next_state(&world, step).expect("every step changes something");
    }
    assert!(world.agree_where_they_have_the_same());
    assert!(world.replicas.iter().all(|replica| !replica.dag.is_forked()));
}
