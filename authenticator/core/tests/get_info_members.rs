//! Each member of getInfo's response tells the truth (CTAP §6.4): what it says is what the device does.

mod wire;

use ciborium::Value;
use doppelkey_core::testing::platform::{ACFG, BOTH, CM, PCMR, Platform, Token};
use doppelkey_core::testing::{Does, World};
use doppelkey_core::{
    Action, Algorithm, Answer, Configuration, Extension, MemoryStore, Status, Transport, Version, list,
};
use wire::ceremony::{Get, Make, algorithms, verifying, world};
use wire::{bytes, get, get_named, map, named, raw, send, status};

const PIN: &str = "a1b2c3d4";
const PLATFORM: Platform = Platform(2);

fn member(world: &mut World, key: i32) -> Option<Value> {
    get(&raw(world, &[0x04]).unwrap(), key).cloned()
}

fn number(world: &mut World, key: i32) -> usize {
    let number =
        member(world, key).and_then(|value| value.as_integer()).unwrap_or_else(|| panic!("{key:#04x}"));
    usize::try_from(i128::from(number)).unwrap()
}

fn texts(world: &mut World, key: i32) -> Vec<String> {
    let items = member(world, key).and_then(|value| value.into_array().ok()).unwrap_or_default();
    items.into_iter().map(|item| item.into_text().unwrap()).collect()
}

fn option(world: &mut World, name: &str) -> Option<bool> {
    get_named(&member(world, 0x04).unwrap(), name).map(|value| value.as_bool().unwrap())
}

fn configure(
    world: &mut World,
    token: &Token,
    subcommand: u8,
    parameters: Option<Value>,
) -> Result<Value, u8> {
    let mut message = [&[0xFF; 32][..], &[0x0D, subcommand]].concat();
    if let Some(parameters) = &parameters {
        ciborium::into_writer(parameters, &mut message).unwrap();
    }
    let mut members = vec![(1, subcommand.into())];
    members.extend(parameters.map(|parameters| (2, parameters)));
    members.extend([(3, token.protocol()), (4, token.authenticate(&message))]);
    send(world, 0x0D, &map(members))
}

fn with_pin(world: &mut World, subcommand: u8, parameters: Option<Value>) -> Result<Value, u8> {
    let token = PLATFORM.token(world, PIN, ACFG, None)?;
    configure(world, &token, subcommand, parameters)
}

#[test]
fn section_6_4_0x01_a_version_that_is_listed_is_spoken() {
    let mut all = world();
    assert_eq!(texts(&mut all, 0x01), ["U2F_V2", "FIDO_2_0", "FIDO_2_1", "FIDO_2_3"]);
    let version = [0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00];
    assert_eq!(all.msg(&version), (b"U2F_V2".to_vec(), 0x9000));
    let versions = list(&[Version::Fido2_3]);
    let mut newest = World::new(Configuration { versions, ..Configuration::default() });
    assert_eq!(texts(&mut newest, 0x01), ["FIDO_2_3"]);
    assert_eq!(newest.msg(&version), (vec![], 0x6D00));
}

#[test]
fn section_6_4_0x02_an_extension_that_is_not_listed_is_ignored() {
    let made = |world: &mut World| {
        let make = Make::new("alice").extension("credProtect", 2.into()).extension("credBlob", bytes([1]));
        make.extension("hmac-secret", true.into()).extension("uvm", true.into()).send(world).unwrap()
    };
    let mut all = world();
    let listed = texts(&mut all, 0x02);
    assert_eq!(listed, Extension::ALL.iter().map(|one| one.name()).collect::<Vec<_>>());
    for name in ["credProtect", "credBlob", "hmac-secret", "uvm"] {
        assert!(made(&mut all).data.extension(name).is_some(), "{name}");
        let mut without = world();
        without.authenticator().configuration_mut().extensions.retain(|one| one.name() != name);
        assert!(!texts(&mut without, 0x02).iter().any(|one| one == name));
        assert!(made(&mut without).data.extension(name).is_none(), "{name}");
    }
}

#[test]
fn section_6_4_0x03_the_aaguid_is_that_of_new_credentials() {
    let mut world = World::new(Configuration { aaguid: [0xA7; 16], ..Configuration::default() });
    let made = Make::new("alice").send(&mut world).unwrap();
    assert_eq!(member(&mut world, 0x03), Some(bytes(made.aaguid())));
    assert_eq!(made.aaguid(), [0xA7; 16]);
}

