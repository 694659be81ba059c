//! What a browser does at a relying party, without pages: forms, JSON, cookies, and a [`Client`] for its passkeys.

mod connection;

use std::collections::BTreeMap;
use std::{fmt, io};

use axum::Form;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode, header, request};
use axum::response::IntoResponse as _;
use serde_json::{Value, json};

use crate::client::{self, Client};
pub(super) use connection::{Connection, Connections};

/// Someone who visits one relying party of this project's kind.
pub(super) struct Visitor<'a> {
    connection: &'a mut Connection,
    origin: String,
    cookies: BTreeMap<String, String>,
}

/// Why a visit went no further.
#[derive(Debug)]
pub(super) enum VisitError {
    /// The relying party could not be reached, or broke off.
    Connection(io::Error),
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

impl From<io::Error> for VisitError {
    fn from(error: io::Error) -> Self {
        VisitError::Connection(error)
    }
}

impl<'a> Visitor<'a> {
    /// A new visitor, without cookies, of the relying party at this origin.
    pub(super) fn new(connection: &'a mut Connection, origin: &str) -> Self {
        Visitor { connection, origin: origin.to_owned(), cookies: BTreeMap::new() }
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
        let (status, text) = self.ask(Request::get(path), Body::empty())?;
        refused(path, status, &text, 200..=200)?;
        Ok(text)
    }

    fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<(), VisitError> {
        let form = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let (status, text) = self.ask(form, Form(fields).into_response().into_body())?;
        refused(path, status, &text, 200..=303)
    }

    fn json(&mut self, path: &str, body: &Value) -> Result<Value, VisitError> {
        let json = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        let (status, text) = self.ask(json, Body::from(body.to_string()))?;
        refused(path, status, &text, 200..=299)?;
        let malformed = |_| VisitError::Refused {
            path: path.to_owned(),
            status: status.as_u16(),
            message: "an answer that is no JSON".into(),
        };
        serde_json::from_str(&text).map_err(malformed)
    }

    /// Sends a request as a page of the origin would; the answer's status and text.
    fn ask(&mut self, request: request::Builder, body: Body) -> Result<(StatusCode, String), VisitError> {
        let mut request = request
            .header(header::HOST, authority(&self.origin))
            .header(header::USER_AGENT, concat!("doppelkey/", env!("CARGO_PKG_VERSION")))
            .header(header::ORIGIN, &self.origin)
            .header("Sec-Fetch-Site", "same-origin");
        if !self.cookies.is_empty() {
            let pairs: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(header::COOKIE, pairs.join("; "));
        }
        let answer = self.connection.exchange(request.body(body).map_err(io::Error::other)?)?;
        self.keep_cookies(&answer);
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status(), text))
    }

    fn keep_cookies(&mut self, answer: &Response<Bytes>) {
        let all = answer.headers().get_all(header::SET_COOKIE).iter();
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

/// Host and port of an origin, or all of what is none.
fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, authority)| authority)
}

/// The relying party's own words, where the status is not among those expected.
fn refused(
    path: &str,
    status: StatusCode,
    text: &str,
    expected: std::ops::RangeInclusive<u16>,
) -> Result<(), VisitError> {
    let status = status.as_u16();
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
        let told = |text: &str| {
            refused("/signup", StatusCode::TOO_MANY_REQUESTS, text, 200..=303).unwrap_err().to_string()
        };
        let json = told(r#"{"error": "ip-signup-blocked", "message": "Too many attempts."}"#);
        assert_eq!(json, "the relying party answered /signup with 429: Too many attempts.");
        let page = "<h1>Welcome</h1><p id=\"error\" class=\"error\" role=\"alert\">Is it &lt;yours&gt;?</p>";
        assert!(told(page).ends_with(": Is it <yours>?"), "{}", told(page));
        assert!(told("<h1>Sorry</h1><p id=\"error\" hidden></p>").ends_with(": Sorry"));
        assert!(told("").ends_with(": it does not say why"));
        assert!(refused("/signup", StatusCode::SEE_OTHER, "", 200..=303).is_ok());
    }
}
