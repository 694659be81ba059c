//! Options: what a page is asked to do (§5.4, §5.5).

use serde_json::{Map, Value, json};

use super::{Asked, Kind, Subject, Wish, challenge};
use crate::failure::Failure;
use crate::policy::Policy;
use crate::secret;
use crate::session::{Prompt, Visit};
use crate::store::{Passkey, User};
use crate::verify::UserVerification;

/// Starts a registration: the options, as `navigator.credentials.create()` takes them. `prompt` is the offer that it
/// takes up: the one after a password may be taken up by the browser without a gesture (a conditional ceremony, where UP
/// may be 0, §7.1 step 15), if the page wishes so, and no other; the other is for a passkey of this very device.
pub(crate) async fn begin_registration(
    visit: &mut Visit,
    kind: Kind,
    subject: &Subject<'_>,
    wish: &Wish,
    prompt: Option<Prompt>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let asked = Asked {
        handle: subject.handle.to_vec(),
        user_verification: policy.passkey.user_verification,
        algorithms: policy.passkey.algorithms.clone(),
        conditional: prompt == Some(Prompt::Progressive) && wish.is_conditional(),
        platform: wish.platform_authenticator,
        ..Asked::default()
    };
    let challenge = challenge::keep(visit, &policy, kind, subject.user_id, &asked).await?;
    let mut options = creation_options(visit, &policy, subject, &challenge);
    if prompt == Some(Prompt::Local) {
        options["authenticatorSelection"]["authenticatorAttachment"] = json!("platform");
    }
    let mut answer = json!({ "publicKey": options });
    if asked.conditional {
        answer["mediation"] = json!("conditional");
    }
    Ok(answer)
}

/// Starts an authentication: the options, as `navigator.credentials.get()` takes them.
///
/// `named` is the identifier that narrows the ceremony to one user's passkeys. Who that is, and which passkeys there
/// are, the page is told of a user who is signed in only: how many ids there were, how long, and by which transports
/// would tell anybody else who has an account. Every passkey is made to be found without a list (`residentKey`); the
/// answer must be of the named user's all the same, and of nobody's where the name is nobody's.
pub(crate) async fn begin_authentication(
    visit: &mut Visit,
    kind: Kind,
    named: Option<(&str, Option<&User>)>,
    wish: &Wish,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let mut user_id = None;
    let mut allowed = Vec::new();
    if let Some((_, Some(user))) = named {
        allowed = visit.app.database.passkeys(&user.id).await?;
        user_id = Some(user.id.as_str());
    }
    let mut allow: Vec<_> = allowed.iter().map(|passkey| passkey.credential_id.clone()).collect();
    if kind == Kind::SignIn {
        allowed.clear();
    }
    if let (Some((name, _)), true) = (named, allow.is_empty()) {
        // No passkey has this id: an empty list would let any in.
        allow.push(secret::keyed(&visit.app.secret, &[b"decoy", name.as_bytes()]));
    }
    let asked = Asked {
        user_verification: policy.passkey.user_verification,
        conditional: wish.is_conditional(),
        allow,
        identified: named.is_some(),
        platform: wish.platform_authenticator,
        ..Asked::default()
    };
    let challenge = challenge::keep(visit, &policy, kind, user_id, &asked).await?;
    let mut answer = json!({ "publicKey": request_options(visit, &policy, &allowed, &challenge) });
    if asked.conditional {
        answer["mediation"] = json!("conditional");
    }
    Ok(answer)
}

/// Starts a registration with options of the developer's choice: `wanted` replaces members of the policy's options,
/// and what it asks for is what the answer is verified against.
pub(crate) async fn try_registration(
    visit: &mut Visit,
    subject: &Subject<'_>,
    wanted: &Map<String, Value>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let mut options = creation_options(visit, &policy, subject, &[]);
    replace_members(&mut options, wanted);
    let params = options["pubKeyCredParams"].as_array().into_iter().flatten();
    let asked = Asked {
        handle: subject.handle.to_vec(),
        user_verification: user_verification(&options["authenticatorSelection"]["userVerification"]),
        algorithms: params.filter_map(|param| param["alg"].as_i64()).collect(),
        ..Asked::default()
    };
    let challenge = challenge::keep(visit, &policy, Kind::Trial, None, &asked).await?;
    options["challenge"] = json!(secret::text(&challenge));
    Ok(options)
}

/// Starts an authentication with options of the developer's choice.
pub(crate) async fn try_authentication(
    visit: &mut Visit,
    user: &User,
    wanted: &Map<String, Value>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let allowed = visit.app.database.passkeys(&user.id).await?;
    let mut options = request_options(visit, &policy, &allowed, &[]);
    replace_members(&mut options, wanted);
    let asked = Asked {
        user_verification: user_verification(&options["userVerification"]),
        allow: allowed.iter().map(|passkey| passkey.credential_id.clone()).collect(),
        identified: true,
        ..Asked::default()
    };
    let challenge = challenge::keep(visit, &policy, Kind::Trial, Some(&user.id), &asked).await?;
    options["challenge"] = json!(secret::text(&challenge));
    Ok(options)
}

fn replace_members(options: &mut Value, wanted: &Map<String, Value>) {
    for (name, value) in wanted {
        options[name] = value.clone();
    }
}

fn user_verification(value: &Value) -> UserVerification {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

fn creation_options(visit: &Visit, policy: &Policy, subject: &Subject<'_>, challenge: &[u8]) -> Value {
    let config = &visit.app.config;
    let params: Vec<Value> =
        policy.passkey.algorithms.iter().map(|alg| json!({ "type": "public-key", "alg": alg })).collect();
    json!({
        "rp": { "id": config.rp_id, "name": config.name },
        "user": { "id": secret::text(subject.handle), "name": subject.name, "displayName": subject.name },
        "challenge": secret::text(challenge),
        "pubKeyCredParams": params,
        "timeout": policy.passkey.timeout_ms,
        "excludeCredentials": subject.exclude.iter().map(descriptor).collect::<Vec<_>>(),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": policy.passkey.user_verification,
        },
        "hints": policy.passkey.hints,
        "attestation": policy.passkey.attestation,
        "extensions": { "credProps": true },
    })
}

fn descriptor(passkey: &Passkey) -> Value {
    json!({
        "type": "public-key",
        "id": secret::text(&passkey.credential_id),
        "transports": passkey.transports,
    })
}

fn request_options(visit: &Visit, policy: &Policy, allowed: &[Passkey], challenge: &[u8]) -> Value {
    json!({
        "challenge": secret::text(challenge),
        "timeout": policy.passkey.timeout_ms,
        "rpId": visit.app.config.rp_id,
        "allowCredentials": allowed.iter().map(descriptor).collect::<Vec<_>>(),
        "userVerification": policy.passkey.user_verification,
        "hints": policy.passkey.hints,
    })
}
