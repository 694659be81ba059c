//! The end of a registration (§7.1): what was asked, the verifier's verdict, policy, and what there is to store.

use super::details::{of_refused_registration, of_registration};
use super::{Asked, Kind, Refused, aaguid_text, challenge, relying_party};
use crate::failure::Failure;
use crate::metadata::{MetadataPolicy, Treatment};
use crate::policy::{MetadataRule, Policy};
use crate::secret;
use crate::session::Visit;
use crate::store::Passkey;
use crate::verify::{
    AttestationTrust, Credential, Mediation, Registration, RegistrationOptions, verify_registration,
};

/// A registration that was verified, and that policy has nothing against.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) asked: Asked,
    pub(crate) registration: Registration,
    /// What metadata says of the model, where somebody should look.
    pub(super) doubts: Vec<String>,
}

/// Finishes a registration: takes the challenge, verifies the answer. Nothing is stored yet.
pub(crate) async fn finish_registration(
    visit: &Visit,
    kind: Kind,
    credential: &Credential,
) -> Result<Registered, Refused> {
    let (taken, asked) = challenge::take(visit, kind, credential).await?;
    if taken.user_id.as_deref().is_some_and(|user_id| Some(user_id) != subject_of(visit, kind)) {
        return Err(Refused::because(Failure::ChallengeUnknown, "the challenge was issued for another user"));
    }
    let policy = visit.app.policy().await?;
    let options = RegistrationOptions {
        relying_party: relying_party(visit, &policy),
        challenge: taken.challenge.clone(),
        algorithms: asked.algorithms.clone(),
        user_verification: asked.user_verification,
        mediation: if asked.conditional { Mediation::Conditional } else { Mediation::Optional },
        attestation: AttestationTrust::NotRequired,
    };
    let refusal = || Failure::EnrollmentRefused { orphan: orphan(credential) };
    let registration = verify_registration(&options, credential).map_err(|rejection| {
        Refused::by(rejection, refusal(), None, of_refused_registration(&asked, credential))
    })?;
    match doubts(visit, &policy, &registration) {
        Ok(doubts) => Ok(Registered { asked, registration, doubts }),
        Err(why) => {
            let (facts, refused) = (of_registration(&asked, &registration), Refused::because(refusal(), why));
            Err(Refused { transcript: Some(registration.transcript), facts, ..refused })
        }
    }
}

/// What somebody should look at about the model of an authenticator; or what the policy has against it.
fn doubts(visit: &Visit, policy: &Policy, registration: &Registration) -> Result<Vec<String>, String> {
    let format = &registration.attestation.format;
    if !policy.passkey.formats.is_empty() && !policy.passkey.formats.contains(format) {
        return Err(format!("the policy does not accept the attestation format {format}"));
    }
    let doubt = match (policy.passkey.metadata, &visit.app.metadata) {
        (MetadataRule::Required, None) => return Err("the policy wants metadata, and none was loaded".into()),
        (MetadataRule::Required, _) => Treatment::Refuse,
        (MetadataRule::Reports, _) => Treatment::Warn,
    };
    let Some(metadata) = &visit.app.metadata else { return Ok(Vec::new()) };
    let rules = MetadataPolicy { unproven: doubt, unknown: doubt, overdue: Treatment::Warn };
    let now_s = u64::try_from(visit.app.now() / 1000).unwrap_or_default();
    let assessment = metadata.assess(registration, &rules, now_s);
    match assessment.treatment {
        Treatment::Accept => Ok(Vec::new()),
        Treatment::Warn => Ok(assessment.reasons),
        Treatment::Refuse => Err(assessment.reasons.join("; ")),
    }
}

/// The user that a registration of this session can be for: who has proved an address for a recovery, and for all else who
/// is logged in. They need not be the same.
fn subject_of(visit: &Visit, kind: Kind) -> Option<&str> {
    if kind != Kind::Recover {
        return visit.user_id();
    }
    let recovery = visit.data.recovery.as_ref();
    recovery.and_then(|recovery| recovery.proved.as_ref()).map(|proved| proved.user_id.as_str())
}

/// The credential id that the provider should forget after a registration that was refused.
pub(crate) fn orphan(credential: &Credential) -> Option<String> {
    credential.raw_id().map(|id| secret::text(&id))
}

/// The passkey to store for a registration.
pub(crate) fn new_passkey(visit: &Visit, user_id: &str, registration: &Registration) -> Passkey {
    Passkey {
        credential_id: registration.credential_id.clone(),
        id: visit.app.new_id("pky"),
        user_id: user_id.to_string(),
        public_key: registration.public_key_cose.clone(),
        sign_count: registration.sign_count,
        backup_eligible: registration.backup_eligible,
        backup_state: registration.backup_state,
        user_verified: registration.user_verified,
        aaguid: aaguid_text(&registration.aaguid),
        transports: registration.transports.clone(),
        attachment: registration.attachment.clone(),
        name: None,
        user_agent: visit.source.user_agent.clone(),
        created_at: visit.app.now(),
        last_used_at: None,
    }
}
