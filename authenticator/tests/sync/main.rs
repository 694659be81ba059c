//! Sync as a user has it: three `doppelkey run` with three vaults, one relay, one relying party, real sockets.

mod world;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use doppelkey_sync::relay::{RelayClient, RelayUrl};
use doppelkey_sync::{Invitation, Mailbox as _};
use serde_json::{Value, json};
use world::{
    BE, BS, DRIPS, EMPTY, ENDLESS, Forgetful, Liar, NONSENSE, Server, World, client, own_address, relay,
};

#[test]
fn a_passkey_made_on_one_device_signs_in_on_three_and_says_when_it_is_backed_up() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    // From here on the first one runs: it answers the commands itself.
    let run_a = world.run(&a);
    world.join(&a, &c);
    let devices = world.ok(&a, &["sync", "devices", "--json"]);
    assert_eq!(devices.lines().count(), 3, "{devices}");
    assert_eq!(world.json(&a, &["sync", "status", "--json"])["devices"], 3);

    let (run_b, run_c) = (world.run(&b), world.run(&c));
    let flags = world.sign_up("mona@example.com", &run_a);
    assert_eq!(flags & (BE | BS), BE, "at first it is on one device only, and says so");
    for run in [&run_b, &run_c] {
        world.eventually("the passkey signs in elsewhere", || world.sign_in(run).is_ok());
    }
    world.eventually("BS is set once another device has it", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & (BE | BS) == BE | BS)
    });
    for device in ["b", "c"] {
        world.ok(&a, &["sync", "revoke", device, "--yes"]);
    }
    world.eventually("BS is cleared once no other device is left", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & (BE | BS) == BE)
    });
}

#[test]
fn a_relay_on_this_machine_is_found_whatever_proxy_there_is() {
    let world = World::new();
    let mut init = world.command(&world.vault("a"), &["sync", "init", "--mailbox", &world.relay.url]);
    // The port of a proxy that is not there.
    let output =
        init.env("ALL_PROXY", "http://127.0.0.1:9").env_remove("NO_PROXY").env_remove("no_proxy").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_deletion_comes_to_a_device_that_was_off() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    let (run_a, run_b) = (world.run(&a), world.run(&b));
    let has = |device: &Path, name: &str| world.ok(device, &["credentials", "list", "--json"]).contains(name);
    world.sign_up("mona@example.com", &run_b);
    world.sign_up("spare@example.com", &run_b);
    world.eventually("both passkeys are on the other one", || {
        world.json(&a, &["sync", "status", "--json"])["in_vault"] == 2
    });
    drop((run_a, run_b));
    let listed = world.json(&b, &["credentials", "list", "--json"]);
    let mut entries = listed.as_array().unwrap().iter();
    let spare = entries.find(|entry| entry.to_string().contains("spare@")).unwrap();
    world.ok(&b, &["credentials", "delete", spare["id"].as_str().unwrap()]);
    let _run_b = world.run(&b);
    world.eventually("it is gone there, too, and the other passkey is not", || {
        drop(world.run_for(&a, Duration::from_millis(500)));
        has(&a, "mona@") && !has(&a, "spare@")
    });
}

#[test]
fn a_revoked_device_learns_nothing_new_and_says_where_it_stands() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    world.join(&a, &c);
    let (run_a, run_c) = (world.run(&a), world.run(&c));
    world.sign_up("mona@example.com", &run_a);
    world.eventually("the passkey signs in elsewhere", || world.sign_in(&run_c).is_ok());
    world.ok(&a, &["sync", "revoke", "c", "--yes"]);
    world.sign_up("later@example.com", &run_a);
    world.eventually("the others go on", || {
        drop(world.run_for(&b, Duration::from_millis(500)));
        world.ok(&b, &["credentials", "list", "--json"]).contains("later@")
    });
    world.eventually("and the revoked one says where it stands, and what to do", || {
        let status = world.ok(&c, &["sync", "status"]);
        (status.contains("revoked by another device, says http") || status.contains("no member any more"))
            && status.contains("to come back: `doppelkey sync leave`")
    });
    drop(run_c);
    let listed = world.ok(&c, &["credentials", "list", "--json"]);
    assert!(listed.contains("mona@") && !listed.contains("later@"), "{listed}");
}

