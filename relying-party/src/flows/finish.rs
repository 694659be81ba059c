//! What comes after the first factor: perhaps a second, then the session, then perhaps an offer.

use serde_json::{Value, json};

use super::lost::Others;
use crate::ceremony::{self, Accepted, Answered};
use crate::destination;
use crate::events::Event;
use crate::failure::Failure;
use crate::policy::{AfterPasskey, MfaPolicy, Policy};
use crate::session::{FirstFactor, Method, Prompt, Proved, SessionData, Visit};
use crate::store::{Changes, User};
use crate::verify::Transcript;

/// What the log should know about how the first factor passed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    webauthn: Option<Value>,
    transcript: Option<Transcript>,
    /// The challenge of the ceremony, if it has yet to be taken.
    answered: Option<Answered>,
}

impl Outcome {
    /// That of a passkey; its transcript moves here. `answered` is the challenge, if it has yet to be taken.
    pub(crate) fn of(accepted: &mut Accepted, answered: Option<Answered>) -> Self {
        Self {
            webauthn: Some(ceremony::authentication_details(accepted)),
            transcript: Some(std::mem::take(&mut accepted.authentication.transcript)),
            answered,
        }
    }

    /// Adds to the event of what follows at once how the first factor passed: nothing else tells of a counter that went
    /// back.
    pub(crate) fn tell(&self, mut event: Event) -> Event {
        if let Some(webauthn) = &self.webauthn {
            event = event.detail("webauthn", webauthn.clone());
        }
        if let Some(transcript) = &self.transcript {
            event = event.transcript(transcript);
        }
        event
    }

    /// Takes the challenge, where what follows is not the end.
    async fn take(&self, visit: &Visit) -> Result<(), Failure> {
        match &self.answered {
            Some(answered) => answered.take(visit).await,
            None => Ok(()),
        }
    }
}

/// Goes on after a first factor; gives the next screen.
pub(super) async fn first_factor_passed(
    visit: &mut Visit,
    first: FirstFactor,
    outcome: Outcome,
) -> Result<&'static str, Failure> {
    let user = visit.app.database.user(&first.user_id).await?.ok_or(Failure::OutOfOrder)?;
    first_factor_of(visit, &user, first, outcome).await
}

/// The same of a user who has been read just now.
pub(super) async fn first_factor_of(
    visit: &mut Visit,
    user: &User,
    first: FirstFactor,
    outcome: Outcome,
) -> Result<&'static str, Failure> {
    let policy = visit.app.policy().await?;
    let is_on = refuse_off(&policy, first.method);
    if user.blocked || is_on.is_err() {
        outcome.take(visit).await?;
    }
    is_on?;
    refuse_blocked(visit, user).await?;
    if needs_second_factor(visit, &policy, &first).await? {
        outcome.take(visit).await?;
        let is_set_up = visit.app.database.totp(&user.id).await?.is_some();
        visit.log(outcome.tell(Event::of("gd_start_auth").user(user))).await;
        wait(visit, first).await?;
        return Ok(if is_set_up { "/mfa/otp" } else { "/mfa/setup" });
    }
    go_on(visit, &policy, user, first, None, outcome).await
}

/// Keeps a first factor until the second one has passed.
pub(crate) async fn wait(visit: &mut Visit, first: FirstFactor) -> Result<(), Failure> {
    visit.data.first_factor = Some(FirstFactor { waits_since: visit.app.now(), ..first });
    visit.save().await
}

/// The first factor that waits for the second one in this session, and whose it is.
///
/// # Errors
/// [`Failure::OutOfOrder`] if none does, if it is old, or if something has made it void; [`Failure::Off`] if policy has
/// turned its method off.
pub(crate) async fn waiting(visit: &Visit) -> Result<(User, FirstFactor), Failure> {
    let first = visit.data.first_factor.clone().ok_or(Failure::OutOfOrder)?;
    refuse_off(visit.app.policy().await?.as_ref(), first.method)?;
    let user = visit.user_of_proof(&first.user_id, first.generation, first.waits_since).await?;
    Ok((user.ok_or(Failure::OutOfOrder)?, first))
}

/// Goes on after the second factor.
pub(super) async fn second_factor_passed(visit: &mut Visit, amr: &str) -> Result<&'static str, Failure> {
    let policy = visit.app.policy().await?;
    let (user, first) = waiting(visit).await?;
    refuse_blocked(visit, &user).await?;
    go_on(visit, &policy, &user, first, Some(amr), Outcome::default()).await
}

