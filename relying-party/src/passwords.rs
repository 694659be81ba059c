//! Passwords: Argon2id, and what makes one acceptable.

use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::config::Random;
use crate::events::Event;
use crate::failure::Failure;
use crate::policy::{self, Policy};
use crate::secret;
use crate::session::Visit;
use crate::store::{Identifier, User};

/// Hashes a password, on a thread that may be busy for a while.
pub(crate) async fn hash(random: &Random, password: &str) -> Result<String, Failure> {
    let salt = random.bytes::<16>();
    let password = password.to_string();
    let digest = run(move || derive(&password, &salt, COST)).await?;
    Ok(format!("argon2id${}${}${}${}${}", COST.0, COST.1, COST.2, secret::text(&salt), secret::text(&digest)))
}

/// Whether a password is the hashed one. Without a hash it takes as long and says no.
pub(crate) async fn matches(password: &str, hash: Option<&str>) -> Result<bool, Failure> {
    let known = hash.and_then(parse);
    let exists = known.is_some();
    let (cost, salt, expected) = known.unwrap_or_else(|| (COST, vec![0; 16], vec![0; 32]));
    let password = password.to_string();
    let digest = run(move || derive(&password, &salt, cost)).await?;
    Ok(secret::equal(&digest, &expected) && exists)
}

/// Memory in KiB, passes, lanes: OWASP's second recommendation.
const COST: (u32, u32, u32) = (19_456, 2, 1);

/// How many passwords are hashed at a time: one a core. More would be no faster, and each takes 19 MiB; a crowd of
/// visitors waits, and does not fill the memory.
static SEATS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

async fn run(derive: impl FnOnce() -> Option<Vec<u8>> + Send + 'static) -> Result<Vec<u8>, Failure> {
    let seat = SEATS.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        // Until the work is done, also when the visitor has gone.
        let _seat = seat;
        derive()
    });
    let done = done.await;
    done.ok().flatten().ok_or(Failure::Broken("a password could not be hashed"))
}

fn derive(password: &str, salt: &[u8], (memory, passes, lanes): (u32, u32, u32)) -> Option<Vec<u8>> {
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut digest = vec![0; 32];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut digest).ok()?;
    Some(digest)
}

type Parsed = ((u32, u32, u32), Vec<u8>, Vec<u8>);

fn parse(hash: &str) -> Option<Parsed> {
    let mut parts = hash.strip_prefix("argon2id$")?.split('$');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let cost = (number()?, number()?, number()?);
    let salt = secret::bytes(parts.next()?)?;
    let digest = secret::bytes(parts.next()?)?;
    Some((cost, salt, digest))
}

/// Whether a new password is acceptable.
///
/// # Errors
/// [`Failure::Field`] with Auth0's key for what is wrong with it.
pub(crate) fn check(
    rules: &policy::Password,
    identifiers: &[Identifier],
    password: &str,
) -> Result<(), Failure> {
    let field = |key, message: String| Err(Failure::Field(key, message));
    let length = password.chars().count();
    if length < rules.min_length as usize {
        return field("password-too-weak", format!("Use at least {} characters.", rules.min_length));
    }
    if length > 256 {
        return field("password-too-weak", "Use at most 256 characters.".into());
    }
    let lower = password.to_lowercase();
    if rules.dictionary && is_common(&lower) {
        return field(
            "password-too-common",
            "This is one of the most common passwords. Choose another.".into(),
        );
    }
    let personal = identifiers.iter().flat_map(|identifier| identifier.value.split('@').next());
    if rules.personal_data && personal.filter(|part| part.len() >= 4).any(|part| lower.contains(part)) {
        return field(
            "password-contains-user-information",
            "Do not use your own name or address in the password.".into(),
        );
    }
    Ok(())
}

/// Whether a user may have this password: the rules, and the user's own history.
///
/// # Errors
/// [`Failure::Field`] as of [`check`].
pub(crate) async fn acceptable(
    visit: &Visit,
    policy: &Policy,
    user: &User,
    password: &str,
) -> Result<(), Failure> {
    check(&policy.password, &user.identifiers, password)?;
    let history = i64::from(policy.password.history);
    for earlier in visit.app.database.password_hashes(&user.id, history).await? {
        if !earlier.is_empty() && matches(password, Some(&earlier)).await? {
            let message = "You have had this password before. Choose another.".to_string();
            return Err(Failure::Field("password-previously-used", message));
        }
    }
    Ok(())
}

/// Sets a user's password, if it is acceptable; logged.
pub(crate) async fn set(visit: &Visit, policy: &Policy, user: &User, password: &str) -> Result<(), Failure> {
    if let Err(failure) = acceptable(visit, policy, user, password).await {
        visit.log(Event::of("fcp").user(user).detail("key", failure.told().key)).await;
        return Err(failure);
    }
    let hash = hash(&visit.app.config.random, password).await?;
    visit.app.database.set_password(&user.id, &hash, visit.app.now()).await?;
    visit.log(Event::of("scp").user(user)).await;
    Ok(())
}

/// Whether a password in lower case is in the list, or one of its words with digits or marks after it, or is one
/// character again and again.
fn is_common(lower: &str) -> bool {
    let stem = lower.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
    let mut characters = lower.chars();
    let first = characters.next();
    let is_repeated = characters.all(|c| Some(c) == first);
    let listed = |word: &str| COMMON.split_ascii_whitespace().any(|common| common == word);
    is_repeated || listed(lower) || (stem.len() >= 4 && listed(stem))
}

/// Words that passwords are most often made of, in lower case; with trailing digits and marks they stand for tens of
/// thousands of passwords.
const COMMON: &str = include_str!("../assets/common-passwords.txt");

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> policy::Password {
        policy::Password::default()
    }

    fn key(password: &str, identifiers: &[Identifier]) -> Option<&'static str> {
        check(&rules(), identifiers, password).err().map(|failure| failure.told().key)
    }

    #[test]
    fn weak_passwords_are_refused_with_the_reason() {
        let ada =
            [Identifier { kind: "email".into(), value: "lovelace@example.org".into(), verified: false }];
        assert_eq!(key("short", &[]), Some("password-too-weak"));
        assert_eq!(key("password123!", &[]), Some("password-too-common"));
        assert_eq!(key("aaaaaaaaaaaa", &[]), Some("password-too-common"));
        assert_eq!(key("my-Lovelace-1843", &ada), Some("password-contains-user-information"));
        assert_eq!(key("correct horse battery staple", &ada), None);
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_only() {
        let hash = hash(&Random::system(), "correct horse").await.expect("hashed");
        assert!(matches("correct horse", Some(&hash)).await.expect("compared"));
        assert!(!matches("correct hors", Some(&hash)).await.expect("compared"));
        assert!(!matches("", None).await.expect("compared"));
    }
}
