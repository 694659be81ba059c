//! For a fuzzer: every decoder of this crate that reads what a stranger may have written.

use crate::base::Base;
use crate::command::{MemoryShelf, answer};
use crate::entry::Body;
use crate::pairing::Invitation;
use crate::recovery::{RecoveryKey, Share};

/// Decodes these bytes as everything that can come from outside. Panics if what was accepted has two encodings.
pub fn decode_anything(bytes: &[u8]) {
    if let Some(body) = Body::from_bytes(bytes) {
        assert_eq!(body.encode(), bytes, "a body has one encoding");
    }
    // A base is bound by its digest, not by its encoding.
    drop(Base::decode(bytes));
    if let Ok(text) = core::str::from_utf8(bytes) {
        drop((Invitation::parse(text), RecoveryKey::parse(text), Share::parse(text)));
    }
    #[cfg(any(test, feature = "escrow"))]
    {
        use crate::escrow::{Answer, Deposit};
        if let Some(deposit) = Deposit::decode(bytes) {
            assert_eq!(&**deposit.encode(), bytes, "a deposit has one encoding");
        }
        if let Some(answer) = Answer::decode(bytes) {
            assert_eq!(answer.encode(), bytes, "an answer has one encoding");
        }
    }
    let answer = answer(&mut MemoryShelf::default(), bytes, 64);
    assert!(answer.len() <= 64, "an answer fits");
}
