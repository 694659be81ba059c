//! The relying party as a running program, and a tour of all its screens in a browser.

use serde_json::{Value, json};

use crate::Server;
use crate::browser::Browser;

/// A running `doppelkey relying-party`; stopped when dropped.
pub struct RelyingParty {
    /// `http://localhost:PORT`
    pub url: String,
    admin_token: String,
    agent: ureq::Agent,
    _server: Server,
}

impl RelyingParty {
    /// Starts one that keeps everything in memory, with the pages for developers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let server = Server::start(&["relying-party", "--listen", "127.0.0.1:0", "--db", "memory", "--dev"]);
        let (url, admin_token) = (server.text("url").to_string(), server.text("admin_token").to_string());
        Self { url, admin_token, agent: ureq::Agent::new_with_defaults(), _server: server }
    }

    /// Changes the policy.
    ///
    /// # Panics
    /// If it is refused.
    pub fn patch_policy(&self, patch: &Value) {
        let request = self.agent.patch(format!("{}/api/v2/policy", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.admin_token));
        request.header("content-type", "application/json").send(patch.to_string()).expect("the policy holds");
    }

    /// The token of the operator.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    fn outbox(&self) -> String {
        let mut answer = self.agent.get(format!("{}/outbox", self.url)).call().expect("the outbox answers");
        answer.body_mut().read_to_string().expect("text")
    }

    /// The code in the latest mail that has one.
    ///
    /// # Panics
    /// If there is none.
    pub fn latest_code(&self) -> String {
        let outbox = self.outbox();
        let start = outbox.find("Your code for").expect("a mail with a code");
        let digits = outbox[start..].split(|c: char| !c.is_ascii_digit()).find(|part| part.len() == 6);
        digits.expect("six digits").to_string()
    }

    /// The latest link of a kind in the outbox.
    ///
    /// # Panics
    /// If there is none.
    pub fn latest_link(&self, path: &str) -> String {
        let outbox = self.outbox();
        let start = outbox.find(&format!("{}{path}", self.url)).expect("a mail with a link");
        outbox[start..].split(['"', '<']).next().expect("a link").to_string()
    }

    /// The page of the latest verification.
    ///
    /// # Panics
    /// If there was none.
    pub fn latest_verification(&self) -> String {
        let events = self.events();
        let paths = events.iter().rev().filter_map(|event| event["details"]["inspect"].as_str());
        paths.map(String::from).next().expect("a verification")
    }

    /// The type codes of the events so far.
    pub fn event_codes(&self) -> Vec<String> {
        self.events().iter().map(|event| event["type"].as_str().expect("a type").to_string()).collect()
    }

    fn events(&self) -> Vec<Value> {
        let request = self.agent.get(format!("{}/api/v2/logs?take=100", self.url));
        let request = request.header("authorization", format!("Bearer {}", self.admin_token));
        let text = request.call().expect("the log answers").body_mut().read_to_string().expect("text");
        serde_json::from_str(&text).expect("a list")
    }
}

/// Shows every screen of the relying party, one after another, and calls `look` with the name of each.
///
/// # Panics
/// If a screen does not come.
pub fn tour(browser: &Browser, site: &RelyingParty, mut look: impl FnMut(&str)) {
    sign_up(browser, site, &mut look);
    log_in(browser, site, &mut look);
    account(browser, site, &mut look);
    recover(browser, site, &mut look);
    second_factor(browser, site, &mut look);
    for_operators(browser, site, &mut look);
}

const EMAIL: &str = "ada@example.org";
const PASSWORD: &str = "correct horse battery staple";

