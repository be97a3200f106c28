#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| keypod_fuzz::audit(bytes));