#[test]
fn a_recovery_key_brings_everything_back_when_every_device_is_lost() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    world.found(&a);
    let run_a = world.run(&a);
    world.sign_up("mona@example.com", &run_a);
    drop(run_a);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    std::fs::remove_file(&a).unwrap();
    let restore = ["sync", "recovery", "restore", "--mailbox", &world.relay.url, "--circle", &circle];
    let refused = world.command(&b, &[&restore[..], &[key.trim()]].concat()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "a key is in no process's arguments");
    // From standard input, as a file is piped in.
    let mut child = world.command(&b, &restore).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let run_b = world.run(&b);
    world.sign_in(&run_b).expect("a passkey of the lost device signs in");
}

#[test]
fn a_recovery_says_that_a_folder_is_not_there_and_makes_none() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let ((stick, mailbox), (drawer, _)) = (world.mailbox("stick"), world.mailbox("drawer"));
    world.ok(&a, &["sync", "init", "--mailbox", &mailbox]);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    std::fs::rename(&stick, &drawer).unwrap();
    let said = world.restore(&b, &key, &["--mailbox", &mailbox]).unwrap_err();
    assert!(said.contains("error: ") && said.contains(stick.to_str().unwrap()), "{said}");
    assert!(!said.contains("this key opens nothing") && !stick.exists(), "{said}");
    // And it is there again.
    std::fs::rename(&drawer, &stick).unwrap();
    world.restore(&b, &key, &["--mailbox", &mailbox]).unwrap();
}

#[test]
fn a_recovery_names_the_mailbox_that_is_away_also_where_another_has_no_letter() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let [(_, of_stick), (empty, of_empty), (away, of_away)] =
        ["stick", "empty", "away"].map(|name| world.mailbox(name));
    world.ok(&a, &["sync", "init", "--mailbox", &of_stick]);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    std::fs::create_dir(&empty).unwrap();
    let said = world.restore(&b, &key, &["--mailbox", &of_empty, "--mailbox", &of_away]).unwrap_err();
    assert!(said.contains("this key opens nothing") && said.contains(away.to_str().unwrap()), "{said}");
    let another = "00112233445566778899aabbccddeeff";
    let named = ["--mailbox", &of_stick, "--mailbox", &of_away, "--circle", another];
    let said = world.restore(&b, &key, &named).unwrap_err();
    assert!(said.contains(&format!("not for {another}")) && said.contains(away.to_str().unwrap()), "{said}");
}

#[test]
fn a_key_that_was_used_apart_says_so_and_not_that_it_was_revoked() {
    let world = World::new();
    let [a, b, c, d, e] = ["a", "b", "c", "d", "e"].map(|name| world.vault(name));
    let [(one, of_one), (two, of_two), (away, _)] = ["one", "two", "away"].map(|name| world.mailbox(name));
    let both = ["--mailbox", &of_one, "--mailbox", &of_two];
    world.ok(&a, &[&["sync", "init"], &both[..]].concat());
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    for (device, folder) in [(&b, &two), (&c, &one)] {
        std::fs::rename(folder, &away).unwrap();
        let said = world.restore(device, &key, &both).unwrap();
        assert!(said.contains("name the mailboxes that answered now"), "{said}");
        std::fs::rename(&away, folder).unwrap();
    }
    let said = world.restore(&d, &key, &both).unwrap_err();
    assert!(said.contains("used more than once") && !said.contains("revoked"), "{said}");
    // And what it advises helps.
    world.restore(&e, &key, &["--mailbox", &of_one]).unwrap();
    assert!(world.ok(&e, &["sync", "status"]).contains("this device is a member"));
}

#[test]
fn two_devices_on_one_network_go_on_when_their_mailbox_is_gone() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let (folder, mailbox) = world.mailbox("mailbox");
    world.ok(&a, &["sync", "init", "--mailbox", &mailbox, "--post-quantum"]);
    world.join(&a, &b);
    let free = std::net::TcpListener::bind(own_address()).unwrap().local_addr().unwrap().to_string();
    let run_a = world.run_with(&a, &["--lan", &free]);
    let run_b = world.run_with(&b, &["--lan", "127.0.0.1:0", "--peer", &free]);
    // Nothing goes through it any more: it is a file now.
    std::fs::rename(&folder, world.folder.path().join("gone")).unwrap();
    std::fs::write(&folder, b"").unwrap();
    world.sign_up("mona@example.com", &run_a);
    world.eventually("the passkey signs in on the other one", || world.sign_in(&run_b).is_ok());
    world.eventually("BS is set once the other one has said that it has it", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & BS == BS)
    });
}

