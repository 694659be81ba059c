//! Logging in: a passkey by autofill or button, or an identifier and then a password or passkey.

use axum::Router;
use axum::extract::Query;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::PasswordForm;
use super::finish::{self, Outcome};
use crate::app::App;
use crate::ceremony::{self, Kind, Wish};
use crate::destination;
use crate::edge::{FormBody, JsonBody};
use crate::events::Event;
use crate::failure::{Failure, NO_PASSWORD};
use crate::secret::Secret;
use crate::session::{FirstFactor, Method, Visit};
use crate::store::{Identifier, User};
use crate::verify::Credential;
use crate::{identifiers, limits, pages, passwords};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/login", get(show).post(submit))
        .route("/login/password", get(show_password).post(submit_password))
        .route("/login/passkey/options", post(passkey_options))
        .route("/login/passkey", post(finish_passkey))
}

#[derive(Debug, Default, Deserialize)]
struct Then {
    then: Option<String>,
}

async fn show(mut visit: Visit, Query(query): Query<Then>) -> Result<Response, Failure> {
    let then = destination::of(query.then.as_deref());
    if visit.user_id().is_some() {
        return Ok(visit.see_other(then));
    }
    let policy = visit.app.policy().await?;
    let notice = visit.take_notice().await?;
    if then != destination::ACCOUNT && visit.data.then.as_deref() != Some(then) {
        visit.data.then = Some(then.to_string());
        visit.save().await?;
    }
    if policy.offers_autofill() {
        // The script asks for options at once, and the visitor may click meanwhile: two requests without a cookie
        // would get two tokens, and the challenge of one of them would be lost.
        visit.hold().await?;
    }
    let kept = visit.data.login.as_ref().map_or("", |identifier| identifier.value.as_str());
    Ok(visit.page(pages::login::identifier(&visit.app, &policy, kept, None, notice.as_deref())))
}

#[derive(Debug, Deserialize)]
struct IdentifierForm {
    identifier: String,
}

async fn submit(mut visit: Visit, FormBody(form): FormBody<IdentifierForm>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let identifier = match identifiers::typed(&policy.attributes, &form.identifier) {
        Ok(identifier) => identifier,
        Err(failure) => {
            let told = failure.told();
            let page = pages::login::identifier(&visit.app, &policy, &form.identifier, Some(&told), None);
            return Ok(visit.refusal(&told, page));
        }
    };
    visit.data.login = Some(identifier);
    visit.save().await?;
    Ok(visit.see_other("/login/password"))
}

async fn show_password(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let Some(identifier) = &visit.data.login else { return Ok(visit.see_other("/login")) };
    Ok(visit.page(pages::login::password(&visit.app, &policy, &identifier.value, None)))
}

async fn submit_password(
    mut visit: Visit,
    FormBody(form): FormBody<PasswordForm>,
) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let identifier = visit.data.login.clone().ok_or(Failure::OutOfOrder)?;
    if !policy.password.enabled {
        return Err(Failure::NO_PASSWORDS);
    }
    let failure = match check_password(&visit, &identifier, &form.password).await {
        Ok(user) => {
            let first_factor = FirstFactor::of(&user, Method::Password);
            let next = finish::first_factor_passed(&mut visit, first_factor, Outcome::default()).await?;
            return Ok(visit.see_other(next));
        }
        Err(failure @ (Failure::Store(_) | Failure::Broken(_))) => return Err(failure),
        Err(failure) => failure,
    };
    let told = failure.told();
    let page = pages::login::password(&visit.app, &policy, &identifier.value, Some(&told));
    Ok(visit.refusal(&told, page))
}

/// The user of an identifier and a password; a wrong name and a wrong password look the same and take as long. It is
/// counted as the failure or success that it is, also if the browser goes away meanwhile: the handler comes to its end.
pub(super) async fn check_password(
    visit: &Visit,
    identifier: &Identifier,
    password: &Secret,
) -> Result<User, Failure> {
    if password.is_empty() {
        // No try: nothing is compared, counted or logged.
        return Err(Failure::Field(NO_PASSWORD, "Enter your password.".into()));
    }
    let policy = visit.app.policy().await?;
    let tried = limits::try_login(visit, &policy, identifier).await?;
    let user = visit.app.database.user_called(&identifier.kind, &identifier.value).await?;
    let hash = match &user {
        Some(user) => visit.app.database.password_hash(&user.id).await?,
        None => None,
    };
    let is_right = passwords::matches(password, hash.as_deref()).await?;
    match user {
        Some(user) if is_right => {
            limits::login_succeeded(visit, identifier, tried).await?;
            Ok(user)
        }
        known => {
            let event = match &known {
                Some(user) => Event::of("fp").user(user),
                None => Event::of("fu"),
            };
            visit.log(event.detail("key", wrong_credentials(&identifier.kind))).await;
            limits::login_failed(visit, identifier, known.as_ref(), &tried).await?;
            let message = format!("Wrong {} or password.", crate::failure::words_for(&identifier.kind));
            Err(Failure::Field(wrong_credentials(&identifier.kind), message))
        }
    }
}

fn wrong_credentials(kind: &str) -> &'static str {
    match kind {
        "email" => "wrong-email-credentials",
        "phone" => "wrong-phone-credentials",
        _ => "wrong-username-credentials",
    }
}

async fn passkey_options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    if !policy.passkey.enabled {
        return Err(Failure::NO_PASSKEYS);
    }
    let named = match (&wish.identifier, wish.targeted) {
        (Some(text), _) => identifiers::typed(&policy.attributes, text).ok(),
        (None, true) => Some(visit.data.login.clone().ok_or(Failure::OutOfOrder)?),
        (None, false) => None,
    };
    let options = match named {
        Some(identifier) => {
            let user = visit.app.database.user_called(&identifier.kind, &identifier.value).await?;
            let named = Some((identifier.value.as_str(), user.as_ref()));
            ceremony::begin_authentication(&mut visit, Kind::SignIn, named, &wish).await?
        }
        None => ceremony::begin_authentication(&mut visit, Kind::SignIn, None, &wish).await?,
    };
    Ok(visit.json(options))
}

async fn finish_passkey(mut visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    limits::ip_allowed(&visit, &policy).await?;
    let credential = Credential::from_json(body);
    let (mut accepted, answered) =
        match ceremony::check_authentication(&visit, Kind::SignIn, &credential).await {
            Ok(accepted) => accepted,
            Err(refused) => {
                let event = Event::of("f").detail("key", refused.failure.told().key);
                visit.log(refused.tell_authentication(event)).await;
                if matches!(refused.failure, Failure::PasskeyRefused { .. }) {
                    limits::ip_failed(&visit, &policy).await?;
                }
                return Err(refused.failure);
            }
        };
    let outcome = Outcome::of(&mut accepted, Some(answered));
    let is_of_another_device = accepted.authentication.attachment.as_deref() == Some("cross-platform");
    let first_factor = FirstFactor {
        user_verified: accepted.authentication.user_verified,
        offer_local: is_of_another_device && accepted.asked.platform,
        used: Some(accepted.used),
        ..FirstFactor::of(&accepted.user, Method::Passkey)
    };
    let next = finish::first_factor_of(&mut visit, &accepted.user, first_factor, outcome).await?;
    Ok(visit.json(json!({ "next": next })))
}
