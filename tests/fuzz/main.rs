//! libFuzzer around one target of `end_to_end::fuzz`: `FUZZ_TARGET` names it. `run`, beside this, builds and runs it.
//!
//! With `FUZZ_CORPUS` it first writes what the target begins with into that folder.
#![no_main]

use std::sync::LazyLock;

use end_to_end::fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    end_to_end::fuzz::find(&name)
});

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("FUZZ_CORPUS") {
            TARGET.write_corpus(folder.as_ref()).expect("the folder takes files");
        }
    },
    |story: &[u8]| (TARGET.harness)(story)
);
