//! A tunnel server (CTAP §11.5.1.4): joins a phone and a desktop, and passes on what they say without understanding it.
//!
//! | path | who | what |
//! |---|---|---|
//! | `/cable/new/{tunnel id}` | phone | opens a tunnel; the header `X-caBLE-Routing-ID` of the answer says where |
//! | `/cable/connect/{routing id}/{tunnel id}` | the other | joins it, once |
//! | `/cable/contact/{contact id}` | desktop | opens a tunnel and has the phone told, with the header `X-caBLE-Client-Payload`; 410 if no phone has that contact id |
//!
//! Whoever says what page it is (`Origin`) is refused. All are WebSockets of the protocol `fido.cable`; ids in the path are hexadecimal, a contact id base64url.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Request, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::text::{from_base64url, from_hex, hex_upper};

/// The WebSocket protocol.
pub(super) const PROTOCOL: &str = "fido.cable";
/// Where a new tunnel is, in the answer.
pub(super) const ROUTING_ID: &str = "x-cable-routing-id";
/// What the phone is told of a contact, in the request.
pub(super) const CLIENT_PAYLOAD: &str = "x-cable-client-payload";

/// How long a tunnel waits for its other end.
const WAIT: Duration = Duration::from_secs(180);
/// So many tunnels wait at a time, at most.
const WAITING_MAX: usize = 256;
/// The longest message: CTAP's longest, sealed.
const MESSAGE_MAX: usize = 1 << 16;
/// The longest client payload, in bytes.
const PAYLOAD_MAX: usize = 1024;

/// A desktop calls a phone that it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) routing_id: [u8; 3],
    pub(super) tunnel_id: [u8; 16],
    /// What the desktop has to say: a CBOR map.
    pub(super) payload: Vec<u8>,
}

