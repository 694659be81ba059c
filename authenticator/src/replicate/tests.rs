//! Two vaults and a folder between them, in this process; over real sockets: `tests/sync`.

mod restored;

use std::path::{Path, PathBuf};

use doppelkey_core::{Algorithm, Credential, CredentialStore, PrivateKey, User};
use doppelkey_sync::{DeviceKeys, Event, Invitation, Suite};

use super::randomness::{SAMPLES, assert_every_bit_is_free};
use super::*;
use crate::text::from_hex;
use crate::vault::{Custody, Vault};

struct Device {
    vault: Vault,
    path: PathBuf,
    replication: Replication,
}

struct World {
    folder: tempfile::TempDir,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        World { folder: tempfile::tempdir().unwrap(), now_ms: 1_767_225_600_000 }
    }

    fn vault(&self, name: &str) -> (Vault, PathBuf) {
        let path = self.folder.path().join(name);
        (open(&path), path)
    }

    fn place(&self) -> Place {
        Place::Folder(self.folder.path().join("mailbox"))
    }

    /// Two devices of one circle, on the first of which passkey 3 has taken the place of passkey 1.
    fn pair_with_a_replacement(&mut self) -> (Device, Device) {
        let (mut a, mut b) = self.pair();
        a.vault.put(&credential(1, 1), None).unwrap();
        self.settle(&mut [&mut a, &mut b]);
        a.vault.put(&credential(3, 1), Some(&[1; 32])).unwrap();
        self.settle(&mut [&mut a, &mut b]);
        (a, b)
    }

    /// Two devices of one circle.
    fn pair(&mut self) -> (Device, Device) {
        let (mut vault, path) = self.vault("a");
        let mut replication =
            Replication::found(&mut vault, &path, (Suite::P256, "a"), &[self.place()], self.now_ms).unwrap();
        let keys = DeviceKeys::generate(Suite::P256, &mut random());
        let replica = replication.replica();
        let invitation = Invitation {
            suite: Suite::P256,
            circle: replica.circle(),
            founder: replica.founder(),
            secret: [1; 16],
            expires_s: 0,
            mailbox: String::new(),
        };
        let admit = Event::Admit { keys: keys.public().clone(), recovery: false, name: b"b".to_vec() };
        replication.tell(self.now_ms, admit).unwrap();
        let welcome = replication.welcome(keys.public().log(), &[1; 16]).unwrap();
        let one = Device { vault, path, replication };
        let (mut vault, path) = self.vault("b");
        let places = vec![self.place()];
        let joined = Replication::join(&mut vault, &path, &invitation, keys, &welcome, places, self.now_ms);
        let other = Device { vault, path, replication: joined.unwrap() };
        (one, other)
    }

    fn settle(&mut self, devices: &mut [&mut Device]) {
        for _ in 0..4 {
            for device in devices.iter_mut() {
                device.replication.round(&mut device.vault, self.now_ms).unwrap();
            }
            self.now_ms += 3_000;
            for device in devices.iter_mut() {
                device.replication.tick(self.now_ms).unwrap();
            }
        }
    }
}

fn open(path: &Path) -> Vault {
    Vault::open(path, Some(Custody::File(path.with_extension("key")))).unwrap()
}

/// As the program comes back after it ended or was killed.
fn restart(device: Device) -> Device {
    let Device { vault, path, replication } = device;
    drop((vault, replication));
    let mut vault = open(&path);
    let replication = Replication::load(&mut vault, &path).unwrap();
    Device { vault, path, replication }
}

fn credential(id: u8, account: u8) -> Credential {
    let text = |text: &str| Some(heapless::String::try_from(text).unwrap());
    Credential {
        id: heapless::Vec::from_slice(&[id; 32]).unwrap(),
        rp_id: heapless::String::try_from("example.org").unwrap(),
        user: User {
            id: heapless::Vec::from_slice(&[account; 8]).unwrap(),
            name: text("mona"),
            display_name: None,
        },
        backup_eligible: true,
        large_blob_key: Some([5; 32].into()),
        ..Credential::new([9; 32], PrivateKey::from_bytes(Algorithm::Es256, &[7; 32]).unwrap())
    }
}

