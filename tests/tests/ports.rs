//! Every port of this machine against what a web page, another program or a name that was made to point here can send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey::bridge::CHROMIUM_ORIGIN;
use doppelkey::control::Token;
use doppelkey_core::testing::SeededRng;
use doppelkey_sync::CircleId;
use doppelkey_sync::RecoveryKey;
use doppelkey_sync::escrow::{Deposit, EscrowPin, Guess};
use doppelkey_sync::relay::{RelayClient, RelayUrl};
use end_to_end::extension;
use end_to_end::randomness::{SAMPLES, assert_every_bit_is_free};
use end_to_end::{Server, exchange};
use serde_json::json;

/// A port that speaks HTTP.
struct Port {
    what: &'static str,
    address: String,
    /// What it is called at home: the `Host` of whoever means it.
    host: String,
    /// What opens it, for whoever has it.
    token: String,
    /// The `Origin` that may use it, if pages or extensions may.
    origin: Option<String>,
    /// What the `Authorization` of a request says: of this token, this path and this body.
    authorization: fn(&str, &str, &str) -> String,
    requests: Vec<Request>,
}

fn bearer(token: &str, _path: &str, _body: &str) -> String {
    format!("Bearer {token}")
}

/// Something that a port does for whoever may have it.
struct Request {
    method: &'static str,
    path: &'static str,
    body: (&'static str, String),
    /// A word of what is worth reading, if it is told something.
    secret: Option<&'static str>,
    /// What it looks at.
    guards: &'static [Guard],
}

#[derive(Clone, Copy, PartialEq)]
enum Guard {
    /// Whether the token is shown.
    Token,
    /// Where the page that asks comes from.
    Origin,
    /// What name it was called by.
    Host,
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Everything that listens: the servers have to be kept.
fn ports(folder: &Path) -> (Vec<Server>, Vec<Port>) {
    let extensions = folder.display().to_string();
    let run = Server::start(&[
        "run",
        "--ephemeral",
        "--user",
        "auto",
        "--usbip",
        "127.0.0.1:0",
        "--packets",
        "127.0.0.1:0",
        "--bridge",
        "127.0.0.1:0",
        "--extensions",
        &extensions,
    ]);
    let party = Server::start(&["relying-party", "--db", "memory", "--listen", "127.0.0.1:0", "--dev"]);
    let relay = Server::start(&["relay", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let all = vec![control(&run), bridge(&run), relying_party(&party), relay_port(&relay)];
    (vec![run, party, relay], all)
}

fn control(run: &Server) -> Port {
    use Guard::{Host, Origin, Token};
    let address = address(run.text("control"));
    Port {
        what: "control",
        host: address.clone(),
        address,
        token: run.text("token").to_owned(),
        origin: None,
        authorization: bearer,
        requests: vec![
            Request {
                method: "GET",
                path: "/v1/devices/1/credentials?with_keys=true",
                body: (JSON, String::new()),
                secret: Some("\"credentials\""),
                guards: &[Token, Origin, Host],
            },
            Request {
                method: "PATCH",
                path: "/v1/devices/1/user",
                body: (JSON, json!({"manner": "auto"}).to_string()),
                secret: None,
                guards: &[Token, Origin, Host],
            },
            Request {
                method: "POST",
                path: "/v1/devices/1/reset",
                body: (JSON, String::new()),
                secret: None,
                guards: &[Token, Origin, Host],
            },
        ],
    }
}

fn bridge(run: &Server) -> Port {
    use Guard::{Host, Origin, Token};
    let address = address(run.text("bridge"));
    let token = extension::Extension::of(run).token().to_owned();
    let origin = "https://example.com";
    let options = json!({
        "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required"},
    });
    let asks = |path, public_key| Request {
        method: "POST",
        path,
        body: (JSON, json!({"id": "1", "origin": origin, "publicKey": public_key}).to_string()),
        secret: Some("response"),
        guards: &[Token, Origin, Host],
    };
    Port {
        what: "bridge",
        host: address.clone(),
        address,
        token,
        origin: Some(CHROMIUM_ORIGIN.into()),
        authorization: extension::authorization,
        requests: vec![
            asks("/create", options),
            asks("/accounts", json!({"rpId": "example.com", "challenge": "AAAA"})),
        ],
    }
}

fn relying_party(party: &Server) -> Port {
    use Guard::{Host, Origin, Token};
    let url = party.text("url");
    Port {
        what: "relying party",
        address: address(url),
        host: url.trim_start_matches("http://").to_owned(),
        token: party.text("admin_token").to_owned(),
        origin: Some(url.to_owned()),
        authorization: bearer,
        requests: vec![
            Request {
                method: "GET",
                path: "/outbox",
                body: (FORM, String::new()),
                secret: Some("Outbox"),
                guards: &[Host],
            },
            Request {
                method: "POST",
                path: "/signup",
                body: (FORM, "email=mona%40example.com".into()),
                secret: None,
                guards: &[Origin, Host],
            },
            Request {
                method: "POST",
                path: "/login/passkey/options",
                body: (JSON, "{}".into()),
                secret: Some("challenge"),
                guards: &[Origin, Host],
            },
            Request {
                method: "GET",
                path: "/api/v2/logs",
                body: (JSON, String::new()),
                secret: Some("\"log"),
                guards: &[Token, Host],
            },
        ],
    }
}

fn relay_port(relay: &Server) -> Port {
    use Guard::{Origin, Token};
    let address = address(relay.text("url"));
    // It has any name: it is behind a proxy.
    let asks = |method, path, body: String, secret| Request {
        method,
        path,
        body: ("application/octet-stream", body),
        secret,
        guards: &[Token, Origin],
    };
    Port {
        what: "relay",
        host: address.clone(),
        address,
        token: "the token of whoever opened it".replace(' ', "-"),
        origin: None,
        authorization: bearer,
        requests: vec![
            asks("POST", "/c/07070707070707070707070707070707", String::new(), None),
            asks("GET", "/c/07070707070707070707070707070707", String::new(), Some("\0")),
            asks("PUT", "/c/07070707070707070707070707070707/tokens/01", "5a".repeat(32), None),
            Request {
                method: "GET",
                path: "/metrics",
                body: (JSON, String::new()),
                secret: Some("doppelkey_relay"),
                guards: &[Origin],
            },
        ],
    }
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").replace("localhost", "127.0.0.1")
}

/// What somebody sends with a request.
#[derive(Clone)]
struct Sender {
    host: String,
    origin: Option<String>,
    token: Option<String>,
    /// In the place of what the body is.
    as_plain_text: bool,
}

impl Sender {
    /// Whoever may have what the port does.
    fn at_home(port: &Port) -> Self {
        let (host, origin) = (port.host.clone(), port.origin.clone());
        Sender { host, origin, token: Some(port.token.clone()), as_plain_text: false }
    }

    fn of(mut self, origin: &str) -> Self {
        self.origin = Some(origin.to_owned());
        self
    }

    /// By this name.
    fn calling(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    fn with(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }

    fn headers(&self, port: &Port, path: &str, (kind, body): (&str, &str)) -> Vec<(&'static str, String)> {
        let kind = if self.as_plain_text { "text/plain" } else { kind };
        let mut headers = vec![("Host", self.host.clone()), ("Content-Type", kind.to_owned())];
        headers.extend(self.origin.clone().map(|origin| ("Origin", origin)));
        let shown = self.token.as_ref().map(|token| (port.authorization)(token, path, body));
        headers.extend(shown.map(|shown| ("Authorization", shown)));
        headers
    }

    fn ask(&self, port: &Port, request: &Request) -> (u16, String) {
        let (kind, body) = &request.body;
        ask(port, request.method, request.path, &self.headers(port, request.path, (kind, body)), body)
    }
}

fn send(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is no zero");
    // Whoever does not like what comes may close before it has all come.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(port: &Port, method: &str, path: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
    let length = body.len();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let answer = send(&port.address, format!("{request}\r\n{body}").as_bytes());
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{}: no HTTP: {answer:?}", port.what)), answer)
}

/// Each refusal is of something that was served a moment before, to whoever may have it.
#[test]
fn no_port_does_anything_for_a_page_elsewhere_a_false_name_or_whoever_has_no_token() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (_servers, ports) = ports(folder.path());
    let mut refusals = 0;
    for port in &ports {
        for request in &port.requests {
            let (what, path, at_home) = (port.what, request.path, Sender::at_home(port));
            let (status, answer) = at_home.ask(port, request);
            assert!((200..400).contains(&status), "{what}, {path}, at home: {answer}");
            let told = request.secret.is_none_or(|secret| answer.contains(secret));
            assert!(told, "{what}, {path}, at home, tells too little: {answer:?}");
            for (attack, guard, sender) in attacks(port) {
                let (status, answer) = sender.ask(port, request);
                let shared = answer.to_ascii_lowercase().contains("access-control-allow");
                assert!(!shared, "{what}, {path}, {attack}: a page may read this: {answer}");
                if request.guards.contains(&guard) {
                    assert!(matches!(status, 401 | 403), "{what}, {path}, {attack}: {answer}");
                    let tells = request.secret.is_some_and(|secret| answer.contains(secret));
                    assert!(!tells, "{what}, {path}, {attack}, tells: {answer}");
                    refusals += 1;
                }
            }
            // A script asks beforehand whether it may.
            let asking = at_home.of("https://evil.example").with(None);
            let mut headers = asking.headers(port, path, (JSON, ""));
            headers.push(("Access-Control-Request-Method", request.method.to_owned()));
            headers.push(("Access-Control-Request-Headers", "authorization".to_owned()));
            let (_, answer) = ask(port, "OPTIONS", path, &headers, "");
            let shared = answer.to_ascii_lowercase().contains("access-control-allow");
            assert!(!shared, "{what}, {path}: a page elsewhere is told that it may: {answer}");
        }
    }
    assert!(refusals > 70, "only {refusals} requests were refused");
}

/// What is sent by somebody who may not, and what tells them apart.
fn attacks(port: &Port) -> Vec<(String, Guard, Sender)> {
    let at_home = Sender::at_home(port);
    let mut all = Vec::new();
    // A page elsewhere posts what a form can post, as plain text; a script has even got hold of the token.
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let script = at_home.clone().of(origin);
        all.push((format!("a script of {origin} that has the token"), Guard::Origin, script.clone()));
        let form = Sender { as_plain_text: true, ..script.with(None) };
        all.push((format!("a form of {origin}"), Guard::Origin, form));
    }
    // A name that was made to point here: to the browser, the page is at home.
    let false_name = format!("evil.example:{}", port.address.rsplit(':').next().unwrap_or_default());
    let page = at_home.clone().calling(&false_name).of(&format!("http://{false_name}"));
    all.push(("a false name, posting".to_owned(), Guard::Host, page.clone()));
    // Its own reads have no origin, and its page has no token.
    let reading = Sender { origin: None, ..page.with(None) };
    all.push(("a false name, reading".to_owned(), Guard::Host, reading));
    // Another program of this machine, without the token or with a wrong one.
    all.push(("no token".to_owned(), Guard::Token, at_home.clone().with(None)));
    all.push(("a wrong token".to_owned(), Guard::Token, at_home.with(Some(format!("{}x", port.token)))));
    all
}

/// What is said on standard error is one line a message, whatever a page asks for.
#[test]
fn what_a_page_asks_for_steers_no_terminal() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (errors, extensions) = (folder.path().join("errors"), folder.path().display().to_string());
    let arguments = ["--verbose", "run", "--ephemeral", "--user", "auto", "--usbip", "off"];
    let bridge_at = ["--bridge", "127.0.0.1:0", "--extensions", &extensions];
    let run = Server::start_with_errors(&[&arguments[..], &bridge_at].concat(), &errors);
    let port = bridge(&run);
    let name = "evil\u{1b}]0;yours\u{7}\u{202e}\nerror: the vault is lost\r\u{9b}2J";
    let origins = ["https://example.com".to_owned(), format!("https://example.com/{name}")];
    let sender = Sender::at_home(&port);
    let mut paths = 0;
    for (path, origin) in ["/get", "/create", "/accounts", "/signal"]
        .into_iter()
        .flat_map(|path| origins.iter().map(move |o| (path, o)))
    {
        let body = json!({
            "id": name, "origin": origin, "kind": name, "details": {"rpId": name, name: name},
            "publicKey": {
                "rpId": name, "challenge": "AAAA", "rp": {"id": name, "name": name},
                "user": {"id": "AQ", "name": name, "displayName": name},
                "pubKeyCredParams": [{"type": name, "alg": -7}],
            },
        });
        let body = body.to_string();
        let headers = sender.headers(&port, path, (JSON, &body));
        let (status, answer) = ask(&port, "POST", path, &headers, &body);
        assert!(status == 200 && answer.contains("error"), "{path}: {answer}");
        paths += 1;
    }
    assert_eq!(run.stop(), Some(0));
    let said = std::fs::read_to_string(&errors).expect("it is text");
    let steering = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{9b}');
    assert!(!said.contains(steering), "{said:?}");
    let lines: Vec<_> = said.lines().filter(|line| !line.starts_with("bridge: ")).collect();
    assert!(!lines.iter().any(|line| line.starts_with("error")), "a page wrote a line of ours: {lines:?}");
    let told = said.lines().filter(|line| line.starts_with("bridge: ") && line.contains("evil�]0;yours��"));
    assert!(told.count() >= paths, "what was asked for is told, in one line: {said}");
}

/// A guess at a PIN takes no token, and the last one destroys what it was for.
#[test]
fn a_page_guesses_at_no_pin() {
    let relay =
        Server::start(&["relay", "--db", "memory", "--listen", "127.0.0.1:0", "--escrow-wait-s", "0"]);
    let circle = CircleId([7; 16]);
    let member = RelayClient::new(RelayUrl::new(relay.text("url"), "the-token-of-a-member"), circle);
    member.open().expect("anybody may open one");
    let mut rng = SeededRng::new(5);
    let recovery_key = RecoveryKey::generate(&mut rng);
    let pin = EscrowPin::new(circle, b"314159");
    let deposits = Deposit::lock(&recovery_key, circle, &pin, (1, 1), 5, &mut rng).expect("it is sound");
    member.deposit(&deposits[0]).expect("it is kept");
    let guess = Guess::new(circle, EscrowPin::new(circle, b"271828"), &mut rng);
    let port = relay_port(&relay);
    let path = format!("/c/{circle}/escrow");
    let body = guess.question();
    let post = |path: &str, body: &[u8], origin: Option<&str>| {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
             {origin}Content-Length: {}\r\n\r\n",
            port.host,
            body.len()
        );
        send(&port.address, &[head.as_bytes(), body].concat())
    };
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let answer = post(&path, &body, Some(origin));
        assert!(answer.starts_with("HTTP/1.1 403"), "a guess of {origin}: {answer}");
        let answer = post(&format!("{path}/proof"), &[7; 32], Some(origin));
        assert!(answer.starts_with("HTTP/1.1 403"), "a proof of {origin}: {answer}");
    }
    assert_eq!(member.escrow().expect("it is there").left, 5, "nothing was counted");
    let answer = post(&path, &body, None);
    assert!(answer.starts_with("HTTP/1.1 200"), "who is no page may guess: {answer}");
    assert_eq!(member.escrow().expect("it is there").left, 4, "and it counts");
}

