//! Two real Syncthing processes on loopback carry the folder that two devices sync through.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

#[test]
fn two_devices_find_each_other_through_a_folder_that_syncthing_carries() {
    if Command::new("syncthing").arg("--version").output().is_err() {
        // Not `println!`: the test runner would keep it to itself.
        let _ = writeln!(std::io::stdout(), "skipped: needs syncthing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let homes = ["one", "two"].map(|name| Home::new(&folder.path().join(name)));
    let _carriers = [homes[0].start(&homes), homes[1].start(&homes)];
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let mailboxes = [0, 1].map(|index| format!("folder:{}", homes[index].shared().display()));

    ok(&a, &["sync", "init", "--mailbox", &mailboxes[0], "--name", "a"]);
    let mut invite = command(&a, &["sync", "invite", "--yes", "--no-qr"]);
    let mut invite = invite.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut text = String::new();
    BufReader::new(invite.stdout.take().unwrap()).read_line(&mut text).unwrap();
    ok(&b, &["sync", "join", text.trim(), "--mailbox", &mailboxes[1], "--name", "b"]);
    assert!(invite.wait().unwrap().success());
    for device in [&a, &b] {
        let devices = ok(device, &["sync", "devices"]);
        assert_eq!(devices.lines().count(), 2, "{devices}");
    }
}

/// One Syncthing's folder of keys and settings.
struct Home {
    home: PathBuf,
    id: String,
    port: u16,
}

/// Ends its process when dropped.
struct Carrier(Child);

impl Drop for Carrier {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Home {
    fn new(home: &Path) -> Self {
        fs::create_dir_all(home.join("shared/.stfolder")).unwrap();
        let made = syncthing(home, &["generate"]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let id = syncthing(home, &["--device-id"]).output().unwrap();
        let id = String::from_utf8(id.stdout).unwrap().trim().to_owned();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Home { home: home.to_owned(), id, port }
    }

    fn shared(&self) -> PathBuf {
        self.home.join("shared")
    }

    /// Starts it, knowing all of `homes` and reaching nothing but loopback.
    fn start(&self, homes: &[Home]) -> Carrier {
        let members: String = homes.iter().map(|home| format!("<device id=\"{}\"/>", home.id)).collect();
        let devices: String = homes
            .iter()
            .map(|home| {
                format!(
                    "<device id=\"{}\"><address>tcp://127.0.0.1:{}</address></device>",
                    home.id, home.port
                )
            })
            .collect();
        let options = [
            ("listenAddress", format!("tcp://127.0.0.1:{}", self.port)),
            ("globalAnnounceEnabled", "false".into()),
            ("localAnnounceEnabled", "false".into()),
            ("relaysEnabled", "false".into()),
            ("natEnabled", "false".into()),
            ("urAccepted", "-1".into()),
            ("crashReportingEnabled", "false".into()),
            ("startBrowser", "false".into()),
            ("autoUpgradeIntervalH", "0".into()),
            ("reconnectionIntervalS", "1".into()),
        ];
        let options: String =
            options.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        let settings = format!(
            "<configuration version=\"35\"><folder id=\"mailbox\" path=\"{}\" type=\"sendreceive\" \
             rescanIntervalS=\"1\" fsWatcherEnabled=\"true\" fsWatcherDelayS=\"1\">{members}</folder>{devices}\
             <gui enabled=\"false\"/><options>{options}</options></configuration>",
            self.shared().display()
        );
        fs::write(self.home.join("config.xml"), settings).unwrap();
        let child = syncthing(&self.home, &["--no-browser", "--no-restart"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(300));
        Carrier(child)
    }
}

fn syncthing(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("syncthing");
    command.args(arguments).arg(format!("--home={}", home.display())).env("HOME", home);
    command
}

fn command(vault: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
    let custody = format!("file:{}.key", vault.display());
    command.args(arguments).arg("--vault").arg(vault).args(["--custody", &custody]).stdin(Stdio::null());
    command
}

fn ok(vault: &Path, arguments: &[&str]) -> String {
    let output = command(vault, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
