//! Codes and links that go out by mail: six digits to type, or a link to open.
//!
//! Only digests are stored. A code has a few tries, a link is used once. A phone number's code goes to the same
//! outbox: there is no provider of short messages here.

use crate::destination;
use crate::events::Event;
use crate::failure::Failure;
use crate::limits;
use crate::policy::Policy;
use crate::secret;
use crate::session::Visit;
use crate::store::{CodeCheck, Identifier, User};

/// Sends a code to an address; gives its id, which says which address it went to.
pub(crate) async fn send(
    visit: &Visit,
    policy: &Policy,
    purpose: &str,
    target: &Identifier,
) -> Result<String, Failure> {
    limits::mail(visit, policy, &target.value).await?;
    let id = new_id(visit, target);
    let code = secret::six_digits(visit.app.config.random.bytes());
    let expires_at = visit.app.now() + i64::from(policy.code.lifetime_s) * 1000;
    visit.app.database.put_code(&id, purpose, &target.value, &digest(visit, &id, &code), expires_at).await?;
    let name = &visit.app.config.name;
    let minutes = policy.code.lifetime_s.div_ceil(60);
    let body = format!(
        "Your code for {name} is {code}.\n\nIt works for {minutes} minutes. If you did not ask for it, somebody \
         typed your address; you need not do anything.\n"
    );
    visit.app.mail(&target.value, &format!("{code} is your code for {name}"), &body).await;
    visit.log(Event::of("svr").detail("kind", target.kind.as_str())).await;
    Ok(id)
}

/// Notes that a code was refused because too many have gone to its address, where no other event of the flow says so.
pub(crate) async fn noted<T>(visit: &Visit, sent: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(Failure::TooMany { limit, .. }) = &sent {
        visit.log(Event::of("fv").detail("key", *limit).error("too many codes in an hour")).await;
    }
    sent
}

/// Tells the owner of an address that somebody else tried to give it to an account; no code goes out, but the visitor cannot
/// know that.
pub(crate) async fn send_notice_to_owner(
    visit: &Visit,
    policy: &Policy,
    purpose: &str,
    target: &Identifier,
    owner: &User,
) -> Result<String, Failure> {
    limits::mail(visit, policy, &target.value).await?;
    let id = keep_none(visit, policy, purpose, target).await?;
    let (name, origin) = (&visit.app.config.name, visit.app.config.own_origin());
    // Whom an administrator has blocked is mailed no way back, and told why after logging in.
    let way_back = match owner.blocked {
        true => String::new(),
        false => format!(", or get back into it at {origin}{}", destination::way_back(policy)),
    };
    let body = format!(
        "Somebody tried to use this address at {name}, which has an account already.\n\nIf it was you: \
         log in at {origin}/login{way_back}. If not, you need not do anything.\n"
    );
    visit.app.mail(&target.value, &format!("You have an account at {name} already"), &body).await;
    visit.log(Event::of("svr").detail("kind", target.kind.as_str())).await;
    Ok(id)
}

/// Sends nothing, for an address that is nobody's, or a blocked user's, and cannot be recovered; counts and answers as if it
/// had.
pub(crate) async fn send_nothing(
    visit: &Visit,
    policy: &Policy,
    target: &Identifier,
) -> Result<String, Failure> {
    limits::mail(visit, policy, &target.value).await?;
    keep_none(visit, policy, "recover", target).await
}

/// Keeps what no code fits, so that everything typed is wrong, void after as many tries and gone after as long as for a
/// code that went out.
async fn keep_none(
    visit: &Visit,
    policy: &Policy,
    purpose: &str,
    target: &Identifier,
) -> Result<String, Failure> {
    let id = new_id(visit, target);
    let expires_at = visit.app.now() + i64::from(policy.code.lifetime_s) * 1000;
    let none = visit.app.config.random.bytes::<32>();
    visit.app.database.put_code(&id, purpose, &target.value, &none, expires_at).await?;
    Ok(id)
}