#[test]
fn section_6_4_0x04_an_option_that_is_listed_can_be_had_and_its_value_is_of_this_moment() {
    let mut world = verifying();
    assert_eq!((option(&mut world, "rk"), option(&mut world, "up")), (Some(true), Some(true)));
    assert!(Make::new("alice").option("rk", true).send(&mut world).is_err(), "it can verify, so it must");
    assert!(Make::new("alice").option("rk", true).option("uv", true).send(&mut world).unwrap().data.uv);
    assert_eq!(option(&mut world, "makeCredUvNotRqd"), Some(true));
    assert!(Make::not_discoverable("bob").send(&mut world).is_ok());
    assert_eq!(option(&mut world, "clientPin"), Some(false));
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    assert_eq!(option(&mut world, "clientPin"), Some(true));
    for (subcommand, name) in [(1, "ep"), (2, "alwaysUv")] {
        assert_eq!(option(&mut world, name), Some(false));
        with_pin(&mut world, subcommand, None).unwrap();
        assert_eq!(option(&mut world, name), Some(true));
    }
    assert_eq!(option(&mut world, "makeCredUvNotRqd"), Some(false), "alwaysUv takes it back");
    assert!(Make::not_discoverable("bob").send(&mut world).unwrap().data.uv);
    assert!(option(&mut world, "plat").is_none());
}

#[test]
fn section_6_4_0x05_a_message_is_as_long_as_that_and_not_longer() {
    let mut world = world();
    world.authenticator().configuration_mut().limits.max_message_size = 1200;
    let longest = number(&mut world, 0x05);
    let request = |length: usize| {
        // getInfo takes no parameters, and ignores those it gets.
        let mut request = vec![0x04];
        let padding = length - 1 - 1 - 1 - 3;
        ciborium::into_writer(&map([(1, bytes(vec![0; padding]))]), &mut request).unwrap();
        assert_eq!(request.len(), length);
        request
    };
    assert!(raw(&mut world, &request(longest)).is_ok());
    assert_eq!(raw(&mut world, &request(longest + 1)), status(Status::RequestTooLarge));
}

#[test]
fn section_6_4_0x06_the_protocols_that_are_listed_are_the_only_ones() {
    for (offered, refused) in [(1, 2), (2, 1)] {
        let mut world = world();
        world.authenticator().configuration_mut().pin_uv_auth_protocols = list(&[offered]);
        assert_eq!(member(&mut world, 0x06), Some(Value::Array(vec![offered.into()])));
        assert!(Platform(offered).set_pin(&mut world, PIN).is_ok());
        let other = map([(1, refused.into()), (2, 2.into())]);
        assert_eq!(send(&mut world, 0x06, &other), status(Status::InvalidParameter));
    }
    let both = Value::Array(vec![2.into(), 1.into()]);
    assert_eq!(member(&mut world(), 0x06), Some(both), "the better one first");
    assert_eq!(BOTH.len(), 2);
}

#[test]
fn section_6_4_0x07_a_list_is_as_long_as_that_and_not_longer() {
    assert_eq!(member(&mut world(), 0x07), None, "there is no limit");
    let mut world = world();
    world.authenticator().configuration_mut().limits.max_credential_count_in_list = 5;
    let longest = number(&mut world, 0x07);
    let ids = |count| Get::allowing(vec![&[1; 32][..]; count]);
    assert_eq!(ids(longest).send(&mut world), status(Status::NoCredentials));
    assert_eq!(ids(longest + 1).send(&mut world), status(Status::LimitExceeded));
}

#[test]
fn section_6_4_0x08_no_credential_id_is_longer() {
    let mut world = world();
    let longest = number(&mut world, 0x08);
    for algorithm in Algorithm::ALL {
        for make in [Make::new("alice"), Make::not_discoverable("alice")] {
            let made = make.with(4, algorithms(&[algorithm.cose()])).send(&mut world).unwrap();
            assert!(made.id().len() <= longest, "{algorithm:?}");
        }
    }
}

