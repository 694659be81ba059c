//! What a phone says over the air, to prove that it is near: 20 bytes in a BLE advertisement (CTAP §11.5.1.3).
//!
//! | offset | size | |
//! |---|---|---|
//! | 0 | 16 | an [`Eid`], one AES-256 block |
//! | 16 | 4 | the start of HMAC-SHA256 of that block |

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The length of an advertisement.
pub(super) const ADVERT_LENGTH: usize = 20;

/// What an advertisement holds.
///
/// | offset | size | |
/// |---|---|---|
/// | 0 | 1 | zero |
/// | 1 | 10 | nonce |
/// | 11 | 3 | routing id, given by the tunnel server |
/// | 14 | 2 | the tunnel server's domain, little-endian |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Eid {
    pub(super) nonce: [u8; 10],
    pub(super) routing_id: [u8; 3],
    pub(super) domain: u16,
}

impl Eid {
    /// The plaintext, which salts the handshake's pre-shared key.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[1..11].copy_from_slice(&self.nonce);
        bytes[11..14].copy_from_slice(&self.routing_id);
        bytes[14..].copy_from_slice(&self.domain.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; 16]) -> Option<Self> {
        let [0, nonce @ .., r0, r1, r2, d0, d1] = *bytes else { return None };
        Some(Eid { nonce, routing_id: [r0, r1, r2], domain: u16::from_le_bytes([d0, d1]) })
    }

    /// The advertisement.
    pub(super) fn seal(self, key: &[u8; 64]) -> [u8; ADVERT_LENGTH] {
        let (encryption, authentication) = halves(key);
        let mut block = self.to_bytes().into();
        Aes256::new(encryption.into()).encrypt_block(&mut block);
        let tag = mac(authentication, &block).finalize().into_bytes();
        let mut advert = [0; ADVERT_LENGTH];
        advert[..16].copy_from_slice(&block);
        advert[16..].copy_from_slice(&tag[..4]);
        advert
    }

    /// Reads an advertisement; `None` if it is another's: made with another key, or of no known form.
    pub(super) fn open(advert: &[u8; ADVERT_LENGTH], key: &[u8; 64]) -> Option<Self> {
        let (encryption, authentication) = halves(key);
        let (block, tag) = advert.split_first_chunk::<16>()?;
        mac(authentication, block).verify_truncated_left(tag).ok()?;
        let mut block = (*block).into();
        Aes256::new(encryption.into()).decrypt_block(&mut block);
        Eid::from_bytes(&block.into())
    }
}

fn halves(key: &[u8; 64]) -> (&[u8; 32], &[u8; 32]) {
    let (first, second) = key.split_at(32);
    let half = "half of 64 is 32";
    (first.try_into().expect(half), second.try_into().expect(half))
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(bytes);
    mac
}

/// The tunnel server that a domain stands for (CTAP §11.5.1.4): two are assigned; from 256, the name is a hash. `None`
/// for numbers that are not assigned.
pub fn tunnel_domain(domain: u16) -> Option<String> {
    const ASSIGNED: [&str; 2] = ["cable.ua5v.com", "cable.auth.com"];
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    const TOP: [&str; 4] = ["com", "org", "net", "info"];
    if domain < 256 {
        return ASSIGNED.get(usize::from(domain)).map(|name| (*name).to_owned());
    }
    let hash = Sha256::new_with_prefix(b"caBLEv2 tunnel server domain")
        .chain_update(domain.to_le_bytes())
        .chain_update([0])
        .finalize();
    let number = hash[..8].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let mut name = String::from("cable.");
    let mut rest = number >> 2;
    while rest != 0 {
        name.push(LETTERS[(rest & 31) as usize].into());
        rest >>= 5;
    }
    Some(format!("{name}.{}", TOP[(number & 3) as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hybrid::secrets::{Purpose, derive};

    const EID: Eid =
        Eid { nonce: [9, 139, 115, 107, 54, 169, 140, 185, 164, 47], routing_id: [9, 10, 11], domain: 511 };

    /// Heard from a phone, with the QR code's secret that it belongs to; published in another implementation's tests.
    #[test]
    fn an_advertisement_of_a_phone_is_read() {
        let secret = [1, 254, 166, 247, 196, 128, 116, 147, 220, 37, 111, 158, 172, 247, 86, 201];
        let advert =
            [2, 125, 132, 237, 96, 118, 181, 94, 36, 124, 131, 15, 130, 149, 94, 77, 18, 110, 127, 67];
        let heard = Eid::open(&advert, &derive(&secret, &[], Purpose::EidKey)).expect("it is for this code");
        let nonce = [139, 181, 197, 201, 164, 77, 145, 58, 94, 178];
        assert_eq!(heard, Eid { nonce, routing_id: [2, 101, 85], domain: 0 });
        let tunnel: [u8; 16] = *derive(&secret, &[], Purpose::TunnelId);
        assert_eq!(u128::from_be_bytes(tunnel), 0x367cbbf5f5085df4098476afe4b9b1d2);
    }

    #[test]
    fn only_who_has_the_code_reads_it() {
        let advert = EID.seal(&[7; 64]);
        assert_eq!(Eid::open(&advert, &[7; 64]), Some(EID));
        assert_eq!(Eid::open(&advert, &[8; 64]), None);
        for bit in 0..8 * ADVERT_LENGTH {
            let mut changed = advert;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Eid::open(&changed, &[7; 64]), None);
        }
    }

    #[test]
    fn the_reserved_byte_is_zero() {
        let mut bytes = EID.to_bytes();
        assert_eq!(Eid::from_bytes(&bytes), Some(EID));
        bytes[0] = 1;
        assert_eq!(Eid::from_bytes(&bytes), None);
    }

    #[test]
    fn tunnel_servers_are_assigned_or_hashed() {
        assert_eq!(tunnel_domain(0).as_deref(), Some("cable.ua5v.com"));
        assert_eq!(tunnel_domain(1).as_deref(), Some("cable.auth.com"));
        assert_eq!(tunnel_domain(255), None);
        assert_eq!(tunnel_domain(266).as_deref(), Some("cable.wufkweyy3uaxb.com"));
        assert_eq!(tunnel_domain(0xf980).as_deref(), Some("cable.my4kstlhndi4c.net"));
    }
}
