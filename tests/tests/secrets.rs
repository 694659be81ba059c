//! What is secret stays where it is: it is in no output, no other file and, once used, not in memory.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use doppelkey::client::{Client, KnownPin, system_clock};
use doppelkey::packets;
use doppelkey::vault::{Custody, Vault};
use doppelkey_core::testing::SeededRng;
use doppelkey_core::{Credential, CredentialStore as _};
use end_to_end::memory::scan;
use serde_json::{Value, json};

/// Not to be found anywhere by chance.
const PIN: &str = "pin-Zebra-8462-Quokka";
/// In base64url; the same of it.
const CRED_BLOB: &str = "Wm9iZWwtNzMxNS1XYWxsYWJ5LWJsb2I";

#[test]
fn secrets_are_in_no_output_and_after_use_not_in_memory() {
    let home = tempfile::tempdir().expect("there is a place for temporary files");
    let mut run = Run::start(home.path());
    let prf = sign_up_and_in(&run);
    // The process that set the PIN and made the passkey.
    let first = run.end();
    assert!(first.contains("a new vault was made"), "the log was read: {first}");
    let secrets = secrets(home.path(), &prf);
    // Another process, that has read everything from the disk and used the PIN and the passkey once.
    let mut run = Run::start(home.path());
    let again = sign_in(&run);
    assert_eq!(again, prf, "the secret of the passkey is the same again");
    let token = run.ready["token"].as_str().expect("it has a token").as_bytes().to_vec();
    // The scan works: what is in use is found.
    let Some(found) = scan(run.child.id(), &[("token".to_owned(), token)]) else {
        run.end();
        return end_to_end::skipped("the right to read another process' memory (root)");
    };
    assert_eq!(found, ["token"], "the scan finds what must be there");
    let found = scan(run.child.id(), &secrets).expect("it could be read just now");
    assert!(found.is_empty(), "in memory after use: {found:?}");
    for output in [first, run.end()] {
        for (what, secret) in &secrets {
            for text in spellings(secret) {
                assert!(!output.contains(&text), "{what} is in the output: {output}");
            }
        }
    }
}

/// What must not be seen, of the vault in this folder.
fn secrets(home: &Path, prf: &[u8]) -> Vec<(String, Vec<u8>)> {
    let key = std::fs::read_to_string(home.join("key")).expect("the key file is there");
    let mut vault =
        Vault::open(&home.join("vault"), Some(Custody::File(home.join("key")))).expect("it opens");
    let credential: Credential = vault
        .newest_before(&doppelkey::vault::exchange::rp_id_hash("example.com"), u64::MAX)
        .expect("it reads")
        .expect("the passkey is there");
    let random = credential.cred_random.as_ref().expect("it has hmac-secret");
    let all = [
        ("the PIN", PIN.as_bytes().to_vec()),
        ("the vault's key as text", key.trim().as_bytes().to_vec()),
        ("the passkey's private key", credential.key.as_bytes().to_vec()),
        ("hmac-secret's CredRandom with UV", random.with_uv.to_vec()),
        ("hmac-secret's CredRandom without UV", random.without_uv.to_vec()),
        ("the key of its large blob", credential.large_blob_key.as_ref().expect("it has one").to_vec()),
        ("its credBlob", credential.cred_blob.as_ref().expect("it has one").to_vec()),
        ("the output of PRF", prf.to_vec()),
    ];
    all.map(|(what, secret)| (what.to_owned(), secret)).into()
}

/// As bytes of text, in hexadecimal, and in both base64s.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![hexadecimal, BASE64_STANDARD.encode(secret), BASE64_URL_SAFE_NO_PAD.encode(secret)];
    all.extend(String::from_utf8(secret.to_vec()).ok());
    all
}

/// A running authenticator that says everything it can say.
struct Run {
    child: Child,
    ready: Value,
    socket: PathBuf,
    folder: PathBuf,
    /// What the control port tells, until it ends.
    events: Option<JoinHandle<String>>,
}