fn rename(device: &mut Device, id: u8, name: &str) {
    let mut renamed = get(device, id).unwrap();
    renamed.user.name = Some(heapless::String::try_from(name).unwrap());
    device.vault.put(&renamed, None).unwrap();
}

fn get(device: &mut Device, id: u8) -> Option<Credential> {
    device.vault.get(&[id; 32]).unwrap()
}

#[test]
fn a_passkey_arrives_whole_and_bs_tells_the_truth_on_both() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    a.replication.round(&mut a.vault, world.now_ms).unwrap();
    assert!(!get(&mut a, 1).unwrap().backup_state, "nobody else has said that it has it");
    world.settle(&mut [&mut a, &mut b]);
    let (here, there) = (get(&mut a, 1).unwrap(), get(&mut b, 1).unwrap());
    assert!(here.backup_state && there.backup_state);
    assert_eq!(Credential { order: here.order, ..there }, here);
}

#[test]
fn what_is_device_bound_never_leaves() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    let bound = Credential { backup_eligible: false, sign_count: Some(0), ..credential(2, 1) };
    a.vault.put(&bound, None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 2).is_none() && a.replication.replica().state().records.is_empty());
}

#[test]
fn a_delete_and_a_new_name_go_both_ways_also_across_a_restart() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    a.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let mut renamed = get(&mut b, 1).unwrap();
    renamed.user.name = Some(heapless::String::try_from("lisa").unwrap());
    b.vault.put(&renamed, None).unwrap();
    a.vault.remove(&[2; 32]).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(get(&mut a, 1).unwrap().user.name.as_deref(), Some("lisa"));
    assert!(get(&mut b, 2).is_none(), "what was deleted while nothing ran is deleted everywhere");
    let mut b = restart(b);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 1).is_some(), "a restart is no change");
}

#[test]
fn a_replaced_passkey_stays_elsewhere_hidden() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair_with_a_replacement();
    assert!(get(&mut a, 1).is_none(), "the device that replaced it has done so");
    assert!(get(&mut b, 1).unwrap().hidden, "the relying party may not have heard of the new one");
    assert!(!get(&mut b, 3).unwrap().hidden);
}

#[test]
fn a_device_bound_passkey_that_takes_the_place_of_a_shared_one_deletes_it_nowhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let bound = Credential { backup_eligible: false, sign_count: Some(0), ..credential(2, 1) };
    a.vault.put(&bound, Some(&[1; 32])).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 1).is_none() && get(&mut a, 2).is_some(), "here the new one is in its place");
    assert!(get(&mut b, 1).is_some() && get(&mut b, 2).is_none(), "elsewhere it signs in as before");
    a.vault.remove(&[2; 32]).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 1).is_some() && get(&mut b, 1).is_some(), "without that one it comes back");
}

#[test]
fn who_was_admitted_and_never_came_is_named_until_it_is_revoked() {
    let mut world = World::new();
    let (mut one, mut other) = world.pair();
    world.settle(&mut [&mut one, &mut other]);
    let keys = DeviceKeys::generate(Suite::P256, &mut random());
    let lost = keys.public().log();
    let admit = Event::Admit { keys: keys.public().clone(), recovery: false, name: b"lost\x1b".to_vec() };
    one.replication.tell(world.now_ms, admit).unwrap();
    assert_eq!(one.replication.never_came(world.now_ms), [], "it may be on its way");
    world.now_ms += 600_000;
    assert_eq!(one.replication.never_came(world.now_ms), [(lost, "lost\u{fffd}".to_owned())]);
    one.replication.tell(world.now_ms, Event::Revoke { log: lost, why: 1 }).unwrap();
    assert_eq!(one.replication.never_came(world.now_ms), []);
}

#[test]
fn a_recovery_key_that_was_never_shown_is_no_backup() {
    let mut world = World::new();
    let (mut one, _) = world.pair();
    let key = doppelkey_sync::RecoveryKey::generate(&mut random());
    let mut answer =
        |request: Request| one.replication.answer(&request, &mut one.vault, &[], world.now_ms).unwrap();
    let admitted = answer(Request::AdmitRecovery { key: Secret::new(key.to_text()), name: "paper".into() });
    // Here the command may be ended.
    assert_eq!(answer(Request::Status)["recovery"][0]["backup"], false);
    answer(Request::ConfirmRecovery { device: admitted["device"].as_str().unwrap().into() });
    assert_eq!(answer(Request::Status)["recovery"][0]["backup"], true);
}