/// A listening tunnel server. Closes, with every tunnel, when dropped.
pub(super) struct TunnelServer {
    address: SocketAddr,
    state: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

type Tunnel = ([u8; 3], [u8; 16]);

#[derive(Default)]
struct Shared {
    /// The tunnels with one end, and where its other end is to go.
    waiting: Mutex<HashMap<Tunnel, oneshot::Sender<WebSocket>>>,
    contacts: Mutex<HashMap<Vec<u8>, mpsc::Sender<Contact>>>,
}

impl TunnelServer {
    /// Listens.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("doppelkey-tunnels")
            .enable_all()
            .build()?;
        let state = Arc::new(Shared::default());
        let routes = Router::new()
            .route("/cable/new/{tunnel}", get(open))
            .route("/cable/connect/{routing}/{tunnel}", get(join))
            .route("/cable/contact/{contact}", get(contact))
            .with_state(Arc::clone(&state))
            .layer(middleware::from_fn(refuse_pages));
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
            // Serving ends with the runtime; an error before is the listener's, and every later request shows it.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(TunnelServer { address, state, _runtime: runtime })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has calls to this contact id told to the phone that holds the receiver.
    pub(super) fn register(&self, contact_id: &[u8]) -> mpsc::Receiver<Contact> {
        let (sender, receiver) = mpsc::channel();
        lock(&self.state.contacts).insert(contact_id.to_vec(), sender);
        receiver
    }
}

/// A page may open a WebSocket to anywhere, and its browser says whose page it is; a phone and a desktop are no pages.
/// One could not understand a tunnel, but take up all the room there is for those that wait.
async fn refuse_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(ORIGIN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    next.run(request).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `/cable/new`.
async fn open(
    State(state): State<Arc<Shared>>,
    Path(tunnel): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(tunnel_id) = from_hex(&tunnel).and_then(|id| id.try_into().ok()) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Some(routing_id) = random() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut answer = wait_for_other(state, (routing_id, tunnel_id), upgrade);
    let place = HeaderValue::from_str(&hex_upper(&routing_id)).expect("hexadecimal digits");
    answer.headers_mut().insert(ROUTING_ID, place);
    answer
}

/// `/cable/connect`.
async fn join(
    State(state): State<Arc<Shared>>,
    Path((routing, tunnel)): Path<(String, String)>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let ids = from_hex(&routing)
        .and_then(|id| id.try_into().ok())
        .zip(from_hex(&tunnel).and_then(|id| id.try_into().ok()));
    let Some(ids) = ids else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(upgrade) = of_our_protocol(upgrade) else { return StatusCode::BAD_REQUEST.into_response() };
    let Some(other) = lock(&state.waiting).remove(&ids) else { return StatusCode::NOT_FOUND.into_response() };
    upgrade.on_upgrade(async move |socket| {
        // If the other end has gone meanwhile, dropping this one says so.
        let _ = other.send(socket);
    })
}

/// `/cable/contact`.
async fn contact(
    State(state): State<Arc<Shared>>,
    Path(contact): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let payload = headers.get(CLIENT_PAYLOAD).and_then(|value| from_hex(value.to_str().ok()?));
    let Some(payload) = payload.filter(|payload| payload.len() <= PAYLOAD_MAX) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Some(contact_id) = from_base64url(&contact) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (Some(routing_id), Some(tunnel_id)) = (random(), random()) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let Some(phone) = lock(&state.contacts).get(&contact_id).cloned() else {
        return StatusCode::GONE.into_response();
    };
    let answer = wait_for_other(state, (routing_id, tunnel_id), upgrade);
    let told = answer.status() != StatusCode::SWITCHING_PROTOCOLS
        || phone.send(Contact { routing_id, tunnel_id, payload }).is_ok();
    if told { answer } else { StatusCode::GONE.into_response() }
}

/// Takes the first end of a tunnel, and has it wait for the other.
fn wait_for_other(state: Arc<Shared>, tunnel: Tunnel, upgrade: WebSocketUpgrade) -> Response {
    let Some(upgrade) = of_our_protocol(upgrade) else { return StatusCode::BAD_REQUEST.into_response() };
    let (sender, other) = oneshot::channel();
    {
        let mut waiting = lock(&state.waiting);
        if waiting.len() >= WAITING_MAX {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        // Whoever opens the same tunnel again replaces the one before, which then ends.
        waiting.insert(tunnel, sender);
    }
    let place = Waiting { state: Arc::clone(&state), tunnel, other };
    upgrade.on_upgrade(async move |mut socket| {
        let mut place = place;
        tokio::select! {
            joined = tokio::time::timeout(WAIT, &mut place.other) => {
                if let Ok(Ok(other)) = joined {
                    pass_on(socket, other).await;
                }
            }
            // Nothing is to be said before the other end is there: this is the end, or an error.
            _ = socket.recv() => {}
        }
    })
}

fn of_our_protocol(upgrade: WebSocketUpgrade) -> Option<WebSocketUpgrade> {
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MESSAGE_MAX);
    upgrade.selected_protocol().is_some().then_some(upgrade)
}

/// A tunnel with one end; given up when dropped.
struct Waiting {
    state: Arc<Shared>,
    tunnel: Tunnel,
    other: oneshot::Receiver<WebSocket>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Also if nobody ever waited, because the upgrade failed.
        self.other.close();
        let mut waiting = lock(&self.state.waiting);
        // One that was replaced, or joined, is not ours any more.
        if waiting.get(&self.tunnel).is_some_and(oneshot::Sender::is_closed) {
            waiting.remove(&self.tunnel);
        }
    }
}

/// Passes binary messages on, both ways, until either side ends or says anything else.
async fn pass_on(mut first: WebSocket, mut second: WebSocket) {
    loop {
        let sent = tokio::select! {
            message = first.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => second.send(Message::Binary(bytes)).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                _ => break,
            },
            message = second.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => first.send(Message::Binary(bytes)).await,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
                _ => break,
            },
        };
        if sent.is_err() {
            break;
        }
    }
    // Who has gone already needs no goodbye.
    let _ = first.send(Message::Close(None)).await;
    let _ = second.send(Message::Close(None)).await;
}

fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}
