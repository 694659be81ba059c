//! The client against the core, over a connection of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey_core::{Answer, Configuration, OptionId, Prompt, User};
use getrandom::SysRng;
use rand_core::UnwrapErr;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::device::Device;
use crate::user_interface::{Auto, Deny, External, Reply, UserInterface};

const ORIGIN: &str = "https://login.example.com";

fn device(configuration: Configuration, user: impl UserInterface + 'static) -> (Device, Clock) {
    let clock = system_clock();
    (ephemeral_device(configuration, Box::new(user), clock.clone()), clock)
}

fn client_of(device: &Device, clock: &Clock) -> Client {
    Client::new(device.connect(), clock.clone(), UnwrapErr(SysRng)).unwrap()
}

fn client(user: impl UserInterface + 'static) -> Client {
    let (device, clock) = device(presence_only(), user);
    client_of(&device, &clock)
}

/// Without built-in verification: a key with a button, whose PIN is not set yet.
fn presence_only() -> Configuration {
    let mut configuration = Configuration::default();
    configuration.options.retain(|option| {
        !matches!(option, OptionId::Uv | OptionId::BioEnroll | OptionId::UvBioEnroll | OptionId::UvAcfg)
    });
    configuration
}

fn creation(user: &str, more: Value) -> Value {
    let mut options = json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": BASE64_URL_SAFE_NO_PAD.encode(user), "name": user, "displayName": user},
        "challenge": "Y2hhbGxlbmdl",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required"},
    });
    merge(&mut options, more);
    options
}

fn request(more: Value) -> Value {
    let mut options = json!({"rpId": "example.com", "challenge": "Y2hhbGxlbmdl"});
    merge(&mut options, more);
    options
}

fn merge(options: &mut Value, more: Value) {
    let (Some(options), Value::Object(more)) = (options.as_object_mut(), more) else { return };
    options.extend(more);
}

fn allow(registrations: &[&Value]) -> Value {
    let descriptor = |registration: &&Value| json!({"type": "public-key", "id": registration["id"]});
    registrations.iter().map(descriptor).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn flags(response: &Value) -> u8 {
    bytes(&response["response"]["authenticatorData"])[32]
}

fn name_of<T>(result: Result<T, Error>) -> &'static str {
    result.err().expect("the ceremony fails").name()
}

const UP: u8 = 0x01;
const UV: u8 = 0x04;

#[test]
fn a_passkey_is_made_and_signs_in() {
    let mut client = client(Auto);
    let registration = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    assert_eq!(registration["response"]["publicKeyAlgorithm"], -7);
    assert_eq!(registration["response"]["transports"], json!(["usb"]));
    assert_eq!(registration["authenticatorAttachment"], "cross-platform");
    assert_eq!(flags(&registration) & UP, UP);
    let assertion = client.get(ORIGIN, &request(json!({}))).unwrap();
    assert_eq!(assertion["id"], registration["id"]);
    assert_eq!(bytes(&assertion["response"]["userHandle"]), b"mona");
    let data: Value = serde_json::from_slice(&bytes(&assertion["response"]["clientDataJSON"])).unwrap();
    assert_eq!(data["type"], "webauthn.get");
    assert_eq!(data["origin"], ORIGIN);
}

#[test]
fn an_excluded_passkey_is_an_invalid_state() {
    let mut client = client(Auto);
    let first = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    let again = creation("other", json!({"excludeCredentials": allow(&[&first])}));
    assert_eq!(name_of(client.create(ORIGIN, &again)), "InvalidStateError");
    // Also at the end of a list of thousands, which no single request can carry.
    let mut list = vec![json!({"type": "public-key", "id": BASE64_URL_SAFE_NO_PAD.encode([7; 64])}); 300];
    list.push(allow(&[&first])[0].clone());
    let again = creation("other", json!({"excludeCredentials": list}));
    assert_eq!(name_of(client.create(ORIGIN, &again)), "InvalidStateError");
    list.pop();
    assert!(client.create(ORIGIN, &creation("other", json!({"excludeCredentials": list}))).is_ok());
}

