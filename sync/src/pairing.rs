//! Joining: an invitation on the screen of a member, two letters through the mailbox.
//!
//! 1. The member shows an [`Invitation`] (as a QR code, or to be copied). It holds a secret that the relay never
//!    sees, and names the circle and its founder.
//! 2. The newcomer posts a *join letter*: its public keys, signed and sealed under that secret.
//! 3. The member's user compares seven emoji, is verified, and admits it; the member posts a *welcome letter*: the
//!    epochs' secrets, encrypted to the newcomer and bound to the invitation.
//!
//! | offset | length | of a letter |
//! |---|---|---|
//! | 0 | 1 | 2 (an entry begins with 1) |
//! | 1 | 1 | 0 join, 1 welcome, 2 keys, 3 recovery, 4 recovery again (`recovery/letters.rs`) |
//! | 2 | n | join: nonce (12) ‖ AES-256-GCM of `[identity, encryption, incarnation, name, signature]`; others: HPKE |
//!
//! A *keys letter* brings epochs' secrets to a member that no epoch of its author's reaches: two members may have
//! admitted two newcomers at once. It says nothing about who wrote it and need not: an epoch that no member
//! announced is never sealed under.

use alloc::string::String;
use alloc::vec::Vec;

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop};

use crate::cbor::{Reader, Writer};
use crate::crypto::{DeviceKeys, PublicKeys, Suite, random, verify};
use crate::entry::{byte, expect_array};
use crate::id::{CircleId, LogId, hash};
use crate::journal::OpenError;
use crate::replica::{Effect, Replica};
use crate::text;

const LETTER: u8 = 2;
const JOIN: u8 = 0;
const WELCOME: u8 = 1;
const KEYS: u8 = 2;
pub(crate) const RECOVERY: u8 = 3;
pub(crate) const RECOVERY_AGAIN: u8 = 4;

/// No letter is longer.
const LETTER_MAX: usize = 1 << 16;

/// What comes before the text of an invitation.
const PREFIX: &str = "DOPPELKEY:";

/// What a member shows to a newcomer. Whoever sees it can ask to join; only the member's user can agree.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Invitation {
    /// What the circle signs and seals with.
    #[zeroize(skip)]
    pub suite: Suite,
    /// The circle.
    #[zeroize(skip)]
    pub circle: CircleId,
    /// Its founder: the newcomer believes no other history.
    #[zeroize(skip)]
    pub founder: LogId,
    /// Known to whoever saw the invitation, and not to the relay.
    pub secret: [u8; 16],
    /// When it stops being good, in seconds since 1970.
    #[zeroize(skip)]
    pub expires_s: u64,
    /// How to reach the mailbox: the host's business.
    pub mailbox: String,
}

/// Of the secret in constant time.
impl PartialEq for Invitation {
    fn eq(&self, other: &Self) -> bool {
        let Invitation { suite, circle, founder, secret, expires_s, mailbox } = self;
        (suite, circle, founder, expires_s, mailbox)
            == (&other.suite, &other.circle, &other.founder, &other.expires_s, &other.mailbox)
            && bool::from(secret.ct_eq(&other.secret))
    }
}

impl Eq for Invitation {}

impl core::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Invitation").field("circle", &self.circle).finish_non_exhaustive()
    }
}

impl Invitation {
    /// The text to show, in upper case and digits: a QR code's alphanumeric mode takes it.
    pub fn to_text(&self) -> String {
        let mut writer = Writer::default();
        writer.array(6).unsigned(self.suite as u64).bytes(&self.circle.0).bytes(&self.founder.0);
        writer.bytes(&self.secret).unsigned(self.expires_s).bytes(self.mailbox.as_bytes());
        let mut text = String::from(PREFIX);
        text.push_str(&text::encode("invitation", &writer.0));
        writer.0.zeroize();
        text
    }

