//! The certification authority of this installation: one seed, from which every persona's keys come.

use std::io::Read as _;
use std::path::Path;

use doppelkey_core::{Algorithm, PrivateKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::PersonaError;
use crate::private_file;
use crate::vault::Vault;

/// Keys of personas, each derived from its name. Whoever has the seed can attest as any of them.
#[derive(Clone)]
pub struct Authority {
    seed: Zeroizing<[u8; 32]>,
}

impl Authority {
    /// The authority of this user on this computer: its seed is beside the default vault, made at first need.
    ///
    /// # Errors
    /// [`PersonaError`] if the file cannot be read or made.
    pub fn of_this_user() -> Result<Self, PersonaError> {
        let directory = Vault::make_default_directory()
            .map_err(|error| PersonaError { hint: error.hint(), error: error.to_string() })?;
        Self::in_file(&directory.join("persona-seed"))
    }

    /// The authority whose seed is in this file; made if there is none, readable by its owner only.
    ///
    /// # Errors
    /// [`PersonaError`] if the file cannot be read or made, or is too short.
    pub fn in_file(path: &Path) -> Result<Self, PersonaError> {
        let failed = |error: std::io::Error| PersonaError {
            error: format!(
                "cannot use {}, from which the personas' certificates are made: {error}",
                path.display()
            ),
            hint: "check who owns it; if it is damaged, delete it, and trust the new certificates".into(),
        };
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| failed(std::io::Error::other("no random bytes")))?;
        match private_file::create_whole(path, &*seed) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let mut file = std::fs::File::open(path).map_err(failed)?;
                file.read_exact(seed.as_mut()).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Authority { seed })
    }

    /// The authority of this seed: for tests.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Authority { seed: Zeroizing::new(seed) }
    }

    /// The P-256 key of this name.
    pub(super) fn key(&self, name: &str) -> PrivateKey {
        let derivation = Hkdf::<Sha256>::new(Some(b"doppelkey persona 1"), &*self.seed);
        (0_u8..=255)
            .find_map(|attempt| {
                let mut scalar = Zeroizing::new([0; 32]);
                let info = [name.as_bytes(), &[0, attempt]].concat();
                derivation.expand(&info, scalar.as_mut()).expect("32 bytes are less than 255 blocks");
                PrivateKey::from_bytes(Algorithm::Es256, &*scalar)
            })
            .expect("of 256 random numbers of 256 bits one is below the order of P-256")
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority(…)")
    }
}
