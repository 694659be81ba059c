//! A full disk, a read-only one, a permission that is lost, a clock that is set back, while the programs run: nothing
//! that was answered is lost, whoever runs them reads why and what next, and they go on when it is over.
#![cfg(target_os = "linux")]

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use doppelkey::client::Client;
use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{CircleId, Mailbox as _, Name};
use end_to_end::soak::{Home, Site, Steps, create, sign};
use end_to_end::starved::{Program, SetClock, SmallDisk, as_nobody, doppelkey, is_plain, is_root};
use end_to_end::{has_program, skipped};
use serde_json::Value;
use tempfile::TempDir;

const NEEDS_ROOT: &str = "root and mount, for a disk that is full";

#[test]
fn on_a_full_disk_a_vault_refuses_new_passkeys_keeps_the_old_and_goes_on_with_room() {
    for in_a_circle in [false, true] {
        let Some(disk) = SmallDisk::mount(512) else { return skipped(NEEDS_ROOT) };
        let home = Vault::new(&disk.path(""), in_a_circle);
        let program = home.start();
        let mut made: Vec<_> = (0..3).map(|user| home.create(user).expect("there is room")).collect();
        disk.fill();
        // What fits into the last block of its file is kept.
        let refused = loop {
            match home.create(made.len()) {
                Ok(id) => made.push(id),
                Err(error) => break error,
            }
            assert!(made.len() < 100, "a full disk takes them all");
        };
        assert!(made.len() < 50, "refused after {}: {refused}", made.len());
        home.sign(&made[0]).expect("the first one signs");
        program.says(&["the vault", "cannot be written", "make room"]);
        disk.make_room();
        made.push(home.create(made.len()).expect("there is room again"));
        drop(program);
        let program = home.start();
        for id in &made {
            home.sign(id).expect("what was answered is there");
        }
        let said = program.stop();
        assert!(!said.contains("error: "), "it is as if nothing had been: {said}");
        if in_a_circle {
            assert_eq!(home.shared(), made.len(), "its circle knows them all");
        }
    }
}

#[test]
fn a_vault_on_a_full_disk_opens_and_signs() {
    for in_a_circle in [false, true] {
        let Some(disk) = SmallDisk::mount(512) else { return skipped(NEEDS_ROOT) };
        let home = Vault::new(&disk.path(""), in_a_circle);
        let program = home.start();
        home.create(0).expect("there is room");
        // The second one of a user leaves the first behind in the file, which an opening with room would rewrite.
        let passkey = home.create(0).expect("there is room");
        drop(program);
        disk.fill();
        let program = home.start();
        home.sign(&passkey).unwrap_or_else(|error| panic!("in a circle: {in_a_circle}: {error}"));
        let said = program.said();
        assert!(said.contains("make room"), "in a circle: {in_a_circle}: {said}");
        disk.make_room();
        let later = home.create(1).unwrap_or_else(|error| panic!("there is room again: {error}"));
        drop(program);
        let _program = home.start();
        for id in [&passkey, &later] {
            home.sign(id).unwrap_or_else(|error| panic!("in a circle: {in_a_circle}: {error}"));
        }
    }
}

#[test]
fn on_a_full_disk_a_relying_party_signs_nobody_up_keeps_its_users_and_goes_on_with_room() {
    let Some(disk) = SmallDisk::mount(2048) else { return skipped(NEEDS_ROOT) };
    let party = Party::new(&disk.path("accounts.db"));
    let program = party.start(None);
    let mut client = Client::ephemeral();
    let mut users: Vec<_> = (0..3).map(|user| format!("user-{user}@example.org")).collect();
    for email in &users {
        assert!(party.visit(&program).sign_up(&mut client, email), "there is room");
    }
    disk.fill();
    let refused = (3..200).find(|user| {
        let email = format!("user-{user}@example.org");
        let done = party.visit(&program).sign_up(&mut client, &email);
        if done {
            users.push(email);
        }
        !done
    });
    assert!(refused.is_some(), "a full disk takes them all");
    program.says(&["full", "make room"]);
    disk.make_room();
    users.push("late@example.org".into());
    assert!(party.visit(&program).sign_up(&mut client, "late@example.org"), "there is room again");
    drop(program);
    let program = party.start(None);
    for email in &users {
        assert!(party.visit(&program).log_in(&mut client, email), "{email} was signed up");
    }
}

