//! The cookies: the session's, and that of a device that is remembered.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use super::Visit;
use crate::app::App;
use crate::failure::Failure;
use crate::secret;

impl Visit {
    pub(super) async fn set_session_cookie(&mut self, token: &str) -> Result<(), Failure> {
        let days = self.app.policy().await?.session.absolute_days;
        self.set_cookie(session_cookie(&self.app), token, i64::from(days) * 86_400);
        self.token = Some(token.to_string().into());
        Ok(())
    }

    /// Remembers this device for a user: no second factor for a while.
    pub(crate) async fn remember_device(&mut self, user_id: &str, days: u32) -> Result<(), Failure> {
        let token = secret::text(&self.app.config.random.bytes::<32>());
        let digest = secret::digest(token.as_bytes());
        self.app.database.remember_device(&digest, user_id, self.app.now(), days).await?;
        self.set_cookie(device_cookie(&self.app), &token, i64::from(days) * 86_400);
        Ok(())
    }

    pub(super) fn set_cookie(&mut self, name: &str, value: &str, max_age_s: i64) {
        let secure = if self.app.config.is_https() { "; Secure" } else { "" };
        self.cookies
            .push(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age_s}{secure}"));
    }
}

/// `__Host-` where cookies can be `Secure`; a plain name on http://localhost, where not every client would send it.
pub(super) fn session_cookie(app: &App) -> &'static str {
    if app.config.is_https() { "__Host-session" } else { "session" }
}

pub(super) fn device_cookie(app: &App) -> &'static str {
    if app.config.is_https() { "__Host-device" } else { "device" }
}

/// A cookie's value; the first of that name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
}