#[test]
fn section_6_4_0x09_and_0x1a_transports_and_those_that_may_reset() {
    let mut world = world();
    assert_eq!((texts(&mut world, 0x09), texts(&mut world, 0x1A)), (vec!["usb".into()], vec!["usb".into()]));
    assert!(raw(&mut world, &[0x07]).is_ok());
    world.authenticator().configuration_mut().transports_for_reset = list(&[Transport::Nfc]);
    assert_eq!(texts(&mut world, 0x1A), ["nfc"]);
    assert_eq!(raw(&mut world, &[0x07]), status(Status::OperationDenied));
}

#[test]
fn section_6_4_0x0a_the_algorithms_that_are_listed_make_credentials() {
    let mut world = world();
    let listed = member(&mut world, 0x0A).unwrap().into_array().unwrap();
    let numbers: Vec<i32> = listed
        .iter()
        .map(|entry| {
            assert_eq!(get_named(entry, "type"), Some(&Value::from("public-key")));
            i128::from(get_named(entry, "alg").unwrap().as_integer().unwrap()).try_into().unwrap()
        })
        .collect();
    let mut unique = numbers.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!((unique.len(), numbers.len()), (10, 10));
    for number in numbers {
        let made = Make::new("alice").with(4, algorithms(&[number])).send(&mut world).unwrap();
        assert_eq!(get(made.public_key(), 3), Some(&Value::from(number)));
    }
    let unlisted = Make::new("alice").with(4, algorithms(&[-19]));
    assert_eq!(unlisted.send(&mut world), status(Status::UnsupportedAlgorithm));
}

#[test]
fn section_6_4_0x0b_an_array_is_as_large_as_that_and_not_larger() {
    let mut world = world();
    let largest = number(&mut world, 0x0B);
    assert!(largest >= 1024);
    let begin = |length: usize| map([(2, bytes([0; 8])), (3, 0.into()), (4, Value::from(length as u64))]);
    assert!(send(&mut world, 0x0C, &begin(largest)).is_ok());
    assert_eq!(send(&mut world, 0x0C, &begin(largest + 1)), status(Status::LargeBlobStorageFull));
}

#[test]
fn section_6_4_0x0c_a_pin_that_must_be_changed_serves_for_nothing_else() {
    let mut world = world();
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    assert_eq!(member(&mut world, 0x0C), Some(false.into()));
    assert!(PLATFORM.pin_token(&mut world, PIN).is_ok());
    with_pin(&mut world, 3, Some(map([(3, true.into())]))).unwrap();
    assert_eq!(member(&mut world, 0x0C), Some(true.into()));
    assert!(PLATFORM.pin_token(&mut world, PIN).is_err());
}

#[test]
fn section_6_4_0x0d_and_0x1d_pins_are_as_short_and_as_long_as_that() {
    let mut world =
        World::new(Configuration { min_pin_length: 6, max_pin_length: 40, ..Configuration::default() });
    let (shortest, longest) = (number(&mut world, 0x0D), number(&mut world, 0x1D));
    for length in [shortest - 1, longest + 1] {
        let refused = PLATFORM.set_pin(&mut world, &"x".repeat(length));
        assert_eq!(refused, status(Status::PinPolicyViolation), "{length}");
    }
    assert!(PLATFORM.set_pin(&mut world, &"x".repeat(shortest)).is_ok());
    assert!(PLATFORM.change_pin(&mut world, &"x".repeat(shortest), &"y".repeat(longest)).is_ok());
}

#[test]
fn section_6_4_0x0e_and_0x13_a_model_s_version_and_certifications_are_its_own() {
    let mut world = World::new(Configuration { firmware_version: None, ..Configuration::default() });
    assert_eq!((member(&mut world, 0x0E), member(&mut world, 0x13)), (None, None));
    let configuration = world.authenticator().configuration_mut();
    configuration.firmware_version = Some(0x0005_0704);
    configuration.certifications.push(("FIDO".try_into().unwrap(), 3)).unwrap();
    assert_eq!(number(&mut world, 0x0E), 0x0005_0704);
    assert_eq!(member(&mut world, 0x13), Some(named([("FIDO", 3.into())])));
}

#[test]
fn section_6_4_0x0f_a_blob_is_as_long_as_that_and_not_longer() {
    let mut world = world();
    let longest = number(&mut world, 0x0F);
    assert!(longest >= 32);
    for (length, kept) in [(longest, true), (longest + 1, false)] {
        let made = Make::new("alice").extension("credBlob", bytes(vec![1; length])).send(&mut world).unwrap();
        assert_eq!(made.data.extension("credBlob"), Some(&kept.into()));
    }
}

