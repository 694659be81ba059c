//! Changing what the user is called: e-mail address, phone number, user name.
//!
//! A new e-mail address is always proved by a code that goes there, because recovery trusts it; a phone number where
//! the policy has it proved. Until then the old one stays. Its owner gets a mail, and what was sent to it is void.
//!
//! What the policy requires on the profile can be changed, and not removed.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::app::App;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::{Failure, words_for};
use crate::policy::Policy;
use crate::session::{NewIdentifier, Visit};
use crate::store::{Changes, CodeCheck, Identifier, StoreError, User};
use crate::{codes, identifiers, pages};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/account/identifiers", get(show))
        .route("/account/identifiers/{kind}", post(submit))
        .route("/account/identifiers/code", get(show_code).post(submit_code))
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let policy = visit.app.policy().await?;
    Ok(visit.page(pages::identifiers::overview(&visit.app, &policy, &user, None)))
}

#[derive(Debug, Deserialize)]
struct ValueForm {
    value: String,
}

async fn submit(
    mut visit: Visit,
    Path(kind): Path<String>,
    FormBody(form): FormBody<ValueForm>,
) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let policy = visit.app.policy().await?;
    match change(&mut visit, &policy, &user, &kind, &form.value).await {
        Ok(next) => Ok(visit.see_other(next)),
        Err(failure @ (Failure::Field(..) | Failure::IdentifierTaken { .. })) => {
            let told = failure.told();
            let page = pages::identifiers::overview(&visit.app, &policy, &user, Some(&told));
            Ok(visit.refusal(&told, page))
        }
        Err(failure) => Err(failure),
    }
}

/// Changes one identifier, or asks for the proof first; gives the next screen.
async fn change(
    visit: &mut Visit,
    policy: &Policy,
    user: &User,
    kind: &str,
    typed: &str,
) -> Result<&'static str, Failure> {
    let is_known = identifiers::KINDS.contains(&kind);
    let attribute = identifiers::attribute(&policy.attributes, kind);
    if !is_known || !attribute.is_on() {
        return Err(Failure::NotFound);
    }
    if typed.trim().is_empty() {
        return remove(visit, user, kind, attribute.profile_required).await;
    }
    let new = identifiers::normal(&policy.attributes, kind, typed)?;
    if user.identifiers.iter().any(|known| known.kind == kind && known.value == new.value) {
        return Ok("/account");
    }
    if kind != "email" && !attribute.verify {
        return set(visit, user, new).await;
    }
    // Whose address it is shows in their mailbox only.
    let sent = match visit.app.database.user_called(kind, &new.value).await? {
        None => codes::send(visit, policy, "change", &new).await,
        Some(owner) => codes::send_notice_to_owner(visit, policy, "change", &new, &owner).await,
    };
    let code_id = codes::noted(visit, sent).await?;
    visit.data.new_identifier = Some(NewIdentifier { identifier: new, code_id });
    visit.save().await?;
    Ok("/account/identifiers/code")
}

async fn remove(
    visit: &mut Visit,
    user: &User,
    kind: &str,
    is_required: bool,
) -> Result<&'static str, Failure> {
    let needed = || {
        let message = format!("Your account needs {}.", identifiers::with_article(kind));
        Failure::Field("no-identifier", message)
    };
    if is_required {
        return Err(needed());
    }
    if !user.identifiers.iter().any(|known| known.kind == kind) {
        return Ok("/account");
    }
    let event = Event::of(code_of(kind)).user(user).detail("removed", true);
    // Of the last two that are removed at once, one stays.
    if !visit.make(user, Changes::default().remove_identifier(&user.id, kind), event).await? {
        return Err(needed());
    }
    if kind == "email" {
        tell_the_old_address(visit, user, None).await;
    }
    done(visit, format!("Your {} has been removed.", words_for(kind))).await
}

/// Puts a new identifier in the place of the old one of its kind.
async fn set(visit: &mut Visit, user: &User, new: Identifier) -> Result<&'static str, Failure> {
    let kind = new.kind.clone();
    let event = Event::of(code_of(&kind)).user(user).detail("verified", new.verified);
    match visit.make(user, Changes::default().set_identifier(&user.id, &new), event).await {
        Ok(_) => {}
        Err(Failure::Store(StoreError::Taken)) => {
            return Err(Failure::IdentifierTaken { kind, orphan: None });
        }
        Err(failure) => return Err(failure),
    }
    if kind == "email" {
        tell_the_old_address(visit, user, Some(&new)).await;
    }
    done(visit, format!("Your {} is {} now.", words_for(&kind), new.value)).await
}

/// Mails the address that a user had until now, if there was one.
async fn tell_the_old_address(visit: &Visit, user: &User, new: Option<&Identifier>) {
    let Some(old) = user.email() else { return };
    let name = &visit.app.config.name;
    let account = match new {
        Some(new) => {
            format!("The e-mail address of your account at {name} is {} now", identifiers::masked(new))
        }
        None => format!("Your account at {name} has no e-mail address any more"),
    };
    let body = format!(
        "{account}; nothing more will be sent here.\n\nIf that was not you, somebody is logged in to your account: ask \
         the people who run {name}.\n"
    );
    visit.app.mail(old, &format!("Your e-mail address at {name} was changed"), &body).await;
}

/// The page of the passkeys comes next: its script tells their providers the new name.
async fn done(visit: &mut Visit, notice: String) -> Result<&'static str, Failure> {
    visit.data.new_identifier = None;
    visit.data.notice = Some(notice);
    visit.save().await?;
    Ok("/account")
}

async fn show_code(visit: Visit) -> Result<Response, Failure> {
    visit.user().await?;
    let Some(new) = &visit.data.new_identifier else { return Ok(visit.see_other("/account/identifiers")) };
    Ok(visit.page(pages::identifiers::code(&visit.app, &new.identifier, None)))
}

#[derive(Debug, Deserialize)]
struct CodeForm {
    code: String,
}

async fn submit_code(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let policy = visit.app.policy().await?;
    let NewIdentifier { identifier, code_id } =
        visit.data.new_identifier.clone().ok_or(Failure::OutOfOrder)?;
    let checked = codes::check(&visit, &policy, "change", &code_id, &form.code).await?;
    if checked != CodeCheck::Right {
        let told = codes::failure(checked).told();
        visit.log(Event::of("fv").user(&user).detail("key", told.key)).await;
        let page = pages::identifiers::code(&visit.app, &identifier, Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    let next = set(&mut visit, &user, Identifier { verified: true, ..identifier }).await?;
    Ok(visit.see_other(next))
}

fn code_of(kind: &str) -> &'static str {
    match kind {
        "email" => "sce",
        "phone" => "scpn",
        _ => "scu",
    }
}
