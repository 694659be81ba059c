//! Stories of a few devices and a mailbox, all in memory, with seeds.

mod attacks;
mod carriers;
mod codec;
mod compaction;
mod convergence;
#[cfg(feature = "simulator")]
mod exhaustive;
mod lan;
mod membership;
mod merge;
#[cfg(feature = "simulator")]
mod model;
#[path = "../../../tests/src/randomness.rs"]
mod randomness;
mod vectors;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::{
    AccountId, Alarm, Driver, Effect, Event, Invitation, LogId, Mailbox, MemoryMailbox, Op, RecordId,
    Replica, Report, Seeded, Suite,
};

/// 2026-01-01, in milliseconds since 1970.
const START_MS: u64 = 1_767_225_600_000;

type Device = Driver<Seeded, Vec<Vec<u8>>>;

/// Devices of one circle with one honest mailbox. Time passes only when told to.
struct World {
    mailbox: MemoryMailbox,
    devices: Vec<Device>,
    alarms: Vec<(usize, Alarm)>,
    rng: Seeded,
    now_ms: u64,
}

impl World {
    /// One device that founded the circle.
    fn new(seed: u64) -> Self {
        World::founded(Suite::P256, seed)
    }

    fn founded(suite: Suite, seed: u64) -> Self {
        let mut rng = Seeded::new(seed);
        let mailbox = MemoryMailbox::default();
        let (replica, effects) = Replica::found(suite, b"device 0", START_MS, rng.fork());
        let mut first = Driver::new(replica, effects, Vec::new(), vec![Box::new(mailbox.clone())]);
        first.sync(START_MS).unwrap();
        World { mailbox, devices: vec![first], alarms: Vec::new(), rng, now_ms: START_MS }
    }

    /// Several devices that know each other.
    fn of(seed: u64, devices: usize) -> Self {
        World::of_suite(Suite::P256, seed, devices)
    }

    fn of_suite(suite: Suite, seed: u64, devices: usize) -> Self {
        let mut world = World::founded(suite, seed);
        for _ in 1..devices {
            world.join(0);
        }
        world.settle();
        world
    }

    /// A newcomer joins with the help of a member, by letters through the mailbox.
    fn join(&mut self, by: usize) -> usize {
        let index = self.devices.len();
        let inviter = self.devices[by].replica();
        let invitation = Invitation {
            suite: inviter.suite(),
            circle: inviter.circle(),
            founder: inviter.founder(),
            secret: [7; 16],
            expires_s: START_MS / 1000 + 600,
            mailbox: "memory".into(),
        };
        let scanned = Invitation::parse(&invitation.to_text()).unwrap();
        let keys = crate::DeviceKeys::generate(scanned.suite, &mut self.rng);
        let letter = scanned.ask(&keys, format!("device {index}").as_bytes(), &mut self.rng);
        let request = invitation.asked(&letter).expect("the inviter reads the letter");
        assert_eq!(request.emoji, crate::emoji(&letter));
        let log = request.keys.log();
        self.tell(by, Event::Admit { keys: request.keys, recovery: false, name: request.name });
        let welcome = self.devices[by].replica_mut().welcome(log, &invitation.secret).unwrap();
        let (replica, effects) = scanned.accept(keys, &welcome, self.rng.fork()).unwrap();
        self.devices.push(Driver::new(replica, effects, Vec::new(), vec![Box::new(self.mailbox.clone())]));
        self.sync(index);
        index
    }

    fn tell(&mut self, device: usize, event: Event) -> Vec<Report> {
        let reports = self.devices[device].handle(self.now_ms, event).unwrap();
        self.note(device, &reports);
        reports
    }

    fn sync(&mut self, device: usize) -> Vec<Report> {
        let reports = self.devices[device].sync(self.now_ms).unwrap();
        self.note(device, &reports);
        reports
    }

    fn note(&mut self, device: usize, reports: &[Report]) {
        self.alarms.extend(reports.iter().filter_map(|report| match report {
            Report::Alarm(alarm) => Some((device, *alarm)),
            _ => None,
        }));
    }

    /// Everyone syncs, and time passes, until nothing more is said.
    fn settle(&mut self) {
        for _ in 0..20 {
            let before = self.mailbox.with(|held| held.len());
            for device in 0..self.devices.len() {
                self.sync(device);
            }
            self.now_ms += 2 * crate::ACKNOWLEDGE_AFTER_MS;
            for device in 0..self.devices.len() {
                self.tell(device, Event::Tick);
            }
            if self.mailbox.with(|held| held.len()) == before {
                return;
            }
        }
        panic!("the devices do not come to rest");
    }

    /// As [`settle`](Self::settle), of all but one, for some rounds.
    fn settle_but(&mut self, absent: usize) {
        for _ in 0..4 {
            self.now_ms += 2 * crate::ACKNOWLEDGE_AFTER_MS;
            for device in (0..self.devices.len()).filter(|device| *device != absent) {
                self.tell(device, Event::Tick);
                self.sync(device);
            }
        }
    }

    fn put(&mut self, device: usize) -> RecordId {
        let record = RecordId(crate::crypto::random(&mut self.rng));
        self.tell(device, Event::Local(vec![put_op(record)]));
        record
    }

    fn delete(&mut self, device: usize, record: RecordId) {
        self.tell(device, Event::Local(vec![Op::Del { record }]));
    }

    fn has(&self, device: usize, record: RecordId) -> bool {
        self.devices[device].replica().record(record).is_some()
    }

    fn log(&self, device: usize) -> LogId {
        self.devices[device].replica().log()
    }

    fn assert_equal(&self, devices: &[usize]) {
        let first = self.devices[devices[0]].replica();
        for device in &devices[1..] {
            let other = self.devices[*device].replica();
            assert!(first.state() == other.state(), "devices {} and {device} differ", devices[0]);
            assert_eq!(first.members(), other.members(), "devices {} and {device} differ", devices[0]);
        }
    }

    /// A copy of the mailbox in a world without devices.
    fn emptied(&self) -> World {
        let mailbox = MemoryMailbox::default();
        mailbox.with(|held| *held = self.mailbox.with(|held| held.clone()));
        World { mailbox, devices: Vec::new(), alarms: Vec::new(), rng: Seeded::new(8), now_ms: self.now_ms }
    }

    /// The device as it is after a restart.
    fn reopen(&mut self, device: usize) {
        let journal = self.devices[device].journal().clone();
        self.restore(device, journal);
    }

    /// The device as it comes back from an older journal: a restored backup.
    fn restore(&mut self, device: usize, journal: Vec<Vec<u8>>) {
        let replica = Replica::open(journal.iter().map(Vec::as_slice), self.rng.fork()).unwrap();
        let mailbox: Box<dyn Mailbox> = Box::new(self.mailbox.clone());
        self.devices[device] = Driver::new(replica, Vec::new(), journal, vec![mailbox]);
    }
}

fn put_op(record: RecordId) -> Op {
    Op::Put {
        record,
        account: AccountId([1; 8]),
        core: vec![9; 120],
        registers: vec![(1, vec![1])],
        shadows: vec![],
    }
}

/// The bytes of the puts among some effects.
fn puts(effects: &[Effect]) -> Vec<Vec<u8>> {
    let bytes = |effect: &Effect| match effect {
        Effect::Put { bytes, .. } => Some(bytes.clone()),
        _ => None,
    };
    effects.iter().filter_map(bytes).collect()
}
