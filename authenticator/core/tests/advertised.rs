//! What a build lacks it does not advertise, whatever its configuration says; what it advertises it does. For every
//! combination of the crate's features.

mod wire;

use ciborium::Value;
use doppelkey_core::testing::World;
#[cfg(feature = "credential-management")]
use doppelkey_core::testing::platform::CM;
use doppelkey_core::testing::platform::Platform;
use doppelkey_core::{Configuration, Extension, OptionId, Status, Version, list};
#[cfg(feature = "credential-management")]
use sha2::{Digest as _, Sha256};
use wire::ceremony::{Get, Make};
use wire::{bytes, get, get_named, raw};

/// A configuration that asks for everything there is.
fn greedy() -> World {
    World::new(Configuration {
        versions: list(Version::ALL),
        extensions: list(Extension::ALL),
        options: list(OptionId::ALL),
        vendor_prototype_config_commands: [7].into_iter().collect(),
        ..Configuration::default()
    })
}

fn names(info: &Value, member: i32) -> Vec<String> {
    let list = get(info, member).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter().map(|name| name.as_text().unwrap().to_owned()).collect()
}

#[test]
fn section_6_4_lists_what_this_build_has_and_nothing_else() {
    let info = raw(&mut greedy(), &[0x04]).unwrap();
    let versions = Version::ALL.iter().filter(|one| **one != Version::U2fV2 || cfg!(feature = "u2f"));
    assert_eq!(names(&info, 0x01), versions.map(|one| one.name()).collect::<Vec<_>>());
    let further = cfg!(feature = "further-extensions");
    let config = cfg!(feature = "authenticator-config");
    let extensions = [
        ("uvm", further),
        ("credBlob", further),
        ("credProtect", true),
        ("hmac-secret", true),
        ("largeBlobKey", cfg!(feature = "large-blobs")),
        ("minPinLength", config),
        ("hmac-secret-mc", further),
        ("thirdPartyPayment", further),
        ("pinComplexityPolicy", config),
    ];
    let extensions = extensions.iter().filter(|(_, built)| *built).map(|(name, _)| *name);
    assert_eq!(names(&info, 0x02), extensions.collect::<Vec<_>>());
    let uv = cfg!(feature = "built-in-verification");
    let (managed, permanent) = (cfg!(feature = "credential-management"), cfg!(feature = "persistent-token"));
    let options = get(&info, 0x04).unwrap();
    for (name, built) in [
        ("rk", true),
        ("clientPin", true),
        ("uv", uv),
        ("bioEnroll", uv),
        ("uvBioEnroll", uv),
        ("uvAcfg", uv),
        ("userVerificationMgmtPreview", uv),
        ("credMgmt", managed),
        ("credentialMgmtPreview", managed),
        ("perCredMgmtRO", permanent),
        ("authnrCfg", config),
        ("setMinPINLength", config),
        ("alwaysUv", config),
        ("largeBlobs", cfg!(feature = "large-blobs")),
    ] {
        assert_eq!(get_named(options, name).is_some(), built, "{name}");
    }
    for (member, built) in [
        (0x0B, cfg!(feature = "large-blobs")),
        (0x0F, further),
        (0x10, config),
        (0x15, config),
        (0x11, uv),
        (0x12, uv),
        (0x17, uv),
        (0x1F, config),
    ] {
        assert_eq!(get(&info, member).is_some(), built, "{member:#04x}");
    }
}

#[test]
fn section_6_4_always_uv_that_is_in_force_is_listed_by_every_build() {
    for always_uv in [true, false] {
        let mut world = World::new(Configuration { always_uv, ..Configuration::small() });
        let info = raw(&mut world, &[0x04]).unwrap();
        let listed = get_named(get(&info, 0x04).unwrap(), "alwaysUv").and_then(Value::as_bool);
        let can_be_switched = cfg!(feature = "authenticator-config");
        assert_eq!(listed, (always_uv || can_be_switched).then_some(always_uv));
    }
}

