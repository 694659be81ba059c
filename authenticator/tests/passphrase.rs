//! A server that asks for its vault's passphrase, at a terminal that util-linux's `script` plays.

#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server at the question for its passphrase, and its process id; what it printed until then.
fn asking(server: &str) -> Option<(Child, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault").display().to_string();
    let program = env!("CARGO_BIN_EXE_doppelkey");
    let command =
        format!("echo $$ && exec '{program}' {server} --vault '{vault}' --custody passphrase --json");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env_remove("DOPPELKEY_PASSPHRASE");
    let Ok(mut script) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        // Not `println!`: the test runner would keep it to itself.
        let _ = writeln!(std::io::stdout(), "skipped: needs script (util-linux)");
        return None;
    };
    let mut said = String::new();
    let output = script.stdout.as_mut().unwrap();
    while !said.contains("passphrase for the vault: ") {
        let mut bytes = [0; 256];
        let read = output.read(&mut bytes).unwrap();
        assert!(read > 0, "it ended: {said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let process = said.lines().next().unwrap().trim().to_owned();
    Some((script, process, said))
}

/// Its exit status (a signal's number and 128), and what else it printed, with this typed until it ends: what is typed
/// between the question and the moment at which the program listens is the terminal's.
fn ended(mut script: Child, process: &str, typed: &[u8]) -> (Option<i32>, String) {
    for _ in 0..200 {
        let _ = script.stdin.as_mut().unwrap().write_all(typed);
        if let Some(status) = script.try_wait().unwrap() {
            let mut rest = String::new();
            script.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
            return (status.code(), rest);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = Command::new("kill").args(["-KILL", process]).status();
    let _ = script.wait();
    panic!("it went on asking");
}

const SERVERS: [&str; 2] = ["run --usbip off --control off", "bridge"];

#[test]
fn a_server_that_asks_for_its_passphrase_ends_when_it_is_told_to() {
    for server in SERVERS {
        let Some((script, process, _)) = asking(server) else { return };
        assert!(Command::new("kill").arg(&process).status().unwrap().success());
        let (code, said) = ended(script, &process, b"");
        assert_eq!(code, Some(128 + 15), "{server}: {said}");
    }
}

#[test]
fn ctrl_c_at_a_passphrase_is_not_told_as_if_nobody_were_there() {
    for server in SERVERS {
        let Some((script, process, _)) = asking(server) else { return };
        let (code, said) = ended(script, &process, b"\x03");
        // Where whoever runs the tests ignores the signal, as shells have what is in their background do, it is an error.
        let is_told = code == Some(1)
            && said.contains("error: this vault needs a passphrase, and none was given: interrupted");
        assert!(code == Some(128 + 2) || is_told, "{server}: {code:?}: {said}");
    }
}
