//! An authenticator that misbehaves on request, so that platforms and relying parties can be tested against it.
//!
//! Without the feature `faults` there is nothing here: no state, no branch that could be taken.

#[cfg(feature = "faults")]
use alloc::sync::Arc;
#[cfg(feature = "faults")]
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

use crate::authenticator::Message;
use crate::authenticator_data::flag;
use crate::configuration::names;
use crate::key::Signature;

names! {
    /// A way to misbehave, by name. `/v1/faults` of the control port takes these names.
    ///
    /// Those on CBOR concern the responses of makeCredential, getAssertion and getNextAssertion. That a command fails
    /// with a status of its own is `Faults::set_status`; what goes wrong in packets and in time is not the core's.
    Fault {
        /// A bit of the signature is flipped: the assertion's, or the self attestation's.
        SignatureWrong = "signature-wrong",
        /// The authenticator data is for another RP ID; the signature is good.
        RpIdHashWrong = "rp-id-hash-wrong",
        /// UP says the contrary of what happened; the signature is good.
        UserPresentLie = "up-lie",
        /// UV says the contrary of what happened; the signature is good.
        UserVerifiedLie = "uv-lie",
        /// BS is set and BE is not.
        BackupStateWithoutEligibility = "bs-without-be",
        /// In assertions BE is the contrary of what it was at registration (and BS clear).
        BackupEligibilityChanged = "be-changed",
        /// The signature counter no longer moves.
        CounterStuck = "counter-stuck",
        /// The signature counter goes down.
        CounterBackwards = "counter-backwards",
        /// The signature counter goes up by a million each time.
        CounterJumps = "counter-jumps",
        /// Assertions have no `user`.
        UserHandleMissing = "user-handle-missing",
        /// Assertions have the user handle of somebody else.
        UserHandleForeign = "user-handle-foreign",
        /// The credential id has no bytes.
        CredentialIdEmpty = "credential-id-empty",
        /// The credential id has 1,023 bytes: the most that WebAuthn allows.
        CredentialId1023 = "credential-id-1023",
        /// The credential id has 1,024 bytes: one too many.
        CredentialId1024 = "credential-id-1024",
        /// The response is not CBOR.
        CborMalformed = "cbor-malformed",
        /// The response ends in the middle.
        CborTruncated = "cbor-truncated",
        /// The response's map has a header that is longer than it need be.
        CborNotCanonical = "cbor-not-canonical",
        /// A byte follows the response's map.
        CborTrailing = "cbor-trailing",
        /// The response has its status and nothing else.
        ResponseEmpty = "response-empty",
        /// There is an output of an extension that nobody asked for and nobody knows.
        ExtensionUnknown = "extension-unknown",
        /// The AAGUID is another model's.
        AaguidWrong = "aaguid-wrong",
        /// The public key is somebody else's.
        PublicKeyWrong = "public-key-wrong",
        /// The attestation certificate is not the one whose key signs. For attesters with certificates.
        CertificateWrong = "certificate-wrong",
        /// The attestation certificate has expired. For attesters with certificates.
        CertificateExpired = "certificate-expired",
        /// The attestation certificate names another AAGUID. For attesters with certificates.
        CertificateAaguidWrong = "certificate-aaguid-wrong",
    }
}

/// The faults that are set. A handle: all clones are the same, so that a test or a control port can set a fault while
/// the authenticator works; it holds from the next response on, until it is taken back.
///
/// ```
/// # #[cfg(feature = "faults")] {
/// use doppelkey_core::{Configuration, Fault};
///
/// let configuration = Configuration::default();
/// let faults = configuration.faults.clone();
/// faults.set(Fault::SignatureWrong, true);
/// assert!(configuration.faults.is_set(Fault::SignatureWrong));
/// assert_eq!(Fault::from_name("signature-wrong"), Some(Fault::SignatureWrong));
/// faults.clear();
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    state: Arc<State>,
}

#[cfg(feature = "faults")]
#[derive(Debug)]
struct State {
    /// One bit for each [`Fault`].
    set: AtomicU32,
    /// By command byte: the status to fail with; 0 for none.
    statuses: [AtomicU8; 256],
    /// The counter that was last sent under a fault of the counter.
    counter: AtomicU32,
}

#[cfg(feature = "faults")]
impl Default for State {
    fn default() -> Self {
        State {
            set: AtomicU32::new(0),
            statuses: [const { AtomicU8::new(0) }; 256],
            counter: AtomicU32::new(0),
        }
    }
}

#[cfg(feature = "faults")]
impl Faults {
    /// Sets a fault, or takes it back.
    pub fn set(&self, fault: Fault, set: bool) {
        let bit = 1 << fault as u32;
        self.state.counter.store(0, Relaxed);
        match set {
            true => self.state.set.fetch_or(bit, Relaxed),
            false => self.state.set.fetch_and(!bit, Relaxed),
        };
    }

    /// Makes every command with this byte (`0x01` is makeCredential) fail with this status, at once and without the
    /// user; 0 takes it back.
    pub fn set_status(&self, command: u8, status: u8) {
        self.state.statuses[usize::from(command)].store(status, Relaxed);
    }

    /// Takes back every fault.
    pub fn clear(&self) {
        self.state.set.store(0, Relaxed);
        self.state.statuses.iter().for_each(|status| status.store(0, Relaxed));
    }

    /// Whether this fault is set.
    pub fn is_set(&self, fault: Fault) -> bool {
        self.state.set.load(Relaxed) & 1 << fault as u32 != 0
    }

