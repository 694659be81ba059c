//! A headless Chromium, driven by WebDriver in plain HTTP, with the virtual authenticators of WebAuthn's own
//! WebDriver extension.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::has_program;

/// A browser window; closed when dropped.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    agent: ureq::Agent,
    /// Kept open, so that the driver can go on writing.
    _output: Lines<BufReader<ChildStdout>>,
    _profile: tempfile::TempDir,
}

/// The Tab key, as WebDriver writes it.
pub const TAB: &str = "\u{E004}";

/// The Enter key.
pub const ENTER: &str = "\u{E007}";

/// The space bar.
pub const SPACE: &str = " ";

/// Which screen the window stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on light ground.
    Light,
    /// Light text on dark ground.
    Dark,
}

impl Browser {
    /// Starts Chromium; `None` where it or its driver is not installed.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start() -> Option<Self> {
        if !has_program("chromedriver") || !has_program("chromium") {
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder");
        let (driver, port, lines) = (0..5).find_map(|_| start_driver()).expect("chromedriver says its port");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)));
        let agent: ureq::Agent = config.build().into();
        let root = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, session: root, agent, _output: lines, _profile: profile };
        let arguments = [
            "--headless=new".to_string(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--window-size=1024,900".into(),
            "--lang=en".into(),
            format!("--user-data-dir={}", browser._profile.path().display()),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            "webauthn:virtualAuthenticators": true,
        }}});
        let session = browser.post("", &capabilities);
        browser.session =
            format!("{}/{}", browser.session, session["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request =
            self.agent.post(format!("{}{path}", self.session)).header("content-type", "application/json");
        answer(request.send(body.to_string()))
    }

    fn get(&self, path: &str) -> Value {
        answer(self.agent.get(format!("{}{path}", self.session)).call())
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Goes to an address and waits until it is loaded.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// The path of the page shown.
    pub fn path(&self) -> String {
        let url = self.get("/url").as_str().unwrap_or_default().to_string();
        let rest = url.split("://").nth(1).unwrap_or_default();
        rest.find('/').map_or_else(String::new, |at| rest[at..].to_string())
    }

    /// Waits until a page of this path is shown and loaded.
    ///
    /// # Panics
    /// If it does not come within ten seconds.
    pub fn wait_for_path(&self, path: &str) {
        for _ in 0..200 {
            let here = self.path();
            if here.split('?').next() == Some(path) && self.script("return document.readyState") == "complete"
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{path} did not come; at {}: {}", self.path(), self.text("body"));
    }

    /// Waits until an element holds this text.
    ///
    /// # Panics
    /// If it does not within ten seconds.
    pub fn wait_for_text(&self, css: &str, text: &str) {
        for _ in 0..200 {
            if self.text(css).contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no {text:?} in {css}; at {}: {}", self.path(), self.text("body"));
    }

    /// Waits until a field holds exactly this.
    ///
    /// # Panics
    /// If it does not within ten seconds.
    pub fn wait_for_value(&self, css: &str, value: &str) {
        let script = "return document.querySelector(arguments[0]).value";
        for _ in 0..200 {
            if self.call_script(script, json!([css])) == value {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{css} does not hold {value:?}; at {}: {}", self.path(), self.text("body"));
    }

    /// The text that is shown in the first element that fits; empty if there is none.
    pub fn text(&self, css: &str) -> String {
        let found =
            self.call_script("return document.querySelector(arguments[0])?.innerText ?? ''", json!([css]));
        found.as_str().unwrap_or_default().to_string()
    }

    fn element(&self, css: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": css }));
        let id = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        id.expect("an element").to_string()
    }

    /// Clicks as a person does.
    pub fn click(&self, css: &str) {
        let element = self.element(css);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Clicks an element that may go away meanwhile.
    pub fn try_click(&self, css: &str) {
        self.call_script("document.querySelector(arguments[0])?.click()", json!([css]));
    }

    /// Types into a field, in place of what it holds.
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(&format!("/element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys, one after another, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let strokes = keys
            .chars()
            .map(String::from)
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let strokes: Vec<Value> = strokes.collect();
        self.post("/actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] }));
    }

    /// Runs a script in the page and gives what it returns.
    pub fn script(&self, script: &str) -> Value {
        self.call_script(script, json!([]))
    }

    /// The same with arguments.
    pub fn call_script(&self, script: &str, arguments: Value) -> Value {
        // A page that goes away while it is asked is asked again.
        for _ in 0..3 {
            if let Ok(value) = self.try_post("/execute/sync", &json!({ "script": script, "args": arguments }))
            {
                return value;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Runs a script that calls its last argument when it is done.
    pub fn async_script(&self, script: &str, arguments: Value) -> Value {
        self.post("/execute/async", &json!({ "script": script, "args": arguments }))
    }

    /// Makes the window so wide, and at most so high.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Prefers a colour scheme.
    pub fn prefer(&self, scheme: Scheme) {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// Runs the scripts of pages that are opened from now on, or none of them. [`script`](Self::script) works all the
    /// same.
    pub fn run_scripts(&self, run: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !run }));
    }

    fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Writes a picture of the whole page, as PNG.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn screenshot(&self, path: &Path) {
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true }));
        let text = shot["data"].as_str().expect("a picture");
        std::fs::write(path, decode_base64(text)).expect("the picture is written");
    }

    /// Plugs an authenticator in that keeps discoverable credentials and says yes to everything.
    ///
    /// `transport` is `internal`, `usb`, `hybrid`, …
    pub fn add_authenticator(&self, transport: &str) -> String {
        self.add_authenticator_with(transport, &[])
    }

    /// The same with these extensions.
    ///
    /// # Panics
    /// If the browser does not know one of them.
    pub fn add_authenticator_with(&self, transport: &str, extensions: &[&str]) -> String {
        let options = json!({
            "extensions": extensions,
            "protocol": "ctap2_1", "transport": transport, "hasResidentKey": true, "hasUserVerification": true,
            "isUserConsenting": true, "isUserVerified": true,
            "defaultBackupEligibility": transport == "internal", "defaultBackupState": transport == "internal",
        });
        self.post("/webauthn/authenticator", &options).as_str().expect("an id").to_string()
    }

    /// Unplugs an authenticator; its credentials are gone.
    pub fn remove_authenticator(&self, id: &str) {
        let done = self.agent.delete(format!("{}/webauthn/authenticator/{id}", self.session)).call();
        answer(done).expect("the authenticator was there");
    }

    /// The credentials of an authenticator.
    pub fn credentials(&self, id: &str) -> Vec<Value> {
        self.get(&format!("/webauthn/authenticator/{id}/credentials")).as_array().cloned().unwrap_or_default()
    }

    /// Whether the user verifies when the authenticator asks.
    pub fn set_user_verified(&self, id: &str, verified: bool) {
        self.post(&format!("/webauthn/authenticator/{id}/uv"), &json!({ "isUserVerified": verified }));
    }

    /// Puts a credential of one authenticator's into another.
    pub fn add_credential(&self, id: &str, credential: &Value) {
        self.post(&format!("/webauthn/authenticator/{id}/credential"), credential);
    }

    /// What the pages wrote to the console as errors: violations of the content security policy, exceptions.
    pub fn console_errors(&self) -> Vec<String> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().into_iter().flatten();
        entries.filter(|entry| entry["level"] == "SEVERE").map(|entry| entry["message"].to_string()).collect()
    }

    /// Forgets all cookies of the page shown.
    pub fn forget_cookies(&self) {
        let done = self.agent.delete(format!("{}/cookie", self.session)).call();
        answer(done).expect("cookies can be deleted");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Starts chromedriver on a port that is free, and waits until it listens. `None` if it ends before: it gives up if another
/// process has the port meanwhile, of IPv4 or IPv6. Where there is no IPv6, it does not say which one it took by itself.
fn start_driver() -> Option<(Child, u16, Lines<BufReader<ChildStdout>>)> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).ok()?;
    let mut driver = Command::new("chromedriver")
        .arg(format!("--port={}", free.port()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts");
    let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok()
    });
    if port.is_none() {
        let _ = driver.wait();
    }
    Some((driver, port?, lines))
}

fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
    let mut response = response.map_err(|error| error.to_string())?;
    let text = response
        .body_mut()
        .with_config()
        .limit(64 << 20)
        .read_to_string()
        .map_err(|error| error.to_string())?;
    let mut body: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let value = body["value"].take();
    if response.status().is_success() { Ok(value) } else { Err(value["message"].to_string()) }
}

fn decode_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(((bits >> count) & 0xff) as u8);
        }
    }
    bytes
}