#[test]
fn a_passkey_is_found_in_an_allow_list_of_any_length() {
    let mut client = client(Auto);
    let registration = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    let other = vec![json!({"type": "public-key", "id": BASE64_URL_SAFE_NO_PAD.encode([7; 64])}); 300];
    let unknown_type = json!([{"type": "made-up", "id": registration["id"]}]);
    let mut list = other.clone();
    list.insert(150, allow(&[&registration])[0].clone());
    for mediation in [Mediation::Modal, Mediation::Conditional, Mediation::Immediate] {
        let mut get = |list: &Value| {
            let options = request(json!({"allowCredentials": list}));
            client.get(Call::by(ORIGIN).mediation(mediation), &options)
        };
        for missing in [&json!(other), &unknown_type] {
            assert!(matches!(get(missing), Err(Error::NoCredential)), "{mediation:?}");
        }
        assert_eq!(get(&json!(list)).unwrap()["id"], registration["id"], "{mediation:?}");
    }
}

#[test]
fn nothing_is_asked_of_the_authenticator_for_a_foreign_rp_id() {
    let mut client = client(Auto);
    let other = "https://example.org";
    assert_eq!(name_of(client.create(other, &creation("mona", json!({})))), "SecurityError");
    assert_eq!(name_of(client.get(other, &request(json!({})))), "SecurityError");
    assert_eq!(name_of(client.get("http://login.example.com", &request(json!({})))), "SecurityError");
}

#[test]
fn a_refusal_and_a_missing_passkey_look_the_same_to_the_page() {
    let mut refusing = client(Deny);
    assert!(matches!(refusing.create(ORIGIN, &creation("mona", json!({}))), Err(Error::Refused)));
    let mut empty = client(Auto);
    assert!(matches!(empty.get(ORIGIN, &request(json!({}))), Err(Error::NoCredential)));
    assert_eq!(Error::Refused.name(), Error::NoCredential.name());
}

#[test]
fn an_algorithm_that_nobody_has_is_not_supported() {
    let mut client = client(Auto);
    let options = creation("mona", json!({"pubKeyCredParams": [{"type": "public-key", "alg": -65000}]}));
    assert_eq!(name_of(client.create(ORIGIN, &options)), "NotSupportedError");
}

#[test]
fn a_page_that_aborts_while_the_user_thinks_frees_the_authenticator() {
    let user = External::default();
    let (device, clock) = device(presence_only(), user.clone());
    let mut client = client_of(&device, &clock);
    let abort = Abort::new();
    let call = Call::by(ORIGIN).abort(&abort);
    let thinking = user.clone();
    let page = thread::spawn(move || {
        while thinking.prompt().is_none() {
            thread::yield_now();
        }
        abort.abort();
    });
    assert_eq!(name_of(client.create(call, &creation("mona", json!({})))), "AbortError");
    page.join().unwrap();
    assert_eq!(user.prompt(), None);
    let answering = user.clone();
    let user = thread::spawn(move || {
        while !answering.answer(Answer::Approve { verified: true, account: None }) {
            thread::yield_now();
        }
    });
    assert!(client.create(ORIGIN, &creation("mona", json!({}))).is_ok());
    user.join().unwrap();
}

#[test]
fn a_user_who_does_not_answer_ends_the_ceremony_at_its_timeout() {
    let short = Duration::from_millis(150);
    let timeouts = Timeouts { least: short, usual: short, most: short };
    let mut client = client(External::default()).with_timeouts(timeouts);
    let options = creation("mona", json!({"timeout": 60_000}));
    assert!(matches!(client.create(ORIGIN, &options), Err(Error::TimedOut)));
}

#[test]
fn autofill_with_nothing_to_offer_waits_until_the_page_takes_it_back() {
    let mut client = client(Auto);
    let call = Call::by(ORIGIN).mediation(Mediation::Conditional);
    assert!(matches!(client.get(call.clone(), &request(json!({}))), Err(Error::NoCredential)));
    let abort = Abort::new();
    let pending = thread::spawn({
        let call = call.clone().abort(&abort);
        move || {
            let result = client.get(call, &request(json!({})));
            (client, name_of(result))
        }
    });
    abort.abort();
    let (mut client, name) = pending.join().unwrap();
    assert_eq!(name, "AbortError");
    client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    assert!(client.get(call, &request(json!({}))).is_ok());
}

