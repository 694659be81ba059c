//! Stories of CTAP2 and U2F requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|story: &[u8]| {
    end_to_end::fuzz::commands(story);
});
