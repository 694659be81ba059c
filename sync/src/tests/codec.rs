//! Entries have one encoding; everything else is refused, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{Body, Dep, EpochId, Hash, PublicKeys};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn log() -> impl Strategy<Value = LogId> {
    any::<[u8; 8]>().prop_map(LogId)
}

fn record() -> impl Strategy<Value = RecordId> {
    any::<[u8; 16]>().prop_map(RecordId)
}

fn op() -> impl Strategy<Value = Op> {
    let account = any::<[u8; 8]>().prop_map(AccountId);
    prop_oneof![
        (record(), account, bytes(), vec((any::<u8>(), bytes()), 0..3), vec(record(), 0..3)).prop_map(
            |(record, account, core, registers, shadows)| Op::Put {
                record,
                account,
                core,
                registers,
                shadows
            }
        ),
        (record(), any::<u8>(), bytes(), any::<bool>())
            .prop_map(|(record, number, value, by_user)| Op::Set { record, number, value, by_user }),
        record().prop_map(|record| Op::Del { record }),
        (record(), any::<u64>()).prop_map(|(record, time_s)| Op::Used { record, time_s }),
        (bytes(), bytes(), any::<u32>(), any::<bool>(), bytes()).prop_map(
            |(identity, encryption, incarnation, recovery, name)| Op::Admit {
                keys: PublicKeys { identity, encryption, incarnation },
                recovery,
                name
            }
        ),
        (log(), any::<u8>(), any::<Option<[u8; 32]>>()).prop_map(|(log, why, half)| Op::Revoke {
            log,
            why,
            consent: half.map(|half| [half; 2].concat().try_into().expect("two halves")),
        }),
        (any::<u32>(), any::<[u8; 8]>(), vec((log(), bytes()), 0..3))
            .prop_map(|(generation, id, wraps)| Op::Epoch { generation, id: EpochId(id), wraps }),
        (any::<u8>(), bytes()).prop_map(|(number, value)| Op::Policy { number, value }),
        bytes().prop_map(|sealed| Op::Evidence { sealed }),
        (any::<u32>(), any::<[u8; 32]>())
            .prop_map(|(generation, digest)| Op::Snap { generation, digest: Hash(digest) }),
    ]
}

pub(super) fn body() -> impl Strategy<Value = Body> {
    let dep = (log(), 1..u32::MAX, any::<[u8; 8]>()).prop_map(|(log, seq, hash)| Dep { log, seq, hash });
    (log(), 1..u32::MAX, any::<[u8; 32]>(), vec(dep, 0..4), any::<u64>(), vec(op(), 0..5)).prop_map(
        |(log, seq, prev, mut deps, hlc, ops)| {
            deps.sort_by_key(|dep| dep.log);
            deps.dedup_by_key(|dep| dep.log);
            deps.retain(|dep| dep.log != log);
            Body { log, seq, prev: Hash(prev), deps, hlc, ops }
        },
    )
}

proptest! {
    #[test]
    fn a_body_comes_back_as_it_was(body in body()) {
        prop_assert_eq!(Body::from_bytes(&body.encode()), Some(body));
    }

    #[test]
    fn a_body_has_one_encoding(body in body(), index in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = body.encode();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        if let Some(other) = Body::from_bytes(&bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn a_body_with_a_wrong_byte_panics_no_decoder(
        body in body(), index in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = body.encode();
        let index = index.index(bytes.len());
        bytes[index] = byte;
        crate::decode_anything(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        crate::decode_anything(&bytes);
        if let Some(body) = Body::from_bytes(&bytes) {
            prop_assert_eq!(body.encode(), bytes);
        }
    }

    #[test]
    fn a_body_is_what_ciborium_calls_cbor(body in body()) {
        let bytes = body.encode();
        let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
        let mut again = Vec::new();
        ciborium::into_writer(&value, &mut again).unwrap();
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn an_invitation_comes_back_as_it_was(
        circle: [u8; 16], founder: [u8; 8], secret: [u8; 16], expires_s: u64, mailbox in "[ -~]{0,80}"
    ) {
        let invitation = Invitation {
            suite: Suite::P256,
            circle: crate::CircleId(circle),
            founder: LogId(founder),
            secret,
            expires_s,
            mailbox,
        };
        prop_assert_eq!(Invitation::parse(&invitation.to_text()), Some(invitation));
    }

    #[test]
    fn padding_tells_little(len in 1_usize..1 << 20) {
        let padded = crate::padme(len);
        prop_assert!(padded >= len && padded - len <= len * 12 / 100 + 1);
        prop_assert_eq!(crate::padme(padded), padded);
    }

    #[test]
    fn arbitrary_bytes_from_anywhere_change_nothing(
        bytes in vec(any::<u8>(), 0..200), kind in 0_u8..3, suite in 0_u8..3
    ) {
        let (mut replica, _) = Replica::found(Suite::P256, b"one", START_MS, Seeded::new(1));
        let mut bytes = bytes;
        if bytes.len() > 2 {
            (bytes[0], bytes[1]) = (kind, suite);
        }
        let before = replica.state().clone();
        replica.handle(START_MS, Event::Received(bytes.clone()));
        replica.handle(START_MS, Event::Peer { peer: 0, bytes: bytes.clone() });
        prop_assert_eq!(replica.state(), &before);
        prop_assert!(Replica::open([bytes.as_slice()], Seeded::new(1)).is_err());
    }
}

#[test]
fn a_single_flipped_bit_of_a_sealed_entry_is_refused() {
    let (mut one, effects) = Replica::found(Suite::P256, b"one", START_MS, Seeded::new(1));
    one.add_mailbox(0, crate::Order::Shared);
    assert!(puts(&effects).is_empty(), "there was no mailbox yet");
    let record = RecordId([1; 16]);
    let sealed = puts(&one.handle(START_MS, Event::Local(vec![put_op(record)]))).remove(0);
    let journal: Vec<Vec<u8>> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Persist(record) => Some(record.clone()),
            _ => None,
        })
        .collect();
    let older = || Replica::open(journal.iter().map(Vec::as_slice), Seeded::new(2)).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut wrong = sealed.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let mut other = older();
        other.handle(START_MS, Event::Received(wrong));
        assert!(other.record(record).is_none(), "bit {bit}");
    }
    let mut other = older();
    other.handle(START_MS, Event::Received(sealed));
    assert!(other.record(record).is_some());
}

#[test]
fn the_wire_size_of_a_credential_holds_its_goal() {
    let mut world = World::of(40, 3);
    world.settle();
    // What a passkey is made of: 32 bytes of key, 2 × 32 of hmac-secret, names, ids.
    let op = |byte: u8| Op::Put {
        record: RecordId([byte; 16]),
        account: AccountId([byte; 8]),
        core: vec![byte; 170],
        registers: vec![],
        shadows: vec![],
    };
    world.tell(0, Event::Local(vec![op(1)]));
    let single = world.mailbox.with(|held| held.last().unwrap().1.len());
    world.tell(0, Event::Local((0..16).map(op).collect()));
    let batch = world.mailbox.with(|held| held.last().unwrap().1.len()) / 16;
    assert!(single <= 400, "{single} bytes for one credential");
    assert!(batch <= 250, "{batch} bytes for one of 16");
}
