//! Extensions (CTAP §12).

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
use doppelkey_core::testing::platform::{ACFG, MC, Platform, Secret, Token};
use doppelkey_core::{Configuration, CredentialStore as _, Extension, Status};
use wire::ceremony::{CLIENT_DATA_HASH, Get, Got, Made, Make, descriptors, verifying, world};
use wire::{bytes, get, map, send, status};

/// A discoverable credential, made with verification.
fn make(user: &str) -> Make {
    Make::new(user).option("uv", true)
}

#[test]
fn section_12_1_cred_protect_hides_credentials_from_whoever_is_not_verified() {
    // (level, listed without uv, discovered without uv)
    for (level, listed, discovered) in [(1, true, true), (2, true, false), (3, false, false)] {
        let mut world = verifying();
        let made = make("alice").extension("credProtect", level.into()).send(&mut world).unwrap();
        assert_eq!(made.data.extension("credProtect"), Some(&Value::from(level)));
        let found = |result: Result<Got, u8>| match result {
            Ok(got) => got.id() == made.id(),
            Err(code) => {
                assert_eq!(code, Status::NoCredentials as u8);
                false
            }
        };
        assert_eq!(found(Get::allowing([made.id()]).send(&mut world)), listed, "level {level}");
        assert_eq!(found(Get::new().send(&mut world)), discovered, "level {level}");
        assert!(found(Get::allowing([made.id()]).option("uv", true).send(&mut world)));
        assert!(found(Get::new().option("uv", true).send(&mut world)));
    }
}

#[test]
fn section_12_1_a_protected_credential_excludes_only_for_verified_users() {
    let mut world = verifying();
    let made = Make::not_discoverable("alice").extension("credProtect", 3.into()).send(&mut world).unwrap();
    let again = || Make::not_discoverable("bob").with(5, descriptors([made.id()]));
    assert!(again().send(&mut world).is_ok());
    assert_eq!(again().option("uv", true).send(&mut world), status(Status::CredentialExcluded));
}

#[test]
fn section_12_1_a_level_there_is_not_is_refused() {
    for level in [0, 4] {
        let make = Make::new("a").extension("credProtect", level.into());
        assert_eq!(make.send(&mut world()), status(Status::InvalidOption));
    }
    let make = Make::new("a").extension("credProtect", "3".into());
    assert_eq!(make.send(&mut world()), status(Status::CborUnexpectedType));
}

#[test]
fn section_12_1_a_model_may_protect_by_default() {
    let mut world = World::new(Configuration {
        default_protection: doppelkey_core::CredentialProtection::Required,
        ..Configuration::default()
    });
    Make::new("alice").send(&mut world).unwrap();
    assert_eq!(Get::new().send(&mut world), status(Status::NoCredentials));
}

#[test]
fn section_12_2_cred_blob_comes_back_and_says_when_it_was_not_kept() {
    let mut world = world();
    let blob = |size: usize| bytes(vec![7; size]);
    let made = Make::new("alice").extension("credBlob", blob(32)).send(&mut world).unwrap();
    assert_eq!(made.data.extension("credBlob"), Some(&Value::Bool(true)));
    let got = Get::new().extension("credBlob", true.into()).send(&mut world).unwrap();
    assert_eq!(got.data.extension("credBlob"), Some(&blob(32)));
    assert_eq!(Get::new().send(&mut world).unwrap().data.extensions, None);
    for make in [
        Make::new("alice").extension("credBlob", blob(33)),
        Make::not_discoverable("bob").extension("credBlob", blob(32)),
    ] {
        let made = make.send(&mut world).unwrap();
        assert_eq!(made.data.extension("credBlob"), Some(&Value::Bool(false)));
        let get = Get::allowing([made.id()]).extension("credBlob", true.into());
        assert_eq!(get.send(&mut world).unwrap().data.extension("credBlob"), Some(&blob(0)));
    }
}

#[test]
fn section_12_3_large_blob_key_is_given_at_creation_and_use_and_only_when_asked_for() {
    let mut world = world();
    let made = Make::new("alice").extension("largeBlobKey", true.into()).send(&mut world).unwrap();
    let key = get(&made.response, 5).unwrap().clone();
    assert_eq!(key.as_bytes().map(Vec::len), Some(32));
    assert_eq!(made.data.extensions, None);
    let asking = Get::new().extension("largeBlobKey", true.into()).send(&mut world).unwrap();
    assert_eq!(get(&asking.response, 7), Some(&key));
    assert_eq!(get(&Get::new().send(&mut world).unwrap().response, 7), None);
    let other = Make::new("bob").send(&mut world).unwrap();
    let get_other = Get::allowing([other.id()]).extension("largeBlobKey", true.into());
    assert_eq!(get(&get_other.send(&mut world).unwrap().response, 7), None);
}

