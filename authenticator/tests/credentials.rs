//! `doppelkey credentials`, `pin` and `reset`, as a user runs them.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};

use doppelkey::vault::{Custody, Vault};
use doppelkey_core::{Algorithm, Credential, CredentialStore as _, PrivateKey, User};

/// A folder with a vault of three passkeys.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Folder(tempfile::tempdir().expect("there is room for a folder"));
        let mut vault = folder.open("vault");
        for (number, rp_id, name) in
            [(1, "example.com", "mona"), (2, "example.com", "lisa"), (3, "b.test", "mona")]
        {
            vault.put(&credential(number, rp_id, name), None).expect("there is room");
        }
        folder
    }

    fn open(&self, name: &str) -> Vault {
        Vault::open(&self.0.path().join(name), Some(Custody::File(self.0.path().join("key"))))
            .expect("it opens")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs the program on the vault of this name.
    fn run(&self, vault: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
        program.args(arguments).arg("--vault").arg(self.path().join(vault)).current_dir(self.path());
        program.arg("--custody").arg(format!("file:{}", self.path().join("key").display()));
        program.envs(environment.iter().copied()).stdin(std::process::Stdio::null());
        program.output().expect("it runs")
    }

    /// What it prints when it is well.
    fn done(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run("vault", arguments, environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// What it says when it is not: error and hint, with exit status 1.
    fn failed(&self, arguments: &[&str], environment: &[(&str, &str)]) -> String {
        let output = self.run("vault", arguments, environment);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(output.stdout, b"");
        let text = String::from_utf8(output.stderr).expect("it prints text");
        text.replace(self.path().to_str().expect("it is UTF-8"), "FOLDER")
    }
}

const PIN: &[(&str, &str)] = &[("DOPPELKEY_PIN", "1234"), ("DOPPELKEY_NEW_PIN", "1234")];

#[test]
fn passkeys_are_listed_shown_and_deleted() {
    let folder = Folder::new();
    let list = folder.done(&["credentials", "list"], &[]);
    assert_eq!(
        list.lines().collect::<std::collections::BTreeSet<_>>(),
        [
            "AQEBAQEBAQEBAQEB…  example.com  mona",
            "AgICAgICAgICAgIC…  example.com  lisa",
            "AwMDAwMDAwMDAwMD…  b.test  mona"
        ]
        .into()
    );
    let of_one = folder.done(&["credentials", "list", "--json", "--rp-id", "b.test"], &[]);
    let of_one: serde_json::Value = serde_json::from_str(&of_one).expect("it is JSON");
    assert_eq!((of_one.as_array().map(Vec::len), &of_one[0]["user_name"]), (Some(1), &"mona".into()));
    let shown = folder.done(&["credentials", "show", "AgIC"], &[]);
    assert!(shown.contains("relying party    example.com\nuser name        lisa\n"), "{shown}");
    folder.done(&["credentials", "delete", "AgIC", "AwMD"], &[]);
    assert_eq!(folder.done(&["credentials", "list"], &[]), "AQEBAQEBAQEBAQEB…  example.com  mona\n");
    assert_eq!(
        folder.failed(&["credentials", "show", "AgIC"], &[]),
        "error: there is no passkey whose id begins with AgIC\nhint: `doppelkey credentials list` lists them\n"
    );
}

#[test]
fn private_keys_leave_only_when_asked_for_and_with_the_pin() {
    let folder = Folder::new();
    let without = folder.done(&["credentials", "export"], &[]);
    assert!(!without.contains("private_key") && without.contains("example.com"), "{without}");
    assert_eq!(
        folder.failed(&["credentials", "export", "--format", "cxf"], &[]),
        "error: a CXF file is made of private keys\n\
         hint: say --with-keys if they are to leave the vault, or --format json for a list without\n"
    );
    assert_eq!(
        folder.failed(&["credentials", "export", "--with-keys"], PIN),
        "error: you must prove who you are for this, and the vault has no PIN\n\
         hint: set one with `doppelkey pin set`, then try again\n"
    );
    folder.done(&["pin", "set"], PIN);
    assert_eq!(
        folder.failed(&["credentials", "export", "--with-keys"], &[("DOPPELKEY_PIN", "4321")]),
        "error: the PIN is wrong\nhint: try again; after eight wrong PINs only a reset helps\n"
    );
    assert!(folder.done(&["credentials", "export", "--with-keys"], PIN).contains("private_key"));
}

#[test]
fn an_export_is_imported_into_another_vault() {
    let folder = Folder::new();
    folder.done(&["pin", "set"], PIN);
    for (format, file) in [("json", "out.json"), ("cxf", "out.cxf")] {
        folder.done(&["credentials", "export", file, "--with-keys", "--format", format], PIN);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &folder.path().join(file).metadata().expect("it is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "{file}");
        let other = format!("other-{format}");
        let imported = folder.run(&other, &["credentials", "import", file, "--format", format], &[]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let again = folder.run(&other, &["credentials", "import", file, "--format", format], &[]);
        assert!(
            String::from_utf8_lossy(&again.stderr).contains("imported 0, replaced 0, left 3 as they were")
        );
        let mut vault = folder.open(&other);
        assert_eq!(vault.len(), Ok(3));
        let found = vault.get(&[2; 16]).expect("it reads").expect("it is here");
        assert_eq!(found.key, credential(2, "example.com", "lisa").key);
        assert_eq!(found.user.name.as_deref(), Some("lisa"));
    }
    let failed = folder.failed(&["credentials", "import", "out.cxf"], &[]);
    assert!(failed.starts_with("error: cannot import out.cxf: "), "{failed}");
    let hint = "hint: if it is another manager's export, say --format cxf, bitwarden or keepassxc\n";
    assert!(failed.ends_with(hint), "{failed}");
}

#[test]
#[cfg(target_os = "linux")]
fn an_export_into_a_full_disk_fails_and_says_so() {
    let folder = Folder::new();
    folder.done(&["pin", "set"], PIN);
    for arguments in [&["credentials", "export", "--with-keys"][..], &["credentials", "list"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
        program.args(arguments).arg("--vault").arg(folder.path().join("vault"));
        program.arg("--custody").arg(format!("file:{}", folder.path().join("key").display()));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has one");
        let output = program.envs(PIN.iter().copied()).stdout(full).output().expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && errors.contains("did not arrive whole"), "{errors}");
    }
}

#[test]
fn importing_what_the_circle_deleted_is_refused_by_name() {
    let folder = Folder::new();
    let eligible = Credential { backup_eligible: true, ..credential(4, "c.test", "lisa") };
    folder.open("vault").put(&eligible, None).expect("there is room");
    folder.done(&["pin", "set"], PIN);
    let mailbox = format!("folder:{}", folder.path().join("mailbox").display());
    folder.done(&["sync", "init", "--mailbox", &mailbox], &[]);
    folder.done(&["credentials", "export", "out.json", "--with-keys", "--rp-id", "c.test"], PIN);
    folder.done(&["credentials", "import", "out.json"], &[]);
    folder.open("vault").remove(&eligible.id).expect("it goes");
    folder.done(&["sync", "status"], &[]);
    let failed = folder.failed(&["credentials", "import", "out.json"], &[]);
    assert!(
        failed.contains("deleted on the devices of this circle") && failed.contains("c.test"),
        "{failed}"
    );
    folder.done(&["sync", "leave", "--yes"], &[]);
    folder.done(&["credentials", "import", "out.json"], &[]);
}

#[test]
fn the_pin_is_set_changed_and_removed() {
    let folder = Folder::new();
    folder.done(&["pin", "set"], PIN);
    assert_eq!(
        folder.failed(&["pin", "set"], PIN),
        "error: this vault has a PIN already\nhint: change it with `doppelkey pin change`\n"
    );
    folder.done(&["pin", "change"], &[("DOPPELKEY_PIN", "1234"), ("DOPPELKEY_NEW_PIN", "öäü€")]);
    assert_eq!(
        folder.failed(&["pin", "remove"], PIN),
        "error: the PIN is wrong\nhint: try again; after eight wrong PINs only a reset helps\n"
    );
    folder.done(&["pin", "remove"], &[("DOPPELKEY_PIN", "öäü€")]);
    assert_eq!(
        folder.failed(&["pin", "change"], PIN),
        "error: this vault has no PIN\nhint: set one with `doppelkey pin set`\n"
    );
    assert_eq!(folder.open("vault").len(), Ok(3), "the passkeys stayed");
}

#[test]
fn an_empty_id_names_no_passkey() {
    let folder = Folder::new();
    for (command, id) in [("delete", ""), ("delete", "…"), ("show", ""), ("show", "…")] {
        let said = folder.failed(&["credentials", command, id], &[]);
        assert!(said.starts_with("error: an empty id names no passkey\nhint: "), "{said}");
    }
    let listed: serde_json::Value =
        serde_json::from_str(&folder.done(&["credentials", "list", "--json"], &[])).unwrap();
    // Enough to tell it from the others is still too little to delete it by.
    let id = listed[0]["id"].as_str().unwrap();
    for length in 1..4 {
        folder.failed(&["credentials", "delete", &id[..length]], &[]);
    }
    assert_eq!(folder.open("vault").len(), Ok(3));
}

#[test]
fn a_reset_forgets_everything_after_a_confirmation() {
    let folder = Folder::new();
    folder.done(&["pin", "set"], PIN);
    assert_eq!(folder.failed(&["reset"], &[]), "error: nobody is there to confirm\nhint: say --yes\n");
    assert_eq!(folder.open("vault").len(), Ok(3));
    folder.done(&["reset", "--yes"], &[]);
    assert_eq!(folder.open("vault").len(), Ok(0));
    folder.done(&["pin", "set"], PIN);
}

#[test]
fn a_vault_that_is_not_there_is_not_made_by_who_only_looks() {
    let folder = Folder::new();
    let before = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let count = before();
    for command in [
        "reset --yes",
        "credentials list",
        "credentials export",
        "credentials delete 00",
        "pin change",
        "pin remove",
        "sync status",
        "sync devices",
        "sync invite",
        "sync leave --yes",
        "sync recovery create",
    ] {
        let output = folder.run("vualt", &command.split(' ').collect::<Vec<_>>(), PIN);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(said.contains("there is no vault at") && said.contains("--vault PATH"), "{command}: {said}");
        assert_eq!(before(), count, "{command} leaves something");
    }
}

#[test]
fn a_vault_in_use_is_left_alone() {
    let folder = Folder::new();
    let _held = folder.open("vault");
    assert_eq!(
        folder.failed(&["credentials", "list"], &[]),
        "error: another process is using the vault FOLDER/vault\n\
         hint: stop the other doppelkey first, or name another file with --vault\n"
    );
}

fn credential(number: u8, rp_id: &str, name: &str) -> Credential {
    Credential {
        id: heapless::Vec::from_slice(&[number; 16]).expect("16 bytes fit"),
        rp_id: heapless::String::try_from(rp_id).expect("it fits"),
        user: User {
            id: heapless::Vec::from_slice(&[number]).expect("it fits"),
            name: heapless::String::try_from(name).ok(),
            display_name: None,
        },
        backup_eligible: true,
        backup_state: true,
        ..Credential::new(
            doppelkey::vault::exchange::rp_id_hash(rp_id),
            PrivateKey::from_bytes(Algorithm::Es256, &[number; 32]).expect("a small scalar is a key"),
        )
    }
}

#[test]
fn an_id_that_begins_as_an_option_does_is_an_id() {
    let folder = Folder::new();
    let mut vault = folder.open("vault");
    // Base64url's digit 62 is the hyphen: one, "-Pj4", and two, "--_v".
    for id in [vec![0xF8; 16], [0xFB, 0xEF].repeat(8)] {
        let credential = Credential {
            id: heapless::Vec::from_slice(&id).expect("16 bytes fit"),
            ..credential(4, "example.com", "hyphen")
        };
        vault.put(&credential, None).expect("there is room");
    }
    drop(vault);
    let listed = folder.done(&["credentials", "list"], &[]);
    let ids: Vec<_> = listed.lines().filter_map(|line| line.strip_suffix("  example.com  hyphen")).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    for id in &ids {
        assert!(folder.done(&["credentials", "show", id], &[]).contains("user name        hyphen\n"));
    }
    folder.done(&["credentials", "delete", ids[0], "AgIC", ids[1]], &[]);
    assert_eq!(folder.open("vault").len(), Ok(2));
}

#[test]
fn passkeys_travel_encrypted_and_only_their_receiver_imports_them() {
    let folder = Folder::new();
    folder.done(&["pin", "set"], PIN);
    let program = |arguments: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
        program.args(arguments).current_dir(folder.path()).output().expect("it runs")
    };
    let recipient = program(&["credentials", "receive", "receive.key"]);
    let recipient = String::from_utf8(recipient.stdout).expect("it prints text");
    program(&["credentials", "receive", "other.key"]);
    let export =
        ["credentials", "export", "file", "--with-keys", "--format", "cxf", "--to", recipient.trim()];
    folder.done(&export, PIN);
    let file = std::fs::read_to_string(folder.path().join("file")).expect("it was written");
    assert!(!file.contains("example.com"), "nothing of it can be read");
    let import = |key: &[&str]| {
        let import = ["credentials", "import", "file", "--format", "cxf"];
        folder.run("new", &[&import[..], key].concat(), &[])
    };
    assert!(!import(&[]).status.success() && !import(&["--key", "other.key"]).status.success());
    let imported = import(&["--key", "receive.key"]);
    let said = String::from_utf8_lossy(&imported.stderr).into_owned();
    assert!(said.contains("imported 3, replaced 0"), "{said}");
}

#[test]
fn what_only_looks_makes_no_folder() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let data = folder.path().join("data");
    for arguments in [&["doctor"][..], &["credentials", "list"], &["sync", "status"], &["pin", "remove"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_doppelkey"));
        let output = program.args(arguments).env("XDG_DATA_HOME", &data).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(arguments == ["doctor"] || said.contains("there is no vault at"), "{arguments:?}: {said}");
        assert!(!data.exists(), "{arguments:?} made {}", data.display());
    }
}
