//! The platform side, as a browser has it: WebAuthn options in JSON, to CTAP2, to the response in JSON.
//!
//! A [`Client`] speaks to one authenticator over any [`Connection`] (in this process, raw packets, USB/IP), or to a
//! phone over the [hybrid transport](crate::hybrid). It does
//! the client's own duties (WebAuthn Level 3 §5.1.3, §5.1.4): secure contexts, RP IDs against the public suffix list,
//! related origins, client data, timeouts and abort, exclude and allow lists of any length, conditional and immediate
//! mediation, PIN and fingerprint, the choice between accounts, attestation conveyance, and the extensions
//! credProps, credProtect, credBlob, minPinLength, hmac-secret, PRF and largeBlob.
//!
//! ```
//! use doppelkey::client::Client;
//! use serde_json::json;
//!
//! # let from_the_relying_party = json!({
//! #     "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
//! #     "user": {"id": "AQ", "name": "mona@example.com", "displayName": "Mona"},
//! #     "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
//! #     "authenticatorSelection": {"residentKey": "required"},
//! # });
//! let mut client = Client::ephemeral();
//! let registration = client.create("https://login.example.com", &from_the_relying_party)?;
//! let options = json!({"rpId": "example.com", "challenge": "AAAAAAAAAAAAAAAAAAAAAA"});
//! let sign_in = client.get("https://login.example.com", &options)?;
//! assert_eq!(sign_in["id"], registration["id"]);
//! # Ok::<(), doppelkey::client::Error>(())
//! ```
//!
//! The bridge, the demo and the load generator are made of it; Rust tests of a relying party may be too.

mod authenticator_data;
mod channel;
mod client_data;
mod create;
mod ctap;
mod ctaphid;
mod dialogs;
mod ephemeral;
mod error;
mod extensions;
mod get;
mod large_blob;
mod options;
mod origin;
mod phone;
mod pin;
mod public_key;
mod verification;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rand_core::CryptoRng;

use crate::device::{Clock, Connection};
use crate::hybrid::Desktop;
use ctap::Info;
use origin::Related;

pub(crate) use channel::{Channel, Limit};

pub use dialogs::{Account, Dialogs, KnownPin, PinRequest, Unattended};
pub use ephemeral::{ephemeral_device, system_clock, without_sensor};
pub use error::{Error, NotVerified};
pub use origin::{FetchRelatedOrigins, Origin};

/// A WebAuthn client with one authenticator.
pub struct Client {
    channel: Channel,
    rng: Box<dyn CryptoRng + Send>,
    dialogs: Box<dyn Dialogs>,
    attachment: Attachment,
    timeouts: Timeouts,
    related: Option<FetchRelatedOrigins>,
    enterprise_rp_ids: Vec<String>,
}

impl Client {
    /// A client to the authenticator at the other end of this connection.
    ///
    /// # Errors
    /// [`Error::Disconnected`], [`Error::TimedOut`] if it does not give a channel.
    pub fn new(
        connection: impl Connection + 'static,
        clock: Clock,
        rng: impl CryptoRng + Send + 'static,
    ) -> Result<Self, Error> {
        let mut rng = Box::new(rng);
        Ok(Client {
            channel: Channel::open(Box::new(connection), clock, &mut *rng)?,
            rng,
            dialogs: Box::new(Unattended),
            attachment: Attachment::default(),
            timeouts: Timeouts::default(),
            related: None,
            enterprise_rp_ids: Vec::new(),
        })
    }

    /// A client without an authenticator of its own: each ceremony fetches a phone (CTAP §11.5), within its timeout.
    pub fn with_phone(desktop: Desktop, clock: Clock, rng: impl CryptoRng + Send + 'static) -> Self {
        Client {
            channel: Channel::to_phone(desktop, clock),
            rng: Box::new(rng),
            dialogs: Box::new(Unattended),
            attachment: Attachment::CrossPlatform,
            timeouts: Timeouts::default(),
            related: None,
            enterprise_rp_ids: Vec::new(),
        }
    }