#[test]
fn section_12_3_large_blob_key_needs_a_discoverable_credential_and_true() {
    let option = Status::InvalidOption;
    let make = Make::new("a").extension("largeBlobKey", false.into());
    assert_eq!(make.send(&mut world()), status(option));
    let make = Make::not_discoverable("a").extension("largeBlobKey", true.into());
    assert_eq!(make.send(&mut world()), status(option));
    let mut world = world();
    Make::new("a").send(&mut world).unwrap();
    assert_eq!(Get::new().extension("largeBlobKey", false.into()).send(&mut world), status(option));
}

#[test]
fn section_12_5_pin_policies_are_told_to_nobody_who_was_not_named() {
    let make = Make::new("a").extension("minPinLength", true.into());
    let made = make.extension("pinComplexityPolicy", true.into()).send(&mut world()).unwrap();
    assert_eq!(made.data.extensions, None);
}

#[test]
fn section_12_5_pin_policies_are_told_to_whom_an_administrator_named() {
    let mut world = world();
    let platform = Platform(2);
    platform.set_pin(&mut world, "123456").unwrap();
    let token = platform.token(&mut world, "123456", ACFG | MC, Some("example.com")).unwrap();
    // setMinPINLength: 6, told to example.com.
    let parameters = map([(1, 6.into()), (2, Value::Array(vec!["example.com".into()]))]);
    assert_eq!(told(&mut world, &token, parameters), (6.into(), false.into()));
}

#[test]
fn section_12_9_a_complexity_policy_in_force_is_told_to_whom_an_administrator_named() {
    let mut world = world();
    let platform = Platform(2);
    platform.set_pin(&mut world, "8 bananas").unwrap();
    let token = platform.token(&mut world, "8 bananas", ACFG, None).unwrap();
    let parameters = map([(2, Value::Array(vec!["example.com".into()])), (4, true.into())]);
    set_min_pin_length(&mut world, &token, parameters);
    platform.change_pin(&mut world, "8 bananas", "9 bananas").unwrap();
    let token = platform.token(&mut world, "9 bananas", MC, Some("example.com")).unwrap();
    assert_eq!(policies(&mut world, &token), (4.into(), true.into()));
}

fn set_min_pin_length(world: &mut World, token: &Token, parameters: Value) {
    let mut message = [vec![0xFF; 32], vec![0x0D, 3]].concat();
    ciborium::into_writer(&parameters, &mut message).unwrap();
    let request = map([(1, 3.into()), (2, parameters), (3, 2.into()), (4, token.authenticate(&message))]);
    send(world, 0x0D, &request).unwrap();
}

fn told(world: &mut World, token: &Token, parameters: Value) -> (Value, Value) {
    set_min_pin_length(world, token, parameters);
    policies(world, token)
}

/// What minPinLength and pinComplexityPolicy say to example.com.
fn policies(world: &mut World, token: &Token) -> (Value, Value) {
    let make = Make::new("a").with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, 2.into());
    let make = make.extension("minPinLength", true.into()).extension("pinComplexityPolicy", true.into());
    let made = make.send(world).unwrap();
    let output = |name| made.data.extension(name).unwrap().clone();
    (output("minPinLength"), output("pinComplexityPolicy"))
}

#[test]
fn section_12_9_third_party_payment_is_remembered() {
    for make in [Make::new("alice"), Make::not_discoverable("alice")] {
        let mut world = world();
        let made = make.extension("thirdPartyPayment", true.into()).send(&mut world).unwrap();
        let asking = Get::allowing([made.id()]).extension("thirdPartyPayment", true.into());
        let got = asking.send(&mut world).unwrap();
        assert_eq!(got.data.extension("thirdPartyPayment"), Some(&Value::Bool(true)));
    }
    let mut world = world();
    Make::new("alice").send(&mut world).unwrap();
    let got = Get::new().extension("thirdPartyPayment", true.into()).send(&mut world).unwrap();
    assert_eq!(got.data.extension("thirdPartyPayment"), Some(&Value::Bool(false)));
}

