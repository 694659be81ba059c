//! Clocks: read where the program is composed, told everywhere else.

use std::sync::Arc;
use std::time::Duration;

/// The time since some fixed moment, monotonic.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The wall clock, in milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;