fn new_id(visit: &Visit, target: &Identifier) -> String {
    format!("{}.{}", visit.app.new_id("cod"), target.kind)
}

/// Which of these identifiers a code went to.
pub(crate) fn target_of(id: &str, identifiers: &[Identifier]) -> Option<Identifier> {
    let (_, kind) = id.rsplit_once('.')?;
    identifiers.iter().find(|identifier| identifier.kind == kind).cloned()
}

/// Compares a typed code; a right one is used up, and a wrong one is a failure of the visitor's address of the network.
/// What has not six digits is not compared, and costs nothing.
///
/// # Errors
/// [`Failure::TooMany`] if that has failed too often today: nothing has been compared then.
pub(crate) async fn check(
    visit: &Visit,
    policy: &Policy,
    purpose: &str,
    id: &str,
    typed: &str,
) -> Result<CodeCheck, Failure> {
    let digits: String = typed.chars().filter(char::is_ascii_digit).take(7).collect();
    if digits.len() != 6 {
        return Ok(CodeCheck::NoCode);
    }
    let digest = digest(visit, id, &digits);
    let tried = limits::try_from_address(visit, policy).await?;
    let now = visit.app.now();
    let checked = visit.app.database.check_code(id, purpose, &digest, policy.code.tries, now).await?;
    match checked {
        CodeCheck::Wrong | CodeCheck::TooOften => tried.failed(visit).await,
        // Nobody guesses at a code that has expired.
        CodeCheck::Right | CodeCheck::Gone | CodeCheck::NoCode => tried.take_back(visit).await?,
    }
    Ok(checked)
}

/// A million codes are soon tried, so the digest is keyed, under what is sealed where there is a [key](crate::key): the
/// database alone does not give them away then.
fn digest(visit: &Visit, id: &str, code: &str) -> Vec<u8> {
    secret::keyed(&visit.app.secret, &[b"code", id.as_bytes(), code.as_bytes()])
}

/// What a wrong code is told.
pub(crate) fn failure(checked: CodeCheck) -> Failure {
    match checked {
        CodeCheck::TooOften => {
            Failure::Field("too-many-failures", "Too many wrong codes. Ask for a new one.".into())
        }
        CodeCheck::Gone => {
            Failure::Field("transaction-not-found", "This code has expired. Ask for a new one.".into())
        }
        CodeCheck::NoCode => {
            Failure::Field("invalid-otp-code-format", "A code has six digits. Enter all of them.".into())
        }
        CodeCheck::Wrong | CodeCheck::Right => {
            Failure::Field("invalid-code", "This is not the code that we sent. Try again.".into())
        }
    }
}

/// Makes a link that works once; gives the token in it.
pub(crate) async fn new_link(
    visit: &Visit,
    purpose: &str,
    target: &str,
    lifetime_s: u32,
) -> Result<String, Failure> {
    let token = secret::text(&visit.app.config.random.bytes::<32>());
    let expires_at = visit.app.now() + i64::from(lifetime_s) * 1000;
    visit.app.database.put_code(&link_id(&token), purpose, target, &[], expires_at).await?;
    Ok(token)
}

/// The id under which a link's token is stored.
pub(crate) fn link_id(token: &str) -> String {
    secret::text(&secret::digest(token.as_bytes()))
}

/// Mails a link that lifts a block.
pub(crate) async fn send_unblock_link(visit: &Visit, user: &User, block: &str) -> Result<(), Failure> {
    let Some(email) = user.email() else { return Ok(()) };
    let token = new_link(visit, "unblock", block, 7 * 86_400).await?;
    let config = &visit.app.config;
    let body = format!(
        "Somebody at the address {} failed to log in to your account at {} many times; the account is blocked for \
         that address now.\n\nIf it was you, lift the block here:\n{}/unblock?token={token}\n\nIf not, your account \
         is safe; you need not do anything.\n",
        visit.source.ip,
        config.name,
        config.own_origin()
    );
    visit.app.mail(email, &format!("Your account at {} has been blocked", config.name), &body).await;
    Ok(())
}
