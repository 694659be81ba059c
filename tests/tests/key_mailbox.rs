//! A microcontroller as the mailbox of `doppelkey run`: the real firmware, emulated, and two vaults that share nothing else.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use doppelkey::client::{Client, system_clock};
use doppelkey::packets::client::connect;
use doppelkey_core::testing::SeededRng;
use end_to_end::Server;
use end_to_end::firmware::{Board, EMULATED, SharedBoard, ready};
use serde_json::{Value, json};

#[test]
fn two_computers_share_passkeys_through_a_key_that_is_pulled_out_and_plugged_in_again() {
    if !end_to_end::has_program("qemu-system-arm") {
        return end_to_end::skipped("qemu-system-arm");
    }
    let Some(images) = ready(&EMULATED[..1]) else { return };
    let folder = tempfile::tempdir().expect("there is room");
    let flash = folder.path().join("flash");
    let plug_in = |at: &str| {
        let board = Board::power_up(&images, &flash, b'7');
        SharedBoard::offer(board, at.parse().expect("it is an address"))
    };
    let key = plug_in("127.0.0.1:0");
    let at = key.address().to_string();
    let place = format!("key:{at}");
    let [a, b, c] = ["a", "b", "c"].map(|name| Computer::new(folder.path(), name));

    // The invitation is answered through the key, too.
    a.ok(&["sync", "init", "--mailbox", &place]);
    a.invite(&b);
    let paper = a.ok(&["sync", "recovery", "create"]);
    let (run_a, run_b) = (a.run(), b.run());
    create(&run_a, "mona");
    eventually("the passkey is on the other computer", || b.passkeys() == 1);
    eventually("and the first one knows", || a.status()["backed_up"] == 1);

    // In a pocket: sign-ins and new passkeys go on, and the user is told.
    drop(key);
    create(&run_a, "lisa");
    eventually("it says so", || a.ok(&["sync", "status"]).contains("(cannot be used now: "));
    assert_eq!(a.status()["unreachable"].as_object().expect("an object").len(), 1);
    let restore = |computer: &Computer| {
        let mut command = computer.command(&["sync", "recovery", "restore", "--mailbox", &place]);
        let output = command.env("DOPPELKEY_RECOVERY_KEY", paper.trim()).output().expect("doppelkey runs");
        String::from_utf8(output.stderr).expect("it is text")
    };
    let away = restore(&a);
    assert!(away.contains("error: ") && away.contains("hint: "), "{away}");
    let key = plug_in(&at);
    eventually("what was made meanwhile comes", || b.passkeys() == 2);
    eventually("it can be used again", || !a.ok(&["sync", "status"]).contains("cannot be used"));

    // A second mailbox, while it runs.
    let second = folder.path().join("second");
    let shared = format!("folder:{}", second.display());
    a.ok(&["sync", "mailbox", "add", &shared]);
    eventually("it is there, too", || std::fs::read_dir(&second).expect("it was made").count() > 4);
    assert!(a.fails(&["sync", "mailbox", "add", &shared]).contains("is a mailbox of this circle already"));

    // Both computers burn. The key and the paper are left.
    drop((run_a, run_b));
    // What they had asked is answered first, to nobody.
    let free = || {
        let connection = connect(&at.parse().expect("it is an address"));
        connection.is_ok_and(|connection| Client::new(connection, system_clock(), SeededRng::new(9)).is_ok())
    };
    eventually("the key's line is free", free);
    let said = restore(&c);
    assert!(said.contains("2 passkeys are back"), "{said}");

    // The key is for something else now: a touch, which the emulated board gives at once, takes the entries away.
    let clear =
        Command::new(end_to_end::doppelkey()).args(["sync", "mailbox", "clear", &place, "--yes"]).status();
    assert!(clear.expect("doppelkey runs").success());
    let empty = restore(&Computer::new(folder.path(), "d"));
    assert!(
        empty.contains("opens nothing in this mailbox") && empty.contains("one character is wrong"),
        "{empty}"
    );
    drop(key);
}

#[test]
fn what_keeps_no_entries_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("there is room");
    let a = Computer::new(folder.path(), "a");
    // An authenticator, but no key of ours.
    let packets = Server::start(&[
        "run",
        "--ephemeral",
        "--usbip",
        "off",
        "--control",
        "off",
        "--packets",
        "127.0.0.1:0",
    ]);
    let place = format!("key:{}", packets.text("packets"));
    let refused = a.fails(&["sync", "init", "--mailbox", &place]);
    assert!(
        refused.contains("this key keeps no entries") && refused.contains("Doppelkey's firmware"),
        "{refused}"
    );
    let refused = a.fails(&["sync", "init", "--mailbox", "key:/dev/hidraw-none"]);
    assert!(refused.contains("hint: plug the key in"), "{refused}");
    let refused = a.fails(&["sync", "init", "--mailbox", "key:nowhere"]);
    assert!(refused.contains("is no mailbox") && refused.contains("hint: "), "{refused}");
}

/// A computer: a vault of its own.
struct Computer {
    vault: PathBuf,
}

impl Computer {
    fn new(folder: &Path, name: &str) -> Self {
        Computer { vault: folder.join(name) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(end_to_end::doppelkey());
        command.args(arguments).args(self.vault_arguments()).stdin(Stdio::null());
        command
    }

    fn vault_arguments(&self) -> [String; 4] {
        let vault = self.vault.display();
        ["--vault".into(), vault.to_string(), "--custody".into(), format!("file:{vault}.key")]
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("doppelkey runs")
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).expect("it is text")
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["sync", "status", "--json"])).expect("it is JSON")
    }

    fn passkeys(&self) -> u64 {
        self.status()["in_vault"].as_u64().expect("a number")
    }

    fn invite(&self, newcomer: &Computer) {
        let mut invite = self.command(&["sync", "invite", "--yes", "--no-qr"]);
        let mut invite = invite.stdout(Stdio::piped()).spawn().expect("doppelkey runs");
        let mut text = String::new();
        let output = invite.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut text).expect("it is text");
        newcomer.ok(&["sync", "join", text.trim()]);
        assert!(invite.wait().expect("it ends").success());
    }

    fn run(&self) -> Server {
        let vault = self.vault_arguments();
        let vault: Vec<&str> = vault.iter().map(String::as_str).collect();
        let doors = [
            "--user",
            "auto",
            "--sensor",
            "on",
            "--usbip",
            "off",
            "--control",
            "off",
            "--packets",
            "127.0.0.1:0",
        ];
        Server::start(&[&["run"][..], &vault, &doors].concat())
    }
}

/// Makes a passkey on a running authenticator; the name is the user handle, too, in base64url.
fn create(run: &Server, user: &str) {
    let address = run.text("packets").parse().expect("it is an address");
    let connection = connect(&address).expect("it listens");
    let mut client = Client::new(connection, system_clock(), SeededRng::new(7)).expect("it answers");
    let options = json!({
        "rp": { "id": "example.com", "name": "Example" }, "challenge": "AAAA",
        "user": { "id": user, "name": user, "displayName": user },
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
        "authenticatorSelection": { "residentKey": "required", "userVerification": "discouraged" },
    });
    client.create("https://example.com", &options).expect("the user agrees");
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..300 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(200));
    }
    panic!("{what}: not within a minute");
}
