//! For the tests of whoever implements a seam of this crate. Behind the feature `testing`; needs an allocator.

extern crate alloc;

mod conformance;
mod model;

pub use conformance::{PowerCut, Subject, conformance};
