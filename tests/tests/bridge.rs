//! Two browsers, one vault, no USB: what `doppelkey bridge` and its extensions promise.

#[test]
fn chromium_and_firefox_use_one_vault_through_the_bridge() {
    for tool in ["chromium", "chromedriver", "firefox-esr"] {
        if !end_to_end::has_program(tool) {
            return end_to_end::skipped(tool);
        }
    }
    if end_to_end::python_with("selenium").is_none() {
        return end_to_end::skipped("python3 with the packages of tests/clients/requirements.txt");
    }
    end_to_end::pytest("test_bridge.py");
}
