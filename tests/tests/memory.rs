//! What passed through a running program, and through the libraries that carry it (HTTP, JSON, databases), is not in its
//! memory afterwards. The authenticator's own door: `secrets.rs`.
#![cfg(target_os = "linux")]

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use end_to_end::extension::Extension;
use end_to_end::memory::{scan, scan_until_gone};
use end_to_end::soak::{Home, create};
use end_to_end::{Server, skipped};
use serde_json::{Value, json};

/// Not to be found anywhere by chance.
const PIN: &str = "pin-Zebra-8462-Quokka";
const BLOB: &str = "blob-Walrus-5093-Numbat";
const PASSWORD: &str = "password-Okapi-7731-Wombat";
const WRONG_PASSWORD: &str = "password-Dingo-2946-Gecko";

/// As it is, and in base64url, as JSON carries it.
fn spelled(what: &str, secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let as_text = BASE64_URL_SAFE_NO_PAD.encode(secret);
    vec![(what.to_owned(), secret.to_vec()), (format!("{what}, in base64url"), as_text.into_bytes())]
}

/// Whether the program has forgotten these. What it must have is found, so that the scan is known to work.
fn assert_forgotten(server: &Server, known: &str, secrets: &[(String, Vec<u8>)]) {
    let known = [("what it must have".to_owned(), known.as_bytes().to_vec())];
    let Some(found) = scan(server.id(), &known) else {
        return skipped("the right to read another process' memory (root)");
    };
    assert_eq!(found.len(), 1, "the scan finds what must be there");
    let found = scan_until_gone(server.id(), secrets).expect("it could be read just now");
    assert!(found.is_empty(), "in memory after use: {found:?}");
}

/// One request on a connection of its own, which is over with it.
fn ask(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Value {
    let url = format!("{}{path}", server.text("control"));
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request = request.header("authorization", format!("Bearer {}", server.text("token")));
    let request = request.header("content-type", "application/json").header("connection", "close");
    let body = body.map(Value::to_string).unwrap_or_default();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut response = agent.run(request.body(body).expect("a request")).expect("it answers");
    let text = response.body_mut().read_to_string().expect("it is text");
    assert!(response.status().is_success(), "{method} {path}: {text}");
    serde_json::from_str(&text).expect("it is JSON")
}

#[test]
fn secrets_that_the_bridge_and_the_control_port_carried_are_not_in_memory() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let extensions = folder.path().display().to_string();
    let run = ["run", "--ephemeral", "--user", "auto", "--usbip", "off"];
    let bridge = ["--bridge", "127.0.0.1:0", "--extensions", &extensions];
    let server = Server::start(&[&run[..], &bridge].concat());
    let extension = Extension::of(&server);
    let by_page = |path: &str, options: Value| {
        let body = json!({"id": "1", "origin": "https://example.com", "publicKey": options});
        let answer = extension.ask(path, &body).expect("the bridge is there");
        assert!(answer["response"]["id"].is_string(), "{path}: {answer}");
        answer["response"].clone()
    };
    // A passkey with PRF and a large blob, which is written and read.
    let made = by_page(
        "/create",
        json!({
            "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAA",
            "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
            "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
            "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
            "extensions": {"prf": {}, "largeBlob": {"support": "required"}},
        }),
    );
    let get = |extensions: Value| {
        let allowed = json!([{"type": "public-key", "id": made["id"]}]);
        by_page(
            "/get",
            json!({
                "rpId": "example.com", "challenge": "AAAA", "userVerification": "required",
                "allowCredentials": allowed, "extensions": extensions,
            }),
        )["clientExtensionResults"]
            .clone()
    };
    let blob = BASE64_URL_SAFE_NO_PAD.encode(BLOB);
    assert_eq!(get(json!({"largeBlob": {"write": blob}}))["largeBlob"]["written"], true);
    assert_eq!(get(json!({"largeBlob": {"read": true}}))["largeBlob"]["blob"], blob);
    let prf = get(json!({"prf": {"eval": {"first": "c2FsdA"}}}));
    let prf = prf["prf"]["results"]["first"].as_str().expect("it has PRF");
    // The keys and the PIN by the control port: out, in again, and set.
    let exported = ask(&server, "GET", "/v1/devices/1/credentials?with_keys=true", None);
    let record = &exported["credentials"][0];
    ask(&server, "DELETE", "/v1/devices/1/credentials", None);
    ask(&server, "POST", "/v1/devices/1/credentials", Some(record));
    ask(&server, "PUT", "/v1/devices/1/pin", Some(&json!({"pin": PIN})));
    let mut secrets = spelled("the PIN", PIN.as_bytes());
    secrets.extend(spelled("the large blob", BLOB.as_bytes()));
    secrets.extend(spelled("the output of PRF", &BASE64_URL_SAFE_NO_PAD.decode(prf).expect("base64url")));
    let keys = texts_under(
        record,
        &["private_key", "cred_random_with_uv", "cred_random_without_uv", "large_blob_key"],
    );
    assert_eq!(keys.len(), 4, "the record has keys: {keys:?}");
    for (what, text) in keys {
        secrets.extend(spelled(&what, &BASE64_URL_SAFE_NO_PAD.decode(&text).expect("base64url")));
    }
    assert_forgotten(&server, server.text("token"), &secrets);
}

