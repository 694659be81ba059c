//! Ed25519 (RFC 8032 §5.1).

use sha2::{Digest as _, Sha512};
use subtle::Choice;
use zeroize::{DefaultIsZeroes, Zeroizing};

use super::modular::{Modulus, Words, from_bytes, hex, to_bytes};
use super::{Affine, Comb, bit, comb};

/// The public key of a seed (§5.1.5).
pub(in super::super) fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    times_generator(&expand(seed).0)
}

/// A signature (§5.1.6).
pub(in super::super) fn sign(seed: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let (scalar, prefix) = expand(seed);
    let public = times_generator(&scalar);
    let nonce = Zeroizing::new(hash(&[&*prefix, message]));
    let commitment = times_generator(&Zeroizing::new(ORDER.leave(&nonce)));
    let challenge = hash(&[&commitment, &public, message]);
    let scalar = Zeroizing::new(ORDER.enter(&scalar));
    let response = ORDER.leave(&ORDER.add(&nonce, &ORDER.mul(&challenge, &scalar)));
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&commitment);
    signature[32..].copy_from_slice(&little_endian(to_bytes(&response)));
    signature
}

/// The scalar of a seed, and the prefix of what its nonces are hashed from.
fn expand(seed: &[u8; 32]) -> (Zeroizing<Words>, Zeroizing<[u8; 32]>) {
    let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(seed)));
    let (mut scalar, mut prefix) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    scalar.copy_from_slice(&hash[..32]);
    prefix.copy_from_slice(&hash[32..]);
    scalar[0] &= 0xF8;
    scalar[31] = scalar[31] & 0x7F | 0x40;
    (Zeroizing::new(from_bytes(&little_endian(*scalar))), prefix)
}

/// SHA-512 as a number modulo the order, in Montgomery form.
fn hash(parts: &[&[u8]]) -> Words {
    let mut hash = Sha512::new();
    parts.iter().for_each(|part| hash.update(part));
    let hash = Zeroizing::new(<[u8; 64]>::from(hash.finalize()));
    let (mut low, mut high) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
    low.copy_from_slice(&hash[..32]);
    high.copy_from_slice(&hash[32..]);
    ORDER.enter_wide(&from_bytes(&little_endian(*low)), &from_bytes(&little_endian(*high)))
}

/// `scalar`·B as §5.1.2 encodes it: y, and the lowest bit of x above it.
fn times_generator(scalar: &Words) -> [u8; 32] {
    let point = super::times_generator::<Extended>(&COMB, &FIELD.one, scalar);
    let inverse = Zeroizing::new(FIELD.invert(&point.z));
    let [x, y] = [point.x, point.y].map(|coordinate| FIELD.leave(&FIELD.mul(&coordinate, &inverse)));
    let mut encoded = little_endian(to_bytes(&y));
    encoded[31] |= bit(&x, 0) << 7;
    encoded
}

fn little_endian(mut bytes: [u8; 32]) -> [u8; 32] {
    bytes.reverse();
    bytes
}

/// A point in extended coordinates: x = X/Z, y = Y/Z, x·y = T/Z.
#[derive(Clone, Copy, Default)]
struct Extended {
    x: Words,
    y: Words,
    z: Words,
    t: Words,
}

impl DefaultIsZeroes for Extended {}

impl super::Point for Extended {
    /// The neutral point is (0, 1), and as good as any.
    fn new([x, y]: &Affine, _: Choice) -> Self {
        Extended { x: *x, y: *y, z: FIELD.one, t: FIELD.mul(x, y) }
    }

    /// RFC 8032 §5.1.4; complete, because −1 is a square and d is none.
    #[inline(never)]
    fn plus(&self, other: &Self) -> Self {
        let field = &FIELD;
        let a = field.mul(&field.sub(&self.y, &self.x), &field.sub(&other.y, &other.x));
        let b = field.mul(&field.add(&self.y, &self.x), &field.add(&other.y, &other.x));
        let c = field.mul(&field.mul(&self.t, &D2), &other.t);
        let d = field.mul(&field.add(&self.z, &self.z), &other.z);
        let (e, f) = (field.sub(&b, &a), field.sub(&d, &c));
        let (g, h) = (field.add(&d, &c), field.add(&b, &a));
        Extended { x: field.mul(&e, &f), y: field.mul(&g, &h), z: field.mul(&f, &g), t: field.mul(&e, &h) }
    }
}

/// 2²⁵⁵ − 19.
static FIELD: Modulus = Modulus::new(b"7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed");
static ORDER: Modulus = Modulus::new(b"1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed");
/// 2·d, with d = −121665/121666.
static D2: Words = {
    let d = FIELD.enter(&hex(b"52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3"));
    FIELD.add(&d, &d)
};

