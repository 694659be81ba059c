//! The token that the browser holds, and what a session is found by.

use crate::secret;

/// A token for a session: when it began, in seconds since 1970 and eight hexadecimal digits, and 32 random bytes.
pub(super) fn new_token(now_ms: i64, random: &[u8; 32]) -> String {
    let seconds = u32::try_from(now_ms / 1000).unwrap_or_default();
    format!("{seconds:08x}{}", secret::text(random))
}

/// What a session is found by: 32 bytes, the SHA-256 of its token; of a token that says when the session began, that in
/// front of the first 28 of them. Sessions that begin together are kept together then, and written in one place.
pub(super) fn key_of(token: &str) -> Vec<u8> {
    let digest = secret::digest(token.as_bytes());
    let began = token.get(..8).filter(|_| token.len() == TOKEN_LENGTH + 8);
    match began.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
        Some(began) => [&began.to_be_bytes()[..], &digest[..28]].concat(),
        None => digest,
    }
}

/// A name for a token that is not stored; neither the token nor its digest, which a session would be found by.
pub(super) fn name_of_token(digest: &[u8]) -> String {
    format!("tok_{}", secret::text(&secret::digest(digest)[..15]))
}

/// 32 bytes in base64url.
pub(super) const TOKEN_LENGTH: usize = 43;

/// How the token of a browser that has no session begins: it need not be looked for.
pub(super) const HELD: &str = "~";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_sessions_are_in_the_order_of_their_beginning() {
        let tokens =
            [1_790_000_000_000, 1_790_000_001_000, 4_000_000_000_000].map(|now| new_token(now, &[7; 32]));
        let keys = tokens.each_ref().map(|token| key_of(token));
        assert!(keys.is_sorted() && keys.iter().all(|key| key.len() == 32));
        assert_ne!(key_of(&new_token(1_790_000_000_000, &[8; 32])), keys[0]);
        // The whole token counts, not the random part alone.
        assert_ne!(keys[0][4..], keys[1][4..]);
    }

    #[test]
    fn a_token_of_before_is_found_by_its_digest() {
        let token = secret::text(&[7; 32]);
        assert_eq!(key_of(&token), secret::digest(token.as_bytes()));
        assert_eq!(
            key_of("a-token-from-before-the-upgrade"),
            secret::digest(b"a-token-from-before-the-upgrade")
        );
    }
}
