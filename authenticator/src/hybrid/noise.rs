//! The handshake (CTAP §11.5.1.5): Noise `KNpsk0` after a QR code, `NKpsk0` with a linked phone, over P-256,
//! AES-256-GCM and SHA-256; and the messages after it.
//!
//! `KNpsk0`: the phone knows the platform by the QR code. `NKpsk0`: the platform knows the phone by its link, so that
//! another platform, which knows the same phone, cannot pose as it.

use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The handshake's pre-shared key.
pub(super) type Psk = Zeroizing<[u8; 32]>;

/// The peer does not have the secrets that it should, or somebody on the way changed a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAuthentic;

/// The platform's side, waiting for the phone's answer.
pub(super) struct Initiator {
    noise: Symmetric,
    ephemeral: SecretKey,
    /// Of the QR code, where there was one.
    identity: Option<SecretKey>,
}

impl Initiator {
    /// After a QR code with this identity: what to send.
    pub(super) fn with_code(psk: &Psk, identity: &SecretKey, rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        let mut noise = Symmetric::new(Pattern::Kn);
        noise.mix_hash(&point(&identity.public_key()));
        Self::begin(noise, psk, None, Some(identity.clone()), rng)
    }

    /// With a linked phone, which has this identity: what to send.
    pub(super) fn with_link(psk: &Psk, phone: &PublicKey, rng: &mut dyn CryptoRng) -> (Self, Vec<u8>) {
        let mut noise = Symmetric::new(Pattern::Nk);
        noise.mix_hash(&point(phone));
        Self::begin(noise, psk, Some(phone), None, rng)
    }

    fn begin(
        mut noise: Symmetric,
        psk: &Psk,
        phone: Option<&PublicKey>,
        identity: Option<SecretKey>,
        mut rng: &mut dyn CryptoRng,
    ) -> (Self, Vec<u8>) {
        let ephemeral = SecretKey::generate_from_rng(&mut rng);
        noise.mix_key_and_hash(&**psk);
        let mut message = noise.mix_ephemeral(&ephemeral);
        if let Some(phone) = phone {
            noise.mix_shared(&ephemeral, phone);
        }
        message.extend(noise.seal_nothing());
        (Initiator { noise, ephemeral, identity }, message)
    }

    /// Reads the phone's answer.
    pub(super) fn finish(mut self, answer: &[u8]) -> Result<Session, NotAuthentic> {
        let (theirs, tag) = self.noise.read_ephemeral(answer)?;
        self.noise.mix_shared(&self.ephemeral, &theirs);
        if let Some(identity) = &self.identity {
            self.noise.mix_shared(identity, &theirs);
        }
        self.noise.open_nothing(tag)?;
        let (ours, theirs) = self.noise.split();
        Ok(Session { seal: ours, open: theirs, handshake_hash: self.noise.hash })
    }
}

/// How the phone knows whom it answers.
pub(super) enum Responder<'a> {
    /// By the identity in the QR code.
    Code(&'a PublicKey),
    /// By the phone's own identity, which a link told the platform.
    Link(&'a SecretKey),
}

impl Responder<'_> {
    /// Reads the platform's message: the session, and what to answer.
    pub(super) fn answer(
        &self,
        psk: &Psk,
        message: &[u8],
        mut rng: &mut dyn CryptoRng,
    ) -> Result<(Session, Vec<u8>), NotAuthentic> {
        let mut noise = match self {
            Responder::Code(_) => Symmetric::new(Pattern::Kn),
            Responder::Link(_) => Symmetric::new(Pattern::Nk),
        };
        match self {
            Responder::Code(platform) => noise.mix_hash(&point(platform)),
            Responder::Link(identity) => noise.mix_hash(&point(&identity.public_key())),
        }
        noise.mix_key_and_hash(&**psk);
        let (theirs, tag) = noise.read_ephemeral(message)?;
        if let Responder::Link(identity) = self {
            noise.mix_shared(identity, &theirs);
        }
        noise.open_nothing(tag)?;
        let ephemeral = SecretKey::generate_from_rng(&mut rng);
        let mut answer = noise.mix_ephemeral(&ephemeral);
        noise.mix_shared(&ephemeral, &theirs);
        if let Responder::Code(platform) = self {
            noise.mix_shared(&ephemeral, platform);
        }
        answer.extend(noise.seal_nothing());
        let (theirs, ours) = noise.split();
        Ok((Session { seal: ours, open: theirs, handshake_hash: noise.hash }, answer))
    }
}

