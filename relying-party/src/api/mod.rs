//! For programs without a browser: the native passkey API and the My Account API, shaped as Auth0's.
//!
//! A native app keeps no cookies. Its session lives in `auth_session` while it signs up or logs in, and in the
//! access token afterwards; both end with every other session of the user.

mod error;
mod jwt;
mod me;
mod native;
mod token;

use axum::Router;
use axum::extract::FromRequest;
use axum::extract::Request;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::edge::JsonBody;
use error::ApiError;

/// The paths for programs.
pub(crate) fn routes() -> Router<App> {
    Router::new().merge(native::routes()).merge(token::routes()).merge(me::routes())
}

/// The one client there is; its id is public.
const CLIENT_ID: &str = "doppelkey";

fn check_client(client_id: &str) -> Result<(), ApiError> {
    if client_id == CLIENT_ID { Ok(()) } else { Err(ApiError::UNKNOWN_CLIENT) }
}

/// A JSON body whose refusals look like every other answer of these APIs.
#[derive(Debug)]
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let JsonBody(value) = JsonBody::<T>::from_request(request, app).await?;
        Ok(Self(value))
    }
}
