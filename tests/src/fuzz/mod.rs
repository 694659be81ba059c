//! Bad input: what is thrown at the core, CTAPHID and the relying party, and what must hold whatever it is.
//!
//! [`commands`], [`packets`], [`verification`] and [`requests`] take any bytes and panic if something is wrong: they are what `tests/fuzz` gives to
//! cargo-fuzz, and what the ordinary tests feed with the [`corpus`] and with mutants of it, from a seed and in bounds.

mod commands;
pub mod corpus;
mod mutation;
mod packets;
mod requests;
mod verification;

pub use commands::commands;
pub use mutation::Mutator;
pub use packets::packets;
pub use requests::requests;
pub use verification::verification;

/// A story as steps, each a kind, a length in two bytes, and so many bytes; a length too large takes what is there.
fn steps(mut story: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, high, low], rest) = story.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (payload, rest) = rest.split_at(length.min(rest.len()));
        story = rest;
        Some((kind, payload))
    })
}

/// A step of a story: its kind, its length in two bytes, and so many bytes.
///
/// # Panics
/// For more than 65,535 bytes.
pub fn step(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a step is short").to_be_bytes();
    [&[kind], &length[..], payload].concat()
}
