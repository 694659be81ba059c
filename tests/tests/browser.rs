//! The relying party's pages in a real browser: headless Chromium with its virtual authenticators.

use std::path::PathBuf;

use end_to_end::browser::{Browser, ENTER, SPACE, Scheme, TAB};
use end_to_end::relying_party::{RelyingParty, tour, walk_without_scripts};
use end_to_end::skipped;
use serde_json::json;

const CHROMIUM: &str = "chromium and chromedriver (apt-get install chromium chromium-driver)";

#[test]
fn a_user_signs_up_and_in_with_autofill_off_and_on() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    let laptop = browser.add_authenticator("internal");

    browser.open(&format!("{}/signup", site.url));
    browser.fill("#email", "ada@example.org");
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    browser.click("[data-ceremony=create]");
    browser.wait_for_path("/account");
    assert!(browser.text("body").contains("ada@example.org"));
    assert_eq!(browser.credentials(&laptop).len(), 1);

    // Autofill off: nothing happens until the button is clicked.
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "button" } }));
    browser.click(".top button");
    browser.wait_for_path("/login");
    assert_eq!(browser.script("return document.querySelector('#identifier').autocomplete"), "username");
    browser.click("[data-ceremony=get]");
    browser.wait_for_path("/account");

    // Autofill on: the request waits in the field; the virtual authenticator picks at once.
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "autofill" } }));
    browser.forget_cookies();
    browser.open(&format!("{}/login", site.url));
    browser.wait_for_path("/account");
    assert_eq!(site.event_codes().iter().filter(|code| *code == "s").count(), 3);

    // No exception, nothing that the content security policy had to stop.
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
fn a_passkey_that_was_removed_is_forgotten_by_the_browser() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    let laptop = browser.add_authenticator("internal");
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "button" } }));
    browser.open(&format!("{}/signup", site.url));
    browser.fill("#email", "ada@example.org");
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    browser.click("[data-ceremony=create]");
    browser.wait_for_path("/account");
    browser.open(&format!("{}/account/security", site.url));
    browser.click("section:last-of-type summary");
    browser.click("section:last-of-type .danger");
    browser.wait_for_path("/signup");
    browser.open(&format!("{}/login", site.url));
    browser.click("[data-ceremony=get]");
    browser.wait_for_text("#error", "could not log you in");
    assert_eq!(browser.credentials(&laptop).len(), 0, "signalUnknownCredential");
}

#[test]
fn every_screen_is_accessible_in_both_schemes_by_keyboard_and_fits_320_pixels() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let Some(axe) = axe() else {
        return skipped("axe-core (npm install axe-core; set DOPPELKEY_NODE_MODULES)");
    };
    let site = RelyingParty::start();
    let mut findings = Vec::new();
    tour(&browser, &site, |name| {
        for scheme in [Scheme::Light, Scheme::Dark] {
            browser.prefer(scheme);
            findings.extend(violations(&browser, &axe, name, scheme));
        }
        browser.resize(320, 640);
        let overflow = browser
            .script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        if overflow != 0 {
            findings.push(format!("{name}: {overflow} pixels too wide for 320"));
        }
        browser.resize(1024, 900);
        findings.extend(keyboard_walk(&browser, name));
    });
    // Refusals that the tour provokes are in the console too; what matters is policy and scripts.
    let console = browser.console_errors();
    findings.extend(
        console
            .into_iter()
            .filter(|line| line.contains("Content Security Policy") || line.contains("Uncaught")),
    );
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn a_long_address_breaks_no_word_of_ours() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    let address = "maximilian.alexander.mustermann@stadtwerke.example.museum";
    let breaks = |selector: &str| {
        let lines = "
            const text = document.createRange();
            text.selectNodeContents(document.querySelector(arguments[0]).firstChild);
            return new Set([...text.getClientRects()].map((line) => line.top)).size";
        [320, 1024].map(|width| {
            browser.resize(width, 640);
            browser.call_script(lines, json!([selector]))
        })
    };
    browser.open(&format!("{}/signup", site.url));
    browser.fill("#email", address);
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    browser.open(&format!("{}/signup/password", site.url));
    assert_eq!(breaks(".fixed a"), [1, 1], "lines of Edit");
    browser.fill("#password", "correct horse battery");
    browser.click("form .primary");
    browser.wait_for_path("/account");
    browser.script("document.querySelector('.brand span').textContent = 'Stadtwerke Musterhausen'");
    assert_eq!(breaks(".top button"), [1, 1], "lines of Log out");
}