#[test]
fn a_junior_that_revokes_a_senior_is_told_that_its_word_is_kept_and_others_see_it() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    world.settle(&mut [&mut a, &mut b]);
    let asked = |device: &mut Device, now_ms| {
        let devices = device.replication.answer(&Request::Devices, &mut device.vault, &[], now_ms).unwrap();
        let devices = devices.as_array().unwrap().iter();
        devices
            .filter(|device| device["asked_to_end"] == true)
            .map(|device| device["name"].clone())
            .collect::<Vec<_>>()
    };
    assert!(asked(&mut a, world.now_ms).is_empty());
    let revoke = Request::Revoke { device: "a".into() };
    let refusal = b.replication.answer(&revoke, &mut b.vault, &[], world.now_ms).unwrap_err();
    assert!(refusal.error.contains("its word is kept, and counts once a second device says the same"));
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert_eq!(asked(device, world.now_ms), ["a"]);
    }
}

#[test]
fn a_device_that_was_revoked_says_so_and_what_to_do() {
    let mut world = World::new();
    let (mut one, mut other) = world.pair();
    world.settle(&mut [&mut one, &mut other]);
    assert_eq!(other.replication.standing()["member"], true);
    let log = other.replication.replica().log();
    one.replication.tell(world.now_ms, Event::Revoke { log, why: 1 }).unwrap();
    let reports = other.replication.round(&mut other.vault, world.now_ms).unwrap();
    let said: Vec<String> =
        reports.iter().filter_map(|report| sentence(report, other.replication.places())).collect();
    assert!(
        said.iter().any(|said| said.contains("no member") && said.contains("`doppelkey sync join`")),
        "{said:?}"
    );
    let standing = other.replication.standing();
    assert!(standing["ended"].as_str().unwrap().contains("its membership was ended"));
    assert!(standing["hint"].as_str().unwrap().contains("`doppelkey sync leave`"));
}

#[test]
fn a_reset_off_the_net_is_told_once_a_mailbox_is_back() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(b.replication.replica().is_backed_up(reconcile::record_of(&[1; 32])));
    let mailbox = world.folder.path().join("mailbox");
    let away = world.folder.path().join("away");
    std::fs::rename(&mailbox, &away).unwrap();
    // What it says off the net has to be there before its last word.
    a.vault.put(&credential(2, 2), None).unwrap();
    a.replication.round(&mut a.vault, world.now_ms).unwrap();
    a.vault.reset().unwrap();
    a.replication.retire(world.now_ms).unwrap();
    assert!(!Replication::is_set_up(&a.path), "it is out of the circle at once");
    drop(a.replication);
    assert_eq!(tell_farewells(&a.path), [world.place().to_string()], "it is tried again");
    std::fs::rename(&away, &mailbox).unwrap();
    assert_eq!(tell_farewells(&a.path), [""; 0]);
    let left = std::fs::read_dir(world.folder.path()).unwrap();
    assert!(
        left.flatten().all(|file| !file.file_name().to_string_lossy().contains("leaving")),
        "nothing is kept"
    );
    b.replication.round(&mut b.vault, world.now_ms).unwrap();
    assert_eq!(b.replication.replica().members().live().count(), 1);
    for id in [1, 2] {
        let record = reconcile::record_of(&[id; 32]);
        assert!(b.replication.replica().record(record).is_some(), "a reset deletes nothing elsewhere");
        assert!(!b.replication.replica().is_backed_up(record), "and nothing counts on what is gone");
    }
}

#[test]
fn a_reset_that_was_killed_before_it_was_told_is_told_at_the_next_start() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let (mailbox, away) = (world.folder.path().join("mailbox"), world.folder.path().join("away"));
    std::fs::rename(&mailbox, &away).unwrap();
    a.vault.reset().unwrap();
    let log = a.replication.replica().log();
    // Here it is killed: it waits for the mailbox.
    a.replication.tell(world.now_ms, Event::Revoke { log, why: 0 }).unwrap();
    let mut a = restart(a);
    assert!(a.replication.was_reset(&mut a.vault).unwrap());
    a.replication.retire(world.now_ms).unwrap();
    assert!(!Replication::is_set_up(&a.path));
    std::fs::rename(&away, &mailbox).unwrap();
    assert_eq!(tell_farewells(&a.path), [""; 0]);
    b.replication.round(&mut b.vault, world.now_ms).unwrap();
    assert_eq!(b.replication.replica().members().live().count(), 1);
}

