//! The control port over real HTTP, leading real devices.

mod devices;
mod virtual_authenticators;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use doppelkey_core::{Configuration, MemoryStore, Slot};
use serde_json::{Value, json};

use super::{BrowserDriver, ControlledUser, Fleet, Habits, Server, Setup};
use crate::device::{Connection, SharedStore};

/// A fleet of one device, and its control port.
fn port() -> (Fleet, Server) {
    let fleet = Fleet::new(std::sync::Arc::new(|| Duration::from_secs(1)), None);
    fleet.add(setup()).unwrap();
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), fleet.clone()).unwrap();
    (fleet, server)
}

fn setup() -> Setup {
    Setup {
        configuration: Configuration::default(),
        store: SharedStore::new(MemoryStore::new()),
        user: ControlledUser::new(Habits::default(), None),
        persona: "doppelkey".into(),
        on_assertion: None,
    }
}

/// One request, as bytes on the wire; status and body.
fn send(server: &Server, request: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn call(server: &Server, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let headers = format!(
        "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
        server.address(),
        server.token().as_str()
    );
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let (status, body) = send(server, &format!("{method} {path}"), &headers, &body);
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[test]
fn without_the_token_nothing_is_told() {
    let (_fleet, server) = port();
    let host = format!("Host: {}\r\n", server.address());
    let token = server.token().as_str();
    let status = |path: &str, headers: &str| send(&server, &format!("GET {path}"), headers, "").0;
    assert_eq!(status("/v1/devices", &host), 401);
    assert_eq!(status("/t/wrong/v1/devices", &host), 401);
    assert_eq!(status("/t/", &host), 401);
    assert_eq!(status("/v1/devices", &format!("{host}Authorization: Bearer {token}x\r\n")), 401);
    assert_eq!(status("/v1/devices", &format!("{host}Authorization: Bearer {token}\r\n")), 200);
    assert_eq!(status(&format!("/t/{token}/v1/devices"), &host), 200);
    assert_eq!(status(&format!("/t/{token}/"), &host), 200);
    assert_eq!(status(&format!("/t/{token}"), &host), 200);
}

#[test]
fn a_web_page_is_refused_though_it_had_the_token() {
    let (_fleet, server) = port();
    let path = format!("GET /t/{}/v1/devices", server.token().as_str());
    let host = format!("Host: {}\r\n", server.address());
    assert_eq!(send(&server, &path, "Host: evil.example\r\n", "").0, 403);
    let origin = format!("{host}Origin: http://{}\r\n", server.address());
    assert_eq!(send(&server, &path, &origin, "").0, 403);
    let (status, body) = send(&server, &path, &format!("{host}Origin: null\r\n"), "");
    assert_eq!(status, 403);
    let told: Value = serde_json::from_str(&body).unwrap();
    assert!(told["error"].is_string() && told["hint"].is_string(), "{body}");
}

#[test]
fn the_button_controller_holds_a_touch_from_on_to_off() {
    let (fleet, server) = port();
    let button = |path: &str| call(&server, "GET", path, None).0;
    assert_eq!(button("/"), 200);
    assert_eq!(button("/usb1/touch/on"), 200);
    let member = fleet.members().remove(0);
    let mut platform = Platform::connect(&member);
    assert_eq!(platform.cbor(&[0x0B]), [0x00], "authenticatorSelection is touched at once");
    assert_eq!(button("/usb1/touch/off"), 200);
    platform.start_cbor(&[0x0B]);
    assert_eq!(member.user().prompt().map(|prompt| prompt.action), Some(doppelkey_core::Action::Select));
    assert_eq!(button("/usb1/touch/on"), 200);
    assert_eq!(platform.response(), [0x00]);
    assert_eq!(button("/usb1/touch/off"), 200);
    for wrong in ["/usb2/touch/on", "/usb1/touch/maybe", "/usb1/heat/on", "/usb/touch/on", "/x/touch/on"] {
        assert_eq!(button(wrong), 404, "{wrong}");
    }
}

#[test]
fn power_off_and_on_is_a_fresh_power_up() {
    let (fleet, server) = port();
    let member = fleet.members().remove(0);
    let mut platform = Platform::connect(&member);
    assert_eq!(call(&server, "GET", "/usb1/power/off", None).0, 200);
    assert!(!member.is_powered());
    assert_eq!(call(&server, "GET", "/v1/devices/1", None).1["powered"], json!(false));
    assert_eq!(call(&server, "GET", "/usb1/power/on", None).0, 200);
    assert!(member.is_powered());
    assert!(platform.connection.send(&[0; 64]).is_err(), "the connection of before is gone");
    // A new one is answered.
    Platform::connect(&member);
}

#[test]
fn the_user_is_led_through_v1() {
    let (fleet, server) = port();
    let member = fleet.members().remove(0);
    let mut platform = Platform::connect(&member);
    let deed =
        |deed: &str, body: Value| call(&server, "POST", &format!("/v1/devices/1/user/{deed}"), Some(body));
    assert_eq!(deed("deny", json!({})), (200, json!({ "kept": 1 })));
    assert_eq!(deed("press", json!({})), (200, json!({ "kept": 2 })));
    assert_eq!(platform.cbor(&[0x0B]), [0x27], "CTAP2_ERR_OPERATION_DENIED");
    assert_eq!(platform.cbor(&[0x0B]), [0x00]);
    platform.start_cbor(&[0x0B]);
    let shown = call(&server, "GET", "/v1/devices/1/user", None).1;
    assert_eq!(shown["prompt"]["action"], json!("select"));
    assert_eq!(deed("press", json!({})), (200, json!({ "answered": 3 })));
    assert_eq!(platform.response(), [0x00]);
    let auto = json!({ "manner": "auto" });
    assert_eq!(call(&server, "PATCH", "/v1/devices/1/user", Some(auto)).1["user"]["manner"], json!("auto"));
    assert_eq!(platform.cbor(&[0x0B]), [0x00]);
    assert_eq!(deed("dance", json!({})).0, 404);
    assert_eq!(deed("pick", json!({ "account": "first" })).0, 400);
    assert_eq!(call(&server, "PATCH", "/v1/devices/1/user", Some(json!({ "mood": 1 }))).0, 400);
}

#[test]
fn a_pin_that_is_refused_leaves_the_old_one() {
    let (fleet, server) = port();
    let member = fleet.members().remove(0);
    let put = |pin: &str| call(&server, "PUT", "/v1/devices/1/pin", Some(json!({ "pin": pin })));
    let kept = || {
        let mut bytes = [0; 256];
        let length = member.store().lock().read(Slot::Pin, &mut bytes).unwrap();
        length.map(|length| bytes[..length].to_vec())
    };
    assert_eq!(put("12").0, 400);
    assert_eq!(call(&server, "GET", "/v1/devices/1/pin", None).1["set"], json!(false));
    assert_eq!(put("first PIN").0, 200);
    let first = kept();
    let (status, told) = put("12");
    assert!(status == 400 && told["error"].is_string() && told["hint"].is_string(), "{told}");
    assert_eq!(kept(), first);
    assert_eq!(call(&server, "GET", "/v1/devices/1/pin", None).1["set"], json!(true));
    assert_eq!(put("second PIN").0, 200);
    assert_ne!(kept(), first);
}

/// A browser's driver that sends what it is asked, bytes and all, and answers null.
fn overheard_driver() -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut heard = Vec::new();
            let (mut head, mut length) = (None, 0);
            while head.is_none_or(|head| heard.len() < head + length) {
                let mut bytes = [0; 65536];
                match stream.read(&mut bytes) {
                    Ok(read) if read > 0 => heard.extend_from_slice(&bytes[..read]),
                    _ => return,
                }
                if head.is_none()
                    && let Some(end) = heard.windows(4).position(|end| end == b"\r\n\r\n")
                {
                    let text = String::from_utf8_lossy(&heard[..end]).to_lowercase();
                    let said = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                    length = said.map_or(0, |said| said.parse().unwrap());
                    head = Some(end + 4);
                }
            }
            let line = String::from_utf8_lossy(&heard).lines().next().unwrap().to_owned();
            let answer = r#"{"value":null}"#;
            let length = answer.len();
            let status = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            write!(stream, "{status}\r\nContent-Length: {length}\r\n\r\n{answer}").unwrap();
            let body = heard.split_off(head.expect("the head was read"));
            if tell.send((line, body)).is_err() {
                return;
            }
        }
    });
    (url, told)
}

