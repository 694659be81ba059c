//! A tunnel from either end: whole messages through a WebSocket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::error::Error;
use super::tunnel_server::{CLIENT_PAYLOAD, PROTOCOL, ROUTING_ID};
use crate::text::{base64url, from_hex, hex_upper};

/// A tunnel server that works answers within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What happens at our end.
pub(super) enum Event {
    /// The other end has said something.
    Message(Vec<u8>),
    /// There is no other end any more.
    Closed,
    /// What the holder of [`Tunnel::events`] did meanwhile has come to its end.
    Done(Vec<u8>),
}

/// One end of a tunnel. Closed when dropped.
pub(super) struct Tunnel {
    outgoing: UnboundedSender<Vec<u8>>,
    incoming: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
}

impl Tunnel {
    /// Opens a tunnel at the server of this domain; where it is.
    pub(super) fn open(domain: u16, tunnel_id: &[u8; 16]) -> Result<(Self, [u8; 3]), Error> {
        let request = request(domain, &format!("new/{}", hex_upper(tunnel_id)))?;
        let (tunnel, routing_id) = Self::connect(domain, request)?;
        let routing_id = routing_id.ok_or(Error::Tunnel("its server does not say where it is".into()))?;
        Ok((tunnel, routing_id))
    }

    /// Joins a tunnel.
    pub(super) fn join(domain: u16, routing_id: &[u8; 3], tunnel_id: &[u8; 16]) -> Result<Self, Error> {
        let path = format!("connect/{}/{}", hex_upper(routing_id), hex_upper(tunnel_id));
        Ok(Self::connect(domain, request(domain, &path)?)?.0)
    }

    /// Calls a phone. [`Error::Unlinked`] if the server knows none with this contact id.
    pub(super) fn contact(domain: u16, contact_id: &[u8], payload: &[u8]) -> Result<Self, Error> {
        let path = format!("contact/{}", base64url(contact_id));
        let mut request = request(domain, &path)?;
        let payload = HeaderValue::from_str(&hex_upper(payload)).expect("hexadecimal digits");
        request.headers_mut().insert(CLIENT_PAYLOAD, payload);
        Ok(Self::connect(domain, request)?.0)
    }

    fn connect(domain: u16, request: Request) -> Result<(Self, Option<[u8; 3]>), Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Tunnel(error.to_string()))?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, domain));
        let connecting = async { tokio::time::timeout(CONNECT_TIMEOUT, handshake(server, request)).await };
        let (socket, routing_id) = runtime
            .block_on(connecting)
            .unwrap_or_else(|_| Err(Error::Tunnel(format!("its server at {server} does not answer"))))?;
        let (outgoing, to_send) = unbounded_channel();
        let (events, incoming) = mpsc::channel();
        let told = events.clone();
        thread::Builder::new()
            .name("doppelkey-tunnel".into())
            .spawn(move || {
                runtime.block_on(carry(socket, to_send, &told));
                let _ = told.send(Event::Closed);
            })
            .map_err(|error| Error::Tunnel(error.to_string()))?;
        Ok((Tunnel { outgoing, incoming, events }, routing_id))
    }

    /// Sends a message. Whether it arrives, the answer says.
    pub(super) fn send(&self, message: Vec<u8>) {
        let _ = self.outgoing.send(message);
    }

    /// What happens next; `None` if nothing does within this time.
    pub(super) fn next(&self, timeout: Duration) -> Option<Event> {
        match self.incoming.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Event::Closed),
        }
    }

    /// Where to tell of what is done meanwhile.
    pub(super) fn events(&self) -> mpsc::Sender<Event> {
        self.events.clone()
    }
}

fn request(domain: u16, path: &str) -> Result<Request, Error> {
    let mut request = format!("ws://127.0.0.1:{domain}/cable/{path}")
        .into_client_request()
        .map_err(|error| Error::Tunnel(error.to_string()))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
    Ok(request)
}

async fn handshake(
    server: SocketAddr,
    request: Request,
) -> Result<(WebSocketStream<TcpStream>, Option<[u8; 3]>), Error> {
    let stream = TcpStream::connect(server)
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|error| Error::Tunnel(format!("its server at {server}: {error}")))?;
    let (socket, answer) =
        tokio_tungstenite::client_async(request, stream).await.map_err(|error| match error {
            WebSocketError::Http(answer) if answer.status() == StatusCode::GONE => Error::Unlinked,
            WebSocketError::Http(answer) => Error::Tunnel(format!("its server answers {}", answer.status())),
            error => Error::Tunnel(error.to_string()),
        })?;
    let routing_id = answer.headers().get(ROUTING_ID).and_then(|value| from_hex(value.to_str().ok()?));
    Ok((socket, routing_id.and_then(|id| id.try_into().ok())))
}

/// Carries messages until either side has no more.
async fn carry(
    mut socket: WebSocketStream<TcpStream>,
    mut to_send: UnboundedReceiver<Vec<u8>>,
    events: &mpsc::Sender<Event>,
) {
    loop {
        tokio::select! {
            message = to_send.recv() => {
                let Some(message) = message else { break };
                if socket.send(Message::Binary(message.into())).await.is_err() {
                    break;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if events.send(Event::Message(bytes.into())).is_err() {
                        break;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
        }
    }
    // Who has gone already needs no goodbye.
    let _ = tokio::time::timeout(CONNECT_TIMEOUT, socket.close(None)).await;
}
