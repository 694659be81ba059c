//! `POST /oauth/token`: the answer of a passkey ceremony, or a second factor, in exchange for tokens.

use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::jwt;
use super::{Body, CLIENT_ID, check_client};
use crate::app::App;
use crate::ceremony::{self, Kind};
use crate::events::Event;
use crate::failure::Failure;
use crate::flows::finish::{self, Outcome};
use crate::flows::signup;
use crate::limits;
use crate::second_factor;
use crate::secret::Secret;
use crate::session::{FirstFactor, Method, SessionData, Visit};
use crate::store::User;
use crate::verify::Credential;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/oauth/token", post(exchange)).route("/.well-known/jwks.json", get(keys))
}

/// All grants share one body; which members matter depends on `grant_type`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    grant_type: String,
    client_id: String,
    #[serde(rename = "realm")]
    _realm: Option<String>,
    #[serde(rename = "audience")]
    _audience: Option<String>,
    #[serde(default)]
    scope: String,
    auth_session: Option<String>,
    authn_response: Option<Value>,
    mfa_token: Option<Secret>,
    otp: Option<String>,
    recovery_code: Option<String>,
}

const PASSKEY: &str = "urn:okta:params:oauth:grant-type:webauthn";
const OTP: &str = "http://auth0.com/oauth/grant-type/mfa-otp";
const RECOVERY_CODE: &str = "http://auth0.com/oauth/grant-type/mfa-recovery-code";

/// What a token can allow beyond telling who the user is.
pub(super) const SCOPES: [&str; 7] = [
    "openid",
    "profile",
    "email",
    "create:me:authentication_methods",
    "read:me:authentication_methods",
    "update:me:authentication_methods",
    "delete:me:authentication_methods",
];

/// How long an access token lives, in seconds.
const LIFETIME_S: i64 = 86_400;

async fn keys(visit: Visit) -> Json<Value> {
    Json(json!({ "keys": [jwt::public_key(&visit.app)] }))
}

async fn exchange(visit: Visit, Body(request): Body<Request>) -> Result<Json<Value>, ApiError> {
    check_client(&request.client_id)?;
    match request.grant_type.as_str() {
        PASSKEY => passkey(visit, &request).await,
        OTP | RECOVERY_CODE => second(visit, &request).await,
        _ => Err(ApiError::UNKNOWN_GRANT),
    }
}

/// The session of an `auth_session` or `mfa_token`.
async fn reopen(visit: Visit, token: Option<&str>, name: &'static str) -> Result<Visit, ApiError> {
    let token = token.ok_or_else(|| ApiError::invalid_request(format!("{name} is missing.")))?;
    let visit = visit.with_token(Some(token)).await?;
    if visit.is_stored() && visit.user_id().is_none() { Ok(visit) } else { Err(ApiError::UNKNOWN_SESSION) }
}

async fn passkey(visit: Visit, request: &Request) -> Result<Json<Value>, ApiError> {
    let mut visit = reopen(visit, request.auth_session.as_deref(), "auth_session").await?;
    let response = request.authn_response.clone();
    let response = response.ok_or_else(|| ApiError::invalid_request("authn_response is missing."))?;
    let credential = Credential::from_json(response);
    let policy = visit.app.policy().await?;
    finish::refuse_off(&policy, Method::Passkey)?;
    let (user, first, outcome) = if credential.response.get("attestationObject").is_some() {
        sign_up(&visit, &credential).await?
    } else {
        log_in(&visit, &credential).await?
    };
    if !finish::needs_second_factor(&visit, &policy, &first).await? {
        return tokens(&mut visit, &user, (&first, &outcome), &["phr"], &request.scope).await;
    }
    visit.log(outcome.tell(Event::of("gd_start_auth").user(&user))).await;
    let is_set_up = visit.app.database.totp(&user.id).await?.is_some();
    finish::wait(&mut visit, first).await?;
    Err(ApiError::mfa_required(request.auth_session.clone().unwrap_or_default(), is_set_up))
}

/// The event of the sign-up has told how the passkey was verified.
async fn sign_up(visit: &Visit, credential: &Credential) -> Result<(User, FirstFactor, Outcome), ApiError> {
    let (passkey_user, verified) = signup::finish_with_passkey(visit, credential).await?;
    let first = FirstFactor {
        user_verified: verified,
        just_created: true,
        ..FirstFactor::of(&passkey_user, Method::Passkey)
    };
    Ok((passkey_user, first, Outcome::default()))
}

async fn log_in(visit: &Visit, credential: &Credential) -> Result<(User, FirstFactor, Outcome), ApiError> {
    let policy = visit.app.policy().await?;
    limits::ip_allowed(visit, &policy).await?;
    let mut accepted = match ceremony::finish_authentication(visit, Kind::SignIn, credential).await {
        Ok(accepted) => accepted,
        Err(refused) => {
            visit.log(refused.tell_authentication(Event::of("f"))).await;
            if matches!(refused.failure, Failure::PasskeyRefused { .. }) {
                limits::ip_failed(visit, &policy).await?;
            }
            return Err(refused.failure.into());
        }
    };
    finish::refuse_blocked(visit, &accepted.user).await?;
    let outcome = Outcome::of(&mut accepted, None);
    let first = FirstFactor {
        user_verified: accepted.authentication.user_verified,
        used: Some(accepted.used),
        ..FirstFactor::of(&accepted.user, Method::Passkey)
    };
    Ok((accepted.user, first, outcome))
}

