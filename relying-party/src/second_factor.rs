//! Setting up and using second factors: what login and account have in common.

use zeroize::Zeroizing;

use crate::events::Event;
use crate::failure::Failure;
use crate::session::Visit;
use crate::store::User;
use crate::{secret, totp};

/// Wrong codes for one user in five minutes before it takes a break.
const TRIES: i64 = 5;

/// The shared secret of an authenticator app that is being set up.
pub(crate) async fn secret_to_set_up(visit: &Visit, user: &User) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let database = &visit.app.database;
    if let Some(known) = database.totp(&user.id).await? {
        return if known.confirmed { Err(Failure::OutOfOrder) } else { Ok(known.secret) };
    }
    let fresh = visit.app.config.random.bytes::<20>();
    database.put_totp(&user.id, &fresh, visit.app.now()).await?;
    visit.log(Event::of("gd_start_enroll").user(user)).await;
    Ok(Zeroizing::new(fresh.to_vec()))
}

/// Whether a one-time code is right; it works once. Too many wrong ones are told as such.
pub(crate) async fn check_code(visit: &Visit, user: &User, code: &str) -> Result<bool, Failure> {
    within_limit(visit, user).await?;
    let Some(known) = visit.app.database.totp(&user.id).await? else { return Ok(false) };
    let step = totp::step_of(&known.secret, code, visit.app.now());
    match step {
        Some(step) => Ok(visit.app.database.use_totp_step(&user.id, step).await?),
        None => Ok(false),
    }
}

async fn within_limit(visit: &Visit, user: &User) -> Result<(), Failure> {
    let count = visit.app.database.count(&format!("otp {}", user.id), visit.app.now(), 300_000).await?;
    if count > TRIES {
        visit.log(Event::of("gd_otp_rate_limit_exceed").user(user)).await;
        return Err(Failure::TooMany { limit: "too-many-failures", retry_after_s: 300 });
    }
    Ok(())
}

/// Whether a recovery code is right; it works once, and a new one must be made then.
pub(crate) async fn check_recovery_code(visit: &Visit, user: &User, typed: &str) -> Result<bool, Failure> {
    within_limit(visit, user).await?;
    let code: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    let digest = secret::digest(code.to_ascii_uppercase().as_bytes());
    Ok(visit.app.database.take_recovery_code(&user.id, &digest).await?)
}

/// Makes a recovery code, 24 letters and digits; an earlier one is void. It is shown once.
pub(crate) async fn new_recovery_code(visit: &Visit, user: &User) -> Result<String, Failure> {
    let code = totp::base32(&visit.app.config.random.bytes::<15>());
    visit.app.database.put_recovery_code(&user.id, &secret::digest(code.as_bytes()), visit.app.now()).await?;
    Ok(code)
}

/// A right code forgets the wrong ones before it.
pub(crate) async fn forget_failures(visit: &Visit, user: &User) -> Result<(), Failure> {
    Ok(visit.app.database.forget(&format!("otp {}", user.id)).await?)
}
