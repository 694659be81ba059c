//! The firmware, without hardware: emulated boards and the host, driven by one client, must say the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use doppelkey_sync::command::CommandMailbox;
use doppelkey_sync::{
    AccountId, Driver, Event, Mailbox, Op, RecordId, RecoveryKey, Replica, Seeded, Suite, conformance,
};
use end_to_end::firmware::{Board, COMPACT, EMULATED, Image, OTHERS, ready};
use end_to_end::fuzz::{Mutator, corpus, packets_of, requests_of};

#[test]
fn emulated_boards_say_what_the_host_says() {
    if !end_to_end::has_program("qemu-system-arm") {
        return end_to_end::skipped("qemu-system-arm");
    }
    let Some(folder) = ready(&EMULATED) else { return };
    let modules = std::env::var_os("DOPPELKEY_NODE_MODULES").map(PathBuf::from);
    if !modules.is_some_and(|modules| modules.join("rp2040js").is_dir()) {
        end_to_end::skipped("rp2040js of tests/clients/package.json (set DOPPELKEY_NODE_MODULES)");
    }
    let stories = folder.join("stories");
    std::fs::write(&stories, wire_stories()).expect("the folder can be written");
    let variables = [("DOPPELKEY_FIRMWARE", &*folder), ("DOPPELKEY_FIRMWARE_STORIES", &*stories)];
    end_to_end::pytest_with("test_firmware.py", &variables);
}

#[test]
fn the_figures_of_every_image_are_within_budget_and_the_readme_tells_them() {
    if !end_to_end::has_program("qemu-system-arm") {
        return end_to_end::skipped("qemu-system-arm");
    }
    let images: Vec<Image> = EMULATED.into_iter().chain(OTHERS).chain(COMPACT).collect();
    let Some(folder) = ready(&images) else { return };
    let names = names(&images);
    let variables = [("DOPPELKEY_FIRMWARE", &*folder), ("DOPPELKEY_FIRMWARE_IMAGES", Path::new(&names))];
    end_to_end::pytest_with("test_firmware_figures.py", &variables);
}

#[test]
fn images_for_chips_that_no_emulator_has_start_sleep_and_sign_in_in_models_of_their_chips() {
    if end_to_end::python_with("unicorn").is_none() {
        return end_to_end::skipped("unicorn of tests/clients/requirements.txt (set DOPPELKEY_PYTHON)");
    }
    let Some(folder) = ready(&OTHERS) else { return };
    let names = names(&OTHERS);
    let variables = [("DOPPELKEY_FIRMWARE", &*folder), ("DOPPELKEY_FIRMWARE_IMAGES", Path::new(&names))];
    end_to_end::pytest_with("test_chips.py", &variables);
}

/// What the scripts must know a model or a budget of: an image that nobody judges would pass unseen.
fn names(images: &[Image]) -> String {
    images.iter().map(|image| image.0).collect::<Vec<_>>().join(",")
}

