//! Self-contained cases: one JSON object a line in, one JSON verdict a line out.
//!
//! The format behind `doppelkey verify`; each case carries its options, the stored record and the client's
//! answer. All byte strings are base64url without padding, unknown members are ignored.
//!
//! | member | meaning |
//! |---|---|
//! | `id` | anything; copied to the verdict |
//! | `ceremony` | `registration` or `authentication` |
//! | `challenge` | the challenge that was issued |
//! | `policy.rp_id`, `policy.origins` | the RP ID; the exact origins allowed |
//! | `policy.algs` | registration: COSE algorithms offered; all that are supported if absent |
//! | `policy.user_verification` | `required`, `preferred` (default), `discouraged` |
//! | `policy.cross_origin`, `policy.top_origins` | whether a cross-origin iframe is expected; top origins allowed |
//! | `policy.mediation` | `optional` (default) or `conditional` |
//! | `policy.allow_credentials` | authentication: ids that were sent; none if empty |
//! | `policy.identified_user` | authentication: the user handle of a user identified before |
//! | `policy.attestation` | registration: `{anchors, now_s, accept_self, accept_none}`, if trust is required |
//! | `policy.counter` | authentication: `refuse` (default) or `flag` |
//! | `record` | authentication: the stored credential; absent if none is stored |
//! | `credential` | the client's answer, `PublicKeyCredential.toJSON()` |
//!
//! ```
//! use doppelkey_relying_party::verify::cases;
//!
//! let verdict = cases::verdict(r#"{
//!     "id": 1, "ceremony": "registration", "challenge": "AAAA",
//!     "policy": {"rp_id": "example.org", "origins": ["https://example.org"]},
//!     "credential": {"type": "public-key", "id": "AQ", "rawId": "Ag"}
//! }"#);
//! assert!(verdict.is_case());
//! assert_eq!(
//!     verdict.to_json(false),
//!     r#"{"id":1,"verdict":"reject","step":"7.1-3","found":"id and rawId are not the same exact base64url"}"#,
//! );
//! ```

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::options::{
    AttestationTrust, AuthenticationOptions, CounterRule, CredentialRecord, Mediation, RegistrationOptions,
    RelyingParty, SUPPORTED_ALGORITHMS, UserVerification,
};
use super::response::{Credential, base64url};
use super::transcript::{Ceremony, Recorder, Step, Transcript};
use super::{Rejection, authentication, registration};

/// The verdict on one line.
#[derive(Clone, Debug)]
pub struct CaseVerdict {
    id: Value,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    Accept(Transcript),
    Reject(Rejection),
    /// Not a case at all.
    Error(String),
}

/// Judges one line.
#[must_use]
pub fn verdict(line: &str) -> CaseVerdict {
    judge_line(line, Recorder::new)
}

/// The same by a verifier that is blind to one step.
#[cfg(test)]
pub(crate) fn verdict_overlooking(line: &str, number: u8) -> CaseVerdict {
    judge_line(line, |ceremony| Recorder::overlooking(ceremony, number))
}

fn judge_line(line: &str, recorder: impl FnOnce(Ceremony) -> Recorder) -> CaseVerdict {
    match serde_json::from_str::<Case>(line) {
        Ok(case) => CaseVerdict { id: case.id.clone(), outcome: judge(case, recorder) },
        Err(why) => CaseVerdict { id: Value::Null, outcome: Outcome::Error(format!("not a case: {why}")) },
    }
}

fn judge(case: Case, recorder: impl FnOnce(Ceremony) -> Recorder) -> Outcome {
    let credential = Credential::from_json(case.credential);
    let outcome = match case.ceremony {
        CaseCeremony::Registration => {
            let options = case.policy.registration(case.challenge.0);
            let recorder = recorder(Ceremony::Registration);
            registration::run(recorder, &options, &credential).map(|accepted| accepted.transcript)
        }
        CaseCeremony::Authentication => {
            let options = case.policy.authentication(case.challenge.0);
            let record = case.record.map(CredentialRecord::from);
            let recorder = recorder(Ceremony::Authentication);
            authentication::run(recorder, &options, record.as_ref(), &credential)
                .map(|accepted| accepted.transcript)
        }
    };
    outcome.map_or_else(Outcome::Reject, Outcome::Accept)
}

impl CaseVerdict {
    /// Whether the line was a case.
    #[must_use]
    pub fn is_case(&self) -> bool {
        !matches!(self.outcome, Outcome::Error(_))
    }

