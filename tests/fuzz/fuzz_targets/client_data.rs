#![no_main]

libfuzzer_sys::fuzz_target!(|story: &[u8]| (end_to_end::fuzz::find("client_data").harness)(story));
