//! What reaches a replica from outside: entries of a mailbox, letters, texts off a screen or a sheet of paper.

use doppelkey_sync::{
    Body, DeviceKeys, Driver, Effect, Event, Invitation, MemoryMailbox, Name, Op, RecoveryKey, Replica,
    Seeded, Share, Suite,
};

use super::steps;

const NOW_MS: u64 = 1_767_225_600_000;
const STEPS_MAX: usize = 40;

/// The body of an entry.
///
/// # Panics
/// If bytes are taken that are not the one encoding of what they say.
pub fn entries(bytes: &[u8]) {
    if let Some(body) = Body::from_bytes(bytes) {
        assert_eq!(body.encode(), bytes, "an entry has one encoding");
    }
}

/// Letters, texts and journals: the first byte says which.
pub fn letters(story: &[u8]) {
    let Some((which, bytes)) = story.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let mut rng = Seeded::new(1);
    match which % 5 {
        0 => {
            if let Some(invitation) = Invitation::parse(&text) {
                assert_eq!(Invitation::parse(&invitation.to_text()), Some(invitation));
            }
        }
        1 => {
            let shares: Vec<_> = text.split('\n').filter_map(Share::parse).collect();
            let _ = RecoveryKey::combine(&shares);
            let _ = RecoveryKey::parse(&text);
        }
        2 => {
            if let Some(request) = invitation().asked(bytes) {
                assert_eq!(request.emoji, doppelkey_sync::emoji(bytes));
            }
        }
        3 => {
            let keys = DeviceKeys::generate(Suite::Ideal, &mut rng);
            let _ = invitation().accept(keys, bytes, rng);
        }
        _ => {
            let records: Vec<_> = steps(bytes).map(|(_, record)| record).collect();
            let _ = Replica::open(records, rng);
        }
    }
}

/// The kinds of a step of [`replicas`], by its first byte modulo their number.
pub(super) mod kind {
    /// A device's user does what the ops of this body say.
    pub(crate) const SAY: u8 = 0;
    /// Bytes arrive at a device.
    pub(crate) const RECEIVE: u8 = 1;
    /// Bytes from a peer.
    pub(crate) const PEER: u8 = 2;
    /// Bytes are put into the mailbox.
    pub(crate) const MAILBOX: u8 = 3;
    /// A device syncs.
    pub(crate) const SYNC: u8 = 4;
    /// Seconds pass.
    pub(crate) const WAIT: u8 = 5;
    /// An entry in the mailbox arrives at a device with one byte changed.
    pub(crate) const DAMAGED: u8 = 6;
    /// How many kinds there are.
    pub(crate) const COUNT: u8 = 7;
}

/// Two devices of one circle, a mailbox, and strangers who write into it; how many entries the mailbox holds.
///
/// # Panics
/// If the two are not equal in the end.
pub fn replicas(story: &[u8]) -> usize {
    let mut circle = Circle::new();
    for (kind, payload) in steps(story).take(STEPS_MAX) {
        let Some((device, bytes)) = payload.split_first() else { continue };
        let device = usize::from(device % 2);
        match kind % kind::COUNT {
            kind::SAY => circle.say(device, bytes),
            kind::RECEIVE => circle.tell(device, Event::Received(bytes.to_vec())),
            kind::PEER => circle.tell(device, Event::Peer { peer: 0, bytes: bytes.to_vec() }),
            kind::MAILBOX => {
                circle.mailbox.with(|held| held.push((Name::of(bytes), bytes.to_vec())));
            }
            kind::SYNC => circle.sync(device),
            kind::WAIT => circle.wait(u64::from(bytes.first().copied().unwrap_or_default()) * 1000),
            _ => circle.damaged(device, bytes),
        }
    }
    for _ in 0..8 {
        circle.sync(0);
        circle.sync(1);
        circle.wait(2 * doppelkey_sync::ACKNOWLEDGE_AFTER_MS);
    }
    let [one, other] = &circle.devices;
    assert_eq!(one.replica().frontier(), other.replica().frontier(), "both have delivered the same");
    assert_eq!(one.replica().state(), other.replica().state(), "both have the same");
    circle.mailbox.with(|held| held.len())
}

type Device = Driver<Seeded, Vec<Vec<u8>>>;

struct Circle {
    mailbox: MemoryMailbox,
    devices: [Device; 2],
    now_ms: u64,
}

impl Circle {
    /// A founder and a member that it admitted, with checksums in place of cryptography: a fuzzer gets past those.
    fn new() -> Self {
        let mailbox = MemoryMailbox::default();
        let begin = |replica, effects| -> Device {
            Driver::new(replica, effects, Vec::new(), vec![Box::new(mailbox.clone())])
        };
        let (founder, effects) = founder();
        let mut founder = begin(founder, effects);
        let invitation = invitation();
        let keys = DeviceKeys::generate(Suite::Ideal, &mut Seeded::new(3));
        let letter = invitation.ask(&keys, b"newcomer", &mut Seeded::new(4));
        let request = invitation.asked(&letter).expect("it is for this invitation");
        let log = request.keys.log();
        let admit = Event::Admit { keys: request.keys, recovery: false, name: request.name };
        founder.handle(NOW_MS, admit).expect("memory takes it");
        let welcome = founder.replica_mut().welcome(log, &invitation.secret).expect("it is a member");
        let (newcomer, effects) =
            invitation.accept(keys, &welcome, Seeded::new(5)).expect("the welcome is for it");
        let newcomer = begin(newcomer, effects);
        Circle { mailbox, devices: [founder, newcomer], now_ms: NOW_MS }
    }

    fn tell(&mut self, device: usize, event: Event) {
        self.devices[device].handle(self.now_ms, event).expect("memory takes it");
    }

    fn sync(&mut self, device: usize) {
        self.devices[device].sync(self.now_ms).expect("memory takes it");
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now_ms += milliseconds;
        for device in 0..2 {
            self.tell(device, Event::Tick);
        }
    }

    /// What a user may change. Memberships are left alone: both devices stay in, so that both must be equal.
    fn say(&mut self, device: usize, bytes: &[u8]) {
        let Some(body) = Body::from_bytes(bytes) else { return };
        let change = |op: &Op| {
            matches!(
                op,
                Op::Put { .. } | Op::Set { .. } | Op::Del { .. } | Op::Used { .. } | Op::Policy { .. }
            )
        };
        self.tell(device, Event::Local(body.ops.into_iter().filter(change).collect()));
    }

    fn damaged(&mut self, device: usize, bytes: &[u8]) {
        let &[which, high, low, change, ..] = bytes else { return };
        let at = usize::from(u16::from_be_bytes([high, low]));
        let entry = self.mailbox.with(|held| {
            let (_, entry) = held.get(usize::from(which) % held.len().max(1))?;
            let mut entry = entry.clone();
            *entry.get_mut(at)? ^= change;
            Some(entry)
        });
        if let Some(entry) = entry {
            self.tell(device, Event::Received(entry));
        }
    }
}

/// Of the one circle of these stories, whose founder is always the same.
fn invitation() -> Invitation {
    let (founder, _) = founder();
    Invitation {
        suite: Suite::Ideal,
        circle: founder.circle(),
        founder: founder.founder(),
        secret: [7; 16],
        expires_s: NOW_MS / 1000 + 600,
        mailbox: "memory".into(),
    }
}

fn founder() -> (Replica<Seeded>, Vec<Effect>) {
    Replica::found(Suite::Ideal, b"founder", NOW_MS, Seeded::new(2))
}
