//! Tests of the whole vault, on a medium whose power can be cut.

mod damage;
mod platter;

use std::path::Path;

use doppelkey_core::testing::{PowerCut, Subject, conformance};
use doppelkey_core::{Credential, CredentialStore as _, Slot, StoreError};
use zeroize::Zeroizing;

use self::platter::Platter;
use super::custody::CustodyRecord;
use super::error::VaultError;
use super::log::Log;
use super::medium::Medium;
use super::seal::VaultKey;
use super::{COUNTER_BLOCK, LOOK_MIN, Notice, Vault};

#[test]
fn the_vault_conforms_on_a_medium_whose_power_is_cut_at_every_step() {
    conformance(&mut OnPlatter::default());
}

#[test]
fn the_ephemeral_vault_conforms() {
    struct InMemory;
    impl Subject for InMemory {
        type Store = Vault;

        fn fresh(&mut self) -> Vault {
            Vault::ephemeral().expect("memory takes a vault")
        }

        fn cut_power(&mut self, _: &mut Vault, _: PowerCut) {}

        fn restart(&mut self, store: Vault, _: Option<PowerCut>) -> Vault {
            store
        }
    }
    conformance(&mut InMemory);
}

#[test]
fn a_creation_that_was_cut_leaves_no_vault_or_a_whole_one() {
    for survives in [0, 90, 91, 255] {
        for after in 0..12 {
            let platter = Platter::default();
            platter.cut(PowerCut { after, survives });
            let created = create(&platter);
            platter.restart();
            let header = Log::header(&mut platter.clone(), Path::new("vault")).expect("no half a header");
            assert!(created.is_err() || header.is_some(), "a created vault is there");
            if header.is_some() {
                assert_eq!(open(&platter).expect("it opens").len(), Ok(0));
            }
        }
    }
}

#[test]
fn a_torn_tail_is_dropped_and_told() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.put(&credential(1), None).expect("there is room");
    let whole = platter.bytes().len();
    vault.put(&credential(2), None).expect("there is room");
    drop(vault);
    let all = platter.bytes();
    for length in whole + 1..all.len() {
        platter.set(&all[..length]);
        let mut vault = open(&platter).expect("a torn tail is no damage");
        let torn = Notice::TornTail { offset: whole as u64, length: (length - whole) as u64 };
        assert_eq!(vault.notices(), [torn]);
        assert_eq!(vault.len(), Ok(1));
        drop(vault);
        assert_eq!(open(&platter).expect("it was recovered").notices(), [], "it is told once");
    }
}

#[test]
fn a_tail_whose_length_came_before_its_bytes_is_torn_wherever_the_sectors_end() {
    for padding in 0..512 {
        let platter = Platter::default();
        let mut vault = create(&platter).expect("memory takes a vault");
        vault.write(Slot::Sync, &vec![1; padding]).expect("there is room");
        let whole = platter.bytes().len();
        vault.write(Slot::Sync, &[2; 700]).expect("there is room");
        drop(vault);
        let mut bytes = platter.bytes();
        let sector = (bytes.len() - 1) / 512 * 512;
        bytes[sector.max(whole)..].fill(0);
        // Where that is one byte, it may be a zero by nature.
        if bytes == platter.bytes() {
            continue;
        }
        platter.set(&bytes);
        let mut vault = open(&platter).expect("a torn tail is no damage");
        assert_eq!(vault.read(Slot::Sync, &mut [0; 1024]), Ok(Some(padding)));
    }
}

#[test]
fn a_tail_any_of_whose_sectors_came_after_the_others_is_torn() {
    for padding in (0..512).step_by(7) {
        let platter = Platter::default();
        let mut vault = create(&platter).expect("memory takes a vault");
        vault.write(Slot::Sync, &vec![1; padding]).expect("there is room");
        let whole = platter.bytes().len();
        vault.write(Slot::Sync, &[2; 2000]).expect("there is room");
        drop(vault);
        let all = platter.bytes();
        for sector in whole / 512..all.len().div_ceil(512) {
            let mut bytes = all.clone();
            let missing = (sector * 512).max(whole)..(sector * 512 + 512).min(all.len());
            // Of so few bytes, some are zeros by nature.
            if missing.len() < 8 {
                continue;
            }
            bytes[missing].fill(0);
            platter.set(&bytes);
            let mut vault =
                open(&platter).unwrap_or_else(|error| panic!("{padding}, sector {sector}: {error}"));
            assert_eq!(vault.read(Slot::Sync, &mut [0; 4096]), Ok(Some(padding)), "sector {sector}");
        }
    }
}

#[test]
fn a_sector_that_went_bad_before_the_last_record_is_no_torn_tail() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.write(Slot::Sync, &[1; 1500]).expect("there is room");
    vault.write(Slot::Pin, &[2; 40]).expect("there is room");
    vault.write(Slot::Pin, &[3; 700]).expect("there is room");
    drop(vault);
    let all = platter.bytes();
    for sector in 1..(all.len() - 800) / 512 {
        let mut bytes = all.clone();
        bytes[sector * 512..][..512].fill(0);
        platter.set(&bytes);
        assert!(matches!(open(&platter), Err(VaultError::Corrupt { .. })), "sector {sector}");
        assert_eq!(platter.bytes(), bytes, "sector {sector}: the file was touched");
    }
}