#[test]
fn an_immediate_request_ends_at_once_without_a_passkey() {
    let mut client = client(Deny);
    let call = Call::by(ORIGIN).mediation(Mediation::Immediate);
    assert!(matches!(client.get(call, &request(json!({}))), Err(Error::NoCredential)));
}

/// Chooses the account with this name, and gives these PINs in turn.
struct Person {
    account: &'static str,
    pins: Vec<&'static str>,
    asked: Arc<Mutex<Vec<PinRequest>>>,
}

impl Dialogs for Person {
    fn pin(&mut self, request: PinRequest) -> Option<Zeroizing<String>> {
        self.asked.lock().unwrap().push(request);
        (!self.pins.is_empty()).then(|| Zeroizing::new(self.pins.remove(0).to_owned()))
    }

    fn choose(&mut self, _: &str, accounts: &[Account]) -> Option<usize> {
        accounts.iter().position(|account| account.id == self.account.as_bytes())
    }
}

#[test]
fn the_user_chooses_between_accounts() {
    let (device, clock) = device(presence_only(), ShowsNoAccounts);
    let person = Person { account: "mona", pins: Vec::new(), asked: Arc::default() };
    let mut client = client_of(&device, &clock).with_dialogs(person);
    for user in ["lena", "mona", "nora"] {
        client.create(ORIGIN, &creation(user, json!({}))).unwrap();
    }
    let assertion = client.get(ORIGIN, &request(json!({}))).unwrap();
    assert_eq!(bytes(&assertion["response"]["userHandle"]), b"mona");
}

/// A key with a button and no screen: the choice is the platform's.
struct ShowsNoAccounts;

impl UserInterface for ShowsNoAccounts {
    fn show(&mut self, _: &Prompt<'_>, _: &[User], reply: Reply) {
        reply.answer(Answer::Approve { verified: true, account: None });
    }

    fn clear(&mut self) {}
}

#[test]
fn required_verification_sets_a_pin_and_uses_it() {
    let required =
        json!({"authenticatorSelection": {"residentKey": "required", "userVerification": "required"}});
    let (device, clock) = device(presence_only(), Auto);
    let mut nobody = client_of(&device, &clock);
    let refused = nobody.create(ORIGIN, &creation("mona", required.clone()));
    assert!(matches!(refused, Err(Error::NotVerified(NotVerified::NotSetUp))), "{refused:?}");
    let mut client = nobody.with_dialogs(KnownPin::new("2580"));
    let registration = client.create(ORIGIN, &creation("mona", required)).unwrap();
    assert_eq!(flags(&registration) & UV, UV);
    let assertion = client.get(ORIGIN, &request(json!({"userVerification": "required"}))).unwrap();
    assert_eq!(flags(&assertion) & UV, UV);
    let discouraged = client.get(ORIGIN, &request(json!({"userVerification": "discouraged"}))).unwrap();
    assert_eq!(flags(&discouraged) & UV, 0);
}

#[test]
fn built_in_verification_is_tried_again_after_a_wrong_finger() {
    let user = External::default();
    let (device, clock) = device(without_sensor(), user.clone());
    let mut client = client_of(&device, &clock);
    let done = Arc::new(AtomicBool::new(false));
    let hand = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut wrong = 0;
            while !done.load(Ordering::Relaxed) {
                let right = Answer::Approve { verified: true, account: None };
                let answered = user.answer(if wrong < 2 { Answer::NotVerified } else { right });
                wrong += u32::from(answered);
                thread::yield_now();
            }
        }
    });
    let required =
        json!({"authenticatorSelection": {"residentKey": "required", "userVerification": "required"}});
    let made = client.create(ORIGIN, &creation("mona", required));
    done.store(true, Ordering::Relaxed);
    hand.join().unwrap();
    assert_eq!(flags(&made.unwrap()) & UV, UV);
}