#[test]
fn no_page_writes_to_the_ports_that_speak_no_http() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (servers, _) = ports(folder.path());
    // Behind a head of whole packets: CTAPHID_INIT, and authenticatorReset on the channel that comes next.
    let head = "POST /".to_owned() + &"x".repeat(128 - 6 - 33) + " HTTP/1.1\r\nContent-Length: 128\r\n\r\n";
    let mut body = vec![0; 128];
    body[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8]);
    body[64..72].copy_from_slice(&[0, 0, 0, 1, 0x90, 0, 1, 0x07]);
    let request = [&head.as_bytes()[..128], &body].concat();
    for door in ["packets", "usbip"] {
        let answer = send(servers[0].text(door), &request);
        assert!(answer.is_empty(), "{door} answers a browser: {answer:?}");
    }
}

#[test]
fn a_phones_tunnel_server_opens_nothing_for_a_page() {
    let air = tempfile::tempdir().expect("there is a place for temporary files");
    let air = air.path().display().to_string();
    let phone =
        Server::start(&["phone", "--ephemeral", "--user", "auto", "--air", &air, "--tunnel", "127.0.0.1:0"]);
    let server = phone.text("tunnel");
    let id = "00112233445566778899aabbccddeeff";
    let open = |path: &str, headers: &str| {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        );
        exchange(server, head.as_bytes())
    };
    let protocol = "Sec-WebSocket-Protocol: fido.cable\r\n";
    let new = format!("/cable/new/{id}");
    assert!(open(&new, protocol).starts_with("HTTP/1.1 101"), "who is no page opens one");
    for path in [new, format!("/cable/connect/000000/{id}"), "/cable/contact/AAAAAAAAAAA".to_owned()] {
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let answer =
                open(&path, &format!("{protocol}X-caBLE-Client-Payload: a0\r\nOrigin: {origin}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 403"), "{path} for {origin}: {answer}");
        }
        // What a form or an image of a page sends is no WebSocket.
        for method in ["GET", "POST"] {
            let plain = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nContent-Length: 0\r\n\r\n");
            let answer = exchange(server, plain.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 4"), "{method} {path}: {answer}");
        }
    }
}

