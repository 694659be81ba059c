//! The server's half of a ceremony: options out, one answer in.
//!
//! Exactly one answer takes a challenge, whatever the answer is. It belongs to a session, a kind of ceremony and, where one
//! is known, a user; an answer that comes from elsewhere finds no challenge. It is a row, or [sealed](crate::sealed).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::events::Event;
use crate::failure::Failure;
use crate::metadata::{MetadataPolicy, Treatment};
use crate::policy::{Counter, MetadataRule, Policy};
use crate::sealed::{self, Sealed};
use crate::secret;
use crate::session::Visit;
use crate::store::{Challenge, Changes, Claim, Passkey, PasskeyUse, Question, User};
use crate::verify::{
    AttestationTrust, Authentication, AuthenticationOptions, CounterRule, Credential, CredentialRecord,
    Mediation, Registration, RegistrationOptions, Rejection, RelyingParty, Transcript, UserVerification,
    spend_the_time_of_a_signature, verify_authentication, verify_registration,
};

/// What a ceremony is for; a challenge serves one kind only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A new account.
    SignUp,
    /// One more passkey of a signed-in user.
    Enroll,
    /// The passkey that a recovery ends with.
    Recover,
    /// Signing in.
    SignIn,
    /// Confirming before a change.
    StepUp,
    /// Trying things out, in development mode.
    Trial,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::SignUp => "sign-up",
            Self::Enroll => "enroll",
            Self::Recover => "recover",
            Self::SignIn => "sign-in",
            Self::StepUp => "step-up",
            Self::Trial => "trial",
        }
    }
}

/// What was asked for, kept with the challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    /// The user handle that the new passkey is for.
    pub(crate) handle: Vec<u8>,
    pub(crate) user_verification: UserVerification,
    pub(crate) algorithms: Vec<i64>,
    /// A conditional request: autofill at sign-in, a silent upgrade at enrolment.
    pub(crate) conditional: bool,
    /// The credential ids that were sent.
    pub(crate) allow: Vec<Vec<u8>>,
    /// The user was named before the ceremony: the answer must be this user's.
    pub(crate) identified: bool,
    /// The browser says that this device could hold a passkey.
    pub(crate) platform: bool,
}

/// What a page asks for when it asks for options; all optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Wish {
    /// `conditional` for autofill or a silent upgrade.
    pub(crate) mediation: Option<String>,
    /// `isUserVerifyingPlatformAuthenticatorAvailable()`.
    pub(crate) platform_authenticator: bool,
    /// Only this user's passkeys: the identifier, for programs; pages name it in the session.
    pub(crate) identifier: Option<String>,
    /// Only the passkeys of the user whose identifier was typed on the page before.
    pub(crate) targeted: bool,
    /// Sign-up by a program: the address.
    pub(crate) email: Option<String>,
    /// Sign-up by a program: the phone number.
    pub(crate) phone: Option<String>,
    /// Sign-up by a program: the user name.
    pub(crate) username: Option<String>,
}

impl Wish {
    /// Whether the ceremony is a conditional one.
    pub(crate) fn is_conditional(&self) -> bool {
        self.mediation.as_deref() == Some("conditional")
    }
}

/// Whom a registration is for.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) user_id: Option<&'a str>,
    pub(crate) handle: &'a [u8],
    pub(crate) name: &'a str,
    /// Passkeys that exist already.
    pub(crate) exclude: &'a [Passkey],
}

/// A ceremony that was refused: what the visitor is told, and what the log is told.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) failure: Failure,
    pub(crate) user: Option<User>,
    pub(crate) found: String,
    step: Option<String>,
    transcript: Option<Transcript>,
}

impl Refused {
    fn because(failure: Failure, found: impl Into<String>) -> Self {
        Self { failure, user: None, found: found.into(), step: None, transcript: None }
    }

    /// The verification refused.
    fn by(rejection: Rejection, failure: Failure, user: Option<User>) -> Self {
        Self {
            failure,
            user,
            found: rejection.to_string(),
            step: Some(rejection.step.to_string()),
            transcript: Some(rejection.transcript),
        }
    }

    /// The transcript, if the verification was reached.
    pub(crate) fn transcript(&self) -> Option<&Transcript> {
        self.transcript.as_ref()
    }

    /// `details.webauthn` of the event.
    pub(crate) fn details(&self, ceremony: &str) -> Value {
        json!({ "ceremony": ceremony, "failed_step": self.step, "found": self.found })
    }

