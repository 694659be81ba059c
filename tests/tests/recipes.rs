//! The recipes of `tests/recipes` are tests themselves: what the README tells others to copy, runs here.

use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use doppelkey::client::Client;
use end_to_end::{doppelkey, has_program, python_with, root, skipped};
use serde_json::{Value, json};

/// The Rust fixture: an authenticator and a client of this process, in one line.
#[test]
fn a_rust_test_has_an_authenticator_in_one_line() {
    let mut client = Client::ephemeral();
    let options = json!({
        "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
    });
    let made = client.create("https://example.com", &options).expect("a passkey");
    let used = client.get("https://example.com", &json!({"challenge": "AAAA"})).expect("an assertion");
    assert_eq!(used["id"], made["id"]);
    assert_eq!(made["response"]["publicKeyAlgorithm"], -8, "the page's first choice");
    let data: Value = {
        let json = used["response"]["clientDataJSON"].as_str().expect("text");
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(json).expect("base64url")).expect("JSON")
    };
    assert_eq!(data["origin"], "https://example.com");
}

#[test]
fn the_pytest_recipes_run() {
    if let Some(missing) = ["chromium", "chromedriver"].into_iter().find(|tool| !has_program(tool)) {
        return skipped(missing);
    }
    let Some(python) = python_with("pytest, selenium, playwright") else {
        return skipped("python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)");
    };
    let mut command = Command::new(python);
    command.args(["-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "."]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    run(command, " passed");
}

#[test]
fn the_playwright_recipe_runs() {
    node("playwright.mjs", "playwright-core");
}

#[test]
fn the_selenium_recipe_runs() {
    node("selenium.mjs", "selenium-webdriver");
}

/// Runs a recipe in JavaScript. Modules are looked for beside the file, so it is run from beside the modules.
fn node(recipe: &str, package: &str) {
    if let Some(missing) = ["node", "chromium", "chromedriver"].into_iter().find(|tool| !has_program(tool)) {
        return skipped(missing);
    }
    let modules = std::env::var_os("DOPPELKEY_NODE_MODULES").map(std::path::PathBuf::from);
    let Some(modules) = modules.filter(|modules| modules.join(package).is_dir()) else {
        return skipped("the packages of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)");
    };
    let folder = tempfile::tempdir().expect("a folder");
    for name in [recipe, "doppelkey.mjs"] {
        std::fs::copy(root().join("tests/recipes").join(name), folder.path().join(name)).expect("a copy");
    }
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules")).expect("a link");
    let mut command = Command::new("node");
    command.arg(folder.path().join(recipe));
    run(command, "# fail 0");
}

fn run(mut command: Command, said: &str) {
    let output = command
        .env("DOPPELKEY", doppelkey())
        .current_dir(root().join("tests/recipes"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(said), "{text}");
}
