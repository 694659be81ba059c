//! Right files, and the parts of right responses.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value;
use doppelkey::vault::exchange::{cxf, json, private_key_to_pkcs8};
use doppelkey_core::{Algorithm, CredBlob, CredRandom, Credential, CredentialProtection, PrivateKey, User};
use doppelkey_sync::{
    AccountId, Body, Dep, DeviceKeys, EpochId, Hash, Invitation, LogId, Op, RecordId, RecoveryKey, Replica,
    Seeded, Suite,
};

use super::super::step;
use super::super::sync::kind;
use super::super::vault::VAULT;
use super::super::verification::RIGHT;

/// A vault with three credentials, whole and torn.
pub fn vault() -> Vec<Vec<u8>> {
    vec![VAULT.to_vec(), VAULT[..VAULT.len() - 20].to_vec()]
}

/// This member of every right response.
fn members(name: &str) -> Vec<Vec<u8>> {
    let one = |case: &serde_json::Value| {
        let text = case["credential"]["response"][name].as_str()?;
        URL_SAFE_NO_PAD.decode(text).ok()
    };
    let mut all: Vec<_> = RIGHT.iter().filter_map(one).collect();
    all.sort();
    all.dedup();
    all
}

/// The client data of every right response.
pub fn client_data() -> Vec<Vec<u8>> {
    members("clientDataJSON")
}

/// Every right attestation object.
pub fn attestation_object() -> Vec<Vec<u8>> {
    members("attestationObject")
}

/// A member of every right attestation object, by name.
fn parts(name: &str) -> impl Iterator<Item = Value> {
    attestation_object().into_iter().filter_map(move |bytes| {
        let object: Value = ciborium::from_reader(&bytes[..]).ok()?;
        object
            .into_map()
            .ok()?
            .into_iter()
            .find(|(key, _)| key.as_text() == Some(name))
            .map(|(_, value)| value)
    })
}

/// The authenticator data of every right response.
pub fn authenticator_data() -> Vec<Vec<u8>> {
    let made = parts("authData").filter_map(|data| data.into_bytes().ok());
    made.chain(members("authenticatorData")).collect()
}

/// Every key of a right registration.
pub fn cose_key() -> Vec<Vec<u8>> {
    let key = |data: Vec<u8>| {
        let length = usize::from(u16::from_be_bytes([*data.get(53)?, *data.get(54)?]));
        let mut rest = data.get(55 + length..)?;
        let all = rest;
        ciborium::from_reader::<Value, _>(&mut rest).ok()?;
        Some(all[..all.len() - rest.len()].to_vec())
    };
    authenticator_data().into_iter().filter_map(key).collect()
}

/// Every certificate of a right attestation.
pub fn certificate() -> Vec<Vec<u8>> {
    let chain = |statement: Value| {
        let members = statement.into_map().ok()?;
        members.into_iter().find(|(key, _)| key.as_text() == Some("x5c"))?.1.into_array().ok()
    };
    parts("attStmt").filter_map(chain).flatten().filter_map(|der| der.into_bytes().ok()).collect()
}

fn credentials() -> Vec<Credential> {
    let one = |algorithm| Credential {
        id: [9; 32].as_slice().try_into().expect("it is short"),
        rp_id_hash: doppelkey::vault::exchange::rp_id_hash("example.com"),
        rp_id: "example.com".try_into().expect("it is short"),
        user: User {
            id: [1; 16].as_slice().try_into().expect("it is short"),
            name: "alice".try_into().ok(),
            display_name: "Alice".try_into().ok(),
        },
        key: PrivateKey::from_bytes(algorithm, &[7; 32]).expect("a number below the order"),
        order: 3,
        sign_count: Some(5),
        backup_eligible: true,
        backup_state: false,
        protection: CredentialProtection::Required,
        cred_random: Some(CredRandom { with_uv: [2; 32], without_uv: [3; 32] }),
        large_blob_key: Some([4; 32].into()),
        cred_blob: [5; 8].as_slice().try_into().ok().map(CredBlob::new),
        third_party_payment: true,
        hidden: true,
        non_discoverable: true,
    };
    vec![one(Algorithm::Es256), one(Algorithm::EdDsa)]
}

/// Credentials as a store keeps them.
pub fn credential() -> Vec<Vec<u8>> {
    credentials().iter().map(|credential| credential.encode().to_vec()).collect()
}