/// Whoever recovers may set a new passkey or password now, and whoever confirms may change the account; everybody else is
/// logged in.
async fn go_on(
    visit: &mut Visit,
    policy: &Policy,
    user: &User,
    first: FirstFactor,
    second: Option<&str>,
    outcome: Outcome,
) -> Result<&'static str, Failure> {
    if first.confirming.is_some() {
        return confirmed(visit, user, first, second, &outcome).await;
    }
    if !first.recovering {
        return complete(visit, policy, user, first, second, outcome).await;
    }
    visit.data.first_factor = None;
    if let Some(recovery) = &mut visit.data.recovery {
        let (user_id, since, second) = (user.id.clone(), visit.app.now(), second.is_some());
        recovery.proved = Some(Proved { user_id, generation: first.generation, since, second });
    }
    visit.save().await?;
    Ok("/recover/new")
}

/// Notes in the session that its user is there, with the use of the passkey that said so, and the event.
async fn confirmed(
    visit: &mut Visit,
    user: &User,
    first: FirstFactor,
    second: Option<&str>,
    outcome: &Outcome,
) -> Result<&'static str, Failure> {
    if visit.user_id() != Some(user.id.as_str()) {
        return Err(Failure::OutOfOrder);
    }
    visit.data.first_factor = None;
    visit.data.authenticated_at = visit.app.now();
    let mut changes = Changes::default().if_generation(&user.id, first.generation);
    if let Some(used) = &first.used {
        changes = changes.use_passkey(used, visit.app.now());
    }
    let event = Event::of("gd_auth_succeed").user(user).detail("purpose", "step-up");
    let event = event.detail("prompts", json!([{ "performed_amr": amr(first.method, second) }]));
    let is_saved = visit.save_with(changes.put_event(&visit.event(outcome.tell(event)))).await?;
    visit.app.event_written();
    if !is_saved {
        visit.refuse_ended().await?;
        return Err(why_nothing_happened(visit, user, &first).await?);
    }
    Ok(destination::after_confirming(first.confirming.as_deref()))
}

/// The end of a recovery, after everything that was there before has ended: logged in here. `new` is the id of the passkey
/// that it ended with.
pub(super) async fn recovered(
    visit: &mut Visit,
    user: &User,
    new: Option<String>,
) -> Result<&'static str, Failure> {
    let policy = visit.app.policy().await?;
    // In the generation that the recovery has begun.
    let user = visit.app.database.user(&user.id).await?.ok_or(Failure::OutOfOrder)?;
    let first = FirstFactor { just_created: true, ..FirstFactor::of(&user, Method::Code) };
    let next = complete(visit, &policy, &user, first, None, Outcome::default()).await?;
    visit.data.recovered_with = new;
    if Others::of(visit, &user).await?.are_none() {
        return Ok(next);
    }
    visit.save().await?;
    Ok(destination::LOST)
}

/// Policy may have turned a method off since its page was shown.
pub(crate) fn refuse_off(policy: &Policy, method: Method) -> Result<(), Failure> {
    match method {
        Method::Passkey if !policy.passkey.enabled => Err(Failure::NO_PASSKEYS),
        Method::Password if !policy.password.enabled => Err(Failure::NO_PASSWORDS),
        Method::Code if !policy.code.enabled => Err(Failure::NO_CODES),
        _ => Ok(()),
    }
}

/// Whether policy makes this offer; it may have turned it off since it was made.
pub(super) fn offers(policy: &Policy, prompt: Prompt) -> bool {
    let passkey = &policy.passkey;
    passkey.enabled
        && match prompt {
            Prompt::Progressive => passkey.progressive_enrollment_enabled,
            Prompt::Local => passkey.local_enrollment_enabled,
        }
}

/// An administrator may have blocked the account.
pub(crate) async fn refuse_blocked(visit: &Visit, user: &User) -> Result<(), Failure> {
    if user.blocked {
        visit.log(Event::of("f").user(user).error("the user is blocked")).await;
        return Err(Failure::UserBlocked);
    }
    Ok(())
}

/// Whether this first factor needs a second one, by policy.
pub(crate) async fn needs_second_factor(
    visit: &Visit,
    policy: &Policy,
    first: &FirstFactor,
) -> Result<bool, Failure> {
    if policy.mfa.policy == MfaPolicy::Never {
        return Ok(false);
    }
    let is_enough = first.method == Method::Passkey
        && match policy.mfa.after_passkey {
            AfterPasskey::Require => false,
            AfterPasskey::Skip => true,
            AfterPasskey::SkipIfUv => first.user_verified,
        };
    if is_enough {
        return Ok(false);
    }
    match &visit.device {
        Some(device) => {
            let (database, days) = (&visit.app.database, policy.mfa.remember_days);
            Ok(!database.is_remembered(device, &first.user_id, visit.app.now(), days).await?)
        }
        None => Ok(true),
    }
}

