//! `details.webauthn` of an event: which ceremony it was, the step that refused, and what is told of the passkey.
//!
//! Where a step has refused (`failed_step`), that is what the response says of itself, and at an authentication what is
//! stored of the passkey that it names. Nobody vouches for it then. All of it is bounded, and what cannot be read is left
//! out.

use serde_json::{Map, Value, json};

use super::authentication::Accepted;
use super::registration::Registered;
use super::{Asked, aaguid_text};
use crate::store::Passkey;
use crate::verify::{Claims, Credential, Registration};

/// Of the event of a registration.
pub(crate) fn registration_details(registered: &Registered) -> Value {
    let Registered { asked, registration, doubts } = registered;
    let mut details = of_registration(asked, registration);
    details.insert("ceremony".into(), "registration".into());
    details.insert("failed_step".into(), Value::Null);
    if !doubts.is_empty() {
        details.insert("metadata".into(), json!(doubts));
    }
    details.into()
}

/// Of the event of an authentication.
pub(crate) fn authentication_details(accepted: &Accepted) -> Value {
    let Accepted { passkey, asked, authentication, .. } = accepted;
    let flags = [passkey.backup_eligible, authentication.backup_state, authentication.user_verified];
    let mut details = told(asked, Some(passkey.aaguid.clone()), Some(flags), Some(&passkey.transports));
    details.insert("ceremony".into(), "authentication".into());
    details.insert("failed_step".into(), Value::Null);
    details.insert("counter_regressed".into(), authentication.counter_regressed.into());
    details.into()
}

/// What is told of a registration that was verified, whatever policy says of it.
pub(super) fn of_registration(asked: &Asked, registration: &Registration) -> Map<String, Value> {
    let flags = [registration.backup_eligible, registration.backup_state, registration.user_verified];
    told(asked, Some(aaguid_text(&registration.aaguid)), Some(flags), Some(&registration.transports))
}

/// What is told of a registration that a step has refused.
pub(super) fn of_refused_registration(asked: &Asked, credential: &Credential) -> Map<String, Value> {
    let claims = Claims::of_attestation(credential);
    let aaguid = claims.and_then(|claims| claims.aaguid).map(|aaguid| aaguid_text(&aaguid));
    told(asked, aaguid, claims.map(flags_of), Some(&credential.transports()))
}

/// What is told of an authentication that a step has refused; `passkey` is the one that the response names, if it is one.
pub(super) fn of_refused_authentication(
    asked: &Asked,
    credential: &Credential,
    passkey: Option<&Passkey>,
) -> Map<String, Value> {
    let claims = Claims::of_assertion(credential);
    let (aaguid, transports) =
        passkey.map(|passkey| (passkey.aaguid.clone(), &passkey.transports[..])).unzip();
    told(asked, aaguid, claims.map(flags_of), transports)
}

fn flags_of(claims: Claims) -> [bool; 3] {
    [claims.backup_eligible, claims.backup_state, claims.user_verified]
}

/// `flags` are BE, BS and UV.
fn told(
    asked: &Asked,
    aaguid: Option<String>,
    flags: Option<[bool; 3]>,
    transports: Option<&[String]>,
) -> Map<String, Value> {
    let [be, bs, uv] = flags.map_or([None; 3], |flags| flags.map(Some));
    let mediation = if asked.conditional { "conditional" } else { "optional" };
    let all = [
        ("aaguid", aaguid.map(Value::from)),
        ("be", be.map(Value::from)),
        ("bs", bs.map(Value::from)),
        ("uv", uv.map(Value::from)),
        ("transports", transports.map(Value::from)),
        ("mediation", Some(mediation.into())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect()
}
