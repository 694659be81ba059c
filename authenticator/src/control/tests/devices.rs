//! Devices: their power.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{call, port};
use crate::device::{Connection, Device};
use crate::packets;

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
