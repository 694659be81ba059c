//! Limits on guessing, counted in the database, so that all processes share them.
//!
//! An account is blocked for one address of the network after a number of failed logins, for a time that doubles
//! with each block; its owner gets a mail with a link that lifts it. Right ones are counted, too, for a minute. One
//! address of the network may fail only so often a day, by passwords, passkeys or codes, spread evenly, and sign up only
//! so often a minute. What counts as one address, [`network_of`] says.

use std::net::{IpAddr, Ipv6Addr};

use crate::codes;
use crate::events::Event;
use crate::failure::Failure;
use crate::policy::Policy;
use crate::session::Visit;
use crate::store::{Identifier, User};

/// How many logins under one identifier one address may try in a minute.
const LOGINS_PER_MINUTE: i64 = 20;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Counts a sign-up from this address.
pub(crate) async fn sign_up(visit: &Visit, policy: &Policy) -> Result<(), Failure> {
    let (ip, now) = (&visit.source.ip, visit.app.now());
    let key = format!("sign-up {}", network_of(ip));
    let count = visit.app.database.count(&key, now, MINUTE_MS).await?;
    if count > i64::from(policy.limits.signups_per_ip_minute) {
        let limit = "ip-signup-blocked";
        visit.log(Event::of("limit_mu").detail("ip", ip.as_str()).detail("key", limit)).await;
        return Err(Failure::TooMany { limit, retry_after_s: 60 });
    }
    Ok(())
}

/// Counts a challenge to log in that is kept until it is answered or expires. Whoever asks for ever more fills no database.
///
/// # Errors
/// [`Failure::TooMany`] beyond what policy allows an address a minute; the first of a minute is logged.
pub(crate) async fn challenge(visit: &Visit, policy: &Policy) -> Result<(), Failure> {
    let (ip, limit) = (&visit.source.ip, "too-many-challenges");
    let key = format!("challenges {}", network_of(ip));
    let count = visit.app.database.count(&key, visit.app.now(), MINUTE_MS).await?;
    let most = i64::from(policy.limits.challenges_per_ip_minute);
    if count <= most {
        return Ok(());
    }
    if count == most + 1 {
        visit.log(Event::of("limit_mu").detail("ip", ip.as_str()).detail("key", limit)).await;
    }
    Err(Failure::TooMany { limit, retry_after_s: 60 })
}

/// Counts a report of a browser's refusal from this address: ten a minute are enough for an operator.
pub(crate) async fn browser_error(visit: &Visit) -> Result<(), Failure> {
    let key = format!("browser-error {}", network_of(&visit.source.ip));
    if visit.app.database.count(&key, visit.app.now(), MINUTE_MS).await? > 10 {
        return Err(Failure::TooMany { limit: "too-many-reports", retry_after_s: 60 });
    }
    Ok(())
}

/// Whether this address may try to log in at all.
pub(crate) async fn ip_allowed(visit: &Visit, policy: &Policy) -> Result<(), Failure> {
    let back_at = visit.app.database.shares_back_at(&failures_of_ip(visit)).await?;
    match wait_for_share(visit.app.now(), share_of_day(policy), back_at) {
        0 => Ok(()),
        wait_ms => Err(blocked(visit, "ip-blocked", wait_ms).await),
    }
}

/// How far apart a day's failures of an address are, in milliseconds. Those that policy allows a day come back one by one:
/// who has used them all up waits for a share of the day, and not for the rest of it.
fn share_of_day(policy: &Policy) -> i64 {
    (DAY_MS / i64::from(policy.limits.failed_logins_per_ip_day)).max(1)
}

/// How long until there is a share again, when all are back at `back_at`; 0 if there is one. Nobody waits for more than a
/// day: that is a clock that was set back.
fn wait_for_share(now: i64, share_ms: i64, back_at: i64) -> i64 {
    let used = back_at - now;
    if used > DAY_MS { 0 } else { (used + share_ms - DAY_MS).max(0) }
}

/// A login that is not even looked at, while a block lasts; logged.
async fn blocked(visit: &Visit, limit: &'static str, lasts_ms: i64) -> Failure {
    visit.log(Event::of("f").detail("key", limit).error("blocked: too many failed logins before")).await;
    Failure::TooMany { limit, retry_after_s: lasts_ms.saturating_add(999) / 1000 }
}