    /// Whether the case was accepted.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accept(_))
    }

    /// The step that refused, if one did.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        match &self.outcome {
            Outcome::Reject(rejection) => Some(rejection.step),
            _ => None,
        }
    }

    /// The verdict as one line of JSON, with the transcript if asked for.
    #[must_use]
    pub fn to_json(&self, with_transcript: bool) -> String {
        let (verdict, step, found, transcript) = match &self.outcome {
            Outcome::Accept(transcript) => (
                "accept",
                Some(None),
                format!("{} steps, none refused", transcript.lines().len()),
                Some(transcript),
            ),
            Outcome::Reject(why) => {
                ("reject", Some(Some(why.step)), why.fact.to_string(), Some(&why.transcript))
            }
            Outcome::Error(why) => ("error", None, why.clone(), None),
        };
        let transcript = transcript.filter(|_| with_transcript);
        let line = VerdictLine { id: &self.id, verdict, step, found, transcript };
        serde_json::to_string(&line).expect("a verdict has text keys only")
    }
}

#[derive(Serialize)]
struct VerdictLine<'a> {
    id: &'a Value,
    verdict: &'static str,
    /// Absent when the line was no case, null when no step refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<Option<Step>>,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<&'a Transcript>,
}

#[derive(Deserialize)]
struct Case {
    id: Value,
    ceremony: CaseCeremony,
    challenge: Bytes,
    policy: Policy,
    #[serde(default)]
    record: Option<Record>,
    credential: Value,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CaseCeremony {
    Registration,
    Authentication,
}

#[derive(Deserialize)]
struct Policy {
    rp_id: String,
    origins: Vec<String>,
    algs: Option<Vec<i64>>,
    user_verification: Option<UserVerification>,
    cross_origin: Option<bool>,
    top_origins: Option<Vec<String>>,
    mediation: Option<Mediation>,
    allow_credentials: Option<Vec<Bytes>>,
    identified_user: Option<Bytes>,
    attestation: Option<Trust>,
    counter: Option<CounterRule>,
}

impl Policy {
    fn relying_party(&mut self) -> RelyingParty {
        RelyingParty {
            rp_id: std::mem::take(&mut self.rp_id),
            origins: std::mem::take(&mut self.origins),
            cross_origin: self.cross_origin.unwrap_or(false),
            top_origins: self.top_origins.take().unwrap_or_default(),
        }
    }

    fn registration(mut self, challenge: Vec<u8>) -> RegistrationOptions {
        RegistrationOptions {
            relying_party: self.relying_party(),
            challenge,
            algorithms: self.algs.unwrap_or_else(|| SUPPORTED_ALGORITHMS.to_vec()),
            user_verification: self.user_verification.unwrap_or_default(),
            mediation: self.mediation.unwrap_or_default(),
            attestation: self.attestation.map_or(AttestationTrust::NotRequired, AttestationTrust::from),
        }
    }

    fn authentication(mut self, challenge: Vec<u8>) -> AuthenticationOptions {
        AuthenticationOptions {
            relying_party: self.relying_party(),
            challenge,
            user_verification: self.user_verification.unwrap_or_default(),
            allow_credentials: plain(self.allow_credentials.unwrap_or_default()),
            identified_user: self.identified_user.map(|user| user.0),
            counter: self.counter.unwrap_or_default(),
        }
    }
}

#[derive(Deserialize)]
struct Trust {
    anchors: Vec<Bytes>,
    now_s: u64,
    #[serde(default)]
    accept_self: bool,
    #[serde(default)]
    accept_none: bool,
}

impl From<Trust> for AttestationTrust {
    fn from(trust: Trust) -> Self {
        let Trust { anchors, now_s, accept_self, accept_none } = trust;
        Self::Required { anchors: plain(anchors), now_s, accept_self, accept_none }
    }
}

#[derive(Deserialize)]
struct Record {
    id: Bytes,
    public_key_cose: Bytes,
    #[serde(default)]
    sign_count: u32,
    #[serde(default)]
    backup_eligible: bool,
    #[serde(default)]
    backup_state: bool,
    user_handle: Option<Bytes>,
}

impl From<Record> for CredentialRecord {
    fn from(record: Record) -> Self {
        Self {
            id: record.id.0,
            public_key_cose: record.public_key_cose.0,
            sign_count: record.sign_count,
            backup_eligible: record.backup_eligible,
            backup_state: record.backup_state,
            user_handle: record.user_handle.map(|handle| handle.0).unwrap_or_default(),
        }
    }
}

/// A byte string in base64url.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64url(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not base64url without padding"))
    }
}

fn plain(bytes: Vec<Bytes>) -> Vec<Vec<u8>> {
    bytes.into_iter().map(|bytes| bytes.0).collect()
}
