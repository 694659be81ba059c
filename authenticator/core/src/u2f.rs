//! U2F raw messages (CTAP1): registration and authentication for platforms that know no CTAP2.
//!
//! The touch is waited for, with keepalives as for any other command, and not polled for: a platform that gets
//! `SW_CONDITIONS_NOT_SATISFIED` after all may ask again. A key handle is the id of a credential that is kept in its
//! own id, so that what was registered here also serves in authenticatorGetAssertion (CTAP §7.2.3).

mod apdu;
mod certificate;

use heapless::Vec;
use rand_core::CryptoRng;

use crate::authenticator::{Authenticator, Message, Reply};
use crate::cbor::{Item, Writer};
use crate::configuration::Version;
use crate::credential::{CREDENTIAL_ID_MAX, Credential, CredentialProtection};
use crate::key::{Algorithm, PrivateKey};
use crate::pending::Pending;
use crate::status::Step;
use crate::store::CredentialStore;
use crate::user::Answer;
use crate::wrapped;

use apdu::Apdu;

/// A U2F request that waits for the touch.
#[expect(clippy::large_enum_variant, reason = "without an allocator it has to be somewhere")]
pub(crate) enum U2fRequest {
    /// U2F_REGISTER.
    Register { challenge: [u8; 32], application: [u8; 32] },
    /// U2F_AUTHENTICATE with "enforce user presence and sign".
    Authenticate { challenge: [u8; 32], application: [u8; 32], key_handle: Vec<u8, CREDENTIAL_ID_MAX> },
}

/// Status words (U2F raw message formats §3.3; ISO 7816-4 §5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Word {
    NoError = 0x9000,
    WrongLength = 0x6700,
    ConditionsNotSatisfied = 0x6985,
    /// U2F is switched off (CTAP §7.2.4).
    CommandNotAllowed = 0x6986,
    /// The key handle was not made by this device, or not for this application.
    WrongData = 0x6A80,
    InstructionNotSupported = 0x6D00,
    ClassNotSupported = 0x6E00,
    /// Something failed in here.
    Unknown = 0x6F00,
}

/// What a request comes to.
#[expect(clippy::large_enum_variant, reason = "without an allocator it has to be somewhere")]
enum Next {
    /// The response is in the buffer, but for the status word.
    Respond,
    Ask(U2fRequest),
}

impl<S: CredentialStore, R: CryptoRng> Authenticator<S, R> {
    /// Handles an APDU. The response ends with a status word.
    pub(crate) fn u2f_message(&mut self, apdu: &[u8], response: &mut Message) -> Step<Reply> {
        match self.u2f_request(apdu, response) {
            Ok(Next::Ask(request)) => Ok(Reply::Ask(Pending::U2f(request))),
            Ok(Next::Respond) => finish(Ok(()), response),
            Err(word) => finish(Err(word), response),
        }
    }

    /// The user answered.
    pub(crate) fn u2f_answered(
        &mut self,
        request: &U2fRequest,
        answer: Answer,
        response: &mut Message,
    ) -> Step<Reply> {
        response.clear();
        let result = match (request, answer) {
            (U2fRequest::Register { challenge, application }, Answer::Approve { .. }) => {
                self.register(challenge, application, response)
            }
            (U2fRequest::Authenticate { challenge, application, key_handle }, Answer::Approve { .. }) => {
                self.authenticate(challenge, application, key_handle, USER_PRESENT, response)
            }
            _ => Err(Word::ConditionsNotSatisfied),
        };
        finish(result, response)
    }

    fn u2f_request(&mut self, apdu: &[u8], response: &mut Message) -> Result<Next, Word> {
        if !self.configuration.speaks(Version::U2fV2) {
            return Err(Word::InstructionNotSupported);
        }
        let apdu = Apdu::parse(apdu).ok_or(Word::WrongLength)?;
        if apdu.class != 0 {
            return Err(Word::ClassNotSupported);
        }
        match apdu.instruction {
            VERSION if !apdu.data.is_empty() => Err(Word::WrongLength),
            VERSION => {
                let _ = response.extend_from_slice(Version::U2fV2.name().as_bytes());
                Ok(Next::Respond)
            }
            REGISTER | AUTHENTICATE if self.settings().map_err(|_| Word::Unknown)?.always_uv => {
                Err(Word::CommandNotAllowed)
            }
            REGISTER => {
                let (challenge, rest) = apdu.data.split_first_chunk().ok_or(Word::WrongLength)?;
                let application = rest.try_into().map_err(|_| Word::WrongLength)?;
                Ok(Next::Ask(U2fRequest::Register { challenge: *challenge, application }))
            }
            AUTHENTICATE => self.authenticate_request(apdu, response),
            _ => Err(Word::InstructionNotSupported),
        }
    }