    /// Adds to the event of a log-in that failed what was refused, of whom if that is known, and the transcript.
    pub(crate) fn tell(&self, event: Event) -> Event {
        let mut event = event.error(self.found.clone()).detail("webauthn", self.details("authentication"));
        if let Some(user) = &self.user {
            event = event.user(user);
        }
        if let Some(transcript) = &self.transcript {
            event = event.transcript(transcript);
        }
        event
    }
}

impl<E: Into<Failure>> From<E> for Refused {
    fn from(error: E) -> Self {
        let failure = error.into();
        let found = failure.to_string();
        Self::because(failure, found)
    }
}

/// Starts a registration: the options, as `navigator.credentials.create()` takes them.
pub(crate) async fn begin_registration(
    visit: &mut Visit,
    kind: Kind,
    subject: &Subject<'_>,
    wish: &Wish,
    attachment: Option<&str>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let asked = Asked {
        handle: subject.handle.to_vec(),
        user_verification: policy.passkey.user_verification,
        algorithms: policy.passkey.algorithms.clone(),
        conditional: wish.is_conditional(),
        platform: wish.platform_authenticator,
        ..Asked::default()
    };
    let challenge = keep(visit, &policy, kind, subject.user_id, &asked).await?;
    let mut options = creation_options(visit, &policy, subject, &challenge);
    if let Some(attachment) = attachment {
        options["authenticatorSelection"]["authenticatorAttachment"] = json!(attachment);
    }
    let mut answer = json!({ "publicKey": options });
    if asked.conditional {
        answer["mediation"] = json!("conditional");
    }
    Ok(answer)
}

/// Starts a registration with options of the developer's choice: `wanted` replaces members of the policy's options,
/// and what it asks for is what the answer is verified against.
pub(crate) async fn try_registration(
    visit: &mut Visit,
    subject: &Subject<'_>,
    wanted: &Map<String, Value>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let mut options = creation_options(visit, &policy, subject, &[]);
    replace_members(&mut options, wanted);
    let params = options["pubKeyCredParams"].as_array().into_iter().flatten();
    let asked = Asked {
        handle: subject.handle.to_vec(),
        user_verification: user_verification(&options["authenticatorSelection"]["userVerification"]),
        algorithms: params.filter_map(|param| param["alg"].as_i64()).collect(),
        ..Asked::default()
    };
    let challenge = keep(visit, &policy, Kind::Trial, None, &asked).await?;
    options["challenge"] = json!(secret::text(&challenge));
    Ok(options)
}

/// Starts an authentication with options of the developer's choice.
pub(crate) async fn try_authentication(
    visit: &mut Visit,
    user: &User,
    wanted: &Map<String, Value>,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let allowed = visit.app.database.passkeys(&user.id).await?;
    let mut options = request_options(visit, &policy, &allowed, &[]);
    replace_members(&mut options, wanted);
    let asked = Asked {
        user_verification: user_verification(&options["userVerification"]),
        allow: allowed.iter().map(|passkey| passkey.credential_id.clone()).collect(),
        identified: true,
        ..Asked::default()
    };
    let challenge = keep(visit, &policy, Kind::Trial, Some(&user.id), &asked).await?;
    options["challenge"] = json!(secret::text(&challenge));
    Ok(options)
}

fn replace_members(options: &mut Value, wanted: &Map<String, Value>) {
    for (name, value) in wanted {
        options[name] = value.clone();
    }
}

fn user_verification(value: &Value) -> UserVerification {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

fn creation_options(visit: &Visit, policy: &Policy, subject: &Subject<'_>, challenge: &[u8]) -> Value {
    let config = &visit.app.config;
    let params: Vec<Value> =
        policy.passkey.algorithms.iter().map(|alg| json!({ "type": "public-key", "alg": alg })).collect();
    json!({
        "rp": { "id": config.rp_id, "name": config.name },
        "user": { "id": secret::text(subject.handle), "name": subject.name, "displayName": subject.name },
        "challenge": secret::text(challenge),
        "pubKeyCredParams": params,
        "timeout": policy.passkey.timeout_ms,
        "excludeCredentials": subject.exclude.iter().map(descriptor).collect::<Vec<_>>(),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": policy.passkey.user_verification,
        },
        "hints": policy.passkey.hints,
        "attestation": policy.passkey.attestation,
        "extensions": { "credProps": true },
    })
}