#[test]
fn built_in_verification_that_fails_too_often_is_blocked() {
    let (device, clock) = device(without_sensor(), WrongFinger);
    let blocked = client_of(&device, &clock).create(ORIGIN, &creation("mona", json!({})));
    assert!(matches!(blocked, Err(Error::NotVerified(NotVerified::RecognitionBlocked))), "{blocked:?}");
    let mut client = client_of(&device, &clock).with_dialogs(KnownPin::new("2580"));
    client.set_pin("2580").unwrap();
    let by_pin = client.create(ORIGIN, &creation("mona", json!({})));
    assert!(
        matches!(by_pin, Err(Error::Refused)),
        "the PIN verifies, and the touch is still somebody else's: {by_pin:?}"
    );
}

#[test]
fn a_sign_in_that_finds_no_room_says_nothing_of_another_passkey() {
    let configuration = presence_only();
    let faults = configuration.faults.clone();
    let (device, clock) = device(configuration, Auto);
    let mut client = client_of(&device, &clock);
    client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    for command in [1, 2] {
        faults.set_status(command, 0x28);
    }
    let made = client.create(ORIGIN, &creation("lena", json!({}))).expect_err("there is no room");
    assert_eq!(made.to_string(), "the authenticator has no room for another passkey");
    let used = client.get(ORIGIN, &request(json!({}))).expect_err("there is no room");
    assert_eq!(used.to_string(), "the authenticator's storage is full: it cannot write what this needs");
}

#[test]
fn where_a_finger_fails_that_only_the_option_can_ask_for_the_pin_is_asked_for() {
    let mut configuration = without_sensor();
    configuration.options.retain(|option| *option != OptionId::PinUvAuthToken);
    let (device, clock) = device(configuration, WrongFingerRightButton);
    let mut nobody = client_of(&device, &clock);
    let pinless = nobody.create(ORIGIN, &creation("mona", json!({}))).expect_err("nobody is recognised");
    assert!(!pinless.to_string().contains("nor a fingerprint is set up"), "{pinless}");
    nobody.set_pin("2580").unwrap();
    let asked = nobody.create(ORIGIN, &creation("mona", json!({})));
    assert!(matches!(asked, Err(Error::NotVerified(NotVerified::NoPin))), "{asked:?}");
    let mut client = nobody.with_dialogs(KnownPin::new("2580"));
    let registration = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    assert_eq!(flags(&registration) & UV, UV);
    let assertion = client.get(ORIGIN, &request(json!({"userVerification": "required"}))).unwrap();
    assert_eq!(flags(&assertion) & UV, UV);
}

/// A finger that no sensor knows, which presses the button all the same.
struct WrongFingerRightButton;

impl UserInterface for WrongFingerRightButton {
    fn show(&mut self, prompt: &Prompt<'_>, _: &[User], reply: Reply) {
        let pressed = Answer::Approve { verified: false, account: None };
        reply.answer(if prompt.verification { Answer::NotVerified } else { pressed });
    }

    fn clear(&mut self) {}
}

/// A finger that no sensor knows, of somebody who means no.
struct WrongFinger;

impl UserInterface for WrongFinger {
    fn show(&mut self, prompt: &Prompt<'_>, _: &[User], reply: Reply) {
        reply.answer(if prompt.verification { Answer::NotVerified } else { Answer::Deny });
    }

    fn clear(&mut self) {}
}

#[test]
fn a_wrong_pin_is_asked_for_again_and_costs_a_retry() {
    let (device, clock) = device(presence_only(), Auto);
    client_of(&device, &clock).set_pin("2580").unwrap();
    let asked = Arc::default();
    let person = Person { account: "", pins: vec!["1111", "2580"], asked: Arc::clone(&asked) };
    let mut client = client_of(&device, &clock).with_dialogs(person);
    client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    let expected = [PinRequest { again: false, retries: 8 }, PinRequest { again: true, retries: 7 }];
    assert_eq!(*asked.lock().unwrap(), expected);
    let gave_up = client.create(ORIGIN, &creation("lena", json!({})));
    assert!(matches!(gave_up, Err(Error::NotVerified(NotVerified::NoPin))), "{gave_up:?}");
}