    /// Reads such a text. `None` for a mistyped one or one for another version.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text::decode("invitation", text.trim().strip_prefix(PREFIX)?)?;
        let mut reader = Reader(&bytes);
        expect_array(&mut reader, 6)?;
        let invitation = Invitation {
            suite: Suite::from_number(byte(&mut reader)?)?,
            circle: CircleId(reader.fixed()?),
            founder: LogId(reader.fixed()?),
            secret: reader.fixed()?,
            expires_s: reader.unsigned()?,
            mailbox: String::from_utf8(reader.vec()?).ok()?,
        };
        #[cfg(feature = "simulator")]
        if invitation.suite == Suite::Ideal {
            // Checksums are for simulations; no text from outside leads there.
            return None;
        }
        reader.0.is_empty().then_some(invitation)
    }

    /// The newcomer's letter.
    pub fn ask(&self, keys: &DeviceKeys, name: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let public = keys.public();
        let mut writer = Writer::default();
        writer.array(5).bytes(&public.identity).bytes(&public.encryption);
        writer.unsigned(public.incarnation.into()).bytes(name);
        let signature = keys.sign(&[b"join/1", &self.circle.0, &writer.0]);
        writer.bytes(&signature);
        let nonce: [u8; 12] = random(rng);
        let payload = Payload { msg: &writer.0, aad: &self.circle.0 };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("a letter is short");
        [&[LETTER, JOIN], nonce.as_slice(), &sealed].concat()
    }

    /// Reads a newcomer's letter. `None` for anything else: strangers may post, too.
    pub fn asked(&self, letter: &[u8]) -> Option<JoinRequest> {
        let sealed = letter.strip_prefix(&[LETTER, JOIN])?;
        let (nonce, ciphertext) = sealed.split_at_checked(12)?;
        let nonce: [u8; 12] = nonce.try_into().ok()?;
        let payload = Payload { msg: ciphertext, aad: &self.circle.0 };
        let plaintext = self.cipher().decrypt(&Nonce::from(nonce), payload).ok()?;
        let mut reader = Reader(&plaintext);
        expect_array(&mut reader, 5)?;
        let keys = PublicKeys {
            identity: reader.vec()?,
            encryption: reader.vec()?,
            incarnation: u32::try_from(reader.unsigned()?).ok()?,
        };
        let name = reader.vec()?;
        let signed = &plaintext[..plaintext.len() - reader.0.len()];
        let signature = reader.fixed()?;
        let authentic = verify(self.suite, &keys.identity, &[b"join/1", &self.circle.0, signed], &signature);
        authentic.then(|| JoinRequest { emoji: emoji(letter), keys, name })
    }

    /// The newcomer's side of the welcome: a replica to begin with.
    pub fn accept<R: CryptoRng>(
        &self,
        keys: DeviceKeys,
        letter: &[u8],
        rng: R,
    ) -> Result<(Replica<R>, Vec<Effect>), OpenError> {
        let (replica, effects) = Replica::join(keys, letter, &self.secret, rng)?;
        if replica.circle() != self.circle || replica.founder() != self.founder {
            return Err(OpenError::NotForUs);
        }
        Ok((replica, effects))
    }

    fn cipher(&self) -> Aes256Gcm {
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(Some(&self.circle.0), &self.secret)
            .expand(b"join/1", &mut key)
            .expect("32 bytes are a valid length");
        let cipher = Aes256Gcm::new(&key.into());
        key.zeroize();
        cipher
    }
}

/// Someone asks to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Its keys, which it has shown to own.
    pub keys: PublicKeys,
    /// What it calls itself: a stranger's words, not to be trusted in a terminal.
    pub name: Vec<u8>,
    /// Shown on both screens, for the user to compare.
    pub emoji: String,
}

/// Seven emoji for a letter: both screens show the same, or somebody is in between.
pub fn emoji(letter: &[u8]) -> String {
    let digest = hash(&[b"emoji/1", letter]).0;
    let mut text = String::new();
    for (index, byte) in digest.iter().take(7).enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push(EMOJI[usize::from(*byte) % EMOJI.len()]);
    }
    text
}

/// Whether these bytes from a mailbox are a letter and no entry.
pub(crate) fn is_letter(bytes: &[u8]) -> bool {
    bytes.len() <= LETTER_MAX && matches!(bytes, [LETTER, JOIN..=RECOVERY_AGAIN, _, ..])
}

/// A welcome letter around HPKE's output.
pub(crate) fn welcome(sealed: &[u8]) -> Vec<u8> {
    [&[LETTER, WELCOME], sealed].concat()
}

/// What is in a welcome letter.
pub(crate) fn welcomed(letter: &[u8]) -> Option<&[u8]> {
    letter.strip_prefix(&[LETTER, WELCOME])
}

/// A keys letter around HPKE's output.
pub(crate) fn keys(sealed: &[u8]) -> Vec<u8> {
    [&[LETTER, KEYS], sealed].concat()
}

/// What is in a keys letter.
pub(crate) fn keyed(letter: &[u8]) -> Option<&[u8]> {
    letter.strip_prefix(&[LETTER, KEYS])
}

/// A letter of this kind around HPKE's output.
pub(crate) fn letter(kind: u8, sealed: &[u8]) -> Vec<u8> {
    [&[LETTER, kind], sealed].concat()
}

/// What is in a first letter to a recovery member.
pub(crate) fn recovery(letter: &[u8]) -> Option<&[u8]> {
    letter.strip_prefix(&[LETTER, RECOVERY])
}

/// What is in a later one.
pub(crate) fn recovery_again(letter: &[u8]) -> Option<&[u8]> {
    letter.strip_prefix(&[LETTER, RECOVERY_AGAIN])
}

/// One code point each, easy to tell apart and to name.
const EMOJI: [char; 64] = [
    '🐶', '🐱', '🦁', '🐴', '🦄', '🐷', '🐘', '🐰', '🐼', '🐓', '🐧', '🐢', '🐟', '🐙', '🦋', '🌷', '🌳',
    '🌵', '🍄', '🌍', '🌙', '☁', '🔥', '🍌', '🍎', '🍓', '🌽', '🍕', '🎂', '❤', '😀', '🤖', '🎩', '👓', '🔧',
    '🎅', '👍', '☂', '⌛', '⏰', '🎁', '💡', '📕', '✏', '📎', '✂', '🔒', '🔑', '🔨', '☎', '🏁', '🚂', '🚲',
    '✈', '🚀', '🏆', '⚽', '🎸', '🎺', '🔔', '⚓', '🎧', '📁', '📌',
];