#[test]
fn what_a_reset_forgot_is_no_longer_in_the_file() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    let empty = platter.bytes().len();
    for number in 0..20 {
        vault.put(&credential(number), None).expect("there is room");
    }
    vault.write(Slot::Pin, &[1; 64]).expect("there is room");
    assert!(platter.bytes().len() > empty + 20 * 100);
    vault.reset().expect("it can be reset");
    assert_eq!(platter.bytes().len(), empty);
}

#[test]
fn signature_counters_are_written_once_in_a_block() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.put(&credential(1), None).expect("there is room");
    let id = credential(1).id;
    vault.next_sign_count(Some(&id)).expect("it is here");
    let length = platter.bytes().len();
    for _ in 1..COUNTER_BLOCK {
        vault.next_sign_count(Some(&id)).expect("it is here");
    }
    assert_eq!(platter.bytes().len(), length);
    vault.next_sign_count(Some(&id)).expect("it is here");
    assert!(platter.bytes().len() > length);
}

#[test]
fn no_signature_counter_comes_twice_wherever_the_power_is_cut() {
    let id = credential(1).id;
    let mut cuts = 0;
    for (survives, after) in
        [0, 90, 255].into_iter().flat_map(|survives| (0..24).map(move |at| (survives, at)))
    {
        let platter = Platter::default();
        let mut vault = create(&platter).expect("memory takes a vault");
        vault.put(&credential(1), None).expect("there is room");
        platter.cut(PowerCut { after, survives });
        // The passkey's, and the authenticator's own.
        let mut last = [None, None];
        'power: for _ in 0..4 * COUNTER_BLOCK {
            for (last, of) in last.iter_mut().zip([Some(&id[..]), None]) {
                let Ok(count) = vault.next_sign_count(of) else {
                    cuts += 1;
                    break 'power;
                };
                assert!(Some(count) > *last, "{count} after {last:?}");
                *last = Some(count);
            }
        }
        drop(vault);
        platter.restart();
        let mut vault = open(&platter).expect("it opens");
        for (last, of) in last.into_iter().zip([Some(&id[..]), None]) {
            let count = vault.next_sign_count(of).expect("it is here");
            assert!(Some(count) > last, "{count} after {last:?}, cut after {after}, {survives} survive");
        }
    }
    assert!(cuts > 20, "the power was cut {cuts} times only");
}

#[test]
fn a_log_of_the_past_is_rewritten_while_it_is_used() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.put(&credential(1), None).expect("there is room");
    let mut longest = 0;
    for count in 0..LOOK_MIN * 3 / 2 {
        vault.write(Slot::Pin, &count.to_le_bytes()).expect("there is room");
        longest = longest.max(platter.bytes_len());
    }
    assert!(platter.bytes_len() < longest * 2 / 3, "{} of {longest}", platter.bytes_len());
    let mut pin = [0; 8];
    assert_eq!(vault.read(Slot::Pin, &mut pin), Ok(Some(8)));
    assert_eq!(u64::from_le_bytes(pin), LOOK_MIN * 3 / 2 - 1);
    assert_eq!(vault.get(&credential(1).id).map(|found| found.is_some()), Ok(true));
}

#[test]
fn after_a_failed_sync_that_file_is_not_believed_and_the_next_write_makes_a_new_one() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.put(&credential(1), None).expect("there is room");
    platter.cut(PowerCut { after: 1, survives: 0 });
    assert_eq!(vault.put(&credential(2), None), Err(StoreError::Fault));
    let before = platter.bytes();
    assert_eq!(vault.put(&credential(2), None), Err(StoreError::Fault), "it still fails");
    assert_eq!(platter.bytes(), before, "nothing is added behind what may not be there");
    assert_eq!(vault.get(&credential(2).id), Ok(None), "what was not answered is not here");
    platter.restart_power_only();
    vault.put(&credential(3), None).expect("the medium works again");
    assert_ne!(platter.bytes()[..60], before[..60], "another file, with a salt of its own");
    drop(vault);
    platter.cut(PowerCut { after: 0, survives: 0 });
    assert!(platter.clone().sync().is_err(), "the power goes");
    platter.restart();
    let mut vault = open(&platter).expect("a cut is no damage");
    let there = |number| vault.get(&credential(number).id).map(|found| found.is_some());
    assert_eq!([1, 2, 3].map(there), [Ok(true), Ok(false), Ok(true)]);
}

