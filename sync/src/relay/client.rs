//! The device's side of the relay.

use std::format;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::IpAddr;
use std::string::{String, ToString as _};
use std::time::Duration;
use std::vec::Vec;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::carrier::{Listing, Mailbox};
use crate::entry::ENTRY_MAX;
use crate::escrow::{Answer, Deposit};
use crate::id::{CircleId, Name};
use crate::mailbox::Order;
use crate::replica::Replica;

use super::claim::{claim, digest};
use super::{PAGE_HEADER, PAGE_MAX, Silence, decode_page};

/// No answer is awaited longer: a relay that drips is as one that is down.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long what says how an escrow stands is.
const STATUS: usize = 10;

/// An answer to a guess is not longer.
const ANSWER_MAX: usize = 128;

/// Where a relay is and what opens it there: `https://host/#TOKEN`. Whoever has it can read nothing, but fill up the
/// quota.
#[derive(Clone)]
pub struct RelayUrl {
    base: String,
    token: Zeroizing<String>,
}

/// Of the token in constant time.
impl PartialEq for RelayUrl {
    fn eq(&self, other: &Self) -> bool {
        self.base == other.base && bool::from(self.token.as_bytes().ct_eq(other.token.as_bytes()))
    }
}

impl Eq for RelayUrl {}

impl core::fmt::Debug for RelayUrl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RelayUrl({})", self.base)
    }
}

impl RelayUrl {
    /// A relay and a token for it. Two spellings of one address are the same: scheme and host in small letters, a port that
    /// goes without saying left out (RFC 3986 §6.2.2.1, §6.2.3), no slash at the end.
    pub fn new(base: &str, token: &str) -> Self {
        RelayUrl { base: normal(base), token: Zeroizing::new(token.to_string()) }
    }

    /// Reads `https://host/#TOKEN`.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, token) = text.split_once('#')?;
        let scheme = base.starts_with("https://") || base.starts_with("http://");
        (scheme && token.len() >= 16).then(|| RelayUrl::new(base, token))
    }

    /// Where it is, without the token.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// As [`parse`](Self::parse) reads it. Holds the token.
    pub fn to_text(&self) -> String {
        format!("{}/#{}", self.base, *self.token)
    }
}

/// Whether an address is one of this machine for itself.
fn is_this_machine(base: &str) -> bool {
    let Ok(address) = base.parse::<ureq::http::Uri>() else { return false };
    let host = address.host().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

fn normal(base: &str) -> String {
    let base = base.trim_end_matches('/');
    let Some((scheme, rest)) = base.split_once("://") else { return base.to_string() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A password before it is not a host.
    let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
    let port = if scheme == "https" { ":443" } else { ":80" };
    format!("{scheme}://{user}{}{path}", host.strip_suffix(port).unwrap_or(&host))
}

/// Inside an [`io::Error`]: a relay says that a member of the circle has ended this device's token, as it does of a device that
/// was revoked.
#[derive(Debug)]
pub struct TokenEnded;

impl core::fmt::Display for TokenEnded {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("another device of the circle has shut this one out")
    }
}

impl core::error::Error for TokenEnded {}

/// What a relay says to who waits for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has so many names now.
    Head(u64),
    /// It is still there.
    Sign,
}

/// How an escrow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscrowStatus {
    /// How many wrong guesses there may be in a row.
    pub allowed: u8,
    /// How many are left. With 0 it is destroyed.
    pub left: u8,
    /// How long the next one has to wait.
    pub wait: Duration,
}

/// Why a relay did nothing about an escrow.
#[derive(Debug)]
#[non_exhaustive]
pub enum EscrowError {
    /// It has nothing of this circle's in escrow.
    Nothing,
    /// The last guess was used up.
    Destroyed,
    /// The next guess may come after this. The one that was refused was not counted.
    TooSoon(Duration),
    /// It keeps no escrows.
    NotOffered,
    /// It could not be reached, or answers what it should not.
    Relay(io::Error),
}

