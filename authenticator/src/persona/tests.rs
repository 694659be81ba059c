//! Personas by themselves; what relying parties say to them is in `tests/clients`.

use super::*;
use crate::client::Client;
use crate::client::{ephemeral_device, system_clock};
use crate::user_interface::Auto;
use serde_json::{Value, json};

fn authority() -> Authority {
    Authority::from_seed([7; 32])
}

fn registered(persona: &Persona) -> Value {
    let clock = system_clock();
    let device = ephemeral_device(persona.configuration.clone(), Box::new(Auto), clock.clone());
    let mut client = Client::new(device.connect(), clock, rand_core::UnwrapErr(getrandom::SysRng)).unwrap();
    let options = json!({
        "rp": { "id": "example.com", "name": "Example" },
        "user": { "id": "AQ", "name": "mona", "displayName": "Mona" },
        "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
        "attestation": "direct",
    });
    client.create("https://example.com", &options).unwrap_or_else(|error| panic!("{}: {error}", persona.name))
}

fn format_of(response: &Value) -> String {
    let object = response["response"]["attestationObject"].as_str().unwrap();
    let object = crate::text::from_base64url(object).unwrap();
    let object: ciborium::Value = ciborium::from_reader(&*object).unwrap();
    let members = object.into_map().unwrap();
    let format = members.into_iter().find(|(key, _)| key.as_text() == Some("fmt")).unwrap().1;
    format.into_text().unwrap()
}

#[test]
fn every_built_in_persona_registers_with_the_format_it_says() {
    for persona in Persona::built_in(&authority()) {
        if persona.name == "yubikey-4-u2f" {
            continue; // no CTAP2
        }
        let expected = match persona.profile.attestation {
            Some(Format::None) => "none",
            Some(Format::FidoU2f) => "fido-u2f",
            Some(Format::Tpm) => "tpm",
            Some(Format::AndroidKey) => "android-key",
            Some(Format::Apple) => "apple",
            Some(Format::Compound) => "compound",
            _ => "packed",
        };
        assert_eq!(format_of(&registered(&persona)), expected, "{}", persona.name);
    }
}

#[test]
fn a_profile_is_what_get_info_says() {
    let persona = Persona::load("yubikey-5-nfc", &authority()).unwrap();
    let info = metadata::get_info(&persona.configuration);
    assert_eq!(info["aaguid"], "2fc0579f811347eab116bb5a8db9202a");
    assert_eq!(info["versions"], json!(["U2F_V2", "FIDO_2_0", "FIDO_2_1_PRE"]));
    assert_eq!((&info["maxMsgSize"], &info["maxCredentialCountInList"]), (&json!(1200), &json!(8)));
    let newer = Persona::load("yubikey-5-nfc-5.7", &authority()).unwrap();
    assert_eq!(metadata::get_info(&newer.configuration)["remainingDiscoverableCredentials"], 100);
    assert_eq!(info["firmwareVersion"], 328707);
}

#[test]
fn every_metadata_statement_has_its_root_and_its_get_info() {
    for persona in Persona::built_in(&authority()) {
        let statement = metadata_statement(&persona);
        let name = &persona.name;
        if name == "yubikey-4-u2f" {
            assert_eq!(
                (&statement["protocolFamily"], &statement["authenticatorGetInfo"]),
                (&json!("u2f"), &Value::Null)
            );
            continue;
        }
        assert_eq!(statement["description"], json!(persona.profile.description), "{name}");
        assert!(statement["authenticatorGetInfo"]["versions"].is_array(), "{name}: {statement}");
        let has_root = statement["attestationRootCertificates"].as_array().map(|roots| !roots.is_empty());
        assert_eq!(has_root, Some(persona.root_certificate.is_some()), "{name}");
    }
}

#[test]
fn another_installation_has_other_certificates_and_the_same_one_the_same() {
    let root = |seed| Persona::load("packed", &Authority::from_seed(seed)).unwrap().root_certificate;
    assert_eq!(root([1; 32]), root([1; 32]));
    assert_ne!(root([1; 32]), root([2; 32]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("seed");
    let first = Persona::load("packed", &Authority::in_file(&file).unwrap()).unwrap().root_certificate;
    let again = Persona::load("packed", &Authority::in_file(&file).unwrap()).unwrap().root_certificate;
    assert_eq!(first, again);
}

#[test]
fn a_users_file_is_a_persona_and_a_wrong_one_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("my-key.toml");
    let load = |text: &str| {
        std::fs::write(&file, text).unwrap();
        Persona::load(file.to_str().unwrap(), &authority())
    };
    let mine = load("description = \"Mine\"\nalgorithms = [\"EdDSA\"]\nmax_message_size = 1024\n").unwrap();
    assert_eq!((mine.name.as_str(), mine.configuration.limits.max_message_size), ("my-key", 1024));
    for (text, says) in [
        ("aaguid = \"x\"\ndescription = \"\"", "aaguid \"x\" is no UUID"),
        ("description = \"\"\nversions = [\"FIDO_9\"]", "versions has \"FIDO_9\", which is not known"),
        ("description = \"\"\nspeed = 1", "unknown field `speed`"),
        ("algorithms = []", "missing field `description`"),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.error.contains(says), "{error}");
    }
    assert!(
        Persona::load("nobody", &authority()).unwrap_err().error.contains("there is no persona \"nobody\"")
    );
}