#[test]
fn a_changed_pin_replaces_the_old_one() {
    let (device, clock) = device(presence_only(), Auto);
    let mut client = client_of(&device, &clock);
    client.set_pin("2580").unwrap();
    assert!(matches!(client.change_pin("1111", "9999"), Err(Error::NotVerified(NotVerified::WrongPin))));
    client.change_pin("2580", "a longer phrase").unwrap();
    let mut client = client.with_dialogs(KnownPin::new("a longer phrase"));
    assert!(client.create(ORIGIN, &creation("mona", json!({}))).is_ok());
}

#[test]
fn three_wrong_pins_need_a_power_up() {
    let (device, clock) = device(presence_only(), Auto);
    client_of(&device, &clock).set_pin("2580").unwrap();
    let person = Person { account: "", pins: vec!["1111"; 3], asked: Arc::default() };
    let mut client = client_of(&device, &clock).with_dialogs(person);
    let blocked = client.create(ORIGIN, &creation("mona", json!({})));
    assert!(matches!(blocked, Err(Error::NotVerified(NotVerified::BlockedUntilPowerUp))), "{blocked:?}");
    device.replug();
    let mut client = client.with_dialogs(KnownPin::new("2580"));
    assert!(client.create(ORIGIN, &creation("mona", json!({}))).is_ok());
}

#[test]
fn a_prf_gives_the_same_secret_at_every_sign_in() {
    let (device, clock) = device(without_sensor(), Auto);
    let mut client = client_of(&device, &clock);
    let prf = json!({"prf": {"eval": {"first": "AAAA", "second": "BBBB"}}});
    let made = client.create(ORIGIN, &creation("mona", json!({"extensions": prf}))).unwrap();
    assert_eq!(made["clientExtensionResults"]["prf"]["enabled"], true);
    let first = client.get(ORIGIN, &request(json!({"extensions": prf}))).unwrap();
    let results = &first["clientExtensionResults"]["prf"]["results"];
    assert_eq!(bytes(&results["first"]).len(), 32);
    assert_ne!(results["first"], results["second"]);
    assert_eq!(&made["clientExtensionResults"]["prf"]["results"], results, "hmac-secret-mc");
    let id = made["id"].as_str().unwrap();
    let own = json!({"prf": {"eval": {"first": "CCCC"}, "evalByCredential": {id: {"first": "BBBB"}}}});
    let options = request(json!({"allowCredentials": allow(&[&made]), "extensions": own}));
    let second = client.get(ORIGIN, &options).unwrap();
    assert_eq!(second["clientExtensionResults"]["prf"]["results"]["first"], results["second"]);
}

#[test]
fn prf_inputs_for_a_credential_that_is_not_allowed_are_refused() {
    let mut client = client(Auto);
    let foreign = json!({"prf": {"evalByCredential": {"AAAA": {"first": "BBBB"}}}});
    assert_eq!(name_of(client.get(ORIGIN, &request(json!({"extensions": foreign})))), "NotSupportedError");
    let made = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    let options = request(json!({"allowCredentials": allow(&[&made]), "extensions": foreign}));
    assert_eq!(name_of(client.get(ORIGIN, &options)), "SyntaxError");
}

#[test]
fn a_large_blob_is_written_and_read() {
    let mut client = client(Auto);
    let support = json!({"largeBlob": {"support": "required"}, "credProps": true});
    let made = client.create(ORIGIN, &creation("mona", json!({"extensions": support}))).unwrap();
    assert_eq!(made["clientExtensionResults"]["largeBlob"]["supported"], true);
    assert_eq!(made["clientExtensionResults"]["credProps"]["rk"], true);
    let blob = BASE64_URL_SAFE_NO_PAD.encode("a note ".repeat(300));
    let write = json!({"allowCredentials": allow(&[&made]), "extensions": {"largeBlob": {"write": blob}}});
    let written = client.get(ORIGIN, &request(write)).unwrap();
    assert_eq!(written["clientExtensionResults"]["largeBlob"]["written"], true);
    let read = client.get(ORIGIN, &request(json!({"extensions": {"largeBlob": {"read": true}}}))).unwrap();
    assert_eq!(read["clientExtensionResults"]["largeBlob"]["blob"], blob);
}

