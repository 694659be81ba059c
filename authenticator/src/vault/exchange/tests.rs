//! Out and in again, by our own reading and by that of the crate that credential managers use.

use credential_exchange_format as theirs;
use doppelkey_core::{Algorithm, CredRandom, Credential, CredentialProtection, PrivateKey, User};

use super::{bitwarden, cxf, json, keepassxc, private_key_from_pkcs8, private_key_to_pkcs8, rp_id_hash};
use crate::text::{base64url, from_base64url};

fn full(algorithm: Algorithm) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[7; 32]).unwrap(),
        rp_id_hash: rp_id_hash("example.com"),
        rp_id: heapless::String::try_from("example.com").unwrap(),
        user: User {
            id: heapless::Vec::from_slice(b"mona").unwrap(),
            name: heapless::String::try_from("mona@example.com").ok(),
            display_name: heapless::String::try_from("Mona Ä").ok(),
        },
        key: PrivateKey::generate(algorithm, &mut rand_core::UnwrapErr(getrandom::SysRng)),
        order: 0,
        sign_count: None,
        backup_eligible: true,
        backup_state: true,
        protection: CredentialProtection::Optional,
        cred_random: Some(CredRandom { with_uv: [1; 32], without_uv: [2; 32] }),
        large_blob_key: None,
        cred_blob: heapless::Vec::from_slice(&[3; 5]).ok().map(Into::into),
        third_party_payment: true,
        hidden: false,
        non_discoverable: false,
    }
}

#[test]
fn our_own_format_keeps_everything() {
    for algorithm in Algorithm::ALL.iter().copied() {
        let mut credential = full(algorithm);
        credential.sign_count = Some(41);
        (credential.backup_eligible, credential.backup_state) = (false, false);
        credential.protection = CredentialProtection::Required;
        credential.large_blob_key = Some([9; 32].into());
        (credential.hidden, credential.non_discoverable) = (true, true);
        let text = json::write(std::slice::from_ref(&credential)).unwrap();
        assert_eq!(json::read(&text).unwrap(), [credential], "{algorithm:?}");
    }
}

#[test]
fn a_private_key_of_every_algorithm_survives_pkcs8() {
    for algorithm in Algorithm::ALL.iter().copied() {
        let key = PrivateKey::generate(algorithm, &mut rand_core::UnwrapErr(getrandom::SysRng));
        let der = private_key_to_pkcs8(&key).unwrap();
        assert!(private_key_from_pkcs8(&der).as_ref() == Some(&key), "{algorithm:?}");
        for length in (0..der.len()).step_by(7) {
            assert!(private_key_from_pkcs8(&der[..length]).is_none(), "{algorithm:?} cut to {length}");
        }
    }
}

/// Made by OpenSSL 3: `genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, and `-algorithm ed25519`.
#[test]
fn keys_that_openssl_made_are_read_and_written_as_it_does() {
    for text in [
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHtvbuq_0ViG9-GQmnVGtnoMkS9THFYxeJdzfQkN-QIahRANCAATVR3_Ayp35HKRGlovrZaPdYrTjet6Gy76Dlh0hNiMsnSJDKz8A2oLrtqEE_jshkFunYhDNn91tqs_zyOWtgoxV",
        "MC4CAQAwBQYDK2VwBCIEIJxCwZTH5CzAQpecebL3yoeRK1SNB8P5CMofFx4T0_0w",
    ] {
        let der = from_base64url(text).unwrap();
        let key = private_key_from_pkcs8(&der).unwrap();
        assert_eq!(private_key_to_pkcs8(&key).unwrap().as_slice(), der, "{key:?}");
    }
}

