#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ratifyd_fuzz::plugin_store(data);
});