/// The texts under these names, however deep they are.
fn texts_under(value: &Value, names: &[&str]) -> Vec<(String, String)> {
    let Some(members) = value.as_object() else { return Vec::new() };
    let here = members.iter().filter(|(name, _)| names.contains(&name.as_str()));
    let here = here.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())));
    here.chain(members.values().flat_map(|member| texts_under(member, names))).collect()
}

#[test]
fn a_password_is_not_in_the_relying_partys_memory_after_a_log_in() {
    let party = Server::start(&["relying-party", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let (url, mut cookie) = (party.text("url"), String::new());
    let at = url.replacen("localhost", "127.0.0.1", 1);
    let host = url.trim_start_matches("http://");
    let mut form = |path: &str, name: &str, value: &str| {
        // A connection of its own: what is kept of one that may be used again is not what is asked.
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent: ureq::Agent = config.build().into();
        let request = agent.post(format!("{at}{path}")).header("host", host).header("origin", url);
        let request = request.header("cookie", &cookie).header("connection", "close");
        let response = request.send_form([(name, value)]).expect("it answers");
        if let Some(set) = response.headers().get("set-cookie").and_then(|set| set.to_str().ok()) {
            cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
        response.status().as_u16()
    };
    assert_eq!(form("/signup", "email", "ada@example.org"), 303);
    assert_eq!(form("/signup/password", "password", PASSWORD), 303);
    assert_eq!(form("/logout", "x", ""), 303);
    assert_eq!(form("/login", "identifier", "ada@example.org"), 303);
    assert_eq!(form("/login/password", "password", WRONG_PASSWORD), 422);
    assert_eq!(form("/login/password", "password", PASSWORD), 303);
    let secrets =
        [spelled("the password", PASSWORD.as_bytes()), spelled("a wrong one", WRONG_PASSWORD.as_bytes())];
    assert_forgotten(&party, party.text("admin_token"), &secrets.concat());
}

#[test]
fn a_recovery_key_and_its_pin_are_not_in_the_running_devices_memory() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let relay = Server::start(&["relay", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let home = Home::at(folder.path());
    let succeeds = |mut command: Command| {
        let output = command.output().expect("doppelkey runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    };
    succeeds(home.sync_command(&["init", "--mailbox", relay.text("url")]));
    let arguments = home.arguments();
    let server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    create(&mut home.client().expect("the door is open"), 0).expect("it agrees");
    let key = succeeds(home.sync_command(&["recovery", "create"])).trim().to_owned();
    let mut pin = home.sync_command(&["recovery", "pin", "set"]);
    pin.env("DOPPELKEY_RECOVERY_PIN", PIN);
    succeeds(pin);
    let mut secrets = spelled("the recovery PIN", PIN.as_bytes());
    secrets.extend(spelled("the recovery key", key.as_bytes()));
    let letters = key.replace(['-', ' '], "");
    assert!(letters.len() > 24, "a key is long");
    secrets.extend(spelled("the recovery key, without its groups", letters.as_bytes()));
    assert_forgotten(&server, server.text("token"), &secrets);
}