#[test]
fn a_large_blob_and_the_time_of_the_last_use_come_with_the_passkey() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    let (run_a, run_b) = (world.run(&a), world.run(&b));
    let origin = "https://example.com";
    let options = json!({
        "rp": { "id": "example.com", "name": "Example" }, "challenge": "AAAA",
        "user": { "id": "AQ", "name": "mona", "displayName": "Mona" },
        "pubKeyCredParams": [{ "type": "public-key", "alg": -7 }],
        "authenticatorSelection": { "residentKey": "required", "userVerification": "discouraged" },
        "extensions": { "largeBlob": { "support": "required" } },
    });
    let made = client(&run_a).create(origin, &options).unwrap();
    let request = |extension: Value| {
        let allowed = json!([{ "type": "public-key", "id": made["id"] }]);
        json!({
            "rpId": "example.com", "challenge": "AAAA", "userVerification": "discouraged",
            "allowCredentials": allowed, "extensions": { "largeBlob": extension },
        })
    };
    let used = || {
        let exposed: Value =
            serde_json::from_str(&world.ok(&b, &["sync", "exposed", "a", "--json"])).unwrap();
        exposed["last_used_s"].as_u64().unwrap()
    };
    world.eventually("the passkey is on the other one", || {
        !world.ok(&b, &["sync", "exposed", "a"]).is_empty()
    });
    assert_eq!(used(), 0);
    let written = client(&run_a).get(origin, &request(json!({ "write": "Y2VydGlmaWNhdGU" }))).unwrap();
    assert_eq!(written["clientExtensionResults"]["largeBlob"]["written"], true);
    let read = |run: &Server| {
        let read = client(run).get(origin, &request(json!({ "read": true }))).unwrap();
        read["clientExtensionResults"]["largeBlob"]["blob"].clone()
    };
    world.eventually("the blob is on the other one", || read(&run_b) == "Y2VydGlmaWNhdGU");
    world.eventually("and so is when it was used", || used() > 1_700_000_000);
}

/// The disk is full as far as one process can tell: the kernel lets it write no file beyond a limit.
#[cfg(target_os = "linux")]
#[test]
fn a_device_whose_disk_is_full_says_so_signs_in_and_catches_up_once_there_is_room() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url]);
    world.join(&a, &b);
    // A write beyond the limit is to fail, not to kill.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_doppelkey")])
        .stdin(Stdio::null());
    shell.args(world.run_arguments(&a));
    let (run_a, run_b) = (Server::of(&mut shell), world.run(&b));
    world.sign_up("mona@example.com", &run_a);
    let limit = |limit: &str| {
        let pid = run_a.child.id().to_string();
        let set =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}:unlimited")]).status();
        assert!(set.unwrap().success());
    };
    limit("1");
    world.sign_up("later@example.com", &run_b);
    world.eventually("it says so", || world.ok(&a, &["sync", "status"]).contains("trouble: "));
    world.sign_in(&run_a).expect("a sign-in needs no disk");
    limit("unlimited");
    world.eventually("it catches up", || {
        let status = world.json(&a, &["sync", "status", "--json"]);
        status["in_vault"] == 2 && status["trouble"].is_null()
    });
}

