//! A user at a running relying party, without a browser.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use doppelkey::client::Client;
use serde_json::{Value, json};

/// The passkeys of who was told to be signed up, by address, the newest first. Before a login no site tells whose passkeys
/// there are: a user chooses by name, and this one by what it has kept.
static PASSKEYS: Mutex<BTreeMap<String, Vec<Value>>> = Mutex::new(BTreeMap::new());

/// One visit, with its cookie.
pub struct Site {
    agent: ureq::Agent,
    origin: String,
    cookie: String,
}

impl Site {
    /// A new visit of the relying party at this origin.
    pub fn new(origin: &str) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
        Site { agent: agent.into(), origin: origin.to_owned(), cookie: String::new() }
    }

    /// Whether this address was signed up with a passkey.
    pub fn sign_up(&mut self, client: &mut Client, email: &str) -> bool {
        let mut passkey = Value::Null;
        let is_told = self.ceremony("/signup/passkey", &json!({ "email": email }), |origin, options| {
            let created = client.create(origin, options).expect("a right request succeeds");
            passkey = json!({ "type": "public-key", "id": created["id"] });
            created
        });
        if is_told {
            let mut known = PASSKEYS.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(email.to_owned()).or_default().insert(0, passkey);
        }
        is_told
    }

    /// Whether the user of this address is logged in by a passkey.
    pub fn log_in(&mut self, client: &mut Client, email: &str) -> bool {
        let known = PASSKEYS.lock().unwrap_or_else(PoisonError::into_inner).get(email).cloned();
        self.ceremony("/login/passkey", &json!({ "identifier": email }), |origin, options| {
            let mut options = options.clone();
            options["allowCredentials"] = known.unwrap_or_default().into();
            client.get(origin, &options).unwrap_or_default()
        })
    }

    fn ceremony(&mut self, path: &str, wish: &Value, respond: impl FnOnce(&str, &Value) -> Value) -> bool {
        let Some(options) = self.post(&format!("{path}/options"), wish) else { return false };
        let response = respond(&self.origin, &options["publicKey"]);
        self.post(path, &response).is_some()
    }

    /// The answer, if there is one and it is no refusal.
    fn post(&mut self, path: &str, body: &Value) -> Option<Value> {
        // `localhost` could be looked up as ::1, where nobody listens.
        let url = self.origin.replacen("localhost", "127.0.0.1", 1);
        let host = self.origin.trim_start_matches("http://").to_owned();
        let request = self.agent.post(format!("{url}{path}")).header("origin", &self.origin);
        let request = request.header("host", host).header("cookie", &self.cookie);
        let mut response = request.content_type("application/json").send(body.to_string()).ok()?;
        if let Some(cookie) = response.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok()) {
            self.cookie = cookie.split(';').next().unwrap_or_default().to_owned();
        }
        let text = response.body_mut().read_to_string().ok()?;
        response.status().is_success().then(|| serde_json::from_str(&text).ok()).flatten()
    }
}
