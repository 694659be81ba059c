//! How devices become members: all at the start, and those that come later.

use std::format;
use std::vec;
use std::vec::Vec;

use super::{Device, Message, OpLog};
use crate::seeded::Seeded;
use crate::simulator::engine::{Context, Fabric as _, START_MS};
use crate::{DeviceKeys, Effect, Event, Name, Order, Replica};

impl OpLog {
    /// Founds a circle on the first device and lets the others join, with everything delivered at once.
    pub(super) fn pair(&mut self, devices: usize, rng: &mut Seeded) {
        let mut outbox: Vec<(Name, Vec<u8>)> = Vec::new();
        let keep = |device: &mut Device, effects: Vec<Effect>, outbox: &mut Vec<(Name, Vec<u8>)>| {
            for effect in effects {
                match effect {
                    Effect::Persist(record) => {
                        device.journal.push(record);
                        device.written_ms.push(0);
                    }
                    Effect::Put { name, bytes, .. } => outbox.push((name, bytes)),
                    _ => {}
                }
            }
        };
        let (mut first, effects) = Replica::found(self.suite, b"device 0", START_MS, rng.fork());
        first.add_mailbox(0, Order::Shared);
        first.compact_after(self.compact_after);
        keep(&mut self.devices[0], effects, &mut outbox);
        outbox.extend(first.entries().map(|(name, bytes)| (name, bytes.to_vec())));
        let mut joined = Vec::new();
        for number in 1..devices {
            let keys = DeviceKeys::generate(self.suite, rng);
            let admit = Event::Admit {
                keys: keys.public().clone(),
                recovery: false,
                name: format!("device {number}").into_bytes(),
            };
            keep(&mut self.devices[0], first.handle(START_MS + number as u64, admit), &mut outbox);
            joined.push(keys);
        }
        if let Some(key) = &self.recovery {
            let keys = key.keys(self.suite).public().clone();
            let log = keys.log();
            let admit = Event::Admit { keys, recovery: true, name: b"paper".to_vec() };
            keep(&mut self.devices[0], first.handle(START_MS + 90, admit), &mut outbox);
            let letter = first.recovery_letter(key).expect("it was just admitted");
            keep(&mut self.devices[0], first.handle(START_MS + 91, Event::Post(letter)), &mut outbox);
            // What is behind a PIN may be destroyed by anyone who guesses, and is no backup.
            if self.confirmed {
                let confirmed = Event::Local(vec![first.confirm_recovery(log)]);
                keep(&mut self.devices[0], first.handle(START_MS + 92, confirmed), &mut outbox);
            }
        }
        for (number, keys) in (1..).zip(joined) {
            let welcome = first.welcome(keys.public().log(), b"psk").expect("it was just admitted");
            let (mut replica, effects) = Replica::join(keys, &welcome, b"psk", rng.fork())
                .unwrap_or_else(|error| panic!("a welcome is readable: {error}"));
            keep(&mut self.devices[number], effects, &mut outbox);
            replica.add_mailbox(0, Order::Shared);
            replica.compact_after(self.compact_after);
            for (_, sealed) in outbox.clone() {
                let effects = replica.handle(START_MS + 100, Event::Received(sealed));
                keep(&mut self.devices[number], effects, &mut Vec::new());
            }
            self.devices[number].replica = Some(replica);
        }
        self.devices[0].replica = Some(first);
        outbox.iter().for_each(|(name, bytes)| self.server.keep(*name, bytes));
    }

    /// A newcomer joins later, with what is on its admitter now. Whether it is a member.
    pub(super) fn admit(&mut self, cx: &mut Context<'_, Message>, by: usize, device: usize) -> bool {
        let keys = DeviceKeys::generate(self.suite, &mut self.devices[device].seed);
        let log = keys.public().log();
        let admit = Event::Admit { keys: keys.public().clone(), recovery: false, name: b"late".to_vec() };
        self.until_done(cx, by, admit);
        let welcome = self.devices[by].replica.as_mut().and_then(|replica| replica.welcome(log, b"psk"));
        if let Some(welcome) = welcome {
            self.begin(cx, device, keys, &welcome);
        }
        self.devices[device].replica.is_some()
    }

    /// Takes part from now on, if the welcome is readable.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_, Message>,
        device: usize,
        keys: DeviceKeys,
        welcome: &[u8],
    ) {
        let rng = self.devices[device].seed.fork();
        let Ok((mut replica, effects)) = Replica::join(keys, welcome, b"psk", rng) else { return };
        replica.add_mailbox(0, Order::Shared);
        replica.compact_after(self.compact_after);
        self.devices[device].replica = Some(replica);
        let crash = std::mem::replace(&mut cx.crash, 0.0);
        self.perform(cx, device, effects);
        cx.crash = crash;
        self.wake(cx, device, true);
    }
}
