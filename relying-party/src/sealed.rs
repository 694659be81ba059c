//! Challenges that are kept nowhere: all about them is in their own 48 bytes, under a key that every process which
//! shares the database has. Whoever asks to log in with any passkey gets one, and leaves nothing behind; only an answer
//! writes: that the challenge has been taken, under its first 24 bytes, which can be written once.
//!
//! | offset | length | |
//! |---|---|---|
//! | 0 | 8 | when it expires: milliseconds since 1970, big-endian; first, so that what is taken is written in order |
//! | 8 | 16 | random |
//! | 24 | 1 | what was asked: bits 0 and 1 user verification, 2 conditional, 3 platform |
//! | 25 | 23 | HMAC-SHA-256 of the above and of whom it belongs to, the first 23 bytes |

use crate::ceremony::Asked;
use crate::secret;
use crate::store::SPENT_ID_LENGTH;
use crate::verify::UserVerification;

/// What a sealed challenge says, once its seal has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) asked: Asked,
    /// In milliseconds.
    pub(crate) expires_at: i64,
}

/// Makes a challenge for the owner; `None` if what is asked is more than it can hold.
pub(crate) fn seal(
    key: &[u8],
    owner: &str,
    random: &[u8; 16],
    asked: &Asked,
    expires_at: i64,
) -> Option<Vec<u8>> {
    let mut challenge = Vec::with_capacity(LENGTH);
    challenge.extend(expires_at.to_be_bytes());
    challenge.extend(random);
    challenge.push(bits(asked)?);
    let seal = seal_of(key, owner, &challenge);
    challenge.extend(&seal[..LENGTH - SEAL]);
    Some(challenge)
}

/// What a challenge says; `None` if it is not of this kind, or another owner's, or nobody has made it. It may have
/// expired or been taken.
pub(crate) fn open(key: &[u8], owner: &str, challenge: &[u8]) -> Option<Sealed> {
    if challenge.len() != LENGTH {
        return None;
    }
    let (said, seal) = challenge.split_at(SEAL);
    if !secret::equal(seal, &seal_of(key, owner, said)[..LENGTH - SEAL]) {
        return None;
    }
    let expires_at = i64::from_be_bytes(*said.first_chunk()?);
    Some(Sealed { asked: asked(*said.last()?)?, expires_at })
}

fn seal_of(key: &[u8], owner: &str, said: &[u8]) -> Vec<u8> {
    secret::keyed(key, &[b"challenge to log in", owner.as_bytes(), said])
}

fn bits(asked: &Asked) -> Option<u8> {
    let user_verification = match asked.user_verification {
        UserVerification::Required => 0,
        UserVerification::Preferred => 1,
        UserVerification::Discouraged => 2,
    };
    let bits = user_verification | u8::from(asked.conditional) << 2 | u8::from(asked.platform) << 3;
    // Whatever else is asked does not fit.
    (self::asked(bits).as_ref() == Some(asked)).then_some(bits)
}

fn asked(bits: u8) -> Option<Asked> {
    let user_verification = match bits & 3 {
        0 => UserVerification::Required,
        1 => UserVerification::Preferred,
        2 => UserVerification::Discouraged,
        _ => return None,
    };
    let (conditional, platform) = (bits & 4 != 0, bits & 8 != 0);
    Some(Asked { user_verification, conditional, platform, ..Asked::default() })
}

/// Where the seal begins, and what a challenge that has been taken is written down under before it.
const SEAL: usize = SPENT_ID_LENGTH + 1;
const LENGTH: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[1; 32];

    fn plain() -> Asked {
        Asked { user_verification: UserVerification::Required, platform: true, ..Asked::default() }
    }

    #[test]
    fn a_challenge_says_what_was_asked_and_until_when() {
        for (conditional, platform) in [(false, false), (false, true), (true, false), (true, true)] {
            for user_verification in
                [UserVerification::Required, UserVerification::Preferred, UserVerification::Discouraged]
            {
                let asked = Asked { user_verification, conditional, platform, ..Asked::default() };
                let challenge = seal(KEY, "tok_1", &[7; 16], &asked, 1_790_000_000_000).unwrap();
                let opened = open(KEY, "tok_1", &challenge).unwrap();
                assert_eq!((opened.asked, opened.expires_at), (asked, 1_790_000_000_000));
            }
        }
    }

    #[test]
    fn a_challenge_opens_for_its_owner_only_and_unchanged_only() {
        let challenge = seal(KEY, "tok_1", &[7; 16], &plain(), 5).unwrap();
        assert!(open(KEY, "tok_2", &challenge).is_none());
        assert!(open(&[2; 32], "tok_1", &challenge).is_none());
        for at in 0..challenge.len() {
            let mut other = challenge.clone();
            other[at] ^= 1;
            assert!(open(KEY, "tok_1", &other).is_none(), "byte {at}");
        }
        assert!(open(KEY, "tok_1", &challenge[..47]).is_none());
        assert!(open(KEY, "tok_1", &[]).is_none());
    }

    #[test]
    fn what_names_a_user_or_passkeys_is_not_sealed() {
        for asked in [
            Asked { identified: true, ..plain() },
            Asked { allow: vec![vec![1]], ..plain() },
            Asked { handle: vec![1], ..plain() },
            Asked { algorithms: vec![-7], ..plain() },
        ] {
            assert!(seal(KEY, "tok_1", &[7; 16], &asked, 5).is_none());
        }
    }
}
