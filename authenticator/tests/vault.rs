//! The vault from outside: killed processes, a second process, real keyrings, and what a user is told.
//!
//! The ignored tests are the other process of the tests before them.
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use doppelkey::vault::{Custody, CustodyKind, Notice, Vault, VaultError};
use doppelkey_core::{Algorithm, Credential, CredentialStore as _, PrivateKey, User};
use zeroize::Zeroizing;

#[test]
fn a_killed_process_loses_nothing_that_it_answered() {
    let (_folder, path) = folder();
    let mut answered = 0_u32;
    // Each round is killed at another moment: after so many answers, while the next write is under way.
    for round in 0..12 {
        let mut writer = other_process("writes_without_end");
        let mut writer = writer.env("VAULT", &path).stdout(Stdio::piped()).spawn().expect("it runs");
        let lines = BufReader::new(writer.stdout.take().expect("it was piped")).lines();
        let numbers = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("answered ")?.parse::<u32>().ok());
        let last = numbers.take(3 + round).last().expect("it answers");
        if round == 0 {
            let refused = Vault::open(&path, None).expect_err("it is in use");
            assert!(matches!(refused, VaultError::InUse { .. }), "{refused}");
        }
        writer.kill().expect("it can be killed");
        writer.wait().expect("it ends");
        answered = answered.max(last);
        let mut vault = Vault::open(&path, None).expect("a kill is no damage");
        for number in 0..=answered {
            let found = vault.get(&number.to_le_bytes()).expect("it reads");
            assert!(found.is_some(), "round {round}: {number} was answered and is gone");
        }
        answered = vault.len().expect("it counts") - 1;
    }
}

#[test]
#[ignore = "the other process of the test above"]
fn writes_without_end() {
    let Some(path) = std::env::var_os("VAULT") else { return };
    let key = Path::new(&path).with_extension("key");
    let mut vault = Vault::open(Path::new(&path), Some(Custody::File(key))).expect("it opens");
    for number in vault.len().expect("it counts").. {
        vault.put(&credential(number), None).expect("there is room");
        // In front, the test runner's own words: a line of its own for each answer.
        println!("\nanswered {number}");
        std::io::stdout().flush().expect("the parent reads");
    }
}