/// Files of credentials.
pub fn exchange() -> Vec<Vec<u8>> {
    let all = credentials();
    let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    vec![
        with(0, cxf::write(&all, 0).expect("they can be carried").as_bytes()),
        with(1, json::write(&all).expect("they can be carried").as_bytes()),
        with(2, &private_key_to_pkcs8(&all[0].key).expect("it can be carried")),
        with(2, &private_key_to_pkcs8(&all[1].key).expect("it can be carried")),
    ]
}

/// A policy with every table, metadata and what is in it, names, lists, every persona of the program and every scenario of
/// the simulator.
pub fn policies() -> Vec<Vec<u8>> {
    let root = crate::root();
    let files = |which: u8, folder: &str| {
        let listed = std::fs::read_dir(root.join(folder)).expect("it is in the repository");
        let mut paths: Vec<_> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        let read = move |path| [&[which][..], &std::fs::read(path).expect("it can be read")].concat();
        paths.into_iter().filter(|path| path.extension().is_some_and(|end| end == "toml")).map(read)
    };
    let policy = "[passkey]\nchallenge_ui = \"both\"\nalgorithms = [-8, -7, -257]\nmetadata = \"required\"\n\
        [password]\nenabled = true\nmin_length = 12\n[code]\nenabled = true\n\
        [attributes]\nemail = { identifier = true, signup = \"required\", verify = true }\n\
        [mfa]\npolicy = \"always\"\nafter_passkey = \"skip-if-uv\"\n[limits]\nblock_minutes = 5\n";
    // Its certificate is under the root; whose key it has does not sign here.
    let header = serde_json::json!({ "alg": "ES256", "x5c": [STANDARD.encode(batch())] });
    let signed = |part: &str| URL_SAFE_NO_PAD.encode(part);
    let metadata =
        format!("{}.{}.{}", signed(&header.to_string()), signed(PAYLOAD), URL_SAFE_NO_PAD.encode([1; 64]));
    let providers = r#"{"00000000-0000-0000-0000-000000000001": {"name": "A provider", "icon_dark": "x"}}"#;
    let list = REVOKED.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    let list = STANDARD.decode(list).expect("it is base64");
    let own = [
        (0, policy.as_bytes()),
        (3, metadata.as_bytes()),
        (4, providers.as_bytes()),
        (5, PAYLOAD.as_bytes()),
        (6, REVOKED.as_bytes()),
        (6, &list),
    ];
    own.iter()
        .map(|(which, bytes)| [&[*which], *bytes].concat())
        .chain(files(1, "authenticator/src/persona/data"))
        .chain(files(2, "sync/scenarios"))
        .collect()
}

/// A batch's certificate under the root of the vectors.
fn batch() -> Vec<u8> {
    let packed = RIGHT.iter().find(|case| case["id"] == "registration/packed").expect("there is one");
    let object = packed["credential"]["response"]["attestationObject"].as_str().expect("it has one");
    let object = URL_SAFE_NO_PAD.decode(object).expect("it is base64url");
    let at = object.windows(5).position(|bytes| bytes == b"cx5c\x81").expect("it has a certificate") + 5;
    let leaf: Value = ciborium::from_reader(&object[at..]).expect("it is right");
    leaf.into_bytes().expect("bytes")
}

/// What is signed of a metadata BLOB: a model of each kind.
const PAYLOAD: &str = r#"{"legalHeader": "", "no": 7, "nextUpdate": "2027-02-01", "entries": [
    {"aaguid": "07070707-0707-0707-0707-070707070707", "metadataStatement": {
        "description": "A model", "icon": "data:image/png;base64,AAAA", "attestationTypes": ["basic_full"],
        "attestationRootCertificates": ["MAA=", "MAAwAA=="]},
     "statusReports": [{"status": "FIDO_CERTIFIED_L1", "effectiveDate": "2026-01-01"}, {"status": "REVOKED"}]},
    {"attestationCertificateKeyIdentifiers": ["00112233445566778899aabbccddeeff00112233"],
     "metadataStatement": {"attestationTypes": ["basic_surrogate"]}, "statusReports": []},
    {"aaid": "1234#5678", "metadataStatement": {}, "statusReports": []}]}"#;