#[test]
fn escaped_paths_and_large_bodies_reach_the_driver_unchanged() {
    let (url, told) = overheard_driver();
    let fleet = Fleet::new(std::sync::Arc::new(|| Duration::from_secs(1)), None);
    let driver = BrowserDriver { url, extension: PathBuf::from("/extension") };
    let server = Server::before_browser("127.0.0.1:0".parse().unwrap(), fleet, Some(driver)).unwrap();
    let cookie = "/session/5%2f1/cookie/a%20b%3Fc%2F?d=%20e";
    for path in [cookie.to_owned(), format!("/t/{}{cookie}", server.token().as_str())] {
        assert_eq!(call(&server, "GET", &path, None), (200, json!({ "value": null })));
        assert_eq!(told.recv().unwrap().0, format!("GET {cookie} HTTP/1.1"));
    }
    assert_eq!(call(&server, "DELETE", "/session/5%2f1", None).0, 200);
    assert_eq!(told.recv().unwrap().0, "DELETE /session/5%2f1 HTTP/1.1");
    let file = json!({ "file": "A".repeat(3 << 20) });
    assert_eq!(call(&server, "POST", "/session/5/se/file", Some(file.clone())).0, 200);
    let (line, body) = told.recv().unwrap();
    assert_eq!(line, "POST /session/5/se/file HTTP/1.1");
    assert!(body == file.to_string().as_bytes(), "{} bytes", body.len());
}