fn sign_up(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    let everything = json!({ "identifier": true, "signup": "optional", "verify": true });
    site.patch_policy(&json!({ "attributes": {
        "email": { "identifier": true, "signup": "required", "verify": true },
        "phone": everything, "username": { "identifier": true, "signup": "optional" },
    }}));
    browser.open(&format!("{}/signup", site.url));
    look("signup-id");
    browser.fill("#email", "ada.lovelace@example");
    browser.script("document.querySelector('form').noValidate = true");
    browser.click("form .primary");
    browser.wait_for_text("#error", "valid");
    look("signup-id-error");
    browser.fill("#email", EMAIL);
    browser.click("form .primary");
    browser.wait_for_path("/signup/code");
    look("email-identifier-challenge");
    browser.fill("#code", &site.latest_code());
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    look("passkey-enrollment");
    let failing = browser.add_authenticator("internal");
    browser.set_user_verified(&failing, false);
    browser.script(
        "navigator.credentials.create = async () => { throw new DOMException('no', 'NotAllowedError'); }",
    );
    browser.click("[data-ceremony]");
    browser.wait_for_text("[data-ceremony]", "Create a new passkey");
    look("passkey-enrollment-again");
    browser.remove_authenticator(&failing);
    browser.open(&format!("{}/signup/password", site.url));
    look("signup-password");
    browser.fill("#password", "short");
    look("signup-password-rules");
    browser.fill("#password", PASSWORD);
    browser.click("form .primary");
    browser.wait_for_path("/account");
    look("account-without-passkeys");
    site.patch_policy(&json!({ "attributes": {
        "email": { "verify": false }, "phone": { "signup": "off", "identifier": false, "verify": false },
        "username": { "signup": "off", "identifier": false },
    }}));
}

fn log_in(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    browser.click(".top button");
    browser.wait_for_path("/login");
    look("login-id");
    browser.fill("#identifier", EMAIL);
    browser.click("form .primary");
    browser.wait_for_path("/login/password");
    look("login-password");
    browser.fill("#password", "a wrong password");
    browser.click("form .primary");
    browser.wait_for_text("#error", "Wrong");
    look("login-password-error");
    browser.fill("#password", PASSWORD);
    browser.click("form .primary");
    browser.wait_for_path("/enroll");
    look("passkey-enrollment-progressive");
    // With an authenticator at hand, the silent upgrade may be done before the click.
    let laptop = browser.add_authenticator("internal");
    browser.try_click("[data-ceremony]");
    browser.wait_for_path("/account");
    // Another device's passkey: the offer of a local one.
    let credential = browser.credentials(&laptop).into_iter().next().expect("a passkey");
    browser.remove_authenticator(&laptop);
    browser.click(".top button");
    browser.wait_for_path("/login");
    let key = browser.add_authenticator("usb");
    browser.add_credential(&key, &credential);
    let empty = browser.add_authenticator("internal");
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "button" } }));
    browser.open(&format!("{}/login", site.url));
    browser.click("[data-ceremony=get]");
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "both" } }));
    browser.wait_for_path("/enroll/local");
    look("passkey-enrollment-local");
    browser.click("form .plain");
    browser.wait_for_path("/account");
    browser.remove_authenticator(&empty);
    browser.remove_authenticator(&key);
}

fn account(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    let key = browser.add_authenticator("usb");
    browser.open(&format!("{}/account", site.url));
    browser.click("[data-ceremony]");
    browser.wait_for_text(".notice", "added");
    browser.click("summary");
    look("account-passkeys");
    browser.open(&format!("{}/account/security", site.url));
    browser.click("summary");
    look("account-security");
    browser.open(&format!("{}/account/identifiers", site.url));
    look("account-identifiers");
    browser.fill("#email", "countess@example.org");
    browser.click("form[action$=email] button");
    browser.wait_for_path("/account/identifiers/code");
    look("account-identifiers-code");
    browser.open(&format!("{}/step-up?then=/account", site.url));
    look("step-up");
    browser.remove_authenticator(&key);
}

fn recover(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    browser.open(&format!("{}/account", site.url));
    browser.click(".top button");
    browser.wait_for_path("/login");
    browser.open(&format!("{}/reset-password", site.url));
    look("reset-password-request");
    browser.fill("#email", EMAIL);
    browser.click("form .primary");
    browser.wait_for_text("h1", "Check your mail");
    look("reset-password-email");
    browser.open(&site.latest_link("/reset-password/new"));
    look("reset-password");
    browser.open(&format!("{}/reset-password/new?token=used", site.url));
    look("reset-password-error");
    browser.open(&format!("{}/recover", site.url));
    look("recover");
    browser.fill("#email", EMAIL);
    browser.click("form .primary");
    browser.wait_for_path("/recover/code");
    look("recover-code");
    browser.fill("#code", &site.latest_code());
    browser.click("form .primary");
    browser.wait_for_path("/recover/new");
    look("recover-new");
    browser.open(&format!("{}/recover/password", site.url));
    look("recover-password");
    browser.open(&format!("{}/recover/new", site.url));
    let phone = browser.add_authenticator("internal");
    browser.click("[data-ceremony]");
    browser.wait_for_path("/account/lost");
    look("account-lost");
    browser.remove_authenticator(&phone);
    // The old password is ticked; this user knows it.
    browser.click("[value=password]");
    browser.click("form .primary");
    browser.wait_for_path("/account");
}