/// Both directions, after the handshake.
pub(super) struct Session {
    seal: Direction,
    open: Direction,
    /// Names this handshake: a link is signed over it.
    pub(super) handshake_hash: [u8; 32],
}

impl Session {
    /// Pads and encrypts a message. `None` after 2²⁴ of them.
    pub(super) fn seal(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut padded = Zeroizing::new(message.to_vec());
        let zeros = PADDING - 1 - message.len() % PADDING;
        padded.resize(message.len() + zeros, 0);
        padded.push(zeros as u8);
        let nonce = self.seal.next_nonce()?;
        Some(self.seal.cipher.encrypt(&nonce, padded.as_slice()).expect("a message is shorter than 64 GiB"))
    }

    /// Decrypts the next message. One that is not next, or not the peer's, is refused.
    pub(super) fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let nonce = self.open.next_nonce().ok_or(NotAuthentic)?;
        let mut message = self.open.cipher.decrypt(&nonce, sealed).map_err(|_| NotAuthentic)?;
        let zeros = usize::from(message.pop().ok_or(NotAuthentic)?);
        let length = message.len().checked_sub(zeros).ok_or(NotAuthentic)?;
        message.truncate(length);
        Ok(message)
    }
}

/// Messages are a multiple of this long, so that their length says little.
const PADDING: usize = 32;

struct Direction {
    cipher: Aes256Gcm,
    messages: u32,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Self {
        Direction { cipher: Aes256Gcm::new(key.into()), messages: 0 }
    }

    fn next_nonce(&mut self) -> Option<Nonce<aes_gcm::aead::consts::U12>> {
        if self.messages >= 1 << 24 {
            return None;
        }
        let mut nonce = [0; 12];
        nonce[8..].copy_from_slice(&self.messages.to_be_bytes());
        self.messages += 1;
        Some(nonce.into())
    }
}

#[derive(Clone, Copy)]
enum Pattern {
    Kn,
    Nk,
}

/// Noise's SymmetricState. Every key that is mixed in is used once, so that its nonce is always zero.
struct Symmetric {
    chaining_key: Zeroizing<[u8; 32]>,
    hash: [u8; 32],
    key: Zeroizing<[u8; 32]>,
}

impl Symmetric {
    fn new(pattern: Pattern) -> Self {
        let (name, prologue) = match pattern {
            Pattern::Kn => (b"Noise_KNpsk0_P256_AESGCM_SHA256\0", 1),
            Pattern::Nk => (b"Noise_NKpsk0_P256_AESGCM_SHA256\0", 0),
        };
        let mut noise =
            Symmetric { chaining_key: Zeroizing::new(*name), hash: *name, key: Zeroizing::new([0; 32]) };
        noise.mix_hash(&[prologue]);
        noise
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new_with_prefix(self.hash).chain_update(data).finalize().into();
    }

    /// Noise's HKDF: `N` bytes, of which the first 32 are the next chaining key.
    fn next<const N: usize>(&mut self, input: &[u8]) -> Zeroizing<[u8; N]> {
        let mut output = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(Some(&*self.chaining_key), input)
            .expand(&[], output.as_mut())
            .expect("96 bytes are less than 255 blocks");
        output
    }

    fn mix_key(&mut self, input: &[u8]) {
        let next = self.next::<64>(input);
        self.chaining_key.copy_from_slice(&next[..32]);
        self.key.copy_from_slice(&next[32..]);
    }

