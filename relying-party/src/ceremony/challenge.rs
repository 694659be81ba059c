//! Challenges: made with what was asked, and taken by one answer (§13.4.3).

use super::{Asked, Kind, Refused};
use crate::failure::Failure;
use crate::limits;
use crate::policy::Policy;
use crate::sealed::{self, Sealed};
use crate::session::Visit;
use crate::store::{Challenge, Changes, Claim, Question};
use crate::verify::Credential;

/// Makes a challenge that knows what was asked, or is kept together with it.
pub(super) async fn keep(
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
    if kind == Kind::SignIn {
        // Anybody may ask for these. The others need a sign-up, a code or a session first.
        limits::challenge(visit, policy).await?;
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
    } else if !visit.save_with(changes).await? {
        return Err(Failure::OutOfOrder);
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
pub(super) async fn take(
    visit: &Visit,
    kind: Kind,
    credential: &Credential,
) -> Result<(Challenge, Asked), Refused> {
    let answered = Answered::by(visit, credential).ok_or_else(|| unknown(NO_CHALLENGE))?;
    if answered.sealed.is_some() {
        answered.take(visit).await?;
        return Err(unknown(ANOTHER_KIND));
    }
    let Claim { challenge, owner, .. } = &answered.claim;
    let taken = visit.app.database.take_challenge(challenge, owner, visit.app.now()).await?;
    asked_with(kind, taken).map_err(unknown)
}

pub(super) fn unknown(found: &str) -> Refused {
    Refused::because(Failure::ChallengeUnknown, found)
}

pub(super) const NO_CHALLENGE: &str = "the response holds no challenge";
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

/// The challenge of an answer. Whoever accepts the answer takes it, or others could go on with it, too.
#[derive(Debug)]
#[must_use = "the challenge can be answered once more"]
pub(crate) struct Answered {
    pub(super) claim: Claim,
    /// What it says itself, if it is not kept.
    sealed: Option<Sealed>,
}

impl Answered {
    /// The challenge that an answer says it answers, if it says so.
    pub(super) fn by(visit: &Visit, credential: &Credential) -> Option<Self> {
        let challenge = credential.challenge()?;
        let owner = visit.owner_of_challenges().to_string();
        let sealed = sealed::open(&visit.app.secret, &owner, &challenge);
        let sealed_until = sealed.as_ref().map(|sealed| sealed.expires_at);
        Some(Self { claim: Claim { challenge, owner, sealed_until }, sealed })
    }

    /// The challenge, and what was asked with it, if it was issued for this kind of ceremony and can still be taken.
    pub(super) fn asked(
        &self,
        kind: Kind,
        found: &Question,
        now: i64,
    ) -> Result<(Challenge, Asked), &'static str> {
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