/// A list of two certificates, by nobody.
const REVOKED: &str = "\
-----BEGIN X509 CRL-----\n\
MIHqMIGQAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBFJvb3QXDTI0MDEwMTAw\n\
MDAwMFoXDTI1MDEwMTAwMDAwMFowLzASAgEBFw0yNDAxMDEwMDAwMDBaMBkCCBI0\n\
VniQq83vFw0yNDAxMDEwMDAwMDBaoB8wHTAKBgNVHRQEAwIBAzAPBgNVHRwBAf8E\n\
BTADgQH/MAoGCCqGSM49BAMCA0kAMEYCIQC8NLOnxn0YiQnm4d2b/6+90/qppb9A\n\
Eti6mnFjSI/p4wIhAPomlQfEpHiah5HN0EzF0e7X26G0Jce6K/iSMW6Fe0+a\n\
-----END X509 CRL-----\n\
";

fn bodies() -> Vec<Vec<u8>> {
    let record = |number| RecordId([number; 16]);
    let put = |number, shadows| Op::Put {
        record: record(number),
        account: AccountId([3; 8]),
        core: b"core".to_vec(),
        registers: vec![(0, b"name".to_vec()), (2, vec![])],
        shadows,
    };
    let keys = DeviceKeys::generate(Suite::P256, &mut Seeded::new(1));
    let body = |ops| Body {
        log: LogId([1; 8]),
        seq: 2,
        prev: Hash([0; 32]),
        deps: vec![Dep { log: LogId([2; 8]), seq: 1, hash: [4; 8] }],
        hlc: 1_767_225_600_000 << 16,
        ops,
    };
    let all = [
        body(vec![]),
        body(vec![put(1, vec![])]),
        body(vec![put(2, vec![record(1)]), Op::Used { record: record(1), time_s: 1 }]),
        body(vec![
            Op::Set { record: record(1), number: 1, value: b"value".to_vec(), by_user: true },
            Op::Policy { number: 0, value: vec![1] },
        ]),
        body(vec![Op::Del { record: record(1) }]),
        body(vec![
            Op::Admit { keys: keys.public().clone(), recovery: false, name: b"phone".to_vec() },
            Op::Revoke { log: LogId([2; 8]), why: 1, consent: None },
            Op::Epoch { generation: 1, id: EpochId([5; 8]), wraps: vec![(LogId([2; 8]), vec![6; 40])] },
            Op::Evidence { sealed: vec![7; 60] },
        ]),
    ];
    all.iter().map(Body::encode).collect()
}

/// Bodies of entries, with every op.
pub fn entries() -> Vec<Vec<u8>> {
    bodies()
}

/// An invitation, shares and the key that they make, letters, a journal.
pub fn letters() -> Vec<Vec<u8>> {
    let mut rng = Seeded::new(1);
    let with = |which: u8, bytes: &[u8]| [&[which], bytes].concat();
    let (founder, effects) = Replica::found(Suite::Ideal, b"founder", 0, Seeded::new(2));
    let invitation = Invitation {
        suite: Suite::P256,
        circle: founder.circle(),
        founder: founder.founder(),
        secret: [7; 16],
        expires_s: 600,
        mailbox: "https://relay.example.org".into(),
    };
    let key = RecoveryKey::generate(&mut rng);
    let shares = key.split(2, 3, &mut rng).expect("two of three");
    let shares: Vec<_> = shares.iter().map(doppelkey_sync::Share::to_text).collect();
    let journal = effects.iter().filter_map(|effect| match effect {
        doppelkey_sync::Effect::Persist(record) => Some(step(0, record)),
        _ => None,
    });
    let keys = DeviceKeys::generate(Suite::Ideal, &mut rng);
    vec![
        with(0, invitation.to_text().as_bytes()),
        with(1, shares.join("\n").as_bytes()),
        with(1, key.to_text().as_bytes()),
        with(2, &invitation.ask(&keys, b"phone", &mut rng)),
        with(4, &journal.flatten().collect::<Vec<_>>()),
    ]
}

/// Two devices that say everything there is to say, and strangers beside them.
pub fn replicas() -> Vec<Vec<u8>> {
    let on = |kind: u8, device: u8, bytes: &[u8]| step(kind, &[&[device], bytes].concat());
    let said = |device| bodies().iter().flat_map(|body| on(kind::SAY, device, body)).collect::<Vec<_>>();
    vec![
        [said(0), on(kind::SYNC, 0, &[]), on(kind::SYNC, 1, &[]), said(1)].concat(),
        [said(1), on(kind::WAIT, 0, &[5]), on(kind::DAMAGED, 0, &[1, 0, 30, 1]), said(0)].concat(),
        [on(kind::RECEIVE, 0, &[1; 80]), on(kind::PEER, 1, &[0x82, 1, 2]), on(kind::MAILBOX, 0, &[2; 90])]
            .concat(),
    ]
}
