//! What no sign-in can be faster than.

use std::sync::LazyLock;

use p256::ecdsa::signature::Signer as _;

use super::signature::{Hash, PublicKey, Scheme};

/// One verification of one ES256 signature, with the arithmetic that this build verifies with, and nothing around it:
/// the floor under the processor time of a sign-in, for benchmarks. The work says whether the signature is right; it
/// always is.
///
/// # Panics
/// Never: the key is a constant.
pub fn floor() -> impl Fn() -> bool {
    const MESSAGE: &[u8] = b"what an authenticator signs is 37 bytes of its data and 32 of a hash.";
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("7777… is below the order of the curve");
    let signature: p256::ecdsa::Signature = key.sign(MESSAGE);
    let signature = signature.to_der();
    let key = PublicKey::P256(*key.verifying_key());
    move || key.verify(Scheme::Ecdsa(Hash::Sha256), std::hint::black_box(MESSAGE), signature.as_bytes())
}

/// Verifies a signature that is nobody's, and learns nothing: an answer about a passkey that does not exist takes as
/// long to refuse as one with a wrong ES256 signature.
pub(crate) fn spend_the_time_of_a_signature() -> bool {
    static WORK: LazyLock<Box<dyn Fn() -> bool + Send + Sync>> = LazyLock::new(|| Box::new(floor()));
    std::hint::black_box(WORK())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_time_of_a_signature_is_spent_on_one() {
        assert!(super::spend_the_time_of_a_signature(), "a signature that is right is verified to its end");
    }

    #[test]
    fn the_floor_verifies_a_signature() {
        assert!(super::floor()());
    }
}
