//! The rules of the FIDO Metadata Statement and the FIDO Registry, for the statement of every built-in persona.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::super::{Authority, Persona};
use super::metadata_statement;

/// Every persona's name and statement.
fn statements() -> Vec<(String, Value)> {
    let personas = Persona::built_in(&Authority::from_seed([7; 32]));
    assert!(personas.len() > 20);
    personas.iter().map(|persona| (persona.name.clone(), metadata_statement(persona))).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("of texts")).collect()
}

/// A list without repetitions whose items are all of these.
fn are_of(value: &Value, registry: &[&str]) -> bool {
    let items = texts(value);
    items.iter().all(|item| registry.contains(item))
        && items.iter().enumerate().all(|(index, item)| !items[..index].contains(item))
}

#[test]
fn a_statement_has_the_members_it_must_with_their_types() {
    for (name, statement) in statements() {
        let family = statement["protocolFamily"].as_str();
        assert!(matches!(family, Some("fido2" | "u2f")), "{name}");
        assert_eq!(statement["schema"], 3, "{name}");
        assert!(!statement["legalHeader"].as_str().unwrap().is_empty(), "{name}");
        assert!((1..=200).contains(&statement["description"].as_str().unwrap().len()), "{name}");
        assert!(u32::try_from(statement["authenticatorVersion"].as_u64().unwrap()).is_ok(), "{name}");
        assert!(statement["cryptoStrength"].as_u64().unwrap() > 0, "{name}");
        if family == Some("fido2") {
            let aaguid = statement["aaguid"].as_str().unwrap();
            let parts: Vec<usize> = aaguid.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{name}: {aaguid}");
            assert!(aaguid.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f' | '-')), "{name}: {aaguid}");
        }
    }
}

#[test]
fn a_statement_says_which_versions_of_ctap_there_are() {
    let upv = |name: &str| {
        let persona = Persona::load(name, &Authority::from_seed([7; 32])).unwrap();
        metadata_statement(&persona)["upv"].clone()
    };
    let versions = |minors: &[u32]| -> Value {
        minors.iter().map(|minor| json!({ "major": 1, "minor": minor })).collect()
    };
    assert_eq!(upv("packed"), versions(&[0, 1, 3]));
    assert_eq!(upv("yubikey-5-nfc"), versions(&[0]));
    assert_eq!(upv("yubikey-5-nfc-5.7"), versions(&[0, 1]));
    assert_eq!(upv("yubikey-4-u2f"), versions(&[2]));
}

#[test]
fn a_statement_has_no_member_that_is_not_needed_or_not_defined() {
    // Of those that the specification defines and a statement may have, these are left out: icons and logos, names
    // in other languages, displays of transactions, ECDAA, and whatever other families need.
    let members = [
        "aaguid",
        "attachmentHint",
        "attestationRootCertificates",
        "attestationTypes",
        "authenticationAlgorithms",
        "authenticatorGetInfo",
        "authenticatorVersion",
        "cryptoStrength",
        "description",
        "keyProtection",
        "legalHeader",
        "matcherProtection",
        "protocolFamily",
        "publicKeyAlgAndEncodings",
        "schema",
        "tcDisplay",
        "upv",
        "userVerificationDetails",
    ];
    for (name, statement) in statements() {
        let mut found: Vec<&str> = statement.as_object().unwrap().keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, members, "{name}");
        assert_eq!(statement["tcDisplay"], json!([]), "{name}: it displays no transactions");
    }
}

#[test]
fn a_statement_uses_the_registry_s_words() {
    for (name, statement) in statements() {
        let algorithms = [
            "secp256r1_ecdsa_sha256_raw",
            "ed25519_eddsa_sha512_raw",
            "secp384r1_ecdsa_sha384_raw",
            "secp521r1_ecdsa_sha512_raw",
            "rsassa_pss_sha256_raw",
            "secp256k1_ecdsa_sha256_raw",
            "rsassa_pkcsv15_sha256_raw",
        ];
        assert!(are_of(&statement["authenticationAlgorithms"], &algorithms), "{name}");
        assert!(!texts(&statement["authenticationAlgorithms"]).is_empty(), "{name}");
        assert!(texts(&statement["publicKeyAlgAndEncodings"]).contains(&"cose"), "{name}");
        let types = ["basic_full", "basic_surrogate", "attca", "anonca", "none"];
        assert!(are_of(&statement["attestationTypes"], &types), "{name}");
        assert_eq!(texts(&statement["attestationTypes"]).len(), 1, "{name}");
        // A program keeps its keys and looks at fingerprints, whatever the persona.
        assert_eq!(statement["keyProtection"], json!(["software"]), "{name}");
        assert_eq!(statement["matcherProtection"], json!(["software"]), "{name}");
        let hints = texts(&statement["attachmentHint"]);
        assert!(hints.contains(&"external") && hints.len() > 1 && !hints.contains(&"internal"), "{name}");
    }
}