#[test]
fn a_token_cannot_be_guessed_and_is_another_each_time() {
    let tokens = || {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let (servers, ports) = ports(folder.path());
        drop(servers);
        ports.into_iter().filter(|port| port.what != "relay").map(|port| port.token).collect::<Vec<_>>()
    };
    let all = [tokens(), tokens()].concat();
    for (at, token) in all.iter().enumerate() {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).expect("a token is base64url");
        assert_eq!(bytes.len() * 8, 256, "{token}");
        assert!(!all[..at].contains(token), "{token} came twice");
    }
    let random = || Token::random().expect("the system has randomness");
    let many: Vec<_> = (0..SAMPLES).map(|_| random().as_str().to_owned()).collect();
    assert_every_bit_is_free("control and bridge", 256, &bytes(&many));
}

#[test]
fn challenges_and_sessions_cannot_be_guessed_nor_one_from_the_others() {
    let party = Server::start(&["relying-party", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = party.text("url").replacen("localhost", "127.0.0.1", 1);
    let host = party.text("url").trim_start_matches("http://").to_owned();
    let (mut challenges, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let request = agent.post(format!("{url}/login/passkey/options")).header("host", &host);
        let mut response = request.content_type("application/json").send("{}").expect("it answers");
        let cookie = response.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(['=', ';']).nth(1)).map(String::from);
        let cookie = cookie.expect("a visitor gets a cookie");
        // A mark in front says that nothing is stored for it yet.
        sessions.push(cookie.trim_start_matches('~').to_owned());
        let text = response.body_mut().read_to_string().expect("it is text");
        let options: serde_json::Value = serde_json::from_str(&text).expect("options are JSON");
        let challenge = options["publicKey"]["challenge"].as_str().unwrap_or_else(|| panic!("{text}"));
        // 48 bytes: when it ends (8), random (16), what was asked (1), a seal (23).
        let challenge = BASE64_URL_SAFE_NO_PAD.decode(challenge).expect("it is base64url");
        assert_eq!(challenge.len(), 48, "{text}");
        challenges.push(BASE64_URL_SAFE_NO_PAD.encode([&challenge[8..24], &challenge[25..]].concat()));
    }
    assert_every_bit_is_free("challenges", 39 * 8, &bytes(&challenges));
    assert_every_bit_is_free("sessions", 256, &bytes(&sessions));
}

fn bytes(tokens: &[String]) -> Vec<Vec<u8>> {
    tokens.iter().map(|token| BASE64_URL_SAFE_NO_PAD.decode(token).expect("it is base64url")).collect()
}