#[test]
fn on_a_full_disk_a_relay_takes_no_entry_keeps_the_old_and_goes_on_with_room() {
    let Some(disk) = SmallDisk::mount(1024) else { return skipped(NEEDS_ROOT) };
    let relay = Relay { database: format!("sqlite:{}", disk.path("relay.db").display()) };
    let program = relay.start();
    relay.mailbox(&program).open().expect("there is room");
    let mut taken = Vec::new();
    let mut put = |program: &Program, number: u8| {
        let bytes = vec![number; 300];
        relay.mailbox(program).put(Name::of(&bytes), &bytes).map(|()| taken.push(bytes))
    };
    (0..3).for_each(|number| put(&program, number).expect("there is room"));
    disk.fill();
    let refused = (3..200).find_map(|number| put(&program, number).err());
    let refused = refused.expect("a full disk takes them all");
    program.says(&["full", "make room"]);
    disk.make_room();
    put(&program, 200).unwrap_or_else(|error| panic!("there is room again: {error}; before: {refused}"));
    drop(program);
    let program = relay.start();
    for bytes in taken {
        assert!(relay.has(&program, &bytes), "an entry that was taken is not there");
    }
}

#[test]
fn on_a_read_only_disk_nothing_is_taken_and_all_is_there_when_it_is_writable_again() {
    let Some(disk) = SmallDisk::mount(2048) else { return skipped(NEEDS_ROOT) };
    let home = Vault::new(&disk.path(""), true);
    let program = home.start();
    let passkey = home.create(0).expect("there is room");
    program.stop();
    let party = Party::new(&disk.path("accounts.db"));
    let mut client = Client::ephemeral();
    let program = party.start(None);
    assert!(party.visit(&program).sign_up(&mut client, "mona@example.org"));
    program.stop();
    let relay = Relay { database: format!("sqlite:{}", disk.path("relay.db").display()) };
    let program = relay.start();
    relay.mailbox(&program).open().expect("there is room");
    let put = |program: &Program, bytes: &[u8]| relay.mailbox(program).put(Name::of(bytes), bytes);
    put(&program, b"before").expect("there is room");
    program.stop();

    assert!(disk.remount("ro"), "nothing holds it");
    for command in [home.command(), party.command()] {
        let told = format!("{command:?}");
        let said = Program::start(command).err().unwrap_or_else(|| panic!("{told} starts"));
        assert!(said.contains("exit status: 1") && is_plain(&said), "{told}: {said}");
        let why = ["Read-only", "readonly", "unable to open"];
        assert!(why.iter().any(|words| said.contains(words)), "{told}: {said}");
    }
    // What is left of SQLite's log beside the database decides whether it can be read at all.
    match Program::start(relay.command()) {
        Ok(program) => {
            assert!(relay.has(&program, b"before"));
            put(&program, b"after").expect_err("it cannot be kept");
            program.says(&["readonly", "let this user write"]);
        }
        Err(said) => assert!(said.contains("unable to open") && is_plain(&said), "{said}"),
    }

    assert!(disk.remount("rw"), "it can be written again");
    let _program = home.start();
    home.sign(&passkey).expect("it is there");
    let program = party.start(None);
    assert!(party.visit(&program).log_in(&mut client, "mona@example.org"), "she is there");
    let program = relay.start();
    put(&program, b"after").expect("it can be kept");
    assert!(relay.has(&program, b"before") && relay.has(&program, b"after"));
}