fn descriptor(passkey: &Passkey) -> Value {
    json!({
        "type": "public-key",
        "id": secret::text(&passkey.credential_id),
        "transports": passkey.transports,
    })
}

/// Starts an authentication: the options, as `navigator.credentials.get()` takes them.
///
/// `named` is the identifier that narrows the ceremony to one user's passkeys. A name that is nobody's gets a
/// decoy: one credential id, always the same for the same name, that looks like any other.
pub(crate) async fn begin_authentication(
    visit: &mut Visit,
    kind: Kind,
    named: Option<(&str, Option<&User>)>,
    wish: &Wish,
) -> Result<Value, Failure> {
    let policy = visit.app.policy().await?;
    let mut user_id = None;
    let mut allowed = Vec::new();
    if let Some((name, user)) = named {
        if let Some(user) = user {
            allowed = visit.app.database.passkeys(&user.id).await?;
            user_id = Some(user.id.as_str());
        }
        if allowed.is_empty() {
            allowed.push(decoy(visit, name));
        }
    }
    let asked = Asked {
        user_verification: policy.passkey.user_verification,
        conditional: wish.is_conditional(),
        allow: allowed.iter().map(|passkey| passkey.credential_id.clone()).collect(),
        identified: named.is_some(),
        platform: wish.platform_authenticator,
        ..Asked::default()
    };
    let challenge = keep(visit, &policy, kind, user_id, &asked).await?;
    let mut answer = json!({ "publicKey": request_options(visit, &policy, &allowed, &challenge) });
    if asked.conditional {
        answer["mediation"] = json!("conditional");
    }
    Ok(answer)
}

fn request_options(visit: &Visit, policy: &Policy, allowed: &[Passkey], challenge: &[u8]) -> Value {
    json!({
        "challenge": secret::text(challenge),
        "timeout": policy.passkey.timeout_ms,
        "rpId": visit.app.config.rp_id,
        "allowCredentials": allowed.iter().map(descriptor).collect::<Vec<_>>(),
        "userVerification": policy.passkey.user_verification,
        "hints": policy.passkey.hints,
    })
}

fn decoy(visit: &Visit, name: &str) -> Passkey {
    Passkey {
        credential_id: secret::keyed(&visit.app.secret, &[b"decoy", name.as_bytes()]),
        id: String::new(),
        user_id: String::new(),
        public_key: Vec::new(),
        sign_count: 0,
        backup_eligible: true,
        backup_state: true,
        user_verified: true,
        aaguid: String::new(),
        transports: vec!["internal".into(), "hybrid".into()],
        attachment: None,
        name: None,
        user_agent: String::new(),
        created_at: 0,
        last_used_at: None,
    }
}

/// Makes a challenge that knows what was asked, or is kept together with it.
async fn keep(
    visit: &mut Visit,
    policy: &Policy,
    kind: Kind,
    user_id: Option<&str>,
    asked: &Asked,
) -> Result<Vec<u8>, Failure> {
    let is_held = visit.hold().await?;
    let expires_at = visit.app.now() + i64::from(policy.passkey.timeout_ms);
    if let Some(challenge) = seal(visit, kind, user_id, asked, expires_at) {
        if !is_held {
            visit.save().await?;
        }
        return Ok(challenge);
    }
    let challenge = Challenge {
        challenge: visit.app.config.random.bytes::<32>().to_vec(),
        kind: kind.name().into(),
        session_id: visit.owner_of_challenges().into(),
        user_id: user_id.map(String::from),
        data: serde_json::to_string(asked).map_err(|_| Failure::Broken("what was asked is JSON"))?,
        expires_at,
    };
    let changes = Changes::default().put_challenge(&challenge);
    if is_held {
        visit.app.database.make(changes).await?;
    } else {
        visit.save_with(changes).await?;
    }
    Ok(challenge.challenge)
}

/// A challenge that need not be kept. Not while the clock is behind a time for which it has been forgotten what was
/// taken: it must have been set back.
fn seal(visit: &Visit, kind: Kind, user_id: Option<&str>, asked: &Asked, expires_at: i64) -> Option<Vec<u8>> {
    let fits = kind == Kind::SignIn && user_id.is_none() && expires_at > visit.app.spent_until();
    let random = visit.app.config.random.bytes();
    fits.then(|| sealed::seal(&visit.app.secret, visit.owner_of_challenges(), &random, asked, expires_at))?
}

