//! What this user runs and keeps, against the other users and programs of the machine, and against other machines.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use end_to_end::extension::Extension;
use end_to_end::soak::{Home, create, sign};
use end_to_end::starved::{as_nobody, is_root};
use end_to_end::{Server, exchange};
use serde_json::{Value, json};

/// What a program that does not look at the umask makes is for everybody.
const UMASK: &str = "umask 000; exec \"$@\"";

fn careless(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", UMASK, "sh"]).arg(command.get_program()).args(command.get_args());
    shell
}

fn doppelkey(arguments: &[&str]) -> Command {
    let mut command = Command::new(end_to_end::doppelkey());
    command.args(arguments);
    careless(&command)
}

/// A browser's bridge whose ceremonies show a code for a phone, in a folder of its own.
fn bridge_for_a_phone(folder: &Path) -> Server {
    let path = |name: &str| folder.join(name).display().to_string();
    let (picture, air, extensions) = (path("picture"), path("air"), path("browser"));
    let arguments = ["bridge", "--phone", "--picture", &picture, "--air", &air, "--extensions", &extensions];
    let mut command = doppelkey(&arguments);
    command.env("XDG_DATA_HOME", path("data")).stderr(Stdio::null());
    Server::start_by(command)
}

/// What a page asks for, in another thread: somebody has to answer it.
fn sign_up(bridge: &Server) -> std::thread::JoinHandle<Option<Value>> {
    let extension = Extension::of(bridge);
    let options = json!({
        "rp": {"id": "example.com", "name": "Example"}, "challenge": "AAAAAAAAAAAAAAAAAAAAAA",
        "user": {"id": "AQ", "name": "mona", "displayName": "Mona"},
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required"},
    });
    let body = json!({"id": "1", "origin": "https://example.com", "publicKey": options});
    std::thread::spawn(move || extension.ask("/create", &body))
}