#[test]
fn a_vault_is_readable_by_its_owner_only() {
    let (folder, path) = folder();
    drop(Vault::open(&path, Some(key_file(&folder))).expect("it is made"));
    for file in std::fs::read_dir(folder.path()).expect("it lists") {
        let file = file.expect("it lists");
        let mode = file.metadata().expect("it has a mode").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

#[test]
fn a_link_to_a_vault_stays_a_link() {
    let (folder, path) = folder();
    drop(Vault::open(&path, Some(key_file(&folder))).expect("it is made"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("links work here");
    let mut vault = Vault::open(&link, None).expect("it opens");
    vault.reset().expect("it can be rewritten");
    drop(vault);
    assert!(link.is_symlink());
}

/// A vault on a disk that is not mounted just now: a new, empty one in the link's place would hide it for good.
#[test]
fn a_link_that_leads_nowhere_is_refused_and_left() {
    let (folder, path) = folder();
    let target = folder.path().join("unmounted/vault");
    std::os::unix::fs::symlink(&target, &path).expect("links work here");
    let refused = Vault::open(&path, Some(key_file(&folder))).expect_err("there is nothing to open");
    let VaultError::LinkToNothing { target: named, .. } = &refused else { panic!("{refused}") };
    assert_eq!(named, &target);
    assert_eq!(std::fs::read_link(&path).expect("it is left"), target);
    let left = std::fs::read_dir(folder.path()).expect("it lists").count();
    assert_eq!(left, 1, "nothing was made beside it");
}

/// The lock beside the vault has the vault's name; two processes that name one file otherwise would both write to it.
#[test]
fn a_vault_that_is_open_is_in_use_under_all_its_names() {
    let (folder, path) = folder();
    drop(Vault::open(&path, Some(key_file(&folder))).expect("a vault is made"));
    let (linked, symbolic) = (folder.path().join("hard"), folder.path().join("symbolic"));
    std::fs::hard_link(&path, &linked).expect("a link can be made");
    std::os::unix::fs::symlink(&path, &symbolic).expect("a link can be made");
    let mut vault = Vault::open(&path, None).expect("nobody has it open");
    vault.put(&credential(1), None).expect("there is room");
    for name in [&path, &linked, &symbolic] {
        let refused = Vault::open(name, None).expect_err("it is open");
        assert!(matches!(refused, VaultError::InUse { .. }), "{}: {refused}", name.display());
    }
    drop(vault);
    let mut under_its_other_name = Vault::open(&linked, None).expect("nobody has it open any more");
    assert_eq!(under_its_other_name.len(), Ok(1));
    assert!(matches!(Vault::open(&path, None), Err(VaultError::InUse { .. })));
}

/// An older copy put back, or the file moved away, while the program runs: what is answered from then on would be in a file
/// without a name.
#[test]
fn a_vault_that_is_replaced_or_removed_while_it_is_open_takes_nothing_more_and_loses_nothing() {
    let (folder, path) = folder();
    let backup = folder.path().join("backup");
    let mut vault = Vault::open(&path, Some(key_file(&folder))).expect("a vault is made");
    std::fs::copy(&path, &backup).expect("it can be copied");
    vault.put(&credential(1), None).expect("there is room");
    let aside = folder.path().join("aside");
    for replaced in [true, false] {
        std::fs::rename(&path, &aside).expect("it can be moved");
        if replaced {
            std::fs::copy(&backup, &path).expect("it can be copied");
        }
        assert!(vault.put(&credential(2), None).is_err(), "replaced: {replaced}");
        assert!(vault.reset().is_err(), "replaced: {replaced}");
        assert!(vault.get(&1_u32.to_le_bytes()).is_ok_and(|found| found.is_some()), "what is there signs");
        if replaced {
            assert_eq!(
                std::fs::read(&path).ok(),
                std::fs::read(&backup).ok(),
                "what was put there is left alone"
            );
        }
        std::fs::rename(&aside, &path).expect("it can be moved back");
        vault.put(&credential(3), None).expect("it is in its place again");
    }
    drop(vault);
    let mut vault = Vault::open(&path, None).expect("it opens");
    for (number, is_there) in [(1_u32, true), (2, false), (3, true)] {
        assert_eq!(vault.get(&number.to_le_bytes()).map(|found| found.is_some()), Ok(is_there), "{number}");
    }
}

#[test]
fn a_key_file_opens_the_vault_also_after_it_was_moved() {
    let (folder, path) = folder();
    let mut vault = Vault::open(&path, Some(key_file(&folder))).expect("it is made");
    assert_eq!((vault.custody(), vault.notices()), (CustodyKind::File, &[Notice::Created][..]));
    vault.put(&credential(1), None).expect("there is room");
    drop(vault);
    assert_eq!(Vault::open(&path, None).expect("the header knows the file").len(), Ok(1));
    let moved = folder.path().join("moved");
    std::fs::rename(folder.path().join("key"), &moved).expect("it moves");
    told(
        Vault::open(&path, None),
        &folder,
        "error: the key file has no key for the vault FOLDER/vault\n\
         hint: put the key file back, or say where it is with --custody file:PATH",
    );
    assert_eq!(Vault::open(&path, Some(Custody::File(moved.clone()))).expect("it is there").len(), Ok(1));
    std::fs::set_permissions(&moved, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
    told(
        Vault::open(&path, Some(Custody::File(moved.clone()))),
        &folder,
        "error: the key file FOLDER/moved can be read by others (mode 644)\nhint: run `chmod 600 FOLDER/moved`",
    );
    std::fs::set_permissions(&moved, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    std::fs::write(&moved, "not a key\n").expect("it writes");
    told(
        Vault::open(&path, Some(Custody::File(moved))),
        &folder,
        "error: FOLDER/moved does not hold a vault's key\nhint: name the key file that was made with this vault",
    );
}

#[test]
fn a_passphrase_opens_the_vault_and_another_does_not() {
    let (folder, path) = folder();
    let phrase = |text: &str| Some(Custody::Passphrase(Some(Zeroizing::new(text.into()))));
    let mut vault = Vault::open(&path, phrase("correct horse")).expect("it is made");
    vault.put(&credential(1), None).expect("there is room");
    drop(vault);
    assert_eq!(Vault::open(&path, phrase("correct horse")).expect("it opens").len(), Ok(1));
    told(
        Vault::open(&path, phrase("battery staple")),
        &folder,
        "error: the key from the passphrase does not open the vault FOLDER/vault\n\
         hint: try again with the right passphrase",
    );
    told(
        Vault::open(&path, phrase("")),
        &folder,
        "error: the passphrase is empty\nhint: give a passphrase of at least one character",
    );
    told(
        Vault::open(&path, Some(key_file(&folder))),
        &folder,
        "error: the key of the vault FOLDER/vault is kept in the passphrase, not in the key file\n\
         hint: leave --custody out, or say --custody passphrase",
    );
}

#[test]
fn what_keeps_a_vault_from_opening_is_told_with_what_to_do() {
    let (folder, path) = folder();
    told(
        Vault::open(&folder.path().join("missing/vault"), Some(key_file(&folder))),
        &folder,
        "error: the vault's directory FOLDER/missing does not exist\n\
         hint: create it with `mkdir -p -m 700 FOLDER/missing`, or name another file with --vault",
    );
    let held = Vault::open(&path, Some(key_file(&folder))).expect("it is made");
    told(
        Vault::open(&path, None),
        &folder,
        "error: another process is using the vault FOLDER/vault\n\
         hint: stop the other doppelkey first, or name another file with --vault",
    );
    drop(held);
    let whole = std::fs::read(&path).expect("it reads");
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&path, &damaged).expect("it writes");
    let start = usize::from(u16::from_le_bytes([whole[10], whole[11]]));
    told(
        Vault::open(&path, None),
        &folder,
        &format!(
            "error: the vault FOLDER/vault is corrupt at byte {start}: this record was changed\n\
             hint: the file was left alone; restore FOLDER/vault from a backup, or move it away to start anew"
        ),
    );
    assert_eq!(std::fs::read(&path).expect("it reads"), damaged);
    std::fs::write(&path, "a letter to a friend").expect("it writes");
    told(
        Vault::open(&path, None),
        &folder,
        "error: FOLDER/vault is not a vault\nhint: name a vault, or a file that does not exist yet, with --vault",
    );
}

#[test]
fn a_secret_service_keeps_the_key_and_says_when_it_is_locked() {
    if !["dbus-run-session", "gnome-keyring-daemon", "dbus-send"].iter().all(|name| has_program(name)) {
        return skipped("dbus and gnome-keyring");
    }
    let (folder, _) = folder();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).expect("it is made");
    std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let script =
        r#"printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null && exec "$@""#;
    let mut session = Command::new("dbus-run-session");
    session.args(["--", "sh", "-c", script, "sh"]).arg(std::env::current_exe().expect("it runs"));
    session.args(["with_a_secret_service", "--exact", "--ignored", "--nocapture"]);
    session.env("HOME", folder.path()).env("XDG_RUNTIME_DIR", &run).env("FOLDER", folder.path());
    session.env_remove("XDG_DATA_HOME");
    assert!(succeeded(session).contains("1 passed"), "the other process ran its test");
}

#[test]
#[ignore = "the other process of the test above"]
fn with_a_secret_service() {
    let Some(folder) = std::env::var_os("FOLDER").map(PathBuf::from) else { return };
    let path = folder.join("vault");
    let mut vault = Vault::open(&path, None).expect("the first rung of the ladder is the keyring");
    assert_eq!((vault.custody(), vault.notices()), (CustodyKind::Keyring, &[Notice::Created][..]));
    vault.put(&credential(1), None).expect("there is room");
    drop(vault);
    let mut vault = Vault::open(&path, Some(Custody::Keyring)).expect("the keyring has its key");
    assert_eq!((vault.len(), vault.notices()), (Ok(1), &[][..]));
    drop(vault);
    drop(Vault::open(&folder.join("other"), None).expect("another vault has another key"));
    drop(Vault::open(&path, None).expect("and the first one keeps its own"));

    let mut open = Vault::open(&folder.join("open"), Some(Custody::Keyring)).expect("it is made");
    secret_service("Lock", &["array:objpath:/org/freedesktop/secrets/collection/login"]);
    // Who is at work goes on: the key was asked for once.
    open.put(&credential(1), None).expect("there is room");
    open.reset().expect("it can be rewritten");
    drop(open);
    let locked = Vault::open(&folder.join("open"), None).expect_err("the keyring is locked");
    assert!(matches!(locked, VaultError::KeyringLocked { .. }), "{locked:?}");
    let locked = Vault::open(&path, None).expect_err("the keyring is locked");
    assert!(matches!(locked, VaultError::KeyringLocked { .. }), "{locked:?}");
    assert!(locked.hint().starts_with("unlock the keyring"), "{}", locked.hint());
    let locked = Vault::open(&folder.join("new"), Some(Custody::Keyring)).expect_err("the keyring is locked");
    assert!(matches!(locked, VaultError::KeyringLocked { .. }), "{locked:?}");
    assert!(!folder.join("new").exists(), "no vault without a key");
}

#[test]
fn without_a_keyring_the_ladder_goes_on_and_says_so() {
    if !has_program("keyctl") {
        return skipped("keyutils");
    }
    // Containers may forbid it.
    let mut session = Command::new("keyctl");
    if !session.args(["session", "-", "true"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("a kernel that lets this process have a keyring");
    }
    let (folder, path) = folder();
    for test in ["with_the_kernel_only", "with_the_kernel_after_a_log_out"] {
        let mut session = Command::new("keyctl");
        session.args(["session", "-"]).arg(std::env::current_exe().expect("it runs"));
        session.args([test, "--exact", "--ignored", "--nocapture"]);
        session.env("FOLDER", folder.path()).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
        assert!(succeeded(session).contains("1 passed"), "the other process ran its test");
    }
    let mut shell = Command::new("keyctl");
    shell.args(["session", "-", "sh"]);
    kernel_forgets(&path, shell);
    let gone = Vault::open(&path, None).expect_err("no vault without its key");
    assert!(matches!(gone, VaultError::KeyGone { custody: CustodyKind::Keyutils, .. }), "{gone:?}");
    let hint = gone.hint();
    assert!(
        hint.starts_with(&format!("the kernel forgets keys after a reboot, or {}", time_of_a_key())),
        "{hint}"
    );
}

/// What the kernel says of persistent keyrings.
fn time_of_a_key() -> String {
    let seconds =
        std::fs::read_to_string("/proc/sys/kernel/keys/persistent_keyring_expiry").expect("it has them");
    let seconds: u64 = seconds.trim().parse().expect("it is a number");
    assert!(seconds >= 48 * 60 * 60, "on this machine keys last {seconds} s: this test expects days");
    format!("{} days after the vault was last open", seconds / (24 * 60 * 60))
}

/// What comes to pass by itself when the time of the persistent keyring is over: the key of this vault is gone from it,
/// and from the session of this shell.
fn kernel_forgets(vault: &Path, mut shell: Command) {
    let whole = std::fs::read(vault).expect("it reads");
    let id: String = whole[12..28].iter().map(|byte| format!("{byte:02x}")).collect();
    let script = format!("keyctl get_persistent @s && keyctl purge user keyring:{id}@doppelkey");
    shell.args(["-c", &script]);
    succeeded(shell);
}

#[test]
#[ignore = "the other process of the test above"]
fn with_the_kernel_only() {
    let Some(folder) = std::env::var_os("FOLDER").map(PathBuf::from) else { return };
    let path = folder.join("vault");
    let refused = Vault::open(&path, Some(Custody::Keyring)).expect_err("there is no keyring");
    assert!(matches!(refused, VaultError::KeyringMissing { .. }), "{refused:?}");
    let mut vault = Vault::open(&path, None).expect("the second rung of the ladder is the kernel");
    assert_eq!(vault.custody(), CustodyKind::Keyutils);
    let notices = vault.notices();
    let in_kernel = notices.iter().find(|notice| matches!(notice, Notice::KeyInKernel { .. }));
    let told = in_kernel.expect("it is told").to_string();
    assert!(told.contains(&format!("after a reboot, or {}", time_of_a_key())), "{told}");
    assert!(notices.iter().any(|notice| matches!(notice, Notice::KeyringUnavailable { .. })), "{notices:?}");
    vault.put(&credential(1), None).expect("there is room");
    drop(vault);
    let mut vault = Vault::open(&path, None).expect("the kernel has its key");
    assert_eq!((vault.len(), vault.notices().len()), (Ok(1), 1));
    assert!(matches!(vault.notices(), [Notice::KeyInKernel { .. }]), "{:?}", vault.notices());
    // As of a program that ran for longer than the kernel keeps keys: it puts it there again when it ends.
    kernel_forgets(&path, Command::new("sh"));
    drop(vault);
    assert_eq!(Vault::open(&path, None).expect("the kernel has its key again").len(), Ok(1));
}

#[test]
#[ignore = "the other process of the test above"]
fn with_the_kernel_after_a_log_out() {
    let Some(folder) = std::env::var_os("FOLDER").map(PathBuf::from) else { return };
    assert_eq!(Vault::open(&folder.join("vault"), None).expect("another session has it, too").len(), Ok(1));
}

#[test]
fn no_custody_at_all_names_what_can_be_chosen() {
    let error = VaultError::NoCustody { keyring: "no D-Bus".into(), keyutils: "not permitted".into() };
    assert_eq!(
        format!("error: {error}\nhint: {}", error.hint()),
        "error: there is nowhere to keep the vault's key: no D-Bus; not permitted\n\
         hint: choose where to keep the key: --custody file:PATH or --custody passphrase, or keep nothing with --ephemeral"
    );
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let vault = folder.path().join("vault");
    (folder, vault)
}

fn key_file(folder: &tempfile::TempDir) -> Custody {
    Custody::File(folder.path().join("key"))
}

/// The opening failed, and this is what the user reads.
fn told(opened: Result<Vault, VaultError>, folder: &tempfile::TempDir, expected: &str) {
    let error = opened.expect_err("it cannot be opened");
    let text = format!("error: {error}\nhint: {}", error.hint());
    assert_eq!(text.replace(folder.path().to_str().expect("it is UTF-8"), "FOLDER"), expected);
}

fn other_process(test: &str) -> Command {
    let mut process = Command::new(std::env::current_exe().expect("it runs"));
    process.args([test, "--exact", "--ignored", "--nocapture"]);
    process
}

fn secret_service(method: &str, arguments: &[&str]) {
    let mut call = Command::new("dbus-send");
    call.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
    call.arg(format!("org.freedesktop.Secret.Service.{method}")).args(arguments);
    succeeded(call);
}

fn succeeded(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Says that this test did not run, and why; CI, which installs everything, fails on that line.
fn skipped(needs: &str) {
    // Not `println!`: the test runner would keep it to itself.
    let _ = writeln!(std::io::stdout(), "skipped: needs {needs}");
}

fn credential(number: u32) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&number.to_le_bytes()).expect("four bytes fit"),
        rp_id: heapless::String::try_from("example.test").expect("it fits"),
        user: User {
            id: heapless::Vec::from_slice(&number.to_le_bytes()).expect("it fits"),
            ..User::default()
        },
        backup_eligible: true,
        ..Credential::new(
            [1; 32],
            PrivateKey::from_bytes(Algorithm::Es256, &[7; 32]).expect("a small scalar is a key"),
        )
    }
}