#[test]
fn cxf_goes_through_the_managers_own_crate_and_back() {
    let mut plain = full(Algorithm::EdDsa);
    plain.id = heapless::Vec::from_slice(&[8; 16]).unwrap();
    (plain.cred_random, plain.cred_blob, plain.third_party_payment) = (None, None, false);
    let credentials = [full(Algorithm::Es256), plain];
    let ours = cxf::write(&credentials, 1_700_000_000).unwrap();
    let read: theirs::Header = serde_json::from_str(&ours).unwrap();
    assert_eq!((read.version.major, read.version.minor, read.timestamp), (1, 0, 1_700_000_000));
    let theirs::Credential::Passkey(passkey) = &read.accounts[0].items[0].credentials[0] else {
        panic!("the first item is a passkey");
    };
    assert_eq!((passkey.rp_id.as_str(), passkey.username.as_str()), ("example.com", "mona@example.com"));
    let theirs_text = serde_json::to_string(&read).unwrap();
    let back = cxf::read(&theirs_text).unwrap();
    assert_eq!((back.credentials.as_slice(), back.left_out), (&credentials[..], 0));
}

#[test]
fn what_is_no_passkey_is_counted_and_left_out() {
    let mut document: serde_json::Value =
        serde_json::from_str(&cxf::write(&[full(Algorithm::Es256)], 0).unwrap()).unwrap();
    let credentials = document["accounts"][0]["items"][0]["credentials"].as_array_mut().unwrap();
    credentials.push(serde_json::json!({ "type": "basic-auth", "username": { "value": "mona" } }));
    let imported = cxf::read(&document.to_string()).unwrap();
    assert_eq!((imported.credentials.len(), imported.left_out), (1, 1));
}

#[test]
fn a_wrong_member_is_named() {
    let text = json::write(&[full(Algorithm::Es256)]).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (member, wrong) in
        [("private_key", "AAAA"), ("id", ""), ("user_id", "*"), ("cred_random_with_uv", "AA")]
    {
        let mut document = document.clone();
        document["credentials"][0][member] = wrong.into();
        let error = json::read(&document.to_string()).unwrap_err();
        assert_eq!(error.to_string(), format!("credentials[0].{member}: this is not what belongs here"));
    }
    let mut document = document.clone();
    document["credentials"][0]["unheard_of"] = 1.into();
    assert!(json::read(&document.to_string()).unwrap_err().to_string().contains("unheard_of"));
}

/// A key that OpenSSL made, in the forms that the other managers write.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";

fn p256() -> (PrivateKey, Vec<u8>) {
    let key = PrivateKey::generate(Algorithm::Es256, &mut rand_core::UnwrapErr(getrandom::SysRng));
    let der = private_key_to_pkcs8(&key).unwrap();
    assert!(from_base64url(KEY).is_some_and(|start| der.starts_with(&start)), "the form that OpenSSL writes");
    (key, der.to_vec())
}