#[test]
fn a_permission_that_is_lost_while_it_runs_refuses_a_reset_and_loses_nothing() {
    if is_root() && !has_program("setpriv") {
        return skipped("setpriv");
    }
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    // The built program may lie where nobody else may go.
    let program_path = folder.path().join("doppelkey");
    std::fs::copy(end_to_end::doppelkey(), &program_path).expect("there is room");
    if is_root() {
        chown(folder.path(), Some(65534), Some(65534)).expect("root may");
    }
    let set_mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(), mode).expect("it is ours");
    };
    let home = Vault::new(folder.path(), false);
    if is_root() {
        chown(home.doors.path(), Some(65534), Some(65534)).expect("root may");
    }
    let start = || Program::start(as_nobody(&program_path, &as_strs(&home.home.arguments())));
    let program = start().unwrap_or_else(|said| panic!("{said}"));
    let mut made = vec![home.create(0).expect("there is room")];
    set_mode(0o500);
    // The open file can still be written; a new one cannot be made.
    made.push(home.create(1).expect("there is room"));
    assert_ne!(reset(&program), 200, "a vault that cannot be rewritten is not reset");
    home.sign(&made[0]).expect("it still signs");
    program.says(&["cannot be written", "let this user write"]);
    program.stop();
    set_mode(0o700);
    let program = start().unwrap_or_else(|said| panic!("{said}"));
    for id in &made {
        home.sign(id).expect("what was answered is there");
    }
    assert_eq!(reset(&program), 200, "now it can be");
    assert!(home.sign(&made[0]).is_err(), "and it was");
}

/// A disk that is made read-only, breaks, is over its quota or is forbidden while files are open on it: what the system
/// says then, said to the programs, which go on by themselves when it is over.
#[test]
fn a_disk_that_refuses_in_mid_run_is_told_and_loses_nothing() {
    for (error, hint) in [
        (EROFS, "let this user write"),
        (EIO, "check the disk"),
        (EDQUOT, "make room"),
        (EPERM, "let this user write"),
    ] {
        let Some(steps) = Steps::new() else { return skipped("cc, a C compiler") };
        let watched = |mut command: std::process::Command| {
            steps.watch(&mut command);
            Program::start(command).unwrap_or_else(|said| panic!("{said}"))
        };
        let home = Vault::new(steps.folder(), true);
        let party = Party::new(&steps.folder().join("accounts.db"));
        let relay = Relay { database: format!("sqlite:{}", steps.folder().join("relay.db").display()) };
        let put = |program: &Program, bytes: &[u8]| relay.mailbox(program).put(Name::of(bytes), bytes);
        let mut client = Client::ephemeral();
        let (vault, site, mailbox) =
            (watched(home.command()), watched(party.command()), watched(relay.command()));
        let first = home.create(0).expect("there is room");
        assert!(party.visit(&site).sign_up(&mut client, "ada@example.org"), "there is room");
        relay.mailbox(&mailbox).open().expect("there is room");
        put(&mailbox, b"first").expect("there is room");

        steps.refuse(error);
        assert!(home.create(1).is_err(), "a passkey that cannot be kept is made");
        home.sign(&first).unwrap_or_else(|error| panic!("what is there signs: {error}"));
        assert!(!party.visit(&site).sign_up(&mut client, "eve@example.org"), "it cannot be kept");
        assert!(put(&mailbox, b"second").is_err(), "it cannot be kept");
        vault.says(&["the vault", hint]);
        for program in [&site, &mailbox] {
            program.says(&[]);
        }

        steps.refuse(0);
        let second = home.create(2).unwrap_or_else(|told| panic!("after {error}: {told}"));
        assert!(party.visit(&site).sign_up(&mut client, "bob@example.org"), "it can be kept again");
        put(&mailbox, b"third").unwrap_or_else(|told| panic!("after {error}: {told}"));
        drop((vault, site, mailbox));
        let (_vault, site, mailbox) = (home.start(), party.start(None), relay.start());
        for id in [first, second] {
            home.sign(&id).unwrap_or_else(|told| panic!("after {error}: {told}"));
        }
        for email in ["ada@example.org", "bob@example.org"] {
            assert!(party.visit(&site).log_in(&mut client, email), "after {error}: {email}");
        }
        assert!(relay.has(&mailbox, b"first") && relay.has(&mailbox, b"third"), "it can be kept again");
    }
}

/// Of Linux (`errno.h`).
const EPERM: i32 = 1;
const EIO: i32 = 5;
const EROFS: i32 = 30;
const EDQUOT: i32 = 122;