    fn mix_key_and_hash(&mut self, input: &[u8]) {
        let next = self.next::<96>(input);
        self.chaining_key.copy_from_slice(&next[..32]);
        self.mix_hash(&next[32..64]);
        self.key.copy_from_slice(&next[64..]);
    }

    fn mix_shared(&mut self, ours: &SecretKey, theirs: &PublicKey) {
        self.mix_key(ours.diffie_hellman(theirs).raw_secret_bytes());
    }

    /// Mixes our ephemeral key in, which a pre-shared key makes a key too; its public half, to send.
    fn mix_ephemeral(&mut self, ours: &SecretKey) -> Vec<u8> {
        let public = point(&ours.public_key());
        self.mix_hash(&public);
        self.mix_key(&public);
        public
    }

    /// Mixes the peer's ephemeral key in; it, and what follows.
    fn read_ephemeral<'a>(&mut self, message: &'a [u8]) -> Result<(PublicKey, &'a [u8]), NotAuthentic> {
        let (public, rest) = message.split_at_checked(POINT_LENGTH).ok_or(NotAuthentic)?;
        self.mix_hash(public);
        self.mix_key(public);
        let key = PublicKey::from_sec1_bytes(public).map_err(|_| NotAuthentic)?;
        Ok((key, rest))
    }

    /// The tag of an empty payload.
    fn seal_nothing(&mut self) -> Vec<u8> {
        let nothing = Payload { msg: &[], aad: &self.hash };
        let tag = Aes256Gcm::new((&*self.key).into())
            .encrypt(&[0; 12].into(), nothing)
            .expect("nothing is shorter than 64 GiB");
        self.mix_hash(&tag);
        tag
    }

    /// Checks the tag of an empty payload.
    fn open_nothing(&mut self, tag: &[u8]) -> Result<(), NotAuthentic> {
        let sealed = Payload { msg: tag, aad: &self.hash };
        let opened = Aes256Gcm::new((&*self.key).into()).decrypt(&[0; 12].into(), sealed);
        match opened {
            Ok(payload) if payload.is_empty() => {
                self.mix_hash(tag);
                Ok(())
            }
            _ => Err(NotAuthentic),
        }
    }

    /// The keys of the initiator's messages and of the responder's.
    fn split(&mut self) -> (Direction, Direction) {
        let keys = self.next::<64>(&[]);
        let half = "half of 64 is 32";
        (
            Direction::new(keys[..32].try_into().expect(half)),
            Direction::new(keys[32..].try_into().expect(half)),
        )
    }
}

/// An uncompressed point.
const POINT_LENGTH: usize = 65;

