//! WebDriver's virtual authenticators, with our own client at them.

use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{call, port};
use crate::client::Client;
use crate::control::{Fleet, Server};

const ORIGIN: &str = "https://example.com";
const BASE: &str = "/session/s/webauthn/authenticator";

/// A virtual authenticator of these options: its path, and a client at it.
fn authenticator(fleet: &Fleet, server: &Server, options: Value) -> (String, Client) {
    let (status, added) = call(server, "POST", BASE, Some(options));
    assert_eq!(status, 200, "{added}");
    let path = format!("{BASE}/{}", added["value"].as_str().unwrap());
    let device = fleet.members().pop().unwrap().device().clone();
    (path, Client::new(device.connect(), fleet.clock(), UnwrapErr(SysRng)).unwrap())
}

fn verifying(verified: bool) -> Value {
    json!({
        "protocol": "ctap2_1", "transport": "usb", "hasResidentKey": true, "hasUserVerification": true,
        "isUserVerified": verified,
    })
}

fn creation(user: &str) -> Value {
    json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": user, "name": user, "displayName": user},
        "challenge": "Y2hhbGxlbmdl",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        "extensions": {"largeBlob": {"support": "preferred"}},
    })
}

#[test]
fn a_user_who_was_not_verified_for_long_is_verified_once_they_are_to_be() {
    let (fleet, server) = port();
    for verified_at_first in [true, false] {
        let (path, mut client) = authenticator(&fleet, &server, verifying(verified_at_first));
        assert_eq!(client.create(ORIGIN, &creation("bW9uYQ")).is_ok(), verified_at_first);
        assert_eq!(
            call(&server, "POST", &format!("{path}/uv"), Some(json!({"isUserVerified": false}))).0,
            200
        );
        for _ in 0..3 {
            assert_eq!(client.create(ORIGIN, &creation("bW9uYQ")).unwrap_err().name(), "NotAllowedError");
        }
        assert_eq!(
            call(&server, "POST", &format!("{path}/uv"), Some(json!({"isUserVerified": true}))).0,
            200
        );
        client.create(ORIGIN, &creation("bW9uYQ")).unwrap();
    }
}