#[test]
fn a_clock_that_is_set_back_keeps_nobody_out_and_loses_nothing() {
    let Some(clock) = SetClock::new() else { return skipped("libfaketime") };
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let home = Vault::new(folder.path(), true);
    let party = Party::new(&folder.path().join("accounts.db"));
    let (mut vault, site) = (home.command(), party.start(Some(&clock)));
    clock.tell(&mut vault);
    let authenticator = Program::start(vault).unwrap_or_else(|said| panic!("{said}"));
    let mut client = Client::ephemeral();
    let mut made = Vec::new();
    for (number, offset) in ["+0", "-3h", "+2d", "-400d", "+0"].into_iter().enumerate() {
        clock.set(offset);
        made.push(home.create(number).unwrap_or_else(|error| panic!("at {offset}: {error}")));
        assert!(
            party.visit(&site).sign_up(&mut client, &format!("user-{number}@example.org")),
            "at {offset}"
        );
        for (user, passkey) in made.iter().enumerate() {
            home.sign(passkey).unwrap_or_else(|error| panic!("at {offset}: {error}"));
            let email = format!("user-{user}@example.org");
            assert!(party.visit(&site).log_in(&mut client, &email), "{email} at {offset}");
        }
    }
    assert!(!site.stop().contains("error: "));
    assert!(!authenticator.stop().contains("error: "));
    assert_eq!(home.shared(), made.len(), "its circle knows them all");
}

/// A vault in one folder, with its doors in another.
struct Vault {
    home: Home,
    doors: TempDir,
}

impl Vault {
    fn new(folder: &Path, in_a_circle: bool) -> Self {
        let doors = tempfile::tempdir().expect("there is a place for temporary files");
        let home = Home::with_doors(folder, doors.path());
        if in_a_circle {
            home.init();
        }
        Vault { home, doors }
    }

    fn command(&self) -> std::process::Command {
        doppelkey(&as_strs(&self.home.arguments()))
    }

    fn start(&self) -> Program {
        Program::start(self.command()).unwrap_or_else(|said| panic!("{said}"))
    }

    /// How many passkeys its circle shares.
    fn shared(&self) -> usize {
        self.home.shared().unwrap_or_else(|said| panic!("{said}"))
    }

    /// Makes a passkey for this user; its ID.
    fn create(&self, user: usize) -> Result<Value, doppelkey::client::Error> {
        create(&mut self.home.client().expect("the door is open"), user)
    }

    /// Signs in with this passkey.
    fn sign(&self, id: &Value) -> Result<Value, doppelkey::client::Error> {
        sign(&mut self.home.client().expect("the door is open"), id)
    }
}

/// A relying party with this database, whose visitors may sign up as fast as they like.
struct Party {
    database: String,
    policy: tempfile::NamedTempFile,
}

impl Party {
    fn new(database: &Path) -> Self {
        let policy = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
        std::fs::write(policy.path(), "[limits]\nsignups_per_ip_minute = 100000\n").expect("there is room");
        Party { database: format!("sqlite:{}", database.display()), policy }
    }

    fn command(&self) -> std::process::Command {
        let policy = self.policy.path().display().to_string();
        doppelkey(&["relying-party", "--listen", "127.0.0.1:0", "--db", &self.database, "--policy", &policy])
    }

    fn start(&self, clock: Option<&SetClock>) -> Program {
        let mut command = self.command();
        if let Some(clock) = clock {
            clock.tell(&mut command);
        }
        Program::start(command).unwrap_or_else(|said| panic!("{said}"))
    }

    fn visit(&self, program: &Program) -> Site {
        Site::new(program.text("url"))
    }
}

/// A relay with this database.
struct Relay {
    database: String,
}

impl Relay {
    fn command(&self) -> std::process::Command {
        doppelkey(&["relay", "--listen", "127.0.0.1:0", "--db", &self.database])
    }

    fn start(&self) -> Program {
        Program::start(self.command()).unwrap_or_else(|said| panic!("{said}"))
    }

    fn mailbox(&self, program: &Program) -> RelayClient {
        let url = RelayUrl::new(program.text("url"), "a token of the test");
        RelayClient::new(url, CircleId([7; 16]))
    }

    fn has(&self, program: &Program, bytes: &[u8]) -> bool {
        let found = self.mailbox(program).get(Name::of(bytes)).expect("it answers");
        found.is_some_and(|found| found == bytes)
    }
}

/// Asks the control port to reset the device; the status of its answer.
fn reset(program: &Program) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{}/v1/devices/1/reset", program.text("control")));
    let request = request.header("authorization", format!("Bearer {}", program.text("token")));
    request.send_empty().expect("it answers").status().as_u16()
}

fn as_strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