impl core::fmt::Display for EscrowError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Nothing => f.write_str("the relay has nothing in escrow for this circle"),
            Self::Destroyed => {
                f.write_str("there were too many wrong guesses: what was in escrow is destroyed")
            }
            Self::TooSoon(wait) => write!(f, "the next guess may come in {} s", wait.as_secs()),
            Self::NotOffered => f.write_str("the relay keeps no escrows"),
            Self::Relay(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for EscrowError {}

impl From<io::Error> for EscrowError {
    fn from(error: io::Error) -> Self {
        EscrowError::Relay(error)
    }
}

/// One circle's mailbox at a relay.
#[derive(Clone, Debug)]
pub struct RelayClient {
    agent: ureq::Agent,
    url: RelayUrl,
    circle: CircleId,
}

impl RelayClient {
    /// Does not connect yet.
    pub fn new(url: RelayUrl, circle: CircleId) -> Self {
        let agent = ureq::Agent::new_with_defaults();
        RelayClient { agent, url, circle }.with_patience(TIMEOUT)
    }

    /// How long any answer may take, from the first byte to the last.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        let mut config = ureq::Agent::config_builder().max_redirects(0).http_status_as_error(false);
        if is_this_machine(self.url.base()) {
            // For a proxy it would be the proxy's own.
            config = config.proxy(None);
        }
        self.agent = config.timeout_global(Some(patience)).build().into();
        self
    }

    /// Opens the circle there; no error if it is open already.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if it is open for another token;
    /// [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) if the relay opens no more circles.
    pub fn open(&self) -> io::Result<()> {
        let answer = self.agent.post(self.at("")).header("Authorization", self.bearer()).send_empty();
        let full = |error: io::Error| match error.kind() {
            io::ErrorKind::QuotaExceeded => io::Error::new(error.kind(), "the relay opens no more circles"),
            _ => error,
        };
        done(answer).map(drop).map_err(full)
    }

    /// Lets the holder of another token in, under a label (hexadecimal) by which it can be shut out again.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the relay does not know this token.
    pub fn let_in(&self, label: &str, token: &str) -> io::Result<()> {
        self.let_in_at(&format!("/tokens/{label}"), digest(token).as_bytes())
    }

    /// Lets this replica's device in, under its log's name, with a token of its own. An invitation's token does for that.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the relay does not know this token;
    /// [`Unsupported`](io::ErrorKind::Unsupported) if it is an invitation's, and somebody has that name.
    pub fn let_self_in<R: CryptoRng>(&self, replica: &Replica<R>, token: &str) -> io::Result<()> {
        let token = digest(token);
        let claim = claim(replica, &digest(&self.url.token), &token);
        self.let_in_at(&format!("/tokens/{}", replica.log()), &[token.as_bytes(), &claim].concat())
    }

    /// The same for so long only.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the relay does not know this token.
    pub fn let_in_for(&self, label: &str, token: &str, stay: Duration) -> io::Result<()> {
        self.let_in_at(&format!("/tokens/{label}?for_s={}", stay.as_secs()), digest(token).as_bytes())
    }

    fn let_in_at(&self, path: &str, body: &[u8]) -> io::Result<()> {
        done(self.agent.put(self.at(path)).header("Authorization", self.bearer()).send(body)).map(drop)
    }

    /// Whom a guest let in under this label is a member: its token stays when the guest's ends.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the relay does not know this token.
    pub fn let_stay(&self, label: &str) -> io::Result<()> {
        let path = format!("/tokens/{label}");
        done(self.agent.post(self.at(&path)).header("Authorization", self.bearer()).send_empty()).map(drop)
    }

    /// Whether a token is let in under this label, for good.
    pub fn is_let_in(&self, label: &str) -> io::Result<bool> {
        let request = self.agent.get(self.at(&format!("/tokens/{label}")));
        let answer = request.header("Authorization", self.bearer()).call().map_err(io::Error::other)?;
        if answer.status() == 404 { Ok(false) } else { done(Ok(answer)).map(|_| true) }
    }

    /// Shuts it out.
    ///
    /// # Errors
    /// The connection's; [`PermissionDenied`](io::ErrorKind::PermissionDenied) if the relay does not know this token.
    pub fn shut_out(&self, label: &str) -> io::Result<()> {
        let path = format!("/tokens/{label}");
        done(self.agent.delete(self.at(&path)).header("Authorization", self.bearer()).call()).map(drop)
    }

    /// Calls `heard` with the number of names, now and whenever it changes, and with signs of life, until `heard` says
    /// `false` or the connection ends: by the relay, by a silence that is too long, or because a longer one is to be tried.
    /// Blocks.
    ///
    /// # Errors
    /// The connection's and the relay's; [`TimedOut`](io::ErrorKind::TimedOut) if it broke unseen.
    pub fn watch(&self, silence: &mut Silence, mut heard: impl FnMut(Heard) -> bool) -> io::Result<()> {
        silence.begin();
        let watched = self.listen(silence, &mut heard);
        if watched.as_ref().map_or(true, |end| *end == End::Broke) {
            silence.broke();
        }
        watched.map(drop)
    }

    fn listen(&self, silence: &mut Silence, heard: &mut dyn FnMut(Heard) -> bool) -> io::Result<End> {
        let request = self.agent.get(self.at(&format!("/watch?silent_ms={}", silence.longest().as_millis())));
        let request = request.header("Authorization", self.bearer());
        // No time limit for the whole, but for each silence in it.
        let request = request.config().timeout_global(None).timeout_connect(Some(TIMEOUT));
        let answer = done(request.timeout_per_read(Some(silence.limit())).build().call())?;
        let mut lines = BufReader::new(answer.into_body().into_reader());
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.by_ref().take(1024).read_until(b'\n', &mut line).map_err(timed_out)? == 0 {
                return Ok(End::Broke);
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(head) = text.strip_prefix("data:").and_then(|head| head.trim().parse().ok())
                && !heard(Heard::Head(head))
            {
                return Ok(End::Unheard);
            }
            if let Some(next) = text.strip_prefix(':') {
                let goes_on = silence.sign(next.trim().parse().ok().map(Duration::from_millis));
                if !heard(Heard::Sign) || !goes_on {
                    return Ok(End::Unheard);
                }
            }
        }
    }

    /// Leaves a deposit in escrow, in the place of the one before.
    ///
    /// # Errors
    /// [`EscrowError`]; nothing is changed then, unless the answer was lost.
    pub fn deposit(&self, deposit: &Deposit) -> Result<(), EscrowError> {
        let request = self.agent.put(self.at("/escrow")).header("Authorization", self.bearer());
        escrowed(request.send(deposit.encode().as_slice())).map(drop)
    }

    /// How the circle's escrow stands.
    ///
    /// # Errors
    /// [`EscrowError`]; [`Nothing`](EscrowError::Nothing) if there is none.
    pub fn escrow(&self) -> Result<EscrowStatus, EscrowError> {
        let request = self.agent.get(self.at("/escrow")).header("Authorization", self.bearer());
        let status = bounded(escrowed(request.call())?, STATUS)?;
        let status: [u8; STATUS] = status.try_into().map_err(|_| nonsense())?;
        let [allowed, left, wait @ ..] = status;
        Ok(EscrowStatus { allowed, left, wait: Duration::from_millis(u64::from_be_bytes(wait)) })
    }

    /// Destroys what is in escrow.
    ///
    /// # Errors
    /// [`EscrowError`].
    pub fn end_escrow(&self) -> Result<(), EscrowError> {
        let request = self.agent.delete(self.at("/escrow")).header("Authorization", self.bearer());
        escrowed(request.call()).map(drop)
    }

    /// Asks the question of a guess, which is counted. Needs no token.
    ///
    /// # Errors
    /// [`EscrowError`]; [`TooSoon`](EscrowError::TooSoon) is not counted, a guess whose answer was lost is.
    pub fn guess(&self, question: &[u8]) -> Result<Answer, EscrowError> {
        let answer = bounded(escrowed(self.agent.post(self.at("/escrow")).send(question))?, ANSWER_MAX)?;
        Ok(Answer::decode(&answer).ok_or_else(nonsense)?)
    }

    /// Proves that the last guess was right: the count begins anew. Needs no token.
    ///
    /// # Errors
    /// [`EscrowError`]; the count goes on from where it was.
    pub fn prove(&self, proof: &[u8; 32]) -> Result<(), EscrowError> {
        escrowed(self.agent.post(self.at("/escrow/proof")).send(&proof[..])).map(drop)
    }

    fn at(&self, path: &str) -> String {
        format!("{}/c/{}{path}", self.url.base, self.circle)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", *self.url.token)
    }
}

