//! `doppelkey relying-party` as a program: what it says when it cannot start, and how it ends.

use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use end_to_end::{Server, doppelkey};

/// Runs the subcommand, which must fail, and gives what it says.
fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(doppelkey()).arg("relying-party").args(arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(text.contains("error: ") && text.contains("hint: "), "{arguments:?}: {text}");
    text
}

#[test]
fn every_failure_to_start_says_what_and_what_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    assert!(refusal(&["--db", "memory", "--listen", &address]).contains("--listen 127.0.0.1:0"));

    let free = ["--listen", "127.0.0.1:0", "--db"];
    let with = |more: &[&str]| refusal(&[&free[..], more].concat());
    assert!(with(&["mysql://x"]).contains("memory, sqlite:PATH or postgres://"));
    let missing = format!("sqlite:{}", folder.path().join("missing/accounts.db").display());
    assert!(with(&[&missing]).contains("does the folder exist"));
    // Nobody listens on port 1: that is told at once, and where; the password is not.
    let unreachable = with(&["postgres://ada:s3cret@127.0.0.1:1/accounts"]);
    assert!(
        unreachable.contains("PostgreSQL at 127.0.0.1:1") && unreachable.contains("refused"),
        "{unreachable}"
    );
    assert!(unreachable.contains("hint: is PostgreSQL running there") && !unreachable.contains("s3cret"));
    assert!(!with(&["postgres://ada:s3cret@:port/"]).contains("s3cret"));
    assert!(with(&["memory", "--origin", "http://example.org"]).contains("neither https nor localhost"));
    assert!(with(&["memory", "--rp-id", "example.org"]).contains("is not the host"));
    assert!(with(&["memory", "--policy", "/nowhere.toml"]).contains("cannot read"));
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "[passkey]\nchalenge_ui = \"both\"\n").expect("written");
    assert!(with(&["memory", "--policy", &policy.display().to_string()]).contains("chalenge_ui"));

    let remote = ["--listen", "0.0.0.0:0", "--db", "memory"];
    assert!(refusal(&remote).contains("--allow-remote"));
    let remote_dev = ["--listen", "0.0.0.0:0", "--db", "memory", "--dev", "--allow-remote"];
    assert!(refusal(&remote_dev).contains("--dev"));
    let public_dev = with(&["memory", "--dev", "--origin", "https://example.org", "--behind-proxy"]);
    assert!(
        public_dev.contains("--dev would show mails and codes to everybody who reaches https://example.org")
    );
}

#[test]
fn a_lost_key_file_is_not_made_anew_behind_the_operators_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let accounts = folder.path().join("accounts.db");
    let (database, key) = (format!("sqlite:{}", accounts.display()), folder.path().join("accounts.db.key"));
    let arguments = ["--listen", "127.0.0.1:0", "--db", &database];
    let start = |more: &[&str]| Server::start(&[&["relying-party"], &arguments[..], more].concat());
    assert_eq!(start(&[]).stop(), Some(0));
    std::fs::remove_file(&key).expect("there is one by now");
    let lost = refusal(&arguments);
    assert!(lost.contains("there is none here") && lost.contains("--replace-lost-key"), "{lost}");
    assert!(!key.exists(), "whoever looks for the lost key finds another");
    assert_eq!(start(&["--replace-lost-key"]).stop(), Some(0));
    assert_eq!(start(&[]).stop(), Some(0), "with the new key");
    // So is a file that holds none any more, if the operator says so; it is kept for whoever wants to look at it.
    std::fs::write(&key, "").expect("written");
    assert!(refusal(&arguments).contains("--replace-lost-key"));
    assert_eq!(start(&["--replace-lost-key"]).stop(), Some(0));
    assert!(folder.path().join("accounts.db.key.unreadable").exists());
}

#[test]
fn programs_that_start_at_once_on_a_new_database_all_start() {
    for round in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let database = format!("sqlite:{}", folder.path().join("accounts.db").display());
        std::thread::scope(|scope| {
            for number in 0..4 {
                let database = &database;
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(number * round * 7));
                    let server =
                        Server::start(&["relying-party", "--listen", "127.0.0.1:0", "--db", database]);
                    assert_eq!(server.stop(), Some(0));
                });
            }
        });
    }
}

#[test]
fn it_ends_with_0_although_somebody_follows_the_events() {
    let server = Server::start(&["relying-party", "--listen", "127.0.0.1:0", "--db", "memory"]);
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30))).build().into();
    let url = format!("{}/api/v2/logs/stream", server.text("url"));
    let token = format!("Bearer {}", server.text("admin_token"));
    let mut stream = agent.get(&url).header("authorization", &token).call().expect("the stream opens");
    // Something happens, and the stream says so.
    let policy = format!("{}/api/v2/policy", server.text("url"));
    let patch =
        agent.patch(&policy).header("authorization", &token).header("content-type", "application/json");
    patch.send("{\"log_retention_days\": 7}").expect("the policy holds");
    let mut text = String::new();
    let mut reader = stream.body_mut().as_reader();
    while !text.contains("event: sapi") {
        let mut bytes = [0; 1024];
        let count = reader.read(&mut bytes).expect("the stream goes on");
        assert_ne!(count, 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn mail_goes_through_a_real_server_and_outlives_one_that_is_down() {
    if end_to_end::python_with("aiosmtpd").is_none() {
        return end_to_end::skipped("aiosmtpd (pip install aiosmtpd; set DOPPELKEY_PYTHON)");
    }
    end_to_end::pytest("test_mail.py");
}

#[test]
fn events_are_sent_to_a_real_receiver_that_checks_who_signed_them() {
    if end_to_end::python_with("standardwebhooks").is_none() {
        return end_to_end::skipped("standardwebhooks (pip install standardwebhooks; set DOPPELKEY_PYTHON)");
    }
    if !std::path::Path::new("/usr/lib/postgresql").is_dir() {
        return end_to_end::skipped("PostgreSQL (apt-get install postgresql-15)");
    }
    end_to_end::pytest("test_webhooks.py");
}

#[test]
fn the_published_list_of_the_fido_alliances_server_tests_holds() {
    end_to_end::pytest("test_fido_server.py");
}

#[test]
fn attestation_of_every_format_and_its_metadata_hold_as_that_list_has_them() {
    end_to_end::pytest("test_fido_attestation.py");
}

#[test]
fn one_of_two_processes_on_one_database_is_killed_under_load_and_the_other_goes_on() {
    if !std::path::Path::new("/usr/lib/postgresql").is_dir() {
        return end_to_end::skipped("PostgreSQL (apt-get install postgresql-15)");
    }
    end_to_end::pytest("test_processes.py");
}

#[test]
fn a_metadata_blob_decides_which_models_may_register() {
    end_to_end::pytest("test_metadata.py");
}
