//! The main job, as a newcomer meets it: the commands of the README's first screen do what it shows.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{Server, doppelkey, root};

/// The first two console blocks of the README: each command with the output under it.
fn commands() -> Vec<(String, Vec<String>)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let blocks = readme.split("```console\n").skip(1).take(2);
    let blocks = blocks.map(|rest| rest.split_once("```").expect("the block ends").0);
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, output))) => output.push(line.to_owned()),
            (None, None) => panic!("output before the first command: {line}"),
        }
    }
    commands
}

fn demo_in_readme() -> (String, Vec<String>) {
    let mut commands = commands();
    assert_eq!(commands.len(), 2, "the first screen has two commands: {commands:?}");
    commands.remove(0)
}

/// The line without what differs from run to run: times, credential ids, ports, and where the program is.
fn lasting(line: &str) -> String {
    let word = |word: &str| {
        if word.parse::<f64>().is_ok() {
            return "TIME".to_owned();
        }
        if word.ends_with('…') {
            return "ID".to_owned();
        }
        if word.starts_with('/') && word.ends_with("/doppelkey") {
            return "PROGRAM".to_owned();
        }
        for host in ["127.0.0.1:", "localhost:"] {
            if let Some((before, after)) = word.split_once(host) {
                let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
                return format!("{before}{host}PORT{rest}");
            }
        }
        word.to_owned()
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_readmes_demo_prints_what_the_readme_shows_and_stays_up_until_it_is_told_to_end() {
    let (_, expected) = demo_in_readme();
    let mut demo =
        Command::new(doppelkey()).arg("demo").stdout(Stdio::piped()).spawn().expect("doppelkey runs");
    let lines = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
    let printed: Vec<String> = lines.take(expected.len()).map(|line| line.expect("text")).collect();
    let lasting_of = |lines: &[String]| lines.iter().map(|line| lasting(line)).collect::<Vec<_>>();
    assert_eq!(lasting_of(&printed), lasting_of(&expected), "README.md does not show what the demo prints");
    assert!(demo.try_wait().expect("a child").is_none(), "the demo ended by itself");
    let killed = Command::new("kill").arg(demo.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(demo.wait().expect("it ends").code(), Some(0), "SIGTERM ends it with 0");
}

#[test]
fn the_readmes_first_command_runs_as_it_is_written() {
    let (command, _) = demo_in_readme();
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("cargo"));
    // This tree is built already, for these tests: the same command, in their profile, and to its end.
    let profile = Path::new(doppelkey()).parent().expect("target/<profile>");
    let is_release = profile.ends_with("release");
    let words = words.filter(|word| is_release || *word != "--release");
    let target = profile.parent().expect("target");
    let output = Command::new(env!("CARGO"))
        .args(words)
        .arg("--once")
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    assert!(
        said.lines().last().is_some_and(|line| line.starts_with("Signed up and in with a passkey, in ")),
        "{said}"
    );
}

#[test]
fn the_readmes_second_command_is_the_one_that_ci_runs() {
    assert_eq!(commands()[1], ("cargo test --workspace".to_owned(), Vec::new()));
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect("there is a CI");
    assert!(
        ci.contains("cargo test") && ci.contains("README.md"),
        "CI takes its test command from the README"
    );
}

#[test]
fn a_port_that_was_asked_for_and_is_taken_ends_the_demo_with_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it listens").to_string();
    for flag in ["--relying-party", "--usbip"] {
        let output =
            Command::new(doppelkey()).args(["demo", "--once", flag, &address]).output().expect("it runs");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{complained}");
        assert!(complained.contains("error: ") && complained.contains(&address), "{complained}");
        assert!(complained.contains("hint: ") && complained.contains(flag), "{complained}");
    }
}

#[test]
fn the_demo_is_told_to_nobody_but_this_machine() {
    let output = Command::new(doppelkey())
        .args(["demo", "--once", "--relying-party", "0.0.0.0:0"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: "));
}

#[test]
fn several_demos_run_side_by_side_each_on_ports_of_its_own() {
    let start = || {
        Command::new(doppelkey())
            .args(["demo", "--once"])
            .stdout(Stdio::null())
            .spawn()
            .expect("doppelkey runs")
    };
    let demos: Vec<_> = (0..4).map(|_| start()).collect();
    for mut demo in demos {
        assert!(demo.wait().expect("it ends").success());
    }
}

/// Nothing is shared but sockets: what the authenticator says is verified by the relying party's own code, in another
/// process, having gone through USB/IP, CTAPHID, a client, and HTTP.
#[test]
fn three_processes_sign_twenty_users_up_and_in_over_usb_ip_and_http() {
    let authenticator = Server::start(&[
        "run",
        "--ephemeral",
        "--user",
        "auto",
        "--usbip",
        "127.0.0.1:0",
        "--control",
        "off",
    ]);
    let party = Server::start(&["relying-party", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let output = Command::new(doppelkey())
        .args(["load", "--users", "20", "--sign-ins", "2", "--json"])
        .args(["--relying-party", party.text("url"), "--usbip", authenticator.text("usbip")])
        .output()
        .expect("doppelkey runs");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complained}");
    let figures: serde_json::Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!(figures["users"], 20);
    assert_eq!(figures["ceremonies"]["sign-up"]["count"], 20);
    assert_eq!(figures["ceremonies"]["sign-in"]["count"], 40);
    assert_eq!(party.stop(), Some(0));
    assert_eq!(authenticator.stop(), Some(0));
}

#[test]
fn a_load_is_put_on_relying_parties_of_this_machine_only() {
    for elsewhere in [
        "https://example.com",
        "http://192.0.2.1:8080",
        "http://localhost.example.com",
        "https://localhost:1",
    ] {
        let output = Command::new(doppelkey())
            .args(["load", "--users", "1", "--relying-party", elsewhere])
            .output()
            .expect("doppelkey runs");
        assert_eq!(output.status.code(), Some(1), "{elsewhere}");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(complained.contains("error: ") && complained.contains("hint: "), "{complained}");
    }
}

#[test]
fn a_load_ends_at_the_first_refusal_and_says_what_to_do() {
    let party = Server::start(&["relying-party", "--db", "memory", "--listen", "127.0.0.1:0"]);
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.html");
    // More sign-ups a minute than the default policy lets one address do.
    let output = Command::new(doppelkey())
        .args(["load", "--users", "60", "--relying-party", party.text("url"), "--report"])
        .arg(&report)
        .output()
        .expect("doppelkey runs");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(complained.contains("429") && complained.contains("signups_per_ip_minute"), "{complained}");
    let page = std::fs::read_to_string(report).expect("what was measured is reported all the same");
    assert!(page.contains("<svg") && page.contains("sign-up"));
}