#[test]
fn the_passkeys_of_a_bitwarden_export_arrive() {
    let (key, der) = p256();
    let text = serde_json::json!({
        "encrypted": false, "folders": [],
        "items": [
            { "type": 2, "name": "a note", "notes": "x" },
            { "type": 1, "name": "a login", "login": {
                "username": "mona", "password": "secret", "uris": [],
                "fido2Credentials": [{
                    "credentialId": "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "keyType": "public-key",
                    "keyAlgorithm": "ECDSA", "keyCurve": "P-256", "keyValue": base64url(&der), "rpId": "example.com",
                    "userHandle": base64url(b"handle"), "userName": "mona", "counter": "0", "rpName": "Example",
                    "userDisplayName": "Mona", "discoverable": "true", "creationDate": "2026-01-01T00:00:00.000Z"
                }]
            }},
            { "type": 1, "name": "another", "login": { "fido2Credentials": [{
                "credentialId": format!("b64.{}", base64url(&[9; 32])), "keyValue": base64url(&der),
                "rpId": "example.org", "userHandle": base64url(b"h"), "userName": null, "counter": "0"
            }]}}
        ]
    });
    let imported = bitwarden::read(&text.to_string()).unwrap();
    assert_eq!(imported.left_out, 2, "a note and a password");
    let [first, second] = &imported.credentials[..] else { panic!("{imported:?}") };
    assert_eq!(
        first.id.as_slice(),
        [0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0]
    );
    assert_eq!((first.rp_id.as_str(), first.rp_id_hash), ("example.com", rp_id_hash("example.com")));
    assert_eq!(
        (first.user.id.as_slice(), first.user.display_name.as_deref()),
        (&b"handle"[..], Some("Mona"))
    );
    assert!(first.key == key && first.sign_count.is_none() && first.backup_eligible);
    assert_eq!((second.id.as_slice(), &second.user.name), (&[9; 32][..], &None));
    let encrypted =
        bitwarden::read(r#"{"encrypted":true,"passwordProtected":true,"data":"2.x"}"#).unwrap_err();
    assert!(encrypted.to_string().contains("plain JSON"), "{encrypted}");
    let wrong = text.to_string().replace("0f1e2d3c-", "zz1e2d3c-");
    let error = bitwarden::read(&wrong).unwrap_err();
    assert_eq!(error.place, "items[1].login.fido2Credentials[0].credentialId");
}

#[test]
fn a_second_factor_of_bitwarden_stays_one() {
    let (_, der) = p256();
    let passkey = |number: u8, discoverable: serde_json::Value| {
        serde_json::json!({
            "credentialId": format!("b64.{}", base64url(&[number; 32])), "keyValue": base64url(&der),
            "rpId": "example.com", "userHandle": base64url(b"handle"), "counter": "0", "discoverable": discoverable
        })
    };
    let text = serde_json::json!({ "encrypted": false, "items": [{ "type": 1, "login": { "fido2Credentials": [
        passkey(1, "false".into()), passkey(2, false.into()), passkey(3, "true".into()), passkey(4, serde_json::Value::Null),
    ]}}]});
    let credentials = bitwarden::read(&text.to_string()).unwrap().credentials;
    let shown: Vec<_> = credentials.iter().map(|one| (one.hidden, one.non_discoverable)).collect();
    assert_eq!(shown, [(true, true), (true, true), (false, false), (false, false)]);
}

#[test]
fn the_passkeys_of_keepassxc_arrive_from_its_passkey_file_and_from_xml() {
    use base64::Engine as _;
    let (key, der) = p256();
    let digits = base64::prelude::BASE64_STANDARD.encode(&der);
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----\n",
        &digits[..64],
        &digits[64..]
    );
    let file = serde_json::json!({
        "relyingParty": "example.com", "url": "https://example.com/", "username": "mona",
        "credentialId": base64url(&[5; 32]), "userHandle": base64url(b"handle"), "privateKey": pem,
    });
    let imported = keepassxc::read(&file.to_string()).unwrap();
    let [alone] = &imported.credentials[..] else { panic!("{imported:?}") };
    assert!(alone.key == key && alone.rp_id.as_str() == "example.com" && alone.id.as_slice() == [5; 32]);

    let string = |key: &str, value: &str| format!("<String><Key>{key}</Key><Value>{value}</Value></String>");
    let entry = |id: &str, inner: &str| {
        let attributes = [
            string("Title", "Example &amp; Sons"),
            string("KPEX_PASSKEY_CREDENTIAL_ID", id),
            string("KPEX_PASSKEY_PRIVATE_KEY_PEM", &pem),
            string("KPEX_PASSKEY_RELYING_PARTY", "example.com"),
            string("KPEX_PASSKEY_USERNAME", "mona &lt;x&gt;"),
            string("KPEX_PASSKEY_USER_HANDLE", &base64url(b"handle")),
        ];
        format!("<Entry>{}{inner}</Entry>", attributes.concat())
    };
    let history = format!("<History>{}</History>", entry(&base64url(&[6; 32]), ""));
    let xml = format!(
        "<?xml version=\"1.0\"?><KeePassFile><Root><Group><Name>Root</Name>{}<Entry>{}</Entry></Group></Root></KeePassFile>",
        entry(&base64url(&[5; 32]), &history),
        string("Password", "secret")
    );
    let imported = keepassxc::read(&xml).unwrap();
    let [from_xml] = &imported.credentials[..] else { panic!("{imported:?}") };
    assert_eq!((from_xml.id.as_slice(), imported.left_out), (&[5; 32][..], 1), "history is no entry");
    assert_eq!(from_xml.user.name.as_deref(), Some("mona <x>"));
    assert!(from_xml.key == key);
    assert!(keepassxc::read("<html></html>").is_err());
}
