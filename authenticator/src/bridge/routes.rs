//! The bridge's HTTP: who may ask, and what each path does.

use std::io;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::signal::{self, Refusal};
use super::source::{Account, Source};
use super::{Bridge, CHROMIUM_ORIGIN, LOOK};
use crate::client::{self, Abort, Call, Error, Mediation};
use crate::text::base64url;

/// The most a request holds: an allow list of a few thousand credentials.
const BODY_MAX: usize = 1 << 20;

/// The paths, behind the gate.
pub(super) fn routes(bridge: Arc<Bridge>) -> Router {
    Router::new()
        .route("/create", post(create))
        .route("/get", post(get))
        .route("/accounts", post(accounts))
        .route("/signal", post(signal))
        .route("/hello", post(async || Json(json!({"response": null}))))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(Arc::clone(&bridge), gate))
        .with_state(bridge)
}

async fn gate(State(bridge): State<Arc<Bridge>>, request: Request<Body>, next: Next) -> Response {
    let origin = header_of(request.headers(), header::ORIGIN).unwrap_or_default().to_owned();
    let shown = header_of(request.headers(), header::AUTHORIZATION).unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long, or did not arrive whole");
    };
    let Some(nonce) = bridge.proofs.check(&shown, parts.uri.path().trim_start_matches('/'), &body) else {
        log::warn!("bridge: {origin:?} did not prove to have the token of this run");
        return refuse(
            StatusCode::UNAUTHORIZED,
            "nothing proves that this was made with this run's token: reload the extension",
        );
    };
    let answer = if is_ours(&origin) {
        next.run(Request::from_parts(parts, Body::from(body))).await
    } else {
        log::warn!("bridge: {origin:?} has the token, and is no extension of ours");
        refuse(StatusCode::FORBIDDEN, "only the extension may use this bridge")
    };
    proven(&bridge, &nonce, answer).await
}

/// The answer with the proof that it is ours, and to the request with this nonce.
async fn proven(bridge: &Bridge, nonce: &str, answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    // It is in memory already.
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if let Ok(proof) = HeaderValue::try_from(bridge.proofs.of_answer(nonce, &body)) {
        parts.headers.insert(PROOF, proof);
    }
    Response::from_parts(parts, Body::from(body))
}

fn header_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(HeaderValue::to_str)?.ok()
}

/// Whether whoever has shown the token is an extension of ours, and not a page that came by it. Chromium's origin is
/// fixed; Firefox's is another in every profile, and each WebDriver session has a new one: only the token tells it from
/// others there, which no browser lets into its folder.
fn is_ours(origin: &str) -> bool {
    origin == CHROMIUM_ORIGIN || origin.starts_with("moz-extension://")
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"name": "NotAllowedError", "message": message}}))).into_response()
}

/// What an extension sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    #[serde(default)]
    origin: String,
    #[serde(default)]
    cross_origin: bool,
    /// Whether a permissions policy lets the frame hold ceremonies.
    #[serde(default)]
    allowed: bool,
    /// The RP ID that the browser has checked that the origin may use, as one of its related origins.
    /// An extension that an earlier program wrote says only whether it has, which is not enough.
    #[serde(default)]
    checked: Value,
    mediation: Option<String>,
    #[serde(default)]
    public_key: Value,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    details: Value,
}

impl Asked {
    fn call(&self) -> Call {
        // Autofill waits for the user in the page. Nothing that may wait for ever is asked for here.
        let mediation = match self.mediation.as_deref() {
            Some("immediate") => Mediation::Immediate,
            _ => Mediation::Modal,
        };
        let mut call = Call::by(self.origin.as_str()).mediation(mediation);
        if let Some(rp_id) = self.checked.as_str() {
            call = call.rp_id_is_checked(rp_id);
        }
        if self.cross_origin { call.framed_by(None, self.allowed) } else { call }
    }

    /// The RP ID of what is no ceremony: nobody is asked, so no frame of another origin is told or believed anything,
    /// whatever a policy says. It could tell one visitor from another by the names here.
    fn own_rp_id(&self, value: &Value) -> Result<String, Error> {
        if self.cross_origin {
            return Err(Error::CrossOriginFrame);
        }
        self.call().acts_for(value.as_str())
    }
}

type Answer = Json<Value>;

fn answer(result: Result<Value, Error>) -> Answer {
    Json(match result {
        Ok(response) => json!({"response": response}),
        Err(error) => {
            log::info!("bridge: {}: {error}", error.name());
            json!({"error": {"name": error.name(), "message": error.to_string()}})
        }
    })
}

async fn create(State(bridge): State<Arc<Bridge>>, Json(asked): Json<Asked>) -> Answer {
    let rp_id = asked.public_key["rp"]["id"].as_str().map(str::to_owned);
    ceremony(bridge, asked, rp_id, |client, call, options| client.create(call, options)).await
}