#[test]
fn section_6_4_0x10_so_many_rp_ids_are_told_the_minimum_pin_length() {
    let mut world = world();
    let most = number(&mut world, 0x10);
    let told = |count: usize| {
        let rp_ids = (0..count).map(|number| format!("{number}.example").into());
        map([(1, 3.into()), (2, map([(2, Value::Array(rp_ids.collect()))]))])
    };
    assert!(send(&mut world, 0x0D, &told(most)).is_ok());
    assert_eq!(send(&mut world, 0x0D, &told(most + 1)), status(Status::KeyStoreFull));
}

#[test]
fn section_6_4_0x11_so_many_attempts_do_not_block_verification() {
    let mut world = verifying();
    world.user = Box::new(|_| Does::Says(Answer::NotVerified));
    for _ in 0..number(&mut world, 0x11) {
        assert_eq!(PLATFORM.uv_token(&mut world, CM, None), status(Status::UvInvalid));
    }
    world.user = Box::new(|_| doppelkey_core::testing::APPROVES);
    assert!(PLATFORM.uv_token(&mut world, CM, None).is_ok());
}

#[test]
fn section_6_4_0x12_the_modality_is_the_method_that_uvm_tells() {
    let mut world = verifying();
    let made = Make::new("alice").option("uv", true).extension("uvm", true.into()).send(&mut world).unwrap();
    let uvm = made.data.extension("uvm").unwrap().as_array().unwrap()[0].as_array().unwrap()[0].clone();
    assert_eq!(member(&mut world, 0x12), Some(uvm));
}

#[test]
fn section_6_4_0x14_so_many_credentials_fit() {
    let mut world = World::with_store(Configuration::default(), MemoryStore::with_capacity(3));
    for left in (1..=3).rev() {
        assert_eq!(number(&mut world, 0x14), left);
        Make::new(&format!("user {left}")).send(&mut world).unwrap();
    }
    assert_eq!(number(&mut world, 0x14), 0);
    assert_eq!(Make::new("one more").send(&mut world), status(Status::KeyStoreFull));
}

#[test]
fn section_6_4_0x15_and_0x1f_the_subcommands_that_are_listed_are_the_only_ones() {
    let mut world = world();
    world.authenticator().configuration_mut().vendor_prototype_config_commands.push(0x1234).unwrap();
    assert_eq!(member(&mut world, 0x15), Some(Value::Array(vec![0x1234.into()])));
    let listed = member(&mut world, 0x1F).unwrap().into_array().unwrap();
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    for subcommand in 0..=255 {
        let vendor = (subcommand == 0xFF).then(|| map([(1, 0x1234.into())]));
        let refused = with_pin(&mut world, subcommand, vendor) == status(Status::InvalidParameter);
        assert_eq!(refused, !listed.contains(&subcommand.into()), "{subcommand:#04x}");
        // Each of them may have changed what the next would meet.
        world.replug();
        raw(&mut world, &[0x07]).unwrap();
        PLATFORM.set_pin(&mut world, PIN).unwrap();
    }
}

#[test]
fn section_6_4_0x16_the_formats_that_are_listed_can_be_asked_for() {
    let mut world = world();
    let formats = texts(&mut world, 0x16);
    assert_eq!(formats, ["packed", "none"]);
    for format in formats {
        let preference = Value::Array(vec![format.as_str().into()]);
        assert_eq!(Make::new("alice").with(11, preference).send(&mut world).unwrap().format(), format);
    }
}

#[test]
fn section_6_4_0x17_verifications_since_the_last_pin_are_counted() {
    let mut world = verifying();
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    for count in 0..3 {
        assert_eq!(number(&mut world, 0x17), count);
        PLATFORM.uv_token(&mut world, CM, None).unwrap();
    }
    PLATFORM.pin_token(&mut world, PIN).unwrap();
    assert_eq!(number(&mut world, 0x17), 0);
}

