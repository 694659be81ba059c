//! After a start: a vault or a sync file that was put back from a backup, a crash between the two, a full disk.

use super::*;

/// The sync file, and what is in it now.
fn sync_file(device: &Device) -> (PathBuf, Vec<u8>) {
    let file = Replication::path_of(&device.path);
    let backup = std::fs::read(&file).unwrap();
    (file, backup)
}

/// Two devices of one circle, and the first one's vault as it is before there is any passkey.
fn pair_with_an_empty_vaults_backup(world: &mut World) -> (Device, Device, Vec<u8>) {
    let (mut a, mut b) = world.pair();
    world.settle(&mut [&mut a, &mut b]);
    let a = restart(a);
    let backup = std::fs::read(&a.path).unwrap();
    (a, b, backup)
}

#[test]
fn a_vault_that_is_put_back_without_its_sync_file_deletes_nothing_and_gets_all_back() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    for id in 1..=3 {
        a.vault.put(&credential(id, id), None).unwrap();
    }
    world.settle(&mut [&mut a, &mut b]);
    let mut a = restart(a);
    let backup = std::fs::read(&a.path).unwrap();
    a.vault.put(&credential(4, 4), None).unwrap();
    a.vault.remove(&[2; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let mut renamed = get(&mut a, 1).unwrap();
    renamed.user.name = Some(heapless::String::try_from("lisa").unwrap());
    a.vault.put(&renamed, None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    std::fs::write(&a.path, backup).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 4).is_some() && get(device, 3).is_some() && get(device, 2).is_none());
        assert_eq!(get(device, 1).unwrap().user.name.as_deref(), Some("lisa"));
    }
    // From here on, a delete is one again.
    a.vault.remove(&[3; 32]).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 3).is_none() && get(&mut b, 3).is_none());
}

#[test]
fn a_start_that_is_killed_while_it_minds_a_restored_vault_deletes_nothing() {
    let mut world = World::new();
    let (mut a, mut b, backup) = pair_with_an_empty_vaults_backup(&mut world);
    for id in 1..=4 {
        a.vault.put(&credential(id, id), None).unwrap();
    }
    world.settle(&mut [&mut a, &mut b]);
    std::fs::write(&a.path, &backup).unwrap();
    let file = Replication::path_of(&a.path);
    let before = std::fs::read(&file).unwrap().len();
    let Device { path, .. } = restart(a);
    let minded = std::fs::read(&file).unwrap();
    let first = 20 + usize::from(minded[before]);
    assert!(minded.len() > before + 4 * first, "one line for each passkey, and one more");
    for lines in 1..=4 {
        std::fs::write(&file, &minded[..before + lines * first]).unwrap();
        std::fs::write(&path, &backup).unwrap();
        let mut vault = open(&path);
        let mut replication = Replication::load(&mut vault, &path).unwrap();
        replication.poll(0, world.now_ms).unwrap();
        replication.absorb(&mut vault, world.now_ms).unwrap();
        assert_eq!(replication.replica().state().records.len(), 4, "after {lines} lines");
        assert_eq!(vault.len(), Ok(4));
    }
}

#[test]
fn what_arrived_before_a_crash_and_was_not_yet_in_the_vault_is_not_taken_back() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    write_blob(&mut a, &[5; 32], Some(b"old"));
    world.settle(&mut [&mut a, &mut b]);
    let mut renamed = get(&mut b, 1).unwrap();
    renamed.user.name = Some(heapless::String::try_from("lisa").unwrap());
    b.vault.put(&renamed, None).unwrap();
    write_blob(&mut b, &[5; 32], Some(b"new"));
    world.settle(&mut [&mut b]);
    // The journal has it, and the vault does not.
    a.replication.poll(0, world.now_ms).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert_eq!(get(device, 1).unwrap().user.name.as_deref(), Some("lisa"));
        assert_eq!(read_blobs(device).get(&[5; 32]).as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn a_sync_file_that_is_put_back_looks_before_it_speaks_and_stays_a_member() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let (file, backup) = sync_file(&a);
    a.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    a.vault.put(&credential(3, 3), None).unwrap();
    std::fs::write(&file, backup).unwrap();
    let mut a = restart(a);
    // Nothing is said as long as nobody was heard, however often the mailbox is looked for.
    let (mailbox, away) = (world.folder.path().join("mailbox"), world.folder.path().join("away"));
    std::fs::rename(&mailbox, &away).unwrap();
    let said = a.replication.replica().frontier();
    for _ in 0..2 {
        a.replication.round(&mut a.vault, world.now_ms).unwrap();
        world.now_ms += 2_000;
    }
    assert_eq!(a.replication.replica().frontier(), said);
    std::fs::rename(&away, &mailbox).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 2).is_some() && get(&mut b, 3).is_some());
    assert_eq!(b.replication.replica().members().live().count(), 2);
}

