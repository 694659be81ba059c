//! What happens in the devices, for whoever listens: no secrets, no messages, and no names but those that a prompt
//! shows its user.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use axum::Router;
use axum::extract::State;
use axum::response::sse;
use axum::routing::get;
use doppelkey_core::Answer;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::fleet::Fleet;
use super::user::ControlledUser;
use super::v1::described_prompt;
use crate::device::{Clock, Device, Observation, PacketSeen};

/// The events of a fleet. Clones are the same.
#[derive(Clone)]
pub(super) struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    last_number: AtomicU64,
    sender: broadcast::Sender<Arc<Event>>,
}

struct Event {
    number: u64,
    kind: &'static str,
    data: Value,
}

impl Events {
    pub(super) fn new(clock: Clock) -> Self {
        let sender = broadcast::Sender::new(BACKLOG);
        Events { shared: Arc::new(Shared { clock, last_number: AtomicU64::new(0), sender }) }
    }

    /// Tells what happens in this device from now on.
    pub(super) fn watch(&self, number: u32, device: &Device, user: &ControlledUser) {
        // Weak, or a device and the fleet's events would hold each other.
        let events: Weak<Shared> = Arc::downgrade(&self.shared);
        let (packets, prompts) = (events.clone(), events.clone());
        user.watch(move |prompt| {
            if let Some(shared) = prompts.upgrade() {
                shared.tell(number, || ("prompted", described_prompt(prompt)));
            }
        });
        device.observe(move |observation| {
            // What the user sees of a prompt is told instead.
            if *observation != Observation::Prompted
                && let Some(shared) = events.upgrade()
            {
                shared.tell(number, || described(observation));
            }
        });
        device.observe_packets(move |packet| {
            if let Some(shared) = packets.upgrade() {
                shared.tell(number, || ("packet", described_packet(packet)));
            }
        });
    }
}

impl Shared {
    fn tell(&self, device: u32, event: impl FnOnce() -> (&'static str, Value)) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let (kind, details) = event();
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let mut data = json!({ "device": device, "at_ms": (self.clock)().as_millis() as u64, "event": kind });
        if let (Value::Object(data), Value::Object(details)) = (&mut data, details) {
            data.extend(details);
        }
        // Nobody listening any more is nobody's loss.
        let _ = self.sender.send(Arc::new(Event { number, kind, data }));
    }
}

pub(super) fn routes() -> Router<Fleet> {
    Router::new().route("/v1/events", get(listen))
}

/// `GET /v1/events`: server-sent events from now on. A listener that is too slow misses some, and is told how many.
async fn listen(State(fleet): State<Fleet>) -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let receiver = fleet.events().shared.sender.subscribe();
    let events = stream::unfold(receiver, async |mut receiver| {
        let event = match receiver.recv().await {
            Ok(event) => sse::Event::default()
                .id(event.number.to_string())
                .event(event.kind)
                .data(event.data.to_string()),
            Err(RecvError::Lagged(missed)) => sse::Event::default()
                .event("missed")
                .data(json!({ "event": "missed", "count": missed }).to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), receiver))
    });
    sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
}

fn described(observation: &Observation) -> (&'static str, Value) {
    match observation {
        Observation::PoweredUp => ("powered-up", json!({})),
        Observation::Request { command: Some(command) } => {
            ("request", json!({ "command": command, "name": command_name(*command) }))
        }
        Observation::Request { command: None } => ("request", json!({ "name": "U2F" })),
        Observation::Prompted => ("prompted", json!({})),
        Observation::Answered(answer) => ("answered", decision(answer)),
        Observation::Cancelled => ("cancelled", json!({})),
        Observation::Responded { status } => ("responded", json!({ "status": status })),
        Observation::Winked => ("winked", json!({})),
    }
}

fn described_packet(packet: &PacketSeen) -> Value {
    let PacketSeen { from_device, channel, command, length, sequence } = packet;
    let from = if *from_device { "device" } else { "platform" };
    let mut described = json!({ "from": from, "channel": format!("{channel:08x}") });
    if let (Some(command), Some(length)) = (command, length) {
        described["command"] = json!(hid_command_name(*command));
        described["length"] = json!(length);
    }
    if let Some(sequence) = sequence {
        described["sequence"] = json!(sequence);
    }
    described
}

/// The specification's name of a CTAPHID command (CTAP §11.2.9).
fn hid_command_name(command: u8) -> &'static str {
    match command {
        0x01 => "PING",
        0x03 => "MSG",
        0x04 => "LOCK",
        0x06 => "INIT",
        0x08 => "WINK",
        0x10 => "CBOR",
        0x11 => "CANCEL",
        0x3B => "KEEPALIVE",
        0x3F => "ERROR",
        _ => "unknown",
    }
}

fn decision(answer: &Answer) -> Value {
    match answer {
        Answer::Approve { verified, account } => {
            json!({ "decision": "approved", "verified": verified, "account": account })
        }
        Answer::Deny => json!({ "decision": "denied" }),
        Answer::NotVerified => json!({ "decision": "not verified" }),
        Answer::Sample { status } => json!({ "decision": "sample", "sample_status": status }),
        _ => json!({}),
    }
}

/// The specification's name of a command (CTAP §8.1).
fn command_name(command: u8) -> &'static str {
    match command {
        0x01 => "authenticatorMakeCredential",
        0x02 => "authenticatorGetAssertion",
        0x04 => "authenticatorGetInfo",
        0x06 => "authenticatorClientPIN",
        0x07 => "authenticatorReset",
        0x08 => "authenticatorGetNextAssertion",
        0x09 => "authenticatorBioEnrollment",
        0x0A => "authenticatorCredentialManagement",
        0x0B => "authenticatorSelection",
        0x0C => "authenticatorLargeBlobs",
        0x0D => "authenticatorConfig",
        0x40.. => "vendor command",
        _ => "unknown command",
    }
}

/// How many events a slow listener can be behind.
const BACKLOG: usize = 4096;
