//! What WebDriver says: values and errors (WebDriver §6.6).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use doppelkey_core::StoreError;

use crate::usbip::NoFreePlace;

/// An error of WebDriver.
#[derive(Debug)]
pub(super) struct Error {
    code: ErrorCode,
    message: String,
}

/// Those of its error codes that occur here.
#[derive(Clone, Copy, Debug)]
pub(super) enum ErrorCode {
    /// The arguments are invalid or malformed.
    InvalidArgument,
    /// It cannot be done here.
    UnsupportedOperation,
    /// Something else went wrong.
    UnknownError,
}

/// A successful answer.
pub(super) struct Success(pub(super) Value);

/// An answer.
pub(super) type Answer = Result<Success, Error>;

impl Error {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::new(ErrorCode::UnknownError, format!("the credential store failed: {error:?}"))
    }
}

impl From<NoFreePlace> for Error {
    fn from(error: NoFreePlace) -> Self {
        Error::new(ErrorCode::UnknownError, error.to_string())
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        Json(json!({ "value": self.0 })).into_response()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, error) = match self.code {
            ErrorCode::InvalidArgument => (StatusCode::BAD_REQUEST, "invalid argument"),
            ErrorCode::UnsupportedOperation => (StatusCode::INTERNAL_SERVER_ERROR, "unsupported operation"),
            ErrorCode::UnknownError => (StatusCode::INTERNAL_SERVER_ERROR, "unknown error"),
        };
        let value = json!({ "error": error, "message": self.message, "stacktrace": "" });
        (status, Json(json!({ "value": value }))).into_response()
    }
}

/// Reads a body: a JSON object of this shape, and nothing it does not know.
pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::invalid(error.to_string()))
}