#[test]
fn a_recovery_pin_brings_everything_back_and_wrong_ones_are_counted_also_across_a_restart_of_the_relay() {
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.vault(name));
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url]);
    // The running authenticator has the vault, and answers.
    let run_a = world.run(&a);
    world.sign_up("mona@example.com", &run_a);
    let refused = world.with_pin(&a, &["set"], "123456").unwrap_err();
    assert!(refused.contains("a row of characters"), "{refused}");
    let said = world.with_pin(&a, &["set", "--guesses", "3"], "271828").unwrap();
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("{}, circle {circle}", world.relay.url)), "{said}");
    assert_eq!(world.guesses_left(&a), 3);
    let status = world.ok(&a, &["sync", "status"]);
    assert!(status.contains("recovery: recovery PIN (does not count as a backup)"), "{status}");
    world.eventually("a PIN that others can use up does not count as a backup", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & (BE | BS) == BE)
    });
    drop(run_a);

    // Every device is lost.
    std::fs::remove_file(&a).unwrap();
    let url = world.relay.url.clone();
    let using = ["use", "--mailbox", &url, "--circle", &circle];
    let wrong = world.with_pin(&b, &using, "314159").unwrap_err();
    assert!(wrong.contains("guesses left: 2") && wrong.contains("hint: "), "{wrong}");
    world.restart_relay();
    let wrong = world.with_pin(&b, &using, "161803").unwrap_err();
    assert!(wrong.contains("guesses left: 1"), "{wrong}");
    let said = world.with_pin(&b, &using, "271828").unwrap();
    assert!(said.contains("1 passkey is back"), "{said}");
    let again = world.with_pin(&b, &using, "271828").unwrap_err();
    assert!(again.contains("a sync circle already"), "nothing is counted before it can succeed: {again}");
    let run_b = world.run(&b);
    world.sign_in(&run_b).expect("the passkey of the lost device signs in");

    // The last guess was right, and was the last.
    world.with_pin(&b, &["set", "--guesses", "2"], "112358").unwrap();
    for (pin, says) in [("271828", "guesses left: 1"), ("112350", "last guess"), ("112358", "is destroyed")] {
        let wrong = world.with_pin(&c, &using, pin).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
    assert_eq!(world.guesses_left(&b), 0);

    // Leaving works through the running authenticator, too, and what is left is a vault.
    world.ok(&b, &["sync", "leave", "--yes"]);
    assert!(!b.with_extension("sync").exists());
    world.sign_in(&run_b).expect("the passkey is still there");
}

#[test]
fn two_of_three_shares_bring_a_post_quantum_circle_back_from_a_folder() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let (_, mailbox) = world.mailbox("mailbox");
    world.ok(&a, &["sync", "init", "--mailbox", &mailbox, "--post-quantum"]);
    let run_a = world.run(&a);
    world.sign_up("mona@example.com", &run_a);
    let shares = world.ok(&a, &["sync", "recovery", "create", "--shares", "2-of-3"]);
    let shares: Vec<&str> = shares.lines().collect();
    let flags = world.sign_in(&run_a).expect("it signs in");
    assert_eq!(flags & BS, 0, "paper beside a folder on this disk is no backup");
    drop(run_a);
    let restore = |more: &[&str], shares: &[&str]| {
        let arguments = [&["sync", "recovery", "restore", "--mailbox", &mailbox][..], more].concat();
        world.command(&b, &arguments).env("DOPPELKEY_RECOVERY_KEY", shares.join(" ")).output().unwrap()
    };
    let errors = |output: std::process::Output| String::from_utf8(output.stderr).unwrap();
    let one = errors(restore(&[], &[shares[0]]));
    assert!(one.contains("no complete set of shares"), "{one}");
    let elsewhere = errors(restore(&["--circle", &"0f".repeat(16)], &[shares[0], shares[2]]));
    assert!(elsewhere.contains("not for 0f0f"), "{elsewhere}");
    let said = errors(restore(&[], &[shares[2], shares[1]]));
    assert!(said.contains("1 passkey is back"), "{said}");
    world.sign_in(&world.run(&b)).expect("the passkey signs in");
}

#[test]
fn a_key_made_by_a_junior_does_not_claim_to_have_shut_the_founder_out() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.vault(name));
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url, "--name", "founder"]);
    world.join(&a, &b);
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    let made = world.command(&b, &["sync", "recovery", "create"]).output().unwrap();
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(said.contains("cannot end the membership of founder"), "{said}");
    let key = String::from_utf8(made.stdout).unwrap();
    let restore = ["sync", "recovery", "restore", "--mailbox", &world.relay.url, "--circle", &circle];
    let mut restored = world.command(&c, &restore);
    let restored = restored.env("DOPPELKEY_RECOVERY_KEY", key.trim()).output().unwrap();
    let said = String::from_utf8(restored.stderr).unwrap();
    assert!(restored.status.success() && !said.contains("out of the circle"), "{said}");
    assert!(said.contains("founder is still a member") && !said.contains("b is still"), "{said}");
    let status = world.ok(&b, &["sync", "status"]);
    assert!(status.contains("revoked by another device, says http"), "{status}");
    assert!(world.ok(&a, &["sync", "status"]).contains("this device is a member"));
}

