//! Every port of this machine against what a web page, another program or a name that was made to point here can send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey::control::Token;
use end_to_end::Server;
use end_to_end::soak::{Home, create, sign};

/// A port that speaks HTTP.
struct Port {
    what: &'static str,
    address: String,
    /// What opens it, for whoever has it.
    token: String,
    /// Something worth reading, and something worth changing.
    reads: &'static str,
    changes: &'static str,
    /// A word of what is worth reading.
    secret: &'static str,
    /// Whether it answers to any name: it is behind a proxy, and its token is all there is.
    has_any_name: bool,
}

/// Everything that listens: the servers have to be kept.
fn ports(folder: &std::path::Path) -> (Vec<Server>, Vec<Port>) {
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
    let address = |url: &str| url.trim_start_matches("http://").replace("localhost", "127.0.0.1");
    let written = std::fs::read_dir(run.text("chromium")).expect("the extension was written");
    let written: String =
        written.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok()).collect();
    let bridge_token = written
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
        .find(|word| word.len() == 43)
        .expect("the extension has the bridge's token");
    let all = vec![
        Port {
            what: "control",
            address: address(run.text("control")),
            token: run.text("token").to_owned(),
            reads: "/v1/devices/1/credentials?with_keys=true",
            changes: "/v1/devices/1/reset",
            secret: "credentials",
            has_any_name: false,
        },
        Port {
            what: "bridge",
            address: address(run.text("bridge")),
            token: bridge_token.to_owned(),
            reads: "/accounts",
            changes: "/create",
            secret: "response",
            has_any_name: false,
        },
        Port {
            what: "relying party",
            address: address(party.text("url")),
            token: party.text("admin_token").to_owned(),
            reads: "/outbox",
            changes: "/signup",
            secret: "Outbox",
            has_any_name: false,
        },
        Port {
            what: "relay",
            address: address(relay.text("url")),
            token: "a token that nobody has".to_owned(),
            reads: "/c/07070707070707070707070707070707",
            changes: "/c/07070707070707070707070707070707/tokens/01",
            secret: "07070707",
            has_any_name: true,
        },
    ];
    (vec![run, party, relay], all)
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

fn ask(port: &Port, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let answer = send(&port.address, format!("{request}\r\n{{}}").as_bytes());
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{}: no HTTP: {answer:?}", port.what)), answer)
}

#[test]
fn no_port_does_anything_for_a_page_elsewhere_a_false_name_or_whoever_has_no_token() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (_servers, ports) = ports(folder.path());
    for port in &ports {
        let what = port.what;
        let (here, bearer) = (port.address.as_str(), format!("Bearer {}", port.token));
        let false_name = format!("evil.example:{}", here.rsplit(':').next().unwrap_or_default());
        let json = ("Content-Type", "application/json");
        let refused = |attack: &str, (status, answer): (u16, String)| {
            assert!((400..500).contains(&status), "{what}, {attack}: {answer}");
            assert!(!answer.contains(port.secret), "{what}, {attack}, tells: {answer}");
            let shared = answer.to_ascii_lowercase().contains("access-control-allow");
            assert!(!shared, "{what}, {attack}: a page may read this: {answer}");
        };
        // A page elsewhere posts what a form can post, as plain text.
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
            let plain = ("Content-Type", "text/plain");
            let headers = [("Host", here), ("Origin", origin), plain];
            refused(&format!("a form of {origin}"), ask(port, "POST", port.changes, &headers));
            let headers = [("Host", here), ("Origin", origin), json, ("Authorization", &bearer)];
            refused(&format!("a script of {origin}"), ask(port, "POST", port.changes, &headers));
        }
        // A script asks beforehand whether it may.
        let headers = [
            ("Host", here),
            ("Origin", "https://evil.example"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        let (_, answer) = ask(port, "OPTIONS", port.changes, &headers);
        let shared = answer.to_ascii_lowercase().contains("access-control-allow");
        assert!(!shared, "{what}: a page elsewhere is told that it may: {answer}");
        // A name that was made to point here: to the browser, the page is at home.
        if !port.has_any_name {
            let origin = format!("http://{false_name}");
            refused("a false name, reading", ask(port, "GET", port.reads, &[("Host", &false_name)]));
            let headers = [("Host", &*false_name), ("Origin", &origin), json, ("Authorization", &bearer)];
            refused("a false name, posting", ask(port, "POST", port.changes, &headers));
        }
        // Another program of this machine, without the token or with a wrong one.
        let guarded = if what == "relying party" { "/api/v2/logs" } else { port.reads };
        let method = if what == "bridge" { "POST" } else { "GET" };
        let wrong = format!("Bearer {}x", port.token);
        for headers in [&[("Host", here), json][..], &[("Host", here), json, ("Authorization", &wrong)]] {
            refused("no token", ask(port, method, guarded, headers));
        }
    }
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

/// What comes back within a moment of a connection that may stay open.
fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(250))).expect("it is no zero");
    let _ = stream.write_all(request);
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
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

