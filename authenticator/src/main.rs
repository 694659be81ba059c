//! The program `doppelkey`: composition only.
fn main() {}