#[test]
fn uvm_says_how_the_user_was_verified() {
    let mut world = verifying();
    let method =
        |extension: Option<&Value>| extension.unwrap().as_array().unwrap()[0].as_array().unwrap()[0].clone();
    let made = make("alice").extension("uvm", true.into()).send(&mut world).unwrap();
    assert_eq!(method(made.data.extension("uvm")), Value::from(2));
    let got = Get::new().extension("uvm", true.into()).send(&mut world).unwrap();
    assert_eq!(method(got.data.extension("uvm")), Value::from(1));
}

#[test]
fn uvm_of_a_token_says_how_the_token_was_got() {
    for (by_pin, method) in [(true, 0x800), (false, 2)] {
        let mut world = verifying();
        let platform = Platform(2);
        let token = if by_pin {
            platform.set_pin(&mut world, "a1b2c3d4").unwrap();
            platform.token(&mut world, "a1b2c3d4", MC, Some("example.com")).unwrap()
        } else {
            platform.uv_token(&mut world, MC, Some("example.com")).unwrap()
        };
        let make = Make::new("alice").extension("uvm", true.into());
        let make = make.with(8, token.authenticate(&CLIENT_DATA_HASH)).with(9, token.protocol());
        let made = make.send(&mut world).unwrap();
        let entry = [method, 1, 1].map(Value::from).to_vec();
        assert_eq!(made.data.extension("uvm"), Some(&Value::Array(vec![Value::Array(entry)])));
    }
}

#[test]
fn extensions_that_are_not_offered_are_ignored() {
    let mut world = world();
    world.authenticator().configuration_mut().extensions = doppelkey_core::list::<Extension>(&[]);
    let make = Make::new("a").extension("credProtect", 99.into()).extension("hmac-secret", Value::Null);
    assert_eq!(make.send(&mut world).unwrap().data.extensions, None);
}

#[test]
fn outputs_are_in_canonical_order() {
    let mut world = world();
    let platform = Salted::new(&mut world, 2);
    let make = Make::new("a")
        .extension("uvm", true.into())
        .extension("credBlob", bytes([1]))
        .extension("credProtect", 2.into())
        .extension("hmac-secret", true.into())
        .extension("hmac-secret-mc", platform.input(&[[1; 32]]));
    let made = make.send(&mut world).unwrap();
    let names: Vec<&str> = made
        .data
        .extensions
        .as_ref()
        .unwrap()
        .as_map()
        .unwrap()
        .iter()
        .filter_map(|(key, _)| key.as_text())
        .collect();
    assert_eq!(names, ["uvm", "credBlob", "credProtect", "hmac-secret", "hmac-secret-mc"]);
}

/// The platform's side of hmac-secret.
struct Salted {
    protocol: u8,
    secret: Secret,
}

impl Salted {
    fn new(world: &mut World, protocol: u8) -> Self {
        Salted { protocol, secret: Platform(protocol).agree(world) }
    }

    fn input_of(&self, salt_enc: &[u8], salt_auth: Value) -> Value {
        map([
            (1, self.secret.platform_key.clone()),
            (2, bytes(salt_enc)),
            (3, salt_auth),
            (4, self.protocol.into()),
        ])
    }

    fn input(&self, salts: &[[u8; 32]]) -> Value {
        let salt_enc = self.secret.encrypt(salts.as_flattened());
        self.input_of(&salt_enc, self.secret.authenticate(&salt_enc))
    }

    fn decrypted(&self, output: &Value) -> Vec<u8> {
        self.secret.decrypt(output.as_bytes().unwrap())
    }

    fn secrets(&self, world: &mut World, made: &Made, salts: &[[u8; 32]], uv: bool) -> Vec<u8> {
        let get = Get::allowing([made.id()]).extension("hmac-secret", self.input(salts)).option("uv", uv);
        self.decrypted(get.send(world).unwrap().data.extension("hmac-secret").unwrap())
    }
}

