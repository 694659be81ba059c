//! WebDriver's virtual authenticators, with our own client at them.

use doppelkey_core::CredentialStore as _;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};

use super::{call, port};
use crate::client::Client;
use crate::control::{Fleet, Server};
use crate::text::from_base64url;
use crate::vault::exchange::rp_id_hash;

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

fn request(id: &Value, extensions: Value) -> Value {
    json!({
        "rpId": "example.com", "challenge": "Y2hhbGxlbmdl", "userVerification": "required",
        "allowCredentials": [{"type": "public-key", "id": id}], "extensions": extensions,
    })
}

/// Signs in, and says which signature counter came.
fn count(client: &mut Client, id: &Value) -> u32 {
    let signed_in = client.get(ORIGIN, &request(id, json!({}))).unwrap();
    let data = from_base64url(signed_in["response"]["authenticatorData"].as_str().unwrap()).unwrap();
    u32::from_be_bytes(data[33..37].try_into().unwrap())
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

#[test]
fn properties_leave_the_signature_counter_unless_they_name_it() {
    let (fleet, server) = port();
    let (path, mut client) = authenticator(&fleet, &server, verifying(true));
    let id = client.create(ORIGIN, &creation("bW9uYQ")).unwrap()["id"].clone();
    let set = |properties: Value| {
        let path = format!("{path}/credentials/{}/props", id.as_str().unwrap());
        assert_eq!(call(&server, "POST", &path, Some(properties)), (200, json!({"value": null})));
    };
    assert_eq!([count(&mut client, &id), count(&mut client, &id)], [1, 2]);
    set(json!({"backupEligibility": true}));
    assert_eq!(count(&mut client, &id), 3);
    set(json!({"backupState": true, "signCount": 1}));
    assert_eq!(count(&mut client, &id), 2);
    set(json!({}));
    assert_eq!(count(&mut client, &id), 3);
    set(json!({"signCount": null}));
    assert_eq!(count(&mut client, &id), 0);
    set(json!({"signCount": 7}));
    assert_eq!(count(&mut client, &id), 8);
}

#[test]
fn properties_leave_the_order_of_the_accounts() {
    let (fleet, server) = port();
    let (path, mut client) = authenticator(&fleet, &server, verifying(true));
    let older = client.create(ORIGIN, &creation("b2xkZXI")).unwrap()["id"].clone();
    client.create(ORIGIN, &creation("bmV3ZXI")).unwrap();
    let path = format!("{path}/credentials/{}/props", older.as_str().unwrap());
    for properties in [json!({"backupEligibility": true}), json!({"signCount": 0}), json!({"signCount": 9})] {
        assert_eq!(call(&server, "POST", &path, Some(properties)).0, 200);
        let mut store = fleet.members().pop().unwrap().store().clone();
        let newest = store.newest_before(&rp_id_hash("example.com"), u64::MAX).unwrap().unwrap();
        assert_eq!(newest.user.id.as_slice(), b"newer");
        assert_eq!(store.len().unwrap(), 2);
    }
}

#[test]
fn a_ctap_2_0_authenticator_that_verifies_users_has_its_large_blobs_written() {
    let (fleet, server) = port();
    let mut options = verifying(true);
    options["protocol"] = "ctap2".into();
    options["extensions"] = json!(["largeBlob"]);
    let (_, mut client) = authenticator(&fleet, &server, options);
    let made = client.create(ORIGIN, &creation("bW9uYQ")).unwrap();
    assert_eq!(made["clientExtensionResults"]["largeBlob"]["supported"], true);
    let written = client.get(ORIGIN, &request(&made["id"], json!({"largeBlob": {"write": "AAAA"}}))).unwrap();
    assert_eq!(written["clientExtensionResults"]["largeBlob"]["written"], true);
    let read = client.get(ORIGIN, &request(&made["id"], json!({"largeBlob": {"read": true}}))).unwrap();
    assert_eq!(read["clientExtensionResults"]["largeBlob"]["blob"], "AAAA");
}