#[test]
fn a_sync_file_that_is_put_back_deletes_no_passkey_that_was_replaced_since() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    a.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let (file, backup) = sync_file(&a);
    a.vault.put(&credential(3, 1), Some(&[1; 32])).unwrap();
    rename(&mut a, 2, "lisa");
    world.settle(&mut [&mut a, &mut b]);
    rename(&mut b, 2, "nora");
    world.settle(&mut [&mut b]);
    std::fs::write(&file, backup).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 1).unwrap().hidden && get(&mut a, 1).is_none(), "it was replaced, and not deleted");
    for device in [&mut a, &mut b] {
        assert_eq!(get(device, 2).unwrap().user.name.as_deref(), Some("nora"), "the last word");
    }
    a.vault.remove(&[2; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 2).is_none(), "from here on, a delete is one again");
}

#[test]
fn a_start_that_is_killed_after_it_heard_itself_overwrites_nothing() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let (file, backup) = sync_file(&a);
    rename(&mut a, 1, "lisa");
    world.settle(&mut [&mut a, &mut b]);
    rename(&mut b, 1, "nora");
    world.settle(&mut [&mut b]);
    std::fs::write(&file, backup).unwrap();
    let mut a = restart(a);
    a.replication.poll(0, world.now_ms).unwrap();
    // Here it is killed: the journal has everything, and the marks are old.
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert_eq!(get(device, 1).unwrap().user.name.as_deref(), Some("nora"), "the last word");
    }
    // From here on what the vault says is news again.
    rename(&mut a, 1, "mona");
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!(get(&mut b, 1).unwrap().user.name.as_deref(), Some("mona"));
}

#[test]
fn what_came_after_a_crash_is_not_set_back_to_what_came_before_it() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    rename(&mut b, 1, "lisa");
    b.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut b]);
    a.replication.poll(0, world.now_ms).unwrap();
    let file = Replication::path_of(&a.path);
    let unmarked = std::fs::read(&file).unwrap();
    a.replication.absorb(&mut a.vault, world.now_ms).unwrap();
    // It is killed when the vault has it, and before that is noted.
    std::fs::write(&file, unmarked).unwrap();
    rename(&mut b, 1, "nora");
    world.settle(&mut [&mut b]);
    let mut a = restart(a);
    a.vault.remove(&[2; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert_eq!(get(device, 1).unwrap().user.name.as_deref(), Some("nora"));
        assert!(get(device, 2).is_none(), "what is deleted before the first contact is deleted");
    }
}

#[test]
fn a_passkey_deleted_before_its_account_has_a_new_one_is_deleted_everywhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let mut a = restart(a);
    a.vault.remove(&[1; 32]).unwrap();
    a.replication.note_removed(&[1; 32], &mut a.vault).unwrap();
    a.vault.put(&credential(2, 1), None).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 1).is_none() && get(device, 2).is_some());
    }
    // Of what is here again nothing is said.
    a.vault.remove(&[2; 32]).unwrap();
    a.replication.note_removed(&[2; 32], &mut a.vault).unwrap();
    a.vault.put(&credential(2, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut a, 2).is_some() && get(&mut b, 2).is_some());
}

#[test]
fn a_passkey_deleted_before_an_old_sync_file_hears_itself_is_deleted_everywhere() {
    let mut world = World::new();
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    let (file, backup) = sync_file(&a);
    a.vault.put(&credential(2, 2), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    std::fs::write(&file, backup).unwrap();
    let mut a = restart(a);
    a.vault.remove(&[1; 32]).unwrap();
    a.replication.note_removed(&[1; 32], &mut a.vault).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 1).is_none() && get(device, 2).is_some());
    }
}

#[test]
fn a_passkey_deleted_before_an_old_vault_is_put_back_is_deleted_everywhere() {
    let mut world = World::new();
    let (mut a, mut b, backup) = pair_with_an_empty_vaults_backup(&mut world);
    for id in [1, 2] {
        b.vault.put(&credential(id, id), None).unwrap();
    }
    world.settle(&mut [&mut a, &mut b]);
    a.vault.remove(&[1; 32]).unwrap();
    a.replication.note_removed(&[1; 32], &mut a.vault).unwrap();
    std::fs::write(&a.path, backup).unwrap();
    let mut a = restart(a);
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 1).is_none() && get(device, 2).is_some());
    }
}

