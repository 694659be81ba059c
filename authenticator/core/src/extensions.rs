//! Extensions (CTAP §12): one file each, and here what a ceremony does with all of them.
//!
//! Inputs are read before the user is asked, so that a bad one costs no touch; outputs are written with the
//! authenticator data, in the order of canonical CBOR.

mod cred_blob;
mod cred_protect;
pub(crate) mod hmac_secret;
mod large_blob_key;
mod uvm;

use heapless::Vec;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::authenticator::Authenticator;
use crate::cbor::{Item, Map, Writer};
use crate::configuration::{Configuration, Extension};
use crate::credential::{CredRandom, Credential, CredentialProtection};
use crate::ctap2::ceremony::Verification;
use crate::faults::{Faults, UNKNOWN_EXTENSION};
use crate::settings::Settings;
use crate::status::Step;
use crate::store::CredentialStore;
use crate::wrapped;
use hmac_secret::Salts;

/// Extension outputs: a CBOR map, or nothing.
pub(crate) type Outputs = Vec<u8, 320>;

/// What makeCredential's extensions ask for.
pub(crate) struct Creation {
    protection: Option<CredentialProtection>,
    hmac_secret: bool,
    salts: Option<Salts>,
    cred_blob: Option<cred_blob::Blob>,
    large_blob_key: bool,
    /// minPinLength (§12.5): what to tell, if this RP was named by an administrator.
    min_pin_length: Option<u8>,
    /// pinComplexityPolicy (§12.9): likewise.
    pin_complexity_policy: Option<bool>,
    third_party_payment: bool,
    uvm: bool,
}

/// What getAssertion's extensions ask for.
pub(crate) struct Assertion {
    salts: Option<Salts>,
    cred_blob: bool,
    large_blob_key: bool,
    third_party_payment: bool,
    uvm: bool,
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Reads makeCredential's extension inputs; those not offered are ignored.
    pub(crate) fn creation_extensions(
        &mut self,
        inputs: Map<'_>,
        discoverable: bool,
        rp_id_hash: &[u8; 32],
        settings: &Settings,
    ) -> Step<Creation> {
        let input = self.inputs(inputs);
        let told = settings.tells_pin_policy(rp_id_hash);
        let flag = |extension| input(extension).map_or(Ok(false), Item::boolean);
        let mut creation = Creation {
            protection: input(Extension::CredProtect).map(cred_protect::read).transpose()?,
            hmac_secret: flag(Extension::HmacSecret)?,
            salts: None,
            cred_blob: match input(Extension::CredBlob) {
                Some(blob) => Some(cred_blob::read(blob, discoverable, &self.configuration.limits)?),
                None => None,
            },
            large_blob_key: large_blob_key::read(input(Extension::LargeBlobKey), discoverable)?,
            min_pin_length: (flag(Extension::MinPinLength)? && told).then_some(settings.min_pin_length),
            pin_complexity_policy: (flag(Extension::PinComplexityPolicy)? && told)
                .then_some(settings.pin_complexity),
            third_party_payment: flag(Extension::ThirdPartyPayment)?,
            uvm: flag(Extension::Uvm)?,
        };
        if cfg!(feature = "further-extensions")
            && let Some(salts) = input(Extension::HmacSecretMc)
        {
            hmac_secret::goes_with_hmac_secret(creation.hmac_secret)?;
            creation.salts = Some(self.read_salts(salts)?);
        }
        Ok(creation)
    }

    /// Reads getAssertion's extension inputs; those not offered are ignored.
    pub(crate) fn assertion_extensions(&mut self, inputs: Map<'_>, up: bool) -> Step<Assertion> {
        let input = self.inputs(inputs);
        let flag = |extension| input(extension).map_or(Ok(false), Item::boolean);
        let mut assertion = Assertion {
            salts: None,
            cred_blob: flag(Extension::CredBlob)?,
            large_blob_key: large_blob_key::read(input(Extension::LargeBlobKey), true)?,
            third_party_payment: flag(Extension::ThirdPartyPayment)?,
            uvm: flag(Extension::Uvm)?,
        };
        if let Some(salts) = input(Extension::HmacSecret) {
            hmac_secret::needs_presence(up)?;
            assertion.salts = Some(self.read_salts(salts)?);
        }
        Ok(assertion)
    }

    /// Looks up the inputs of the extensions that are offered.
    fn inputs<'a>(&self, inputs: Map<'a>) -> impl Fn(Extension) -> Option<Item<'a>> + use<'a, S, R> {
        let offered = self.configuration.extensions.clone();
        move |extension| {
            inputs.named(extension.name()).filter(|_| extension.is_built() && offered.contains(&extension))
        }
    }
}