/// The login with a passkey that waits for its second factor. A browser's session may wait for one after a password or
/// in a recovery: no token may say of those that there was a passkey.
async fn waiting(visit: &Visit) -> Result<(User, FirstFactor), ApiError> {
    let Ok((user, first)) = finish::waiting(visit).await else { return Err(ApiError::UNKNOWN_SESSION) };
    if first.method != Method::Passkey || first.recovering {
        return Err(ApiError::UNKNOWN_SESSION);
    }
    finish::refuse_blocked(visit, &user).await?;
    Ok((user, first))
}

/// The second factor of a login that waits for it.
async fn second(visit: Visit, request: &Request) -> Result<Json<Value>, ApiError> {
    let mut visit = reopen(visit, request.mfa_token.as_deref(), "mfa_token").await?;
    let (user, first) = waiting(&visit).await?;
    let missing = |name: &str| ApiError::invalid_request(format!("{name} is missing."));
    if request.grant_type == RECOVERY_CODE {
        let typed = request.recovery_code.as_deref().ok_or_else(|| missing("recovery_code"))?;
        return recovery_code(visit, (&user, first), typed, &request.scope).await;
    }
    let otp = request.otp.as_deref().ok_or_else(|| missing("otp"))?;
    if !second_factor::check_code(&visit, &user, otp).await? {
        visit.log(Event::of("gd_auth_failed").user(&user)).await;
        return Err(ApiError::WRONG_CODE);
    }
    second_factor::forget_failures(&visit, &user).await?;
    visit.log(Event::of("sepkotpft").user(&user)).await;
    tokens(&mut visit, &user, (&first, &Outcome::default()), &["phr", "otp"], &request.scope).await
}

/// The recovery code as the second factor. It is used up, and the next one is in the answer: whose answer was lost sends
/// the same `mfa_token` once more, which stays good for that, and gets another.
async fn recovery_code(
    mut visit: Visit,
    (user, first): (&User, FirstFactor),
    typed: &str,
    scope: &str,
) -> Result<Json<Value>, ApiError> {
    let (next, used) = if first.second_passed {
        (second_factor::new_recovery_code(&visit, user).await?, first.used.clone())
    } else {
        let replaced = second_factor::replace_recovery_code(&mut visit, user, typed).await?;
        let Some(next) = replaced else {
            visit.log(Event::of("gd_recovery_failed").user(user)).await;
            return Err(ApiError::WRONG_CODE);
        };
        second_factor::forget_failures(&visit, user).await?;
        visit.log(Event::of("sepkrcft").user(user)).await;
        // The passkey's use was noted together with the code's.
        (next, None)
    };
    let first = FirstFactor { used, ..first };
    let mut begun = visit.clone().with_token(None).await?;
    let mut answer = tokens(&mut begun, user, (&first, &Outcome::default()), &["phr", "otp"], scope).await?;
    answer.0["recovery_code"] = next.into();
    // The passkey's use is written: it counts once.
    if let Some(first) = &mut visit.data.first_factor {
        first.used = None;
    }
    visit.save().await?;
    Ok(answer)
}

/// Everything has passed: the passkey's record is updated, the tokens' session begins.
async fn tokens(
    visit: &mut Visit,
    user: &User,
    (first, outcome): (&FirstFactor, &Outcome),
    amr: &[&str],
    scope: &str,
) -> Result<Json<Value>, ApiError> {
    let now = visit.app.now();
    let amr: Vec<String> = amr.iter().map(|method| (*method).to_string()).collect();
    let data = SessionData { authenticated_at: now, amr: amr.clone(), ..SessionData::default() };
    visit.ends_at = Some(now + LIFETIME_S * 1000);
    let event = Event::of("s").user(user).detail("prompts", json!([{ "performed_amr": amr }]));
    finish::begin_session(visit, user, first, None, data, outcome.tell(event)).await?;

    let granted: Vec<_> = scope.split_whitespace().filter(|scope| SCOPES.contains(scope)).collect();
    let granted = granted.join(" ");
    let issuer = format!("{}/", visit.app.config.own_origin());
    let (issued, expires) = (now / 1000, now / 1000 + LIFETIME_S);
    let access = json!({
        "iss": issuer, "sub": user.id, "aud": format!("{issuer}me/"), "client_id": CLIENT_ID, "iat": issued,
        "exp": expires, "scope": granted, "sid": visit.session_id(), "jti": visit.app.new_id("jwt"),
    });
    let email = user.identifiers.iter().find(|identifier| identifier.kind == "email");
    let id = json!({
        "iss": issuer, "sub": user.id, "aud": CLIENT_ID, "iat": issued, "exp": expires, "auth_time": issued,
        "amr": amr, "name": user.name(), "email": email.map(|email| &email.value),
        "email_verified": email.map(|email| email.verified), "sid": visit.session_id(),
    });
    Ok(Json(json!({
        "access_token": jwt::sign(&visit.app, jwt::Kind::Access, &access),
        "id_token": jwt::sign(&visit.app, jwt::Kind::Id, &id),
        "token_type": "Bearer",
        "expires_in": LIFETIME_S,
        "scope": granted,
    })))
}
