//! The main job, as a newcomer meets it: the commands of the README's first screen do what it shows.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{doppelkey, root};

/// The first console block of the README: each command with the output under it.
fn commands() -> Vec<(String, Vec<String>)> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, rest) = readme.split_once("```console\n").expect("the README has a console block");
    let (block, _) = rest.split_once("```").expect("the block ends");
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.lines() {
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
    let (command, mut output) = commands.remove(0);
    while output.last().is_some_and(String::is_empty) {
        output.pop();
    }
    (command, output)
}

/// The line without what differs from run to run: times, credential ids, ports.
fn lasting(line: &str) -> String {
    let word = |word: &str| {
        if word.parse::<f64>().is_ok() {
            return "TIME".to_owned();
        }
        if word.ends_with('…') {
            return "ID".to_owned();
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