#[test]
fn a_reset_deletes_nothing_elsewhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    a.vault.reset().unwrap();
    // A round that was waiting for its mailbox goes on, and somebody makes a new passkey meanwhile.
    a.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 1).is_some() && get(&mut b, 2).is_none());
    // Also when it is only found at the next start, by the program or by a command.
    let mut a = restart(a);
    assert!(a.replication.was_reset(&mut a.vault).unwrap());
    assert!(!b.replication.was_reset(&mut b.vault).unwrap());
    world.settle(&mut [&mut a, &mut b]);
    let Device { mut vault, path, replication } = a;
    drop(replication);
    let loaded = Replication::load_unless_reset(&mut vault, &path, world.now_ms);
    assert!(matches!(loaded, Err(ReplicateError::NotSetUp)) && !Replication::is_set_up(&path));
    world.settle(&mut [&mut b]);
    assert!(get(&mut b, 1).is_some() && b.replication.replica().members().live().count() == 1);
}

#[test]
fn deleting_a_replacement_gives_the_replaced_passkey_back_and_deletes_it_nowhere() {
    let mut world = World::new();
    let (a, mut b) = world.pair_with_a_replacement();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 1).is_none() && get(&mut b, 1).unwrap().hidden);
    b.vault.remove(&[3; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(!get(device, 1).unwrap().hidden && get(device, 3).is_none());
    }
}

#[test]
fn a_replaced_passkey_that_signs_in_again_is_offered_again_everywhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair_with_a_replacement();
    assert!(get(&mut b, 1).unwrap().hidden);
    let mut b = restart(b);
    world.settle(&mut [&mut a, &mut b]);
    let used = [(reconcile::record_of(&[1; 32]), world.now_ms / 1000)];
    b.replication.used(&used.into(), world.now_ms).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(!get(&mut b, 1).unwrap().hidden);
    assert_eq!(
        b.replication.replica().record(reconcile::record_of(&[1; 32])).unwrap().registers[&3].value,
        [0]
    );
}

#[test]
fn a_revoked_devices_sync_file_does_not_grow_at_rest() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    let log = b.replication.replica().log();
    a.replication.tell(world.now_ms, Event::Revoke { log, why: 0 }).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    b.vault.put(&credential(9, 9), None).unwrap();
    world.settle(&mut [&mut b]);
    let length = || std::fs::metadata(Replication::path_of(&b.path)).unwrap().len();
    let before = length();
    for _ in 0..5 {
        b.replication.round(&mut b.vault, world.now_ms).unwrap();
    }
    assert_eq!(length(), before);
}

#[test]
fn the_sync_file_is_refused_when_a_byte_changed_and_mended_when_its_end_is_missing() {
    let mut world = World::new();
    let (mut a, b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    a.replication.round(&mut a.vault, world.now_ms).unwrap();
    drop(b);
    let Device { mut vault, path, replication } = a;
    drop(replication);
    let file = Replication::path_of(&path);
    let whole = std::fs::read(&file).unwrap();
    for index in (0..whole.len()).step_by(37).chain(0..24) {
        let mut wrong = whole.clone();
        wrong[index] ^= 1;
        std::fs::write(&file, &wrong).unwrap();
        let refused = matches!(Replication::load(&mut vault, &path), Err(ReplicateError::Damaged(..)));
        assert!(refused, "byte {index}");
        assert_eq!(std::fs::read(&file).unwrap(), wrong, "the file is left as it was");
    }
    std::fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let mut mended = Replication::load(&mut vault, &path).unwrap();
    mended.round(&mut vault, world.now_ms).unwrap();
    assert_eq!(mended.replica().state().records.len(), 1);
    drop(mended);
    let key = [0; 32];
    vault.write(doppelkey_core::Slot::Sync, &key).unwrap();
    assert!(
        matches!(Replication::load(&mut vault, &path), Err(ReplicateError::Damaged(_, 0))),
        "another vault's"
    );
    let (mut new, _) = world.vault("c");
    assert!(matches!(Replication::load(&mut new, &path), Err(ReplicateError::OtherVault(of)) if of == file));
}

#[test]
fn a_mailbox_that_loses_something_while_nothing_runs_is_reported_and_given_it_again() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let reported = |device: &mut Device, world: &World| {
        let reports = device.replication.round(&mut device.vault, world.now_ms).unwrap();
        reports.iter().any(|report| matches!(report, Report::Alarm(_)))
    };
    let mut a = restart(a);
    assert!(!reported(&mut a, &world), "all is as it was");
    let folder = world.folder.path().join("mailbox");
    let entry = || std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let before = entry().count();
    std::fs::remove_file(entry().next().unwrap()).unwrap();
    let mut a = restart(a);
    assert!(reported(&mut a, &world), "it is said");
    world.settle(&mut [&mut a, &mut b]);
    assert!(entry().count() >= before, "and mended");
}