#[test]
fn section_6_4_0x18_a_long_touch_is_asked_for_where_it_says_so() {
    for long in [false, true] {
        let mut world =
            World::new(Configuration { long_touch_for_reset: Some(long), ..Configuration::default() });
        assert_eq!(member(&mut world, 0x18), Some(long.into()));
        raw(&mut world, &[0x07]).unwrap();
        assert_eq!(world.asked.last().unwrap().action, Action::Reset { long });
    }
}

#[test]
fn section_6_4_0x19_and_0x1e_change_with_a_reset_and_the_state_with_every_credential() {
    let mut world = world();
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    let mut token = PLATFORM.token(&mut world, PIN, PCMR, None).unwrap();
    let (identifier, mut state) = identifiers(&mut world, &token);
    let mut changed = |world: &mut World, token: &Token| {
        let (same, now) = identifiers(world, token);
        assert_eq!(same, identifier);
        assert_ne!(now, state);
        state = now;
    };
    let make = PLATFORM.token(&mut world, PIN, 0x01, Some("example.com")).unwrap();
    let request = Make::new("alice").with(8, make.authenticate(&[0xCD; 32])).with(9, 2.into());
    let made = request.send(&mut world).unwrap();
    changed(&mut world, &token);
    let id = named([("id", bytes(made.id())), ("type", "public-key".into())]);
    let user = named([("id", bytes("alice")), ("name", "new".into())]);
    for (subcommand, parameters) in [(7, map([(2, id.clone()), (3, user)])), (6, map([(2, id)]))] {
        let manage = PLATFORM.token(&mut world, PIN, CM, None).unwrap();
        let mut message = vec![subcommand];
        ciborium::into_writer(&parameters, &mut message).unwrap();
        let request =
            [(1, subcommand.into()), (2, parameters), (3, 2.into()), (4, manage.authenticate(&message))];
        send(&mut world, 0x0A, &map(request)).unwrap();
        changed(&mut world, &token);
    }
    raw(&mut world, &[0x07]).unwrap();
    PLATFORM.set_pin(&mut world, PIN).unwrap();
    token = PLATFORM.token(&mut world, PIN, PCMR, None).unwrap();
    let after = identifiers(&mut world, &token);
    assert_ne!((after.0, after.1), (identifier, state));
    assert_ne!(after.0, identifier, "another device to whoever knew it before");
}

/// encIdentifier and encCredStoreState, decrypted as a platform does it.
fn identifiers(world: &mut World, token: &Token) -> ([u8; 16], [u8; 16]) {
    use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _, block_padding::NoPadding};
    let mut decrypted = |key: i32, info: &[u8]| {
        let encrypted = member(world, key).unwrap().into_bytes().unwrap();
        let again = member(world, key).unwrap().into_bytes().unwrap();
        assert_ne!(encrypted[..16], again[..16], "a new initialisation vector each time");
        let mut secret = [0; 16];
        hkdf::Hkdf::<sha2::Sha256>::new(Some(&[0; 32]), &token.bytes).expand(info, &mut secret).unwrap();
        let (iv, mut block): ([u8; 16], [u8; 16]) =
            (encrypted[..16].try_into().unwrap(), encrypted[16..].try_into().unwrap());
        let decryptor = cbc::Decryptor::<aes::Aes128>::new(&secret.into(), &iv.into());
        decryptor.decrypt_padded::<NoPadding>(&mut block).unwrap();
        block
    };
    (decrypted(0x19, b"encIdentifier"), decrypted(0x1E, b"encCredStoreState"))
}

#[test]
fn section_6_4_0x1b_and_0x1c_simple_pins_are_refused_where_it_says_so() {
    let mut world = world();
    assert_eq!((member(&mut world, 0x1B), member(&mut world, 0x1C)), (Some(false.into()), None));
    assert!(PLATFORM.set_pin(&mut world, "1111").is_ok());
    let pin_complexity_url = Some("https://example.com/pins".try_into().unwrap());
    let mut strict =
        World::new(Configuration { pin_complexity: true, pin_complexity_url, ..Configuration::default() });
    assert_eq!(member(&mut strict, 0x1B), Some(true.into()));
    assert_eq!(member(&mut strict, 0x1C), Some(bytes("https://example.com/pins")));
    assert_eq!(PLATFORM.set_pin(&mut strict, "1111"), status(Status::PinPolicyViolation));
    assert!(PLATFORM.set_pin(&mut strict, "8 bananas").is_ok());
}
