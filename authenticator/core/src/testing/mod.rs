//! For tests: a device in a fake world, randomness from a seed, a platform, and the suite that every store runs.

mod conformance;
mod model;
pub mod platform;
pub mod wire;
mod world;

pub use conformance::{PowerCut, Subject, conformance};
pub use world::{APPROVES, Asked, Does, SeededRng, World};