/// Takes the challenge that an answer says it answers, whatever comes of it.
async fn take(visit: &Visit, kind: Kind, credential: &Credential) -> Result<(Challenge, Asked), Refused> {
    let answered = Answered::by(visit, credential).ok_or_else(|| unknown(NO_CHALLENGE))?;
    if answered.sealed.is_some() {
        answered.take(visit).await?;
        return Err(unknown(ANOTHER_KIND));
    }
    let Claim { challenge, owner, .. } = &answered.claim;
    let taken = visit.app.database.take_challenge(challenge, owner, visit.app.now()).await?;
    asked_with(kind, taken).map_err(unknown)
}

fn unknown(found: &str) -> Refused {
    Refused::because(Failure::ChallengeUnknown, found)
}

const NO_CHALLENGE: &str = "the response holds no challenge";
const NOT_HERE: &str = "the challenge is not this session's, was used, or has expired";
const ANOTHER_KIND: &str = "the challenge was issued for another ceremony";

/// What was asked with a challenge that has been taken, if it was issued for this kind of ceremony.
fn asked_with(kind: Kind, taken: Option<Challenge>) -> Result<(Challenge, Asked), &'static str> {
    let taken = taken.ok_or(NOT_HERE)?;
    if taken.kind != kind.name() {
        return Err(ANOTHER_KIND);
    }
    let asked = serde_json::from_str(&taken.data).map_err(|_| "what was asked cannot be read")?;
    Ok((taken, asked))
}

/// The challenge in the client data, only to find it by; the verification compares it exactly.
fn claimed_challenge(credential: &Credential) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Claim {
        challenge: String,
    }
    let client_data = secret::bytes(credential.response.get("clientDataJSON")?.as_str()?)?;
    let Claim { challenge } = serde_json::from_slice(&client_data).ok()?;
    secret::bytes(&challenge)
}

/// Finishes a registration: takes the challenge, verifies the answer. Nothing is stored yet.
pub(crate) async fn finish_registration(
    visit: &Visit,
    kind: Kind,
    credential: &Credential,
) -> Result<(Challenge, Asked, Registration), Refused> {
    let (challenge, asked) = take(visit, kind, credential).await?;
    if challenge.user_id.as_deref().is_some_and(|user_id| Some(user_id) != subject_of(visit)) {
        return Err(Refused::because(Failure::ChallengeUnknown, "the challenge was issued for another user"));
    }
    let policy = visit.app.policy().await?;
    let options = RegistrationOptions {
        relying_party: relying_party(visit, &policy),
        challenge: challenge.challenge.clone(),
        algorithms: asked.algorithms.clone(),
        user_verification: asked.user_verification,
        mediation: if asked.conditional { Mediation::Conditional } else { Mediation::Optional },
        attestation: AttestationTrust::NotRequired,
    };
    let refusal = || Failure::EnrollmentRefused { orphan: orphan(credential) };
    let registration = verify_registration(&options, credential)
        .map_err(|rejection| Refused::by(rejection, refusal(), None))?;
    match unacceptable(visit, &policy, &registration) {
        None => Ok((challenge, asked, registration)),
        Some(why) => {
            let refused = Refused::because(refusal(), why);
            Err(Refused { transcript: Some(registration.transcript), ..refused })
        }
    }
}

/// What the policy has against the model of an authenticator, if anything.
fn unacceptable(visit: &Visit, policy: &Policy, registration: &Registration) -> Option<String> {
    let format = &registration.attestation.format;
    if !policy.passkey.formats.is_empty() && !policy.passkey.formats.contains(format) {
        return Some(format!("the policy does not accept the attestation format {format}"));
    }
    let doubt = match policy.passkey.metadata {
        MetadataRule::Reports => Treatment::Warn,
        MetadataRule::Required => Treatment::Refuse,
    };
    let rules = MetadataPolicy { unproven: doubt, unknown: doubt, overdue: Treatment::Warn };
    let now_s = u64::try_from(visit.app.now() / 1000).unwrap_or_default();
    let assessment = visit.app.metadata.as_ref()?.assess(registration, &rules, now_s);
    (assessment.treatment == Treatment::Refuse).then(|| assessment.reasons.join("; "))
}

/// The user that a registration of this session can be for.
fn subject_of(visit: &Visit) -> Option<&str> {
    let recovered = visit.data.recovery.as_ref().and_then(|recovery| recovery.user_id.as_deref());
    recovered.or(visit.user_id())
}

