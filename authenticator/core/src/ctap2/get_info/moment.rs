//! What getInfo says that can be another at the next time: options that are set up, counters, encrypted identifiers.

#[cfg(feature = "persistent-token")]
use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::NoPadding};
use rand_core::CryptoRng;
#[cfg(feature = "persistent-token")]
use sha2::{Digest as _, Sha256};
#[cfg(feature = "persistent-token")]
use zeroize::Zeroizing;

use crate::authenticator::Authenticator;
use crate::configuration::OptionId;
use crate::settings::Settings;
use crate::status::Step;
use crate::store::CredentialStore;

/// The state of one moment.
pub(super) struct Moment {
    pub(super) settings: Settings,
    pub(super) remaining: u32,
    pub(super) uv_count: u32,
    /// encIdentifier and encCredStoreState, once there is a persistent token that can decrypt them.
    pub(super) encrypted: Option<[Encrypted; 2]>,
    pin_set: bool,
    uv_set_up: bool,
}

/// An initialisation vector and a block encrypted under it.
pub(super) type Encrypted = [u8; 32];

impl Moment {
    pub(super) fn of<S: CredentialStore, R: CryptoRng>(
        authenticator: &mut Authenticator<S, R>,
    ) -> Step<Self> {
        Ok(Moment {
            settings: authenticator.settings()?,
            remaining: authenticator.remaining_credentials()?,
            uv_count: authenticator.pin.uv_count(&mut authenticator.store)?,
            encrypted: encrypted_identifiers(authenticator)?,
            pin_set: authenticator.pin.is_pin_set(&mut authenticator.store)?,
            uv_set_up: authenticator.built_in_uv()? == Some(true),
        })
    }

    /// Whether an option that is offered is there at all. alwaysUv that is listed and false can be switched on (§6.4),
    /// which only authenticatorConfig does: without it the option is there where it is in force.
    pub(super) fn lists(&self, option: OptionId) -> bool {
        option != OptionId::AlwaysUv || cfg!(feature = "authenticator-config") || self.settings.always_uv
    }

    /// The value of an option that is offered.
    pub(super) fn option(&self, option: OptionId) -> bool {
        match option {
            OptionId::AlwaysUv => self.settings.always_uv,
            OptionId::ClientPin => self.pin_set,
            OptionId::Ep => self.settings.enterprise_attestation,
            // alwaysUv takes it back (§7.2.2).
            OptionId::MakeCredUvNotRqd => !self.settings.always_uv,
            OptionId::Uv | OptionId::BioEnroll | OptionId::UserVerificationMgmtPreview => self.uv_set_up,
            _ => true,
        }
    }
}

/// Without a persistent token nobody could decrypt them.
#[cfg(not(feature = "persistent-token"))]
fn encrypted_identifiers<S, R>(_: &mut Authenticator<S, R>) -> Step<Option<[Encrypted; 2]>> {
    Ok(None)
}

/// encIdentifier and encCredStoreState. The state is a digest of the store's revision: it tells that something
/// changed, and nothing else.
#[cfg(feature = "persistent-token")]
fn encrypted_identifiers<S: CredentialStore, R: CryptoRng>(
    authenticator: &mut Authenticator<S, R>,
) -> Step<Option<[Encrypted; 2]>> {
    if !authenticator.configuration.offers(OptionId::PerCredMgmtRo) {
        return Ok(None);
    }
    let Some(token) = authenticator.pin.persistent_token(&mut authenticator.store)? else { return Ok(None) };
    let identity = authenticator.identity()?;
    let revision = authenticator.store.revision()?;
    let digest =
        Sha256::new().chain_update(identity.store_identifier).chain_update(revision.to_be_bytes()).finalize();
    let mut state = [0; 16];
    state.copy_from_slice(&digest[..16]);
    let rng = &mut authenticator.rng;
    Ok(Some([
        encrypt(&token, b"encIdentifier", identity.device_identifier, rng),
        encrypt(&token, b"encCredStoreState", state, rng),
    ]))
}

/// AES-128-CBC under a key that the persistent token gives, with a new initialisation vector each time.
#[cfg(feature = "persistent-token")]
fn encrypt(token: &[u8; 32], info: &[u8], block: [u8; 16], rng: &mut impl CryptoRng) -> Encrypted {
    let mut key = Zeroizing::new([0; 16]);
    hkdf::Hkdf::<Sha256>::new(Some(&[0; 32]), token)
        .expand(info, &mut *key)
        .expect("16 bytes are within HKDF's limit");
    let mut out = [0; 32];
    let (iv, encrypted) = out.split_at_mut(16);
    rng.fill_bytes(iv);
    encrypted.copy_from_slice(&block);
    cbc::Encryptor::<aes::Aes128>::new_from_slices(&*key, iv)
        .expect("key and initialisation vector have 16 bytes")
        .encrypt_padded::<NoPadding>(encrypted, 16)
        .expect("a whole block needs no padding");
    out
}
