//! Real clients, unmodified, judge the authenticator over its sockets.

use std::process::Command;

#[test]
fn python_fido2_over_usbip() {
    end_to_end::pytest("test_python_fido2.py");
}

#[test]
fn python_fido2_speaks_u2f_over_usbip() {
    end_to_end::pytest("test_u2f.py");
}

#[test]
fn libfido2_over_packets() {
    let found = end_to_end::python_with("fido2, pytest").is_some_and(|python| {
        Command::new(python)
            .args(["-c", "import libfido2, sys; sys.exit(libfido2.LIB is None)"])
            .current_dir(end_to_end::root().join("tests/clients"))
            .status()
            .is_ok_and(|status| status.success())
    });
    if !found {
        return end_to_end::skipped(
            "libfido2 (Debian's libfido2-1) and python3 with tests/clients/requirements.txt",
        );
    }
    end_to_end::pytest("test_libfido2.py");
}

#[test]
fn relying_parties_of_other_people_accept_every_persona() {
    if end_to_end::python_with("webauthn").is_none() {
        return end_to_end::skipped(
            "python3 with the packages of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)",
        );
    }
    if std::env::var_os("DOPPELKEY_NODE_MODULES").is_none() || !end_to_end::has_program("node") {
        end_to_end::skipped(
            "node with the packages of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)",
        );
    }
    end_to_end::pytest("test_personas.py");
}

#[test]
fn every_fault_is_seen_on_the_wire() {
    end_to_end::pytest("test_faults.py");
}

#[test]
fn webdriver_and_the_other_routes_of_the_control_port() {
    end_to_end::pytest("test_control.py");
}
