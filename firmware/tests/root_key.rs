//! The root key: another one on every board, the same at every start, and there is no power cut that loses it.

mod nor;

use doppelkey_core::{CredentialStore, Slot, StoreError};
use doppelkey_firmware::flash_store::FlashStore;
use doppelkey_firmware::rng::Rng;
use doppelkey_firmware::root_key::{self, RootKey};
use nor::{Nor, SECTOR, TEARS};

/// The key's sector, and two banks of two.
const SECTORS: usize = 5;

fn rng(seed: u8) -> Rng {
    Rng::from_seed([seed; 32])
}

fn open_store(
    nor: Nor,
    secret: Option<&[u8; 32]>,
    rng: &mut Rng,
) -> Result<FlashStore<root_key::Rest<Nor>, Rng, 16>, StoreError> {
    let (root, rest) = root_key::open(nor, secret, rng)?;
    FlashStore::open(rest, root, rng.fork())
}

fn key(nor: Nor, secret: Option<&[u8; 32]>, seed: u8) -> Result<(RootKey, Nor), StoreError> {
    root_key::open(nor, secret, &mut rng(seed)).map(|(key, rest)| (key, rest.into_whole()))
}

#[test]
fn every_board_has_a_key_of_its_own_and_keeps_it() {
    let (key_1, nor) = key(Nor::new(SECTORS), None, 1).expect("a blank flash gets a key");
    let (other, _) = key(Nor::new(SECTORS), None, 2).expect("a blank flash gets a key");
    assert_ne!(key_1, other);
    let written = nor.cells.clone();
    let (again, nor) = key(nor.powered(), None, 3).expect("it is there");
    assert_eq!(key_1, again);
    assert_eq!(nor.cells, written, "nothing is written at a later start");
    assert_ne!(&nor.cells[8..40], key_1.as_slice(), "what is sealed with is derived from it");
}

#[test]
fn a_secret_of_the_chip_is_a_part_of_the_key() {
    let (with, nor) = key(Nor::new(SECTORS), Some(&[7; 32]), 1).expect("a blank flash gets a key");
    let (without, nor) = key(nor.powered(), None, 1).expect("it is there");
    let (with_another, nor) = key(nor.powered(), Some(&[8; 32]), 1).expect("it is there");
    assert!(with != without && with != with_another && without != with_another);
    // And a flash that is moved to another chip does not open there.
    let store = open_store(nor.powered(), Some(&[7; 32]), &mut rng(1)).expect("a blank store");
    let nor = store.into_flash().into_whole();
    assert!(open_store(nor.powered(), Some(&[8; 32]), &mut rng(1)).is_err());
    assert!(open_store(nor.powered(), Some(&[7; 32]), &mut rng(1)).is_ok());
}

#[test]
fn a_power_cut_anywhere_in_the_first_start_is_recovered_from() {
    let blank = Nor::new(SECTORS);
    let steps = open_store(blank.clone(), None, &mut rng(1))
        .expect("a blank flash can be opened")
        .into_flash()
        .into_whole()
        .steps;
    assert!(steps >= 8, "{steps} writes and erases");
    for step in 0..steps {
        for tear in TEARS {
            let mut cut = blank.cut_at(step, tear);
            let opened = root_key::open(&mut cut, None, &mut rng(1))
                .and_then(|(root, rest)| FlashStore::<_, _, 16>::open(rest, root, rng(1)).map(|_| ()));
            assert!(opened.is_err(), "it was cut");
            let mut store = open_store(cut.powered(), None, &mut rng(2))
                .unwrap_or_else(|error| panic!("step {step}, {tear:?}: {error:?}"));
            store.write(Slot::Pin, &[step as u8; 60]).expect("there is room");
            let nor = store.into_flash().into_whole();
            let mut store = open_store(nor.powered(), None, &mut rng(3)).expect("its key is kept");
            let mut pin = [0; 128];
            assert_eq!(store.read(Slot::Pin, &mut pin), Ok(Some(60)));
            assert_eq!(pin[0], step as u8);
        }
    }
}

#[test]
fn a_lost_key_is_a_fault_and_nothing_is_written() {
    let store = open_store(Nor::new(SECTORS), None, &mut rng(1)).expect("a blank flash can be opened");
    let mut nor = store.into_flash().into_whole();
    nor.cells[..SECTOR].fill(0xFF);
    let mut lost = nor.powered();
    assert_eq!(root_key::open(&mut lost, None, &mut rng(2)).map(|_| ()), Err(StoreError::Fault));
    assert_eq!(lost.cells, nor.cells);
}
