//! Passwords: Argon2id, and what makes one acceptable.

use std::sync::{LazyLock, Mutex};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroize as _;
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::{Score, zxcvbn};

use crate::config::Random;
use crate::events::Event;
use crate::failure::{Failure, NO_PASSWORD};
use crate::lock::lock;
use crate::policy::{self, Policy, Strength};
use crate::secret;
use crate::session::Visit;
use crate::store::{Changes, Identifier, User};

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

/// 32 bytes that a text gives with a salt, at the cost of a password: guessing texts costs as much.
pub(crate) async fn stretched(text: &str, salt: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let text = text.to_string();
    run(move || derive(&text, &salt, COST)).await
}

/// Memory in KiB, passes, lanes: OWASP's second recommendation. A fuzzer, which is after other faults than weak hashes, would
/// do nothing but hash.
#[expect(unexpected_cfgs, reason = "fuzzers set it")]
const COST: Cost = if cfg!(fuzzing) { (8, 1, 1) } else { (19_456, 2, 1) };

/// How many passwords are hashed at a time: one a core. More would be no faster, and each takes 19 MiB; a crowd of
/// visitors waits, and does not fill the memory.
static SEATS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

async fn run<T: Send + 'static>(derive: impl FnOnce() -> Option<T> + Send + 'static) -> Result<T, Failure> {
    let seat = SEATS.acquire().await;
    let done = tokio::task::spawn_blocking(move || {
        // Until the work is done, also when the visitor has gone.
        let _seat = seat;
        derive()
    });
    let done = done.await;
    done.ok().flatten().ok_or(Failure::Broken("a password could not be hashed"))
}

fn derive(password: &str, salt: &[u8], (memory, passes, lanes): Cost) -> Option<Vec<u8>> {
    #[cfg(test)]
    lock(&tests::DERIVED).push((password.to_string(), (memory, passes, lanes)));
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let mut digest = vec![0; 32];
    let mut blocks = take(params.block_count());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hashed =
        argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut digest, &mut blocks[..]);
    blocks.iter_mut().zeroize();
    lock(&MEMORY).push(blocks);
    hashed.ok().map(|()| digest)
}

/// Memory of seats that nobody sits on, zeroized. Allocated anew each time it would stay with the allocator once for
/// every thread that ever hashed a password.
static MEMORY: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// So much memory: used before, if there is any.
fn take(count: usize) -> Vec<Block> {
    let mut blocks = lock(&MEMORY).pop().unwrap_or_default();
    blocks.resize(count, Block::default());
    blocks
}

/// Memory in KiB, passes, lanes.
type Cost = (u32, u32, u32);

type Parsed = (Cost, Vec<u8>, Vec<u8>);

fn parse(hash: &str) -> Option<Parsed> {
    let mut parts = hash.strip_prefix("argon2id$")?.split('$');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let cost = (number()?, number()?, number()?);
    let salt = secret::bytes(parts.next()?)?;
    let digest = secret::bytes(parts.next()?)?;
    Some((cost, salt, digest))
}

/// Whether a new password is acceptable; estimating that takes some milliseconds of another thread.
///
/// # Errors
/// [`Failure::Field`] with Auth0's key for what is wrong with it.
pub(crate) async fn check(
    rules: &policy::Password,
    identifiers: &[Identifier],
    password: &str,
) -> Result<(), Failure> {
    let field = |key, message: String| Err(Failure::Field(key, message));
    if password.is_empty() {
        return field(NO_PASSWORD, "Enter a password.".into());
    }
    let length = password.chars().count();
    if length < rules.min_length as usize {
        return field("password-too-weak", format!("Use at least {} characters.", rules.min_length));
    }
    if length > 256 {
        return field("password-too-weak", "Use at most 256 characters.".into());
    }
    let lower = password.to_lowercase();
    let names: Vec<String> = identifiers.iter().map(|identifier| identifier.value.clone()).collect();
    let estimated = password.to_string();
    let estimate = run(move || Some(Estimate::of(&estimated, &names))).await?;
    if rules.dictionary && estimate.is_common {
        return field(
            "password-too-common",
            "This is one of the passwords that are tried first. Choose another.".into(),
        );
    }
    if rules.personal_data && personal_parts(identifiers).any(|part| lower.contains(part)) {
        return field(
            "password-contains-user-information",
            "Do not use your own name or address in the password.".into(),
        );
    }
    if estimate.strength < rules.strength {
        return field(
            "password-too-weak",
            "This is easy to guess. Make it longer: some words that have nothing to do with each other are good.".into(),
        );
    }
    Ok(())
}

/// What a password must not contain of a user's names, in lower case: of an address the part before the `@`, and nothing
/// so short that it may stand in any word. The pages' script judges by it, too.
pub(crate) fn personal_parts(identifiers: &[Identifier]) -> impl Iterator<Item = &str> {
    let parts = identifiers.iter().filter_map(|identifier| identifier.value.split('@').next());
    parts.filter(|part| part.len() >= 4)
}

/// Whether a user may have this password: the rules, and the user's own history.
///
/// # Errors
/// [`Failure::Field`] as of [`check`].
async fn acceptable(visit: &Visit, policy: &Policy, user: &User, password: &str) -> Result<(), Failure> {
    check(&policy.password, &user.identifiers, password).await?;
    let history = i64::from(policy.password.history);
    for earlier in visit.app.database.password_hashes(&user.id, history).await? {
        if matches(password, Some(&earlier)).await? {
            let message = "You have had this password before. Choose another.".to_string();
            return Err(Failure::Field("password-previously-used", message));
        }
    }
    Ok(())
}

