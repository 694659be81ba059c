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
fn the_rules_of_a_new_password_are_ticked_off_just_as_the_server_judges_it() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    let required = json!({ "identifier": true, "signup": "required" });
    site.patch_policy(&json!({
        "attributes": { "phone": required, "username": required },
        "password": { "strength": "none", "dictionary": false },
    }));
    browser.open(&format!("{}/signup", site.url));
    for (field, text) in
        [("#email", "lovelace@example.org"), ("#phone", "+49 30 123456"), ("#username", "Countess")]
    {
        browser.fill(field, text);
    }
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    browser.open(&format!("{}/signup/password", site.url));
    browser.fill("#password", "correct horse battery");
    browser.click("form .primary");
    browser.wait_for_path("/account");
    let [seven, eight] = ["🔑".repeat(7), "🔑".repeat(8)];
    let [short, personal, fine] = ["at least 8 characters", "your own name", "Your password has been set"];
    for (password, length, name, answer) in [
        ("seven 7", "unmet", "met", short),
        ("eight 88", "met", "met", fine),
        (&seven, "unmet", "met", short),
        (&eight, "met", "met", fine),
        ("lovelac", "unmet", "met", short),
        ("LoveLace", "met", "unmet", personal),
        ("the COUNTESS of it", "met", "unmet", personal),
        ("dial +4930123456", "met", "unmet", personal),
        ("dial 4930123456", "met", "met", fine),
        ("example.org", "met", "met", fine),
    ] {
        browser.open(&format!("{}/account/security", site.url));
        browser.click("details summary");
        // Typed at once, as the driver has no keys for it all.
        let typed = "
            const field = document.getElementById('password');
            field.value = arguments[0];
            field.dispatchEvent(new Event('input'));
            return [...document.querySelectorAll('[data-rule]')].map((rule) => rule.className);";
        assert_eq!(browser.call_script(typed, json!([password])), json!([length, name]), "{password}");
        browser.script(
            "const form = document.getElementById('password').form; form.noValidate = true; form.requestSubmit()",
        );
        browser.wait_for_text("main", answer);
    }
    assert_eq!(browser.console_errors().iter().filter(|line| !line.contains("422")).count(), 0);
}

#[test]
fn the_rules_of_a_new_password_are_said_when_the_typing_pauses_and_none_that_only_the_server_knows() {
    let Some(browser) = Browser::start() else { return skipped(CHROMIUM) };
    let site = RelyingParty::start();
    browser.open(&format!("{}/signup", site.url));
    browser.fill("#email", "lovelace@example.org");
    browser.click("form .primary");
    browser.wait_for_path("/signup/passkey");
    browser.open(&format!("{}/signup/password", site.url));
    // Every text that is said from here on.
    browser.script(
        "window.said = [];
         const box = document.getElementById('rules-said');
         new MutationObserver(() => window.said.push(box.textContent)).observe(box, { childList: true });",
    );
    browser.click("#password");
    let pause = "At least 8 characters: not met. Without your name or address: met";
    browser.press("short");
    browser.wait_for_text("#rules-said", pause);
    browser.press(" and sweet lovelace");
    let end = "At least 8 characters: met. Without your name or address: not met";
    browser.wait_for_text("#rules-said", end);
    let said = browser.script("return window.said");
    let said: Vec<&str> = said.as_array().into_iter().flatten().filter_map(|text| text.as_str()).collect();
    assert_eq!((said.first(), said.last()), (Some(&pause), Some(&end)));
    // A machine that stalls makes pauses of its own.
    assert!(said.len() < 5, "not at each key: {said:?}");
    let others = browser.script(
        "const others = [...document.querySelectorAll('#rules li:not([data-rule])')];
         return others.map((rule) => rule.className + rule.innerText)",
    );
    let others: Vec<&str> =
        others.as_array().into_iter().flatten().filter_map(|text| text.as_str()).collect();
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(others.iter().all(|text| text.ends_with("(checked when you continue)")), "{others:?}");
    // With nothing typed, nobody has broken a rule.
    let emptied = "
        const field = document.getElementById('password');
        field.value = '';
        field.dispatchEvent(new Event('input'));
        return [...document.querySelectorAll('[data-rule]')].map((rule) => rule.className);";
    assert_eq!(browser.script(emptied), json!(["", ""]));
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