#[test]
fn whatever_step_fails_in_passing_everything_that_was_answered_is_there_and_it_goes_on() {
    for failing in 0..12 {
        for survives in [0, 255] {
            let platter = Platter::default();
            let mut vault = create(&platter).expect("memory takes a vault");
            vault.put(&credential(1), None).expect("there is room");
            let mut answered = vec![1];
            // The step that fails is one of a put, or of the new file that is made after a failed sync.
            platter.cut(PowerCut { after: 1, survives });
            assert_eq!(vault.put(&credential(2), None), Err(StoreError::Fault));
            platter.restart_power_only();
            platter.cut(PowerCut { after: failing, survives });
            for number in 3..6 {
                if vault.put(&credential(number), None).is_ok() {
                    answered.push(number);
                }
            }
            platter.restart_power_only();
            vault.put(&credential(6), None).expect("the medium works again");
            answered.push(6);
            let all_there = |vault: &mut Vault, when| {
                for number in &answered {
                    let found = vault.get(&credential(*number).id).expect("it can be read");
                    assert!(found.is_some(), "{number} is not there {when}, step {failing} failed");
                }
            };
            all_there(&mut vault, "at once");
            drop(vault);
            platter.cut(PowerCut { after: 0, survives });
            assert!(platter.clone().sync().is_err(), "the power goes");
            platter.restart();
            all_there(&mut open(&platter).expect("a cut is no damage"), "after a power cut");
        }
    }
}

#[test]
fn a_vault_whose_medium_takes_nothing_opens_reads_and_goes_on_when_it_does_again() {
    for torn in [false, true] {
        let platter = Platter::default();
        let mut vault = create(&platter).expect("memory takes a vault");
        // The second one of an account leaves the first behind in the file.
        vault.put(&credential(1), None).expect("there is room");
        vault.put(&credential(1), None).expect("there is room");
        let whole = platter.bytes();
        vault.put(&credential(2), None).expect("there is room");
        drop(vault);
        let mut before = platter.bytes();
        before.truncate(whole.len() + if torn { 40 } else { 0 });
        for step in 0..6 {
            platter.set(&before);
            platter.cut(PowerCut { after: step, survives: 255 });
            let mut vault = open(&platter).expect("what is there can be read");
            assert!(vault.get(&credential(1).id).expect("it reads").is_some());
            let failed = vault.notices().iter().any(|notice| matches!(notice, Notice::NotRewritten { .. }));
            assert_eq!(failed, step < 5, "step {step}: {:?}", vault.notices());
            platter.restart_power_only();
            vault.put(&credential(3), None).expect("the medium works again");
            drop(vault);
            platter.restart();
            let mut vault = open(&platter).expect("it opens again");
            assert_eq!(vault.len(), Ok(2), "step {step}");
            assert!(vault.get(&credential(3).id).expect("it reads").is_some());
        }
    }
}

#[test]
fn a_record_too_long_for_its_slot_is_refused_and_changes_nothing() {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    let before = platter.bytes();
    assert_eq!(
        vault.write(Slot::LargeBlobs, &[0; doppelkey_core::LARGE_BLOBS_MAX + 1]),
        Err(StoreError::Full)
    );
    assert_eq!(platter.bytes(), before);
}

/// The vault on a platter. The suite has one store at a time.
#[derive(Default)]
struct OnPlatter {
    platter: Platter,
}

impl Subject for OnPlatter {
    type Store = Vault;

    fn fresh(&mut self) -> Vault {
        self.platter = Platter::default();
        create(&self.platter).expect("an empty platter takes a vault")
    }

    fn cut_power(&mut self, _: &mut Vault, cut: PowerCut) {
        self.platter.cut(cut);
    }

    fn restart(&mut self, store: Vault, interrupted: Option<PowerCut>) -> Vault {
        drop(store);
        self.platter.restart();
        if let Some(cut) = interrupted {
            self.platter.cut(cut);
            drop(open(&self.platter));
            self.platter.restart();
        }
        open(&self.platter).expect("a cut is no damage")
    }
}

fn key() -> VaultKey {
    Zeroizing::new([0x4B; 32])
}

fn create(platter: &Platter) -> Result<Vault, VaultError> {
    let medium: Box<dyn Medium> = Box::new(platter.clone());
    Vault::create(medium, Path::new("vault"), [0x1D; 16], CustodyRecord::ephemeral(), key())
}

fn open(platter: &Platter) -> Result<Vault, VaultError> {
    let mut medium: Box<dyn Medium> = Box::new(platter.clone());
    let header = Log::header(&mut *medium, Path::new("vault"))?.expect("there is a vault");
    Vault::load(medium, Path::new("vault"), header, key())
}

fn credential(number: u8) -> Credential {
    use doppelkey_core::{Algorithm, PrivateKey, User};
    Credential {
        id: heapless::Vec::from_slice(&[number; 16]).expect("16 bytes fit"),
        rp_id: heapless::String::try_from("example.test").expect("it fits"),
        user: User { id: heapless::Vec::from_slice(&[number]).expect("it fits"), ..User::default() },
        sign_count: Some(0),
        ..Credential::new(
            [number % 3; 32],
            PrivateKey::from_bytes(Algorithm::Es256, &[number.max(1); 32]).expect("a small scalar is a key"),
        )
    }
}
