//! The flash store under power cuts, bit errors, and years of use.

mod nor;

use std::collections::BTreeMap;

use doppelkey_core::testing::{PowerCut, Subject, conformance};
use doppelkey_core::{Algorithm, Credential, CredentialStore, PrivateKey, Slot, StoreError, User};
use doppelkey_firmware::flash_store::{COUNTER_BLOCK, FlashStore};
use doppelkey_firmware::shelf::{Shelf as _, name_of};
use nor::{Nor, SECTOR, TEARS, Tear};
use zeroize::Zeroizing;

/// Two banks of two sectors.
const SECTORS: usize = 4;

type Store = FlashStore<Nor, CountingRng, 16>;

/// One change, as the core would ask for it.
#[derive(Clone, Debug)]
enum Change {
    Put { id: u8, rp: u8, user: u8, replaces: Option<u8> },
    Remove(u8),
    Write(Slot, u8, usize),
    Keep(u8, usize),
    Clear,
    Reset,
}

/// What a store must show.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    credentials: BTreeMap<Vec<u8>, (u64, u8, u8)>,
    slots: BTreeMap<u8, Vec<u8>>,
    shelf: Vec<Vec<u8>>,
}

#[test]
fn the_flash_store_conforms() {
    struct InFlash;
    impl Subject for InFlash {
        type Store = Store;

        fn fresh(&mut self) -> Store {
            open(Nor::new(16)).expect("a blank flash can be opened")
        }

        fn cut_power(&mut self, store: &mut Store, cut: PowerCut) {
            let nor = store.flash();
            nor.cut = Some((nor.steps + cut.after as usize, tear(cut)));
        }

        fn restart(&mut self, store: Store, interrupted: Option<PowerCut>) -> Store {
            let mut nor = store.into_flash().powered();
            if let Some(cut) = interrupted {
                nor = match try_open(nor.cut_at(cut.after as usize, tear(cut))) {
                    Ok(nor) | Err((_, nor)) => nor.powered(),
                };
            }
            open(nor).expect("it recovers")
        }
    }

    fn tear(cut: PowerCut) -> Tear {
        match cut.survives {
            0 => Tear::Nothing,
            255 => Tear::All,
            odd if odd % 2 == 1 => Tear::Bits,
            _ => Tear::Prefix,
        }
    }

    conformance(&mut InFlash);
}

#[test]
fn a_power_cut_anywhere_leaves_the_old_or_the_new() {
    let mut cuts = 0;
    // Once opened, a store that is whole writes nothing when it is opened again.
    let mut nor = open(Nor::new(SECTORS)).expect("a blank flash can be opened").into_flash().powered();
    for (number, change) in life().into_iter().enumerate() {
        let (before, after, used) = apply_whole(&nor, &change);
        for step in 0..used.steps {
            for tear in TEARS {
                cuts += 1;
                let what = format!("change {number} {change:?}, cut in step {step}, {tear:?}");
                let cut = interrupted(&nor, &change, step, tear);
                let recovered = recover(cut.powered(), &what);
                let model = look(recovered);
                assert!(model == before || model == after, "{what}: {model:?}\n{before:?}\n{after:?}");
                if number % 7 == 3 && step % 3 == 0 && tear == Tear::Bits {
                    cuts += recover_under_cuts(&cut, &[&before, &after], &what);
                }
            }
        }
        nor = used.powered();
    }
    assert!(cuts > 2_000, "only {cuts} cuts");
}