/// Counts a failed login of this address.
pub(crate) async fn ip_failed(visit: &Visit, policy: &Policy) -> Result<(), Failure> {
    // Sent together with the last one that is allowed, it may find no share.
    if let Ok(tried) = take_share(visit, policy).await? {
        tried.failed(visit).await;
    }
    Ok(())
}

/// Counts a guess of this address, at a code or password, as one that fails, before anything is compared: of guesses that
/// are sent at once no more are looked at than one after the other.
pub(crate) async fn try_from_address(visit: &Visit, policy: &Policy) -> Result<AddressTry, Failure> {
    match take_share(visit, policy).await? {
        Ok(tried) => Ok(tried),
        Err(wait_ms) => Err(blocked(visit, "ip-blocked", wait_ms).await),
    }
}

/// Takes one of this address's failures, or gives for how many milliseconds there is none.
async fn take_share(visit: &Visit, policy: &Policy) -> Result<Result<AddressTry, i64>, Failure> {
    let (now, share_ms) = (visit.app.now(), share_of_day(policy));
    let (is_taken, back_at) =
        visit.app.database.take_share(&failures_of_ip(visit), now, share_ms, DAY_MS).await?;
    let wait_ms = wait_for_share(now, share_ms, back_at);
    Ok(if is_taken { Ok(AddressTry { share_ms, is_last: wait_ms > 0 }) } else { Err(wait_ms) })
}

/// A guess of an address that has been counted.
#[derive(Debug)]
#[must_use = "it is a failure or none"]
pub(crate) struct AddressTry {
    share_ms: i64,
    /// The address is blocked until a share is back.
    is_last: bool,
}

impl AddressTry {
    /// It has failed, and stays counted.
    pub(crate) async fn failed(&self, visit: &Visit) {
        if self.is_last {
            visit.log(Event::of("limit_mu").detail("ip", visit.source.ip.as_str())).await;
        }
    }

    /// It was no failure: takes it back.
    pub(crate) async fn take_back(self, visit: &Visit) -> Result<(), Failure> {
        Ok(visit.app.database.give_share_back(&failures_of_ip(visit), self.share_ms).await?)
    }
}

/// Counts a try to log in under an identifier, as one that fails, as [`try_from_address`] does for the address. The last
/// that policy allows blocks the identifier meanwhile. [`login_succeeded`] takes all of it back.
pub(crate) async fn try_login(
    visit: &Visit,
    policy: &Policy,
    identifier: &Identifier,
) -> Result<Try, Failure> {
    refuse_while_blocked(visit, identifier).await?;
    count_login(visit, identifier).await?;
    let of_address = try_from_address(visit, policy).await?;
    let count = visit.app.database.count(&failures_of(visit, identifier), visit.app.now(), DAY_MS).await?;
    let threshold = i64::from(policy.limits.brute_force_threshold);
    // What an account refuses is nothing that its address has tried.
    if count > threshold {
        // Sent together with the last one that is looked at.
        of_address.take_back(visit).await?;
        return Err(blocked(visit, "user-blocked", i64::from(policy.limits.block_minutes) * MINUTE_MS).await);
    }
    // The block may have begun, and the count with it anew, after the first look.
    if let Err(refused) = refuse_while_blocked(visit, identifier).await {
        of_address.take_back(visit).await?;
        return Err(refused);
    }
    let lasts_ms = if count == threshold { block(visit, policy, identifier).await? } else { 0 };
    Ok(Try { of_address, lasts_ms })
}

/// A try to log in that has been counted.
#[derive(Debug)]
#[must_use = "it is a failure or a success"]
pub(crate) struct Try {
    of_address: AddressTry,
    /// How long the block lasts that it has begun, or 0.
    lasts_ms: i64,
}