/// Everything has passed: the passkey's record is updated, the session begins.
async fn complete(
    visit: &mut Visit,
    policy: &Policy,
    user: &User,
    first: FirstFactor,
    second: Option<&str>,
    outcome: Outcome,
) -> Result<&'static str, Failure> {
    let now = visit.app.now();
    let amr = amr(first.method, second);
    let prompt = prompt_for(visit, policy, user, &first).await?;
    let next = destination::of(visit.data.then.as_deref());
    // An offer comes first, and remembers where to go then.
    let then = prompt.and(visit.data.then.clone());
    let data =
        SessionData { authenticated_at: now, amr: amr.clone(), prompt, then, ..SessionData::default() };
    let event = Event::of("s").user(user).detail("prompts", json!([{ "performed_amr": amr }]));
    let event = outcome.tell(event);
    begin_session(visit, user, &first, outcome.answered.as_ref(), data, event).await?;
    Ok(match prompt {
        Some(Prompt::Progressive) => "/enroll",
        Some(Prompt::Local) => "/enroll/local",
        None => next,
    })
}

/// In one piece: takes the challenge, if that has yet to be done, notes the passkey's use, ends the old session, begins
/// the new one, and writes the event.
///
/// # Errors
/// [`Failure::OutOfOrder`] if the first factor has become void since it passed, [`Failure::UserBlocked`] if an
/// administrator has blocked the user since: nothing has happened then.
pub(crate) async fn begin_session(
    visit: &mut Visit,
    user: &User,
    first: &FirstFactor,
    answered: Option<&Answered>,
    data: SessionData,
    event: Event,
) -> Result<(), Failure> {
    // The user's row comes before all others of the user's, as everywhere: the other way round, two changes would wait for
    // each other. So would two that hold it before they write to it.
    let mut changes = Changes::default();
    // A passkey that is answered for right now is in force, or its record would not be there. All else may have been
    // proved a while ago; a password takes long enough to be compared.
    if answered.is_none() {
        changes = changes.if_generation(&user.id, first.generation);
    }
    changes = changes.if_not_blocked(&user.id);
    if let Some(answered) = answered {
        changes = answered.with(changes);
    }
    if let Some(used) = &first.used {
        changes = changes.use_passkey(used, visit.app.now());
    }
    let changes = changes.put_event(&visit.event(event));
    let is_begun = visit.sign_in(&user.id, data, changes).await?;
    visit.app.event_written();
    if is_begun {
        return Ok(());
    }
    if let Some(answered) = answered {
        // If it is still there, it was not for the challenge that nothing happened.
        answered.take(visit).await?;
    }
    Err(why_nothing_happened(visit, user, first).await?)
}

/// Which condition was not met where a first factor should have had its effect; logged.
async fn why_nothing_happened(visit: &Visit, user: &User, first: &FirstFactor) -> Result<Failure, Failure> {
    let event = Event::of("f").user(user);
    let known = visit.app.database.user(&user.id).await?;
    if let Some(known) = &known {
        refuse_blocked(visit, known).await?;
    }
    if known.is_none_or(|known| known.generation != first.generation) {
        visit.log(event.error("the account was changed meanwhile: what was proved before is void")).await;
        return Ok(Failure::OutOfOrder);
    }
    visit.log(event.error("the signature counter was used by another login meanwhile")).await;
    Ok(Failure::PasskeyRefused { signal: None })
}

/// RFC 8176 for the common ones; `phr` (phishing-resistant) as Auth0 logs it for passkeys.
fn amr(first: Method, second: Option<&str>) -> Vec<String> {
    let first = match first {
        Method::Passkey => "phr",
        Method::Password => "pwd",
        Method::Code => "otp",
    };
    std::iter::once(first).chain(second).map(String::from).collect()
}

/// Whether to offer a passkey before the application.
async fn prompt_for(
    visit: &Visit,
    policy: &Policy,
    user: &User,
    first: &FirstFactor,
) -> Result<Option<Prompt>, Failure> {
    let prompt = match first.method {
        Method::Passkey if first.offer_local => Prompt::Local,
        Method::Password | Method::Code => Prompt::Progressive,
        Method::Passkey => return Ok(None),
    };
    if first.just_created || !offers(policy, prompt) {
        return Ok(None);
    }
    let count = visit.app.database.passkeys(&user.id).await?.len();
    let has_room = count < policy.passkey.max_per_user as usize;
    let is_wanted = prompt == Prompt::Local || count == 0;
    let is_put_off = visit.app.database.put_off_until(&user.id, prompt.name()).await? > visit.app.now();
    Ok((has_room && is_wanted && !is_put_off).then_some(prompt))
}