impl Run {
    fn start(home: &Path) -> Self {
        let file = |name: &str| File::create(home.join(name)).expect("there is room");
        let socket = home.join("socket");
        let mut command = Command::new(end_to_end::doppelkey());
        command.args(["--verbose", "run", "--json", "--user", "auto", "--usbip", "off", "--vault"]);
        command.arg(home.join("vault")).arg("--custody").arg(format!("file:{}", home.join("key").display()));
        command.arg("--packets").arg(format!("unix:{}", socket.display()));
        let mut child =
            command.stdout(Stdio::piped()).stderr(file("errors")).spawn().expect("doppelkey runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        let ready = serde_json::from_str(&line).expect("it gets ready");
        let mut run = Run { child, ready, socket, folder: home.to_owned(), events: None };
        run.follow_events();
        run
    }

    /// Has the events of the control port kept.
    fn follow_events(&mut self) {
        let text = |name: &str| self.ready[name].as_str().expect("it is in the ready line").to_owned();
        let (url, token) = (format!("{}/v1/events", text("control")), text("token"));
        let response = ureq::get(url).header("authorization", format!("Bearer {token}")).call();
        let mut stream = response.expect("events can be followed").into_body().into_reader();
        self.events = Some(std::thread::spawn(move || {
            let mut events = Vec::new();
            // It ends when the process does, in whichever way.
            let _ = stream.read_to_end(&mut events);
            String::from_utf8_lossy(&events).into_owned()
        }));
    }

    fn client(&self) -> Client {
        let door = packets::Address::Unix(self.socket.clone());
        let connection = packets::client::connect(&door).expect("the door is open");
        let client = Client::new(connection, system_clock(), SeededRng::new(7)).expect("it answers");
        client.with_dialogs(KnownPin::new(PIN))
    }

    /// Ends it, as Ctrl-C does; everything that it said: the ready line, the log, and the events, in which a request was
    /// answered.
    fn end(&mut self) -> String {
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(told.is_ok_and(|told| told.success()), "kill runs");
        self.child.wait().expect("it ends");
        let log = std::fs::read_to_string(self.folder.join("errors")).expect("the log is there");
        let events = self.events.take().expect("they were followed").join().expect("the thread ended");
        assert!(events.contains("responded"), "the events were read: {events}");
        [self.ready.to_string(), log, events].concat()
    }
}

fn sign_up_and_in(run: &Run) -> Vec<u8> {
    let options = json!({
        "rp": {"id": "example.com", "name": "Example"},
        "user": {"id": "AQ", "name": "alice", "displayName": "Alice"},
        "challenge": "AAAA",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
        "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        "extensions": {"prf": {}, "largeBlob": {"support": "required"}, "credBlob": CRED_BLOB},
    });
    let mut client = run.client();
    client.set_pin(PIN).expect("a new authenticator has no PIN");
    client.create("https://example.com", &options).expect("a right request succeeds");
    drop(client);
    sign_in(run)
}

fn sign_in(run: &Run) -> Vec<u8> {
    let options = json!({
        "challenge": "AAAA", "rpId": "example.com", "userVerification": "required",
        "extensions": {"prf": {"eval": {"first": "c2FsdA"}}},
    });
    let response = run.client().get("https://example.com", &options).expect("a right request succeeds");
    let prf = response["clientExtensionResults"]["prf"]["results"]["first"].as_str().expect("it has PRF");
    BASE64_URL_SAFE_NO_PAD.decode(prf).expect("it is base64url")
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let home = tempfile::tempdir().expect("there is a place for temporary files");
    let crash = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"]).args(arguments);
        let mut child = shell.current_dir(home.path()).stdout(Stdio::piped()).spawn().expect("sh runs");
        if arguments.len() > 2 {
            let mut line = String::new();
            let output = child.stdout.take().expect("it is piped");
            BufReader::new(output).read_line(&mut line).expect("its output is text");
            let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).expect("it runs");
            let core =
                limits.lines().find(|line| line.starts_with("Max core file size")).expect("it is listed");
            assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        }
        // Not SIGSEGV: Rust's own handler lets it pass once if there was no fault.
        let told = Command::new("kill").args(["-ABRT", &child.id().to_string()]).status();
        assert!(told.is_ok_and(|told| told.success()), "kill runs");
        let status = child.wait().expect("it ends");
        assert_eq!(status.signal(), Some(6), "it crashed");
        status.core_dumped()
    };
    let doppelkey = end_to_end::doppelkey().display().to_string();
    assert!(!crash(&[&doppelkey, "run", "--ephemeral", "--json", "--user", "auto", "--usbip", "off"]));
    // Whether others leave one depends on the system: where they do, the line above says something.
    println!("a program that does nothing about it leaves a dump: {}", crash(&["sleep", "60"]));
}