    /// With someone to answer the platform's own dialogs.
    pub fn with_dialogs(mut self, dialogs: impl Dialogs + 'static) -> Self {
        self.dialogs = Box::new(dialogs);
        self
    }

    /// With this attachment in options and responses.
    pub fn with_attachment(mut self, attachment: Attachment) -> Self {
        self.attachment = attachment;
        self
    }

    /// With these bounds on the timeout that a page may ask for.
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// With a way to ask an RP ID's site for its related origins. Without one there are none.
    pub fn with_related_origins(mut self, fetch: FetchRelatedOrigins) -> Self {
        self.related = Some(fetch);
        self
    }

    /// With platform-managed enterprise attestation for these RP IDs.
    pub fn with_enterprise_attestation(mut self, rp_ids: Vec<String>) -> Self {
        self.enterprise_rp_ids = rp_ids;
        self
    }

    /// Echoes a message of at most 7609 bytes off the authenticator (CTAPHID_PING).
    ///
    /// # Errors
    /// [`Error::BadAnswer`] if what comes back is another message.
    pub fn ping(&mut self, message: &[u8]) -> Result<(), Error> {
        let limit = self.limit(None, None);
        match self.channel.ping(message, &limit)? {
            echo if echo == message => Ok(()),
            _ => Err(Error::BadAnswer("the echo of a PING differs")),
        }
    }

    /// A credential of this RP ID, looked for without asking the user, if there is any that can be seen without
    /// verification: of these ids, or without a list, the newest that is discoverable.
    ///
    /// # Errors
    /// The authenticator's and its transport's; [`Error::TimedOut`], [`Error::Aborted`].
    pub fn find(
        &mut self,
        rp_id: &str,
        ids: Option<&[Vec<u8>]>,
        within: Duration,
        abort: &Abort,
    ) -> Result<Option<Vec<u8>>, Error> {
        let limit = Limit { until: Some(self.channel.now() + within), abort: Some(abort.clone()) };
        self.find_here(rp_id, ids.map(<[_]>::to_vec), &limit)
    }

    /// The same, until this limit.
    fn find_here(
        &mut self,
        rp_id: &str,
        ids: Option<Vec<Vec<u8>>>,
        limit: &Limit,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(ids) = ids else { return ctap::find(&mut self.channel, rp_id, &[], None, limit) };
        let info = Info::get(&mut self.channel, limit)?;
        for batch in ctap::batches(ids, &info) {
            if let Some(id) = ctap::find(&mut self.channel, rp_id, &batch, None, limit)? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Sets the first PIN: 4 characters to 63 bytes.
    ///
    /// # Errors
    /// [`Error::NotVerified`] if the authenticator refuses it or has one already.
    pub fn set_pin(&mut self, pin: &str) -> Result<(), Error> {
        let limit = self.limit(None, None);
        let info = Info::get(&mut self.channel, &limit)?;
        pin::set(&mut self.channel, &info, pin, &mut *self.rng, &limit)
    }

    /// Changes the PIN.
    ///
    /// # Errors
    /// [`Error::NotVerified`] if the old one is wrong, which costs a retry, or the new one is refused.
    pub fn change_pin(&mut self, old: &str, new: &str) -> Result<(), Error> {
        let limit = self.limit(None, None);
        let info = Info::get(&mut self.channel, &limit)?;
        pin::change(&mut self.channel, &info, old, new, &mut *self.rng, &limit)
    }

    /// Has the authenticator check this PIN, and does nothing else with it.
    ///
    /// # Errors
    /// [`Error::NotVerified`] if it is wrong, which costs a retry, or none is set.
    pub fn verify_pin(&mut self, pin: &str) -> Result<(), Error> {
        let limit = self.limit(None, None);
        let info = Info::get(&mut self.channel, &limit)?;
        let purpose =
            pin::Purpose { permissions: pin::permission::GET_ASSERTION, rp_id: "doppelkey.invalid" };
        pin::token_using_pin(&mut self.channel, &info, pin, purpose, &mut *self.rng, &limit).map(drop)
    }

    /// Until when an answer is wanted, the page's wish kept within bounds.
    fn limit(&self, asked_ms: Option<u32>, abort: Option<Abort>) -> Limit {
        Limit { until: Some(self.channel.now() + self.timeouts.keep(asked_ms)), abort }
    }
}

/// The ids that a sign-in with these options allows; `None` where it allows any. For what looks through the accounts in
/// place of the authenticator, as autofill does: the options are checked as [`Client::get`] checks them.
///
/// # Errors
/// [`Error::Options`], [`Error::Syntax`], [`Error::Unsupported`]: the page's fault.
pub(crate) fn allowed_ids(options: &serde_json::Value) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let options: options::RequestOptions = options::parse(options)?;
    extensions::check_request(&options.extensions, &options.allow_credentials)?;
    Ok(options.allowed_ids())
}

/// Who calls, and how: what a browser knows besides the options.
///
/// An origin's text is a call by that page at the top level, with a dialog.
#[derive(Clone, Debug)]
pub struct Call {
    origin: String,
    frame: Option<Frame>,
    checked_rp_id: Option<String>,
    mediation: Mediation,
    abort: Option<Abort>,
}

impl Call {
    /// A call by the page of this origin (`https://example.com`), at the top level.
    pub fn by(origin: impl Into<String>) -> Self {
        let (origin, mediation) = (origin.into(), Mediation::Modal);
        Call { origin, frame: None, checked_rp_id: None, mediation, abort: None }
    }

