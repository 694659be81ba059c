//! What a browser does at a relying party, without pages: forms, JSON, cookies, and a [`Client`] for its passkeys.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client};

/// How long a relying party may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Someone who visits one relying party of this project's kind.
pub(super) struct Visitor {
    agent: ureq::Agent,
    /// Where the requests go: the origin, or an address that it stands for.
    base: String,
    origin: String,
    cookies: BTreeMap<String, String>,
}

/// Why a visit went no further.
#[derive(Debug)]
pub(super) enum VisitError {
    /// The relying party could not be reached, or broke off.
    Connection(ureq::Error),
    /// It said no; its words, and the status.
    Refused { path: String, status: u16, message: String },
    /// The client or its authenticator did.
    Client(client::Error),
}

impl fmt::Display for VisitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VisitError::Connection(error) => write!(f, "the relying party does not answer: {error}"),
            VisitError::Refused { path, status, message } => {
                write!(f, "the relying party answered {path} with {status}: {message}")
            }
            VisitError::Client(error) => error.fmt(f),
        }
    }
}

impl From<client::Error> for VisitError {
    fn from(error: client::Error) -> Self {
        VisitError::Client(error)
    }
}

impl From<ureq::Error> for VisitError {
    fn from(error: ureq::Error) -> Self {
        VisitError::Connection(error)
    }
}

impl Visitor {
    /// A new visitor, without cookies, of the relying party at this origin.
    pub(super) fn new(agent: &ureq::Agent, origin: &str) -> Self {
        // `localhost` is an IPv4 listener here; looking the name up could give ::1 first, or nothing in a container.
        let base = origin.replacen("://localhost:", "://127.0.0.1:", 1);
        Visitor { agent: agent.clone(), base, origin: origin.to_owned(), cookies: BTreeMap::new() }
    }

    /// What connections all visitors of a relying party share.
    pub(super) fn agent() -> ureq::Agent {
        ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .into()
    }

    /// Signs up with an address and an ES256 passkey, which is what most authenticators make.
    pub(super) fn sign_up_with_es256(
        &mut self,
        client: &mut Client,
        email: &str,
    ) -> Result<Value, VisitError> {
        let mut options = self.begin_sign_up(email)?;
        options["publicKey"]["pubKeyCredParams"] = json!([{ "type": "public-key", "alg": -7 }]);
        let response = client.create(self.origin.as_str(), &options)?;
        self.finish_sign_up(&response)?;
        Ok(response)
    }

    /// Types an address and asks for a passkey: the options.
    pub(super) fn begin_sign_up(&mut self, email: &str) -> Result<Value, VisitError> {
        self.form("/signup", &[("email", email)])?;
        self.json("/signup/passkey/options", &json!({}))
    }

    /// Sends the new passkey: signed up, and in.
    pub(super) fn finish_sign_up(&mut self, response: &Value) -> Result<(), VisitError> {
        self.json("/signup/passkey", response).map(drop)
    }

    /// Signs in with this passkey of many: what choosing it in a list does.
    pub(super) fn sign_in_with(&mut self, client: &mut Client, id: &Value) -> Result<(), VisitError> {
        let mut options = self.begin_sign_in()?;
        options["publicKey"]["allowCredentials"] = json!([{ "type": "public-key", "id": id }]);
        let response = client.get(self.origin.as_str(), &options)?;
        self.finish_sign_in(&response)
    }

    /// Presses "Continue with a passkey": the options.
    pub(super) fn begin_sign_in(&mut self) -> Result<Value, VisitError> {
        self.json("/login/passkey/options", &json!({}))
    }

    /// Sends the assertion: signed in.
    pub(super) fn finish_sign_in(&mut self, response: &Value) -> Result<(), VisitError> {
        self.json("/login/passkey", response).map(drop)
    }

    /// Signs out.
    pub(super) fn sign_out(&mut self) -> Result<(), VisitError> {
        self.form("/logout", &[])
    }

    /// A page, for someone signed in (or not).
    pub(super) fn page(&mut self, path: &str) -> Result<String, VisitError> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let mut response = request.call()?;
        self.keep_cookies(&response);
        let text = response.body_mut().read_to_string()?;
        refused(path, response.status().as_u16(), &text, 200..=200)?;
        Ok(text)
    }

    fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<(), VisitError> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let mut response = request.send_form(fields.iter().copied())?;
        self.keep_cookies(&response);
        let text = response.body_mut().read_to_string()?;
        refused(path, response.status().as_u16(), &text, 200..=303)
    }

    fn json(&mut self, path: &str, body: &Value) -> Result<Value, VisitError> {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        let mut response = request.content_type("application/json").send(body.to_string())?;
        self.keep_cookies(&response);
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string()?;
        refused(path, status, &text, 200..=299)?;
        let malformed = |_| VisitError::Refused {
            path: path.to_owned(),
            status,
            message: "an answer that is no JSON".into(),
        };
        serde_json::from_str(&text).map_err(malformed)
    }

    /// What a page of the origin would send.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Origin", self.origin.clone()), ("Sec-Fetch-Site", "same-origin".to_owned())];
        if self.base != self.origin
            && let Some((_, host)) = self.origin.split_once("://")
        {
            headers.push(("Host", host.to_owned()));
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            headers.push(("Cookie", pairs.join("; ")));
        }
        headers
    }

    fn keep_cookies<B>(&mut self, response: &ureq::http::Response<B>) {
        let all = response.headers().get_all("set-cookie").iter();
        for (name, rest) in all.filter_map(|cookie| cookie.to_str().ok()?.split_once('=')) {
            let value = rest.split(';').next().unwrap_or_default();
            // One that is taken back comes empty.
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// The relying party's own words, where the status is not among those expected.
fn refused(
    path: &str,
    status: u16,
    text: &str,
    expected: std::ops::RangeInclusive<u16>,
) -> Result<(), VisitError> {
    if expected.contains(&status) {
        return Ok(());
    }
    let message = reason(text).unwrap_or_else(|| "it does not say why".to_owned());
    Err(VisitError::Refused { path: path.to_owned(), status, message })
}

/// What an answer says went wrong: JSON's `message`, or a page's error, or else its heading.
fn reason(text: &str) -> Option<String> {
    if let Ok(told) = serde_json::from_str::<Value>(text) {
        return told["message"].as_str().map(str::to_owned);
    }
    let of = |element: &str| {
        let start = text.find(element)?;
        let rest = text[start..].split_once('>')?.1;
        let words = rest.split_once('<')?.0.trim();
        // maud escapes these four, `&` first.
        let plain =
            words.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
        (!plain.is_empty()).then_some(plain)
    };
    of("<p id=\"error\"").or_else(|| of("<p class=\"error\" id=\"error\"")).or_else(|| of("<h1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_relying_partys_own_words() {
        let told = |text: &str| refused("/signup", 429, text, 200..=303).unwrap_err().to_string();
        let json = told(r#"{"error": "ip-signup-blocked", "message": "Too many attempts."}"#);
        assert_eq!(json, "the relying party answered /signup with 429: Too many attempts.");
        let page = "<h1>Welcome</h1><p id=\"error\" class=\"error\" role=\"alert\">Is it &lt;yours&gt;?</p>";
        assert!(told(page).ends_with(": Is it <yours>?"), "{}", told(page));
        assert!(told("<h1>Sorry</h1><p id=\"error\" hidden></p>").ends_with(": Sorry"));
        assert!(told("").ends_with(": it does not say why"));
        assert!(refused("/signup", 303, "", 200..=303).is_ok());
    }
}
