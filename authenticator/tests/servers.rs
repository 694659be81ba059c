//! What every server of the program promises to whoever starts it.

#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Every server on free ports, with what it keeps in this folder.
fn servers(folder: &Path) -> Vec<Vec<String>> {
    let air = folder.join("air").display().to_string();
    let extensions = folder.join("extensions").display().to_string();
    let any = "127.0.0.1:0";
    let servers: [&[&str]; 5] = [
        &["run", "--ephemeral", "--usbip", any, "--json"],
        &["bridge", "--ephemeral", "--listen", any, "--extensions", &extensions, "--json"],
        &["phone", "--ephemeral", "--air", &air, "--tunnel", any, "--json"],
        &["relay", "--listen", any, "--db", "memory", "--json"],
        &["relying-party", "--listen", any, "--db", "memory", "--json"],
    ];
    servers.iter().map(|server| server.iter().map(|word| (*word).to_owned()).collect()).collect()
}

fn start(arguments: &[String], stderr: Stdio) -> Child {
    Command::new(env!("CARGO_BIN_EXE_doppelkey"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .expect("the program runs")
}

/// Waits for the ready line, then sends this signal at once; the server ends with 0.
fn ended_when_ready(arguments: &[String], signal: &str, mut server: Child) {
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"ready\":true"), "{arguments:?}: {line}");
    send(signal, server.id());
    assert_eq!(server.wait().unwrap().code(), Some(0), "{arguments:?}: {signal}");
}

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").arg(signal).arg(process.to_string()).status().unwrap();
    assert!(sent.success());
}

/// The signals that end a server. Under `nohup` a closed terminal is none: whoever runs these tests may have said so.
fn signals() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    if ignored.is_some_and(|mask| mask & 1 == 0) {
        vec!["-TERM", "-INT", "-HUP"]
    } else {
        vec!["-TERM", "-INT"]
    }
}

#[test]
fn a_server_that_has_said_ready_ends_with_0_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in servers(folder.path()) {
        // What is too late by a moment is so only sometimes.
        for signal in signals().into_iter().cycle().take(6) {
            ended_when_ready(&arguments, signal, start(&arguments, Stdio::null()));
        }
    }
}

#[test]
fn a_lost_standard_error_stops_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut servers = servers(folder.path());
    for arguments in &mut servers {
        // These have something to say at their start.
        if ["relay", "relying-party"].contains(&arguments[0].as_str()) {
            arguments.extend(["--allow-remote".to_owned()]);
            arguments[2] = "0.0.0.0:0".into();
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        ended_when_ready(arguments, "-TERM", start(arguments, writer.into()));
    }
}

#[test]
fn a_warning_and_its_hint_are_two_lines() {
    let folder = tempfile::tempdir().unwrap();
    // Those with a user, who is asked at a terminal.
    for arguments in servers(folder.path()).into_iter().take(3) {
        let mut server = start(&arguments, Stdio::piped());
        let mut errors = server.stderr.take().unwrap();
        ended_when_ready(&arguments, "-TERM", server);
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        assert!(said.contains("\nhint: --user auto approves everything\n"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_device_that_listens_on_the_local_network_says_that_others_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (vault, key, mailbox) = (path("vault"), format!("file:{}", path("key")), path("mailbox"));
    std::fs::create_dir(&mailbox).unwrap();
    let program = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
        let output = program.args(arguments).args(["--vault", &vault, "--custody", &key]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = program(&["sync", "init", "--mailbox", &format!("folder:{mailbox}")]);
    assert_eq!(code, Some(0), "{said}");
    // An address of no machine: whoever runs this test listens nowhere.
    let (code, said) = program(&["run", "--usbip", "off", "--control", "off", "--lan", "192.0.2.1:7000"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("warning: 192.0.2.1:7000 can be reached by other machines"), "{said}");
    assert!(said.contains("error: cannot listen on 192.0.2.1:7000"), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn whoever_keeps_devices_attached_ends_with_0_wherever_it_waits() {
    // An authenticator that says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    for signal in ["-TERM", "-INT"] {
        let mut keeping = start(&["attach".to_owned(), "--keep".to_owned(), address.clone()], Stdio::null());
        let _connection = silent.accept().unwrap();
        send(signal, keeping.id());
        assert_eq!(keeping.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_vault_in_no_circle_says_that_it_meets_nobody_on_the_local_network() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    let mut server = Command::new(env!("CARGO_BIN_EXE_doppelkey"))
        .args(["run", "--usbip", "127.0.0.1:0", "--control", "off", "--lan", "127.0.0.1:0", "--json"])
        .arg("--vault")
        .arg(&vault)
        .arg(format!("--custody=file:{}", folder.path().join("key").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    send("-TERM", server.id());
    let mut said = String::new();
    server.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("vault is in no circle: there is nobody to meet at 127.0.0.1:0"), "{said}");
}
