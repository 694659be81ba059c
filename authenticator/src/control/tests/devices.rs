//! Devices: their power, their number, their faults.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use doppelkey_core::Configuration;
use serde_json::{Value, json};

use super::{call, port};
use crate::client::ephemeral_device;
use crate::control::{Fleet, Server};
use crate::device::{Clock, Connection, Device};
use crate::packets;
use crate::usbip;
use crate::user_interface::Auto;

/// CTAPHID_INIT.
fn init() -> [u8; 64] {
    let mut packet = [0; 64];
    packet[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8]);
    packet
}

fn is_answered(connection: &mut impl Connection) -> bool {
    connection.send(&init()).is_ok() && matches!(connection.receive(Some(Duration::ZERO)), Ok(Some(_)))
}

fn answers(device: &Device) -> bool {
    is_answered(&mut device.connect())
}

#[test]
fn a_device_without_power_answers_nobody() {
    let (fleet, server) = port();
    let device = fleet.members().remove(0).device().clone();
    let mut before = device.connect();
    assert!(is_answered(&mut before));
    let power = |on: bool| call(&server, "PUT", "/v1/devices/1/power", Some(json!({ "on": on })));
    assert_eq!(power(false).1["powered"], json!(false));
    assert!(!is_answered(&mut before), "whoever had it sees it go");
    assert!(!answers(&device));
    assert_eq!(power(true).1["powered"], json!(true));
    assert!(answers(&device));
    assert!(!is_answered(&mut before), "what has gone does not come back");
    assert_eq!(call(&server, "DELETE", "/v1/devices/1", None).0, 200);
    assert!(!answers(&device));
}

#[test]
fn what_replugs_a_device_gives_no_power_to_one_that_has_none() {
    let (fleet, server) = port();
    let device = fleet.members().remove(0).device().clone();
    assert_eq!(call(&server, "GET", "/usb1/power/off", None).0, 200);
    let (status, told) = call(&server, "PUT", "/v1/devices/1/pin", Some(json!({ "pin": "1234" })));
    assert!(status == 409 && told["error"].is_string() && told["hint"].is_string(), "{status} {told}");
    for (method, path, body) in [
        ("DELETE", "pin", None),
        ("PUT", "persona", Some(json!({ "persona": "yubikey-5-nfc" }))),
        ("POST", "replug", None),
        ("POST", "reset", None),
    ] {
        assert_eq!(call(&server, method, &format!("/v1/devices/1/{path}"), body).0, 200, "{method} {path}");
        assert_eq!(call(&server, "GET", "/v1/devices/1", None).1["powered"], json!(false), "{method} {path}");
        assert!(!answers(&device), "{method} {path}");
    }
    assert_eq!(call(&server, "GET", "/usb1/power/on", None).0, 200);
    // It is what it was made meanwhile.
    assert!(answers(&device));
    assert_eq!(call(&server, "GET", "/v1/devices/1/persona", None).1["persona"], json!("yubikey-5-nfc"));
}

#[test]
fn a_connection_of_the_packets_door_ends_with_the_power() {
    let (fleet, server) = port();
    let device = fleet.members().remove(0).device().clone();
    let address = packets::Address::Tcp("127.0.0.1:0".parse().unwrap());
    let door = packets::Server::bind(&address, device).unwrap();
    let packets::Address::Tcp(address) = *door.address() else { panic!("it is TCP") };
    let connect = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&init());
        stream
    };
    let has_ended = |stream: &mut TcpStream| match stream.read(&mut [0; 64]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    let mut stream = connect();
    stream.read_exact(&mut [0; 64]).unwrap();
    assert_eq!(call(&server, "GET", "/usb1/power/off", None).0, 200);
    assert!(has_ended(&mut stream));
    assert!(has_ended(&mut connect()));
    assert_eq!(call(&server, "GET", "/usb1/power/on", None).0, 200);
    connect().read_exact(&mut [0; 64]).unwrap();
}

#[test]
fn a_device_that_finds_no_place_on_the_bus_is_refused_in_words() {
    let bus = usbip::Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let clock: Clock = std::sync::Arc::new(|| Duration::from_secs(1));
    let other = ephemeral_device(Configuration::default(), Box::new(Auto), clock.clone());
    for _ in 0..254 {
        bus.plug(other.clone()).unwrap();
    }
    let fleet = Fleet::new(clock, Some(bus));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), fleet.clone()).unwrap();
    let add = || call(&server, "POST", "/v1/devices", Some(json!({})));
    let refused = |(status, told): (u16, Value)| {
        assert!(status == 409 && told["error"].is_string() && told["hint"].is_string(), "{status} {told}");
    };
    assert_eq!(add(), (200, json!({ "number": 1, "busid": "1-255" })));
    refused(add());
    let options = json!({ "protocol": "ctap2", "transport": "usb" });
    let (_, told) = call(&server, "POST", "/session/s/webauthn/authenticator", Some(options));
    assert_eq!(told["value"]["error"], json!("unknown error"), "{told}");
    assert_eq!(fleet.members().len(), 1);
    // One that makes room, and wants it back.
    assert_eq!(call(&server, "GET", "/usb1/power/off", None).0, 200);
    assert_eq!(add(), (200, json!({ "number": 2, "busid": "1-255" })));
    refused(call(&server, "PUT", "/v1/devices/1/power", Some(json!({ "on": true }))));
    assert_eq!(call(&server, "GET", "/v1/devices/1", None).1["powered"], json!(false));
    assert_eq!(call(&server, "DELETE", "/v1/devices/2", None).0, 200);
    assert_eq!(call(&server, "GET", "/usb1/power/on", None).0, 200);
    let replugged = call(&server, "POST", "/v1/devices/1/replug", None).1;
    assert_eq!((&replugged["powered"], &replugged["busid"]), (&json!(true), &json!("1-255")));
}

#[test]
fn a_slow_touch_that_is_taken_back_leaves_the_users_own_delay() {
    let (_fleet, server) = port();
    let delay = || call(&server, "GET", "/v1/devices/1/user", None).1["user"]["delay_ms"].clone();
    assert_eq!(call(&server, "PATCH", "/v1/devices/1/user", Some(json!({ "delay_ms": 500 }))).0, 200);
    for path in ["/v1/devices/1/faults/touch-slow", "/v1/devices/1/faults"] {
        let set = call(&server, "PUT", "/v1/devices/1/faults/touch-slow", None).1;
        assert_eq!(set["set"], json!(["touch-slow"]));
        assert_eq!(call(&server, "DELETE", path, None).1["set"], json!([]));
        assert_eq!(delay(), json!(500), "{path}");
    }
    // Nor does one who takes their time count as a fault.
    assert_eq!(call(&server, "PATCH", "/v1/devices/1/user", Some(json!({ "delay_ms": 5000 }))).0, 200);
    assert_eq!(call(&server, "GET", "/v1/devices/1/faults", None).1["set"], json!([]));
    assert_eq!(call(&server, "DELETE", "/v1/devices/1/faults", None).0, 200);
    assert_eq!(delay(), json!(5000));
}