/// The credential id that the provider should forget after a registration that was refused.
pub(crate) fn orphan(credential: &Credential) -> Option<String> {
    credential.raw_id().map(|id| secret::text(&id))
}

/// An assertion that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) user: User,
    pub(crate) passkey: Passkey,
    pub(crate) asked: Asked,
    pub(crate) authentication: Authentication,
    /// To be written once everything else has passed.
    pub(crate) used: PasskeyUse,
}

/// The challenge of an answer. Whoever accepts the answer takes it, or others could go on with it, too.
#[derive(Debug)]
#[must_use = "the challenge can be answered once more"]
pub(crate) struct Answered {
    claim: Claim,
    /// What it says itself, if it is not kept.
    sealed: Option<Sealed>,
}

impl Answered {
    /// The challenge that an answer says it answers, if it says so.
    fn by(visit: &Visit, credential: &Credential) -> Option<Self> {
        let challenge = claimed_challenge(credential)?;
        let owner = visit.owner_of_challenges().to_string();
        let sealed = sealed::open(&visit.app.secret, &owner, &challenge);
        let sealed_until = sealed.as_ref().map(|sealed| sealed.expires_at);
        Some(Self { claim: Claim { challenge, owner, sealed_until }, sealed })
    }

    /// The challenge, and what was asked with it, if it was issued for this kind of ceremony and can still be taken.
    fn asked(&self, kind: Kind, found: &Question, now: i64) -> Result<(Challenge, Asked), &'static str> {
        let Some(Sealed { asked, expires_at }) = &self.sealed else {
            return asked_with(kind, found.challenge.clone());
        };
        if kind != Kind::SignIn {
            return Err(ANOTHER_KIND);
        }
        if found.is_spent || *expires_at <= now {
            return Err(NOT_HERE);
        }
        let challenge = Challenge {
            challenge: self.claim.challenge.clone(),
            kind: kind.name().into(),
            session_id: self.claim.owner.clone(),
            user_id: None,
            data: String::new(),
            expires_at: *expires_at,
        };
        Ok((challenge, asked.clone()))
    }

    /// Takes the challenge with these changes, or none of them happens.
    pub(crate) fn with(&self, changes: Changes) -> Changes {
        changes.take_challenge(&self.claim)
    }

    /// Takes the challenge for itself.
    ///
    /// # Errors
    /// [`Failure::ChallengeUnknown`] if somebody else has: the same answer was sent twice.
    pub(crate) async fn take(&self, visit: &Visit) -> Result<(), Failure> {
        let is_taken = visit.app.database.make(self.with(Changes::default())).await?;
        if is_taken { Ok(()) } else { Err(Failure::ChallengeUnknown) }
    }
}

/// Finishes an authentication: takes the challenge, finds user and passkey, verifies. Nothing is stored yet.
pub(crate) async fn finish_authentication(
    visit: &Visit,
    kind: Kind,
    credential: &Credential,
) -> Result<Accepted, Refused> {
    let (accepted, answered) = check_authentication(visit, kind, credential).await?;
    answered.take(visit).await?;
    Ok(accepted)
}

/// The same for who takes the challenge together with what follows. An answer that is refused uses it up here.
pub(crate) async fn check_authentication(
    visit: &Visit,
    kind: Kind,
    credential: &Credential,
) -> Result<(Accepted, Answered), Refused> {
    let answered = Answered::by(visit, credential).ok_or_else(|| unknown(NO_CHALLENGE))?;
    match judge_authentication(visit, kind, &answered, credential).await {
        Ok(accepted) => Ok((accepted, answered)),
        Err(refused) => {
            visit.app.database.make(answered.with(Changes::default())).await?;
            Err(refused)
        }
    }
}