    /// The page is in a frame of a page of another origin, which is this where it is known, and a permissions policy
    /// allows it to call, or does not. (A frame of the same origin all the way up is as good as the top level.)
    pub fn framed_by(mut self, top_origin: Option<&str>, allowed: bool) -> Self {
        self.frame = Some(Frame { top_origin: top_origin.map(str::to_owned), allowed });
        self
    }

    /// A browser has checked that this origin may use this RP ID, its related origins included (§5.11). Whether it is
    /// the one of the options, a domain, and nobody's public suffix, is checked here.
    pub fn rp_id_is_checked(mut self, rp_id: impl Into<String>) -> Self {
        self.checked_rp_id = Some(rp_id.into());
        self
    }

    /// With this mediation.
    pub fn mediation(mut self, mediation: Mediation) -> Self {
        self.mediation = mediation;
        self
    }

    /// With a way to take the call back.
    pub fn abort(mut self, abort: &Abort) -> Self {
        self.abort = Some(abort.clone());
        self
    }

    /// The RP ID that it acts for, of these options.
    fn rp_id(
        &self,
        caller: &Caller,
        asked: Option<&str>,
        fetch: Option<&FetchRelatedOrigins>,
    ) -> Result<String, Error> {
        let checked = self.checked_rp_id.as_deref();
        let related = checked.map_or(Related::ListedBy(fetch), Related::Checked);
        origin::rp_id(&caller.origin, asked, related)
    }

    /// The RP ID that it may act for: this one, or without one the origin's own. For what is refused before there is a
    /// client, and for what needs none. A client checks it again, and may know of related origins besides.
    ///
    /// # Errors
    /// [`Error::Aborted`], [`Error::InsecureOrigin`], [`Error::CrossOriginFrame`], [`Error::RpId`].
    pub(crate) fn acts_for(&self, asked: Option<&str>) -> Result<String, Error> {
        self.rp_id(&self.check()?, asked, None)
    }