    /// U2F_AUTHENTICATE up to the touch (§5.1).
    fn authenticate_request(&mut self, apdu: Apdu<'_>, response: &mut Message) -> Result<Next, Word> {
        let (challenge, rest) = apdu.data.split_first_chunk().ok_or(Word::WrongLength)?;
        let (application, rest) = rest.split_first_chunk().ok_or(Word::WrongLength)?;
        let (&length, key_handle) = rest.split_first().ok_or(Word::WrongLength)?;
        if key_handle.len() != usize::from(length) {
            return Err(Word::WrongLength);
        }
        self.u2f_credential(application, key_handle)?;
        match apdu.parameter_1 {
            // A handle of this device: that is all that was asked, and this is how it is said.
            CHECK_ONLY => Err(Word::ConditionsNotSatisfied),
            ENFORCE_USER_PRESENCE => Ok(Next::Ask(U2fRequest::Authenticate {
                challenge: *challenge,
                application: *application,
                key_handle: Vec::from_slice(key_handle).map_err(|_| Word::WrongData)?,
            })),
            DONT_ENFORCE_USER_PRESENCE => {
                self.authenticate(challenge, application, key_handle, 0, response)?;
                Ok(Next::Respond)
            }
            _ => Err(Word::WrongData),
        }
    }

    /// U2F_REGISTER from the touch on (§4.3).
    ///
    /// | offset | size | |
    /// |---|---|---|
    /// | 0 | 1 | 5 |
    /// | 1 | 65 | public key, an uncompressed point |
    /// | 66 | 1 | length *n* of the key handle |
    /// | 67 | *n* | key handle |
    /// | 67 + *n* | | attestation certificate |
    /// | | | signature |
    fn register(
        &mut self,
        challenge: &[u8; 32],
        application: &[u8; 32],
        response: &mut Message,
    ) -> Result<(), Word> {
        let mut credential = u2f_credential(application, &mut self.rng);
        let identity = self.identity().map_err(|_| Word::Unknown)?;
        credential.id =
            wrapped::wrap(&identity.wrapping_key, &mut self.rng, &credential).map_err(|_| Word::Unknown)?;
        let point = point(&credential.key).ok_or(Word::Unknown)?;
        let length = u8::try_from(credential.id.len()).map_err(|_| Word::Unknown)?;
        push(response, &[&[0x05], &point, &[length], &credential.id])?;
        if self.attest_u2f(challenge, &credential, response)? {
            return Ok(());
        }
        let certificate = certificate::self_signed(&credential.key, &point).ok_or(Word::Unknown)?;
        let mut signed = Vec::<u8, SIGNED_MAX>::new();
        for part in [&[0x00][..], application, challenge, &credential.id, &point] {
            signed.extend_from_slice(part).map_err(|_| Word::Unknown)?;
        }
        let signature = credential.key.sign(&signed).ok_or(Word::Unknown)?;
        push(response, &[&certificate, &signature])
    }

    /// Certificate and signature of the configuration's `fido-u2f` attestation; `false` if it has none.
    #[cfg(feature = "alloc")]
    fn attest_u2f(
        &self,
        challenge: &[u8; 32],
        credential: &Credential,
        response: &mut Message,
    ) -> Result<bool, Word> {
        use crate::attestation::{Attestation, AttestationRequest, Statement};

        let attester = self.configuration.attestation.iter().find_map(|attestation| match attestation {
            Attestation::By(attester) if attester.format() == "fido-u2f" => Some(attester),
            _ => None,
        });
        let Some(attester) = attester else { return Ok(false) };
        let mut public_key = Vec::<u8, COSE_KEY_MAX>::new();
        credential.key.write_public(&mut Writer::new(&mut public_key));
        let request = AttestationRequest {
            authenticator_data: &[],
            client_data_hash: challenge,
            rp_id_hash: &credential.rp_id_hash,
            credential_id: &credential.id,
            public_key: &public_key,
            key: &credential.key,
            fault: self.configuration.faults.certificate(),
        };
        let Some(Statement::Members(members)) = attester.attest(&request) else {
            return Err(Word::Unknown);
        };
        let certificate = members.x5c.first().ok_or(Word::Unknown)?;
        push(response, &[certificate, &members.sig.ok_or(Word::Unknown)?])?;
        Ok(true)
    }

