//! The second factor at login: a one-time code or the recovery code; or setting one up, where policy asks it of all.

use axum::Router;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::finish;
use crate::app::App;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::{Failure, Told};
use crate::session::Visit;
use crate::store::User;
use crate::{pages, second_factor};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/mfa/otp", get(show_otp).post(submit_otp))
        .route("/mfa/recovery-code", get(show_recovery).post(submit_recovery))
        .route("/mfa/setup", get(show_setup).post(submit_setup))
        .route("/mfa/setup/done", post(done))
}

/// The user whose first factor has passed.
async fn waiting(visit: &Visit) -> Result<User, Failure> {
    Ok(finish::waiting(visit).await?.0)
}

/// A new recovery code for whoever has passed both factors, if that is where this session is: the page with the last one
/// may have been lost on its way, and nothing else leads on.
async fn recovery_code_again(visit: &Visit) -> Result<Option<Response>, Failure> {
    let (user, first) = finish::waiting(visit).await?;
    if !first.second_passed {
        return Ok(None);
    }
    let code = second_factor::new_recovery_code(visit, &user).await?;
    let notice = Some("This is a new code. One that you were shown before is void.");
    Ok(Some(visit.page(pages::mfa::recovery_code(&visit.app, &code, "/mfa/setup/done", notice, None))))
}

async fn is_set_up(visit: &Visit, user: &User) -> Result<bool, Failure> {
    Ok(visit.app.database.totp(&user.id).await?.is_some())
}

async fn show_otp(visit: Visit) -> Result<Response, Failure> {
    let days = visit.app.policy().await?.mfa.remember_days;
    if waiting(&visit).await.is_err() {
        return Ok(visit.see_other("/login"));
    }
    if let Some(page) = recovery_code_again(&visit).await? {
        return Ok(page);
    }
    Ok(visit.page(pages::mfa::otp(&visit.app, days, None)))
}

#[derive(Debug, Deserialize)]
struct CodeForm {
    code: String,
    remember: Option<String>,
}

async fn submit_otp(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let user = waiting(&visit).await?;
    let days = visit.app.policy().await?.mfa.remember_days;
    if !is_set_up(&visit, &user).await? {
        return Err(Failure::OutOfOrder);
    }
    if !second_factor::check_code(&visit, &user, &form.code).await? {
        visit.log(Event::of("gd_auth_failed").user(&user)).await;
        let told = wrong_code();
        return Ok(visit.refusal(&told, pages::mfa::otp(&visit.app, days, Some(&told))));
    }
    second_factor::forget_failures(&visit, &user).await?;
    visit.log(Event::of("gd_auth_succeed").user(&user)).await;
    let next = finish::second_factor_passed(&mut visit, "otp").await?;
    if form.remember.is_some() && days > 0 {
        visit.remember_device(&user.id, days).await?;
    }
    Ok(visit.see_other(next))
}

async fn show_recovery(visit: Visit) -> Result<Response, Failure> {
    if waiting(&visit).await.is_err() {
        return Ok(visit.see_other("/login"));
    }
    if let Some(page) = recovery_code_again(&visit).await? {
        return Ok(page);
    }
    Ok(visit.page(pages::mfa::recovery_challenge(&visit.app, None)))
}

async fn submit_recovery(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let user = waiting(&visit).await?;
    if let Some(page) = recovery_code_again(&visit).await? {
        return Ok(page);
    }
    // It is used up: the next one is shown before going on.
    let Some(code) = second_factor::replace_recovery_code(&mut visit, &user, &form.code).await? else {
        visit.log(Event::of("gd_recovery_failed").user(&user)).await;
        let told = Failure::Field("invalid-code", "This is not your recovery code.".into()).told();
        return Ok(visit.refusal(&told, pages::mfa::recovery_challenge(&visit.app, Some(&told))));
    };
    second_factor::forget_failures(&visit, &user).await?;
    visit.log(Event::of("gd_recovery_succeed").user(&user)).await;
    Ok(visit.page(pages::mfa::recovery_code(&visit.app, &code, "/mfa/setup/done", None, None)))
}

/// Notes that the second factor of whoever is waited for has passed: the new recovery code comes before going on.
async fn passed(visit: &mut Visit) -> Result<(), Failure> {
    visit.data.first_factor.as_mut().ok_or(Failure::OutOfOrder)?.second_passed = true;
    visit.save().await
}

async fn show_setup(mut visit: Visit) -> Result<Response, Failure> {
    let Ok(user) = waiting(&visit).await else { return Ok(visit.see_other("/login")) };
    if is_set_up(&visit, &user).await? {
        return Ok(visit.see_other("/mfa/otp"));
    }
    let shared = second_factor::secret_to_set_up(&mut visit, &user).await?;
    Ok(visit.page(pages::mfa::setup(&visit.app, user.name(), &shared, "/mfa/setup", None)))
}

async fn submit_setup(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let user = waiting(&visit).await?;
    if let Some(page) = recovery_code_again(&visit).await? {
        return Ok(page);
    }
    let shared = second_factor::secret_to_set_up(&mut visit, &user).await?;
    if !second_factor::set_up(&mut visit, &user, &shared, &form.code).await? {
        let told = wrong_code();
        let page = pages::mfa::setup(&visit.app, user.name(), &shared, "/mfa/setup", Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    let code = second_factor::new_recovery_code(&visit, &user).await?;
    passed(&mut visit).await?;
    Ok(visit.page(pages::mfa::recovery_code(&visit.app, &code, "/mfa/setup/done", None, None)))
}

#[derive(Debug, Deserialize)]
struct DoneForm {
    recorded: Option<String>,
}

async fn done(mut visit: Visit, FormBody(form): FormBody<DoneForm>) -> Result<Response, Failure> {
    let (user, first) = finish::waiting(&visit).await?;
    if !first.second_passed {
        return Err(Failure::OutOfOrder);
    }
    if form.recorded.is_none() {
        // The code cannot be shown again, so there is a new one.
        let code = second_factor::new_recovery_code(&visit, &user).await?;
        let words = "Tick the box once you have recorded this new code.";
        let told = Failure::Field("no-confirmation", words.into()).told();
        let page = pages::mfa::recovery_code(&visit.app, &code, "/mfa/setup/done", None, Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    let next = finish::second_factor_passed(&mut visit, "otp").await?;
    Ok(visit.see_other(next))
}

/// What whoever types a wrong code of an authenticator app is told.
pub(super) fn wrong_code() -> Told {
    let words = "This code is not right. Enter the one that your app shows now.";
    Failure::Field("invalid-code", words.into()).told()
}