async fn judge_authentication(
    visit: &Visit,
    kind: Kind,
    answered: &Answered,
    credential: &Credential,
) -> Result<Accepted, Refused> {
    let database = &visit.app.database;
    let id = credential.raw_id().filter(|id| (1..=1023).contains(&id.len())).unwrap_or_default();
    let now = visit.app.now();
    let question = database.question(&answered.claim, &id, now).await?;
    let (challenge, asked) = answered.asked(kind, &question, now).map_err(unknown)?;
    let Question { passkey, owner, .. } = question;
    let identified = match challenge.user_id.as_deref() {
        Some(id) => database.user(id).await?.map(|user| user.handle),
        None => None,
    };
    let policy = visit.app.policy().await?;
    let options = AuthenticationOptions {
        relying_party: relying_party(visit, &policy),
        challenge: challenge.challenge.clone(),
        user_verification: asked.user_verification,
        allow_credentials: asked.allow.clone(),
        identified_user: identified,
        counter: match policy.passkey.counter {
            Counter::Refuse => CounterRule::Refuse,
            Counter::Flag => CounterRule::Flag,
        },
    };
    let record =
        passkey.as_ref().zip(owner.as_ref()).map(|(passkey, user)| passkey.record(user.handle.clone()));
    let signal = signal(credential, record.as_ref());
    let authentication = match verify_authentication(&options, record.as_ref(), credential) {
        Ok(authentication) => authentication,
        Err(rejection) => {
            if record.is_none() {
                spend_the_time_of_a_signature();
            }
            return Err(Refused::by(rejection, Failure::PasskeyRefused { signal }, owner));
        }
    };
    let (Some(passkey), Some(user)) = (passkey, owner) else {
        return Err(Failure::Broken("an accepted assertion has a record").into());
    };
    let used = PasskeyUse {
        credential_id: passkey.credential_id.clone(),
        previous_sign_count: passkey.sign_count,
        sign_count: if authentication.counter_regressed {
            passkey.sign_count
        } else {
            authentication.sign_count
        },
        backup_state: authentication.backup_state,
    };
    Ok(Accepted { user, passkey, asked, authentication, used })
}

/// Whether the provider should be told to forget the passkey.
///
/// The answer to a bad signature and to an unknown credential must be the same, or a stranger could find out
/// which credential ids are registered. So it depends on the user handle alone, 64 random bytes that only the
/// passkeys of that user hold: forget the passkey if its handle is nobody's, or if the handle is somebody's who
/// has no such passkey.
fn signal(credential: &Credential, record: Option<&CredentialRecord>) -> Option<String> {
    let (handle, id) = (credential.user_handle()?, credential.raw_id()?);
    let is_theirs = record.is_some_and(|record| record.user_handle == handle);
    (!is_theirs).then(|| secret::text(&id))
}

fn relying_party(visit: &Visit, policy: &Policy) -> RelyingParty {
    let config = &visit.app.config;
    let origins = config.origins.iter().chain(&policy.related_origins).cloned().collect();
    RelyingParty { rp_id: config.rp_id.clone(), origins, cross_origin: false, top_origins: Vec::new() }
}

/// The passkey to store for a registration.
pub(crate) fn new_passkey(visit: &Visit, user_id: &str, registration: &Registration) -> Passkey {
    Passkey {
        credential_id: registration.credential_id.clone(),
        id: visit.app.new_id("pky"),
        user_id: user_id.to_string(),
        public_key: registration.public_key_cose.clone(),
        sign_count: registration.sign_count,
        backup_eligible: registration.backup_eligible,
        backup_state: registration.backup_state,
        user_verified: registration.user_verified,
        aaguid: aaguid_text(&registration.aaguid),
        transports: registration.transports.clone(),
        attachment: registration.attachment.clone(),
        name: None,
        user_agent: visit.source.user_agent.clone(),
        created_at: visit.app.now(),
        last_used_at: None,
    }
}

fn aaguid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `details.webauthn` of the event of a registration.
pub(crate) fn registration_details(registration: &Registration, asked: &Asked) -> Value {
    json!({
        "ceremony": "registration",
        "failed_step": null,
        "aaguid": aaguid_text(&registration.aaguid),
        "be": registration.backup_eligible,
        "bs": registration.backup_state,
        "uv": registration.user_verified,
        "transports": registration.transports,
        "mediation": if asked.conditional { "conditional" } else { "optional" },
    })
}

/// `details.webauthn` of the event of an authentication.
pub(crate) fn authentication_details(accepted: &Accepted) -> Value {
    json!({
        "ceremony": "authentication",
        "failed_step": null,
        "aaguid": accepted.passkey.aaguid,
        "be": accepted.passkey.backup_eligible,
        "bs": accepted.authentication.backup_state,
        "uv": accepted.authentication.user_verified,
        "transports": accepted.passkey.transports,
        "mediation": if accepted.asked.conditional { "conditional" } else { "optional" },
        "counter_regressed": accepted.authentication.counter_regressed,
    })
}
