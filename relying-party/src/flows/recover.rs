//! Recovery: a code by e-mail (and the second factor, if there is one), then a new passkey or password. All other
//! sessions end, and what else opens the account is offered for removal.

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::PasswordForm;
use super::finish::{self, Outcome};
use crate::app::App;
use crate::ceremony::{self, Kind, Subject, Wish};
use crate::edge::{FormBody, JsonBody};
use crate::events::Event;
use crate::failure::Failure;
use crate::session::{FirstFactor, Method, Recovery, Visit};
use crate::store::{Changes, CodeCheck, Identifier, User};
use crate::{codes, enrollment, identifiers, pages, passwords};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/recover", get(show).post(submit))
        .route("/recover/code", get(show_code).post(submit_code))
        .route("/recover/new", get(show_new))
        .route("/recover/passkey/options", post(passkey_options))
        .route("/recover/passkey", post(finish_passkey))
        .route("/recover/password", get(show_password).post(submit_password))
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    if !policy.code.enabled {
        return Err(Failure::NO_CODES);
    }
    let kept = visit.data.login.as_ref().filter(|identifier| identifier.kind == "email");
    let kept = kept.map_or("", |identifier| identifier.value.as_str());
    Ok(visit.page(pages::recover::address(&visit.app, &policy, kept, None)))
}

#[derive(Debug, Deserialize)]
struct AddressForm {
    email: String,
}

async fn submit(mut visit: Visit, FormBody(form): FormBody<AddressForm>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    if !policy.code.enabled {
        return Err(Failure::NO_CODES);
    }
    let target = match identifiers::normal(&policy.attributes, "email", &form.email) {
        Ok(target) => target,
        Err(failure) => {
            let told = failure.told();
            let page = pages::recover::address(&visit.app, &policy, &form.email, Some(&told));
            return Ok(visit.refusal(&told, page));
        }
    };
    let user = visit.app.database.user_called("email", &target.value).await?;
    let sent = match &user {
        Some(user) if !user.blocked => codes::send(&visit, &policy, "recover", &target).await,
        // A code would lead nowhere. Only a login tells of the block, to who has proved something.
        Some(_) | None => codes::send_nothing(&visit, &policy, &target).await,
    };
    let code_id = codes::noted(&visit, sent).await?;
    if let Some(user) = user.filter(|user| user.blocked) {
        visit.log(Event::of("fv").user(&user).error("the user is blocked: no mail was sent")).await;
    }
    visit.data.recovery = Some(Recovery { email: target.value, code_id, proved: None });
    visit.save().await?;
    Ok(visit.see_other("/recover/code"))
}

async fn show_code(visit: Visit) -> Result<Response, Failure> {
    let Some(recovery) = &visit.data.recovery else { return Ok(visit.see_other("/recover")) };
    Ok(visit.page(pages::recover::code(&visit.app, &recovery.email, None)))
}

#[derive(Debug, Deserialize)]
struct CodeForm {
    code: String,
}

async fn submit_code(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let recovery = visit.data.recovery.clone().ok_or(Failure::OutOfOrder)?;
    // Read before: what makes the code void makes void what it proves.
    let user = visit.app.database.user_called("email", &recovery.email).await?;
    let checked = codes::check(&visit, &policy, "recover", &recovery.code_id, &form.code).await?;
    let user = user.filter(|_| checked == CodeCheck::Right);
    let Some(user) = user else {
        let told = codes::failure(checked).told();
        visit.log(Event::of("f").detail("key", told.key).error("wrong recovery code by e-mail")).await;
        let page = pages::recover::code(&visit.app, &recovery.email, Some(&told));
        return Ok(visit.refusal(&told, page));
    };
    visit.app.database.set_verified("email", &recovery.email).await?;
    visit.log(Event::of("sv").user(&user).detail("kind", "email")).await;
    let first = FirstFactor { recovering: true, ..FirstFactor::of(&user, Method::Code) };
    let next = finish::first_factor_passed(&mut visit, first, Outcome::default()).await?;
    Ok(visit.see_other(next))
}

