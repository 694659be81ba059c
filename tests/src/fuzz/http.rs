//! Stories of HTTP requests to the ports of the authenticator: the control port and the bridge, over real sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use doppelkey::bridge::{self, CHROMIUM_ORIGIN, Source};
use doppelkey::client::without_sensor;
use doppelkey::control::{self, ControlledUser, Fleet, Habits, Manner, Setup, Token};
use doppelkey::device::SharedStore;
use doppelkey_core::MemoryStore;

use super::steps;

const STEPS_MAX: usize = 20;

/// Where requests to the control port go, each with its method; a step's kind modulo their number chooses one. The
/// stream of events is not here: it has no end.
pub(super) const CONTROL: [(&str, &str); 46] = [
    ("GET", "/"),
    ("GET", "/usb1/touch/on"),
    ("GET", "/usb1/touch/off"),
    ("GET", "/usb1/power/off"),
    ("GET", "/usb1/power/on"),
    ("GET", "/v1/devices"),
    ("POST", "/v1/devices"),
    ("GET", "/v1/devices/1"),
    ("DELETE", "/v1/devices/{id}"),
    ("PUT", "/v1/devices/1/power"),
    ("POST", "/v1/devices/1/replug"),
    ("POST", "/v1/devices/1/reset"),
    ("GET", "/v1/devices/1/user"),
    ("PUT", "/v1/devices/1/user"),
    ("PATCH", "/v1/devices/1/user"),
    ("POST", "/v1/devices/1/user/press"),
    ("POST", "/v1/devices/1/user/pick"),
    ("POST", "/v1/devices/1/user/fingerprint"),
    ("POST", "/v1/devices/1/user/{id}"),
    ("DELETE", "/v1/devices/1/user/deeds"),
    ("GET", "/v1/devices/1/credentials?with_keys=true"),
    ("POST", "/v1/devices/1/credentials"),
    ("DELETE", "/v1/devices/1/credentials"),
    ("GET", "/v1/devices/1/credentials/{id}"),
    ("DELETE", "/v1/devices/1/credentials/{id}"),
    ("GET", "/v1/devices/1/pin"),
    ("PUT", "/v1/devices/1/pin"),
    ("DELETE", "/v1/devices/1/pin"),
    ("GET", "/v1/personas"),
    ("PUT", "/v1/devices/1/persona"),
    ("GET", "/v1/devices/1/metadata"),
    ("PUT", "/v1/devices/1/faults/{id}"),
    ("PUT", "/v1/devices/1/faults/status"),
    ("DELETE", "/v1/devices/1/faults"),
    ("POST", "/session"),
    ("POST", "/session/1/webauthn/authenticator"),
    ("DELETE", "/session/1/webauthn/authenticator/2"),
    ("POST", "/session/1/webauthn/authenticator/1/uv"),
    ("POST", "/session/1/webauthn/authenticator/1/presence"),
    ("POST", "/session/1/webauthn/authenticator/1/overrides"),
    ("POST", "/session/1/webauthn/authenticator/1/credential"),
    ("GET", "/session/1/webauthn/authenticator/1/credentials"),
    ("DELETE", "/session/1/webauthn/authenticator/1/credentials"),
    ("DELETE", "/session/1/webauthn/authenticator/1/credentials/{id}"),
    ("POST", "/session/1/webauthn/authenticator/1/credentials/{id}/props"),
    ("GET", "/{id}"),
];

/// Where requests to the bridge go.
pub(super) const BRIDGE: [(&str, &str); 5] =
    [("POST", "/create"), ("POST", "/get"), ("POST", "/accounts"), ("POST", "/signal"), ("POST", "/hello")];

/// Sends a story's requests to the control port, each step a path and a body; how many were carried out.
///
/// # Panics
/// If an answer is missing, or the fault of the port.
pub fn control(story: &[u8]) -> u32 {
    let mut port = CONTROL_PORT.lock().unwrap_or_else(PoisonError::into_inner);
    let ControlPort { fleet, http, .. } = &mut *port;
    // A story may take the first device away by its number; then there is a new one, and the rest gets no further.
    for member in fleet.members() {
        if member.number() > 1 {
            fleet.remove(member.number());
        } else {
            member.reset().expect("memory can be reset");
        }
    }
    http.tell(&CONTROL, story)
}

/// Sends a story's requests to the bridge, as its extension; how many ceremonies succeeded.
///
/// # Panics
/// If an answer is missing, or the fault of the bridge.
pub fn bridge(story: &[u8]) -> u32 {
    let mut port = BRIDGE_PORT.lock().unwrap_or_else(PoisonError::into_inner);
    port.1.tell(&BRIDGE, story)
}

