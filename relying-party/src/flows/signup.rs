//! Signing up: identifiers, perhaps a code, then a passkey or a password.

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
use crate::failure::{Failure, Told};
use crate::pages;
use crate::pages::new_password::Personal;
use crate::passwords;
use crate::policy::Policy;
use crate::session::{FirstFactor, Method, SignUp, Visit};
use crate::store::{Changes, CodeCheck, Identifier, Passkey, StoreError, User};
use crate::{codes, identifiers, limits};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/signup", get(show).post(submit))
        .route("/signup/code", get(show_code).post(submit_code))
        .route("/signup/code/resend", post(resend_code))
        .route("/signup/passkey", get(show_passkey).post(finish_passkey))
        .route("/signup/passkey/options", post(passkey_options))
        .route("/signup/password", get(show_password).post(submit_password))
}

#[derive(Debug, Deserialize)]
struct Form {
    email: Option<String>,
    phone: Option<String>,
    username: Option<String>,
}

impl Form {
    fn given(&self) -> [Option<&str>; 3] {
        [self.email.as_deref(), self.phone.as_deref(), self.username.as_deref()]
    }
}

async fn show(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let kept = visit.data.signup.as_ref();
    let value = |kind: &str| {
        let found =
            kept.and_then(|signup| signup.identifiers.iter().find(|identifier| identifier.kind == kind));
        found.map_or("", |identifier| identifier.value.as_str())
    };
    let kept = [value("email"), value("phone"), value("username")];
    Ok(visit.page(pages::signup::identifiers(&visit.app, &policy, kept, None)))
}

async fn submit(mut visit: Visit, FormBody(form): FormBody<Form>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    match start(&mut visit, &policy, form.given()).await {
        Ok(next) => Ok(visit.see_other(next)),
        Err(failure @ Failure::Store(_)) => Err(failure),
        Err(failure) => {
            let told = failure.told();
            let kept = form.given().map(Option::unwrap_or_default);
            let page = pages::signup::identifiers(&visit.app, &policy, kept, Some(&told));
            Ok(visit.refusal(&told, page))
        }
    }
}

/// Checks the identifiers and keeps them in the session; gives the next screen.
pub(crate) async fn start(
    visit: &mut Visit,
    policy: &Policy,
    given: [Option<&str>; 3],
) -> Result<&'static str, Failure> {
    let started = try_start(visit, policy, given).await;
    if let Err(failure) = &started {
        let told = failure.told();
        visit.log(Event::of("fs").detail("key", told.key).error(told.message)).await;
    }
    started
}

async fn try_start(
    visit: &mut Visit,
    policy: &Policy,
    given: [Option<&str>; 3],
) -> Result<&'static str, Failure> {
    limits::sign_up(visit, policy).await?;
    let identifiers = identifiers::of_sign_up(&policy.attributes, given)?;
    for identifier in identifiers.iter().filter(|identifier| !must_be_proved(policy, &identifier.kind)) {
        if is_taken(visit, identifier).await? {
            return Err(Failure::IdentifierTaken { kind: identifier.kind.clone(), orphan: None });
        }
    }
    let code_id = match first_unproved(policy, &identifiers) {
        Some(target) => Some(send_code(visit, policy, &target).await?),
        None => None,
    };
    visit.data.signup = Some(SignUp { identifiers, code_id });
    visit.save().await?;
    Ok(next_screen(visit, policy))
}

/// Whether the policy wants a code typed that went to an identifier of this kind. No code can go to a user name.
fn must_be_proved(policy: &Policy, kind: &str) -> bool {
    kind != "username" && identifiers::attribute(&policy.attributes, kind).verify
}

/// The identifier that the next code goes to.
fn first_unproved(policy: &Policy, identifiers: &[Identifier]) -> Option<Identifier> {
    let mut unproved =
        identifiers.iter().filter(|known| !known.verified && must_be_proved(policy, &known.kind));
    unproved.next().cloned()
}

async fn is_taken(visit: &Visit, identifier: &Identifier) -> Result<bool, Failure> {
    Ok(visit.app.database.user_called(&identifier.kind, &identifier.value).await?.is_some())
}

/// Sends a code; gives its id. Whoever types somebody's address sees what everybody sees; the owner gets a mail, and
/// nobody a code.
async fn send_code(visit: &Visit, policy: &Policy, target: &Identifier) -> Result<String, Failure> {
    match visit.app.database.user_called(&target.kind, &target.value).await? {
        Some(owner) => codes::send_notice_to_owner(visit, policy, "sign-up", target, &owner).await,
        None => codes::send(visit, policy, "sign-up", target).await,
    }
}

