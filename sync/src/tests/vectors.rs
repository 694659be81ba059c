//! The wire format, published: `vectors/suite-1.txt` is what another implementation can test itself against.
//!
//! To write the file anew after a change of format (which a new version byte must announce):
//! `UPDATE_VECTORS=1 cargo test -p doppelkey-sync vectors`.

use alloc::string::String;
use std::path::Path;
use std::{env, fs};

use super::*;
use crate::crypto::{EpochKey, Label, wrap};
use crate::deliver::wrap_info;
use crate::entry::Signed;
use crate::escrow::{Deposit, EscrowPin, Guess};
use crate::{Body, CircleId, Dep, DeviceKeys, Hash, Name, RecoveryKey};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn body(log: LogId, other: LogId) -> Body {
    Body {
        log,
        seq: 3,
        prev: Hash([0x11; 32]),
        deps: vec![Dep { log: other, seq: 7, hash: [0x22; 8] }],
        hlc: START_MS << 16,
        ops: vec![
            Op::Put {
                record: RecordId([0x33; 16]),
                account: AccountId([0x44; 8]),
                core: b"core".to_vec(),
                registers: vec![(1, b"name".to_vec())],
                shadows: vec![RecordId([0x55; 16])],
            },
            Op::Set { record: RecordId([0x33; 16]), number: 1, value: b"new".to_vec(), by_user: true },
            Op::Del { record: RecordId([0x55; 16]) },
            Op::Used { record: RecordId([0x33; 16]), time_s: START_MS / 1000 },
            Op::Revoke { log: other, why: 1, consent: None },
            Op::Policy { number: 0, value: vec![1] },
        ],
    }
}

/// Each line is `name = hexadecimal` (or text); everything follows from the secrets and the randomness given.
fn vectors() -> String {
    let suite = Suite::P256;
    let circle = CircleId([0xc1; 16]);
    let keys = DeviceKeys::from_secrets(suite, &[0x0a; 32], &[0x0b; 32], 1).unwrap();
    let other = DeviceKeys::from_secrets(suite, &[0x0c; 32], &[0x0d; 32], 0).unwrap();
    let epoch = EpochKey::new(suite, circle, [0x0e; 32]);
    let body = body(keys.public().log(), other.public().log());
    let signed = Signed::new(body.clone(), &keys, &epoch);
    let sealed = signed.seal(&epoch, &mut Seeded::new(1));
    let info = wrap_info(&circle, &epoch.id, &keys.public().log());
    let wrapped = wrap(suite, &keys.public().encryption, &info, &epoch.secret, &mut Seeded::new(2)).unwrap();
    let recovery = RecoveryKey::generate(&mut Seeded::new(3));
    let invitation = Invitation {
        suite,
        circle,
        founder: other.public().log(),
        secret: [0x0f; 16],
        expires_s: START_MS / 1000,
        mailbox: "https://relay.example/#0123456789abcdef".into(),
    };
    let join = invitation.ask(&keys, b"phone", &mut Seeded::new(4));
    let mut text = String::from(
        "# Doppelkey sync, wire format version 1, suite 1. Layouts: sync/README.md.\n\
         # `wrapped` and the letters hold fresh randomness: open them; everything else is a function of the rest.\n",
    );
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name} = {value}\n"));
    line("circle", &hex(&circle.0));
    line("identity secret", &hex(&[0x0a; 32]));
    line("encryption seed", &hex(&[0x0b; 32]));
    line("incarnation", "1");
    line("identity key", &hex(&keys.public().identity));
    line("encryption key", &hex(&keys.public().encryption));
    line("log", &hex(&keys.public().log().0));
    line("epoch secret", &hex(&epoch.secret));
    line("epoch", &hex(&epoch.id.0));
    line("body", &hex(&body.encode()));
    line("body hash", &hex(&signed.hash.0));
    line("signature", &hex(&keys.sign(&[b"entry/1", &circle.0, &epoch.id.0, &body.encode()])));
    line("plaintext", &hex(&epoch.open(Label::Entry, &sealed).unwrap()));
    line("sealed", &hex(&sealed));
    line("name", &hex(&Name::of(&sealed).0));
    line("wrapped", &hex(&wrapped));
    line("invitation", &invitation.to_text());
    line("join letter", &hex(&join));
    line("emoji", &crate::emoji(&join));
    line("recovery key", &recovery.to_text());
    let pin = EscrowPin::new(circle, b"271828");
    let deposit = Deposit::lock(&recovery, circle, &pin, (1, 1), 10, &mut Seeded::new(5)).unwrap().remove(0);
    line("recovery PIN", "271828");
    line("deposit", &hex(&deposit.encode()));
    line("recovery log", &hex(&recovery.keys(suite).public().log().0));
    text
}

#[test]
fn vectors_are_what_this_version_makes_and_opens() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/suite-1.txt");
    let made = vectors();
    if env::var_os("UPDATE_VECTORS").is_some() {
        fs::write(&file, &made).unwrap();
    }
    let published = fs::read_to_string(&file).unwrap();
    assert_eq!(made, published);
    let get = |name: &str| {
        let prefix = format!("{name} = ");
        let value = published.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
        (0..value.len() / 2)
            .map(|index| u8::from_str_radix(&value[2 * index..2 * index + 2], 16))
            .collect::<Result<Vec<_>, _>>()
    };
    let circle = CircleId(get("circle").unwrap().try_into().unwrap());
    let epoch = EpochKey::new(Suite::P256, circle, get("epoch secret").unwrap().try_into().unwrap());
    let keys = DeviceKeys::from_secrets(
        Suite::P256,
        &get("identity secret").unwrap().try_into().unwrap(),
        &get("encryption seed").unwrap().try_into().unwrap(),
        1,
    )
    .unwrap();
    let signed = Signed::open(&epoch, &get("sealed").unwrap()).unwrap();
    assert!(signed.verify(&epoch, keys.public(), Suite::P256));
    assert_eq!(Body::from_bytes(&get("body").unwrap()), Some(signed.body));
    let info = wrap_info(&circle, &epoch.id, &keys.public().log());
    let deposit = Deposit::decode(&get("deposit").unwrap()).unwrap();
    let guess = Guess::new(circle, EscrowPin::new(circle, b"271828"), &mut Seeded::new(9));
    let answer = deposit.answer(&guess.question(), 9).unwrap();
    let recovery = guess.open(&[answer]).unwrap().key.to_text();
    assert!(published.contains(&format!("recovery key = {recovery}\n")));
    assert_eq!(*keys.unwrap(&get("wrapped").unwrap(), &info).unwrap(), get("epoch secret").unwrap());
}
