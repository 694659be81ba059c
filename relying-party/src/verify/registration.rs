//! Registering a new credential: WebAuthn Level 3 §7.1.

use super::attestation::{self, Attestation, Subject};
use super::authenticator_data::{AttestedCredential, AuthenticatorData, AuthenticatorDataError};
use super::cbor::{self, CborError, Value};
use super::client_data::{self, ClientData};
use super::cose::CoseKey;
use super::options::{CredentialRecord, Mediation, RegistrationOptions, UserVerification};
use super::rejection::{Fact, Rejection};
use super::response::{Credential, Envelope};
use super::signature::Hash;
#[cfg(test)]
use super::tests::lenient;
use super::transcript::{Ceremony, Recorder, Refusal, Transcript, gate};

/// A registration that every step of §7.1 accepted; what to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The credential id, 1 to 1023 bytes, as the authenticator signed it.
    pub credential_id: Vec<u8>,
    /// The credential public key, a `COSE_Key`, exactly as the authenticator wrote it.
    pub public_key_cose: Vec<u8>,
    /// Its COSE algorithm number.
    pub algorithm: i64,
    /// The model of authenticator; all zero if it does not tell.
    pub aaguid: [u8; 16],
    /// The first signature counter.
    pub sign_count: u32,
    /// Whether the user was present (always, but for a conditional create).
    pub user_present: bool,
    /// Whether the user was verified.
    pub user_verified: bool,
    /// BE: whether the credential may be backed up (synced); never changes in its life.
    pub backup_eligible: bool,
    /// BS: whether it is backed up now.
    pub backup_state: bool,
    /// Transports the client named, unverified; to be sent back in `allowCredentials`.
    pub transports: Vec<String>,
    /// `platform` or `cross-platform`, if the client said so; unverified.
    pub attachment: Option<String>,
    /// What the attestation says, and whether somebody we believe vouches for it.
    pub attestation: Attestation,
    /// Every step.
    pub transcript: Transcript,
}

impl Registration {
    /// The record to store, for the user with this handle.
    #[must_use]
    pub fn record(&self, user_handle: Vec<u8>) -> CredentialRecord {
        CredentialRecord {
            id: self.credential_id.clone(),
            public_key_cose: self.public_key_cose.clone(),
            sign_count: self.sign_count,
            backup_eligible: self.backup_eligible,
            backup_state: self.backup_state,
            user_handle,
        }
    }
}

/// Carries out §7.1 on a client's answer.
///
/// The caller must still see to it that the challenge is used once only, and that the credential id is new
/// (step 27), both atomically with storing the record.
///
/// # Errors
///
/// [`Rejection`] names the first step that refused; the fault is always the peer's.
pub fn verify_registration(
    options: &RegistrationOptions,
    credential: &Credential,
) -> Result<Registration, Rejection> {
    run(Recorder::new(Ceremony::Registration), options, credential)
}

/// The same with a recorder of the caller's making; tests overlook single steps through it.
pub(crate) fn run(
    mut recorder: Recorder,
    options: &RegistrationOptions,
    credential: &Credential,
) -> Result<Registration, Rejection> {
    match steps(&mut recorder, options, credential) {
        Ok(mut registration) => {
            registration.transcript = recorder.finish();
            Ok(registration)
        }
        Err(refusal) => Err(recorder.reject(refusal)),
    }
}

fn steps(
    r: &mut Recorder,
    options: &RegistrationOptions,
    credential: &Credential,
) -> Result<Registration, Refusal> {
    r.caller(1, "the caller made the options");
    r.caller(2, "the client called create()");
    let envelope = gate!(r, 3, Envelope::attestation(credential), lenient::attestation(credential));
    r.pass(3, "an attestation response");
    r.pass(4, names("client extension outputs", credential.extension_results().keys().map(String::as_str)));

    let hash = client_data_steps(r, options, &envelope.client_data)?;

    let bytes = &envelope.attestation_object;
    let object = gate!(r, 13, read_attestation_object(bytes), lenient::attestation_object(bytes));
    let (data, attested) = gate!(r, 13, object.authenticator_data(), lenient::attested(&object.auth_data));
    r.pass(
        13,
        format!(
            "format {}, authenticator data of {} bytes",
            client_data::shorten(&object.format),
            object.auth_data.len()
        ),
    );

    flag_steps(r, options, &data)?;

    let key = CoseKey::from_value(&attested.key).map_err(Fact::KeyUnacceptable);
    let key = gate!(r, 20, key, lenient::key());
    r.judge(20, check_algorithm(options, &key))?;
    r.pass(21, describe_extensions(&data));

    let subject = Subject {
        auth_data: &object.auth_data,
        data: &data,
        attested: &attested,
        key: &key,
        client_data_hash: &hash,
    };
    let mut attestation = attestation_steps(r, options, &object, &subject)?;

    r.judge(26, check_credential_id(attested.id, &envelope.id))?;
    r.caller(27, "the caller's database knows whether the credential id is new");
    r.caller(28, "the caller stores the record");
    attestation.format = object.format.clone();
    let trusted = if attestation.trusted { "trustworthy" } else { "not asked to be trustworthy" };
    r.pass(29, format!("the attestation is {trusted}"));

    Ok(Registration {
        credential_id: attested.id.to_vec(),
        public_key_cose: attested.key_bytes.to_vec(),
        algorithm: key.alg,
        aaguid: attested.aaguid,
        sign_count: data.sign_count,
        user_present: data.flags.up(),
        user_verified: data.flags.uv(),
        backup_eligible: data.flags.be(),
        backup_state: data.flags.bs(),
        transports: credential.transports(),
        attachment: credential.attachment().map(client_data::shorten),
        attestation,
        transcript: Transcript::default(),
    })
}