/// What a platform does: it writes the whole array.
fn write_blob(device: &mut Device, key: &[u8; 32], blob: Option<&[u8]>) {
    let mut blobs = read_blobs(device);
    match blob {
        Some(blob) => blobs.put(key, blob, &mut random()),
        None => assert!(blobs.remove(key)),
    }
    device.vault.write(Slot::LargeBlobs, &blobs.encode()).unwrap();
}

fn read_blobs(device: &mut Device) -> crate::large_blobs::LargeBlobs {
    let mut buffer = [0; 4096];
    let length = device.vault.read(Slot::LargeBlobs, &mut buffer).unwrap().unwrap_or(0);
    crate::large_blobs::LargeBlobs::parse(&buffer[..length])
}

#[test]
fn a_large_blob_goes_with_its_passkey_and_one_that_is_too_large_for_a_device_is_not_lost() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    let with_key = |id, key| Credential { large_blob_key: Some([key; 32].into()), ..credential(id, id) };
    a.vault.put(&with_key(1, 1), None).unwrap();
    write_blob(&mut a, &[1; 32], Some(b"with the passkey"));
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut b).get(&[1; 32]).unwrap(), b"with the passkey");
    write_blob(&mut b, &[1; 32], Some(b"changed"));
    write_blob(&mut b, &[9; 32], Some(b"of a passkey that is not shared"));
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[1; 32]).unwrap(), b"changed");
    assert_eq!(read_blobs(&mut a).get(&[9; 32]), None);
    // A platform writes back what it had read before the last change came: that is no wish to delete it.
    let stale = read_blobs(&mut a).encode();
    write_blob(&mut b, &[1; 32], None);
    world.now_ms += 61_000;
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[1; 32]), None, "what was taken away is away everywhere");
    b.vault.put(&with_key(2, 2), None).unwrap();
    write_blob(&mut b, &[2; 32], Some(b"new"));
    world.settle(&mut [&mut a, &mut b]);
    a.vault.write(Slot::LargeBlobs, &stale).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[2; 32]).unwrap(), b"new");
    // What has no room on one device stays on the other, also across a restart.
    let mut large = vec![0; 3_000];
    random().fill_bytes(&mut large);
    a.vault.put(&with_key(3, 3), None).unwrap();
    write_blob(&mut a, &[3; 32], Some(&large));
    write_blob(&mut b, &[8; 32], Some(&large));
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut b).get(&[3; 32]), None);
    let mut b = restart(b);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[3; 32]).unwrap(), large);
    write_blob(&mut b, &[8; 32], None);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut b).get(&[3; 32]).unwrap(), large, "once there is room it comes");
    // The passkey's end is its blob's.
    a.vault.remove(&[3; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut b).get(&[3; 32]), None);
}

