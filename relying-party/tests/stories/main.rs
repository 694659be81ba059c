//! The relying party as a black box: stories over HTTP, told with a clock that can be moved.

mod main_job;
mod world;