/// Sets a user's password, if it is acceptable, together with what ends with the old one; logged.
///
/// # Errors
/// [`Failure::Field`] as of [`check`], [`Failure::OutOfOrder`] if a condition among the changes was not met.
pub(crate) async fn set(
    visit: &Visit,
    policy: &Policy,
    user: &User,
    password: &str,
    ends: Changes,
) -> Result<(), Failure> {
    if let Err(failure) = acceptable(visit, policy, user, password).await {
        visit.log(Event::of("fcp").user(user).detail("key", failure.told().key)).await;
        return Err(failure);
    }
    let hash = hash(&visit.app.config.random, password).await?;
    let changes = ends.set_password(&user.id, &hash, visit.app.now());
    let is_set = visit.make(user, changes, Event::of("scp").user(user)).await?;
    if is_set { Ok(()) } else { Err(Failure::OutOfOrder) }
}

/// What an attacker makes of a password.
struct Estimate {
    strength: Strength,
    is_common: bool,
}

impl Estimate {
    fn of(password: &str, names: &[String]) -> Self {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let strength = match zxcvbn(password, &names).score() {
            Score::Zero => Strength::None,
            Score::One => Strength::Low,
            Score::Two => Strength::Fair,
            Score::Three => Strength::Good,
            _ => Strength::Excellent,
        };
        let stem = password.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_ascii_punctuation());
        Self { strength, is_common: is_one_thing(password) || (stem.len() >= 4 && is_one_thing(stem)) }
    }
}

/// Whether a text is nothing but one word of the lists (thirty thousand passwords, and as many words and names, also
/// with `0` for `o` or backwards), one row of keys, one sequence, or the same again and again.
fn is_one_thing(text: &str) -> bool {
    let estimate = zxcvbn(text, &[]);
    let [only] = estimate.sequence() else { return false };
    matches!(
        only.pattern,
        MatchPattern::Dictionary(_)
            | MatchPattern::Spatial(_)
            | MatchPattern::Sequence(_)
            | MatchPattern::Repeat(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> policy::Password {
        policy::Password::default()
    }

    async fn key(password: &str, identifiers: &[Identifier]) -> Option<&'static str> {
        check(&rules(), identifiers, password).await.err().map(|failure| failure.told().key)
    }

    #[tokio::test]
    async fn weak_passwords_are_refused_with_the_reason() {
        let ada =
            [Identifier { kind: "email".into(), value: "lovelace@example.org".into(), verified: false }];
        for (password, expected) in [
            ("short", Some("password-too-weak")),
            ("password123!", Some("password-too-common")),
            ("P@ssw0rd", Some("password-too-common")),
            ("butterfly", Some("password-too-common")),
            ("aaaaaaaaaaaa", Some("password-too-common")),
            ("qwertyuiop", Some("password-too-common")),
            ("abcdefgh", Some("password-too-common")),
            ("trustno1", Some("password-too-common")),
            ("liverpool1994", Some("password-too-common")),
            ("my-Lovelace-1843", Some("password-contains-user-information")),
            ("correct horse battery staple", None),
            ("tiq7-vuxam", None),
        ] {
            assert_eq!(key(password, &ada).await, expected, "{password}");
        }
        let strict = policy::Password { strength: Strength::Excellent, ..rules() };
        let refused = check(&strict, &ada, "tiq7vuxa").await.unwrap_err();
        assert_eq!(refused.told().key, "password-too-weak", "eight characters are too few for that");
        let anything = policy::Password { strength: Strength::None, dictionary: false, ..rules() };
        assert!(check(&anything, &ada, "password").await.is_ok(), "policy may let anything pass");
    }

    #[tokio::test]
    async fn a_long_password_does_not_take_long_to_judge() {
        // Only the first hundred characters are looked at.
        assert_eq!(key(&"x1Q!".repeat(64), &[]).await, Some("password-too-common"));
        assert_eq!(key(&"x1Q!".repeat(65), &[]).await, Some("password-too-weak"), "there is a most");
    }

    /// Everything that was derived so far, by whatever test.
    pub(super) static DERIVED: Mutex<Vec<(String, Cost)>> = Mutex::new(Vec::new());

    #[tokio::test]
    async fn without_a_hash_one_is_derived_all_the_same() {
        let hash = hash(&Random::system(), "somebody’s horse").await.expect("hashed");
        for known in [Some(hash.as_str()), Some("no hash of ours"), None] {
            lock(&DERIVED).retain(|(password, _)| password != "nobody’s horse");
            assert!(!matches("nobody’s horse", known).await.expect("compared"));
            let derived = lock(&DERIVED).clone();
            let derived: Vec<_> =
                derived.iter().filter(|(password, _)| password == "nobody’s horse").collect();
            assert_eq!(derived, [&("nobody’s horse".to_string(), COST)], "{known:?}");
        }
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_only() {
        let hash = hash(&Random::system(), "correct horse").await.expect("hashed");
        assert!(matches("correct horse", Some(&hash)).await.expect("compared"));
        assert!(!matches("correct hors", Some(&hash)).await.expect("compared"));
        assert!(!matches("", None).await.expect("compared"));
    }
}