fn second_factor(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    site.patch_policy(&json!({ "mfa": { "policy": "always" } }));
    browser.open(&format!("{}/account/security/otp", site.url));
    look("mfa-otp-enrollment-qr");
    browser.fill("#code", &one_time_code(browser));
    browser.click("form .primary");
    browser.wait_for_text("h1", "Almost there!");
    look("mfa-recovery-code-enrollment");
    browser.click("[type=checkbox]");
    browser.click("form .primary");
    browser.wait_for_path("/account/security");
    browser.click(".top button");
    browser.wait_for_path("/login");
    browser.fill("#identifier", EMAIL);
    browser.click("form .primary");
    browser.wait_for_path("/login/password");
    browser.fill("#password", PASSWORD);
    browser.click("form .primary");
    browser.wait_for_path("/mfa/otp");
    look("mfa-otp-challenge");
    browser.open(&format!("{}/mfa/recovery-code", site.url));
    look("mfa-recovery-code-challenge");
    site.patch_policy(&json!({ "mfa": { "policy": "never" } }));
}

/// Everything that needs no ceremony, in a browser that runs no scripts: sign-up and log-in with a password, an
/// authenticator app and the recovery code, recovery, a new address, the end of the account.
///
/// # Panics
/// If a step does not lead where it should.
pub fn walk_without_scripts(browser: &Browser, site: &RelyingParty) {
    browser.run_scripts(false);
    browser.open(&format!("{}/signup", site.url));
    submit(browser, "#email", EMAIL, "/signup/passkey");
    assert!(browser.text("noscript").contains("needs JavaScript"), "the scripts of pages do not run");
    let button = "return getComputedStyle(document.querySelector('[data-ceremony]')).display";
    assert_eq!(browser.script(button), "none", "what cannot work is not offered");
    browser.click("a[href='/signup/password']");
    browser.wait_for_path("/signup/password");
    submit(browser, "#password", PASSWORD, "/account");

    site.patch_policy(&json!({ "mfa": { "policy": "always" } }));
    browser.open(&format!("{}/account/security", site.url));
    browser.click("a[href='/account/security/otp']");
    browser.wait_for_path("/account/security/otp");
    let code = one_time_code_of_page(browser);
    browser.fill("#code", &code);
    browser.click("form .primary");
    browser.wait_for_text("h1", "Almost there!");
    let recovery_code = browser.text(".secret");
    browser.click("[type=checkbox]");
    browser.click("form .primary");
    browser.wait_for_path("/account/security");

    log_out(browser);
    submit(browser, "#identifier", EMAIL, "/login/password");
    submit(browser, "#password", PASSWORD, "/mfa/otp");
    browser.click("a[href='/mfa/recovery-code']");
    browser.wait_for_path("/mfa/recovery-code");
    browser.fill("#code", &recovery_code);
    browser.click("form .primary");
    browser.wait_for_text("h1", "Almost there!");
    browser.click("[type=checkbox]");
    browser.click("form .primary");
    browser.wait_for_path("/enroll");
    browser.click("form .plain");
    browser.wait_for_path("/account");
    site.patch_policy(&json!({ "mfa": { "policy": "never" } }));

    log_out(browser);
    browser.click("a[href='/recover']");
    browser.wait_for_path("/recover");
    submit(browser, "#email", EMAIL, "/recover/code");
    submit(browser, "#code", &site.latest_code(), "/recover/new");
    browser.click("a[href='/recover/password']");
    browser.wait_for_path("/recover/password");
    submit(browser, "#password", "another horse battery staple", "/account/lost");
    browser.click("form .primary");
    browser.wait_for_path("/account");

    browser.open(&format!("{}/account/identifiers", site.url));
    browser.fill("#email", "countess@example.org");
    browser.click("form[action$=email] button");
    browser.wait_for_path("/account/identifiers/code");
    browser.fill("#code", &site.latest_code());
    browser.click("form .primary");
    browser.wait_for_text(".notice", "countess@example.org");
    browser.open(&format!("{}/account/security", site.url));
    assert!(browser.text(".facts").contains("countess@example.org"));
    browser.click("section:last-of-type summary");
    browser.click("section:last-of-type .danger");
    browser.wait_for_path("/signup");
    operate_without_scripts(browser, site);
    browser.run_scripts(true);
}

