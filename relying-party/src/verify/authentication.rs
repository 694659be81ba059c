//! Verifying an authentication assertion: WebAuthn Level 3 §7.2.

use super::authenticator_data::AuthenticatorData;
use super::client_data::{self, ClientData};
use super::cose::CoseKey;
use super::options::{AuthenticationOptions, CounterRule, CredentialRecord, UserVerification};
use super::registration::{describe_extensions, names};
use super::rejection::{Fact, Rejection};
use super::response::{Credential, Envelope};
use super::signature::Hash;
#[cfg(test)]
use super::tests::lenient;
use super::transcript::{Ceremony, Recorder, Refusal, Transcript, gate};

/// An assertion that every step of §7.2 accepted; what to update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// Whom the credential belongs to, from the stored record.
    pub user_handle: Vec<u8>,
    /// Whether the user was verified.
    pub user_verified: bool,
    /// BS now: to be stored.
    pub backup_state: bool,
    /// The signature counter now: to be stored, unless [`counter_regressed`](Self::counter_regressed).
    pub sign_count: u32,
    /// The counter did not grow, and [`CounterRule::Flag`] let it pass: the credential may have been copied.
    pub counter_regressed: bool,
    /// `platform` or `cross-platform`, if the client said so; unverified.
    pub attachment: Option<String>,
    /// Every step.
    pub transcript: Transcript,
}

/// Carries out §7.2 on a client's answer.
///
/// `record` is the stored credential whose id is [`Credential::raw_id`]; `None` if there is none, which step 6
/// refuses. The caller must see to it that the challenge is used once only, and updates the record after
/// everything else, a second factor included, has passed (step 24), only if the stored counter is still the
/// one that was verified against.
///
/// # Errors
///
/// [`Rejection`] names the first step that refused; the fault is the peer's, but for
/// [`Fact::StoredKeyMalformed`].
pub fn verify_authentication(
    options: &AuthenticationOptions,
    record: Option<&CredentialRecord>,
    credential: &Credential,
) -> Result<Authentication, Rejection> {
    run(Recorder::new(Ceremony::Authentication), options, record, credential)
}

/// The same with a recorder of the caller's making; tests overlook single steps through it.
pub(crate) fn run(
    mut recorder: Recorder,
    options: &AuthenticationOptions,
    record: Option<&CredentialRecord>,
    credential: &Credential,
) -> Result<Authentication, Rejection> {
    match steps(&mut recorder, options, record, credential) {
        Ok(mut authentication) => {
            authentication.transcript = recorder.finish();
            Ok(authentication)
        }
        Err(refusal) => Err(recorder.reject(refusal)),
    }
}

fn steps(
    r: &mut Recorder,
    options: &AuthenticationOptions,
    record: Option<&CredentialRecord>,
    credential: &Credential,
) -> Result<Authentication, Refusal> {
    r.caller(1, "the caller made the options");
    r.caller(2, "the client called get()");
    let envelope = gate!(r, 3, Envelope::assertion(credential), lenient::assertion(credential));
    r.pass(3, "an assertion response");
    r.pass(4, names("client extension outputs", credential.extension_results().keys().map(String::as_str)));
    r.judge(5, check_allowed(options, &envelope.id))?;
    let record = gate!(r, 6, record.ok_or(Fact::CredentialUnknown), lenient::record());
    r.judge(6, check_owner(options, record, &envelope))?;
    let bytes = &envelope.authenticator_data;
    let data = AuthenticatorData::parse(bytes).map_err(Fact::AuthenticatorDataMalformed);
    let data = gate!(r, 7, data, lenient::authenticator_data(bytes));
    r.pass(7, "client data, authenticator data and signature are there");

    let hash = client_data_steps(r, options, &envelope.client_data)?;

    r.judge(15, data.check_rp_id(&options.relying_party))?;
    r.judge(16, data.check_user_presence())?;
    r.judge(17, data.check_user_verification(options.user_verification == UserVerification::Required))?;
    r.judge(18, data.check_backup_flags())?;
    r.judge(19, check_backup_eligibility(record, &data))?;
    r.pass(20, "SHA-256 of the client data taken");

    let key = CoseKey::from_bytes(&record.public_key_cose).map_err(Fact::StoredKeyMalformed);
    let key = gate!(r, 21, key, lenient::key());
    let message = [&envelope.authenticator_data[..], &hash].concat();
    r.judge(21, check_signature(&key, &message, &envelope.signature))?;

    let counter = check_counter(record, &data);
    let counter_regressed = counter.is_err() && options.counter == CounterRule::Flag;
    r.judge(22, if counter_regressed { Ok(flagged(record, &data)) } else { counter })?;
    r.pass(23, describe_extensions(&data));
    r.caller(24, "the caller updates the record once everything else has passed");
    r.pass(25, "every step above has passed");

    Ok(Authentication {
        user_handle: record.user_handle.clone(),
        user_verified: data.flags.uv(),
        backup_state: data.flags.bs(),
        sign_count: data.sign_count,
        counter_regressed,
        attachment: credential.attachment().map(client_data::shorten),
        transcript: Transcript::default(),
    })
}