async fn get(State(bridge): State<Arc<Bridge>>, Json(asked): Json<Asked>) -> Answer {
    let rp_id = asked.public_key["rpId"].as_str().map(str::to_owned);
    ceremony(bridge, asked, rp_id, |client, call, options| client.get(call, options)).await
}

/// Runs a ceremony for this RP ID on a thread of its own. If the request ends early, so does the ceremony.
async fn ceremony(
    bridge: Arc<Bridge>,
    asked: Asked,
    rp_id: Option<String>,
    run: impl FnOnce(&mut client::Client, Call, &Value) -> Result<Value, Error> + Send + 'static,
) -> Answer {
    let pending = Pending(Abort::new());
    let abort = pending.0.clone();
    log::info!("bridge: {} asks", asked.origin);
    let call = asked.call().abort(&abort);
    // Who may not ask waits for no other's ceremony, and has no authenticator attached for it.
    if let Err(error) = call.acts_for(rp_id.as_deref()) {
        return answer(Err(error));
    }
    let done = tokio::task::spawn_blocking(move || {
        let within = client::Timeouts::default().of(&asked.public_key);
        let mut client = bridge.source.client(within, &abort)?;
        run(&mut client, call, &asked.public_key)
    });
    // A panic of ours is logged by the runtime's thread; the page learns that it is over.
    answer(done.await.unwrap_or(Err(Error::Aborted)))
}

/// What is under way for a request: aborted when this is dropped, as it is with a request that ends early.
struct Pending(Abort);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What autofill can offer, of what the page's `allowCredentials` names if it names any. From another process'
/// authenticator: one entry without a name, if anything is there.
async fn accounts(State(bridge): State<Arc<Bridge>>, Json(asked): Json<Asked>) -> Answer {
    let checked = asked.own_rp_id(&asked.public_key["rpId"]);
    // The page's own options, which what the user picks narrows down.
    let checked = checked.and_then(|rp_id| Ok((rp_id, client::allowed_ids(&asked.public_key)?)));
    let (rp_id, allowed) = match checked {
        Ok(checked) => checked,
        Err(error) => return answer(Err(error)),
    };
    let pending = Pending(Abort::new());
    let abort = pending.0.clone();
    let found =
        tokio::task::spawn_blocking(move || offered(&bridge.source, rp_id, allowed.as_deref(), &abort));
    // A connection that hangs in one of its steps is left to end by itself: what is no ceremony takes its turn at this.
    let found = tokio::time::timeout(LOOK, found).await;
    let found = found.map_or(Err(Error::TimedOut), |found| found.unwrap_or(Err(Error::Aborted)));
    // What fails here is not the page's fault, and may be over when the user comes back to the field: its request for a
    // passkey goes on.
    let accounts = found.unwrap_or_else(|error| {
        log::info!("bridge: nothing for autofill: {error}");
        Vec::new()
    });
    let entry = |account: Account| json!({"id": base64url(&account.id), "name": account.name});
    answer(Ok(accounts.into_iter().map(entry).collect()))
}

/// The accounts of this RP ID, of these ids where there is a list.
fn offered(
    source: &Source,
    rp_id: String,
    allowed: Option<&[Vec<u8>]>,
    abort: &Abort,
) -> Result<Vec<Account>, Error> {
    match source.accounts(&rp_id) {
        Some(Ok(mut accounts)) => {
            accounts.retain(|account| allowed.is_none_or(|ids| ids.contains(&account.id)));
            Ok(accounts)
        }
        Some(Err(_)) => Err(Error::Disconnected(io::Error::other("the vault cannot be read"))),
        None => {
            let here = source.find(&rp_id, allowed, LOOK, abort)?;
            Ok(here.map(|id| Account { id, name: rp_id }).into_iter().collect())
        }
    }
}

async fn signal(State(bridge): State<Arc<Bridge>>, Json(asked): Json<Asked>) -> Answer {
    let rp_id = match asked.own_rp_id(&asked.details["rpId"]) {
        Ok(rp_id) => rp_id,
        Err(error) => return answer(Err(error)),
    };
    let followed = tokio::task::spawn_blocking(move || match bridge.source.store() {
        Some(store) => signal::follow(&store, &rp_id, &asked.kind, &asked.details),
        None => Ok(()),
    });
    answer(match followed.await {
        Ok(Ok(())) | Err(_) => Ok(Value::Null),
        Ok(Err(Refusal::Malformed(member))) => Err(Error::Options(format!("{member}: missing or malformed"))),
        Ok(Err(Refusal::Store(error))) => {
            log::error!("bridge: a signal could not be followed: {error:?}");
            Ok(Value::Null)
        }
    })
}

/// Where the proof of an answer is.
const PROOF: HeaderName = HeaderName::from_static("doppelkey-proof");
