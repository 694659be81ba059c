//! Conversations with the ports, and with an authenticator.

use super::super::http::{BRIDGE, CONTROL};
use super::super::{answers as answers_of, step};

/// Connections to the USB/IP port.
pub fn usbip() -> Vec<Vec<u8>> {
    let list = [0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0].to_vec();
    let mut busid = [0; 32];
    busid[..3].copy_from_slice(b"1-1");
    let import = [&[0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0][..], &busid].concat();
    let get_device = submit(1, true, 0, 18, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    let get_configuration = submit(2, true, 0, 255, [0x80, 6, 0, 2, 0, 0, 255, 0]);
    let configure = submit(3, false, 0, 0, [0, 9, 1, 0, 0, 0, 0, 0]);
    let get_report = submit(4, true, 0, 34, [0x81, 6, 0, 0x22, 0, 0, 34, 0]);
    let mut init = [0; 64];
    init[..7].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF, 0x86, 0, 8]);
    let send = [submit(5, false, 1, 64, [0; 8]), init.to_vec()].concat();
    let receive = submit(6, true, 1, 64, [0; 8]);
    let unlink = [2_u32, 7, 0x0001_0001, 0, 0, 6, 0, 0, 0, 0, 0, 0].map(u32::to_be_bytes).concat();
    let enumerate = [get_device, get_configuration, configure, get_report].concat();
    vec![
        list.clone(),
        [list, import.clone(), enumerate.clone()].concat(),
        [import.clone(), enumerate, send, receive.clone(), unlink.clone()].concat(),
        [import, receive, unlink].concat(),
    ]
}

/// USBIP_CMD_SUBMIT for the device at 1-1.
fn submit(sequence: u32, is_in: bool, endpoint: u32, length: u32, setup: [u8; 8]) -> Vec<u8> {
    let words = [1, sequence, 0x0001_0001, u32::from(is_in), endpoint, 0, length, 0, 0, 0];
    [&words.map(u32::to_be_bytes).concat()[..], &setup].concat()
}

fn requests(routes: &[(&str, &str)], told: &[(&str, &str, &str)]) -> Vec<u8> {
    let one = |(method, path, body): &(&str, &str, &str)| {
        let kind = routes.iter().position(|route| route == &(*method, *path)).expect("a route of the list");
        step(kind as u8, body.as_bytes())
    };
    told.iter().flat_map(one).collect()
}

/// Programs at the control port: every route once, and each kind of test that uses it.
pub fn control() -> Vec<Vec<u8>> {
    let one = "/v1/devices/1";
    let at = |rest: &str| format!("{one}{rest}");
    let webdriver = |rest: &str| format!("/session/1/webauthn/authenticator{rest}");
    vec![
        (0..CONTROL.len()).flat_map(|kind| step(kind as u8, b"{}")).collect(),
        requests(
            &CONTROL,
            &[
                ("POST", "/v1/devices", r#"{"persona": "tpm", "user": {"manner": "auto"}}"#),
                ("GET", "/v1/devices", ""),
                ("PUT", &at("/power"), r#"{"on": false}"#),
                ("PUT", &at("/power"), r#"{"on": true}"#),
                (
                    "PATCH",
                    &at("/user"),
                    r#"{"manner": "deny", "verified": false, "account": 1, "delay_ms": 0}"#,
                ),
                ("PUT", &at("/user"), r#"{"manner": "control"}"#),
                ("POST", &at("/user/pick"), r#"{"account": 2}"#),
                ("POST", &at("/user/fingerprint"), r#"{"sample_status": 0}"#),
                ("PUT", &at("/pin"), r#"{"pin": "1234"}"#),
                ("PUT", &at("/persona"), r#"{"persona": "apple"}"#),
                ("PUT", &at("/faults/status"), r#"{"command": 1, "status": 39}"#),
            ],
        ),
        requests(
            &CONTROL,
            &[
                (
                    "POST",
                    &webdriver(""),
                    r#"{"protocol": "ctap2", "transport": "usb", "hasResidentKey": true}"#,
                ),
                ("POST", &webdriver("/1/uv"), r#"{"isUserVerified": true}"#),
                ("POST", &webdriver("/1/presence"), r#"{"enabled": true}"#),
                (
                    "POST",
                    &webdriver("/1/credential"),
                    r#"{"credentialId": "AQ", "isResidentCredential": true, "rpId": "example.com", "privateKey": "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg8_zMDQDYAxlU-Q1hk1Dwf0ve1r2nHIHUOwJeqHVqVoShRANCAATxLuzYJoxjMGfMdZB2O1HzwMPaXGNNm9eIsLSqkLhWMNzkTYhVl5Gk4Qe-uqFRq3tKJqJ5iP3rrXW5fgQ6zhxh", "userHandle": "AQ", "signCount": 1}"#,
                ),
                ("GET", &webdriver("/1/credentials"), ""),
            ],
        ),
    ]
}

/// The extension at the bridge.
pub fn bridge() -> Vec<Vec<u8>> {
    let create = r#"{"origin": "https://example.com", "publicKey": {"rp": {"id": "example.com", "name": "Example"}, "user": {"id": "AQ", "name": "alice", "displayName": "Alice"}, "challenge": "AAAA", "pubKeyCredParams": [{"type": "public-key", "alg": -7}], "authenticatorSelection": {"residentKey": "required"}, "extensions": {"prf": {}, "credProps": true}}}"#;
    let get = r#"{"origin": "https://example.com", "mediation": "immediate", "publicKey": {"challenge": "AAAA", "rpId": "example.com", "allowCredentials": [{"type": "public-key", "id": "AQ"}], "userVerification": "required", "extensions": {"largeBlob": {"read": true}}}}"#;
    let found = r#"{"origin": "https://login.example.com", "crossOrigin": true, "allowed": true, "publicKey": {"challenge": "AAAA", "rpId": "example.com"}}"#;
    let accounts =
        r#"{"origin": "https://example.com", "publicKey": {"challenge": "AAAA", "rpId": "example.com"}}"#;
    let signal = |kind: &str, details: &str| {
        format!(r#"{{"origin": "https://example.com", "kind": "{kind}", "details": {details}}}"#)
    };
    vec![
        requests(
            &BRIDGE,
            &[("POST", "/create", create), ("POST", "/get", found), ("POST", "/accounts", accounts)],
        ),
        requests(&BRIDGE, &[("POST", "/hello", ""), ("POST", "/get", get)]),
        requests(
            &BRIDGE,
            &[
                (
                    "POST",
                    "/signal",
                    &signal("unknownCredential", r#"{"rpId": "example.com", "credentialId": "AQ"}"#),
                ),
                (
                    "POST",
                    "/signal",
                    &signal(
                        "allAcceptedCredentials",
                        r#"{"rpId": "example.com", "userId": "AQ", "allAcceptedCredentialIds": ["AQ"]}"#,
                    ),
                ),
                (
                    "POST",
                    "/signal",
                    &signal(
                        "currentUserDetails",
                        r#"{"rpId": "example.com", "userId": "AQ", "name": "bob", "displayName": "Bob"}"#,
                    ),
                ),
            ],
        ),
    ]
}

/// An authenticator as it should answer.
pub fn answers() -> Vec<Vec<u8>> {
    vec![answers_of::right()]
}
