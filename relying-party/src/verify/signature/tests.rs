//! Every algorithm: a right signature verifies, the same in Rust and (feature `aws-lc-rs`) in C, and a wrong one does not.

use ed25519_dalek::Signer as _;
use rsa::signature::SignatureEncoding as _;

use super::super::tests::workshop::rsa_key;
use super::*;

/// A key, its scheme, and how it signs.
type Kind = (&'static str, PublicKey, Scheme, Box<dyn Fn(&[u8]) -> Vec<u8>>);

fn kinds() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    macro_rules! ecdsa {
        ($curve:ident, $name:literal, $new:ident, $hash:ident) => {{
            let key = $curve::ecdsa::SigningKey::from_slice(&scalar(stringify!($curve))).unwrap();
            let public = PublicKey::$new(key.verifying_key().to_sec1_point(false).as_bytes()).unwrap();
            let sign = move |message: &[u8]| {
                use p256::ecdsa::signature::hazmat::PrehashSigner as _;
                let signature: $curve::ecdsa::Signature = key.sign_prehash(&Hash::$hash.of(message)).unwrap();
                signature.to_der().as_bytes().to_vec()
            };
            kinds.push(($name, public, Scheme::Ecdsa(Hash::$hash), Box::new(sign)));
        }};
    }
    ecdsa!(p256, "ES256", p256, Sha256);
    ecdsa!(p384, "ES384", p384, Sha384);
    ecdsa!(p521, "ES512", p521, Sha512);
    ecdsa!(k256, "ES256K", k256, Sha256);

    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let public = PublicKey::ed25519(key.verifying_key().as_bytes()).unwrap();
    kinds.push((
        "Ed25519",
        public,
        Scheme::EdDsa,
        Box::new(move |message| key.sign(message).to_bytes().to_vec()),
    ));

    let key = rsa_key();
    let (modulus, exponent) = {
        use rsa::traits::PublicKeyParts as _;
        (key.n_bytes(), key.e_bytes())
    };
    for (name, hash) in
        [("RS256", Hash::Sha256), ("RS384", Hash::Sha384), ("RS512", Hash::Sha512), ("RS1", Hash::Sha1)]
    {
        let key = key.clone();
        let sign = move |message: &[u8]| match hash {
            Hash::Sha1 => rsa::pkcs1v15::SigningKey::<sha1::Sha1>::new(key.clone()).sign(message).to_vec(),
            Hash::Sha256 => rsa::pkcs1v15::SigningKey::<Sha256>::new(key.clone()).sign(message).to_vec(),
            Hash::Sha384 => rsa::pkcs1v15::SigningKey::<Sha384>::new(key.clone()).sign(message).to_vec(),
            Hash::Sha512 => rsa::pkcs1v15::SigningKey::<Sha512>::new(key.clone()).sign(message).to_vec(),
        };
        kinds.push((name, PublicKey::rsa(&modulus, &exponent).unwrap(), Scheme::Pkcs1(hash), Box::new(sign)));
    }
    let sign = move |message: &[u8]| {
        use rsa::signature::RandomizedSigner as _;
        let mut random = rand_core::UnwrapErr(getrandom::SysRng);
        rsa::pss::SigningKey::<Sha256>::new(key.clone()).sign_with_rng(&mut random, message).to_vec()
    };
    kinds.push((
        "PS256",
        PublicKey::rsa(&modulus, &exponent).unwrap(),
        Scheme::Pss(Hash::Sha256),
        Box::new(sign),
    ));

    macro_rules! ml_dsa {
        ($parameters:ident, $name:literal, $new:ident) => {{
            let key = ml_dsa::ExpandedSigningKey::<$parameters>::from_seed(&[9; 32].into());
            let public = PublicKey::$new(&key.verifying_key().encode()).unwrap();
            let sign = move |message: &[u8]| key.sign_deterministic(message, b"").unwrap().encode().to_vec();
            kinds.push(($name, public, Scheme::MlDsa, Box::new(sign)));
        }};
    }
    ml_dsa!(MlDsa44, "ML-DSA-44", ml_dsa_44);
    ml_dsa!(MlDsa65, "ML-DSA-65", ml_dsa_65);
    ml_dsa!(MlDsa87, "ML-DSA-87", ml_dsa_87);
    kinds
}

fn scalar(curve: &str) -> Vec<u8> {
    vec![
        1;
        match curve {
            "p384" => 48,
            "p521" => 66,
            _ => 32,
        }
    ]
    .into_iter()
    .enumerate()
    .map(|(at, byte)| if curve == "p521" && at == 0 { 0 } else { byte })
    .collect()
}

#[test]
fn every_algorithm_verifies_what_it_signed_and_nothing_else() {
    for (name, key, scheme, sign) in kinds() {
        let signature = sign(b"message");
        assert!(key.verify(scheme, b"message", &signature), "{name}");
        assert!(!key.verify(scheme, b"massage", &signature), "{name}");
        assert!(!key.verify(scheme, b"message", &[]), "{name}");
        assert!(!key.verify(scheme, b"message", &[&signature[..], &[0]].concat()), "{name}");
        for at in (0..signature.len()).step_by(signature.len() / 16 + 1) {
            let mut damaged = signature.clone();
            damaged[at] ^= 0x10;
            assert!(!key.verify(scheme, b"message", &damaged), "{name}, byte {at}");
        }
    }
}

/// Else the portable code would answer, and nobody would notice.
#[cfg(feature = "aws-lc-rs")]
#[test]
fn aws_lc_is_asked_about_what_it_knows() {
    let asked: Vec<_> = kinds()
        .into_iter()
        .filter_map(|(name, key, scheme, sign)| {
            let answer = aws_lc::verify(&key, scheme, b"message", &sign(b"message"))?;
            assert!(answer, "{name}");
            assert_eq!(aws_lc::verify(&key, scheme, b"massage", &sign(b"message")), Some(false), "{name}");
            Some(name)
        })
        .collect();
    assert_eq!(asked, ["ES256", "ES384", "ES512", "Ed25519", "RS256", "RS384", "RS512", "PS256"]);
}

#[test]
fn no_key_verifies_by_a_scheme_of_another_kind() {
    let all = kinds();
    for (name, key, scheme, _) in &all {
        for (other, _, _, sign) in all.iter().filter(|(other, _, found, _)| found != scheme && other != name)
        {
            assert!(
                !key.verify(*scheme, b"message", &sign(b"message")),
                "{name} takes a signature of {other}"
            );
        }
    }
}

#[cfg(feature = "aws-lc-rs")]
#[test]
fn aws_lc_and_rust_agree_on_right_and_on_damaged_signatures() {
    let mut asked = 0;
    for (name, key, scheme, sign) in kinds() {
        let right = sign(b"message");
        let damaged = (0..right.len() * 8).map(|bit| {
            let mut signature = right.clone();
            signature[bit / 8] ^= 1 << (bit % 8);
            signature
        });
        for signature in std::iter::once(right.clone()).chain(damaged.step_by(7)) {
            let Some(answer) = aws_lc::verify(&key, scheme, b"message", &signature) else { break };
            asked += 1;
            assert_eq!(
                answer,
                key.verify_portably(scheme, b"message", &signature),
                "{name}: {signature:02x?}"
            );
        }
    }
    assert!(asked > 500, "AWS-LC was asked {asked} times only");
}
