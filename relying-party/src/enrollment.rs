//! One more passkey for a user who exists, and one less.

use serde_json::{Value, json};

use crate::ceremony::{self, Kind};
use crate::events::Event;
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::{Changes, Passkey, StoreError, User};
use crate::verify::Credential;

/// The user's passkeys, to be excluded from the next one, if there may be one more.
///
/// # Errors
/// [`Failure::TooManyPasskeys`], which is logged.
pub(crate) async fn room_for_one_more(visit: &Visit, user: &User) -> Result<Vec<Passkey>, Failure> {
    let passkeys = passkeys_so_far(visit, user).await?;
    let most = visit.app.policy().await?.passkey.max_per_user;
    if passkeys.len() >= most as usize {
        return Err(too_many(visit, user, most, None).await);
    }
    Ok(passkeys)
}

/// The user's passkeys, to be excluded from the next one, however many there are.
pub(crate) async fn passkeys_so_far(visit: &Visit, user: &User) -> Result<Vec<Passkey>, Failure> {
    if !visit.app.policy().await?.passkey.enabled {
        return Err(Failure::NO_PASSKEYS);
    }
    Ok(visit.app.database.passkeys(&user.id).await?)
}

async fn too_many(visit: &Visit, user: &User, most: u32, orphan: Option<String>) -> Failure {
    visit.log(Event::of("too_many_records").user(user).detail("max", most)).await;
    Failure::TooManyPasskeys { most, orphan }
}

/// Verifies the answer to a registration and stores the passkey. That of a recovery ends everything that was there before
/// it, unless another has done so since `user` was read.
pub(crate) async fn finish(visit: &Visit, kind: Kind, user: &User, body: Value) -> Result<Passkey, Failure> {
    let policy = visit.app.policy().await?;
    if !policy.passkey.enabled {
        return Err(Failure::NO_PASSKEYS);
    }
    let credential = Credential::from_json(body);
    let registered = match ceremony::finish_registration(visit, kind, &credential).await {
        Ok(finished) => finished,
        Err(refused) => {
            visit.log(refused.tell_registration(failed(user))).await;
            return Err(refused.failure);
        }
    };
    let passkey = ceremony::new_passkey(visit, &user.id, &registered.registration);
    let (changes, most) = match kind {
        Kind::Recover => (Changes::default().end_all_before(user, ""), u32::MAX),
        _ => (Changes::default(), policy.passkey.max_per_user),
    };
    let event = Event::of("gd_enrollment_complete")
        .user(user)
        .detail("authenticator", json!({ "type": "passkey", "id": passkey.id }))
        .detail("webauthn", ceremony::registration_details(&registered))
        .transcript(&registered.registration.transcript);
    match visit.make(user, changes.add_passkey(&passkey, most), event).await {
        Ok(true) => {}
        Ok(false) if kind == Kind::Recover => return Err(Failure::OutOfOrder),
        Ok(false) => return Err(too_many(visit, user, most, ceremony::orphan(&credential)).await),
        Err(Failure::Store(StoreError::Taken)) => {
            visit.log(failed(user).error("the credential id is registered already")).await;
            return Err(Failure::PasskeyTaken { orphan: ceremony::orphan(&credential) });
        }
        Err(failure) => return Err(failure),
    }
    Ok(passkey)
}

fn failed(user: &User) -> Event {
    Event::of("gd_webauthn_enrollment_failed").user(user).detail("authentication_methods", json!(["passkey"]))
}

/// Removes a passkey, unless it is the last way to log in; logged. Of two that are removed at once, one stays.
pub(crate) async fn remove_passkey(visit: &Visit, user: &User, id: &str) -> Result<(), Failure> {
    let counts = visit.app.policy().await?.password.enabled;
    let event =
        Event::of("gd_unenroll").user(user).detail("authenticator", json!({ "type": "passkey", "id": id }));
    if visit.make(user, Changes::default().remove_passkey(&user.id, id, counts), event).await? {
        return Ok(());
    }
    let passkeys = visit.app.database.passkeys(&user.id).await?;
    let is_there = passkeys.iter().any(|passkey| passkey.id == id);
    Err(if is_there { Failure::LastMethod } else { Failure::NotFound })
}

/// Removes the password, unless it is the last way to log in; logged.
pub(crate) async fn remove_password(visit: &Visit, user: &User) -> Result<(), Failure> {
    let event = Event::of("scp").user(user).detail("removed", true);
    let is_on = visit.app.policy().await?.passkey.enabled;
    let changes = Changes::default().remove_password(&user.id, visit.app.now());
    if is_on && visit.make(user, changes, event).await? {
        return Ok(());
    }
    let is_there = visit.app.database.password_hash(&user.id).await?.is_some();
    Err(if is_there { Failure::LastMethod } else { Failure::NotFound })
}
