//! hmac-secret (CTAP §12.7) and hmac-secret-mc (§12.8): secrets of the platform's salts and the credential.

use heapless::Vec;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::authenticator::Authenticator;
use crate::cbor::Item;
use crate::credential::CredRandom;
use crate::pin_protocol::{CIPHERTEXT_MAX, PLAINTEXT_MAX, Plaintext, Protocol, SharedSecret};
use crate::status::{Status, Step};
use crate::store::CredentialStore;

/// One salt or two, and the secret the output is encrypted with.
pub(crate) struct Salts {
    shared: SharedSecret,
    salts: Plaintext,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Reads and opens an input.
    ///
    /// # Errors
    /// [`Status::PinAuthInvalid`] if saltAuth is not that of saltEnc, [`Status::InvalidLength`] for anything but one
    /// or two salts.
    pub(super) fn read_salts(&mut self, input: Item<'_>) -> Step<Salts> {
        let input = input.map()?;
        let salt_auth = input.required(3)?.bytes()?;
        let protocol = match input.get(4) {
            Some(number) => self.pin_uv_protocol(number)?,
            // A platform that knows of no other protocol names none.
            None if self.configuration.pin_uv_auth_protocols.contains(&1) => Protocol::One,
            None => return Err(Status::MissingParameter),
        };
        let salt_enc = input.required(2)?.bytes()?;
        let key_agreement = self.pin.key_agreement(&mut self.rng);
        let shared = key_agreement.decapsulate(protocol, input.required(1)?)?;
        shared.verify(&[salt_enc], salt_auth)?;
        let salts = shared.decrypt(salt_enc).ok_or(Status::InvalidLength)?;
        match salts.len() {
            SALT_SIZE | PLAINTEXT_MAX => Ok(Salts { shared, salts }),
            _ => Err(Status::InvalidLength),
        }
    }
}

impl Salts {
    /// The encrypted output for a credential: HMAC-SHA-256 of each salt.
    pub(crate) fn output(
        &self,
        random: &CredRandom,
        uv: bool,
        rng: &mut impl CryptoRng,
    ) -> Vec<u8, CIPHERTEXT_MAX> {
        let random = if uv { &random.with_uv } else { &random.without_uv };
        let mut output = Zeroizing::new(Vec::<u8, PLAINTEXT_MAX>::new());
        for salt in self.salts.chunks(SALT_SIZE) {
            let mut mac = Hmac::<Sha256>::new_from_slice(random).expect("HMAC takes keys of every length");
            mac.update(salt);
            let _ = output.extend_from_slice(&mac.finalize().into_bytes());
        }
        self.shared.encrypt(&output, rng)
    }
}

/// Without the user's presence there is no secret.
///
/// # Errors
/// [`Status::UnsupportedOption`].
pub(super) fn needs_presence(up: bool) -> Step {
    if up { Ok(()) } else { Err(Status::UnsupportedOption) }
}

/// hmac-secret-mc is asked for together with hmac-secret (§12.8): a credential without CredRandom has no secrets.
///
/// # Errors
/// [`Status::MissingParameter`].
pub(super) fn goes_with_hmac_secret(hmac_secret: bool) -> Step {
    if hmac_secret { Ok(()) } else { Err(Status::MissingParameter) }
}

impl CredRandom {
    /// Makes both.
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut random = CredRandom { with_uv: [0; 32], without_uv: [0; 32] };
        rng.fill_bytes(&mut random.with_uv);
        rng.fill_bytes(&mut random.without_uv);
        random
    }
}

const SALT_SIZE: usize = 32;