/// An operator finds a user, blocks them, and lifts that.
fn operate_without_scripts(browser: &Browser, site: &RelyingParty) {
    submit(browser, "#email", EMAIL, "/signup/passkey");
    browser.click("a[href='/signup/password']");
    browser.wait_for_path("/signup/password");
    submit(browser, "#password", PASSWORD, "/account");
    log_out(browser);
    browser.open(&format!("{}/admin", site.url));
    submit(browser, "#token", site.admin_token(), "/admin");
    browser.click("a[href='/admin/users']");
    browser.wait_for_path("/admin/users");
    browser.fill("#user", EMAIL);
    browser.click("form .primary");
    browser.wait_for_text(".facts", EMAIL);
    browser.click("form .danger");
    browser.wait_for_text(".notice", "is blocked");
    browser.click("form .secondary");
    browser.wait_for_text(".notice", "is not blocked any more");
}

/// Fills the one field of a form and sends it.
fn submit(browser: &Browser, field: &str, text: &str, next: &str) {
    browser.fill(field, text);
    browser.click("form .primary");
    browser.wait_for_path(next);
}

fn log_out(browser: &Browser) {
    browser.click(".top button");
    browser.wait_for_path("/login");
}

/// The user's authenticator app has scripts of its own.
fn one_time_code_of_page(browser: &Browser) -> String {
    browser.run_scripts(true);
    let code = one_time_code(browser);
    browser.run_scripts(false);
    code
}

/// What an authenticator app shows, computed by the browser from the key on the page.
fn one_time_code(browser: &Browser) -> String {
    let script = "
        const done = arguments[arguments.length - 1];
        const text = document.querySelector('.secret').textContent.replaceAll(' ', '');
        let bits = '';
        for (const letter of text) bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0');
        const secret = Uint8Array.from(bits.match(/.{8}/g), (byte) => parseInt(byte, 2));
        const step = new DataView(new ArrayBuffer(8));
        step.setUint32(4, Math.floor(Date.now() / 30000));
        crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-1' }, false, ['sign'])
          .then((key) => crypto.subtle.sign('HMAC', key, step.buffer))
          .then((mac) => {
            const view = new DataView(mac);
            const word = view.getUint32(view.getUint8(19) & 15) & 0x7fffffff;
            done(String(word % 1000000).padStart(6, '0'));
          });";
    browser.async_script(script, json!([])).as_str().expect("six digits").to_string()
}

fn for_operators(browser: &Browser, site: &RelyingParty, look: &mut impl FnMut(&str)) {
    browser.open(&format!("{}/nowhere", site.url));
    look("status");
    browser.open(&format!("{}/unblock?token=x", site.url));
    look("unblock");
    browser.open(&format!("{}/admin", site.url));
    look("admin-token");
    browser.fill("#token", site.admin_token());
    browser.click("form .primary");
    browser.wait_for_text("h1", "Policy");
    browser.click("summary");
    look("admin");
    browser.click("a[href='/admin/users']");
    browser.wait_for_path("/admin/users");
    look("admin-users");
    browser.fill("#user", "nobody@example.org");
    browser.click("form .primary");
    browser.wait_for_text("#error", "No user");
    look("admin-users-none");
    browser.fill("#user", EMAIL);
    browser.click("form .primary");
    browser.wait_for_text(".facts", EMAIL);
    look("admin-user");
    browser.click("form .danger");
    browser.wait_for_text(".notice", "is blocked");
    look("admin-user-blocked");
    browser.open(&format!("{}/outbox", site.url));
    look("outbox");
    browser.open(&format!("{}/playground", site.url));
    look("playground");
    browser.open(&format!("{}/inspect", site.url));
    look("inspect");
    browser.open(&format!("{}{}", site.url, site.latest_verification()));
    look("inspect-event");
}
