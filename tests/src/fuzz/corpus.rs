//! Stories that go well, and right files: what mutants are made from, and what a fuzzer starts with.

mod files;
mod ports;

use base64::Engine as _;
use ciborium::Value;
use doppelkey_core::testing::platform::{ACFG, BE, CM, GA, LBW, MC};
use doppelkey_core::testing::wire::{bytes, encode, map, named};
use sha2::{Digest as _, Sha256};

use super::commands::{COMMANDS, CREDENTIAL, TEMPLATE, kind};
use super::packets::kind as packet_kind;
use super::step;

pub use files::{
    attestation_object, authenticator_data, certificate, client_data, cose_key, credential, entries,
    exchange, letters, policies, replicas, vault,
};
pub use ports::{answers, bridge, control, usbip};

/// Stories for [`commands`](super::commands()): every command at least once, with everything it takes.
pub fn commands() -> Vec<Vec<u8>> {
    vec![
        [cbor(&[0x04]), cbor(&[0x0B]), cbor(&[0x07]), cbor(&[0x08])].concat(),
        ceremonies(&[]),
        ceremonies(&token(MC | GA)),
        client_pin(),
        [make(1), make(3), token(CM), credential_management()].concat(),
        [token(BE), bio_enrollment()].concat(),
        large_blobs(),
        [token(LBW), large_blobs()].concat(),
        [token(ACFG), config()].concat(),
        u2f(),
        [step(kind::USER, &[5]), ceremonies(&[]), step(kind::USER, &[2]), ceremonies(&[])].concat(),
        [make(1), step(kind::REPLUG, &[]), step(kind::WAIT, &[11]), cbor(&[0x07]), stray(0), stray(2)]
            .concat(),
    ]
}

/// Stories for [`packets`](super::packets()).
pub fn packets() -> Vec<Vec<u8>> {
    let wait = |milliseconds: u16| step(packet_kind::WAIT, &milliseconds.to_be_bytes());
    let respond = |length: usize| step(packet_kind::RESPOND, &vec![0xA5; length]);
    let user = |waiting: u8| step(packet_kind::USER, &[waiting]);
    vec![
        [initial(0, 0x06, 8), initial(0, 0x01, 57), initial(1, 0x08, 0), initial(2, 0x11, 0)].concat(),
        [initial(0, 0x10, 1), wait(80), user(1), wait(300), user(0), respond(100)].concat(),
        [initial(0, 0x10, 200), continuation(0, 0), continuation(0, 1), continuation(0, 2), respond(7609)]
            .concat(),
        [initial(0, 0x10, 200), continuation(0, 1), initial(1, 0x10, 1), wait(600), respond(1)].concat(),
        [initial(0, 0x04, 1), initial(1, 0x01, 3), wait(2000), initial(0, 0x03, 7), respond(2)].concat(),
        [initial(0, 0x10, 1), initial(0, 0x11, 0), initial(0, 0x06, 8), respond(1), initial(0, 0x3F, 1)]
            .concat(),
        [step(packet_kind::PACKET, &[0; 64]), step(packet_kind::PACKET, &[0xFF; 64]), initial(0, 0x01, 7610)]
            .concat(),
        step(packet_kind::READ, &[0, 3]),
    ]
}

/// An initialization packet on the n-th channel.
fn initial(channel: u8, command: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    step(
        packet_kind::ON_A_CHANNEL,
        &[&[channel, 0, 0, 0, 0, command | 0x80, high, low][..], &[4; 57]].concat(),
    )
}

fn continuation(channel: u8, sequence: u8) -> Vec<u8> {
    step(packet_kind::ON_A_CHANNEL, &[&[channel, 0, 0, 0, 0, sequence][..], &[sequence; 59]].concat())
}

fn cbor(request: &[u8]) -> Vec<u8> {
    step(kind::CBOR, request)
}

fn stray(choice: u8) -> Vec<u8> {
    step(kind::STRAY, &[choice])
}

fn token(permissions: u8) -> Vec<u8> {
    step(kind::TOKEN, &[permissions])
}

/// A command whose pinUvAuthParam the harness puts in.
fn authorized(command: u8, parameters: Value) -> Vec<u8> {
    let index = COMMANDS.iter().position(|one| *one == command).expect("a command with a pinUvAuthParam");
    step(kind::AUTHORIZED, &encode(u8::try_from(index).expect("there are six"), &parameters))
}

fn make(members: usize) -> Vec<u8> {
    let user = named([("id", bytes([1; 16])), ("name", "alice".into()), ("displayName", "Alice".into())]);
    let algorithms = [-7, -8].map(|alg| named([("alg", Value::from(alg)), ("type", "public-key".into())]));
    let extensions = named([
        ("credBlob", bytes([3; 32])),
        ("credProtect", 2.into()),
        ("hmac-secret", true.into()),
        ("largeBlobKey", true.into()),
        ("minPinLength", true.into()),
        ("thirdPartyPayment", true.into()),
    ]);
    let parameters = [
        (1, bytes([2; 32])),
        (2, named([("id", "example.com".into()), ("name", "Example".into())])),
        (3, user),
        (4, Value::Array(algorithms.to_vec())),
        (5, Value::Array(vec![descriptor(&[9; 40])])),
        (6, extensions),
        (7, named([("rk", (members % 2 == 1).into())])),
    ];
    authorized(0x01, map(parameters))
}

