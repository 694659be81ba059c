//! Setting up and using second factors: what login and account have in common.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::events::Event;
use crate::failure::Failure;
use crate::limits::AddressTry;
use crate::session::Visit;
use crate::store::{Changes, SealedApp, User};
use crate::{key, limits, secret, totp};

/// Wrong codes for one user in five minutes before it takes a break.
const TRIES: i64 = 5;

/// An authenticator app that is being set up: until its first code has come, its secret is this session's alone. A secret
/// that is shown to a second session could be known to somebody who has only half of what a log-in takes.
#[derive(Clone, Serialize, Deserialize, ZeroizeOnDrop)]
pub(crate) struct NewApp {
    user_id: String,
    app: SealedApp,
}

/// Tells no secret.
impl fmt::Debug for NewApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApp").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

impl PartialEq for NewApp {
    fn eq(&self, other: &Self) -> bool {
        self.user_id == other.user_id && bool::from(self.app.bytes.ct_eq(&other.app.bytes))
    }
}

impl Eq for NewApp {}

/// The shared secret of the authenticator app that this session sets up: the same until that is done.
///
/// # Errors
/// [`Failure::OutOfOrder`] if the user has an app already.
pub(crate) async fn secret_to_set_up(visit: &mut Visit, user: &User) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if visit.app.database.totp(&user.id).await?.is_some() {
        return Err(Failure::OutOfOrder);
    }
    let config = &visit.app.config;
    // What was shown before there was a key is in old copies of the database, and is shown nobody any more.
    let is_kept = |app: &SealedApp| app.is_sealed || config.key.is_none();
    let known = visit.data.new_app.as_ref();
    let known = known.filter(|known| known.user_id == user.id && is_kept(&known.app));
    if let Some(known) = known.and_then(|known| key::open_app(config, &user.id, &known.app)) {
        return Ok(known);
    }
    let fresh = Zeroizing::new(config.random.bytes::<20>().to_vec());
    let app = key::seal_app(config, &user.id, &fresh);
    visit.data.new_app = Some(NewApp { user_id: user.id.clone(), app });
    visit.save().await?;
    visit.log(Event::of("gd_start_enroll").user(user)).await;
    Ok(fresh)
}

/// Sets the authenticator app up whose secret this session was shown, if the code is its; logged. As of [`check_code`],
/// what has not six digits costs nothing.
///
/// # Errors
/// [`Failure::OutOfOrder`] if another one has been set up meanwhile, or the account was changed.
pub(crate) async fn set_up(
    visit: &mut Visit,
    user: &User,
    shared: &[u8],
    code: &str,
) -> Result<bool, Failure> {
    if !totp::is_code(code) {
        return Ok(false);
    }
    within_limit(visit, user).await?;
    let now = visit.app.now();
    let Some(step) = totp::step_of(shared, code, now) else {
        visit.log(Event::of("gd_auth_failed").user(user)).await;
        return Ok(false);
    };
    let event =
        Event::of("gd_enrollment_complete").user(user).detail("authenticator", json!({ "type": "otp" }));
    let changes = Changes::default().if_generation(&user.id, user.generation);
    let app = key::seal_app(&visit.app.config, &user.id, shared);
    if !visit.make(user, changes.add_totp(&user.id, &app, step, now), event).await? {
        return Err(Failure::OutOfOrder);
    }
    forget_failures(visit, user).await?;
    visit.data.new_app = None;
    visit.save().await?;
    Ok(true)
}

/// Whether a one-time code is right; it works once. Too many wrong ones are told as such, and each is a failure of the
/// visitor's address of the network. What has not six digits is not compared, and costs nothing.
pub(crate) async fn check_code(visit: &Visit, user: &User, code: &str) -> Result<bool, Failure> {
    if !totp::is_code(code) {
        return Ok(false);
    }
    let tried = try_code(visit, user).await?;
    let is_right = use_code(visit, user, code).await?;
    if is_right {
        tried.take_back(visit).await?;
    } else {
        tried.failed(visit).await;
    }
    Ok(is_right)
}

async fn use_code(visit: &Visit, user: &User, code: &str) -> Result<bool, Failure> {
    let Some(known) = visit.app.database.totp(&user.id).await? else { return Ok(false) };
    let shared = key::open_app(&visit.app.config, &user.id, &known.app);
    let shared = shared.ok_or(Failure::Broken("an authenticator app is sealed under another key"))?;
    match totp::step_of(&shared, code, visit.app.now()) {
        Some(step) => Ok(visit.app.database.use_totp_step(&user.id, step).await?),
        None => Ok(false),
    }
}

