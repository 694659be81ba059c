//! The files that pages refer to.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/assets/app.css",
            get(async || file("text/css; charset=utf-8", include_str!("../../assets/app.css"))),
        )
        .route(
            "/assets/app.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("../../assets/app.js"))),
        )
        .route(
            "/assets/password.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("../../assets/password.js"))),
        )
        .route(
            "/assets/playground.js",
            get(async || file("text/javascript; charset=utf-8", include_str!("../../assets/playground.js"))),
        )
        .route("/assets/icon.svg", get(async || file("image/svg+xml", include_str!("../../assets/icon.svg"))))
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, content_type), (CACHE_CONTROL, "public, max-age=300")], text).into_response()
}