/// Waits until a whole picture is there.
fn wait_for_picture(at: &Path) {
    for _ in 0..400 {
        let is_there = fs::symlink_metadata(at).is_ok_and(|found| found.is_file());
        if is_there && fs::read(at).is_ok_and(|png| png.windows(4).any(|four| four == b"IEND")) {
            return;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    panic!("no picture at {}", at.display());
}

/// Whoever reads a code answers in the phone's place.
#[test]
fn the_picture_of_a_code_is_for_its_user_alone() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let (picture, other) = (folder.path().join("picture"), folder.path().join("other"));
    fs::write(&other, "nobody's business").expect("there is room");
    symlink(&other, &picture).expect("there is room");
    let bridge = bridge_for_a_phone(folder.path());
    let asking = sign_up(&bridge);
    wait_for_picture(&picture);
    let mode = fs::metadata(&picture).expect("it is there").mode() & 0o777;
    assert_eq!(mode & 0o077, 0, "it has mode {mode:o}");
    assert_eq!(fs::read_to_string(&other).expect("it is there"), "nobody's business");
    drop(bridge);
    asking.join().expect("it ends with the bridge");
}

#[test]
fn whatever_the_umask_what_is_kept_is_for_its_user_alone() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = |name: &str| folder.path().join(name);
    // A circle, with its journal, its socket and an extension.
    let home = Home::at(folder.path());
    let run = |mut command: Command| {
        let output = command.output().expect("sh runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(careless(&home.init_command()));
    let extensions = path("extensions").display().to_string();
    let mut arguments = home.arguments();
    arguments.extend(["--bridge", "127.0.0.1:0", "--extensions", &extensions].map(String::from));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let server = Server::start_by(doppelkey(&arguments));
    create(&mut home.client().expect("the door is open"), 0).expect("it agrees");
    let mut seen = Seen::default();
    seen.look(folder.path());
    assert_eq!(server.stop(), Some(0));
    // A phone that is linked.
    let bridge = bridge_for_a_phone(folder.path());
    let asking = sign_up(&bridge);
    wait_for_picture(&path("picture"));
    let (picture, air) = (path("picture").display().to_string(), path("air").display().to_string());
    let (vault, key) = (home.path("phone"), format!("file:{}", home.path("phone-key")));
    let scan = ["phone", &picture, "--once", "--user", "auto", "--tunnel", "127.0.0.1:0", "--air", &air];
    run(doppelkey(&[&scan[..], &["--vault", &vault, "--custody", &key]].concat()));
    let answer = asking.join().expect("it is asked").expect("it answers");
    assert!(answer["response"]["id"].is_string(), "{answer}");
    seen.look(folder.path());
    drop(bridge);
    // A farewell that cannot be said yet.
    fs::remove_dir_all(path("mailbox")).expect("it is there");
    fs::write(path("mailbox"), "gone").expect("there is room");
    run(careless(&home.sync_command(&["leave", "--yes"])));
    fs::remove_file(path("mailbox")).expect("it is there");
    seen.look(folder.path());
    assert!(seen.open.is_empty(), "others may use {:?}", seen.open);
    for name in ["vault", "sync", "socket", "config.json", "background.js", "linked-phones.json", "leaving"] {
        assert!(seen.names.iter().any(|seen| seen.contains(name)), "no {name} was made: {:?}", seen.names);
    }
}

/// The files and folders that were there, and those that others than their user may use.
#[derive(Default)]
struct Seen {
    names: Vec<String>,
    open: Vec<(PathBuf, String)>,
}

impl Seen {
    /// At what is there now; not into a mailbox: a folder may be shared, and what is in it is sealed.
    fn look(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("it lists") {
            let path = entry.expect("it lists").path();
            // Some are there for a moment only.
            let Ok(metadata) = path.symlink_metadata() else { continue };
            if !path.ends_with("mailbox") && metadata.mode() & 0o077 != 0 {
                self.open.push((path.clone(), format!("{:o}", metadata.mode() & 0o777)));
            }
            self.names.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
            if metadata.is_dir() && !path.ends_with("mailbox") {
                self.look(&path);
            }
        }
    }
}

/// Not its memory and not its environment, in which a password of a database may be.
#[test]
fn another_program_of_the_same_user_cannot_read_it() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    if is_root() {
        std::os::unix::fs::chown(folder.path(), Some(65534), Some(65534)).expect("root may");
    }
    let program = copied(folder.path());
    let extensions = folder.path().join("browser").display().to_string();
    let run = ["run", "--ephemeral", "--user", "auto", "--usbip", "off"];
    let bridge = ["bridge", "--ephemeral", "--user", "auto", "--extensions", &extensions];
    let party = ["relying-party", "--db", "memory", "--listen", "127.0.0.1:0"];
    let relay = ["relay", "--db", "memory", "--listen", "127.0.0.1:0"];
    // It is the program that keeps others out, and not this system.
    let mut sleeping = as_nobody(Path::new("sh"), &["-c", "echo ready; exec sleep 60"]);
    let sleeping = Running::start(&mut sleeping);
    for what in ["mem", "environ"] {
        if !sleeping.opens(what) {
            return end_to_end::skipped(
                "a system on which a program's user may read its memory (ptrace_scope 0)",
            );
        }
    }
    for arguments in [&run[..], &bridge, &party, &relay] {
        let running = Running::start(&mut as_nobody(&program, arguments));
        for what in ["mem", "environ"] {
            assert!(!running.opens(what), "{} lets others open its {what}", arguments[0]);
        }
    }
}

/// The program where everybody may run it.
fn copied(folder: &Path) -> PathBuf {
    let program = folder.join("doppelkey");
    fs::copy(end_to_end::doppelkey(), &program).expect("there is room");
    program
}

struct Running(Child);

impl Running {
    /// Starts it, and waits for a first line.
    fn start(command: &mut Command) -> Self {
        use std::io::{BufRead as _, BufReader};
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        assert!(line.contains("ready"), "it got ready: {line:?}");
        Running(child)
    }

    /// Whether another program of its user gets to see this of it.
    fn opens(&self, what: &str) -> bool {
        let file = format!("/proc/{}/{what}", self.0.id());
        let mut head = as_nobody(Path::new("sh"), &["-c", "exec 3<\"$0\" && exit 0", &file]);
        head.stderr(Stdio::null()).status().expect("sh runs").success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every flag that says where to listen, as the program itself names them.
#[test]
fn no_door_listens_for_other_machines_unless_told_to() {
    let listening: [(&str, &[&str], &[&str]); 6] = [
        ("run", &["--ephemeral", "--user", "auto"], &["--usbip", "--packets", "--control", "--bridge"]),
        ("bridge", &["--ephemeral", "--user", "auto"], &["--listen"]),
        ("phone", &["--ephemeral", "--user", "auto"], &["--tunnel"]),
        ("relying-party", &["--db", "memory"], &["--listen"]),
        ("relay", &["--db", "memory"], &["--listen"]),
        ("demo", &["--once"], &["--usbip", "--relying-party"]),
    ];
    // Others are what these are for: devices of one's circle. Or they say where to call.
    let others = ["run --lan", "run --peer", "bridge --packets", "bridge --usbip", "load --usbip"];
    let home = tempfile::tempdir().expect("there is a place for temporary files");
    let program = |arguments: &[&str]| {
        let mut command = Command::new("timeout");
        command.arg("20").arg(end_to_end::doppelkey()).args(arguments);
        command.env("HOME", home.path()).env_remove("XDG_DATA_HOME").output().expect("timeout runs")
    };
    for (subcommand, arguments, flags) in listening {
        for (flag, address) in flags.iter().flat_map(|flag| ["0.0.0.0:0", "[::]:0"].map(|at| (flag, at))) {
            let mut all = vec![subcommand, flag, address];
            all.extend(arguments);
            if subcommand == "run" && *flag != "--usbip" {
                all.extend(["--usbip", "off"]);
            }
            let output = program(&all);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{all:?}: {errors}");
            assert!(errors.contains("error: ") && errors.contains("hint: "), "{all:?}: {errors}");
        }
    }
    // No flag is forgotten.
    let known: BTreeSet<String> = listening
        .iter()
        .flat_map(|(subcommand, _, flags)| flags.iter().map(move |flag| format!("{subcommand} {flag}")))
        .chain(others.map(String::from))
        .collect();
    let help = |arguments: &[&str]| String::from_utf8_lossy(&program(arguments).stdout).into_owned();
    let overview = help(&["--help"]);
    let (_, commands) = overview.split_once("Commands:\n").expect("they are listed");
    let subcommands: Vec<_> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(subcommands.len() > 15, "{overview}");
    let found: BTreeSet<String> = subcommands
        .iter()
        .flat_map(|subcommand| {
            let text = help(&[subcommand, "--help"]);
            let flag =
                |line: &str| line.split_whitespace().find(|word| word.starts_with("--")).map(String::from);
            let lines = text.lines().filter(|line| line.contains("<ADDR>"));
            lines.filter_map(flag).map(|flag| format!("{subcommand} {flag}")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, known, "each flag with an address is tried above, or said why not");
}

/// Who meets its circle's devices on the local network listens there for everybody.
#[test]
fn a_stranger_on_the_local_network_is_told_nothing_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let home = Home::at(folder.path());
    home.init();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let lan = free.expect("a port is free").to_string();
    let arguments: Vec<_> = home.arguments().into_iter().chain(["--lan".into(), lan.clone()]).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let _run = Server::start(&arguments);
    let passkey = create(&mut home.client().expect("the door is open"), 0).expect("it agrees");
    let framed =
        |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("it is short").to_be_bytes()[..], bytes].concat();
    let strangers: [Vec<u8>; 6] = [
        Vec::new(),
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        framed(b""),
        framed(&[0; 200]),
        framed(&[1; 300]).repeat(20),
        [&u32::MAX.to_be_bytes()[..], &[7; 64]].concat(),
    ];
    for stranger in &strangers {
        let answer = exchange(&lan, stranger);
        assert!(answer.is_empty(), "{stranger:02x?} is told {answer:?}");
    }
    // Many who say nothing, and stay.
    let _silent: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(&lan).ok()).collect();
    sign(&mut home.client().expect("the door is open"), &passkey).expect("it signs as before");
    assert_eq!(home.shared(), Ok(1), "its circle has the one passkey");
}
