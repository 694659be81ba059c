//! What a browser's extension does, without the browser.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey::bridge::CHROMIUM_ORIGIN;
use doppelkey::control::Token;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use crate::Server;

/// The extension in Chromium, as one bridge has written it.
#[derive(Clone)]
pub struct Extension {
    url: String,
    token: String,
}

impl Extension {
    /// The one that this program wrote: `run --bridge`, or `bridge`.
    ///
    /// # Panics
    /// If it is not there.
    pub fn of(server: &Server) -> Self {
        let file = std::path::Path::new(server.text("chromium")).join("config.json");
        let text = std::fs::read_to_string(file).expect("the extension was written");
        let config: Value = serde_json::from_str(&text).expect("it is JSON");
        let member = |name: &str| config[name].as_str().expect("it says where and how").to_owned();
        Extension { url: member("url"), token: member("token") }
    }

    /// What opens the bridge.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Sends what a page asks (`/create`, `/get` and so on), and waits for the answer; `None` if the bridge goes.
    pub fn ask(&self, path: &str, body: &Value) -> Option<Value> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(format!("{}{path}", self.url)).header("origin", CHROMIUM_ORIGIN);
        let body = body.to_string();
        let request = request.header("authorization", authorization(&self.token, path, &body));
        let mut response = request.content_type("application/json").send(body).ok()?;
        serde_json::from_str(&response.body_mut().read_to_string().ok()?).ok()
    }
}

/// What the `Authorization` of such a request says: what `authenticator/src/bridge/proof.rs` describes, with a nonce that
/// was not used before.
///
/// # Panics
/// If the system has no randomness.
pub fn authorization(token: &str, path: &str, body: &str) -> String {
    let nonce = Token::random().expect("the system has randomness");
    let mut proof =
        Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of every length");
    proof.update(["request", path.trim_start_matches('/'), nonce.as_str(), body].join("\n").as_bytes());
    let proof = BASE64_URL_SAFE_NO_PAD.encode(proof.finalize().into_bytes());
    format!("Doppelkey {}.{proof}", nonce.as_str())
}
