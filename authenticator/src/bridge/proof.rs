//! How the extension and the bridge show each other that they have this run's token, without sending it.
//!
//! A bridge that ends without a word (a kill, a power cut) leaves its address in the extension's folder, and any
//! program of any user may listen there next. So a token that is sent would be given away, and an answer that proves
//! nothing would be believed.
//!
//! | what | where | value |
//! |---|---|---|
//! | request | `Authorization` | `Doppelkey` *nonce*`.`*proof*, of `request` ‖ path ‖ nonce ‖ body |
//! | answer | `Doppelkey-Proof` | *proof*, of `answer` ‖ nonce ‖ body |
//!
//! A proof is HMAC-SHA-256 under the token's text, of those parts with a line feed between each two: only the last,
//! the body, can hold one. Path and nonce are without a slash in front; the nonce is at least 16 of base64url's
//! characters, and good once. Nonces and proofs are unpadded base64url. Each request follows a `hello` without content,
//! whose answer tells the extension that it may tell more.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::text::{base64url, from_base64url};
use crate::token::Token;

/// What the `Authorization` of a request says: for clients other than the extensions, and for tests.
///
/// `path` is without the slash in front. A nonce is at least 16 characters of base64url, and another each time.
pub fn authorization(token: &Token, path: &str, nonce: &str, body: &[u8]) -> String {
    let proof = proof(token, &[b"request", path.as_bytes(), nonce.as_bytes(), body]);
    format!("{SCHEME}{nonce}.{}", base64url(&proof.finalize().into_bytes()))
}

/// The bridge's side: its token, and the nonces that were used.
pub(super) struct Proofs {
    token: Token,
    used: Mutex<Used>,
}

/// The last [`USED_MAX`] nonces of requests that were proven: nobody without the token adds any.
#[derive(Default)]
struct Used {
    all: HashSet<Box<str>>,
    order: VecDeque<Box<str>>,
}

impl Proofs {
    pub(super) fn new(token: Token) -> Self {
        Proofs { token, used: Mutex::default() }
    }

    /// The nonce of a request that proves to be of whoever has the token, and is new; `None` for any other.
    pub(super) fn check(&self, authorization: &str, path: &str, body: &[u8]) -> Option<String> {
        let (nonce, shown) = authorization.strip_prefix(SCHEME)?.split_once('.')?;
        let is_nonce = (NONCE_MIN..=NONCE_MAX).contains(&nonce.len())
            && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        let shown = from_base64url(shown).filter(|_| is_nonce)?;
        // Compared in constant time.
        let proof = proof(&self.token, &[b"request", path.as_bytes(), nonce.as_bytes(), body]);
        proof.verify_slice(&shown).ok()?;
        self.used.lock().unwrap_or_else(PoisonError::into_inner).take(nonce).then(|| nonce.to_owned())
    }

    /// The proof of the answer to the request with this nonce.
    pub(super) fn of_answer(&self, nonce: &str, body: &[u8]) -> String {
        let proof = proof(&self.token, &[b"answer", nonce.as_bytes(), body]);
        base64url(&proof.finalize().into_bytes())
    }
}

impl Used {
    /// Whether this one was not used yet. It is from now on.
    fn take(&mut self, nonce: &str) -> bool {
        if !self.all.insert(nonce.into()) {
            return false;
        }
        self.order.push_back(nonce.into());
        if self.order.len() > USED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
        true
    }
}

fn proof(token: &Token, parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(token.as_str().as_bytes()).expect("HMAC takes keys of every length");
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            mac.update(b"\n");
        }
        mac.update(part);
    }
    mac
}

const SCHEME: &str = "Doppelkey ";
const NONCE_MIN: usize = 16;
const NONCE_MAX: usize = 64;
const USED_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_request_is_believed_once_with_this_path_and_this_body_and_under_this_token() {
        let token = Token::random().expect("there is randomness");
        let proofs = Proofs::new(token.clone());
        let shown = authorization(&token, "get", NONCE, b"{}");
        let other = authorization(&Token::random().expect("there is randomness"), "get", NONCE, b"{}");
        for (shown, path, body) in [
            (&shown, "create", &b"{}"[..]),
            (&shown, "get", b"{ }"),
            (&other, "get", b"{}"),
            (&shown.replace(NONCE, "BAAAAAAAAAAAAAAAAAAAAA"), "get", b"{}"),
            (&shown.replace("Doppelkey", "Bearer"), "get", b"{}"),
            (&authorization(&token, "get", "short", b"{}"), "get", b"{}"),
            (&format!("Bearer {}", token.as_str()), "get", b"{}"),
            (&String::new(), "get", b"{}"),
        ] {
            assert_eq!(proofs.check(shown, path, body), None, "{shown} {path}");
        }
        assert_eq!(proofs.check(&shown, "get", b"{}").as_deref(), Some(NONCE));
        assert_eq!(proofs.check(&shown, "get", b"{}"), None, "a nonce is good once");
    }

    #[test]
    fn an_answer_is_of_one_request_and_no_request_is_an_answer() {
        let token = Token::random().expect("there is randomness");
        let proofs = Proofs::new(token.clone());
        let answer = proofs.of_answer(NONCE, b"{}");
        assert_ne!(answer, proofs.of_answer("BAAAAAAAAAAAAAAAAAAAAA", b"{}"));
        assert_ne!(answer, proofs.of_answer(NONCE, b"[]"));
        assert!(!authorization(&token, "", NONCE, b"{}").ends_with(&answer));
    }

    #[test]
    fn old_nonces_are_forgotten() {
        let mut used = Used::default();
        for number in 0..=USED_MAX {
            assert!(used.take(&number.to_string()));
        }
        assert_eq!((used.all.len(), used.order.len()), (USED_MAX, USED_MAX));
    }
}
