//! The key under which a board's store is sealed: random, made at the first start, kept in a sector before the store.
//!
//! No two boards have the same one. Where the chip has memory that a probe cannot read, a secret from there is mixed in;
//! where it has none, a thief with a probe reads this sector with the rest, and the key protects nothing from him.
//!
//! # Layout of the sector
//! | offset | size | what |
//! |---|---|---|
//! | 0 | 8 | magic `DPKROOT1` |
//! | 8 | 32 | random bytes |
//! | 40 | 16 | check: the first half of SHA-256 over 0 to 39 |
//! | 56 | 8 | commit: zeros once the rest is whole |
//!
//! # What a power cut leaves
//! The commit is the last write, and the store is not begun before. A sector without a commit is therefore made anew while
//! the store is blank; where the store is not, something else has destroyed the key, and nothing is written.

use doppelkey_core::StoreError;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// The key everything in a store is sealed under.
pub type RootKey = Zeroizing<[u8; 32]>;

/// What is behind the key's sector: the store's part of the flash.
pub struct Rest<F>(F);

/// Reads the key from the flash's first erase sector, or makes it at the first start; the rest is the store's.
///
/// `chip_secret` is what the chip keeps where no probe reads it. It is part of the key: with another one, or none, the
/// store cannot be opened.
///
/// # Errors
/// [`StoreError::Fault`] if the sector holds no whole key and the store is not blank, or if the flash refuses.
pub fn open<F: NorFlash>(
    mut flash: F,
    chip_secret: Option<&[u8; 32]>,
    rng: &mut impl CryptoRng,
) -> Result<(RootKey, Rest<F>), StoreError> {
    let mut sector = Zeroizing::new([0; SIZE]);
    flash.read(0, sector.as_mut()).map_err(fault)?;
    if !is_whole(&sector) {
        if !is_blank(&mut flash)? {
            return Err(StoreError::Fault);
        }
        make(&mut flash, &mut sector, rng)?;
    }
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&sector[8..40])
        .expect("HMAC takes a key of any length")
        .chain_update(b"doppelkey root 1");
    if let Some(secret) = chip_secret {
        mac.update(secret);
    }
    Ok((Zeroizing::new(mac.finalize().into_bytes().into()), Rest(flash)))
}

fn make<F: NorFlash>(
    flash: &mut F,
    sector: &mut [u8; SIZE],
    rng: &mut impl CryptoRng,
) -> Result<(), StoreError> {
    flash.erase(0, F::ERASE_SIZE as u32).map_err(fault)?;
    sector[..8].copy_from_slice(MAGIC);
    rng.fill_bytes(&mut sector[8..40]);
    let digest = Sha256::digest(&sector[..40]);
    sector[40..COMMIT].copy_from_slice(&digest[..COMMIT - 40]);
    sector[COMMIT..].fill(0);
    flash.write(0, &sector[..COMMIT]).map_err(fault)?;
    flash.write(COMMIT as u32, &sector[COMMIT..]).map_err(fault)?;
    sector.zeroize();
    flash.read(0, sector).map_err(fault)?;
    is_whole(sector).then_some(()).ok_or(StoreError::Fault)
}

fn is_whole(sector: &[u8; SIZE]) -> bool {
    let digest = Sha256::digest(&sector[..40]);
    sector[..8] == *MAGIC && sector[40..COMMIT] == digest[..COMMIT - 40] && sector[COMMIT..] == [0; 8]
}

/// Whether nothing is behind the key's sector.
fn is_blank<F: NorFlash>(flash: &mut F) -> Result<bool, StoreError> {
    let mut chunk = [0; 64];
    let (mut place, end) = (F::ERASE_SIZE as u32, flash.capacity() as u32);
    while place < end {
        flash.read(place, &mut chunk).map_err(fault)?;
        if chunk != [0xFF; 64] {
            return Ok(false);
        }
        place += 64;
    }
    Ok(true)
}

impl<F> Rest<F> {
    /// The whole flash again.
    pub fn into_whole(self) -> F {
        self.0
    }
}

impl<F: ErrorType> ErrorType for Rest<F> {
    type Error = F::Error;
}

impl<F: NorFlash> ReadNorFlash for Rest<F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(F::ERASE_SIZE as u32 + offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity() - F::ERASE_SIZE
    }
}

impl<F: NorFlash> NorFlash for Rest<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0.erase(F::ERASE_SIZE as u32 + from, F::ERASE_SIZE as u32 + to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.write(F::ERASE_SIZE as u32 + offset, bytes)
    }
}

fn fault<E>(_: E) -> StoreError {
    StoreError::Fault
}

const MAGIC: &[u8; 8] = b"DPKROOT1";
const COMMIT: usize = 56;
const SIZE: usize = 64;
