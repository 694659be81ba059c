//! What the program prints, word by word. To accept a change: `UPDATE_SCREENS=1 cargo test -p doppelkey --test screens`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the program and compares status, standard output and standard error with `tests/screens/NAME.txt`.
fn screen(name: &str, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_doppelkey"))
        .args(arguments)
        .env("HOME", "/home/alice")
        .env_remove("XDG_DATA_HOME")
        .env_remove("COLUMNS")
        .output()
        .expect("the program runs");
    let shown = format!(
        "$ doppelkey {}\n[exit status {}]\n{}{}",
        arguments.join(" "),
        output.status.code().expect("it was not killed"),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // As it is where sudo finds it by itself.
    let shown = shown.replace(env!("CARGO_BIN_EXE_doppelkey"), "doppelkey");
    let file = screens().join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        fs::write(&file, &shown).expect("the screen can be written");
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "{} differs; UPDATE_SCREENS=1 accepts it", file.display());
}

fn screens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens")
}

#[test]
fn no_arguments_show_worked_examples() {
    screen("examples", &[]);
}

/// sudo has a `PATH` of its own, which this build is not on.
#[test]
fn what_is_to_be_run_as_root_is_a_command_that_sudo_finds() {
    let program = env!("CARGO_BIN_EXE_doppelkey");
    let output = Command::new(program).output().expect("the program runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(&format!("$ sudo {program} attach\n")), "{shown}");
    let running = ["run", "--ephemeral", "--usbip", "127.0.0.1:0", "--control", "off"];
    let mut running = Command::new(program).args(running).stderr(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(running.stderr.take().expect("it is piped")).lines();
    let told = lines.map(|line| line.expect("text")).find(|line| line.contains("sudo "));
    running.kill().and_then(|()| running.wait()).expect("it ends");
    let told = told.expect("it tells how to plug it in");
    assert!(told.contains(&format!("sudo {program} attach 127.0.0.1:")), "{told}");
}

#[test]
fn every_commands_help_is_as_it_was() {
    let mut shown = BTreeSet::new();
    help(&doppelkey::cli::command_line(), &[], &mut shown);
    let kept = fs::read_dir(screens()).expect("the folder can be read");
    let kept = kept.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned());
    let kept = kept.filter(|name| name.starts_with("help")).collect::<BTreeSet<_>>();
    assert_eq!(kept, shown, "a screen of no command is to be deleted");
}

/// The help of a command and of all below it.
fn help(command: &clap::Command, path: &[&str], shown: &mut BTreeSet<String>) {
    let name = ["help"].iter().chain(path).copied().collect::<Vec<_>>().join("-");
    screen(&name, &[path, &["--help"]].concat());
    shown.insert(format!("{name}.txt"));
    for below in command.get_subcommands() {
        help(below, &[path, &[below.get_name()]].concat(), shown);
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    screen("run-remote", &["run", "--ephemeral", "--usbip", "0.0.0.0:0"]);
}

/// The extensions' manifests name one host.
#[test]
fn a_bridge_that_no_extension_would_find_is_refused() {
    let bridge = ["bridge", "--ephemeral", "--listen"];
    let run = ["run", "--ephemeral", "--usbip", "off", "--allow-remote", "--bridge"];
    for (command, flag) in [(&bridge[..], "--listen"), (&run[..], "--bridge")] {
        for address in
            ["0.0.0.0:7000", "127.0.0.2:7000", "[::1]:7000", "[::]:7000", "[::ffff:127.0.0.1]:7000"]
        {
            // One that is not refused stays up.
            let mut program = Command::new("timeout");
            program.arg("20").arg(env!("CARGO_BIN_EXE_doppelkey")).args(command).arg(address);
            let output = program.output().expect("timeout runs");
            let shown = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{address}: {shown}");
            assert!(shown.contains(&format!("error: a bridge at {address} would be of no use")), "{shown}");
            assert!(shown.contains(&format!("hint: say {flag} 127.0.0.1:7000")), "{shown}");
        }
    }
}

#[test]
fn an_address_that_is_none_is_a_usage_error() {
    screen("run-address", &["run", "--usbip", "localhost"]);
}

#[test]
fn a_subcommand_that_is_none_is_a_usage_error() {
    screen("unknown", &["fly"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_in_use_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it listens").to_string();
    for flag in ["--usbip", "--packets"] {
        let other = if flag == "--usbip" { "--packets" } else { "--usbip" };
        let output = Command::new(env!("CARGO_BIN_EXE_doppelkey"))
            .args(["run", "--ephemeral", other, "off", flag, &address])
            .output()
            .expect("the program runs");
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(&format!("error: cannot listen on {address}")), "{shown}");
        assert!(
            shown.contains(&format!(
                "hint: another program listens there: stop it, or take any free port with {flag}"
            )),
            "{shown}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn verdicts_that_find_no_room_are_not_cases_that_cannot_be_read() {
    use std::io::Write as _;
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
    program.arg("verify").stdin(Stdio::piped()).stdout(full).stderr(Stdio::piped());
    let mut child = program.spawn().expect("the program runs");
    child.stdin.take().expect("it is piped").write_all(b"{}\n").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: what was printed did not arrive whole: "), "{said}");
}

#[test]
fn completions_are_a_script_of_the_shell_that_was_asked_for() {
    for (shell, sign) in
        [("bash", "_doppelkey()"), ("zsh", "#compdef doppelkey"), ("fish", "complete -c doppelkey")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_doppelkey"))
            .args(["completions", shell])
            .output()
            .expect("the program runs");
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(sign), "{shell}");
    }
}

#[test]
fn every_hint_that_is_a_command_is_one_that_can_be_given() {
    let program = doppelkey::cli::command_line();
    let mut files = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut named = 0;
    while let Some(file) = files.pop() {
        if file.is_dir() {
            let entries = fs::read_dir(&file).expect("the folder can be read");
            files.extend(entries.map(|entry| entry.expect("it can be read").path()));
            continue;
        }
        // A literal and a comment may go on in the next line.
        let text = fs::read_to_string(&file).expect("it is text").replace("\\\n", " ");
        for command in text.split("`doppelkey ").skip(1).filter_map(|rest| rest.split_once('`')) {
            let words = command.0.split_whitespace().filter(|word| !matches!(*word, "///" | "//!" | "…"));
            let words: Vec<&str> = words.collect();
            if let Err(wrong) = can_be_given(&program, &words) {
                panic!("{}: `doppelkey {}`: {wrong}", file.display(), command.0);
            }
            named += 1;
        }
    }
    assert!(named > 100, "{named}");
}

/// Whether these words are subcommands of this command, then options that it has, and values.
fn can_be_given(command: &clap::Command, words: &[&str]) -> Result<(), String> {
    let Some((first, rest)) = words.split_first() else { return Ok(()) };
    if let Some(option) = first.strip_prefix("--") {
        let has = |argument: &clap::Arg| argument.get_long() == Some(option);
        let is_known = command.get_arguments().any(has) || ["help", "verbose", "version"].contains(&option);
        return if is_known { can_be_given(command, rest) } else { Err(format!("no option {first}")) };
    }
    if !command.has_subcommands() {
        return can_be_given(command, rest);
    }
    for name in first.split('|') {
        let below = command.find_subcommand(name).ok_or_else(|| format!("no command {name}"))?;
        can_be_given(below, rest)?;
    }
    Ok(())
}