#[test]
fn the_first_start_survives_a_power_cut_anywhere() {
    let blank = Nor::new(SECTORS);
    let steps = open(blank.clone()).expect("a blank flash can be opened").into_flash().steps;
    for step in 0..steps {
        for tear in TEARS {
            let Err((_, cut)) = try_open(blank.cut_at(step, tear)) else { panic!("not cut in step {step}") };
            let model = look(recover(cut.powered(), &format!("first start, step {step}, {tear:?}")));
            assert_eq!(model, Model::default());
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_does_no_harm() {
    let mut nor = Nor::new(SECTORS);
    for change in life().into_iter().take(23) {
        nor = apply_whole(&nor, &change).2;
    }
    let expected = look(open(nor.powered()).expect("it was whole"));
    let used = nor.cells.iter().rposition(|&byte| byte != 0xFF).expect("something was written");
    let (mut refused, mut harmless) = (0, 0);
    // Every byte, one bit of it; the bit is another one from byte to byte.
    for position in 0..used + 16 {
        let mut flipped = nor.powered();
        flipped.cells[position] ^= 1 << (position % 8);
        match open(flipped) {
            Err(error) => {
                assert_eq!(error, StoreError::Fault);
                refused += 1;
            }
            Ok(store) => {
                assert_eq!(look(store), expected, "byte {position}");
                harmless += 1;
            }
        }
    }
    assert!(refused > 1_000 && harmless > 16, "{refused} refused, {harmless} harmless");
}

#[test]
fn the_shelf_takes_a_quarter_of_the_store_and_no_more_and_a_reset_leaves_it() {
    let mut store = open(Nor::new(64)).expect("a blank flash can be opened");
    store.put(&credential(1, 1, 1), None).expect("there is room");
    let entry = |number: u8| vec![number; 1000];
    let kept = (0..).take_while(|&number| store.keep(&entry(number)).is_ok()).count();
    assert!((20..=31).contains(&kept), "{kept} entries of 1 kB in a bank of 128 kB");
    assert_eq!(store.keep(&entry(200)), Err(StoreError::Full));
    assert_eq!(store.keep(&entry(0)), Ok(()), "what is there needs no room");
    store.reset().expect("it can be reset");
    assert_eq!((store.len(), store.entries()), (Ok(0), kept));
    let mut store = open(store.into_flash().powered()).expect("it was whole");
    assert_eq!(store.entry(&name_of(&entry(3))), Ok(Some(&entry(3)[..])));
    store.clear().expect("it can be cleared");
    assert_eq!(store.keep(&[7; 4097]), Err(StoreError::Full), "longer than any");
    let kept = (0..).take_while(|number: &u16| store.keep(&number.to_le_bytes()).is_ok()).count();
    assert_eq!(kept, 64, "and no more than so many");
    let nor = store.into_flash();
    assert!(!nor.cells.windows(32).any(|cells| cells == [3; 32]), "sealed, and cleared");
}

#[test]
fn a_signature_counter_never_repeats_across_power_cuts() {
    let (mut nor, mut last, mut store_last) = (Nor::new(SECTORS), 0, 0);
    let mut store = open(nor).expect("a blank flash can be opened");
    let mut counted = credential(1, 1, 1);
    counted.sign_count = Some(41);
    store.put(&counted, None).expect("there is room");
    for round in 0..60 {
        for _ in 0..round % 40 {
            let count = store.next_sign_count(Some(&counted.id)).expect("it is here");
            assert!(count > last.max(41));
            assert!(count <= last.max(41) + COUNTER_BLOCK + 1, "{count} after {last}");
            last = count;
            let count = store.next_sign_count(None).expect("a store has a counter");
            assert!(count > store_last);
            store_last = count;
        }
        if round == 30 {
            store.reset().expect("it can be reset");
            store.put(&counted, None).expect("there is room");
            last = 41;
        }
        nor = store.into_flash();
        store = open(nor.powered()).expect("it was whole");
    }
    assert_eq!(store.next_sign_count(Some(b"nobody")), Err(StoreError::Fault));
}

#[test]
fn a_full_store_says_so_keeps_what_it_has_and_can_be_emptied() {
    let mut store = open(Nor::new(SECTORS)).expect("a blank flash can be opened");
    let mut stored = 0;
    loop {
        let promised = store.remaining().expect("it can be asked");
        match store.put(&credential(stored, 1, stored), None) {
            Ok(()) => stored += 1,
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                assert_eq!(promised, 0);
                break;
            }
        }
    }
    assert!(stored >= 4, "room for {stored} only");
    assert_eq!(store.len(), Ok(u32::from(stored)));
    // What a PIN needs goes on working, for longer than a bank lasts.
    for attempt in 0..100 {
        store.write(Slot::Pin, &[attempt; 100]).expect("a PIN's room is reserved");
    }
    let large = store.write(Slot::LargeBlobs, &[1; 4096]);
    assert_eq!(large, Err(StoreError::Full));
    // One can take another's place, and what is removed makes room.
    store.put(&credential(100, 1, 0), Some(&credential(0, 1, 0).id)).expect("it replaces one");
    for id in 1..stored {
        assert_eq!(store.remove(&credential(id, 1, id).id), Ok(true));
    }
    store.put(&credential(101, 1, 9), None).expect("there is room again");
    let mut store = open(store.into_flash().powered()).expect("it was whole");
    assert_eq!(store.len(), Ok(2));
    let mut pin = [0; 128];
    assert_eq!(store.read(Slot::Pin, &mut pin), Ok(Some(100)));
    assert_eq!(pin[0], 99);
}

#[test]
fn another_key_opens_nothing_and_changes_nothing() {
    let mut nor = Nor::new(SECTORS);
    for change in life().into_iter().take(5) {
        nor = apply_whole(&nor, &change).2;
    }
    let mut other = nor.powered();
    let opened = FlashStore::<_, _, 16>::open(&mut other, Zeroizing::new([9; 32]), CountingRng(1));
    assert!(opened.is_err());
    assert_eq!(other.cells, nor.cells);
    FlashStore::<&mut Nor, CountingRng, 16>::format(&mut &mut other).expect("it can be formatted");
    assert_eq!(look(open(other).expect("it is blank")), Model::default());
}

#[test]
fn reset_leaves_no_byte_of_what_was_there() {
    let mut store = open(Nor::new(SECTORS)).expect("a blank flash can be opened");
    for id in 0..4 {
        store.put(&credential(id, id, id), None).expect("there is room");
    }
    let before = store.into_flash();
    let mut store = open(before.powered()).expect("it was whole");
    store.reset().expect("it can be reset");
    let after = store.into_flash();
    assert!(!shares_a_sealed_chunk(&before, &after), "a part of a record is still there");
}

#[test]
fn a_shelf_that_is_cleared_leaves_no_byte_also_if_power_is_cut() {
    let mut store = open(Nor::new(SECTORS)).expect("a blank flash can be opened");
    store.put(&credential(1, 1, 1), None).expect("there is room");
    store.keep(&[1; 100]).expect("there is room");
    let before = store.into_flash();
    let steps = apply_whole(&before, &Change::Clear).2.steps;
    let mut outcomes = [0; 2];
    for step in open(before.powered()).expect("it was whole").into_flash().steps..steps {
        for tear in TEARS {
            let store =
                recover(interrupted(&before, &Change::Clear, step, tear).powered(), "clearing was cut off");
            let cleared = store.entries() == 0;
            let after = store.into_flash();
            assert_ne!(cleared, shares_a_sealed_chunk(&before, &after), "step {step}, {tear:?}");
            outcomes[usize::from(cleared)] += 1;
        }
    }
    assert!(outcomes.iter().all(|&count| count > 0), "the cuts are before and after: {outcomes:?}");
}

#[test]
fn clearing_the_shelf_takes_one_erase_of_a_bank() {
    for first in (1..=96).step_by(8) {
        let mut store = open(Nor::new(SECTORS)).expect("a blank flash can be opened");
        store.keep(&[1; 100]).expect("there is room");
        store.write(Slot::Identity, &vec![1; first]).expect("its room is reserved");
        let mut full = store.into_flash();
        // So full that the next record has no room.
        loop {
            let next = apply_whole(&full, &Change::Write(Slot::Pin, 1, 60)).2;
            if next.erases != full.erases {
                break;
            }
            full = next;
        }
        let cleared = apply_whole(&full, &Change::Clear).2;
        let erases = |nor: &Nor| nor.erases.iter().sum::<u32>();
        assert_eq!(erases(&cleared) - erases(&full), SECTORS as u32 / 2, "after {first} bytes");
    }
}

/// Ten years of a busy key: 50 sign-ins with a counter and 10 PIN entries a day, on the Pico's 2 × 64 kB.
#[test]
fn ten_years_of_use_take_a_small_part_of_the_erases_a_flash_is_rated_for() {
    let mut store = open(Nor::new(32)).expect("a blank flash can be opened");
    for id in 0..10 {
        let mut counted = credential(id, id, id);
        counted.sign_count = Some(0);
        store.put(&counted, None).expect("there is room");
    }
    let days = 365;
    for day in 0..days {
        for sign_in in 0..50 {
            let id = (sign_in % 10) as u8;
            store.next_sign_count(Some(&credential(id, id, id).id)).expect("it is here");
        }
        for _ in 0..10 {
            store.write(Slot::Pin, &[day as u8; 60]).expect("a PIN's room is reserved");
            store.write(Slot::Pin, &[day as u8; 60]).expect("a PIN's room is reserved");
        }
    }
    let most = store.into_flash().erases.into_iter().max().expect("there are sectors");
    let ten_years = most * 10;
    println!("erases of the busiest sector in ten years: {ten_years} of 100,000");
    assert!(most > 0 && ten_years < 5_000, "{ten_years}");
}

/// A life long enough for several copies, with every kind of change.
fn life() -> Vec<Change> {
    use Change::{Clear, Keep, Put, Remove, Reset, Write};
    let mut life = vec![Write(Slot::Identity, 1, 96), Write(Slot::Sync, 2, 200)];
    for round in 0..6 {
        for id in 0..4 {
            life.push(Put { id: round * 8 + id, rp: id % 3, user: id, replaces: None });
            life.push(Write(Slot::Pin, 8 - id, 64));
        }
        life.push(Put { id: round * 8 + 1, rp: 1, user: 1, replaces: None });
        life.push(Put { id: round * 8 + 5, rp: 2, user: 2, replaces: Some(round * 8 + 2) });
        life.push(Write(Slot::LargeBlobs, round, 900));
        life.push(Remove(round * 8));
        life.push(Write(Slot::Configuration, round, 40));
        match round {
            1 => life.extend([Keep(1, 100), Keep(2, 60)]),
            3 => life.push(Keep(3, 50)),
            4 => life.push(Clear),
            _ => {}
        }
        if round == 2 {
            life.push(Reset);
            life.push(Write(Slot::Identity, 3, 96));
        }
        life.push(Remove(round * 8 + 3));
    }
    life
}

/// The models before and after a change, and the flash after it.
fn apply_whole(nor: &Nor, change: &Change) -> (Model, Model, Nor) {
    let before = look(open(nor.powered()).expect("it was whole"));
    let mut store = open(nor.powered()).expect("it was whole");
    apply(&mut store, change).expect("power was not cut");
    let used = store.into_flash();
    let after = look(open(used.powered()).expect("it was whole"));
    (before, after, used)
}

/// Whether something sealed of the one flash stands in the other, too.
fn shares_a_sealed_chunk(before: &Nor, after: &Nor) -> bool {
    let sealed = before.cells.chunks(16).filter(|chunk| chunk.iter().any(|&byte| byte != 0xFF && byte != 0));
    let mut sealed = sealed.filter(|chunk| !chunk.starts_with(b"DPKERASE"));
    sealed.any(|chunk| after.cells.chunks(16).any(|other| other == chunk))
}

/// The flash after a change that lost power.
fn interrupted(nor: &Nor, change: &Change, step: usize, tear: Tear) -> Nor {
    let mut store = open(nor.cut_at(step, tear)).expect("the cut comes later");
    assert!(apply(&mut store, change).is_err(), "{change:?} was answered without power");
    store.into_flash()
}

/// Power is cut again, everywhere in the recovery.
fn recover_under_cuts(cut: &Nor, allowed: &[&Model], what: &str) -> usize {
    let steps = recover(cut.powered(), what).into_flash().steps;
    for step in 0..steps {
        for tear in [Tear::Nothing, Tear::Bits] {
            let Err((_, twice)) = try_open(cut.cut_at(step, tear)) else { panic!("not cut in step {step}") };
            let model =
                look(recover(twice.powered(), &format!("{what}, and in step {step} of the recovery")));
            assert!(allowed.contains(&&model), "{what}, and in step {step} of the recovery: {model:?}");
        }
    }
    steps * 2
}

fn recover(nor: Nor, what: &str) -> Store {
    open(nor).unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

fn apply(store: &mut Store, change: &Change) -> Result<(), StoreError> {
    match *change {
        Change::Put { id, rp, user, replaces } => {
            let replaces = replaces.map(|id| credential(id, 0, 0).id);
            store.put(&credential(id, rp, user), replaces.as_deref())
        }
        Change::Remove(id) => store.remove(&credential(id, 0, 0).id).map(|_| ()),
        Change::Write(slot, byte, length) => store.write(slot, &vec![byte; length]),
        Change::Keep(byte, length) => store.keep(&vec![byte; length]),
        Change::Clear => store.clear(),
        Change::Reset => store.reset(),
    }
}

/// Everything a store shows, asked for in every way there is.
fn look(mut store: Store) -> Model {
    let mut model = Model::default();
    let mut after = None;
    while let Some(first) = store.next_rp(after.as_ref()).expect("it is whole") {
        let mut before = u64::MAX;
        while let Some(one) = store.newest_before(&first.rp_id_hash, before).expect("it is whole") {
            assert!(one.order < before);
            assert_eq!(store.get(&one.id), Ok(Some(one.clone())));
            before = one.order;
            model.credentials.insert(one.id.to_vec(), (one.order, one.rp_id_hash[0], one.user.id[0]));
        }
        after = Some(first.rp_id_hash);
    }
    assert_eq!(store.len(), Ok(model.credentials.len() as u32));
    for slot in Slot::ALL {
        let mut buffer = [0; 4096];
        if let Some(length) = store.read(slot, &mut buffer).expect("it is whole") {
            model.slots.insert(slot as u8, buffer[..length].to_vec());
        }
    }
    for index in 0..store.entries() {
        let name = store.name(index).expect("there are so many");
        let entry = store.entry(&name).expect("it is whole").expect("it was listed").to_vec();
        assert_eq!(name_of(&entry), name);
        model.shelf.push(entry);
    }
    model
}

fn open(nor: Nor) -> Result<Store, StoreError> {
    FlashStore::open(nor, Zeroizing::new([7; 32]), CountingRng(1))
}

/// Opens, and gives the flash back if that fails.
fn try_open(mut nor: Nor) -> Result<Nor, (StoreError, Nor)> {
    match FlashStore::<_, _, 16>::open(&mut nor, Zeroizing::new([7; 32]), CountingRng(1)).map(|_| ()) {
        Ok(()) => Ok(nor),
        Err(error) => Err((error, nor)),
    }
}

fn credential(id: u8, rp: u8, user: u8) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[&[id], &[0x5A; 31][..]].concat()).expect("32 bytes fit"),
        rp_id: "example.com".try_into().expect("it fits"),
        user: User { id: heapless::Vec::from_slice(&[user; 16]).expect("it fits"), ..User::default() },
        ..Credential::new(
            [rp; 32],
            PrivateKey::from_bytes(Algorithm::Es256, &[id | 1; 32]).expect("it is a scalar"),
        )
    }
}

/// Repeatable "randomness" that never repeats.
struct CountingRng(u64);

impl rand_core::TryRng for CountingRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|number| number as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for CountingRng {}

const _: () = assert!(SECTOR * SECTORS == 16 * 1024);
