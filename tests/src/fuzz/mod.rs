//! Bad input: what is thrown at every parser that meets a stranger's bytes, and what must hold whatever they are.
//!
//! A [`Target`] takes any bytes and panics if something is wrong. [`TARGETS`] has them all: `tests/fuzz` gives them to
//! cargo-fuzz, and the ordinary tests feed them with their [`corpus`] and with mutants of it, from a seed and in bounds.

mod answers;
mod commands;
pub mod corpus;
mod http;
mod mutation;
mod packets;
mod parsers;
mod requests;
mod sync;
mod usbip;
mod vault;
mod verification;

use std::io;
use std::path::Path;

pub use answers::answers;
pub use commands::commands;
pub use http::{bridge, control};
pub use mutation::Mutator;
pub use packets::packets;
pub use parsers::{
    attestation_object, authenticator_data, certificate, client_data, cose_key, credential, exchange,
    policies,
};
pub use requests::requests;
pub use sync::{entries, letters, replicas};
pub use usbip::usbip;
pub use vault::vault;
pub use verification::verification;

/// Something that bad input is given to.
pub struct Target {
    /// What cargo-fuzz calls it.
    pub name: &'static str,
    /// What the ordinary tests give it, beside the corpus.
    pub mutants: u64,
    /// Right input, to begin with.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Takes any bytes; panics if what must hold does not.
    pub harness: fn(&[u8]),
}

/// All of them, by what they meet.
pub const TARGETS: [Target; 20] = [
    // the authenticator
    target("packets", 20_000, corpus::packets, packets),
    target("commands", 1500, corpus::commands, |story| {
        commands(story);
    }),
    target("usbip", 300, corpus::usbip, usbip),
    target("control", 300, corpus::control, |story| {
        control(story);
    }),
    target("bridge", 150, corpus::bridge, |story| {
        bridge(story);
    }),
    target("vault", 300, corpus::vault, |bytes| {
        vault(bytes);
    }),
    target("credential", 20_000, corpus::credential, credential),
    target("exchange", 2000, corpus::exchange, exchange),
    // its platform
    target("answers", 100, corpus::answers, |story| {
        answers(story);
    }),
    // the relying party
    target("requests", 600, corpus::requests, |story| {
        requests(story);
    }),
    target("verification", 3000, corpus::responses, |story| {
        verification(story);
    }),
    target("client_data", 20_000, corpus::client_data, client_data),
    target("authenticator_data", 10_000, corpus::authenticator_data, authenticator_data),
    target("attestation_object", 3000, corpus::attestation_object, attestation_object),
    target("cose_key", 10_000, corpus::cose_key, cose_key),
    target("certificate", 3000, corpus::certificate, certificate),
    target("policies", 3000, corpus::policies, |story| {
        policies(story);
    }),
    // sync
    target("entries", 20_000, corpus::entries, entries),
    target("letters", 5000, corpus::letters, letters),
    target("replicas", 500, corpus::replicas, |story| {
        replicas(story);
    }),
];

const fn target(
    name: &'static str,
    mutants: u64,
    corpus: fn() -> Vec<Vec<u8>>,
    harness: fn(&[u8]),
) -> Target {
    Target { name, mutants, corpus, harness }
}

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn find(name: &str) -> &'static Target {
    static ALL: [Target; TARGETS.len()] = TARGETS;
    ALL.iter().find(|target| target.name == name).expect("a target of this name")
}

impl Target {
    /// Writes the corpus into this folder, a file each; makes the folder.
    pub fn write_corpus(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let write = |(number, story)| std::fs::write(folder.join(format!("{number:02}")), story);
        (self.corpus)().iter().enumerate().try_for_each(write)
    }
}

/// What of a story of [`commands`] goes over the wire: its CTAP2 requests.
pub fn requests_of(story: &[u8]) -> impl Iterator<Item = &[u8]> {
    let of_cbor = |kind: u8| kind % commands::kind::COUNT == commands::kind::CBOR;
    steps(story).filter(move |(kind, _)| of_cbor(*kind)).map(|(_, request)| request)
}

/// What of a story of [`packets`] goes over the wire; channel 0 stands for the one that there is.
pub fn packets_of(story: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    steps(story).filter_map(|(kind, payload)| match kind % packets::kind::COUNT {
        packets::kind::PACKET => Some(payload.to_vec()),
        packets::kind::ON_A_CHANNEL => {
            let packet = payload.get(1..).unwrap_or_default();
            Some([&[0; 4], packet.get(4..).unwrap_or_default()].concat())
        }
        _ => None,
    })
}

/// A story as steps, each a kind, a length in two bytes, and so many bytes; a length too large takes what is there.
pub fn steps(mut story: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
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
