//! What the control port's own routes answer with.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A request that came to nothing: what happened, and what to do next.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    hint: String,
}

/// An answer of `/v1`.
pub(super) type Answered<T = Json<serde_json::Value>> = Result<T, Failure>;

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Failure { status, error: error.into(), hint: hint.into() }
    }

    /// The request makes no sense as it is.
    pub(super) fn bad_request(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// It cannot be done as things are.
    pub(super) fn conflict(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error, hint)
    }

    /// There is no such thing.
    pub(super) fn not_found(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }
}

impl From<doppelkey_core::StoreError> for Failure {
    fn from(error: doppelkey_core::StoreError) -> Self {
        match error {
            doppelkey_core::StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "the vault is full",
                "delete credentials, or free some space on its disk",
            ),
            doppelkey_core::StoreError::Fault => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the vault failed",
                "check its disk, then start the program again",
            ),
        }
    }
}

impl From<crate::usbip::NoFreePlace> for Failure {
    fn from(error: crate::usbip::NoFreePlace) -> Self {
        Self::conflict(error.to_string(), "remove a device, or take its power away")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

/// A JSON body of this shape, whatever its Content-Type says: `curl -d` is enough. Anything else is a [`Failure`].
pub(super) struct Body<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> axum::extract::FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Failure> {
        let hint = "send a JSON object with the members that authenticator/src/control/README.md lists";
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|error| Failure::bad_request(error.to_string(), hint))?;
        serde_json::from_slice(&bytes)
            .map(Body)
            .map_err(|error| Failure::bad_request(error.to_string(), hint))
    }
}