#[test]
fn section_12_7_hmac_secret_gives_a_secret_for_each_salt_by_both_protocols() {
    let discoverable = make("alice").extension("hmac-secret", true.into());
    let wrapped = Make::not_discoverable("bob").extension("hmac-secret", true.into());
    for request in [discoverable, wrapped] {
        let mut world = verifying();
        let made = request.send(&mut world).unwrap();
        assert_eq!(made.data.extension("hmac-secret"), Some(&Value::Bool(true)));
        let [first, second] = [1, 2].map(|protocol| Salted::new(&mut world, protocol));
        let one = first.secrets(&mut world, &made, &[[1; 32]], false);
        assert_eq!(one.len(), 32);
        let both = second.secrets(&mut world, &made, &[[1; 32], [2; 32]], false);
        assert_eq!(both.len(), 64);
        assert_eq!(both[..32], one[..]);
        assert_ne!(both[32..], one[..]);
        let verified = second.secrets(&mut world, &made, &[[1; 32]], true);
        assert_ne!(verified, one, "with verification, another CredRandom");
        world.replug();
        let third = Salted::new(&mut world, 2);
        assert_eq!(third.secrets(&mut world, &made, &[[1; 32]], false), one);
    }
}

#[test]
fn section_12_7_without_hmac_secret_at_creation_there_is_none() {
    let mut world = world();
    let platform = Salted::new(&mut world, 2);
    Make::new("alice").send(&mut world).unwrap();
    let got = Get::new().extension("hmac-secret", platform.input(&[[1; 32]])).send(&mut world).unwrap();
    assert_eq!(got.data.extensions, None);
}

#[test]
fn section_12_7_bad_input_is_refused() {
    for protocol in [1, 2] {
        refuses_bad_salts(protocol);
    }
}

fn refuses_bad_salts(protocol: u8) {
    let mut world = world();
    Make::new("alice").extension("hmac-secret", true.into()).send(&mut world).unwrap();
    let platform = Salted::new(&mut world, protocol);
    let salt_enc = platform.secret.encrypt(&[1; 32]);
    let salt_auth = platform.secret.authenticate(&salt_enc).into_bytes().unwrap();
    let mut ask = |input: Value| Get::new().extension("hmac-secret", input).send(&mut world);
    for index in 0..salt_auth.len() {
        let mut wrong = salt_auth.clone();
        wrong[index] ^= 1;
        assert_eq!(ask(platform.input_of(&salt_enc, bytes(wrong))), status(Status::PinAuthInvalid));
    }
    for size in [0, 16, 48, 80, 96] {
        let salt_enc = platform.secret.encrypt(&vec![1; size]);
        let input = platform.input_of(&salt_enc, platform.secret.authenticate(&salt_enc));
        assert_eq!(ask(input), status(Status::InvalidLength), "{size}");
    }
    let full = platform.input(&[[1; 32]]);
    for key in 1..=3 {
        let parts = full.as_map().unwrap().iter().filter(|(k, _)| *k != Value::from(key)).cloned();
        assert_eq!(ask(Value::Map(parts.collect())), status(Status::MissingParameter), "{key}");
    }
    let mut unknown = full.clone();
    unknown.as_map_mut().unwrap()[3].1 = 3.into();
    assert_eq!(ask(unknown), status(Status::InvalidParameter));
    let silent = Get::new().option("up", false).extension("hmac-secret", full);
    assert_eq!(silent.send(&mut world), status(Status::UnsupportedOption));
}

#[test]
fn section_12_7_without_a_protocol_the_first_is_meant() {
    let mut world = world();
    Make::new("alice").extension("hmac-secret", true.into()).send(&mut world).unwrap();
    let platform = Salted::new(&mut world, 1);
    let mut input = platform.input(&[[1; 32]]);
    input.as_map_mut().unwrap().pop();
    let get = || Get::new().extension("hmac-secret", input.clone());
    let got = get().send(&mut world).unwrap();
    assert_eq!(platform.decrypted(got.data.extension("hmac-secret").unwrap()).len(), 32);
    world.authenticator().configuration_mut().pin_uv_auth_protocols = doppelkey_core::list(&[2]);
    assert_eq!(get().send(&mut world), status(Status::MissingParameter));
}

#[test]
fn section_12_7_the_next_assertions_have_their_own_secrets() {
    let mut world = world();
    for user in ["alice", "bob"] {
        Make::new(user).extension("hmac-secret", true.into()).send(&mut world).unwrap();
    }
    let platform = Salted::new(&mut world, 2);
    let first = Get::new().extension("hmac-secret", platform.input(&[[1; 32]])).send(&mut world).unwrap();
    let second = wire::ceremony::next(&mut world).unwrap();
    let secret = |got: &Got| platform.decrypted(got.data.extension("hmac-secret").unwrap());
    assert_ne!(secret(&first), secret(&second));
}

