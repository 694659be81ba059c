//! Every order of delivery leads to one state.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::{Stamp, State};

fn small_op() -> impl Strategy<Value = Op> {
    let record = || (0_u8..3).prop_map(|byte| RecordId([byte; 16]));
    prop_oneof![
        4 => (record(), any::<u8>(), vec((0_u8..2, vec(any::<u8>(), 1)), 0..2)).prop_map(
            |(record, core, registers)| Op::Put {
                record,
                account: AccountId([0; 8]),
                core: vec![core],
                registers,
                shadows: vec![],
            }
        ),
        4 => (record(), 0_u8..2, any::<u8>(), any::<bool>())
            .prop_map(|(record, number, value, by_user)| Op::Set { record, number, value: vec![value], by_user }),
        1 => record().prop_map(|record| Op::Del { record }),
        2 => (record(), 0_u64..9).prop_map(|(record, time_s)| Op::Used { record, time_s }),
        1 => (0_u8..2, any::<u8>()).prop_map(|(number, value)| Op::Policy { number, value: vec![value] }),
    ]
}

proptest! {
    /// I1: the state is a function of the set of what was delivered, not of the order, nor of how often.
    #[test]
    fn ops_commute_and_repeat_harmlessly(
        ops in vec((small_op(), 0_u64..6, any::<bool>()), 0..12),
        order in any::<u64>(),
    ) {
        let said: Vec<_> = ops.into_iter().enumerate().map(|(index, (op, hlc, puts_only))| {
            (op, Stamp { hlc, log: LogId([index as u8 % 3; 8]), seq: index as u32 }, puts_only)
        }).collect();
        let mut forward = State::default();
        said.iter().for_each(|(op, stamp, void)| { forward.apply(op, *stamp, *void); });
        let mut shuffled: Vec<_> = said.iter().chain(&said).collect();
        let mut rng = Seeded::new(order);
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, rng.below(index as u64 + 1) as usize);
        }
        let mut other = State::default();
        shuffled.into_iter().for_each(|(op, stamp, void)| { other.apply(op, *stamp, *void); });
        prop_assert_eq!(forward, other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// I1 and I2 on whole replicas: entries delivered in any order, with repetitions.
    #[test]
    fn entries_in_any_order_lead_to_one_state(seed in any::<u64>(), turns in vec((0_usize..3, 0_u8..6), 1..14)) {
        let mut world = World::of(seed, 3);
        let mut records = Vec::new();
        for (device, action) in turns {
            let record = records.get(usize::from(action) * 7 % records.len().max(1)).copied();
            match (action, record) {
                (0..2, _) | (_, None) => records.push(world.put(device)),
                (2, Some(record)) => world.delete(device, record),
                (3, Some(record)) => {
                    let value = vec![device as u8];
                    world.tell(device, Event::Local(vec![Op::Set { record, number: 1, value, by_user: true }]));
                }
                (4, Some(_)) => { world.sync(device); }
                _ => world.now_ms += 500,
            }
        }
        let journal = world.devices[0].journal().clone();
        world.settle();
        world.assert_equal(&[0, 1, 2]);
        prop_assert!(world.alarms.is_empty(), "{:?}", world.alarms);
        let mut entries = world.mailbox.with(|held| held.clone());
        let mut rng = Seeded::new(!seed);
        for index in (1..entries.len()).rev() {
            entries.swap(index, rng.below(index as u64 + 1) as usize);
        }
        let mut late = Replica::open(journal.iter().map(Vec::as_slice), rng.fork()).unwrap();
        for (_, sealed) in entries.iter().chain(&entries) {
            late.handle(world.now_ms, Event::Received(sealed.clone()));
        }
        prop_assert_eq!(late.state(), world.devices[0].replica().state());
    }
}