fn next_screen(visit: &Visit, policy: &Policy) -> &'static str {
    let waits_for_code = visit.data.signup.as_ref().is_some_and(|signup| signup.code_id.is_some());
    match (waits_for_code, policy.passkey.enabled) {
        (true, _) => "/signup/code",
        (false, true) => "/signup/passkey",
        (false, false) => "/signup/password",
    }
}

/// The sign-up of this session, at the screen with the code.
fn waiting_for_code(visit: &Visit) -> Result<(SignUp, String, Identifier), Failure> {
    let signup = visit.data.signup.clone().ok_or(Failure::OutOfOrder)?;
    let code_id = signup.code_id.clone().ok_or(Failure::OutOfOrder)?;
    let target = codes::target_of(&code_id, &signup.identifiers).ok_or(Failure::OutOfOrder)?;
    Ok((signup, code_id, target))
}

async fn show_code(mut visit: Visit) -> Result<Response, Failure> {
    let Ok((_, _, target)) = waiting_for_code(&visit) else { return Ok(visit.see_other("/signup")) };
    let notice = visit.take_notice().await?;
    Ok(visit.page(pages::signup::code(&visit.app, &target, None, notice.as_deref())))
}

#[derive(Debug, Deserialize)]
struct CodeForm {
    code: String,
}

async fn submit_code(mut visit: Visit, FormBody(form): FormBody<CodeForm>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let (mut signup, code_id, target) = waiting_for_code(&visit)?;
    let checked = codes::check(&visit, &policy, "sign-up", &code_id, &form.code).await?;
    if checked != CodeCheck::Right {
        let failure = codes::failure(checked);
        visit.log(Event::of("fv").error(failure.told().message)).await;
        let told = failure.told();
        let page = pages::signup::code(&visit.app, &target, Some(&told), None);
        return Ok(visit.refusal(&told, page));
    }
    for identifier in &mut signup.identifiers {
        identifier.verified |= *identifier == target;
    }
    visit.log(Event::of("sv").detail("kind", target.kind)).await;
    signup.code_id = match first_unproved(&policy, &signup.identifiers) {
        Some(next) => Some(codes::noted(&visit, send_code(&visit, &policy, &next).await).await?),
        None => None,
    };
    visit.data.signup = Some(signup);
    visit.save().await?;
    Ok(visit.see_other(next_screen(&visit, &policy)))
}

async fn resend_code(mut visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let (mut signup, _, target) = waiting_for_code(&visit)?;
    signup.code_id = Some(codes::noted(&visit, send_code(&visit, &policy, &target).await).await?);
    visit.data.signup = Some(signup);
    visit.data.notice = Some("We have sent a new code.".into());
    visit.save().await?;
    Ok(visit.see_other("/signup/code"))
}

/// The sign-up of this session, past its codes: those that policy asks for now, whatever it asked for when the sign-up
/// began.
///
/// # Errors
/// [`Failure::OutOfOrder`] if there is none, or something has yet to be proved.
pub(crate) fn ready(visit: &Visit, policy: &Policy) -> Result<SignUp, Failure> {
    let signup = visit.data.signup.clone().filter(|signup| signup.code_id.is_none());
    let proved = signup.filter(|signup| first_unproved(policy, &signup.identifiers).is_none());
    proved.ok_or(Failure::OutOfOrder)
}

pub(crate) fn name_of(signup: &SignUp) -> &str {
    signup.identifiers.first().map_or("", |identifier| &identifier.value)
}

async fn show_passkey(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let Ok(signup) = ready(&visit, &policy) else { return Ok(visit.see_other("/signup")) };
    if !policy.passkey.enabled {
        return Ok(visit.see_other("/signup/password"));
    }
    Ok(visit.page(pages::signup::passkey(&visit.app, name_of(&signup), policy.password.enabled)))
}

async fn passkey_options(mut visit: Visit, JsonBody(wish): JsonBody<Wish>) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    if !policy.passkey.enabled {
        return Err(Failure::NO_PASSKEYS);
    }
    let given = [wish.email.as_deref(), wish.phone.as_deref(), wish.username.as_deref()];
    if given.iter().any(Option::is_some) {
        start(&mut visit, &policy, given).await?;
    }
    let signup = ready(&visit, &policy)?;
    let handle = visit.app.config.random.bytes::<64>();
    let subject = Subject { user_id: None, handle: &handle, name: name_of(&signup), exclude: &[] };
    let options = ceremony::begin_registration(&mut visit, Kind::SignUp, &subject, &wish, None).await?;
    Ok(visit.json(options))
}

async fn finish_passkey(mut visit: Visit, JsonBody(body): JsonBody<Value>) -> Result<Response, Failure> {
    let credential = crate::verify::Credential::from_json(body);
    let (user, user_verified) = finish_with_passkey(&visit, &credential).await?;
    let first_factor =
        FirstFactor { user_verified, just_created: true, ..FirstFactor::of(&user, Method::Passkey) };
    let next = finish::first_factor_passed(&mut visit, first_factor, Outcome::default()).await?;
    Ok(visit.json(json!({ "next": next })))
}

