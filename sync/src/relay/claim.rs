//! How a newcomer claims its name at a relay.
//!
//! Members say of a newcomer, by its name, that its token stays. With the invitation anybody could let itself in under that
//! name wherever the newcomer was not yet, at a relay that is away while it joins, and would stay in its place. So a guest
//! proves that it has the keys of which the name is a hash. The relay learns nothing by it but the public one.
//!
//! | offset | length | of a claim |
//! |---|---|---|
//! | 0 | 33 | the identity key, compressed SEC1 |
//! | 33 | 4 | the incarnation, big-endian |
//! | 37 | 64 | signature over `"claim/1"` ‖ circle ‖ the guest's token's hash ‖ the hash of the token that is let in |
//!
//! Each relay has a guest's token of its own for one invitation: what is claimed at one of them is worth nothing at another.

use std::string::{String, ToString as _};
use std::vec::Vec;

use rand_core::CryptoRng;

use crate::crypto::{Suite, verify};
use crate::id::{CircleId, LogId, hash};
use crate::replica::Replica;

/// How long a claim is.
pub(super) const CLAIM: usize = 33 + 4 + 64;

/// What is signed before anything else.
const LABEL: &[u8] = b"claim/1";

/// What a relay keeps of a token.
pub(super) fn digest(token: &str) -> String {
    hash(&[token.as_bytes()]).to_string()
}

/// The claim of this replica's device. Tokens are named by their digests.
pub(super) fn claim<R: CryptoRng>(replica: &Replica<R>, guest: &str, token: &str) -> Vec<u8> {
    let public = replica.keys.public();
    let signature = replica.keys.sign(&[LABEL, &replica.circle().0, guest.as_bytes(), token.as_bytes()]);
    [public.identity.as_slice(), &public.incarnation.to_be_bytes(), &signature].concat()
}

/// Whether this is the claim to a name of who has its keys. All suites sign alike.
pub(super) fn holds(claim: &[u8], circle: CircleId, name: &str, guest: &str, token: &str) -> bool {
    let Some((identity, rest)) = claim.split_first_chunk::<33>() else { return false };
    let Some((incarnation, signature)) = rest.split_first_chunk::<4>() else { return false };
    let Ok(signature) = signature.try_into() else { return false };
    let message = [LABEL, &circle.0, guest.as_bytes(), token.as_bytes()];
    LogId::of(identity, u32::from_be_bytes(*incarnation)).to_string() == name
        && verify(Suite::P256, identity, &message, signature)
}