/// Counts a login under an identifier, whatever comes of it: each costs the time and memory of a password's hash, the
/// right one, too.
async fn count_login(visit: &Visit, identifier: &Identifier) -> Result<(), Failure> {
    let Identifier { kind, value, .. } = identifier;
    let key = format!("logins {} {kind} {value}", network_of(&visit.source.ip));
    let count = visit.app.database.count(&key, visit.app.now(), MINUTE_MS).await?;
    if count <= LOGINS_PER_MINUTE {
        return Ok(());
    }
    let event = if count == LOGINS_PER_MINUTE + 1 {
        let event = Event::of("limit_sul").detail("ip", visit.source.ip.as_str());
        match visit.app.database.user_called(kind, value).await? {
            Some(user) => event.user(&user),
            None => event,
        }
    } else {
        Event::of("f").detail("key", "same-user-login").error("blocked: too many logins in this minute")
    };
    visit.log(event).await;
    Err(Failure::TooMany { limit: "same-user-login", retry_after_s: 60 })
}

async fn refuse_while_blocked(visit: &Visit, identifier: &Identifier) -> Result<(), Failure> {
    let now = visit.app.now();
    match visit.app.database.marked(&block_of(visit, identifier)).await? {
        Some((_, until)) if until > now => Err(blocked(visit, "user-blocked", until - now).await),
        _ => Ok(()),
    }
}

/// Blocks an identifier for this address, longer than the last time; gives for how long, in milliseconds.
async fn block(visit: &Visit, policy: &Policy, identifier: &Identifier) -> Result<i64, Failure> {
    let database = &visit.app.database;
    let block = block_of(visit, identifier);
    let level = database.marked(&block).await?.map_or(0, |(level, _)| (level + 1).min(10));
    let lasts_ms = (i64::from(policy.limits.block_minutes) * MINUTE_MS) << level;
    database.mark(&block, level, visit.app.now() + lasts_ms).await?;
    database.forget(&failures_of(visit, identifier)).await?;
    Ok(lasts_ms)
}

/// A try that has failed: where it has begun a block, its owner is told.
pub(crate) async fn login_failed(
    visit: &Visit,
    identifier: &Identifier,
    user: Option<&User>,
    tried: &Try,
) -> Result<(), Failure> {
    tried.of_address.failed(visit).await;
    if tried.lasts_ms == 0 {
        return Ok(());
    }
    let mut event = Event::of("limit_wc").detail("minutes", tried.lasts_ms / MINUTE_MS);
    if let Some(user) = user {
        event = event.user(user);
    }
    // Lifting this block would let nobody in whom an administrator has blocked.
    if let Some(user) = user.filter(|user| !user.blocked) {
        codes::send_unblock_link(visit, user, &block_of(visit, identifier)).await?;
    }
    visit.log(event).await;
    Ok(())
}

/// Forgets the failed logins under an identifier, and that this one was counted as one of the address.
pub(crate) async fn login_succeeded(
    visit: &Visit,
    identifier: &Identifier,
    tried: Try,
) -> Result<(), Failure> {
    tried.of_address.take_back(visit).await?;
    visit.app.database.forget(&failures_of(visit, identifier)).await?;
    visit.app.database.forget(&block_of(visit, identifier)).await?;
    Ok(())
}

/// Counts a code or mail to an address.
pub(crate) async fn mail(visit: &Visit, policy: &Policy, target: &str) -> Result<(), Failure> {
    let count = visit.app.database.count(&format!("mail {target}"), visit.app.now(), 60 * MINUTE_MS).await?;
    if count > i64::from(policy.limits.codes_per_hour) {
        return Err(Failure::TooMany { limit: "too-many-otps", retry_after_s: 3600 });
    }
    Ok(())
}

fn failures_of_ip(visit: &Visit) -> String {
    format!("failures {}", network_of(&visit.source.ip))
}

fn failures_of(visit: &Visit, identifier: &Identifier) -> String {
    format!("failed {} {} {}", network_of(&visit.source.ip), identifier.kind, identifier.value)
}

fn block_of(visit: &Visit, identifier: &Identifier) -> String {
    format!("block {} {} {}", network_of(&visit.source.ip), identifier.kind, identifier.value)
}

/// Who counts as one: an address of IPv4; the first 64 bits of one of IPv6, since a subscriber has all the rest.
fn network_of(ip: &str) -> String {
    match ip.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => {
            let network = u128::from(ip) >> 64 << 64;
            format!("{}/64", Ipv6Addr::from(network))
        }
        Ok(ip) => ip.to_string(),
        // A Unix socket has none.
        Err(_) => ip.to_string(),
    }
}
