//! The relying party as a black box: stories over HTTP, told with a clock that can be moved.

mod account;
mod api;
mod attacks;
mod bad_input;
mod ceremonies;
mod challenges;
mod developer;
mod enrollment;
mod events;
mod identifiers;
mod keys;
mod limits;
mod mail;
mod main_job;
mod names;
mod new_passwords;
mod operator;
mod postgresql;
mod processes;
mod proofs;
#[path = "../../../tests/src/randomness.rs"]
mod randomness;
mod recovery;
mod routes;
mod rules;
mod second_factor;
#[path = "../../../tests/src/sources/routes.rs"]
mod source_routes;
mod storage;
mod told;
mod under_way;
mod users;
mod webhooks;
mod world;