/// Steps 8 to 14; gives the hash of the client data.
fn client_data_steps(
    r: &mut Recorder,
    options: &AuthenticationOptions,
    bytes: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let text = gate!(r, 8, client_data::decode(bytes), lenient::text(bytes));
    r.pass(8, format!("{} bytes of UTF-8", bytes.len()));
    let client_data = gate!(r, 9, ClientData::parse(text), lenient::client_data(text));
    r.pass(9, "one JSON object, no member twice");
    r.judge(10, client_data.check_type("webauthn.get"))?;
    r.judge(11, client_data.check_challenge(&options.challenge))?;
    r.judge(12, client_data.check_origin(&options.relying_party))?;
    r.judge(13, client_data.check_cross_origin(&options.relying_party))?;
    r.judge(14, client_data.check_top_origin(&options.relying_party))?;
    Ok(Hash::Sha256.of(bytes))
}

fn check_allowed(options: &AuthenticationOptions, id: &[u8]) -> Result<String, Fact> {
    match &options.allow_credentials[..] {
        [] => Ok("no credential was named beforehand".into()),
        allowed if allowed.iter().any(|allowed| allowed == id) => {
            Ok(format!("one of the {} credentials allowed", allowed.len()))
        }
        _ => Err(Fact::CredentialNotAllowed),
    }
}

fn check_owner(
    options: &AuthenticationOptions,
    record: &CredentialRecord,
    envelope: &Envelope,
) -> Result<String, Fact> {
    if record.id != envelope.id {
        return Err(Fact::CredentialOfAnotherUser);
    }
    match (&options.identified_user, &envelope.user_handle) {
        (Some(user), _) if *user != record.user_handle => Err(Fact::CredentialOfAnotherUser),
        (_, Some(handle)) if *handle != record.user_handle => Err(Fact::UserHandleMismatch),
        (None, None) => Err(Fact::UserHandleMissing),
        (Some(_), _) => Ok("the user was identified before and owns the credential".into()),
        (None, Some(_)) => Ok("the user handle names the owner of the credential".into()),
    }
}

fn check_backup_eligibility(record: &CredentialRecord, data: &AuthenticatorData<'_>) -> Result<String, Fact> {
    if record.backup_eligible == data.flags.be() {
        Ok(format!(
            "BE is {} as at registration, BS is {}",
            u8::from(data.flags.be()),
            u8::from(data.flags.bs())
        ))
    } else {
        Err(Fact::BackupEligibilityChanged)
    }
}

fn check_signature(key: &CoseKey, message: &[u8], signature: &[u8]) -> Result<String, Fact> {
    if key.verify(message, signature) {
        Ok(format!("signature verifies, algorithm {}", key.alg))
    } else {
        Err(Fact::SignatureInvalid)
    }
}

fn check_counter(record: &CredentialRecord, data: &AuthenticatorData<'_>) -> Result<String, Fact> {
    match (record.sign_count, data.sign_count) {
        (0, 0) => Ok("the authenticator keeps no counter".into()),
        (stored, found) if found > stored => Ok(format!("counter grew from {stored} to {found}")),
        (stored, found) => Err(Fact::CounterNotGrown { stored, found }),
    }
}

fn flagged(record: &CredentialRecord, data: &AuthenticatorData<'_>) -> String {
    format!(
        "counter is {}, stored is {}: let pass by policy, and flagged",
        data.sign_count, record.sign_count
    )
}