fn descriptor(id: &[u8]) -> Value {
    named([("id", bytes(id)), ("type", "public-key".into())])
}

fn get() -> Vec<u8> {
    let extensions = named([("credBlob", true.into()), ("largeBlobKey", true.into())]);
    let parameters = [(1, "example.com".into()), (2, bytes([4; 32])), (4, extensions)];
    authorized(0x02, map(parameters))
}

/// Each request after the same step: a ceremony spends its token.
fn ceremonies(before: &[u8]) -> Vec<u8> {
    let listed = map([
        (1, "example.com".into()),
        (2, bytes([4; 32])),
        (3, Value::Array(vec![descriptor(b"unknown"), descriptor(&CREDENTIAL)])),
        (5, named([("up", false.into())])),
    ]);
    let requests = [make(1), make(2), authorized(0x02, listed), make(3), get(), cbor(&[0x08])];
    requests.into_iter().flat_map(|request| [before.to_vec(), request].concat()).collect()
}

fn client_pin() -> Vec<u8> {
    let key = map([
        (1, 2.into()),
        (3, Value::from(-25)),
        (-1, 1.into()),
        (-2, bytes(GENERATOR_X)),
        (-3, bytes(GENERATOR_Y)),
    ]);
    let request = |protocol: u8, subcommand: u8| {
        let iv = 16 * usize::from(protocol - 1);
        cbor(&encode(
            0x06,
            &map([
                (1, protocol.into()),
                (2, subcommand.into()),
                (3, key.clone()),
                (4, bytes([5; 32])),
                (5, bytes(vec![6; 64 + iv])),
                (6, bytes(vec![7; 16 + iv])),
                (9, 3.into()),
                (10, "example.com".into()),
            ]),
        ))
    };
    let requests = (1..=9).flat_map(|subcommand| [request(1, subcommand), request(2, subcommand)]);
    std::iter::once(token(CM)).chain(requests).collect::<Vec<_>>().concat()
}

fn credential_management() -> Vec<u8> {
    let rp = map([(1, bytes(Sha256::digest("example.com")))]);
    let user = named([("id", bytes([1; 16])), ("name", "bob".into())]);
    [
        authorized(0x0A, map([(1, 1.into())])),
        authorized(0x0A, map([(1, 2.into())])),
        cbor(&encode(0x0A, &map([(1, 3.into())]))),
        authorized(0x0A, map([(1, 4.into()), (2, rp)])),
        cbor(&encode(0x0A, &map([(1, 5.into())]))),
        authorized(0x0A, map([(1, 7.into()), (2, map([(2, descriptor(&CREDENTIAL)), (3, user)]))])),
        authorized(0x0A, map([(1, 6.into()), (2, map([(2, descriptor(&CREDENTIAL))]))])),
    ]
    .concat()
}

fn bio_enrollment() -> Vec<u8> {
    let request = |subcommand: u8, parameters: Value| {
        authorized(0x09, map([(1, 1.into()), (2, subcommand.into()), (3, parameters)]))
    };
    let template = map([(1, bytes(TEMPLATE)), (2, "thumb".into())]);
    [
        cbor(&encode(0x09, &map([(6, true.into())]))),
        cbor(&encode(0x09, &map([(1, 1.into()), (2, 7.into())]))),
        request(1, map([(3, 1000.into())])),
        request(2, template.clone()),
        request(3, map([])),
        request(1, map([])),
        request(2, template.clone()),
        request(2, template.clone()),
        request(2, template.clone()),
        request(4, map([])),
        request(5, template.clone()),
        request(6, template),
    ]
    .concat()
}

fn large_blobs() -> Vec<u8> {
    let content = [0x80];
    let array = [&content[..], &Sha256::digest(content)[..16]].concat();
    [
        cbor(&encode(0x0C, &map([(1, 960.into()), (3, 0.into())]))),
        authorized(0x0C, map([(2, bytes(&array[..9])), (3, 0.into()), (4, 17.into())])),
        authorized(0x0C, map([(2, bytes(&array[9..])), (3, 9.into())])),
    ]
    .concat()
}

fn config() -> Vec<u8> {
    let policy = map([
        (1, 6.into()),
        (2, Value::Array(vec!["example.com".into()])),
        (3, true.into()),
        (4, true.into()),
    ]);
    [
        authorized(0x0D, map([(1, 1.into())])),
        authorized(0x0D, map([(1, 2.into())])),
        authorized(0x0D, map([(1, 4.into())])),
        authorized(0x0D, map([(1, 0xFF.into()), (2, map([(1, 1.into())]))])),
        authorized(0x0D, map([(1, 3.into()), (2, policy)])),
    ]
    .concat()
}