/// Verifies the new passkey and creates the user; gives the user, and whether the passkey verified it.
pub(crate) async fn finish_with_passkey(
    visit: &Visit,
    credential: &crate::verify::Credential,
) -> Result<(User, bool), Failure> {
    let policy = visit.app.policy().await?;
    finish::refuse_off(&policy, Method::Passkey)?;
    let finished = ceremony::finish_registration(visit, Kind::SignUp, credential).await;
    let registered = match finished {
        Ok(finished) => finished,
        Err(refused) => {
            let event = Event::of("fs").detail("authentication_methods", json!(["passkey"]));
            visit.log(refused.tell_registration(event)).await;
            return Err(refused.failure);
        }
    };
    let signup = ready(visit, &policy)?;
    let user = new_user(visit, registered.asked.handle.clone(), &signup);
    let passkey = ceremony::new_passkey(visit, &user.id, &registered.registration);
    let event = Event::of("ss")
        .user(&user)
        .detail("authentication_methods", json!(["passkey"]))
        .detail("webauthn", ceremony::registration_details(&registered))
        .transcript(&registered.registration.transcript);
    create(visit, &user, Some(&passkey), None, ceremony::orphan(credential), event).await?;
    Ok((user, registered.registration.user_verified))
}

fn new_user(visit: &Visit, handle: Vec<u8>, signup: &SignUp) -> User {
    User {
        id: visit.app.new_id("usr"),
        handle,
        created_at: visit.app.now(),
        blocked: false,
        generation: 0,
        identifiers: signup.identifiers.clone(),
    }
}

/// Creates the user; a race for an address or a credential id ends here, for all but one.
async fn create(
    visit: &Visit,
    user: &User,
    passkey: Option<&Passkey>,
    password: Option<&str>,
    orphan: Option<String>,
    event: Event,
) -> Result<(), Failure> {
    let failure = match visit.make(user, Changes::default().create_user(user, passkey, password), event).await
    {
        Ok(_) => return Ok(()),
        Err(Failure::Store(StoreError::Taken)) => {
            let registered = match passkey {
                Some(passkey) => visit.app.database.passkey(&passkey.credential_id).await?.is_some(),
                None => false,
            };
            let mut kind = String::new();
            for identifier in &user.identifiers {
                if kind.is_empty() && is_taken(visit, identifier).await? {
                    kind.clone_from(&identifier.kind);
                }
            }
            if registered {
                Failure::PasskeyTaken { orphan }
            } else {
                Failure::IdentifierTaken { kind, orphan }
            }
        }
        Err(failure) => return Err(failure),
    };
    visit.log(Event::of("fs").error(failure.told().message)).await;
    Err(failure)
}

async fn show_password(visit: Visit) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let Ok(signup) = ready(&visit, &policy) else { return Ok(visit.see_other("/signup")) };
    if !policy.password.enabled {
        return Ok(visit.see_other("/signup/passkey"));
    }
    Ok(visit.page(password_page(&visit, &policy, &signup, None)))
}

fn password_page(visit: &Visit, policy: &Policy, signup: &SignUp, error: Option<&Told>) -> maud::Markup {
    let personal = Personal::all(&signup.identifiers);
    pages::signup::password(&visit.app, policy, name_of(signup), &personal, error)
}

async fn submit_password(
    mut visit: Visit,
    FormBody(form): FormBody<PasswordForm>,
) -> Result<Response, Failure> {
    let policy = visit.app.policy().await?;
    let signup = ready(&visit, &policy)?;
    if !policy.password.enabled {
        return Err(Failure::NO_PASSWORDS);
    }
    if let Err(failure) = passwords::check(&policy.password, &signup.identifiers, &form.password).await {
        let told = failure.told();
        visit.log(Event::of("fs").detail("key", told.key).error(told.message.clone())).await;
        let page = password_page(&visit, &policy, &signup, Some(&told));
        return Ok(visit.refusal(&told, page));
    }
    let hash = passwords::hash(&visit.app.config.random, &form.password).await?;
    let user = new_user(&visit, visit.app.config.random.bytes::<64>().to_vec(), &signup);
    let event = Event::of("ss").user(&user).detail("authentication_methods", json!(["pwd"]));
    create(&visit, &user, None, Some(&hash), None, event).await?;
    let first_factor = FirstFactor { just_created: true, ..FirstFactor::of(&user, Method::Password) };
    let next = finish::first_factor_passed(&mut visit, first_factor, Outcome::default()).await?;
    Ok(visit.see_other(next))
}