#[test]
fn section_12_8_hmac_secret_mc_gives_at_creation_what_hmac_secret_gives_later() {
    for request in [make("alice"), Make::not_discoverable("bob").option("uv", true)] {
        let mut world = verifying();
        let platform = Salted::new(&mut world, 2);
        let salts = [[1; 32], [2; 32]];
        let request = request.extension("hmac-secret", true.into());
        let made = request.extension("hmac-secret-mc", platform.input(&salts)).send(&mut world).unwrap();
        let at_creation = platform.decrypted(made.data.extension("hmac-secret-mc").unwrap());
        assert_eq!(platform.secrets(&mut world, &made, &salts, true), at_creation);
    }
}

#[test]
fn section_12_8_hmac_secret_mc_goes_with_hmac_secret() {
    for protocol in [1, 2] {
        let mut world = world();
        let platform = Salted::new(&mut world, protocol);
        let make = || Make::new("alice").extension("hmac-secret-mc", platform.input(&[[1; 32]]));
        assert_eq!(make().send(&mut world), status(Status::MissingParameter));
        let refused = make().extension("hmac-secret", false.into());
        assert_eq!(refused.send(&mut world), status(Status::MissingParameter));
        assert_eq!(world.authenticator().store_mut().len(), Ok(0));
        assert!(world.asked.is_empty(), "a bad request costs no touch");
    }
}

#[test]
fn section_12_8_one_salt_or_two_by_both_protocols_and_apart_from_the_unverified_ones() {
    for protocol in [1, 2] {
        for salts in [&[[1; 32]][..], &[[1; 32], [2; 32]]] {
            let mut world = verifying();
            let platform = Salted::new(&mut world, protocol);
            let request = Make::new("alice").extension("hmac-secret", true.into());
            let made = request.extension("hmac-secret-mc", platform.input(salts)).send(&mut world);
            assert_eq!(
                made,
                status(Status::OperationDenied),
                "a discoverable credential needs verification here"
            );
            let request = Make::not_discoverable("alice").extension("hmac-secret", true.into());
            let made = request.extension("hmac-secret-mc", platform.input(salts)).send(&mut world).unwrap();
            let unverified = platform.decrypted(made.data.extension("hmac-secret-mc").unwrap());
            assert_eq!(platform.secrets(&mut world, &made, salts, false), unverified);
            let verified = platform.secrets(&mut world, &made, salts, true);
            assert_eq!(verified.len(), unverified.len());
            assert!(verified.chunks(32).zip(unverified.chunks(32)).all(|(with, without)| with != without));
        }
    }
}

#[test]
fn section_12_8_bad_input_is_refused() {
    for protocol in [1, 2] {
        let mut world = world();
        let platform = Salted::new(&mut world, protocol);
        let mut ask = |input: Value| {
            let make = Make::new("alice").extension("hmac-secret", true.into());
            make.extension("hmac-secret-mc", input).send(&mut world)
        };
        for size in [0, 16, 48, 96] {
            let salt_enc = platform.secret.encrypt(&vec![1; size]);
            let input = platform.input_of(&salt_enc, platform.secret.authenticate(&salt_enc));
            assert_eq!(ask(input), status(Status::InvalidLength), "{size}");
        }
        for input in [Value::Bool(true), "salt".into(), bytes([1; 32]), Value::Array(vec![]), 1.into()] {
            assert_eq!(ask(input), status(Status::CborUnexpectedType));
        }
    }
}

#[test]
fn section_12_7_at_creation_hmac_secret_is_a_boolean() {
    for input in [Value::from(1), "true".into(), bytes([1]), map([]), Value::Null] {
        let make = Make::new("alice").extension("hmac-secret", input);
        assert_eq!(make.send(&mut world()), status(Status::CborUnexpectedType));
    }
}

#[test]
fn section_12_3_large_blob_keys_are_random_and_the_input_is_a_boolean() {
    let mut world = world();
    let key = |world: &mut World, user: &str| {
        let made = Make::new(user).extension("largeBlobKey", true.into()).send(world).unwrap();
        get(&made.response, 5).unwrap().clone()
    };
    assert_ne!(key(&mut world, "alice"), key(&mut world, "bob"));
    for input in [Value::from(1), "true".into(), Value::Null] {
        let make = Make::new("carol").extension("largeBlobKey", input.clone());
        assert_eq!(make.send(&mut world), status(Status::CborUnexpectedType));
        let get = Get::new().extension("largeBlobKey", input);
        assert_eq!(get.send(&mut world), status(Status::CborUnexpectedType));
    }
}