impl Mailbox for RelayClient {
    fn order(&self) -> Order {
        Order::Shared
    }

    fn address(&self) -> Option<&str> {
        Some(self.url.base())
    }

    fn is_closed(&self) -> bool {
        true
    }

    fn put(&mut self, name: Name, bytes: &[u8]) -> io::Result<()> {
        let request = self.agent.put(self.at(&format!("/{name}"))).header("Authorization", self.bearer());
        done(request.send(bytes)).map(drop)
    }

    fn list(&mut self, since: u64) -> io::Result<Listing> {
        let request = self.agent.get(self.at(&format!("?since={since}")));
        let answer = done(request.header("Authorization", self.bearer()).call())?;
        let page = bounded(answer, PAGE_HEADER + PAGE_MAX)?;
        decode_page(&page).ok_or_else(nonsense)
    }

    fn get(&mut self, name: Name) -> io::Result<Option<Vec<u8>>> {
        let request = self.agent.get(self.at(&format!("/{name}"))).header("Authorization", self.bearer());
        let answer = request.call().map_err(io::Error::other)?;
        if answer.status() == 404 {
            return Ok(None);
        }
        bounded(done(Ok(answer))?, ENTRY_MAX).map(Some)
    }
}

/// Why nothing more is heard.
#[derive(PartialEq)]
enum End {
    /// The relay, or what is between, ended the connection.
    Broke,
    /// This end did.
    Unheard,
}

