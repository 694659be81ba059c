//! WebDriver's virtual authenticators (WebAuthn Level 3 §11), word for word, and what the DevTools domain adds.
//!
//! | route, behind `/session/SID/webauthn/authenticator` | |
//! |---|---|
//! | `POST ` | adds an authenticator: a device of this fleet, in memory, plugged in |
//! | `DELETE /AID` | removes it |
//! | `POST /AID/credential`, `GET`, `DELETE /AID/credentials`, `DELETE /AID/credentials/CID` | credentials |
//! | `POST /AID/credentials/CID/props` | `backupEligibility`, `backupState`, `signCount` |
//! | `POST /AID/uv` | `isUserVerified` |
//! | `POST /AID/presence`, `POST /AID/overrides` | DevTools: automaticPresenceSimulation; isBogusSignature, isBadUV, isBadUP |
//!
//! `POST /session` and `DELETE /session/SID` frame them; with a browser's driver behind this one ([`forward`]), they are
//! the browser's, and so is everything else under `/session/SID`. Any other session id names a group of authenticators
//! too, so that a test that only has this port need not make one. `GET /session/SID/webauthn/events` streams the DevTools
//! domain's events: `credentialAdded`, `credentialUpdated`, `credentialDeleted`, `credentialAsserted`.

mod authenticators;
mod credentials;
mod events;
mod forward;
mod options;
mod response;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, delete, get, post};

use super::fleet::{Fleet, Member};
use events::{Events, Teller};
use response::{Error, ErrorCode};

pub use forward::BrowserDriver;

/// What the routes share.
#[derive(Clone)]
struct WebDriver {
    fleet: Fleet,
    authenticators: Arc<Mutex<BTreeMap<String, Virtual>>>,
    events: Events,
    browser: Option<Arc<BrowserDriver>>,
}

/// One virtual authenticator.
#[derive(Clone)]
struct Virtual {
    session: String,
    member: Arc<Member>,
    resident_keys: bool,
    /// Whether injected credentials get secrets for hmac-secret.
    hmac_secret: bool,
    /// Whether they get keys for a large blob.
    large_blobs: bool,
    teller: Teller,
}

pub(super) fn routes(fleet: Fleet, browser: Option<BrowserDriver>) -> Router {
    let base = "/session/{session}/webauthn/authenticator";
    let at = |suffix: &str| format!("{base}{suffix}");
    let large = DefaultBodyLimit::max(forward::REQUEST_MAX);
    Router::new()
        .route("/status", get(authenticators::status))
        .route("/session", post(forward::begin).layer(large))
        .route("/session/{session}", delete(forward::end))
        .route("/session/{session}/{*rest}", any(forward::other).layer(large))
        .route("/session/{session}/webauthn/events", get(events::listen))
        .route(base, post(authenticators::add))
        .route(&at("/{id}"), delete(authenticators::remove))
        .route(&at("/{id}/uv"), post(authenticators::set_user_verified))
        .route(&at("/{id}/presence"), post(authenticators::set_presence))
        .route(&at("/{id}/overrides"), post(authenticators::set_overrides))
        .route(&at("/{id}/credential"), post(credentials::add))
        .route(&at("/{id}/credentials"), get(credentials::list).delete(credentials::remove_all))
        .route(&at("/{id}/credentials/{credential}"), delete(credentials::remove))
        .route(&at("/{id}/credentials/{credential}/props"), post(credentials::set_properties))
        .with_state(WebDriver {
            fleet,
            authenticators: Arc::default(),
            events: Events::default(),
            browser: browser.map(Arc::new),
        })
}

impl WebDriver {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Virtual>> {
        self.authenticators.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, session: &str, id: &str) -> Result<Virtual, Error> {
        let found = self.lock().get(id).filter(|authenticator| authenticator.session == session).cloned();
        found.ok_or_else(|| {
            Error::new(ErrorCode::InvalidArgument, format!("there is no authenticator {id} in this session"))
        })
    }
}