#[rustfmt::skip]
static COMB: Comb = comb(&FIELD, &[
    [b"216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a", b"6666666666666666666666666666666666666666666666666666666666666658"],
    [b"6222bd88bf2df9d5d44b60cfb4a08a960078db7ed51a35eb3e0b6b8ff4eda202", b"0325bb42ea4ed025dd6bdaed261b7c4f5410b608ba902b068f1efa5782e45313"],
    [b"0eba91a79c294ffdb87d9bf23b1950ab2cdd6232ff3a78c41a70066761ccfba2", b"1830473eabea7f2d85970edec32c93a15ab5d1f8670d959be5e5bf1dfe515e46"],
    [b"4c27afff3c45f32c952d3984e14e29a098e685c9c2e723e5fc8047ae60b7e824", b"5f2c99e6526dc87d95f11eb626c29c3a90d0be1e51a4c49e5bbabd114bf5a66b"],
    [b"6e64e5552b88e48f8ab3c1be8cc36053b0e6ec0831ecbce6fbe2fd29680c969a", b"383c510fa4cb58be6a9dfc9339b85145363911589ec5521025352a647bafd09b"],
    [b"6df2bc1dd81f344bc8180dc3e38f5e86538070539bf8a6418bf30e6343abca05", b"6062ddf137a687588981530eef9249a1e95d4c5d9f94e1a189f3f6d9dfbe3a34"],
    [b"31ed9d6f7225f3c0d8499b7c7b071f2173f332e16a0970ea527dc68c1b9d5a63", b"3d4728fdfdaa932eb0071c13493bb73e7b853293ad112811e671924054363667"],
    [b"1bc7af1e38185e7c2d8d04371c7e177d7a9ddee1b81d7d26db7ad644c7dad28d", b"61d909d855661f2f7a5eef87795dc0491d027e12631b270fcaf2f65900314833"],
    [b"02c61c297ad5e20346564c74db6f53a5fafab365654c7f1085ccfca307b06838", b"42da0c66e5a933bd91902dd2dcbffaf38663fd76671c602f84c0637504f259bc"],
    [b"71663cb3a064ed8ef0c78bc5774f5869eb06154dd06306571492ecc266f4ca27", b"5d1f56fd1c0066d347785e62f2da6c0da5305ff6fa27f8642770fe0d0ada2dc6"],
    [b"3cee130e0b5ee0f496d7e9d6319f022923e7a4c0bc2b5cc9270efdd84cf46f3f", b"3f23754593f82791a063cff2671d1f4718f65dd087d4ae97a4c391763df2ed09"],
    [b"76814f15876d2358491519ae1b8db034a289a9f5f77f7041969364dd23adf1d1", b"0dbd9ebed6b22a966ea4f5ab8bcfa83768db630feb2f424e8d54accfeab523fb"],
    [b"6dc27cfcfa37b9d984760cb862c911fc0b950483c6c47647178a8301cfa942b4", b"7208c6f10beaa14d1c54d972b5092e831922b7f9cc2791bc488f8cbb04b33e58"],
    [b"30d3a8448fc12e00038fb07cead8d910df47ddd66b11ddc08a0a56806e7a8746", b"3ab1d43a6d02b8caaae15b9a320c93525de79c82a751ed8503dcad34f9a28906"],
    [b"647cefbcab011849429fde2a35c9f27a7194cabd8076ac32386b100db5be5ff0", b"25183a9990c7e779178bc9453c2ed620084a91b7e00a6e58db13db59923d583f"],
]);

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use rand_core::Rng as _;

    use super::*;
    use crate::testing::SeededRng;

    #[test]
    fn signatures_and_public_keys_are_those_of_the_library() {
        let mut rng = SeededRng::new(1);
        for number in 0..200_usize {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let mut message = [0; 200];
            rng.fill_bytes(&mut message);
            let theirs = SigningKey::from_bytes(&seed);
            assert_eq!(public_key(&seed), theirs.verifying_key().to_bytes(), "{number}");
            let message = &message[..number];
            assert_eq!(sign(&seed, message), theirs.sign(message).to_bytes(), "{number}");
        }
    }

    /// RFC 8032 §7.1, test 1.
    #[test]
    fn the_empty_message_of_the_specification_is_signed_as_it_says() {
        let seed = to_bytes(&hex(b"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"));
        let public = to_bytes(&hex(b"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"));
        assert_eq!(public_key(&seed), public);
        let signature = sign(&seed, b"");
        let r = hex(b"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155");
        let s = hex(b"5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b");
        assert_eq!(signature, *[to_bytes(&r), to_bytes(&s)].as_flattened());
    }
}