/// Steps 5 to 12; gives the hash of the client data.
fn client_data_steps(
    r: &mut Recorder,
    options: &RegistrationOptions,
    bytes: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let text = gate!(r, 5, client_data::decode(bytes), lenient::text(bytes));
    r.pass(5, format!("{} bytes of UTF-8", bytes.len()));
    let client_data = gate!(r, 6, ClientData::parse(text), lenient::client_data(text));
    r.pass(6, "one JSON object, no member twice");
    r.judge(7, client_data.check_type("webauthn.create"))?;
    r.judge(8, client_data.check_challenge(&options.challenge))?;
    r.judge(9, client_data.check_origin(&options.relying_party))?;
    r.judge(10, client_data.check_cross_origin(&options.relying_party))?;
    r.judge(11, client_data.check_top_origin(&options.relying_party))?;
    r.pass(12, "SHA-256 of the client data taken");
    Ok(Hash::Sha256.of(bytes))
}

/// Steps 14 to 19.
fn flag_steps(
    r: &mut Recorder,
    options: &RegistrationOptions,
    data: &AuthenticatorData<'_>,
) -> Result<(), Refusal> {
    r.judge(14, data.check_rp_id(&options.relying_party))?;
    if options.mediation == Mediation::Conditional {
        r.pass(15, "a conditional create needs no user presence");
    } else {
        r.judge(15, data.check_user_presence())?;
    }
    r.judge(16, data.check_user_verification(options.user_verification == UserVerification::Required))?;
    r.judge(17, data.check_backup_flags())?;
    r.pass(18, format!("BE is {}", u8::from(data.flags.be())));
    r.pass(19, format!("BS is {}", u8::from(data.flags.bs())));
    Ok(())
}

/// Steps 22 to 25.
fn attestation_steps(
    r: &mut Recorder,
    options: &RegistrationOptions,
    object: &AttestationObject,
    subject: &Subject<'_>,
) -> Result<Attestation, Refusal> {
    let unknown = || Fact::AttestationFormatUnknown(client_data::shorten(&object.format));
    let format = attestation::Format::named(&object.format).ok_or_else(unknown);
    let format = gate!(r, 22, format, Some(attestation::Format::None));
    r.pass(22, format!("format {} is known", object.format));
    let verified = attestation::verify(format, &object.statement, subject);
    r.judge(23, verified.as_ref().map(Attestation::to_string).map_err(|why| Fact::AttestationWrong(*why)))?;
    let mut attestation = verified.unwrap_or_default();
    r.pass(24, options.attestation.describe());
    let trust = attestation::assess(&attestation, &options.attestation);
    attestation.trusted = trust.is_ok() && options.attestation.is_required();
    r.judge(25, trust.map_err(Fact::AttestationUntrusted))?;
    Ok(attestation)
}

/// An attestation object (§6.5.4), taken apart.
pub(super) struct AttestationObject {
    pub(super) format: String,
    pub(super) statement: Value,
    pub(super) auth_data: Vec<u8>,
}

pub(super) fn read_attestation_object(bytes: &[u8]) -> Result<AttestationObject, Fact> {
    let malformed = Fact::AttestationObjectMalformed;
    let value = cbor::read(bytes).map_err(malformed)?;
    let map = value.as_map().ok_or(malformed(CborError::Member("attestationObject")))?;
    let member = |name: &'static str| cbor::member(map, name).ok_or(malformed(CborError::Member(name)));
    let wrong = |name: &'static str| malformed(CborError::Member(name));
    Ok(AttestationObject {
        format: member("fmt")?.as_text().ok_or_else(|| wrong("fmt"))?.to_owned(),
        statement: member("attStmt")?.clone(),
        auth_data: member("authData")?.as_bytes().ok_or_else(|| wrong("authData"))?.clone(),
    })
}

impl AttestationObject {
    pub(super) fn authenticator_data(&self) -> Result<(AuthenticatorData<'_>, AttestedCredential<'_>), Fact> {
        let mut data = AuthenticatorData::parse(&self.auth_data).map_err(Fact::AuthenticatorDataMalformed)?;
        let none = AuthenticatorDataError::NoAttestedCredential;
        let attested = data.attested.take().ok_or(Fact::AuthenticatorDataMalformed(none))?;
        Ok((data, attested))
    }
}

fn check_algorithm(options: &RegistrationOptions, key: &CoseKey) -> Result<String, Fact> {
    if options.algorithms.contains(&key.alg) {
        Ok(format!("algorithm {} was offered, a good {:?} key", key.alg, key.key))
    } else {
        Err(Fact::AlgorithmNotOffered(key.alg))
    }
}

fn check_credential_id(attested: &[u8], envelope: &[u8]) -> Result<String, Fact> {
    match attested.len() {
        1..=1023 if attested == envelope => Ok(format!("credential id of {} bytes", attested.len())),
        1..=1023 => Err(Fact::CredentialIdMismatch),
        length => Err(Fact::CredentialIdLength(length)),
    }
}

pub(crate) fn describe_extensions(data: &AuthenticatorData<'_>) -> String {
    let outputs = data.extensions.and_then(|bytes| cbor::read(bytes).ok());
    let entries = outputs.as_ref().and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
    names("authenticator extension outputs", entries.iter().filter_map(|(name, _)| name.as_text()))
}

pub(crate) fn names<'t>(what: &str, names: impl Iterator<Item = &'t str>) -> String {
    let listed: Vec<_> = names.take(16).map(client_data::shorten).collect();
    if listed.is_empty() { format!("no {what}") } else { format!("{what}: {}", listed.join(", ")) }
}
