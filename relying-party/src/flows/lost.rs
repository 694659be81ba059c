//! What else opens an account that its owner has just got back into: passkeys and an authenticator app may be lost, and a
//! password that is not the owner's may be there because somebody signed up with the address first.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::app::App;
use crate::destination;
use crate::edge::FormBody;
use crate::events::Event;
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::{Changes, Passkey, User};
use crate::{enrollment, pages};

pub(super) fn routes() -> Router<App> {
    Router::new().route("/account/lost", get(show).post(submit))
}

/// What opens an account, each since when in milliseconds.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) passkeys: Vec<Passkey>,
    pub(crate) password: Option<i64>,
    pub(crate) app: Option<i64>,
    pub(crate) recovery_code: Option<i64>,
}

impl Others {
    /// What opens a user's account besides the passkey that this session's recovery ended with. Where it ended with a
    /// password, or there was none, the password is known to the user who is here.
    pub(super) async fn of(visit: &Visit, user: &User) -> Result<Self, Failure> {
        let database = &visit.app.database;
        let new_passkey = visit.data.recovered_with.as_ref();
        let mut passkeys = database.passkeys(&user.id).await?;
        passkeys.retain(|passkey| Some(&passkey.id) != new_passkey);
        let password = match new_passkey {
            Some(_) => database.password_set_at(&user.id).await?,
            None => None,
        };
        let app = database.totp(&user.id).await?.map(|app| app.created_at);
        let recovery_code = database.recovery_code_made_at(&user.id).await?;
        Ok(Self { passkeys, password, app, recovery_code })
    }

    /// Whether there is nothing to ask about.
    pub(super) fn are_none(&self) -> bool {
        let Self { passkeys, password, app, recovery_code } = self;
        passkeys.is_empty() && password.is_none() && app.is_none() && recovery_code.is_none()
    }
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let user = visit.user().await?;
    let others = Others::of(&visit, &user).await?;
    if others.are_none() {
        return Ok(visit.see_other(destination::ACCOUNT));
    }
    Ok(visit.page(pages::security::lost(&visit.app, &others)))
}

/// The form's fields are `lost=pky_…`, `lost=password`, …, as often as boxes are ticked.
async fn submit(
    mut visit: Visit,
    FormBody(form): FormBody<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let user = visit.recent_user().await?;
    let lost: Vec<_> = form.iter().filter(|(name, _)| name == "lost").take(1000).collect();
    let mut refused = None;
    for (_, what) in &lost {
        match remove(&visit, &user, what).await {
            // What is gone already is as it should be, and the others go all the same.
            Ok(()) | Err(Failure::NotFound) => {}
            Err(failure) => refused = refused.or(Some(failure)),
        }
    }
    if !lost.is_empty() {
        // Whoever holds one of them may have logged in with it since the recovery.
        let ends = Changes::default()
            .void_proofs(&user.id)
            .end_other_sessions(&user.id, visit.session_id())
            .forget_devices(&user.id);
        visit.change(&user, ends).await?;
    }
    if let Some(failure) = refused {
        return Err(failure);
    }
    visit.data.notice = Some("Your account is yours again.".into());
    visit.save().await?;
    Ok(visit.see_other(destination::ACCOUNT))
}

async fn remove(visit: &Visit, user: &User, what: &str) -> Result<(), Failure> {
    let (changes, kind) = match what {
        "password" => return enrollment::remove_password(visit, user).await,
        "app" => (Changes::default().remove_totp(&user.id), "otp"),
        "recovery-code" => (Changes::default().remove_recovery_code(&user.id), "recovery-code"),
        passkey => return enrollment::remove_passkey(visit, user, passkey).await,
    };
    let event = Event::of("gd_unenroll").user(user).detail("authenticator", json!({ "type": kind }));
    if visit.make(user, changes, event).await? { Ok(()) } else { Err(Failure::NotFound) }
}