#[test]
fn what_the_programs_keep_is_for_their_user_alone() {
    let home = tempfile::tempdir().expect("there is a place for temporary files");
    let path = |name: &str| home.path().join(name).display().to_string();
    let (vault, custody) = (path("vault"), format!("file:{}", path("key")));
    let (socket, extensions) = (format!("unix:{}", path("socket")), path("browser"));
    let (accounts, entries) =
        (format!("sqlite:{}", path("accounts.db")), format!("sqlite:{}", path("relay.db")));
    let _run = end_to_end::Server::start(&[
        "run",
        "--vault",
        &vault,
        "--custody",
        &custody,
        "--user",
        "auto",
        "--usbip",
        "off",
        "--packets",
        &socket,
        "--bridge",
        "127.0.0.1:0",
        "--extensions",
        &extensions,
    ]);
    let _party = end_to_end::Server::start(&["relying-party", "--listen", "127.0.0.1:0", "--db", &accounts]);
    let _relay = end_to_end::Server::start(&["relay", "--listen", "127.0.0.1:0", "--db", &entries]);
    let mut folders = vec![home.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("it lists") {
            let entry = entry.expect("it lists");
            let metadata = entry.metadata().expect("it has a mode");
            if metadata.is_dir() {
                folders.push(entry.path());
            }
            let (mode, at) = (metadata.permissions().mode() & 0o777, entry.path());
            // The extensions' code is no secret; the file with the token is.
            let is_public = at.starts_with(home.path().join("browser")) && !contains_token(&at);
            assert!(is_public || mode & 0o077 == 0, "{} has mode {mode:o}", at.display());
            files += 1;
        }
    }
    assert!(files > 6, "only {files} files were made");
}

/// What a panic, an assertion or a log of a program that uses our libraries could print.
#[test]
fn no_secret_is_in_what_is_printed_for_developers() {
    let secret = "Zebra-8462-Quokka";
    let bytes = secret.as_bytes();
    let mut credential = Credential::new(
        [1; 32],
        doppelkey_core::PrivateKey::from_bytes(doppelkey_core::Algorithm::Es256, &[0x5A; 32]).expect("a key"),
    );
    credential.cred_random = Some(doppelkey_core::CredRandom { with_uv: [0x5A; 32], without_uv: [0x5A; 32] });
    credential.large_blob_key = Some([0x5A; 32].into());
    credential.cred_blob = bytes.try_into().ok().map(doppelkey_core::CredBlob::new);
    let put = doppelkey_sync::Op::Put {
        record: doppelkey_sync::RecordId([1; 16]),
        account: doppelkey_sync::AccountId([2; 8]),
        core: vec![0x5A; 64],
        registers: vec![(1, bytes.to_vec())],
        shadows: Vec::new(),
    };
    let register = doppelkey_sync::Op::Set {
        record: doppelkey_sync::RecordId([1; 16]),
        number: 1,
        value: bytes.to_vec(),
        by_user: true,
    };
    let config = doppelkey_relying_party::Config {
        admin_token: secret.into(),
        database: format!("postgres://user:{secret}@localhost/accounts"),
        mail: doppelkey_relying_party::Mail::Smtp {
            url: format!("smtp://user:{secret}@localhost"),
            from: "a@example.org".into(),
        },
        ..doppelkey_relying_party::Config::localhost(8080)
    };
    let relay = doppelkey_sync::relay::RelayUrl::new("https://relay.example.org", secret);
    let token = doppelkey::control::Token::random().expect("the system has randomness");
    let printed = format!("{credential:?} {put:?} {register:?} {config:?} {relay:?} {token:?}");
    // A byte of a key or a secret as Rust prints lists of bytes, and the same of the text.
    let as_list = format!("{bytes:?}");
    for told in [secret, "90, 90, 90", "5a5a5a", as_list.trim_matches(['[', ']']), token.as_str()] {
        assert!(!printed.contains(told), "{told} is in {printed}");
    }
    assert!(printed.contains("relay.example.org") && printed.contains("64 bytes"), "{printed}");
}

fn contains_token(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').any(|word| word.len() == 43)
}