#[test]
fn events_tell_requests_decisions_and_answers() {
    let (fleet, server) = port();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let (address, token) = (server.address(), server.token().as_str());
    write!(stream, "GET /t/{token}/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut heard = String::new();
    let mut hear = |until: &str| {
        while !heard.contains(until) {
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the stream ended: {heard}");
            heard.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    };
    hear("text/event-stream");
    let member = fleet.members().remove(0);
    member.user().act(super::Deed::Press);
    let mut platform = Platform::connect(&member);
    assert_eq!(platform.cbor(&[0x0B]), [0x00]);
    hear(r#""name":"authenticatorSelection""#);
    hear(r#""decision":"approved""#);
    hear(r#""event":"responded","status":0"#);
}

#[test]
fn a_dropped_server_no_longer_listens() {
    let (_fleet, server) = port();
    let address = server.address();
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

/// A platform on a device: INIT, then CTAPHID_CBOR in packets.
struct Platform {
    connection: crate::device::LocalConnection,
    channel: [u8; 4],
}

impl Platform {
    fn connect(member: &super::Member) -> Self {
        let mut connection = member.device().connect();
        let mut init = [0; 64];
        init[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8]);
        connection.send(&init).unwrap();
        let answer = connection.receive(None).unwrap().unwrap();
        Platform { connection, channel: answer[15..19].try_into().unwrap() }
    }

    fn send_only(&mut self, request: &[u8]) {
        let mut packet = [0; 64];
        packet[..4].copy_from_slice(&self.channel);
        (packet[4], packet[6]) = (0x90, request.len() as u8);
        packet[7..][..request.len()].copy_from_slice(request);
        self.connection.send(&packet).unwrap();
    }

    /// Sends a request that the user is asked about.
    fn start_cbor(&mut self, request: &[u8]) {
        self.send_only(request);
    }

    fn packet(&mut self) -> [u8; 64] {
        loop {
            let packet = self.connection.receive(None).unwrap().unwrap();
            // Keepalives come as they like.
            if packet[4] != 0xBB {
                return packet;
            }
        }
    }

    fn response(&mut self) -> Vec<u8> {
        let packet = self.packet();
        assert_eq!(packet[4], 0x90, "{packet:?}");
        packet[7..][..usize::from(packet[6])].to_vec()
    }

    fn cbor(&mut self, request: &[u8]) -> Vec<u8> {
        self.send_only(request);
        self.response()
    }
}