#[test]
fn section_8_1_a_command_is_known_where_its_option_is_listed() {
    let mut world = greedy();
    let info = raw(&mut world, &[0x04]).unwrap();
    for (command, option) in [
        (0x06, "clientPin"),
        (0x09, "bioEnroll"),
        (0x0A, "credMgmt"),
        (0x0C, "largeBlobs"),
        (0x0D, "authnrCfg"),
        (0x40, "userVerificationMgmtPreview"),
        (0x41, "credentialMgmtPreview"),
    ] {
        let listed = get_named(get(&info, 0x04).unwrap(), option).is_some();
        // Without parameters every one of them fails; the status tells why.
        let known = raw(&mut world, &[command]).unwrap_err() != Status::InvalidCommand as u8;
        assert_eq!(known, listed, "{command:#04x}");
    }
    let version = world.msg(&[0x00, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00]);
    let expected = if cfg!(feature = "u2f") { (b"U2F_V2".to_vec(), 0x9000) } else { (Vec::new(), 0x6D00) };
    assert_eq!(version, expected);
}

#[test]
fn section_12_an_extension_has_an_effect_where_it_is_listed() {
    let mut world = greedy();
    let info = raw(&mut world, &[0x04]).unwrap();
    let listed = |name: &str| names(&info, 0x02).iter().any(|one| one == name);
    let made = Make::new("alice")
        .extension("credProtect", 2.into())
        .extension("credBlob", bytes(b"blob"))
        .extension("hmac-secret", true.into())
        .extension("largeBlobKey", true.into())
        .extension("thirdPartyPayment", true.into())
        .extension("uvm", true.into())
        .send(&mut world)
        .unwrap();
    for name in ["credProtect", "credBlob", "hmac-secret", "uvm"] {
        assert_eq!(made.data.extension(name).is_some(), listed(name), "{name}");
    }
    assert_eq!(get(&made.response, 5).is_some(), listed("largeBlobKey"));
    let got = Get::allowing([made.id()])
        .extension("credBlob", true.into())
        .extension("largeBlobKey", true.into())
        .extension("thirdPartyPayment", true.into())
        .extension("uvm", true.into())
        .send(&mut world)
        .unwrap();
    for name in ["credBlob", "thirdPartyPayment", "uvm"] {
        assert_eq!(got.data.extension(name).is_some(), listed(name), "{name}");
    }
    assert_eq!(get(&got.response, 7).is_some(), listed("largeBlobKey"));
}

#[test]
fn section_6_4_0x06_hmac_secret_without_a_pin_names_its_protocols() {
    let mut world = greedy();
    let configuration = world.authenticator().configuration_mut();
    configuration.set_option(OptionId::ClientPin, false);
    configuration.set_option(OptionId::PinUvAuthToken, false);
    assert!(get(&raw(&mut world, &[0x04]).unwrap(), 0x06).is_some());
    world.authenticator().configuration_mut().extensions = list(&[]);
    assert!(get(&raw(&mut world, &[0x04]).unwrap(), 0x06).is_none());
}

#[test]
fn section_6_4_0x1b_what_is_said_of_simple_pins_is_so_in_every_build() {
    let mut world = World::new(Configuration { pin_complexity: true, ..Configuration::default() });
    assert_eq!(get(&raw(&mut world, &[0x04]).unwrap(), 0x1B), Some(&Value::Bool(true)));
    let set = |world: &mut World, pin| Platform(2).set_pin(world, pin);
    assert_eq!(set(&mut world, "1111"), Err(Status::PinPolicyViolation as u8));
    assert!(set(&mut world, "a1b2c3d4").is_ok());
}

#[cfg(feature = "credential-management")]
#[test]
fn section_6_8_4_without_third_party_payment_nothing_is_said_of_it() {
    for paying in [true, false] {
        let mut world = World::new(Configuration::default());
        if !paying {
            world.authenticator().configuration_mut().extensions = list(&[Extension::CredProtect]);
        }
        Make::new("alice").send(&mut world).unwrap();
        Platform(2).set_pin(&mut world, "a1b2c3d4").unwrap();
        let token = Platform(2).token(&mut world, "a1b2c3d4", CM, None).unwrap();
        let rp = wire::map([(1, bytes(Sha256::digest("example.com")))]);
        let mut message = vec![0x04];
        ciborium::into_writer(&rp, &mut message).unwrap();
        let members = [(1, 4.into()), (2, rp), (3, token.protocol()), (4, token.authenticate(&message))];
        let credential = wire::send(&mut world, 0x0A, &wire::map(members)).unwrap();
        assert_eq!(get(&credential, 12).is_some(), paying && cfg!(feature = "further-extensions"));
        assert!(get(&credential, 10).is_some());
    }
}