#[test]
fn when_a_passkey_was_last_used_is_told_once_a_day_or_once_an_hour_where_an_account_has_two() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    for (id, account) in [(1, 1), (2, 2), (3, 2)] {
        a.vault.put(&credential(id, account), None).unwrap();
    }
    world.settle(&mut [&mut a, &mut b]);
    let start_s = world.now_ms / 1000 + 60;
    let mut use_both = |after_s: u64, world: &mut World| {
        let time_s = start_s + after_s;
        world.now_ms = 1000 * time_s;
        let used = [1, 2].map(|id| (reconcile::record_of(&[id; 32]), time_s));
        a.replication.used(&used.into(), world.now_ms).unwrap();
        world.settle(&mut [&mut a, &mut b]);
        [1, 2].map(|id| {
            let record = reconcile::record_of(&[id; 32]);
            b.replication.replica().record(record).unwrap().used_s.saturating_sub(start_s)
        })
    };
    assert_eq!(use_both(0, &mut world), [0, 0]);
    assert_eq!(use_both(60, &mut world), [0, 0]);
    assert_eq!(use_both(3_600, &mut world), [0, 3_600]);
    assert_eq!(use_both(86_400, &mut world), [86_400, 86_400]);
    assert_eq!(a.replication.replica().record(reconcile::record_of(&[3; 32])).unwrap().used_s, 0);
}

#[test]
fn a_snapshot_writes_the_sync_file_anew_and_a_restart_reads_it() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    for device in [&mut a, &mut b] {
        device.replication.driver.replica_mut().compact_after(8);
    }
    for id in 1..=12 {
        a.vault.put(&credential(id, id), None).unwrap();
        world.settle(&mut [&mut a, &mut b]);
    }
    a.vault.remove(&[1; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let said: u32 = a.replication.replica().frontier().values().sum();
    let uncovered = a.replication.replica().uncovered();
    assert!(uncovered < said as usize / 2, "{uncovered} of {said} entries are kept one by one");
    let (mut a, mut b) = (restart(a), restart(b));
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(device.replication.replica().uncovered() <= uncovered + 4, "the snapshot was read back");
        assert!(get(device, 1).is_none() && (2..=12).all(|id| get(device, id).is_some()));
        assert!(get(device, 2).unwrap().backup_state);
        assert!(!device.path.with_added_extension("sync.new").exists());
    }
}

#[test]
fn a_blob_that_unpacks_to_more_than_an_entry_holds_stays_here_until_another_is_written_elsewhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&Credential { large_blob_key: Some([1; 32].into()), ..credential(1, 1) }, None).unwrap();
    write_blob(&mut a, &[1; 32], Some(&[0; 500_000]));
    world.settle(&mut [&mut a, &mut b]);
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[1; 32]).unwrap().len(), 500_000);
    assert_eq!(read_blobs(&mut b).get(&[1; 32]), None);
    assert!(get(&mut b, 1).is_some_and(|credential| credential.backup_state), "the passkey is on both");
    write_blob(&mut b, &[1; 32], Some(b"of the other device"));
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(read_blobs(&mut a).get(&[1; 32]).unwrap(), b"of the other device");
}

#[test]
fn whoever_may_not_open_a_key_is_given_the_rule_for_udev() {
    let denied = std::io::ErrorKind::PermissionDenied.into();
    let error = ReplicateError::Mailbox("key:/dev/hidraw0".into(), denied);
    assert!(error.hint().contains(crate::hidraw::UDEV_RULE), "{}", error.hint());
}

#[test]
fn the_secret_of_an_invitation_and_a_token_at_a_relay_have_128_free_bits() {
    let mut world = World::new();
    let (a, _) = world.pair();
    let (mut tokens, mut secrets) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        tokens.push(from_hex(&mailboxes::new_token()).expect("it is hexadecimal"));
        let invited = a.replication.invite(60, world.now_ms).expect("it is a member");
        let invitation = Invitation::parse(invited["invitation"].as_str().expect("text")).expect("it reads");
        secrets.push(invitation.secret.to_vec());
    }
    assert_every_bit_is_free("tokens", 128, &tokens);
    assert_every_bit_is_free("invitations", 128, &secrets);
}

#[test]
fn a_pin_of_a_circle_that_has_its_relay_twice_is_one_relays() {
    let mut world = World::new();
    let (mut device, _) = world.pair();
    // As an earlier program let a user add it.
    let relay = |base: &str| Place::Opened(doppelkey_sync::relay::RelayUrl::new(base, "token"));
    device.replication.places.extend(["https://a.example", "https://a.example/"].map(relay));
    let status = device.replication.answer(&Request::Status, &mut device.vault, &[], world.now_ms).unwrap();
    assert_eq!(status["relays"], 1);
    assert_eq!(device.replication.relays().len(), 1, "it is given one deposit");
}
