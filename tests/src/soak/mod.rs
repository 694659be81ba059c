//! Long runs: what must hold after very many, for a very long time, or however it ends. `--bin soak` runs them at any
//! length and says figures; `tests/tests/soak.rs` runs each for a few seconds.

mod ceremonies;
mod credentials;
mod day;
mod home;
mod kills;
mod plugs;
mod power;
mod site;
mod steps;
mod stories;
mod sweep;
mod trace;

pub use ceremonies::ceremonies;
pub use credentials::{Figures, credentials};
pub use day::{Day, day};
pub use home::{Home, create, sign};
pub use kills::{Kills, relay_kills, relying_party_kills, vault_kills};
pub use plugs::plugs;
pub use power::{PowerCuts, power_cuts};
pub use site::Site;
pub use steps::Steps;
pub use stories::Story;
pub use sweep::{Sweep, sweep};
pub use trace::Trace;
