//! A forgotten password: a link by mail that works once. Whether or not there is an account, the answer is the same.

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::finish::refuse_blocked;
use super::lost::Others;
use super::recover::notify;
use crate::app::App;
use crate::destination;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::policy::Policy;
use crate::secret::Secret;
use crate::session::Visit;
use crate::store::{Changes, User};
use crate::{codes, identifiers, limits, pages, passwords};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/reset-password", get(show).post(submit))
        .route("/reset-password/new", get(show_new).post(submit_new))
}

async fn policy_with_passwords(visit: &Visit) -> Result<std::sync::Arc<Policy>, Failure> {
    let policy = visit.app.policy().await?;
    if policy.password.enabled { Ok(policy) } else { Err(Failure::NO_PASSWORDS) }
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    policy_with_passwords(&visit).await?;
    let kept = visit.data.login.as_ref().filter(|identifier| identifier.kind == "email");
    let kept = kept.map_or("", |identifier| identifier.value.as_str());
    Ok(visit.page(pages::recover::reset_request(&visit.app, kept, None)))
}

#[derive(Debug, Deserialize)]
struct AddressForm {
    email: String,
}

async fn submit(visit: Visit, FormBody(form): FormBody<AddressForm>) -> Result<Response, Failure> {
    let policy = policy_with_passwords(&visit).await?;
    let target = match identifiers::normal(&policy.attributes, "email", &form.email) {
        Ok(target) => target,
        Err(failure) => {
            let told = failure.told();
            visit.log(Event::of("fcpr").detail("key", told.key)).await;
            let page = pages::recover::reset_request(&visit.app, &form.email, Some(&told));
            return Ok(visit.refusal(&told, page));
        }
    };
    if let Err(failure) = limits::mail(&visit, &policy, &target.value).await {
        visit.log(Event::of("fcpr").detail("key", failure.told().key)).await;
        return Err(failure);
    }
    let mut event = Event::of("scpr");
    let user = visit.app.database.user_called("email", &target.value).await?;
    if let Some(user) = user.as_ref().filter(|user| user.blocked) {
        // A link would set nothing. Only a login tells of the block, to who has proved something.
        event = Event::of("fcpr").user(user).error("the user is blocked: no mail was sent");
    } else if let Some(user) = user {
        let token = codes::new_link(&visit, "reset", &user.id, policy.code.reset_lifetime_s).await?;
        let config = &visit.app.config;
        let body = format!(
            "Set a new password for your account at {} here:\n{}/reset-password/new?token={token}\n\nThe link works \
             once. If you did not ask for it, you need not do anything.\n",
            config.name,
            config.own_origin()
        );
        visit.app.mail(&target.value, &format!("Set a new password at {}", config.name), &body).await;
        event = event.user(&user);
    }
    visit.log(event).await;
    Ok(visit.page(pages::recover::reset_sent(&visit.app, &target.value)))
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<Secret>,
}

async fn show_new(visit: Visit, Query(query): Query<Token>) -> Result<Response, Failure> {
    let policy = policy_with_passwords(&visit).await?;
    let token = query.token.unwrap_or_default();
    let target = visit.app.database.peek_link(&codes::link_id(&token), "reset", visit.app.now()).await?;
    let user = match target {
        Some(id) => visit.app.database.user(&id).await?,
        None => None,
    };
    let Some(user) = user else {
        return Ok(visit.page_with(StatusCode::BAD_REQUEST, pages::recover::reset_error(&visit.app)));
    };
    Ok(visit.page(pages::recover::reset(&visit.app, &policy, &user, &token, None)))
}

#[derive(Debug, Deserialize)]
struct NewForm {
    token: Secret,
    password: Secret,
}

async fn submit_new(mut visit: Visit, FormBody(form): FormBody<NewForm>) -> Result<Response, Failure> {
    let policy = policy_with_passwords(&visit).await?;
    let (id, now) = (codes::link_id(&form.token), visit.app.now());
    let error =
        |visit: &Visit| visit.page_with(StatusCode::BAD_REQUEST, pages::recover::reset_error(&visit.app));
    let target = visit.app.database.peek_link(&id, "reset", now).await?;
    let user = match target {
        Some(user_id) => visit.app.database.user(&user_id).await?,
        None => None,
    };
    let Some(user) = user else {
        visit.log(Event::of("fcp").error("the link is unknown, used or expired")).await;
        return Ok(error(&visit));
    };
    // What would open the account once the block is lifted is not set during it.
    refuse_blocked(&visit, &user).await?;
    // A password that is refused does not use the link up.
    // The user's row before the link's, as everywhere: the other way round, two would wait for each other.
    let ends = Changes::default()
        .if_generation(&user.id, user.generation)
        .take_link(&id, "reset", now)
        .end_all_before(&user, "");
    match passwords::set(&visit, &policy, &user, &form.password, ends).await {
        Ok(()) => {}
        Err(Failure::OutOfOrder) => return Ok(error(&visit)),
        Err(failure @ Failure::Field(..)) => {
            let told = failure.told();
            let page = pages::recover::reset(&visit.app, &policy, &user, &form.token, Some(&told));
            return Ok(visit.refusal(&told, page));
        }
        Err(failure) => return Err(failure),
    }
    if visit.user_id() == Some(user.id.as_str()) {
        // This browser's session has ended with the others.
        visit.start_over();
    }
    let others = Others::of(&visit, &user).await?;
    tell(&visit, &user, &others).await;
    if !others.are_none() {
        visit.data.then = Some(destination::LOST.into());
    }
    visit.data.notice = Some("Your password has been changed. Log in with it.".into());
    visit.save().await?;
    Ok(visit.see_other("/login"))
}

/// Mails what has happened, and where to look at what else opens the account.
async fn tell(visit: &Visit, user: &User, others: &Others) {
    let config = &visit.app.config;
    let mut body = String::from(
        "A new password was set for your account through a link in a mail to this address. You have been logged out \
         everywhere.\n",
    );
    if !others.are_none() {
        body += &format!(
            "\nOther things that open your account are as they were. Look whether all of them are yours:\n{}{}\n",
            config.own_origin(),
            destination::LOST
        );
    }
    notify(visit, user, &format!("Your password at {} was changed", config.name), &body).await;
}
