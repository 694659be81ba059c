//! The end of an authentication (§7.2): user and passkey, the verifier's verdict, and what there is to store.

use super::challenge::{Answered, NO_CHALLENGE, unknown};
use super::details::of_refused_authentication;
use super::{Asked, Kind, Refused, relying_party};
use crate::failure::Failure;
use crate::policy::Counter;
use crate::secret;
use crate::session::Visit;
use crate::store::{Changes, Passkey, PasskeyUse, Question, User};
use crate::verify::{
    Authentication, AuthenticationOptions, CounterRule, Credential, CredentialRecord,
    spend_the_time_of_a_signature, verify_authentication,
};

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
    if *credential == Credential::default() {
        return Err(Refused::because(Failure::NoPasskey, "no passkey's answer was sent"));
    }
    let answered = Answered::by(visit, credential);
    let answered = answered.ok_or_else(|| Refused::because(Failure::PasskeyMalformed, NO_CHALLENGE))?;
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
            let facts = of_refused_authentication(&asked, credential, passkey.as_ref());
            if rejection.fact.is_of_no_response() {
                return Err(Refused::by(rejection, Failure::PasskeyMalformed, owner, facts));
            }
            if record.is_none() {
                spend_the_time_of_a_signature();
            }
            return Err(Refused::by(rejection, Failure::PasskeyRefused { signal }, owner, facts));
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
