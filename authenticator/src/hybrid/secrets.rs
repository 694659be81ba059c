//! What is derived from a QR code's secret, a link's secret or a phone's root (CTAP §11.5.1.1).

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What a derived value is for: the number is HKDF's `info`, in four bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Two 256-bit keys that an advertisement is encrypted and authenticated with.
    EidKey = 1,
    /// The name of a tunnel, 16 bytes.
    TunnelId = 2,
    /// The handshake's pre-shared key. Salted with the advertisement's plaintext: whoever has not heard it is not near.
    Psk = 3,
    /// A link's secret, from the phone's root and the link's id.
    LinkSecret = 4,
    /// The phone's identity, from its root.
    IdentitySeed = 5,
    /// Where the phone can be contacted, from its root.
    ContactId = 6,
}

/// HKDF-SHA256 of this secret. `N` is at most 64.
pub(super) fn derive<const N: usize>(secret: &[u8], salt: &[u8], purpose: Purpose) -> Zeroizing<[u8; N]> {
    let mut derived = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(Some(salt), secret)
        .expand(&(purpose as u32).to_le_bytes(), derived.as_mut())
        .expect("64 bytes are less than 255 blocks");
    derived
}
