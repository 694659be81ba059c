//! What is not as it was written is refused, and left alone.

use doppelkey_core::{CredentialStore as _, Slot};
use zeroize::Zeroizing;

use super::platter::Platter;
use super::{create, credential, open};
use crate::vault::VaultError;

/// A vault whose file has a few records of each kind, none of which no longer counts.
fn written() -> (Platter, Vec<u8>) {
    let platter = Platter::default();
    let mut vault = create(&platter).expect("memory takes a vault");
    vault.put(&credential(1), None).expect("there is room");
    vault.next_sign_count(Some(&credential(1).id)).expect("it is here");
    vault.write(Slot::Pin, &[7; 40]).expect("there is room");
    vault.put(&credential(2), None).expect("there is room");
    drop(vault);
    let bytes = platter.bytes();
    (platter, bytes)
}

#[test]
fn a_flipped_bit_anywhere_is_refused_with_file_and_offset_and_the_file_left_alone() {
    let (platter, bytes) = written();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        platter.set(&damaged);
        match open(&platter) {
            Err(VaultError::Corrupt { file, offset, .. }) => {
                assert!(offset <= at as u64, "byte {at} was found damaged only at {offset}");
                assert_eq!(file.to_str(), Some("vault"));
            }
            Err(VaultError::NotAVault { .. }) => assert!(at < 8, "byte {at}"),
            Err(VaultError::NewerFormat { .. }) => assert!((8..10).contains(&at), "byte {at}"),
            Err(VaultError::WrongKey { .. }) => assert!(at < 200, "byte {at}: only the header's tag"),
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(platter.bytes(), damaged, "byte {at}: the file was touched");
    }
}

#[test]
fn records_cannot_be_left_out_doubled_or_exchanged() {
    let (platter, bytes) = written();
    let starts = record_starts(&bytes);
    let refused = |bytes: &[u8], what: &str| {
        platter.set(bytes);
        assert!(matches!(open(&platter), Err(VaultError::Corrupt { .. })), "{what}");
        assert_eq!(platter.bytes(), bytes, "{what}: the file was touched");
    };
    for pair in starts.windows(3) {
        let &[first, second, end] = pair else { continue };
        refused(&[&bytes[..first], &bytes[second..]].concat(), "left out");
        refused(&[&bytes[..second], &bytes[first..]].concat(), "doubled");
        let exchanged = [&bytes[..first], &bytes[second..end], &bytes[first..second], &bytes[end..]].concat();
        refused(&exchanged, "exchanged");
    }
}

#[test]
fn a_record_of_another_file_of_the_same_vault_is_refused() {
    let (platter, bytes) = written();
    // A rewrite gives the file another salt; its records have the same sequence numbers.
    let mut vault = open(&platter).expect("it opens");
    vault.reset().expect("it can be reset");
    vault.put(&credential(1), None).expect("there is room");
    drop(vault);
    let rewritten = platter.bytes();
    let (old, new) = (record_starts(&bytes), record_starts(&rewritten));
    platter.set(&[&rewritten[..new[1]], &bytes[old[1]..old[2]]].concat());
    assert!(matches!(open(&platter), Err(VaultError::Corrupt { .. })));
}

#[test]
fn a_file_cut_below_what_it_was_made_with_is_refused() {
    let (platter, bytes) = written();
    let mut vault = open(&platter).expect("it opens");
    vault.remove(&credential(2).id).expect("it is here");
    drop(vault);
    // Opening rewrites: all records of the file are there from its first moment.
    drop(open(&platter).expect("it opens"));
    let made = platter.bytes();
    assert!(made.len() < bytes.len());
    for length in 0..made.len() {
        platter.set(&made[..length]);
        assert!(open(&platter).is_err(), "cut to {length} of {}", made.len());
        assert_eq!(platter.bytes_len(), length, "the file was touched");
    }
}

#[test]
fn another_key_is_told_from_damage() {
    let (platter, _) = written();
    let mut medium: Box<dyn crate::vault::medium::Medium> = Box::new(platter.clone());
    let file = std::path::Path::new("vault");
    let header = crate::vault::log::Log::header(&mut *medium, file).expect("it reads").expect("it is there");
    let opened = crate::vault::Vault::load(medium, file, header, Zeroizing::new([0x4C; 32]));
    assert!(matches!(opened, Err(VaultError::WrongKey { .. })));
}

/// Where each record starts, and the end.
fn record_starts(bytes: &[u8]) -> Vec<usize> {
    let mut at = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    let mut starts = vec![at];
    while at < bytes.len() {
        let body = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        at += 28 + body as usize + 16;
        starts.push(at);
    }
    starts
}
