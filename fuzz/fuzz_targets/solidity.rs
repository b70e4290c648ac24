#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| coprocessor_fuzz::run("solidity", data));