#[test]
fn a_key_and_a_recovery_key_bring_a_circle_back_when_every_device_is_lost() {
    if !end_to_end::has_program("qemu-system-arm") {
        return end_to_end::skipped("qemu-system-arm");
    }
    let Some(folder) = ready(&EMULATED[..1]) else { return };
    let scratch = tempfile::tempdir().expect("there is room");
    let flash = scratch.path().join("flash");
    let board = shared_board(&folder, &flash, b'7');
    conformance(|| Box::new(mailbox(&board)));
    let cleared = board.lock().expect("nobody panicked").cbor(&[0x53, 4]).expect("it is there");
    assert_eq!(cleared, [0, 0], "after a touch the shelf is empty");
    assert_eq!(mailbox(&board).list(0).expect("it is there").head, 0);

    // A device founds a circle, has a recovery key printed, and keeps a passkey; the board is its mailbox.
    let now_ms = 1_767_225_600_000;
    let mut rng = Seeded::new(6);
    let paper = RecoveryKey::generate(&mut rng);
    let record = RecordId([5; 16]);
    let (replica, effects) = Replica::found(Suite::P256, b"laptop", now_ms, rng.fork());
    let mut laptop = Driver::new(replica, effects, Vec::new(), vec![Box::new(mailbox(&board))]);
    let keys = paper.keys(Suite::P256).public().clone();
    let admit = Event::Admit { keys, recovery: true, name: b"paper".to_vec() };
    laptop.handle(now_ms, admit).expect("its journal is in memory");
    let letter = laptop.replica_mut().recovery_letter(&paper).expect("it was admitted");
    laptop.handle(now_ms, Event::Post(letter)).expect("its journal is in memory");
    let put = Op::Put {
        record,
        account: AccountId([1; 8]),
        core: vec![9; 120],
        registers: vec![(1, vec![1])],
        shadows: Vec::new(),
    };
    laptop.handle(now_ms, Event::Local(vec![put])).expect("its journal is in memory");
    laptop.sync(now_ms).expect("its journal is in memory");
    let kept = mailbox(&board).list(0).expect("it is there").head;
    assert!(kept >= 3, "{kept} entries");

    // The laptop burns, and the key was unplugged all the while. What is left are the key and the paper.
    drop(laptop);
    drop(board);
    let board = shared_board(&folder, &flash, b'8');
    let mut found = mailbox(&board);
    let listing = found.list(0).expect("it is there");
    assert_eq!(listing.head, kept, "nothing was lost with the power");
    let entries: Vec<Vec<u8>> = listing
        .items
        .iter()
        .map(|(name, _)| found.get(*name).expect("it is there").expect("it is listed"))
        .collect();
    let entries = entries.iter().map(Vec::as_slice);
    let replica =
        paper.open_newest(Suite::P256, entries, Seeded::new(99)).expect("the letter is on the board");
    let mut rescue = Driver::new(replica, Vec::new(), Vec::new(), vec![Box::new(found)]);
    rescue.sync(now_ms).expect("its journal is in memory");
    assert!(rescue.replica().record(record).is_some(), "the passkey is back");
}

fn shared_board(folder: &Path, flash: &Path, seed: u8) -> Arc<Mutex<Board>> {
    Arc::new(Mutex::new(Board::power_up(folder, flash, seed)))
}

/// The board as sync sees it: a mailbox behind the vendor command 0x53.
fn mailbox(
    board: &Arc<Mutex<Board>>,
) -> CommandMailbox<impl FnMut(&[u8]) -> std::io::Result<Vec<u8>> + Send + use<>> {
    let board = board.clone();
    let transact = move |request: &[u8]| {
        let mut board = board.lock().map_err(|_| std::io::Error::other("another test panicked"))?;
        let answer = board.cbor(&[&[0x53], request].concat())?;
        let Some((0x00, answer)) = answer.split_first() else {
            return Err(std::io::Error::other(format!("CTAP status of {answer:02x?}")));
        };
        Ok(answer.to_vec())
    };
    // A CTAPHID message without the command's byte.
    CommandMailbox::new(transact, doppelkey_ctaphid::MESSAGE_MAX - 1)
}

/// The fuzz corpora of the core and of CTAPHID, and mutants of them: a line a story, `r` before a request, `p` before a
/// packet. Without authenticatorReset, whose window an emulator's time does not keep.
fn wire_stories() -> String {
    let mut text = String::new();
    let mut mutator = Mutator::new(6);
    let mut told = |steps: Vec<(char, Vec<u8>)>| {
        for (kind, step) in &steps {
            let hex: String = step.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = write!(text, "{kind}{hex} ");
        }
        text.push('\n');
    };
    let commands = corpus::commands();
    let right: Vec<Vec<u8>> =
        commands.iter().flat_map(|story| requests_of(story)).map(<[u8]>::to_vec).collect();
    let mutants: Vec<_> = (0..400).map(|_| mutator.mutant(&right)).collect();
    let requests = right.into_iter().chain(mutants).filter(|request| request.first() != Some(&0x07));
    told(requests.map(|request| ('r', request)).collect());
    let packets = corpus::packets();
    let mutants: Vec<_> = (0..12).map(|_| mutator.mutant(&packets)).collect();
    for story in packets.iter().chain(&mutants) {
        told(packets_of(story).take(40).map(|packet| ('p', packet)).collect());
    }
    text
}