/// Who meets its circle's devices on the local network listens there for everybody.
#[test]
fn a_stranger_on_the_local_network_is_told_nothing_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let home = Home::at(folder.path());
    home.init();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let lan = free.expect("a port is free").to_string();
    let arguments: Vec<_> = home.arguments().into_iter().chain(["--lan".into(), lan.clone()]).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let _run = Server::start(&arguments);
    let passkey = create(&mut home.client().expect("the door is open"), 0).expect("it agrees");
    let framed =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("it is short").to_be_bytes()[..], bytes].concat();
    let strangers: [Vec<u8>; 6] = [
        Vec::new(),
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        framed(b""),
        framed(&[0; 200]),
        framed(&[1; 300]).repeat(20),
        [&u32::MAX.to_be_bytes()[..], &[7; 64]].concat(),
    ];
    for stranger in &strangers {
        let answer = exchange(&lan, stranger);
        assert!(answer.is_empty(), "{stranger:02x?} is told {answer:?}");
    }
    // Many who say nothing, and stay.
    let _silent: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(&lan).ok()).collect();
    sign(&mut home.client().expect("the door is open"), &passkey).expect("it signs as before");
    assert_eq!(home.shared(), Ok(1), "its circle has the one passkey");
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
        assert!(bytes.len() * 8 >= 192, "{token} has {} bits at most", bytes.len() * 8);
        assert!(!all[..at].contains(token), "{token} came twice");
    }
    let random = || Token::random().expect("the system has randomness");
    let many: Vec<_> = (0..SAMPLES).map(|_| random().as_str().to_owned()).collect();
    assert_every_bit_is_free("control and bridge", &many);
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
    assert_every_bit_is_free("challenges", &challenges);
    assert_every_bit_is_free("sessions", &sessions);
}

/// So many that a bit which is not free shows.
const SAMPLES: usize = 256;

/// Every bit of these (base64url) is 1 about half of the time, and equals its neighbour about half of the time. A right
/// source fails this once in some million runs: a bit may be off by 5.6 standard deviations.
fn assert_every_bit_is_free(what: &str, tokens: &[String]) {
    let decoded: Vec<_> =
        tokens.iter().map(|token| BASE64_URL_SAFE_NO_PAD.decode(token).expect("it is base64url")).collect();
    let bits = decoded[0].len() * 8;
    assert!(bits >= 128 && decoded.iter().all(|token| token.len() * 8 == bits), "{what}: {bits} bits");
    let bit = |token: &[u8], at: usize| token[at / 8] >> (at % 8) & 1;
    let half = SAMPLES / 2;
    let near_half = half - 45..=half + 45;
    for at in 0..bits {
        let ones = decoded.iter().filter(|token| bit(token, at) == 1).count();
        assert!(near_half.contains(&ones), "{what}: bit {at} is 1 in {ones} of {SAMPLES}");
        let next = (at + 1) % bits;
        let equal = decoded.iter().filter(|token| bit(token, at) == bit(token, next)).count();
        assert!(near_half.contains(&equal), "{what}: bits {at} and {next} are equal in {equal} of {SAMPLES}");
        let as_before = decoded.windows(2).filter(|two| bit(&two[0], at) == bit(&two[1], at)).count();
        assert!(near_half.contains(&as_before), "{what}: bit {at} is as before in {as_before} of {SAMPLES}");
    }
}