/// Two devices of one circle: the second has heard that passkey 3 took the place of passkey 1, and its vault has not.
fn pair_before_a_replacement(world: &mut World) -> (Device, Device) {
    let (mut a, mut b) = world.pair();
    a.vault.put(&credential(1, 1), None).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    a.vault.put(&credential(3, 1), Some(&[1; 32])).unwrap();
    // This one's record comes after theirs.
    a.vault.put(&credential(20, 20), None).unwrap();
    world.settle(&mut [&mut a]);
    b.replication.poll(0, world.now_ms).unwrap();
    (a, b)
}

#[test]
fn a_replaced_passkey_hidden_before_a_crash_comes_back_when_its_replacement_goes() {
    let mut world = World::new();
    let (mut a, mut b) = pair_before_a_replacement(&mut world);
    let file = Replication::path_of(&b.path);
    let unmarked = std::fs::read(&file).unwrap();
    b.replication.absorb(&mut b.vault, world.now_ms).unwrap();
    assert!(get(&mut b, 1).unwrap().hidden);
    // It is killed when the vault has it, and before that is noted.
    std::fs::write(&file, unmarked).unwrap();
    let mut b = restart(b);
    world.settle(&mut [&mut a, &mut b]);
    assert!(get(&mut b, 1).unwrap().hidden, "it is replaced still");
    b.vault.remove(&[3; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 3).is_none() && !get(device, 1).unwrap().hidden);
    }
}

#[test]
fn a_replaced_passkey_hidden_before_the_disk_was_full_comes_back_when_its_replacement_goes() {
    let mut world = World::new();
    let (mut a, mut b) = pair_before_a_replacement(&mut world);
    let mut full = Full { vault: &mut b.vault, writes: 2 };
    assert!(b.replication.absorb(&mut full, world.now_ms).is_err());
    assert!(get(&mut b, 1).unwrap().hidden && get(&mut b, 20).is_none(), "there was room for two of three");
    world.settle(&mut [&mut a, &mut b]);
    b.vault.remove(&[3; 32]).unwrap();
    world.settle(&mut [&mut a, &mut b]);
    for device in [&mut a, &mut b] {
        assert!(get(device, 3).is_none() && !get(device, 1).unwrap().hidden);
    }
}

/// A vault whose disk is full after so many writes.
struct Full<'a> {
    vault: &'a mut Vault,
    writes: u32,
}

impl Full<'_> {
    fn write_once(&mut self) -> Result<(), StoreError> {
        self.writes = self.writes.checked_sub(1).ok_or(StoreError::Full)?;
        Ok(())
    }
}

impl CredentialStore for Full<'_> {
    fn get(&mut self, id: &[u8]) -> Result<Option<Credential>, StoreError> {
        self.vault.get(id)
    }

    fn newest_before(&mut self, rp: &[u8; 32], before: u64) -> Result<Option<Credential>, StoreError> {
        self.vault.newest_before(rp, before)
    }

    fn next_rp(&mut self, after: Option<&[u8; 32]>) -> Result<Option<Credential>, StoreError> {
        self.vault.next_rp(after)
    }

    fn put(&mut self, credential: &Credential, replaces: Option<&[u8]>) -> Result<(), StoreError> {
        self.write_once()?;
        self.vault.put(credential, replaces)
    }

    fn remove(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        self.write_once()?;
        self.vault.remove(id)
    }

    fn next_sign_count(&mut self, id: Option<&[u8]>) -> Result<u32, StoreError> {
        self.vault.next_sign_count(id)
    }

    fn len(&mut self) -> Result<u32, StoreError> {
        self.vault.len()
    }

    fn remaining(&mut self) -> Result<u32, StoreError> {
        self.vault.remaining()
    }

    fn revision(&mut self) -> Result<u64, StoreError> {
        self.vault.revision()
    }

    fn read(&mut self, slot: Slot, buffer: &mut [u8]) -> Result<Option<usize>, StoreError> {
        self.vault.read(slot, buffer)
    }

    fn write(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        self.write_once()?;
        self.vault.write(slot, bytes)
    }

    fn reset(&mut self) -> Result<(), StoreError> {
        self.vault.reset()
    }
}
