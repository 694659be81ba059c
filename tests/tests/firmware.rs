//! The firmware, without hardware: emulated boards and the host, driven by one client, must say the same.

use std::fmt::Write as _;
use std::path::PathBuf;

use end_to_end::firmware::{EMULATED, Image, OTHERS, ready};
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
    let images: Vec<Image> = EMULATED.into_iter().chain(OTHERS).collect();
    let Some(folder) = ready(&images) else { return };
    end_to_end::pytest_with("test_firmware_figures.py", &[("DOPPELKEY_FIRMWARE", &folder)]);
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