#[test]
fn a_large_blob_is_written_under_a_pin() {
    let (device, clock) = device(presence_only(), Auto);
    let mut client = client_of(&device, &clock).with_dialogs(KnownPin::new("2580"));
    client.set_pin("2580").unwrap();
    let support = json!({"largeBlob": {"support": "required"}});
    let made = client.create(ORIGIN, &creation("mona", json!({"extensions": support}))).unwrap();
    let write = json!({"allowCredentials": allow(&[&made]), "extensions": {"largeBlob": {"write": "AAAA"}}});
    let written = client.get(ORIGIN, &request(write)).unwrap();
    assert_eq!(written["clientExtensionResults"]["largeBlob"]["written"], true);
}

#[test]
fn a_sign_in_goes_on_without_a_large_blob_that_cannot_be_written_or_read() {
    let configuration = presence_only();
    let faults = configuration.faults.clone();
    let (device, clock) = device(configuration, Auto);
    let mut client = client_of(&device, &clock);
    let support = json!({"largeBlob": {"support": "required"}});
    let made = client.create(ORIGIN, &creation("mona", json!({"extensions": support}))).unwrap();
    let write = json!({"allowCredentials": allow(&[&made]), "extensions": {"largeBlob": {"write": "AAAA"}}});
    faults.set_status(0x0C, 0x7F);
    let written = client.get(ORIGIN, &request(write)).unwrap();
    assert_eq!(written["clientExtensionResults"]["largeBlob"], json!({"written": false}));
    let read = json!({"extensions": {"largeBlob": {"read": true}}});
    let read = client.get(ORIGIN, &request(read)).unwrap();
    assert_eq!(read["clientExtensionResults"]["largeBlob"], json!({}));
    // A ceremony that was to end, ends.
    faults.set_status(0x0C, 0x2D);
    let read = json!({"extensions": {"largeBlob": {"read": true}}});
    assert_eq!(name_of(client.get(ORIGIN, &request(read))), "AbortError");
}

#[test]
fn a_cred_blob_and_a_protection_reach_the_authenticator() {
    let mut client = client(Auto);
    let asked = json!({
        "credBlob": "AQID", "credentialProtectionPolicy": "userVerificationRequired",
        "enforceCredentialProtectionPolicy": true, "hmacCreateSecret": true,
    });
    let made = client.create(ORIGIN, &creation("mona", json!({"extensions": asked}))).unwrap();
    assert_eq!(made["clientExtensionResults"]["credBlob"], true);
    assert_eq!(made["clientExtensionResults"]["hmacCreateSecret"], true);
    // Level 3: without verification, this passkey is not there.
    let get = json!({"userVerification": "discouraged", "extensions": {"getCredBlob": true}});
    assert!(matches!(client.get(ORIGIN, &request(get)), Err(Error::NoCredential)));
    let mut client = client.with_dialogs(KnownPin::new("2580"));
    let get = json!({"userVerification": "required", "extensions": {"getCredBlob": true}});
    let read = client.get(ORIGIN, &request(get)).unwrap();
    assert_eq!(read["clientExtensionResults"]["getCredBlob"], "AQID");
}

#[test]
fn attestation_is_conveyed_only_where_the_page_asks() {
    let mut client = client(Auto);
    let format = |registration: &Value| {
        let object =
            crate::cbor::Map::decode(&bytes(&registration["response"]["attestationObject"])).unwrap();
        object.named("fmt").unwrap().as_text().unwrap().to_owned()
    };
    let none = client.create(ORIGIN, &creation("mona", json!({}))).unwrap();
    assert_eq!(format(&none), "none");
    let direct = client.create(ORIGIN, &creation("lena", json!({"attestation": "direct"}))).unwrap();
    assert_eq!(format(&direct), "packed");
}