#[test]
fn a_statement_describes_each_way_to_verify_a_user() {
    for (name, statement) in statements() {
        let ways = statement["userVerificationDetails"].as_array().unwrap();
        let mut methods = Vec::new();
        for way in ways {
            let [way] = way.as_array().unwrap().as_slice() else { panic!("{name}: one method a way") };
            let method = way["userVerificationMethod"].as_str().unwrap();
            let positive = |number: &Value| number.as_u64().is_some_and(|number| number > 0);
            match method {
                "presence_internal" => assert_eq!(way.as_object().unwrap().len(), 1, "{name}"),
                "passcode_external" => {
                    let code = &way["caDesc"];
                    assert!(positive(&code["base"]) && positive(&code["minLength"]), "{name}");
                    assert!(code["maxRetries"].is_u64() && code["blockSlowdown"].is_u64(), "{name}");
                }
                "fingerprint_internal" => {
                    let finger = &way["baDesc"];
                    assert!(positive(&finger["maxTemplates"]) && finger["maxRetries"].is_u64(), "{name}");
                }
                other => panic!("{name}: {other}"),
            }
            methods.push(method);
        }
        let info = &statement["authenticatorGetInfo"];
        assert!(methods.contains(&"presence_internal"), "{name}");
        let has_pin = info["options"].get("clientPin").is_some();
        assert_eq!(methods.contains(&"passcode_external"), has_pin, "{name}");
        assert_eq!(methods.contains(&"fingerprint_internal"), info["options"].get("uv").is_some(), "{name}");
    }
}

#[test]
fn a_statement_s_roots_are_certificates_and_there_where_its_attestation_needs_them() {
    for (name, statement) in statements() {
        let roots = texts(&statement["attestationRootCertificates"]);
        let needs_one = !matches!(texts(&statement["attestationTypes"])[0], "basic_surrogate" | "none");
        assert_eq!(!roots.is_empty(), needs_one, "{name}");
        for root in roots {
            let der = BASE64_STANDARD.decode(root).unwrap();
            let (root, length) = (&der[..2], der.len());
            assert_eq!(root, [0x30, 0x82], "{name}: a DER sequence with a length of two bytes");
            assert_eq!(usize::from(u16::from_be_bytes([der[2], der[3]])) + 4, length, "{name}");
        }
    }
}

#[test]
fn a_statement_s_get_info_keeps_getinfo_s_own_rules() {
    for (name, statement) in statements() {
        let info = &statement["authenticatorGetInfo"];
        if statement["protocolFamily"] == "u2f" {
            assert_eq!(*info, Value::Null, "{name}");
            continue;
        }
        let spoken = ["U2F_V2", "FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1", "FIDO_2_3"];
        assert!(are_of(&info["versions"], &spoken) && !texts(&info["versions"]).is_empty(), "{name}");
        assert_eq!(info["aaguid"].as_str().unwrap(), statement["aaguid"].as_str().unwrap().replace('-', ""));
        assert!(info["options"].as_object().unwrap().values().all(Value::is_boolean), "{name}");
        for number in [
            "maxMsgSize",
            "maxCredentialCountInList",
            "maxCredentialIdLength",
            "minPINLength",
            "maxRPIDsForSetMinPINLength",
            "preferredPlatformUvAttempts",
            "maxPINLength",
        ] {
            assert!(info.get(number).is_none_or(|n| n.as_u64().is_some_and(|n| n > 0)), "{name}: {number}");
        }
        if let Some(version) = info.get("firmwareVersion") {
            assert_eq!(*version, statement["authenticatorVersion"], "{name}");
        }
        for (member, least) in [("maxSerializedLargeBlobArray", 1024), ("maxCredBlobLength", 32)] {
            assert!(info.get(member).is_none_or(|n| n.as_u64().is_some_and(|n| n >= least)), "{name}");
        }
        if info.get("pinUvAuthProtocols").is_none() {
            assert!(info.get("forcePINChange").is_none() && info.get("minPINLength").is_none(), "{name}");
        }
        if let Some(algorithms) = info.get("algorithms") {
            let numbers = algorithms.as_array().unwrap().iter().map(|entry| entry["alg"].as_i64().unwrap());
            let named = numbers.filter_map(|number| super::registry_name(i32::try_from(number).unwrap()));
            assert_eq!(texts(&statement["authenticationAlgorithms"]), named.collect::<Vec<_>>(), "{name}");
        }
    }
}