    /// The status that commands with this byte fail with, if they do.
    pub fn status(&self, command: u8) -> Option<u8> {
        Some(self.state.statuses[usize::from(command)].load(Relaxed)).filter(|status| *status != 0)
    }

    fn counter(&self, honest: u32) -> u32 {
        let last = self.state.counter.load(Relaxed);
        let before = if last == 0 { honest.saturating_sub(1) } else { last };
        let next = if self.is_set(Fault::CounterStuck) {
            before
        } else if self.is_set(Fault::CounterBackwards) {
            before.saturating_sub(1)
        } else {
            before.saturating_add(1_000_000)
        };
        self.state.counter.store(next, Relaxed);
        next
    }
}

#[cfg(not(feature = "faults"))]
impl Faults {
    const fn is_set(&self, _: Fault) -> bool {
        false
    }

    pub(crate) const fn status(&self, _: u8) -> Option<u8> {
        None
    }

    fn counter(&self, honest: u32) -> u32 {
        honest
    }
}

/// What the command handlers ask; each gives back what it is given, unless a fault is set.
impl Faults {
    pub(crate) fn rp_id_hash(&self, mut hash: [u8; 32]) -> [u8; 32] {
        hash[0] ^= u8::from(self.is_set(Fault::RpIdHashWrong));
        hash
    }

    pub(crate) fn flags(&self, mut flags: u8, is_assertion: bool) -> u8 {
        let toggled = |fault, bit| if self.is_set(fault) { bit } else { 0 };
        flags ^= toggled(Fault::UserPresentLie, flag::UP) | toggled(Fault::UserVerifiedLie, flag::UV);
        if is_assertion && self.is_set(Fault::BackupEligibilityChanged) {
            flags = (flags ^ flag::BE) & !flag::BS;
        }
        if self.is_set(Fault::BackupStateWithoutEligibility) {
            flags = flags & !flag::BE | flag::BS;
        }
        flags
    }

    pub(crate) fn sign_count(&self, honest: u32) -> u32 {
        let faults = [Fault::CounterStuck, Fault::CounterBackwards, Fault::CounterJumps];
        // A credential without a counter has nothing to be wrong about.
        if honest > 0 && faults.into_iter().any(|fault| self.is_set(fault)) {
            self.counter(honest)
        } else {
            honest
        }
    }

    pub(crate) fn aaguid(&self, mut aaguid: [u8; 16]) -> [u8; 16] {
        aaguid[0] ^= u8::from(self.is_set(Fault::AaguidWrong));
        aaguid
    }

    /// The id that is sent in place of this one.
    pub(crate) fn credential_id<'a>(&self, id: &'a [u8]) -> &'a [u8] {
        if self.is_set(Fault::CredentialIdEmpty) {
            &[]
        } else if self.is_set(Fault::CredentialId1023) {
            &LONG_ID[..1023]
        } else if self.is_set(Fault::CredentialId1024) {
            &LONG_ID
        } else {
            id
        }
    }

    pub(crate) fn public_key(&self, key: &mut [u8]) {
        if let Some(last) = key.last_mut().filter(|_| self.is_set(Fault::PublicKeyWrong)) {
            *last ^= 1;
        }
    }

    pub(crate) fn signature(&self, mut signature: Signature) -> Signature {
        if let Some(last) = signature.last_mut().filter(|_| self.is_set(Fault::SignatureWrong)) {
            *last ^= 1;
        }
        signature
    }

    /// The user handle that is sent in place of this one; `None` for no user at all.
    pub(crate) fn user_handle<'a>(&self, handle: &'a [u8]) -> Option<&'a [u8]> {
        if self.is_set(Fault::UserHandleForeign) {
            Some(FOREIGN_HANDLE)
        } else {
            Some(handle).filter(|_| !self.is_set(Fault::UserHandleMissing))
        }
    }

    /// Whether there is to be an output of an unknown extension.
    pub(crate) fn unknown_extension(&self) -> bool {
        self.is_set(Fault::ExtensionUnknown)
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn certificate(&self) -> crate::CertificateFault {
        if self.is_set(Fault::CertificateWrong) {
            crate::CertificateFault::Wrong
        } else if self.is_set(Fault::CertificateExpired) {
            crate::CertificateFault::Expired
        } else if self.is_set(Fault::CertificateAaguidWrong) {
            crate::CertificateFault::AaguidWrong
        } else {
            crate::CertificateFault::None
        }
    }

    /// Spoils a whole response.
    pub(crate) fn response(&self, response: &mut Message) {
        if response.len() < 2 {
            return;
        }
        if self.is_set(Fault::CborMalformed) {
            response[1] = 0xFF;
        }
        if self.is_set(Fault::CborTruncated) {
            response.truncate(response.len() / 2);
        }
        if self.is_set(Fault::CborNotCanonical) {
            // A map of n members in one byte, as 0xB8 n.
            let header = response[1];
            let _ = response.insert(2, header & 0x1F);
            response[1] = 0xB8;
        }
        if self.is_set(Fault::CborTrailing) {
            let _ = response.push(0);
        }
        if self.is_set(Fault::ResponseEmpty) {
            response.truncate(1);
        }
    }
}

/// The output of an extension that nobody knows. Longer than any name, and so the last in canonical order.
pub(crate) const UNKNOWN_EXTENSION: &str = "unknownExtensionOutput";

static LONG_ID: [u8; 1024] = [0x1D; 1024];
const FOREIGN_HANDLE: &[u8] = b"somebody else";
