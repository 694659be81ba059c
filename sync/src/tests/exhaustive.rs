//! The small scope, exhaustively, on the product's replica: three devices, two entries each, in every order, each
//! with or without a look into the mailbox before it. I1–I3 and I6 hold in all of them.

use super::*;
use crate::{Order, Stamp};

/// What each device says, in its order.
#[derive(Clone, Copy)]
enum Say {
    Put,
    DeleteFirst,
    Rename,
    Revoke(usize),
}

struct Small {
    replicas: Vec<Replica<Seeded>>,
    mailbox: Vec<Vec<u8>>,
    read: Vec<usize>,
    first: RecordId,
    now_ms: u64,
}

impl Small {
    /// Three devices that know each other and one record.
    fn new() -> Self {
        let (mut founder, effects) = Replica::found(Suite::Ideal, b"0", START_MS, Seeded::new(1));
        founder.add_mailbox(0, Order::Shared);
        drop(effects);
        let mut joined = Vec::new();
        let mut mailbox: Vec<Vec<u8>> = founder.entries().map(|(_, bytes)| bytes.to_vec()).collect();
        for number in 1..3 {
            let keys = crate::DeviceKeys::generate(Suite::Ideal, &mut Seeded::new(10 + number));
            let log = keys.public().log();
            let admit =
                Event::Admit { keys: keys.public().clone(), recovery: false, name: vec![number as u8] };
            mailbox.extend(puts(&founder.handle(START_MS + number, admit)));
            joined.push((keys, log));
        }
        let first = RecordId([0xff; 16]);
        mailbox.extend(puts(&founder.handle(START_MS + 3, Event::Local(vec![put_op(first)]))));
        let mut replicas = Vec::new();
        for (keys, log) in joined {
            let welcome = founder.welcome(log, b"psk").unwrap();
            let (mut replica, _) = Replica::join(keys, &welcome, b"psk", Seeded::new(20)).unwrap();
            replica.add_mailbox(0, Order::Shared);
            replicas.push(replica);
        }
        replicas.insert(0, founder);
        let mut small = Small { replicas, mailbox, read: vec![0; 3], first, now_ms: START_MS + 10 };
        small.rest();
        small
    }

    fn tell(&mut self, device: usize, event: Event) {
        self.now_ms += 10;
        let effects = self.replicas[device].handle(self.now_ms, event);
        self.mailbox.extend(puts(&effects));
    }

    fn look(&mut self, device: usize) {
        while self.read[device] < self.mailbox.len() {
            let sealed = self.mailbox[self.read[device]].clone();
            self.read[device] += 1;
            self.tell(device, Event::Received(sealed));
        }
    }

    /// Everyone hears everything and says what that makes them say.
    fn rest(&mut self) {
        for _ in 0..12 {
            let before = self.mailbox.len();
            (0..3).for_each(|device| self.look(device));
            self.now_ms += 2 * crate::ACKNOWLEDGE_AFTER_MS;
            (0..3).for_each(|device| self.tell(device, Event::Tick));
            if self.mailbox.len() == before {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    fn say(&mut self, device: usize, turn: usize, what: Say) {
        let record = RecordId([(10 * device + turn) as u8; 16]);
        let first = self.first;
        match what {
            Say::Put => self.tell(device, Event::Local(vec![put_op(record)])),
            Say::DeleteFirst => self.tell(device, Event::Local(vec![Op::Del { record: first }])),
            Say::Rename => {
                let value = vec![device as u8];
                self.tell(
                    device,
                    Event::Local(vec![Op::Set { record: first, number: 1, value, by_user: true }]),
                );
            }
            Say::Revoke(other) => {
                let log = self.replicas[other].log();
                self.tell(device, Event::Revoke { log, why: 1 });
            }
        }
    }

    fn check(&self, story: &str) {
        let live: Vec<usize> = (0..3)
            .filter(|device| self.replicas[0].members().is_live(self.replicas[*device].log()))
            .collect();
        assert!(live.contains(&0), "{story}: the founder cannot be revoked by one junior");
        for device in &live {
            assert_eq!(self.replicas[0].members(), self.replicas[*device].members(), "{story}: I2, members");
            assert_eq!(self.replicas[0].state(), self.replicas[*device].state(), "{story}: I2, state");
        }
        let state = self.replicas[0].state();
        assert!(state.records.keys().all(|id| !state.deleted.contains(id)), "{story}: I3");
        for (log, member) in &self.replicas[0].members().all {
            let Some(cut) = member.cut else { continue };
            let counts = |stamp: &Stamp| stamp.log != *log || stamp.seq <= cut;
            let registers = state.records.values().flat_map(|record| record.registers.values());
            // The first value of a register comes with its put, and that stays.
            assert!(
                registers.filter(|register| register.by_user).all(|register| counts(&register.stamp)),
                "{story}: I6"
            );
        }
    }
}

/// All orders of two entries each of three devices.
fn orders() -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..6 {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..3).filter_map(move |device| {
                    let said = order.iter().filter(|other| **other == device).count();
                    (said < 2).then(|| [order.as_slice(), &[device]].concat())
                })
            })
            .collect();
    }
    orders
}

fn explore(script: [[Say; 2]; 3]) -> usize {
    let mut runs = 0;
    for order in orders() {
        // Before the first entry there is nothing to see.
        for looks in (0..1_u32 << order.len()).step_by(2) {
            let mut small = Small::new();
            let mut turns = [0; 3];
            for (step, device) in order.iter().enumerate() {
                if looks >> step & 1 == 1 {
                    small.look(*device);
                }
                small.say(*device, turns[*device], script[*device][turns[*device]]);
                turns[*device] += 1;
            }
            small.rest();
            small.check(&format!("order {order:?}, looks {looks:06b}"));
            runs += 1;
        }
    }
    runs
}

#[test]
fn every_order_of_puts_renames_and_deletes_converges() {
    let script = [[Say::Put, Say::DeleteFirst], [Say::Rename, Say::Put], [Say::DeleteFirst, Say::Rename]];
    assert_eq!(explore(script), 90 * 32);
}

#[test]
fn every_order_around_two_revocations_converges() {
    let script = [[Say::Rename, Say::Revoke(2)], [Say::Revoke(2), Say::Put], [Say::Rename, Say::Revoke(1)]];
    assert_eq!(explore(script), 90 * 32);
}