/// A public key as it is hashed and sent.
pub(super) fn point(key: &PublicKey) -> Vec<u8> {
    key.to_sec1_point(false).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hybrid::tests::rng;

    fn psk() -> Psk {
        Zeroizing::new([5; 32])
    }

    fn by_code() -> (Session, Session) {
        let identity = SecretKey::generate_from_rng(&mut rng(1));
        let (initiator, message) = Initiator::with_code(&psk(), &identity, &mut rng(2));
        let phone = Responder::Code(&identity.public_key());
        let (phone, answer) = phone.answer(&psk(), &message, &mut rng(3)).expect("authentic");
        (initiator.finish(&answer).expect("authentic"), phone)
    }

    #[test]
    fn both_sides_agree_after_a_code() {
        let (mut platform, mut phone) = by_code();
        assert_eq!(platform.handshake_hash, phone.handshake_hash);
        for length in [0, 1, 31, 32, 33, 1000] {
            let message = vec![7; length];
            let sealed = platform.seal(&message).unwrap();
            assert_eq!((sealed.len() - 16) % PADDING, 0);
            assert_eq!(phone.open(&sealed), Ok(message.clone()));
            let sealed = phone.seal(&message).unwrap();
            assert_eq!(platform.open(&sealed), Ok(message));
        }
    }

    #[test]
    fn a_message_is_taken_once_and_in_its_turn() {
        let (mut platform, mut phone) = by_code();
        let first = platform.seal(b"first").unwrap();
        assert!(phone.open(&first).is_ok());
        assert_eq!(phone.open(&first), Err(NotAuthentic), "replayed");
        let (mut platform, mut phone) = by_code();
        let _first = platform.seal(b"first").unwrap();
        assert_eq!(phone.open(&platform.seal(b"second").unwrap()), Err(NotAuthentic), "out of turn");
        let (mut platform, _) = by_code();
        let own = platform.seal(b"mine").unwrap();
        assert_eq!(platform.open(&own), Err(NotAuthentic), "reflected");
    }

    #[test]
    fn whoever_has_another_secret_gets_no_session() {
        let identity = SecretKey::generate_from_rng(&mut rng(1));
        let (_, message) = Initiator::with_code(&psk(), &identity, &mut rng(2));
        let other = Zeroizing::new([6; 32]);
        assert!(Responder::Code(&identity.public_key()).answer(&other, &message, &mut rng(3)).is_err());
        // A phone that only saw the tunnel, and answers all the same.
        let (initiator, _) = Initiator::with_code(&psk(), &identity, &mut rng(2));
        let (_, theirs) = Initiator::with_code(&other, &identity, &mut rng(4));
        assert!(initiator.finish(&theirs).is_err());
    }

    #[test]
    fn another_phone_cannot_pose_as_the_linked_one() {
        let phone = SecretKey::generate_from_rng(&mut rng(1));
        let (initiator, message) = Initiator::with_link(&psk(), &phone.public_key(), &mut rng(2));
        let (_, answer) = Responder::Link(&phone).answer(&psk(), &message, &mut rng(3)).expect("the phone");
        assert!(initiator.finish(&answer).is_ok());
        let poser = SecretKey::generate_from_rng(&mut rng(4));
        assert!(Responder::Link(&poser).answer(&psk(), &message, &mut rng(5)).is_err());
    }

    #[test]
    fn a_tunnel_that_changes_a_bit_is_noticed() {
        let identity = SecretKey::generate_from_rng(&mut rng(1));
        let (_, message) = Initiator::with_code(&psk(), &identity, &mut rng(2));
        for at in [0, 1, 64, 65, message.len() - 1] {
            let mut changed = message.clone();
            changed[at] ^= 1;
            let phone = Responder::Code(&identity.public_key());
            assert!(phone.answer(&psk(), &changed, &mut rng(3)).is_err(), "byte {at}");
        }
        for length in 0..message.len() {
            let phone = Responder::Code(&identity.public_key());
            assert!(phone.answer(&psk(), &message[..length], &mut rng(3)).is_err());
        }
        let (mut platform, mut phone) = by_code();
        let mut sealed = platform.seal(b"x").unwrap();
        sealed[3] ^= 1;
        assert_eq!(phone.open(&sealed), Err(NotAuthentic));
        assert_eq!(phone.open(&[]), Err(NotAuthentic));
    }

    /// Computed by another implementation, and in its tests.
    #[test]
    fn messages_are_sealed_as_others_seal_them() {
        let mut session = Session {
            seal: Direction::new(&[67; 32]),
            open: Direction::new(&[42; 32]),
            handshake_hash: [0; 32],
        };
        let expected = [
            0xa4, 0x22, 0x1b, 0xbd, 0x65, 0xac, 0x9b, 0xd6, 0xda, 0x47, 0x2f, 0x1c, 0x4a, 0x93, 0x95, 0x0d,
            0xa1, 0x9e, 0xda, 0xcc, 0xbf, 0x61, 0xcd, 0x8e, 0x2f, 0xeb, 0xb6, 0x0d, 0xf5, 0xb2, 0xae, 0x33,
            0x4c, 0xab, 0xad, 0x4d, 0x74, 0x32, 0x1e, 0x56, 0x7b, 0x0d, 0x0c, 0x47, 0x04, 0x29, 0xe0, 0xcb,
            0xa7, 0x9c, 0x29, 0xa7, 0x9f, 0x61, 0x48, 0x77, 0x7c, 0xd0, 0x00, 0xe3, 0x1d, 0xaa, 0x6e, 0xb7,
            0x1d, 0xfe, 0x23, 0xc5, 0x9a, 0x96, 0xb2, 0xfe, 0x48, 0xc6, 0x2a, 0x21, 0x20, 0x88, 0x21, 0xec,
        ];
        let fox = b"The quick brown fox jumps over the lazy dog.";
        assert_eq!(session.seal(fox).unwrap(), expected);
        let second = session.seal(fox).unwrap();
        assert_eq!(second[..4], [0x15, 0xad, 0x06, 0x40]);
    }

    /// The `snow` crate is another implementation of Noise: each side in turn is its.
    #[test]
    fn a_stranger_completes_the_handshake_on_either_side() {
        let identity = SecretKey::generate_from_rng(&mut rng(1));
        let kn = || snow::Builder::new("Noise_KNpsk0_P256_AESGCM_SHA256".parse().unwrap());
        let nk = || snow::Builder::new("Noise_NKpsk0_P256_AESGCM_SHA256".parse().unwrap());
        let public = point(&identity.public_key());
        let (secret, mut buffer) = (psk(), [0; 1024]);

        // After a code: our platform, their phone; and the other way round.
        let phone = kn().prologue(&[1]).unwrap().remote_public_key(&public).unwrap().psk(0, &secret).unwrap();
        let (initiator, message) = Initiator::with_code(&psk(), &identity, &mut rng(2));
        let session = initiator.finish(&answer_of(phone.build_responder().unwrap(), &message));
        assert!(session.is_ok());
        let private = identity.to_bytes();
        let platform =
            kn().prologue(&[1]).unwrap().local_private_key(&private).unwrap().psk(0, &secret).unwrap();
        let mut platform = platform.build_initiator().unwrap();
        let length = platform.write_message(&[], &mut buffer).unwrap();
        let responder = Responder::Code(&identity.public_key());
        let (mut session, answer) =
            responder.answer(&psk(), &buffer[..length], &mut rng(3)).expect("authentic");
        platform.read_message(&answer, &mut buffer).expect("authentic");
        assert_eq!(platform.get_handshake_hash(), session.handshake_hash);
        let mut platform = platform.into_transport_mode().unwrap();
        let length = platform.read_message(&session.seal(b"hello").unwrap(), &mut buffer).unwrap();
        assert_eq!((length, &buffer[..5], buffer[31]), (32, &b"hello"[..], 26));

        // With a link.
        let phone =
            nk().prologue(&[0]).unwrap().local_private_key(&private).unwrap().psk(0, &secret).unwrap();
        let (initiator, message) = Initiator::with_link(&psk(), &identity.public_key(), &mut rng(2));
        assert!(initiator.finish(&answer_of(phone.build_responder().unwrap(), &message)).is_ok());
        let platform =
            nk().prologue(&[0]).unwrap().remote_public_key(&public).unwrap().psk(0, &secret).unwrap();
        let mut platform = platform.build_initiator().unwrap();
        let length = platform.write_message(&[], &mut buffer).unwrap();
        let (_, answer) =
            Responder::Link(&identity).answer(&psk(), &buffer[..length], &mut rng(3)).expect("authentic");
        platform.read_message(&answer, &mut buffer).expect("authentic");
    }

    fn answer_of(mut responder: snow::HandshakeState, message: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 1024];
        responder.read_message(message, &mut buffer).expect("authentic");
        let length = responder.write_message(&[], &mut buffer).unwrap();
        buffer[..length].to_vec()
    }
}