/// The user who has proved the address, and the second factor where policy asks for one, not long ago and since anything
/// else has changed who gets in.
async fn proved(visit: &Visit) -> Result<User, Failure> {
    let proved = visit.data.recovery.as_ref().and_then(|recovery| recovery.proved.as_ref());
    let proved = proved.ok_or(Failure::OutOfOrder)?;
    let policy = visit.app.policy().await?;
    finish::refuse_off(&policy, Method::Code)?;
    let user = visit.user_of_proof(&proved.user_id, proved.generation, proved.since).await?;
    let user = user.ok_or(Failure::OutOfOrder)?;
    finish::refuse_blocked(visit, &user).await?;
    // Policy may ask for a second factor by now, and a recovery ends in a session.
    let first = FirstFactor::of(&user, Method::Code);
    if !proved.second && finish::needs_second_factor(visit, &policy, &first).await? {
        return Err(Failure::OutOfOrder);
    }
    Ok(user)
}

async fn show_new(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let Ok(user) = proved(&visit).await else { return Ok(visit.see_other("/recover")) };
    Ok(visit.page(pages::recover::new_method(&visit.app, &policy, user.name())))
}

async fn passkey_options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let user = proved(&visit).await?;
    // As many as policy allows may all be lost: one more is allowed here, and they are offered for removal then.
    let exclude = enrollment::passkeys_so_far(&visit, &user).await?;
    let subject =
        Subject { user_id: Some(&user.id), handle: &user.handle, name: user.name(), exclude: &exclude };
    let options = ceremony::begin_registration(&mut visit, Kind::Recover, &subject, &wish, None).await?;
    Ok(visit.json(options))
}

async fn finish_passkey(mut visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let user = proved(&visit).await?;
    let new = enrollment::finish(&visit, Kind::Recover, &user, body).await?;
    let next = recovered(&mut visit, &user, Some(new.id)).await?;
    Ok(visit.json(json!({ "next": next })))
}

async fn show_password(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let Ok(user) = proved(&visit).await else { return Ok(visit.see_other("/recover")) };
    Ok(visit.page(pages::recover::password(&visit.app, &policy, &user, None)))
}

async fn submit_password(
    mut visit: Visit,
    FormBody(form): FormBody<PasswordForm>,
) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let user = proved(&visit).await?;
    if !policy.password.enabled {
        return Err(Failure::NO_PASSWORDS);
    }
    let ends = Changes::default().end_all_before(&user, "");
    if let Err(failure) = passwords::set(&visit, &policy, &user, &form.password, ends).await {
        let Failure::Field(..) = failure else { return Err(failure) };
        let told = failure.told();
        let page = pages::recover::password(&visit.app, &policy, &user, Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    let next = recovered(&mut visit, &user, None).await?;
    Ok(visit.see_other(next))
}

/// `new` is the id of the passkey that was made, or there is a new password.
async fn recovered(visit: &mut Visit, user: &User, new: Option<String>) -> Result<&'static str, Failure> {
    let what = if new.is_some() { "A new passkey" } else { "A new password" };
    let next = finish::recovered(visit, user, new).await?;
    let subject = format!("Your account at {} was recovered", visit.app.config.name);
    let body = format!(
        "{what} was set for your account after a code was sent to this address, and everybody else has been logged \
         out.\n\nIf that was not you, somebody can read your mail. Secure it first, then get a code at {}/recover.\n",
        visit.app.config.own_origin()
    );
    notify(visit, user, &subject, &body).await;
    Ok(next)
}

/// Mails a notice to the user's address, if there is one.
pub(super) async fn notify(visit: &Visit, user: &User, subject: &str, body: &str) {
    if let Some(Identifier { value, .. }) =
        user.identifiers.iter().find(|identifier| identifier.kind == "email")
    {
        visit.app.mail(value, subject, body).await;
    }
}