    /// Without the host's formats there are none.
    #[cfg(not(feature = "alloc"))]
    fn attest_u2f(&self, _: &[u8; 32], _: &Credential, _: &mut Message) -> Result<bool, Word> {
        Ok(false)
    }

    /// U2F_AUTHENTICATE from the touch on (§5.4): user presence, counter and signature.
    fn authenticate(
        &mut self,
        challenge: &[u8; 32],
        application: &[u8; 32],
        key_handle: &[u8],
        user_presence: u8,
        response: &mut Message,
    ) -> Result<(), Word> {
        let (credential, stored) = self.u2f_credential(application, key_handle)?;
        let counter = match credential.sign_count {
            Some(_) => self.store.next_sign_count(stored.then_some(key_handle)).map_err(|_| Word::Unknown)?,
            None => 0,
        }
        .to_be_bytes();
        let mut signed = Vec::<u8, SIGNED_MAX>::new();
        for part in [&application[..], &[user_presence], &counter, challenge] {
            signed.extend_from_slice(part).map_err(|_| Word::Unknown)?;
        }
        let signature = credential.key.sign(&signed).ok_or(Word::Unknown)?;
        push(response, &[&[user_presence], &counter, &signature])
    }

    /// The credential with this handle and whether the store has it, if U2F may use it: an ES256 one that does not
    /// ask for user verification.
    fn u2f_credential(
        &mut self,
        application: &[u8; 32],
        key_handle: &[u8],
    ) -> Result<(Credential, bool), Word> {
        let found = self.find(application, key_handle).map_err(|_| Word::Unknown)?.ok_or(Word::WrongData)?;
        let usable = found.credential.key.algorithm() == Algorithm::Es256
            && found.credential.protection != CredentialProtection::Required;
        if usable { Ok((found.credential, found.stored)) } else { Err(Word::WrongData) }
    }
}

/// A new credential for an application, but for its id.
fn u2f_credential(application: &[u8; 32], rng: &mut impl CryptoRng) -> Credential {
    Credential {
        sign_count: Some(0),
        ..Credential::new(*application, PrivateKey::generate(Algorithm::Es256, rng))
    }
}

/// The public key as an uncompressed point, from its COSE form.
fn point(key: &PrivateKey) -> Option<[u8; 65]> {
    let mut cose = Vec::<u8, COSE_KEY_MAX>::new();
    let mut writer = Writer::new(&mut cose);
    key.write_public(&mut writer);
    writer.finish().ok()?;
    let key = Item::parse(&cose).ok()?.map().ok()?;
    let mut point = [0x04; 65];
    point[1..33].copy_from_slice(key.get(-2)?.bytes().ok()?);
    point[33..].copy_from_slice(key.get(-3)?.bytes().ok()?);
    Some(point)
}

fn push(response: &mut Message, parts: &[&[u8]]) -> Result<(), Word> {
    parts.iter().try_for_each(|part| response.extend_from_slice(part).map_err(|_| Word::Unknown))
}

/// Ends the response with a status word; one that is an error stands alone.
fn finish(result: Result<(), Word>, response: &mut Message) -> Step<Reply> {
    let word = match result {
        Ok(()) => Word::NoError,
        Err(word) => {
            response.clear();
            word
        }
    };
    let _ = response.extend_from_slice(&(word as u16).to_be_bytes());
    Ok(Reply::Done)
}

// Instructions.
const REGISTER: u8 = 0x01;
const AUTHENTICATE: u8 = 0x02;
const VERSION: u8 = 0x03;

// Control bytes of U2F_AUTHENTICATE.
const CHECK_ONLY: u8 = 0x07;
const ENFORCE_USER_PRESENCE: u8 = 0x03;
const DONT_ENFORCE_USER_PRESENCE: u8 = 0x08;

/// The user presence byte after a touch.
const USER_PRESENT: u8 = 0x01;

/// The longest message that is signed: 0, application, challenge, key handle, public key.
const SIGNED_MAX: usize = 1 + 32 + 32 + CREDENTIAL_ID_MAX + 65;
/// A P-256 key in COSE form has 77 bytes.
const COSE_KEY_MAX: usize = 80;