type Reply = ureq::http::Response<ureq::Body>;

/// The HTTP library does not say by the kind that nothing came for too long.
fn timed_out(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(ureq::Error::Timeout(_)) => io::Error::new(io::ErrorKind::TimedOut, error),
        _ => error,
    }
}

fn done(answer: Result<Reply, ureq::Error>) -> io::Result<Reply> {
    let answer = answer.map_err(|error| match error {
        ureq::Error::Io(error) => error,
        ureq::Error::Timeout(_) => io::Error::new(io::ErrorKind::TimedOut, error),
        other => io::Error::other(other),
    })?;
    let kind = match answer.status().as_u16() {
        200..=299 => return Ok(answer),
        401 => io::ErrorKind::PermissionDenied,
        403 => return Err(io::Error::new(io::ErrorKind::PermissionDenied, TokenEnded)),
        405 => io::ErrorKind::Unsupported,
        507 => io::ErrorKind::QuotaExceeded,
        _ => io::ErrorKind::Other,
    };
    let why = match kind {
        io::ErrorKind::PermissionDenied => "the relay does not know this device's token",
        io::ErrorKind::QuotaExceeded => "the circle has used up its quota at the relay",
        _ => return Err(io::Error::new(kind, format!("the relay answers {}", answer.status()))),
    };
    Err(io::Error::new(kind, why))
}

fn escrowed(answer: Result<Reply, ureq::Error>) -> Result<Reply, EscrowError> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return done(Err(error)).map_err(EscrowError::Relay),
    };
    let wait_s = answer.headers().get("retry-after").and_then(|wait| wait.to_str().ok()?.parse().ok());
    match answer.status().as_u16() {
        404 => Err(EscrowError::Nothing),
        410 => Err(EscrowError::Destroyed),
        429 => Err(EscrowError::TooSoon(Duration::from_secs(wait_s.unwrap_or(1)))),
        501 => Err(EscrowError::NotOffered),
        _ => Ok(done(Ok(answer))?),
    }
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the relay answers nonsense")
}

/// The body, if it is not longer than anything honest.
fn bounded(answer: Reply, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.into_body().into_reader().take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the relay does not stop answering"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_is_asked_for_a_relay_on_this_machine() {
        for here in [
            "http://127.0.0.1:8",
            "http://127.9.9.9",
            "http://[::1]:8/sync",
            "http://localhost",
            "http://a.localhost:8",
        ] {
            assert!(is_this_machine(here), "{here}");
        }
        for elsewhere in [
            "https://relay.example",
            "http://192.0.2.1",
            "http://[2001:db8::1]",
            "http://localhost.example",
            "",
        ] {
            assert!(!is_this_machine(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        let base = |text| RelayUrl::new(text, "").base().to_string();
        for same in
            ["https://r.example", "https://R.Example/", "https://r.example:443", "HTTPS://r.example:443//"]
        {
            assert_eq!(base(same), "https://r.example");
        }
        assert_eq!(base("http://[::1]:80/Sync/"), "http://[::1]/Sync");
        for other in [
            "http://r.example:443",
            "https://r.example:8443",
            "https://Me:Pw@r.example/Path",
            "https://[fe80::443]",
        ] {
            assert_eq!(base(other), other);
        }
    }
}
