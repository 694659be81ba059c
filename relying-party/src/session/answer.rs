//! What a visit is answered with; its cookies go with it.

use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::Markup;

use super::Visit;
use crate::failure::{Failure, Told};

impl Visit {
    /// The message that the last request left for this page; it is shown once.
    pub(crate) async fn take_notice(&mut self) -> Result<Option<String>, Failure> {
        let notice = self.data.notice.take();
        if notice.is_some() {
            self.save().await?;
        }
        Ok(notice)
    }

    /// Answers with a page.
    pub(crate) fn page(&self, markup: Markup) -> Response {
        self.page_with(StatusCode::OK, markup)
    }

    /// Answers with a page and a status.
    pub(crate) fn page_with(&self, status: StatusCode, markup: Markup) -> Response {
        self.with_cookies((status, markup).into_response())
    }

    /// Answers with a page that tells a failure.
    pub(crate) fn refusal(&self, told: &Told, markup: Markup) -> Response {
        let mut response = self.page_with(told.status, markup);
        told.say_when(response.headers_mut());
        response
    }

    /// Answers with another page to look at.
    pub(crate) fn see_other(&self, path: &str) -> Response {
        let mut response = StatusCode::SEE_OTHER.into_response();
        if let Ok(path) = HeaderValue::from_str(path) {
            response.headers_mut().insert(LOCATION, path);
        }
        self.with_cookies(response)
    }

    /// Answers with JSON.
    pub(crate) fn json(&self, value: serde_json::Value) -> Response {
        self.with_cookies(axum::Json(value).into_response())
    }

    fn with_cookies(&self, mut response: Response) -> Response {
        for line in &self.cookies {
            if let Ok(value) = HeaderValue::from_str(line) {
                response.headers_mut().append(SET_COOKIE, value);
            }
        }
        response
    }
}