    fn check(&self) -> Result<Caller, Error> {
        if self.abort.as_ref().is_some_and(Abort::is_aborted) {
            return Err(Error::Aborted);
        }
        let origin = Origin::parse(&self.origin)?;
        match &self.frame {
            None => Ok(Caller { origin, cross_origin: false, top_origin: None }),
            Some(Frame { allowed: false, .. }) => Err(Error::CrossOriginFrame),
            Some(Frame { top_origin, .. }) => {
                let top_origin = top_origin.as_deref().map(Origin::parse).transpose()?;
                Ok(Caller { origin, cross_origin: true, top_origin })
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Frame {
    top_origin: Option<String>,
    allowed: bool,
}

impl From<&str> for Call {
    fn from(origin: &str) -> Self {
        Call::by(origin)
    }
}

/// A caller that may call.
pub(crate) struct Caller {
    origin: Origin,
    cross_origin: bool,
    top_origin: Option<Origin>,
}

/// How much the user sees of it (Credential Management §2.3.2, WebAuthn §5.1.3 and §5.1.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mediation {
    /// A dialog.
    #[default]
    Modal,
    /// At a sign-in, an offer in the autofill list: without a passkey to offer the call waits until it is taken back
    /// (and ends with [`Error::NoCredential`] at once where nobody could). At a registration, an upgrade in passing.
    Conditional,
    /// A dialog if there is a passkey; else the end, at once.
    Immediate,
}

/// What a page is told of where the authenticator is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attachment {
    /// It can be unplugged. Options that insist on a built-in one are refused.
    #[default]
    CrossPlatform,
    /// It is built in. Options that insist on another kind are refused.
    Platform,
    /// Whatever the options ask for; built in, where they do not say.
    AsAsked,
}

impl Attachment {
    fn check(self, asked: Option<&str>) -> Result<(), Error> {
        match (self, asked) {
            (Attachment::CrossPlatform, Some("platform"))
            | (Attachment::Platform, Some("cross-platform")) => {
                // A browser goes on waiting for an authenticator that fits; here there is no other.
                Err(Error::NoCredential)
            }
            _ => Ok(()),
        }
    }

    fn default_name(self) -> &'static str {
        match self {
            Attachment::CrossPlatform => "cross-platform",
            Attachment::Platform | Attachment::AsAsked => "platform",
        }
    }

    /// The response's authenticatorAttachment for these options: asked for, or else hinted at (§5.8.7).
    fn answer(self, options: &options::CreationOptions) -> &'static str {
        let asked = options.authenticator_selection.authenticator_attachment.as_deref();
        let hint = options.hints.iter().find_map(|hint| match hint.as_str() {
            "security-key" | "hybrid" => Some("cross-platform"),
            "client-device" => Some("platform"),
            _ => None,
        });
        match (self, asked.or(hint)) {
            (Attachment::AsAsked, Some("cross-platform")) => "cross-platform",
            _ => self.default_name(),
        }
    }
}

/// The bounds that a page's `timeout` is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Shorter ones become this.
    pub least: Duration,
    /// Where the page names none.
    pub usual: Duration,
    /// Longer ones become this.
    pub most: Duration,
}

impl Timeouts {
    /// The page's wish in milliseconds, kept within the bounds.
    fn keep(&self, asked_ms: Option<u32>) -> Duration {
        asked_ms.map_or(self.usual, |ms| Duration::from_millis(ms.into()).clamp(self.least, self.most))
    }

    /// The timeout of these options of a page, kept within the bounds.
    pub(crate) fn of(&self, options: &serde_json::Value) -> Duration {
        self.keep(options["timeout"].as_f64().map(|ms| ms as u32))
    }
}

impl Default for Timeouts {
    /// 10 seconds, 5 minutes, 10 minutes: the upper two are what WebAuthn §15.1 recommends.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts { least: seconds(10), usual: seconds(300), most: seconds(600) }
    }
}

/// Takes calls back: an `AbortController`. All clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Abort {
    state: Arc<(Mutex<bool>, Condvar)>,
}

impl Abort {
    /// One that is not used yet.
    pub fn new() -> Self {
        Abort::default()
    }

    /// Ends every call that was given this, with [`Error::Aborted`], within 100 milliseconds.
    pub fn abort(&self) {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.state.1.notify_all();
    }

    /// Whether it was used.
    pub fn is_aborted(&self) -> bool {
        *self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is used.
    fn wait(&self) {
        let aborted = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.state.1.wait_while(aborted, |aborted| !*aborted));
    }
}

#[cfg(test)]
mod tests;
