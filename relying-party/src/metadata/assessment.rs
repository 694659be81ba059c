//! Whether to trust a model of authenticator: its attestation against its metadata.

use super::{Entry, Metadata};
use crate::verify::trust::{Certificate, Hash, RevocationLists, chains_to};
use crate::verify::{Attestation, AttestationKind, Registration};

/// What to do about a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// Nothing speaks against it.
    Accept,
    /// It may pass; somebody should look.
    Warn,
    /// It must not pass.
    Refuse,
}

/// What the operator thinks of what metadata cannot tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataPolicy {
    /// The model is not proven: no attestation, or self attestation of a model that should do better.
    pub unproven: Treatment,
    /// The model has no entry.
    pub unknown: Treatment,
    /// The BLOB, or a revocation list, is older than its own `nextUpdate` allows.
    pub overdue: Treatment,
}

impl Default for MetadataPolicy {
    /// Refuses what is not proven or not known; an overdue BLOB only warns, for it is still better than none.
    fn default() -> Self {
        Self { unproven: Treatment::Refuse, unknown: Treatment::Refuse, overdue: Treatment::Warn }
    }
}

/// A judgement, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What to do.
    pub treatment: Treatment,
    /// What was found, in plain words, worst or not.
    pub reasons: Vec<String>,
    /// The model's name, if it has an entry.
    pub description: Option<String>,
}

impl Assessment {
    fn note(&mut self, treatment: Treatment, reason: impl Into<String>) {
        self.treatment = self.treatment.max(treatment);
        self.reasons.push(reason.into());
    }
}

impl Metadata {
    /// Judges a registration that was verified already; `now_s` is Unix time in seconds.
    ///
    /// All reports that are in effect count, whatever came later: a model that was compromised once stays
    /// suspect, for an update does not reach every device.
    #[must_use]
    pub fn assess(&self, registration: &Registration, policy: &MetadataPolicy, now_s: u64) -> Assessment {
        let mut assessment =
            Assessment { treatment: Treatment::Accept, reasons: Vec::new(), description: None };
        if self.is_overdue(now_s) {
            let reason = format!("metadata is overdue: the next was expected on {}", self.next_update());
            assessment.note(policy.overdue, reason);
        }
        for issuer in self.revoked.overdue(now_s) {
            assessment.note(policy.overdue, format!("the revocation list of {issuer} is overdue"));
        }
        let attestation = &registration.attestation;
        let Some(entry) = self.entry_of(registration) else {
            assessment.note(policy.unknown, "the model has no metadata");
            return assessment;
        };
        assessment.description = Some(entry.description.clone());
        match proof(entry, attestation, &self.revoked, now_s) {
            Ok(found) => assessment.note(Treatment::Accept, found),
            Err(Unproven::NotTried(why)) => assessment.note(policy.unproven, why),
            Err(Unproven::Wrong(why)) => assessment.note(Treatment::Refuse, why),
        }
        let in_effect =
            entry.reports.iter().filter(|report| report.effective_s.is_none_or(|from| from <= now_s));
        for report in in_effect {
            assessment.note(treatment_of(&report.status), format!("reported: {}", report.status));
        }
        assessment
    }

    /// By AAGUID; a U2F statement does not sign that, and is found by its certificate's key.
    fn entry_of(&self, registration: &Registration) -> Option<&Entry> {
        if registration.aaguid != [0; 16] && !is_u2f(&registration.attestation) {
            return self.entry(&registration.aaguid);
        }
        let keys: Vec<_> =
            registration.attestation.certificates.iter().filter_map(|der| key_identifier(der)).collect();
        self.entries().iter().find(|entry| entry.certificate_keys.iter().any(|key| keys.contains(key)))
    }
}

fn is_u2f(attestation: &Attestation) -> bool {
    attestation.format == "fido-u2f"
}

enum Unproven {
    /// The statement does not try to prove the model.
    NotTried(&'static str),
    /// It tries, and fails.
    Wrong(String),
}

fn proof(
    entry: &Entry,
    attestation: &Attestation,
    lists: &RevocationLists,
    now_s: u64,
) -> Result<String, Unproven> {
    if is_u2f(attestation) && entry.aaguid.is_some() {
        return Err(Unproven::NotTried("a U2F statement proves no AAGUID"));
    }
    match attestation.kind {
        AttestationKind::None => Err(Unproven::NotTried("no attestation proves the model")),
        AttestationKind::SelfSigned if entry.attests_itself => {
            Ok("self attestation, as the model does".into())
        }
        AttestationKind::SelfSigned => Err(Unproven::NotTried("self attestation proves no model")),
        AttestationKind::Compound => {
            let proofs: Vec<_> =
                attestation.parts.iter().map(|part| proof(entry, part, lists, now_s)).collect();
            let mut refused = Err(Unproven::NotTried("no part proves the model"));
            for proof in proofs {
                match proof {
                    Ok(found) => return Ok(found),
                    Err(Unproven::Wrong(why)) => refused = Err(Unproven::Wrong(why)),
                    Err(Unproven::NotTried(_)) => {}
                }
            }
            refused
        }
        _ => chains_to(&attestation.certificates, &entry.roots, lists, now_s)
            .map(|anchor| format!("attestation chains to {anchor}"))
            .map_err(|why| Unproven::Wrong(format!("attestation is not the model's: {why}"))),
    }
}

/// Metadata Service 3 §3.1.4, by what a report means for a relying party.
fn treatment_of(status: &str) -> Treatment {
    match status {
        "REVOKED"
        | "USER_VERIFICATION_BYPASS"
        | "ATTESTATION_KEY_COMPROMISE"
        | "USER_KEY_REMOTE_COMPROMISE"
        | "USER_KEY_PHYSICAL_COMPROMISE" => Treatment::Refuse,
        "UPDATE_AVAILABLE" | "NOT_FIDO_CERTIFIED" | "SELF_ASSERTION_SUBMITTED" | "RETIRED" => Treatment::Warn,
        certified if certified.starts_with("FIDO_CERTIFIED") => Treatment::Accept,
        // FIPS 140 of the module, by level, since Metadata Service 3.1
        certified if certified.starts_with("FIPS140_CERTIFIED") => Treatment::Accept,
        // a report that we do not know may be grave
        _ => Treatment::Warn,
    }
}

/// SHA-1 of the public key's bits, in hex (RFC 5280 §4.2.1.2, method 1).
fn key_identifier(der: &[u8]) -> Option<String> {
    let bits = Certificate::read(der).ok()?.key_bits()?;
    Some(Hash::Sha1.of(&bits).iter().map(|byte| format!("{byte:02x}")).collect())
}
