//! The flows: one file for each, from a request to the next screen.

mod account;
mod assets;
mod browser_error;
mod enroll;
pub(crate) mod finish;
mod home;
mod identifiers;
mod login;
mod lost;
mod mfa;
mod recover;
mod reset_password;
mod security;
pub(crate) mod signup;
mod step_up;
mod unblock;

use axum::Router;
use serde::Deserialize;

use crate::app::App;
use crate::secret::Secret;

pub(crate) use lost::Others;

/// Every path that people see.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(assets::routes())
        .merge(home::routes())
        .merge(signup::routes())
        .merge(login::routes())
        .merge(mfa::routes())
        .merge(enroll::routes())
        .merge(recover::routes())
        .merge(reset_password::routes())
        .merge(account::routes())
        .merge(security::routes())
        .merge(lost::routes())
        .merge(identifiers::routes())
        .merge(step_up::routes())
        .merge(unblock::routes())
        .merge(browser_error::routes())
}

/// A form with nothing but a password: the one to log in with, or a new one.
#[derive(Debug, Deserialize)]
struct PasswordForm {
    password: Secret,
}