#[test]
fn the_playground_seals_one_note_with_prf_and_keeps_another_with_the_passkey() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    let laptop = browser.add_authenticator_with("internal", &["prf", "largeBlob"]);
    browser.open(&format!("{}/playground", site.url));
    browser.click("#create");
    browser.wait_for_text("#answer", "\"status\": \"ok\"");
    assert_eq!(browser.credentials(&laptop).len(), 1);

    // PRF: what is stored is sealed, and opens after a reload, with the passkey only.
    browser.fill("#note", "the treasure is under the oak");
    browser.click("#seal");
    browser.wait_for_value("#note", "");
    let stored = browser.script("return localStorage.getItem('note')");
    assert!(stored.as_str().is_some_and(|text| text.contains('.') && !text.contains("oak")), "{stored}");
    browser.open(&format!("{}/playground", site.url));
    browser.click("#unseal");
    browser.wait_for_value("#note", "the treasure is under the oak");

    // A large blob: written, and read after a reload.
    browser.fill("#blob", "kept with the passkey");
    browser.click("#write");
    browser.wait_for_value("#blob", "");
    browser.open(&format!("{}/playground", site.url));
    browser.click("#read");
    browser.wait_for_value("#blob", "kept with the passkey");

    // Another passkey opens nothing.
    browser.remove_authenticator(&laptop);
    browser.add_authenticator_with("internal", &["prf", "largeBlob"]);
    browser.script(
        "for (const id of ['create-options', 'get-options']) {
           const field = document.getElementById(id);
           field.value = field.value.replace('\"ada\"', '\"eve\"');
         }",
    );
    browser.click("#create");
    browser.wait_for_text("#answer", "\"status\": \"ok\"");
    browser.click("#unseal");
    browser.wait_for_text("#error", "OperationError");
    browser.click("#read");
    browser.wait_for_text("#error", "nothing is stored");
}

#[test]
fn every_flow_but_the_ceremony_works_in_a_browser_that_runs_no_scripts() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    walk_without_scripts(&browser, &site);
    let codes = site.event_codes();
    for code in ["ss", "s", "slo", "gd_enrollment_complete", "gd_recovery_succeed", "scp", "sv", "sce", "sdu"]
    {
        assert!(codes.iter().any(|found| found == code), "{code} in {codes:?}");
    }
}

#[test]
fn a_user_signs_up_and_in_with_the_keyboard_alone() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    site.patch_policy(&json!({ "passkey": { "challenge_ui": "button" } }));
    let laptop = browser.add_authenticator("internal");
    browser.open(&format!("{}/signup", site.url));
    browser.press(TAB);
    browser.press("ada@example.org");
    browser.press(ENTER);
    browser.wait_for_path("/signup/passkey");
    browser.press(TAB);
    browser.press(SPACE);
    browser.wait_for_path("/account");
    assert_eq!(browser.credentials(&laptop).len(), 1);
    // The first thing on the account's page is the way out.
    browser.press(TAB);
    browser.press(ENTER);
    browser.wait_for_path("/login");
    // The field has the focus; then: the link to recovery, Continue, Sign up, and the passkey.
    for _ in 0..4 {
        browser.press(TAB);
    }
    browser.press(ENTER);
    browser.wait_for_path("/account");
}

/// Walks through a page with the Tab key: everything that can be used is reached, in the order in which it is read, with
/// a ring around it, and is large enough to be hit.
fn keyboard_walk(browser: &Browser, name: &str) -> Vec<String> {
    let prepare = "
        document.body.tabIndex = -1; document.body.focus(); document.body.removeAttribute('tabindex');
        const all = document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex=\"0\"]');
        window.walked = [...all].filter((element) => !element.disabled && element.checkVisibility());
        // Links within a text may be smaller, and a box is as large as its label.
        const small = window.walked.filter((element) => {
          const target = element.closest('label') ?? element;
          return !target.matches('a:not(.button)') && target.getBoundingClientRect().height < 43.9;
        });
        return { count: window.walked.length, small: small.map((element) => element.outerHTML.slice(0, 90)) };";
    let here = "
        const focused = document.activeElement;
        const style = getComputedStyle(focused);
        const ring = style.outlineStyle === 'none' ? 0 : parseFloat(style.outlineWidth);
        return { index: window.walked.indexOf(focused), ring, html: focused.outerHTML.slice(0, 90) };";
    let prepared = browser.script(prepare);
    let small = prepared["small"].as_array().into_iter().flatten();
    let mut findings: Vec<String> =
        small.map(|html| format!("{name}: less than 44 pixels high: {html}")).collect();
    // The rest of a long list is like its beginning.
    for index in 0..prepared["count"].as_i64().expect("a number").min(25) {
        browser.press(TAB);
        let reached = browser.script(here);
        if reached["index"] != index {
            findings.push(format!("{name}: Tab {index} reaches {}", reached["html"]));
            break;
        }
        if reached["ring"].as_f64().is_none_or(|ring| ring < 3.0) {
            findings.push(format!("{name}: no ring around {}", reached["html"]));
        }
    }
    findings
}

fn axe() -> Option<String> {
    let folder = std::env::var_os("DOPPELKEY_NODE_MODULES").map(PathBuf::from)?;
    std::fs::read_to_string(folder.join("axe-core/axe.min.js")).ok()
}

/// What axe-core finds on the page shown.
fn violations(browser: &Browser, axe: &str, name: &str, scheme: Scheme) -> Vec<String> {
    browser.call_script(&format!("if (!window.axe) {{ {axe} }}"), json!([]));
    let script = "
        const done = arguments[arguments.length - 1];
        axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
          .then((found) => done(found.violations.map((violation) =>
            violation.id + ': ' + violation.nodes.map((node) => node.html + ' ' + node.failureSummary).join(' | '))))
          .catch((error) => done([String(error)]));";
    let found = browser.async_script(script, json!([]));
    let found = found.as_array().cloned().unwrap_or_default();
    found.iter().map(|text| format!("{name} {scheme:?}: {}", text.as_str().unwrap_or_default())).collect()
}
