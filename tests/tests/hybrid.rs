//! Another device: a phone and a desktop's browser, as two processes of ours.

#[test]
fn a_browser_uses_a_phone_that_scans_its_code_and_calls_it_the_next_time() {
    for tool in ["chromium", "chromedriver"] {
        if !end_to_end::has_program(tool) {
            return end_to_end::skipped(tool);
        }
    }
    if end_to_end::python_with("selenium").is_none() {
        return end_to_end::skipped("python3 with the packages of tests/clients/requirements.txt");
    }
    end_to_end::pytest("test_hybrid.py");
}
