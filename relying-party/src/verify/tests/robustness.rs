//! Whatever comes, the verifier answers: no panic, no forged acceptance, every transcript whole.

use serde_json::Value;

use super::super::cases;
use super::super::response::{base64url, to_base64url};
use super::{Mutant, mutants};

/// A small generator of its own, so that a seed means the same for ever (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
        2 => bytes.insert(at.min(bytes.len()), random.next() as u8),
        3 if !bytes.is_empty() => drop(bytes.remove(at)),
        4 => bytes.truncate(at),
        5 => bytes.extend((0..random.below(40)).map(|byte| byte as u8)),
        _ => {
            // a piece twice
            let piece =
                bytes[at.min(bytes.len())..].iter().copied().take(random.below(64)).collect::<Vec<_>>();
            bytes.splice(at..at, piece);
        }
    }
}

const MEMBERS: [&str; 4] = ["clientDataJSON", "attestationObject", "authenticatorData", "signature"];

#[test]
fn random_damage_never_panics_and_every_transcript_is_whole() {
    let rights: Vec<Mutant> = mutants().into_iter().filter(|mutant| mutant.step.is_none()).collect();
    let seed = 0x5eed_0001;
    let mut random = Random(seed);
    for round in 0..3000 {
        let mut case = rights[random.below(rights.len())].case.clone();
        case["id"] = round.into();
        for _ in 0..=random.below(3) {
            let member = &mut case["credential"]["response"][MEMBERS[random.below(MEMBERS.len())]];
            let Some(mut bytes) = member.as_str().and_then(base64url) else { continue };
            damage(&mut bytes, &mut random);
            *member = to_base64url(&bytes).into();
        }
        let verdict = cases::verdict(&case.to_string());
        assert!(verdict.is_case(), "seed {seed:#x}, round {round}");
        let told: Value = serde_json::from_str(&verdict.to_json(true)).unwrap();
        let steps = if case["ceremony"] == "registration" { 29 } else { 25 };
        let lines = told["transcript"].as_array().unwrap();
        assert_eq!(lines.len(), steps, "seed {seed:#x}, round {round}");
        let failed = lines.iter().filter(|line| line["verdict"] == "fail").count();
        assert_eq!(failed, usize::from(!verdict.is_accepted()), "seed {seed:#x}, round {round}");
    }
}

/// The assertion's signature covers authenticator data and client data: no flipped bit may pass.
#[test]
fn no_single_flipped_bit_of_an_assertion_is_accepted() {
    let case = super::workshop::Assertion::new().case();
    for member in ["clientDataJSON", "authenticatorData", "signature"] {
        let bytes = base64url(case["credential"]["response"][member].as_str().unwrap()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut case = case.clone();
            case["id"] = bit.into();
            case["credential"]["response"][member] = to_base64url(&damaged).into();
            let verdict = cases::verdict(&case.to_string());
            assert!(verdict.is_case() && !verdict.is_accepted(), "{member}, bit {bit}");
        }
    }
}

#[test]
fn random_text_is_no_case_and_does_no_harm() {
    let mut random = Random(0x5eed_0002);
    let whole = mutants()[0].to_line().into_bytes();
    for _ in 0..2000 {
        let mut line = whole.clone();
        for _ in 0..=random.below(8) {
            damage(&mut line, &mut random);
        }
        let _ = cases::verdict(&String::from_utf8_lossy(&line)).to_json(true);
    }
}