#[test]
fn a_built_in_authenticator_is_not_here_unless_the_client_says_so() {
    let platform =
        json!({"authenticatorSelection": {"authenticatorAttachment": "platform", "residentKey": "required"}});
    let mut usb = client(Auto);
    assert_eq!(name_of(usb.create(ORIGIN, &creation("mona", platform.clone()))), "NotAllowedError");
    let mut either = usb.with_attachment(Attachment::AsAsked);
    let made = either.create(ORIGIN, &creation("mona", platform)).unwrap();
    assert_eq!(made["authenticatorAttachment"], "platform");
    let hinted = creation("lena", json!({"hints": ["security-key"]}));
    assert_eq!(either.create(ORIGIN, &hinted).unwrap()["authenticatorAttachment"], "cross-platform");
}

#[test]
fn two_clients_share_one_authenticator() {
    let (device, clock) = device(presence_only(), Auto);
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let mut client = client_of(&device, &clock);
            thread::spawn(move || {
                client.create(ORIGIN, &creation(&format!("user {number}"), json!({}))).is_ok()
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
}

#[test]
fn an_answer_whose_packets_come_slowly_is_whole() {
    let now = Arc::new(AtomicU64::new(0));
    let clock: Clock = {
        let now = now.clone();
        Arc::new(move || Duration::from_millis(now.load(Ordering::Relaxed)))
    };
    let device = ephemeral_device(presence_only(), Box::new(Auto), clock.clone());
    let line = SlowLine { device: device.connect(), now: now.clone(), next_ms: 0 };
    let mut client = Client::new(line, clock, UnwrapErr(SysRng)).unwrap();
    client.ping(&[7; 7609]).unwrap();
    assert!(now.load(Ordering::Relaxed) > 128 * 20, "it took far longer than one look at the limit");
}

/// Brings a packet every 20 milliseconds of its clock, which goes on while somebody waits.
struct SlowLine {
    device: crate::device::LocalConnection,
    now: Arc<AtomicU64>,
    next_ms: u64,
}

impl Connection for SlowLine {
    fn send(&mut self, packet: &crate::device::Packet) -> std::io::Result<()> {
        self.device.send(packet)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> std::io::Result<Option<crate::device::Packet>> {
        let now = self.now.load(Ordering::Relaxed);
        let until = now + timeout.map_or(1000, |timeout| timeout.as_millis() as u64);
        if until < self.next_ms {
            self.now.store(until, Ordering::Relaxed);
            return Ok(None);
        }
        let packet = self.device.receive(Some(Duration::ZERO))?;
        let at = if packet.is_some() { now.max(self.next_ms) } else { until };
        self.now.store(at, Ordering::Relaxed);
        self.next_ms = at + 20;
        Ok(packet)
    }
}

#[test]
fn an_answer_that_is_longer_than_any_message_is_refused() {
    let (device, clock) = device(presence_only(), Auto);
    let boaster = Boaster { device: device.connect(), more: None };
    let mut client = Client::new(boaster, clock, UnwrapErr(SysRng)).unwrap();
    assert!(matches!(client.ping(&[7]), Err(Error::BadAnswer(_))));
}

/// Says of a PING's echo that it has 65,535 bytes, and has packets of it without end.
struct Boaster {
    device: crate::device::LocalConnection,
    more: Option<crate::device::Packet>,
}

impl Connection for Boaster {
    fn send(&mut self, packet: &crate::device::Packet) -> std::io::Result<()> {
        self.device.send(packet)
    }

    fn receive(&mut self, timeout: Option<Duration>) -> std::io::Result<Option<crate::device::Packet>> {
        if let Some(packet) = &mut self.more {
            packet[4] = packet[4].wrapping_add(1);
            return Ok(Some(*packet));
        }
        let mut received = self.device.receive(timeout)?;
        if let Some(packet) = received.as_mut().filter(|packet| packet[4] == 0x81) {
            packet[5..7].fill(0xff);
            let mut next = *packet;
            next[4] = u8::MAX;
            self.more = Some(next);
        }
        Ok(received)
    }
}

#[test]
fn a_prf_of_a_registration_without_wanted_verification_is_that_of_every_sign_in() {
    let eval = json!({"prf": {"eval": {"first": "AAAA"}}});
    let made = |client: &mut Client| {
        let discouraged = json!({
            "authenticatorSelection": {"residentKey": "discouraged", "userVerification": "discouraged"},
            "extensions": eval,
        });
        client.create(ORIGIN, &creation("mona", discouraged)).unwrap()
    };
    let results = |response: &Value| response["clientExtensionResults"]["prf"]["results"].clone();
    let (device, clock) = device(without_sensor(), Auto);
    let mut client = client_of(&device, &clock);
    let registration = made(&mut client);
    assert!(results(&registration)["first"].is_string(), "{registration}");
    for verification in ["discouraged", "required"] {
        let options = json!({
            "allowCredentials": allow(&[&registration]), "userVerification": verification, "extensions": eval,
        });
        let assertion = client.get(ORIGIN, &request(options)).unwrap();
        assert_eq!(results(&assertion), results(&registration), "{verification}");
    }
    // Who cannot be verified gets no values that would change once a PIN is set.
    let (device, clock) = self::device(presence_only(), Auto);
    let registration = made(&mut client_of(&device, &clock));
    assert_eq!(registration["clientExtensionResults"]["prf"], json!({"enabled": true}));
}

#[test]
fn a_pin_is_the_same_however_its_accents_are_typed() {
    let mut client = client(Auto);
    client.set_pin("caf\u{e9}").unwrap();
    client.verify_pin("cafe\u{301}").unwrap();
    client.change_pin("cafe\u{301}", "u\u{308}ber").unwrap();
    client.verify_pin("\u{fc}ber").unwrap();
}

#[test]
fn an_origin_that_the_rp_lists_as_related_signs_up_and_in_for_it() {
    let (device, clock) = device(presence_only(), Auto);
    let fetch = |rp_id: &str| {
        (rp_id == "example.com").then(|| json!({"origins": ["https://example.de"]}).to_string())
    };
    let mut client = client_of(&device, &clock).with_related_origins(Box::new(fetch));
    let made = client.create("https://example.de", &creation("mona", json!({}))).unwrap();
    let used = client.get("https://example.de", &request(json!({}))).unwrap();
    assert_eq!(used["id"], made["id"]);
    assert_eq!(name_of(client.get("https://example.fr", &request(json!({})))), "SecurityError");
    let mut without = client_of(&device, &clock);
    assert_eq!(name_of(without.get("https://example.de", &request(json!({})))), "SecurityError");
}

#[test]
fn an_rp_that_this_platform_was_told_of_gets_enterprise_attestation() {
    let persona = crate::persona::Persona::load("enterprise", &crate::persona::Authority::from_seed([7; 32]));
    let (device, clock) = device(persona.unwrap().configuration, Auto);
    let certificate = |client: &mut Client, rp_id: &str| {
        let more = json!({"rp": {"id": rp_id, "name": rp_id}, "attestation": "enterprise"});
        let made = client.create(format!("https://{rp_id}").as_str(), &creation("mona", more)).unwrap();
        let object = crate::cbor::Map::decode(&bytes(&made["response"]["attestationObject"])).unwrap();
        let statement = crate::cbor::Map::from_value(object.named("attStmt").unwrap()).unwrap();
        statement.named("x5c").unwrap().as_array().unwrap()[0].as_bytes().unwrap().clone()
    };
    let mut client = client_of(&device, &clock);
    // The vendor's own list has this one.
    let of_the_enterprise = certificate(&mut client, "example.com");
    assert_ne!(certificate(&mut client, "example.net"), of_the_enterprise);
    let mut client = client.with_enterprise_attestation(vec!["example.net".to_owned()]);
    assert_eq!(certificate(&mut client, "example.net"), of_the_enterprise);
    assert_ne!(certificate(&mut client, "example.org"), of_the_enterprise);
}

#[test]
fn a_new_pin_that_the_authenticators_policy_refuses_is_not_called_one_that_must_be_changed() {
    let configuration = Configuration { min_pin_length: 6, ..presence_only() };
    let (device, clock) = device(configuration, Auto);
    let mut client = client_of(&device, &clock);
    let refused = |result| matches!(result, Err(Error::NotVerified(NotVerified::PinRefused)));
    assert!(refused(client.set_pin("1234")));
    client.set_pin("123456").unwrap();
    assert!(refused(client.change_pin("123456", "4321")));
    client.verify_pin("123456").unwrap();
}
