//! Neither in the sandbox nor under test: there is no host.

use super::Buffer;

pub(crate) fn args(_: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn ret(_: &[u8]) -> i32 {
    no_host()
}

pub(crate) fn log(_: &[u8]) -> i32 {
    no_host()
}

pub(crate) fn get_storage_file(_: &[u8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn set_storage_file(_: &[u8], _: &[u8]) -> i32 {
    no_host()
}

pub(crate) fn get_raw_storage(_: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn set_raw_storage(_: &[u8]) -> i32 {
    no_host()
}

pub(crate) fn get_controller(_: &mut [u8; 32]) -> i32 {
    no_host()
}

pub(crate) fn get_historical(_: &mut [u8; 32]) -> i32 {
    no_host()
}

pub(crate) fn alchemy(_: &[u8], _: &[u8], _: &[u8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn get_state_proof(_: &[u8], _: &[u8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn get_latest_block(_: &[u8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn get_block_proof(_: &[u8], _: &[u8; 8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn get_historical_update(_: &[u8; 32], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn http(_: &[u8], _: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn get_reason(_: &mut Buffer) -> i32 {
    no_host()
}

pub(crate) fn panic(_: &[u8]) {
    no_host();
}

fn no_host() -> ! {
    panic!(
        "host calls work in the sandbox only; to test a controller, enable the feature `testing` of \
         coprocessor-controller-sdk under [dev-dependencies] and make a controller_sdk::testing::Runtime"
    )
}