impl Creation {
    /// Gives a new credential what was asked for. What goes beyond its own id needs a place in the store.
    pub(crate) fn apply(&self, credential: &mut Credential, stored: bool, rng: &mut impl CryptoRng) {
        if let Some(protection) = self.protection {
            credential.protection = protection;
        }
        if self.hmac_secret {
            credential.cred_random =
                Some(if stored { CredRandom::generate(rng) } else { wrapped::cred_random(&credential.key) });
        }
        if self.large_blob_key {
            let mut key = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut *key);
            credential.large_blob_key = Some(key);
        }
        if let Some(cred_blob::Blob::Kept(blob)) = &self.cred_blob {
            credential.cred_blob = Some(blob.clone());
        }
        credential.third_party_payment = self.third_party_payment;
    }

    /// The outputs for this new credential.
    pub(crate) fn outputs(
        &self,
        credential: &Credential,
        configuration: &Configuration,
        verification: Verification,
        rng: &mut impl CryptoRng,
    ) -> Step<Outputs> {
        written(&configuration.faults, |outputs| {
            if cfg!(feature = "further-extensions") && self.uvm {
                uvm::write(verification, configuration, outputs.text(Extension::Uvm.name()));
            }
            if let Some(blob) = &self.cred_blob {
                let kept = matches!(blob, cred_blob::Blob::Kept(_));
                outputs.text(Extension::CredBlob.name()).boolean(kept);
            }
            if let Some(protection) = self.protection {
                outputs.text(Extension::CredProtect.name()).unsigned(protection as u64);
            }
            if self.hmac_secret {
                outputs.text(Extension::HmacSecret.name()).boolean(true);
            }
            if let Some(length) = self.min_pin_length {
                outputs.text(Extension::MinPinLength.name()).unsigned(u64::from(length));
            }
            if cfg!(feature = "further-extensions")
                && let Some((salts, random)) = self.salts.as_ref().zip(credential.cred_random.as_ref())
            {
                let output = salts.output(random, verification.uv(), rng);
                outputs.text(Extension::HmacSecretMc.name()).bytes(&output);
            }
            if let Some(in_force) = self.pin_complexity_policy {
                outputs.text(Extension::PinComplexityPolicy.name()).boolean(in_force);
            }
            Ok(())
        })
    }
}

impl Assertion {
    /// largeBlobKey, which goes into the response and not into the authenticator data.
    pub(crate) fn large_blob_key<'a>(&self, credential: &'a Credential) -> Option<&'a [u8; 32]> {
        credential.large_blob_key.as_deref().filter(|_| self.large_blob_key)
    }

    /// The outputs for an assertion with this credential.
    pub(crate) fn outputs(
        &self,
        credential: &Credential,
        configuration: &Configuration,
        verification: Verification,
        rng: &mut impl CryptoRng,
    ) -> Step<Outputs> {
        written(&configuration.faults, |outputs| {
            if cfg!(feature = "further-extensions") && self.uvm {
                uvm::write(verification, configuration, outputs.text(Extension::Uvm.name()));
            }
            if self.cred_blob {
                let blob = credential.cred_blob.as_ref().map_or(&[][..], |blob| blob);
                outputs.text(Extension::CredBlob.name()).bytes(blob);
            }
            if let Some((salts, random)) = self.salts.as_ref().zip(credential.cred_random.as_ref()) {
                let output = salts.output(random, verification.uv(), rng);
                outputs.text(Extension::HmacSecret.name()).bytes(&output);
            }
            if self.third_party_payment {
                outputs.text(Extension::ThirdPartyPayment.name()).boolean(credential.third_party_payment);
            }
            Ok(())
        })
    }
}

/// A map of outputs; nothing where there are none.
fn written(faults: &Faults, write: impl FnOnce(&mut crate::cbor::Members<'_, '_>) -> Step) -> Step<Outputs> {
    let mut outputs = Outputs::new();
    let mut writer = Writer::new(&mut outputs);
    writer.counted_map(|outputs| {
        write(outputs)?;
        if faults.unknown_extension() {
            outputs.text(UNKNOWN_EXTENSION).boolean(true);
        }
        Ok(())
    })?;
    writer.finish()?;
    if outputs.len() == EMPTY_MAP {
        outputs.clear();
    }
    Ok(outputs)
}

/// The size of a map without members.
const EMPTY_MAP: usize = 1;
