//! A browser's own WebDriver behind this one: a script that has virtual authenticators added to a browser finds ours in
//! their place, and need not be changed.
//!
//! What is about virtual authenticators is answered here; everything else is the browser's driver's. A new session gets
//! the bridge's extension, by which the pages reach the authenticators.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::WebDriver;
use super::authenticators::{delete_session, new_session};
use super::response::{Error, ErrorCode};

/// The longest a script may have its browser busy with one command.
const TIMEOUT: Duration = Duration::from_secs(600);
/// The longest answer: a picture of a long page.
const ANSWER_MAX: u64 = 256 << 20;
/// The longest request: a file that a script gives the browser to upload, or an extension in its capabilities.
pub(super) const REQUEST_MAX: usize = 256 << 20;
/// Chromium's own options in a session's capabilities.
const CHROME_OPTIONS: &str = "goog:chromeOptions";

/// Where the browser's driver is.
#[derive(Clone, Debug)]
pub struct BrowserDriver {
    /// Of chromedriver: `http://127.0.0.1:9515`.
    pub url: String,
    /// The bridge's extension for Chromium.
    pub extension: PathBuf,
}

/// `POST /session`.
pub(super) async fn begin(State(driver): State<WebDriver>, body: Bytes) -> Response {
    let Some(browser) = driver.browser else { return new_session().await.into_response() };
    let asked = serde_json::from_slice::<Value>(&body).ok().and_then(|mut asked| {
        add_extension(&mut asked, &browser.extension.display().to_string())?;
        Some(asked)
    });
    let Some(asked) = asked else { return Error::invalid("these are no capabilities").into_response() };
    pass(browser, Method::POST, "/session".into(), asked.to_string().into()).await
}

/// `DELETE /session/SID`.
pub(super) async fn end(State(driver): State<WebDriver>, Path(session): Path<String>, uri: Uri) -> Response {
    let browser = driver.browser.clone();
    let gone = delete_session(State(driver), Path(session)).await.into_response();
    match browser {
        None => gone,
        Some(browser) => pass(browser, Method::DELETE, as_sent(&uri), Bytes::new()).await,
    }
}

/// Whatever else a session is asked.
pub(super) async fn other(
    State(driver): State<WebDriver>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let Some(browser) = driver.browser else {
        let message = "no pages here: say where the browser's driver is with `run --webdriver URL`";
        return Error::new(ErrorCode::UnsupportedOperation, message).into_response();
    };
    pass(browser, method, as_sent(&uri), body).await
}

/// Path and query with every escape as the script sent it: the driver decodes them, and once.
fn as_sent(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// Has every Chromium that these capabilities allow load the extension. `None` if they are not what WebDriver says.
fn add_extension(asked: &mut Value, extension: &str) -> Option<()> {
    let capabilities = member(asked, "capabilities")?;
    let alternatives = member(capabilities, "firstMatch")?.as_array_mut().into_iter().flatten();
    let mut placed = false;
    for alternative in alternatives.filter(|alternative| alternative.get(CHROME_OPTIONS).is_some()) {
        load(member(alternative, CHROME_OPTIONS)?, extension)?;
        placed = true;
    }
    if placed {
        return Some(());
    }
    if capabilities["firstMatch"].is_null() {
        capabilities.as_object_mut()?.remove("firstMatch");
    }
    load(member(member(capabilities, "alwaysMatch")?, CHROME_OPTIONS)?, extension)
}

/// A member of an object; null where it was not there. What is null becomes an object.
fn member<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if value.is_null() {
        *value = json!({});
    }
    Some(value.as_object_mut()?.entry(name).or_insert(Value::Null))
}

fn load(options: &mut Value, extension: &str) -> Option<()> {
    const FLAG: &str = "--load-extension=";
    let arguments = member(options, "args")?;
    if arguments.is_null() {
        *arguments = json!([]);
    }
    let arguments = arguments.as_array_mut()?;
    let is_flag = |argument: &Value| argument.as_str().is_some_and(|text| text.starts_with(FLAG));
    match arguments.iter().position(is_flag) {
        // One flag names them all.
        Some(at) => arguments[at] = format!("{},{extension}", arguments[at].as_str()?).into(),
        None => arguments.push(format!("{FLAG}{extension}").into()),
    }
    Some(())
}

async fn pass(browser: Arc<BrowserDriver>, method: Method, path: String, body: Bytes) -> Response {
    let sent = tokio::task::spawn_blocking(move || send(&browser, &method, &path, &body));
    match sent.await {
        Ok(Ok((status, body))) => {
            (status, [(header::CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
        }
        Ok(Err(error)) => {
            let message = format!("the browser's driver does not answer: {error}");
            Error::new(ErrorCode::UnknownError, message).into_response()
        }
        Err(_) => Error::new(ErrorCode::UnknownError, "the request was given up").into_response(),
    }
}

fn send(
    browser: &BrowserDriver,
    method: &Method,
    path: &str,
    body: &Bytes,
) -> Result<(StatusCode, Vec<u8>), ureq::Error> {
    // The driver reads the extension's folder: it is near, and no proxy is on the way.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .build()
        .into();
    let url = format!("{}{path}", browser.url.trim_end_matches('/'));
    let mut answer = match *method {
        Method::POST => agent.post(url).content_type("application/json; charset=utf-8").send(&body[..])?,
        Method::DELETE => agent.delete(url).call()?,
        _ => agent.get(url).call()?,
    };
    let status = answer.status();
    Ok((status, answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_is_loaded_beside_what_a_script_asks_for() {
        let mut asked = json!({"capabilities": {"firstMatch": [{}], "alwaysMatch": {"browserName": "chrome",
            "goog:chromeOptions": {"args": ["--headless=new"]}}}});
        add_extension(&mut asked, "/x").expect("they are capabilities");
        let arguments = &asked["capabilities"]["alwaysMatch"]["goog:chromeOptions"]["args"];
        assert_eq!(*arguments, json!(["--headless=new", "--load-extension=/x"]));

        let mut asked = json!({"capabilities": {"firstMatch": [{"goog:chromeOptions": {"args": ["--load-extension=/a"]}}]}});
        add_extension(&mut asked, "/x").expect("they are capabilities");
        let first = &asked["capabilities"]["firstMatch"][0]["goog:chromeOptions"]["args"];
        assert_eq!(*first, json!(["--load-extension=/a,/x"]));

        let mut asked = json!({});
        add_extension(&mut asked, "/x").expect("they are capabilities");
        let expected = json!({"alwaysMatch": {"goog:chromeOptions": {"args": ["--load-extension=/x"]}}});
        assert_eq!(asked["capabilities"], expected);
    }

    #[test]
    fn what_is_no_capabilities_is_refused() {
        let always =
            |options: Value| json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let wrong = [
            json!([]),
            json!("x"),
            json!({"capabilities": 7}),
            json!({"capabilities": {"alwaysMatch": []}}),
            always(json!("x")),
            always(json!({"args": {}})),
        ];
        for mut asked in wrong {
            assert_eq!(add_extension(&mut asked, "/x"), None, "{asked}");
        }
    }
}