#[test]
fn a_revocation_made_off_the_net_ends_the_token_once_the_relay_is_back() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    let (address, database) = world.relay_address();
    world.relay.end();
    world.ok(&a, &["sync", "revoke", "b", "--yes"]);
    let status = world.ok(&a, &["sync", "status"]);
    assert!(status.contains("b was revoked, but http") && status.contains("does not know yet"), "{status}");
    world.relay = relay(&address, &database);
    let status = world.ok(&a, &["sync", "status"]);
    assert!(!status.contains("does not know yet"), "{status}");
    let status = world.ok(&b, &["sync", "status"]);
    assert!(status.contains("revoked by another device, says http"), "{status}");
}

#[test]
fn an_invitation_that_nobody_used_opens_nothing_afterwards() {
    let world = World::new();
    let a = world.vault("a");
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url]);
    let output = world.command(&a, &["sync", "invite", "--no-qr", "--wait-s", "1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nobody came"), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let invitation = Invitation::parse(text.trim()).unwrap();
    let url = RelayUrl::parse(&invitation.mailbox).unwrap();
    let refused = RelayClient::new(url, invitation.circle).list(0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied, "{refused}");
}

#[test]
fn whoever_has_an_invitation_does_not_become_the_newcomer_at_a_relay_that_is_away_meanwhile() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let database = format!("sqlite:{}", world.folder.path().join("second.db").display());
    let mut second = relay(&own_address(), &database);
    let address = second.url.strip_prefix("http://").unwrap().to_owned();
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url, "--mailbox", &second.url]);
    let (mut invite, text) = world.invite(&a);
    let invitation = Invitation::parse(text.trim()).unwrap();
    second.end();
    world.accept(&b, &text);
    assert!(invite.wait().unwrap().success());
    assert_eq!(world.json(&b, &["sync", "status", "--json"])["relays"], 1);

    // It is back, and the invitation opens it for some minutes more. What the newcomer is called there is no secret.
    let _second = relay(&address, &database);
    let photographed = invitation.mailbox.lines().last().and_then(RelayUrl::parse).unwrap();
    let photographed = RelayClient::new(photographed, invitation.circle);
    photographed.clone().list(0).unwrap();
    let devices = world.ok(&a, &["sync", "devices", "--json"]);
    let devices = devices.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let name = devices.filter(|device| device["name"] == "b").map(|device| device["id"].clone()).next();
    let name = name.as_ref().and_then(Value::as_str).unwrap();
    let token = "5a".repeat(16);
    let claimed = photographed.let_in(name, &token);
    // A member tells the relay that the newcomer stays.
    world.ok(&a, &["sync", "status"]);
    let thief = RelayClient::new(RelayUrl::new(&format!("http://{address}"), &token), invitation.circle);
    let stays = thief.is_let_in(name).map_err(|error| error.kind());
    assert_eq!(stays, Err(std::io::ErrorKind::PermissionDenied), "{claimed:?}");
}