fn u2f() -> Vec<u8> {
    let register = [&[0, 1, 3, 0, 0, 0, 64][..], &[1; 64], &[0, 0]].concat();
    let authenticate = [&[0, 2, 7, 0, 0, 0, 129][..], &[1; 64], &[64], &[2; 64], &[0, 0]].concat();
    [step(kind::MSG, &[0, 3, 0, 0, 0, 0, 0]), step(kind::MSG, &register), step(kind::MSG, &authenticate)]
        .concat()
}

/// P-256's generator, a point like any other.
const GENERATOR_X: [u8; 32] = [
    0x6B, 0x17, 0xD1, 0xF2, 0xE1, 0x2C, 0x42, 0x47, 0xF8, 0xBC, 0xE6, 0xE5, 0x63, 0xA4, 0x40, 0xF2, 0x77,
    0x03, 0x7D, 0x81, 0x2D, 0xEB, 0x33, 0xA0, 0xF4, 0xA1, 0x39, 0x45, 0xD8, 0x98, 0xC2, 0x96,
];
const GENERATOR_Y: [u8; 32] = [
    0x4F, 0xE3, 0x42, 0xE2, 0xFE, 0x1A, 0x7F, 0x9B, 0x8E, 0xE7, 0xEB, 0x4A, 0x7C, 0x0F, 0x9E, 0x16, 0x2B,
    0xCE, 0x33, 0x57, 0x6B, 0x31, 0x5E, 0xCE, 0xCB, 0xB6, 0x40, 0x68, 0x37, 0xBF, 0x51, 0xF5,
];

/// Every right case of `tests/vectors`, with its own bytes.
pub fn responses() -> Vec<Vec<u8>> {
    use super::verification::{MEMBERS, RIGHT};
    let story = |(which, case): (usize, &serde_json::Value)| {
        let bytes = |member: &str| {
            let text = case["credential"]["response"][member].as_str()?;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
        };
        let members = (0..).zip(MEMBERS).filter_map(|(kind, member)| Some(step(kind, &bytes(member)?)));
        [vec![which as u8], members.flatten().collect()].concat()
    };
    RIGHT.iter().enumerate().take(256).map(story).collect()
}

/// Visitors of the relying party: pages, a sign-up with a password, a native app, an operator.
pub fn requests() -> Vec<Vec<u8>> {
    use super::requests::{FORM, JSON, PAGE, PATHS, STEPS_MAX};
    let to = |path: &str, how: u8, body: &str| {
        let kind = PATHS.iter().position(|known| *known == path).expect("a path of the list");
        step(kind as u8, &[&[how], body.as_bytes()].concat())
    };
    let operator = 24;
    let pages = PATHS.chunks(STEPS_MAX);
    let pages = pages.map(|paths| paths.iter().flat_map(|path| to(path, PAGE, "")).collect());
    let visitors = [
        [
            to("/signup", FORM, "email=ada%40example.org"),
            to("/signup/passkey", PAGE, ""),
            to("/signup/password", FORM, "password=correct+horse+battery"),
            to("/account", PAGE, ""),
            to("/account/passkeys/options", JSON, "{}"),
            to("/account/passkeys", JSON, r#"{"id":"AA","rawId":"AA","type":"public-key","response":{}}"#),
            to("/account/security/otp", PAGE, ""),
            to("/account/security/otp", FORM, "code=000000"),
            to("/logout", FORM, ""),
        ]
        .concat(),
        [
            to("/login", FORM, "identifier=ada%40example.org"),
            to("/login/passkey/options", JSON, r#"{"mediation":"conditional","platformAuthenticator":true}"#),
            to("/login/passkey", JSON, r#"{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30"}}"#),
            to("/login/password", FORM, "password=wrong"),
            to("/recover", FORM, "email=ada%40example.org"),
            to("/recover/code", FORM, "code=123456"),
            to("/reset-password", FORM, "email=ada%40example.org"),
        ]
        .concat(),
        [
            to("/passkey/register", JSON, r#"{"client_id":"doppelkey","user_profile":{"email":"bob@example.org"}}"#),
            to("/passkey/challenge", JSON, r#"{"client_id":"doppelkey"}"#),
            to("/oauth/token", JSON, r#"{"grant_type":"urn:okta:params:oauth:grant-type:webauthn","client_id":"doppelkey","auth_session":"AA","authn_response":{}}"#),
        ]
        .concat(),
        [
            to("/api/v2/logs", operator + PAGE, ""),
            to("/api/v2/policy", operator + PAGE, ""),
            to("/api/v2/policy", operator + 3, r#"{"passkey":{"max_per_user":3}}"#),
            to("/api/v2/users/{id}", operator + 3, r#"{"blocked":true}"#),
            to("/admin/token", FORM, "token=operator"),
            to("/admin", PAGE, ""),
            to("/admin/users", PAGE, ""),
            to("/admin/users", FORM, "user=ada%40example.org"),
            to("{there}", PAGE, ""),
            to("{there}", FORM, "blocked=true"),
            to("{there}", FORM, "blocked=false"),
        ]
        .concat(),
    ];
    pages.chain(visitors).collect()
}
