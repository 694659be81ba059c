//! The flows: one file for each, from a request to the next screen.

mod account;
mod assets;
mod finish;
mod home;
mod login;
mod signup;

use axum::Router;

use crate::app::App;

/// Every path of the service.
pub(crate) fn routes(_app: &App) -> Router<App> {
    Router::new()
        .merge(assets::routes())
        .merge(home::routes())
        .merge(signup::routes())
        .merge(login::routes())
        .merge(account::routes())
}