#[test]
fn two_relays_open_together_what_neither_opens_alone() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let second = relay(&own_address(), "memory");
    let (one, two) = (world.relay.url.as_str(), second.url.as_str());
    world.ok(&a, &["sync", "init", "--mailbox", one, "--mailbox", two]);
    drop(world.run_for(&a, Duration::from_millis(500)));
    // Whoever joins knows both relays, and may be the one that sets the PIN.
    let c = world.vault("c");
    world.join(&a, &c);
    assert_eq!(world.json(&c, &["sync", "status", "--json"])["relays"], 2);
    world.with_pin(&c, &["set"], "incorrect horse").unwrap();
    // Another device sets another: nobody has the key behind the one before, and its member ends.
    world.with_pin(&a, &["set"], "correct horse").unwrap();
    for device in [&a, &c] {
        let members = world.ok(device, &["sync", "devices", "--json"]);
        let members = members.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let live = members.filter(|member| member["recovery"] == true && member["live"] == true);
        assert_eq!(live.count(), 1);
    }
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    let alone = world.with_pin(&b, &["use", "--mailbox", two, "--circle", &circle], "correct horse");
    assert!(alone.unwrap_err().contains("1 relay answered, and 2 are needed"));
    let both = ["use", "--mailbox", one, "--mailbox", two, "--circle", &circle];
    let wrong = world.with_pin(&b, &both, "incorrect horse").unwrap_err();
    assert!(wrong.contains("guesses left: 8"), "the fewest of any relay: {wrong}");
    // Every device of the circle hears of it.
    let status = world.ok(&c, &["sync", "status"]);
    assert!(status.contains("somebody guessed wrongly: 8 of 10 guesses are left"), "{status}");
    let (mut run_c, said) = world.run_and_hear(&c);
    world.eventually("the log says so", || {
        said.lock().unwrap().contains("somebody guesses at the recovery PIN")
    });
    run_c.end();
    let said = world.with_pin(&b, &both, "correct horse").unwrap();
    assert!(said.contains("0 passkeys are back"), "{said}");
    let status = world.ok(&b, &["sync", "status"]);
    assert!(status.contains("this device is a member"), "{status}");
}

#[test]
fn a_key_restores_what_only_the_second_relay_has() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let second = relay(&own_address(), "memory");
    let (one, two) = (world.relay.url.clone(), second.url.as_str());
    world.ok(&a, &["sync", "init", "--mailbox", &one, "--mailbox", two]);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    let run_a = world.run(&a);
    let (address, database) = world.relay_address();
    world.relay.end();
    world.sign_up("mona@example.com", &run_a);
    world.eventually("the key and the second relay are a backup", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & BS == BS)
    });
    drop(run_a);
    std::fs::remove_file(&a).unwrap();
    world.relay = relay(&address, &database);
    let restore = ["sync", "recovery", "restore", "--mailbox", &one, "--mailbox", two, "--circle", &circle];
    let restored = world.command(&b, &restore).env("DOPPELKEY_RECOVERY_KEY", key.trim()).output().unwrap();
    let said = String::from_utf8(restored.stderr).unwrap();
    assert!(said.contains("1 passkey is back"), "{said}");
    world.sign_in(&world.run(&b)).expect("it signs in");
}

#[test]
fn a_key_made_before_a_revocation_brings_a_member_back_and_does_so_twice() {
    let world = World::new();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| world.vault(name));
    world.found(&a);
    world.join(&a, &b);
    let run_a = world.run(&a);
    world.sign_up("mona@example.com", &run_a);
    drop(run_a);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    let circle = world.json(&a, &["sync", "status", "--json"])["circle"].as_str().unwrap().to_owned();
    world.ok(&a, &["sync", "revoke", "b", "--yes"]);
    for (lost, device) in [(&a, &c), (&c, &d)] {
        std::fs::remove_file(lost).unwrap();
        let restore = ["sync", "recovery", "restore", "--mailbox", &world.relay.url, "--circle", &circle];
        let restored =
            world.command(device, &restore).env("DOPPELKEY_RECOVERY_KEY", key.trim()).output().unwrap();
        let said = String::from_utf8(restored.stderr).unwrap();
        assert!(restored.status.success() && said.contains("1 passkey is back"), "{said}");
        let status = world.ok(device, &["sync", "status"]);
        assert!(status.contains("this device is a member"), "{status}");
        world.sign_in(&world.run(device)).expect("the passkey signs in");
    }
}

#[test]
fn a_relay_named_beside_a_folder_is_read_without_the_circles_id() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.vault(name));
    let ((stick, folder), (drawer, _)) = (world.mailbox("stick"), world.mailbox("drawer"));
    let url = world.relay.url.as_str();
    world.ok(&a, &["sync", "init", "--mailbox", &folder, "--mailbox", url]);
    let key = world.ok(&a, &["sync", "recovery", "create"]);
    // What comes now is at the relay only.
    std::fs::rename(&stick, &drawer).unwrap();
    let run_a = world.run(&a);
    world.sign_up("mona@example.com", &run_a);
    world.eventually("the key and the relay are a backup", || {
        world.sign_in(&run_a).is_ok_and(|flags| flags & BS == BS)
    });
    drop(run_a);
    std::fs::remove_file(&a).unwrap();
    std::fs::rename(&drawer, &stick).unwrap();
    let alone = world.restore(&b, &key, &["--mailbox", url]).unwrap_err();
    assert!(alone.contains("a relay finds a circle by its id") && alone.contains("--circle"), "{alone}");
    let said = world.restore(&b, &key, &["--mailbox", url, "--mailbox", &folder]).unwrap();
    assert!(said.contains("1 passkey is back") && !said.contains("goes on without"), "{said}");
    world.sign_in(&world.run(&b)).expect("it signs in");
}

