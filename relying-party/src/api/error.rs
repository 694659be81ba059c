//! Refusals as OAuth writes them: `{"error", "error_description"}` (RFC 6749 §5.2).

use std::borrow::Cow;

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::edge::AnsweredAlready;
use crate::failure::{Failure, Told};
use crate::secret::Secret;
use crate::store::StoreError;

/// Why a program's request was not carried out.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    error: &'static str,
    description: Cow<'static, str>,
    retry_after_s: Option<i64>,
    /// A token with which the second factor can be shown.
    mfa_token: Option<Secret>,
    /// The failure behind it, if no flow was reached that could have logged it.
    unlogged: Option<Box<Told>>,
}

impl ApiError {
    pub(super) const UNKNOWN_CLIENT: Self =
        Self::new(StatusCode::UNAUTHORIZED, "invalid_client", "No client has this client_id.");
    pub(super) const UNKNOWN_GRANT: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "unsupported_grant_type",
        "This grant_type is not among those for passkeys and second factors.",
    );
    pub(super) const UNKNOWN_SESSION: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "invalid_grant",
        "auth_session or mfa_token has expired, was used, or never was.",
    );
    pub(super) const WRONG_CODE: Self =
        Self::new(StatusCode::FORBIDDEN, "invalid_grant", "The code is wrong, or was used.");
    pub(super) const INVALID_TOKEN: Self = Self::new(
        StatusCode::UNAUTHORIZED,
        "invalid_token",
        "The access token is missing, wrong or expired.",
    );

    const fn new(status: StatusCode, error: &'static str, description: &'static str) -> Self {
        Self {
            status,
            error,
            description: Cow::Borrowed(description),
            retry_after_s: None,
            mfa_token: None,
            unlogged: None,
        }
    }

    pub(super) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self { description: description.into(), ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", "") }
    }

    pub(super) fn insufficient_scope(scope: &str) -> Self {
        let description = format!("The access token has not the scope {scope}.").into();
        Self { description, ..Self::new(StatusCode::FORBIDDEN, "insufficient_scope", "") }
    }

    pub(super) fn mfa_required(mfa_token: String, is_set_up: bool) -> Self {
        let description = if is_set_up {
            "A second factor is needed: exchange mfa_token with a code."
        } else {
            "A second factor is needed, and none is set up: log in with a browser first."
        };
        Self {
            mfa_token: is_set_up.then(|| mfa_token.into()),
            ..Self::new(StatusCode::FORBIDDEN, "mfa_required", description)
        }
    }

    /// What the log calls it.
    pub(super) fn message(&self) -> &str {
        &self.description
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let told = failure.told();
        let (status, error) = match &failure {
            Failure::BadBody(_)
            | Failure::BadJson(_)
            | Failure::Field(..)
            | Failure::NoPasskey
            | Failure::PasskeyMalformed
            | Failure::IdentifierTaken { .. } => (StatusCode::BAD_REQUEST, "invalid_request"),
            Failure::ChallengeUnknown | Failure::EnrollmentRefused { .. } | Failure::OutOfOrder => {
                (StatusCode::BAD_REQUEST, "invalid_grant")
            }
            Failure::PasskeyRefused { .. } => (StatusCode::UNAUTHORIZED, "invalid_grant"),
            Failure::NotSignedIn => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Failure::TooMany { .. } => (told.status, "too_many_requests"),
            Failure::Store(_) | Failure::Broken(_) => {
                failure.tell();
                (told.status, "server_error")
            }
            _ => (told.status, told.key),
        };
        let is_unlogged = matches!(
            failure,
            Failure::BadBody(_) | Failure::BadJson(_) | Failure::WrongContentType | Failure::TooLarge
        );
        Self {
            status,
            error,
            description: told.message.clone().into(),
            retry_after_s: told.retry_after_s,
            mfa_token: None,
            unlogged: is_unlogged.then(|| told.into()),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Failure::from(error).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error, "error_description": self.description });
        if let Some(token) = self.mfa_token {
            body["mfa_token"] = (*token).into();
        }
        let mut response = (self.status, Json(body)).into_response();
        if let Some(told) = self.unlogged {
            response.extensions_mut().insert(AnsweredAlready(*told));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2, RFC 6750 §3.
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}
