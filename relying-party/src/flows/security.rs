//! The account's security: password, authenticator app, recovery code, sessions.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::PasswordForm;
use super::mfa::wrong_code;
use super::recover::notify;
use crate::app::App;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::{Failure, Told};
use crate::session::Visit;
use crate::store::{Changes, User};
use crate::{enrollment, pages, passwords, second_factor};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/account/security", get(show))
        .route("/account/security/password", post(set_password))
        .route("/account/security/password/remove", post(remove_password))
        .route("/account/security/otp", get(show_otp).post(confirm_otp))
        .route("/account/security/otp/remove", post(remove_otp))
        .route("/account/security/recovery-code", post(new_recovery_code))
        .route("/account/security/recorded", post(recorded))
        .route("/account/sessions/{id}/end", post(end_session))
        .route("/account/sessions/end-others", post(end_other_sessions))
        .route("/account/delete", post(delete))
}

async fn show(mut visit: Visit) -> Result<Response, Failure> {
    let user = visit.user().await?;
    visit.touch().await?;
    let notice = visit.take_notice().await?;
    let page = security_page(&visit, &user, notice.as_deref(), None).await?;
    Ok(visit.page(page))
}

async fn security_page(
    visit: &Visit,
    user: &User,
    notice: Option<&str>,
    error: Option<&Told>,
) -> Result<maud::Markup, Failure> {
    let database = &visit.app.database;
    let facts = pages::security::Facts {
        policy: visit.app.policy().await?,
        has_password: database.password_hash(&user.id).await?.is_some(),
        totp: database.totp(&user.id).await?,
        recovery_code_made_at: database.recovery_code_made_at(&user.id).await?,
        sessions: database.sessions(&user.id, visit.app.now()).await?,
        this_session: visit.session_id().to_string(),
    };
    Ok(pages::security::overview(&visit.app, user, &facts, notice, error))
}

/// Leaves a message for the security page and goes there.
async fn back(mut visit: Visit, notice: &str) -> Result<Response, Failure> {
    visit.data.notice = Some(notice.to_string());
    visit.save().await?;
    Ok(visit.see_other("/account/security"))
}

async fn set_password(visit: Visit, FormBody(form): FormBody<PasswordForm>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let policy = visit.app.policy().await?;
    if !policy.password.enabled {
        return Err(Failure::NO_PASSWORDS);
    }
    let ends = Changes::default().end_all_before(&user, visit.session_id());
    if let Err(failure) = passwords::set(&visit, &policy, &user, &form.password, ends).await {
        let Failure::Field(..) = failure else { return Err(failure) };
        let told = failure.told();
        let page = security_page(&visit, &user, None, Some(&told)).await?;
        return Ok(visit.refusal(&told, page));
    }
    let subject = format!("Your password at {} was changed", visit.app.config.name);
    notify(&visit, &user, &subject, "Your password was changed, and you were logged out everywhere else.\n")
        .await;
    back(visit, "Your password has been set. You are logged out everywhere else.").await
}

async fn remove_password(visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    enrollment::remove_password(&visit, &user).await?;
    back(visit, "Your password has been removed.").await
}

async fn show_otp(mut visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let shared = second_factor::secret_to_set_up(&mut visit, &user).await?;
    Ok(visit.page(pages::mfa::setup(&visit.app, user.name(), &shared, "/account/security/otp", None)))
}

#[derive(Debug, Deserialize)]
struct CodeForm {
    code: String,
}

async fn confirm_otp(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let shared = second_factor::secret_to_set_up(&mut visit, &user).await?;
    if !second_factor::set_up(&mut visit, &user, &shared, &form.code).await? {
        let told = wrong_code();
        let page = pages::mfa::setup(&visit.app, user.name(), &shared, "/account/security/otp", Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    show_recovery_code(&visit, &user).await
}

async fn show_recovery_code(visit: &Visit, user: &User) -> Result<Response, Failure> {
    let code = second_factor::renew_recovery_code(visit, user).await?;
    Ok(visit.page(pages::mfa::recovery_code(&visit.app, &code, "/account/security/recorded", None, None)))
}

async fn new_recovery_code(visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    show_recovery_code(&visit, &user).await
}

async fn recorded(visit: Visit) -> Result<Response, Failure> {
    visit.user().await?;
    back(visit, "Your account has a recovery code.").await
}

async fn remove_otp(visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let event = Event::of("gd_unenroll").user(&user).detail("authenticator", json!({ "type": "otp" }));
    if !visit.make(&user, Changes::default().remove_totp(&user.id), event).await? {
        return Err(Failure::NotFound);
    }
    back(visit, "The authenticator app has been removed.").await
}

async fn end_session(visit: Visit, Path(id): Path<String>) -> Result<Response, Failure> {
    let user = visit.user().await?;
    if !visit.change(&user, Changes::default().end_session_of(&user.id, &id)).await? {
        return Err(Failure::NotFound);
    }
    if id == visit.session_id() {
        return Ok(visit.see_other("/login"));
    }
    back(visit, "The session has been ended.").await
}

async fn end_other_sessions(visit: Visit) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let ends = Changes::default().void_proofs(&user.id).end_other_sessions(&user.id, visit.session_id());
    visit.make(&user, ends, Event::of("slo").user(&user).detail("sessions", "others")).await?;
    back(visit, "You are logged out everywhere else.").await
}

async fn delete(mut visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    visit.make(&user, Changes::default().remove_user(&user.id), Event::of("sdu").user(&user)).await?;
    visit.sign_out().await?;
    Ok(visit.see_other("/signup"))
}