#[test]
fn a_relay_is_a_mailbox_once_however_its_address_is_written() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.vault(name));
    let (url, again) = (world.relay.url.as_str(), format!("{}/", world.relay.url));
    let twice = ["--mailbox", url, "--mailbox", &again];
    world.ok(&a, &[&["sync", "init"][..], &twice].concat());
    let refused = world.command(&a, &["sync", "mailbox", "add", &again]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is a mailbox of this circle already"), "{said}");
    let status = world.json(&a, &["sync", "status", "--json"]);
    assert_eq!(status["relays"], 1);
    let circle = status["circle"].as_str().unwrap();
    world.join(&a, &b);
    world.with_pin(&a, &["set"], "correct horse").unwrap();
    let using = [&["use", "--circle", circle][..], &twice].concat();
    let wrong = world.with_pin(&c, &using, "battery staple").unwrap_err();
    assert!(wrong.contains("guesses left: 9"), "a guess is one guess: {wrong}");
    world.with_pin(&c, &using, "correct horse").unwrap();
    let status = world.json(&c, &["sync", "status", "--json"]);
    assert_eq!((&status["relays"], &status["standing"]["member"]), (&json!(1), &json!(true)), "{status}");
}

#[test]
fn a_relay_whose_answer_to_open_was_lost_can_be_added_again() {
    let world = World::new();
    let a = world.vault("a");
    world.found(&a);
    let second = relay(&own_address(), "memory");
    let way = Forgetful::before(&second);
    let add = ["sync", "mailbox", "add", way.url.as_str()];
    // The circle is opened, the device let in by its name, and the first token ended: each may be done and not be known.
    for answers in 0..3 {
        way.until.store(answers, Ordering::Relaxed);
        let refused = world.command(&a, &add).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && !said.contains("for another device"), "{said}");
        assert_eq!(way.until.load(Ordering::Relaxed), usize::MAX, "an answer was lost");
    }
    world.ok(&a, &add);
    assert_eq!(world.json(&a, &["sync", "status", "--json"])["relays"], 2);
    // Whoever comes by it finds everything there.
    let b = world.vault("b");
    world.join(&a, &b);
    assert!(!world.ok(&b, &["sync", "status"]).contains("trouble: "));
}

#[test]
fn a_relay_that_talks_nonsense_drips_forgets_or_never_ends_is_named_and_sign_ins_go_on() {
    let mut world = World::new();
    let a = world.vault("a");
    world.ok(&a, &["sync", "init", "--mailbox", &world.relay.url]);
    let run = world.run(&a);
    world.sign_up("mona@example.com", &run);
    let address = world.relay.url.strip_prefix("http://").unwrap().to_owned();
    world.relay.end();
    let liar = Liar::start(&address);
    let cases = [
        (NONSENSE, "the relay answers nonsense"),
        (ENDLESS, "the relay does not stop answering"),
        (EMPTY, "alarm: "),
    ];
    for (way, says) in cases {
        liar.way.store(way, Ordering::Relaxed);
        // A change has it looked into.
        world.sign_up(&format!("user{way}@example.com"), &run);
        world.eventually(says, || world.ok(&a, &["sync", "status"]).contains(says));
        world.sign_in(&run).expect("a sign-in waits for no relay");
    }
    let status = world.ok(&a, &["sync", "status"]);
    assert!(status.contains("holds less than it once did"), "{status}");
    // As long as it drips there is no answer; it is given up after 20 seconds.
    liar.way.store(DRIPS, Ordering::Relaxed);
    world.sign_up("drop@example.com", &run);
    world.sign_in(&run).expect("a sign-in waits for no relay");
}