/// Counts a guess at a user's code before it is compared: first of the visitor's address, since what that is refused is
/// no guess of this user's, whoever else is behind it.
async fn try_code(visit: &Visit, user: &User) -> Result<AddressTry, Failure> {
    let policy = visit.app.policy().await?;
    let tried = limits::try_from_address(visit, &policy).await?;
    match within_limit(visit, user).await {
        Ok(()) => Ok(tried),
        Err(failure) => {
            tried.take_back(visit).await?;
            Err(failure)
        }
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

/// The recovery code that takes the place of the one that was typed, if that is the user's; wrong ones are counted as those
/// of [`check_code`] are. That the second factor has passed is noted in this session, whose first factor has. All of it
/// happens together: a code that was used up alone would lock its user out.
///
/// A code that comes a second time, because the answer to the first was lost, leads on like the first: to a new one.
pub(crate) async fn replace_recovery_code(
    visit: &mut Visit,
    user: &User,
    typed: &str,
) -> Result<Option<String>, Failure> {
    let tried = try_code(visit, user).await?;
    let next = use_recovery_code(visit, user, typed).await?;
    match &next {
        Some(_) => tried.take_back(visit).await?,
        None => tried.failed(visit).await,
    }
    Ok(next)
}

async fn use_recovery_code(visit: &mut Visit, user: &User, typed: &str) -> Result<Option<String>, Failure> {
    let code: String = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    let next = fresh_recovery_code(visit);
    let mut changes = Changes::default()
        .if_generation(&user.id, user.generation)
        .take_recovery_code(&user.id, &secret::digest(code.to_ascii_uppercase().as_bytes()))
        .put_recovery_code(&user.id, &secret::digest(next.as_bytes()), visit.app.now());
    let first = visit.data.first_factor.as_mut().ok_or(Failure::OutOfOrder)?;
    first.second_passed = true;
    // The passkey's use, too: where that cannot be noted any more, the code stays.
    if let Some(used) = first.used.take() {
        changes = changes.use_passkey(&used, visit.app.now());
    }
    if visit.save_with(changes).await? {
        return Ok(Some(next));
    }
    visit.read_again().await?;
    let first = visit.data.first_factor.as_ref();
    if first.is_some_and(|first| first.second_passed && first.user_id == user.id) {
        return new_recovery_code(visit, user).await.map(Some);
    }
    Ok(None)
}

/// Makes a recovery code for a user whose log-in has passed both factors; an earlier one is void. It is shown once.
///
/// # Errors
/// [`Failure::OutOfOrder`] if something has made void what was proved: the code that was made meanwhile stays.
pub(crate) async fn new_recovery_code(visit: &Visit, user: &User) -> Result<String, Failure> {
    let conditions = Changes::default().if_generation(&user.id, user.generation);
    put_recovery_code(visit, user, conditions).await?.ok_or(Failure::OutOfOrder)
}

/// Makes a recovery code for a user who is signed in; an earlier one is void, and so is every log-in that waits, for it may
/// have passed that one. It is shown once.
pub(crate) async fn renew_recovery_code(visit: &Visit, user: &User) -> Result<String, Failure> {
    let voided = Changes::default().void_proofs(&user.id);
    put_recovery_code(visit, user, voided).await?.ok_or(Failure::OutOfOrder)
}

async fn put_recovery_code(visit: &Visit, user: &User, first: Changes) -> Result<Option<String>, Failure> {
    let code = fresh_recovery_code(visit);
    let digest = secret::digest(code.as_bytes());
    let is_made = visit.change(user, first.put_recovery_code(&user.id, &digest, visit.app.now())).await?;
    Ok(is_made.then_some(code))
}

/// 24 letters and digits.
fn fresh_recovery_code(visit: &Visit) -> String {
    totp::base32(&visit.app.config.random.bytes::<15>())
}

/// A right code forgets the wrong ones before it.
pub(crate) async fn forget_failures(visit: &Visit, user: &User) -> Result<(), Failure> {
    Ok(visit.app.database.forget(&format!("otp {}", user.id)).await?)
}