struct ControlPort {
    fleet: Fleet,
    _server: control::Server,
    http: Http,
}

static CONTROL_PORT: LazyLock<Mutex<ControlPort>> = LazyLock::new(|| {
    let fleet = Fleet::new(Arc::new(|| Duration::from_secs(1)), None);
    fleet.add(setup()).expect("there is no bus");
    let server = control::Server::bind(localhost(), fleet.clone()).expect("a port is free");
    let headers =
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n", server.address(), server.token().as_str());
    let http = Http { address: server.address(), headers, proves: None, connection: None };
    Mutex::new(ControlPort { fleet, _server: server, http })
});

static BRIDGE_PORT: LazyLock<Mutex<(bridge::Server, Http)>> = LazyLock::new(|| {
    let clock = Arc::new(|| Duration::from_secs(1));
    let fleet = Fleet::new(clock.clone(), None);
    let member = fleet.add(setup()).expect("there is no bus");
    let source = Source::here(clock, member.device().clone(), member.store().clone());
    let server = bridge::Server::bind(localhost(), source).expect("a port is free");
    let headers = format!("Host: {}\r\nOrigin: {CHROMIUM_ORIGIN}\r\n", server.address());
    let proves = Some((server.token().clone(), 0));
    let http = Http { address: server.address(), headers, proves, connection: None };
    Mutex::new((server, http))
});

fn setup() -> Setup {
    let habits = Habits { manner: Manner::Auto, ..Habits::default() };
    Setup {
        configuration: without_sensor(),
        store: SharedStore::new(MemoryStore::new()),
        user: ControlledUser::new(habits, None),
        persona: "doppelkey".into(),
        on_assertion: None,
    }
}

fn localhost() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A client that keeps its connection.
struct Http {
    address: SocketAddr,
    headers: String,
    /// The token that each request proves to be made with, and how many were, where it is not among the headers.
    proves: Option<(Token, u64)>,
    connection: Option<BufReader<TcpStream>>,
}

impl Http {
    fn tell(&mut self, routes: &[(&str, &str)], story: &[u8]) -> u32 {
        let mut carried_out = 0;
        for (kind, body) in steps(story).take(STEPS_MAX) {
            let (method, path) = routes[usize::from(kind) % routes.len()];
            let id: String = body.iter().take(12).map(|byte| format!("%{byte:02X}")).collect();
            let path = path.replace("{id}", &id);
            let (status, answer) = self.ask(method, &path, body);
            // WebDriver's own errors have status 500, too.
            let ours = status >= 500 && !(path.starts_with("/session") && answer.contains("\"value\""));
            assert!(!ours, "{method} {path}: {status} {answer}");
            carried_out += u32::from((200..300).contains(&status) && !answer.contains("\"error\""));
        }
        carried_out
    }

    fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let proof = self.proves.as_mut().map(|(token, asked)| {
            *asked += 1;
            let nonce = format!("{asked:022}");
            let proof = bridge::authorization(token, path.trim_start_matches('/'), &nonce, body);
            format!("Authorization: {proof}\r\n")
        });
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{}{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.headers,
            proof.unwrap_or_default(),
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        // A connection that was kept may have been closed since, before it took the request; a new one must answer.
        if let Some(mut kept) = self.connection.take()
            && let Some(answer) = exchange(&mut kept, &request)
        {
            self.connection = Some(kept);
            return self.keep(answer);
        }
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is no zero");
        stream.set_nodelay(true).expect("it is a TCP socket");
        let mut fresh = BufReader::new(stream);
        let answer = exchange(&mut fresh, &request).expect("a request gets an answer");
        self.connection = Some(fresh);
        self.keep(answer)
    }

    fn keep(&mut self, answer: Answer) -> (u16, String) {
        if answer.closes {
            self.connection = None;
        }
        (answer.status, answer.body)
    }
}

struct Answer {
    status: u16,
    closes: bool,
    body: String,
}

fn exchange(connection: &mut BufReader<TcpStream>, request: &[u8]) -> Option<Answer> {
    connection.get_mut().write_all(request).ok()?;
    let mut line = String::new();
    connection.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let status = line.get(9..12)?.parse().ok()?;
    let (mut length, mut closes) = (0, false);
    loop {
        line.clear();
        connection.read_line(&mut line).ok()?;
        let header = line.trim_end().to_ascii_lowercase();
        match header.split_once(": ") {
            None => break,
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("connection", value)) => closes = value == "close",
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    Some(Answer { status, closes, body: String::from_utf8_lossy(&body).into_owned() })
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
