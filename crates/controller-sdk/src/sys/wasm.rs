//! The imports of the module `valence`. Pointers and lengths are 32 bits wide here, so a slice is two `u32`.
#![allow(unsafe_code)]

use super::Buffer;
use alloc::vec::Vec;

mod import {
    // SAFETY: names and signatures are those of the ABI.
    #[link(wasm_import_module = "valence")]
    unsafe extern "C" {
        pub(super) fn args(ptr: *mut u8) -> i32;
        pub(super) fn ret(ptr: *const u8, len: usize) -> i32;
        pub(super) fn log(ptr: *const u8, len: usize) -> i32;
        pub(super) fn panic(ptr: *const u8, len: usize);
        pub(super) fn get_storage_file(path: *const u8, path_len: usize, ptr: *mut u8) -> i32;
        pub(super) fn set_storage_file(path: *const u8, path_len: usize, ptr: *const u8, len: usize) -> i32;
        pub(super) fn get_raw_storage(ptr: *mut u8) -> i32;
        pub(super) fn set_raw_storage(ptr: *const u8, len: usize) -> i32;
        pub(super) fn get_controller(ptr: *mut u8) -> i32;
        pub(super) fn get_historical(ptr: *mut u8) -> i32;
        pub(super) fn get_state_proof(
            domain: *const u8,
            domain_len: usize,
            args: *const u8,
            args_len: usize,
            ptr: *mut u8,
        ) -> i32;
        pub(super) fn get_latest_block(domain: *const u8, domain_len: usize, ptr: *mut u8) -> i32;
        pub(super) fn get_block_proof(domain: *const u8, domain_len: usize, number: *const u8, ptr: *mut u8) -> i32;
        pub(super) fn get_historical_update(root: *const u8, ptr: *mut u8) -> i32;
        pub(super) fn http(args: *const u8, args_len: usize, ptr: *mut u8) -> i32;
        pub(super) fn get_reason(ptr: *mut u8) -> i32;
        pub(super) fn alchemy(
            chain: *const u8,
            chain_len: usize,
            method: *const u8,
            method_len: usize,
            params: *const u8,
            params_len: usize,
            ptr: *mut u8,
        ) -> i32;
    }
}

impl Buffer {
    pub(crate) fn offered() -> Self {
        // Reserved, not filled: only what the host writes is touched.
        Self(Vec::with_capacity(Self::CAPACITY))
    }

    /// # Panics
    /// Never: the caller has checked `len` against the capacity.
    pub(crate) fn taken(mut self, len: usize) -> Vec<u8> {
        assert!(len <= self.0.capacity());
        // SAFETY: within the capacity, and the host has said that it wrote the first `len` bytes.
        unsafe { self.0.set_len(len) };
        self.0.as_slice().to_vec()
    }
}

pub(crate) fn args(buffer: &mut Buffer) -> i32 {
    // SAFETY: the buffer has the capacity the host may fill.
    unsafe { import::args(buffer.0.as_mut_ptr()) }
}

pub(crate) fn ret(result: &[u8]) -> i32 {
    // SAFETY: the host reads the slice during the call.
    unsafe { import::ret(result.as_ptr(), result.len()) }
}

pub(crate) fn log(line: &[u8]) -> i32 {
    // SAFETY: the host reads the slice during the call.
    unsafe { import::log(line.as_ptr(), line.len()) }
}

pub(crate) fn panic(message: &[u8]) {
    // SAFETY: the host reads the slice during the call.
    unsafe { import::panic(message.as_ptr(), message.len()) }
}

pub(crate) fn get_storage_file(path: &[u8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the path during the call; the buffer has the capacity the host may fill.
    unsafe { import::get_storage_file(path.as_ptr(), path.len(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn set_storage_file(path: &[u8], contents: &[u8]) -> i32 {
    // SAFETY: the host reads both slices during the call.
    unsafe { import::set_storage_file(path.as_ptr(), path.len(), contents.as_ptr(), contents.len()) }
}

pub(crate) fn get_raw_storage(buffer: &mut Buffer) -> i32 {
    // SAFETY: the buffer has the capacity the host may fill.
    unsafe { import::get_raw_storage(buffer.0.as_mut_ptr()) }
}

pub(crate) fn set_raw_storage(contents: &[u8]) -> i32 {
    // SAFETY: the host reads the slice during the call.
    unsafe { import::set_raw_storage(contents.as_ptr(), contents.len()) }
}

pub(crate) fn get_controller(hash: &mut [u8; 32]) -> i32 {
    // SAFETY: the host writes 32 bytes.
    unsafe { import::get_controller(hash.as_mut_ptr()) }
}

pub(crate) fn get_historical(hash: &mut [u8; 32]) -> i32 {
    // SAFETY: the host writes 32 bytes.
    unsafe { import::get_historical(hash.as_mut_ptr()) }
}

pub(crate) fn alchemy(chain: &[u8], method: &[u8], params: &[u8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the slices during the call; the buffer has the capacity the host may fill.
    unsafe {
        import::alchemy(
            chain.as_ptr(),
            chain.len(),
            method.as_ptr(),
            method.len(),
            params.as_ptr(),
            params.len(),
            buffer.0.as_mut_ptr(),
        )
    }
}

pub(crate) fn get_state_proof(domain: &[u8], args: &[u8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the slices during the call; the buffer has the capacity the host may fill.
    unsafe { import::get_state_proof(domain.as_ptr(), domain.len(), args.as_ptr(), args.len(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn get_latest_block(domain: &[u8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the slice during the call; the buffer has the capacity the host may fill.
    unsafe { import::get_latest_block(domain.as_ptr(), domain.len(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn get_block_proof(domain: &[u8], number: &[u8; 8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the slice and 8 bytes during the call; the buffer has the capacity the host may fill.
    unsafe { import::get_block_proof(domain.as_ptr(), domain.len(), number.as_ptr(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn get_historical_update(root: &[u8; 32], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads 32 bytes during the call; the buffer has the capacity the host may fill.
    unsafe { import::get_historical_update(root.as_ptr(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn http(args: &[u8], buffer: &mut Buffer) -> i32 {
    // SAFETY: the host reads the slice during the call; the buffer has the capacity the host may fill.
    unsafe { import::http(args.as_ptr(), args.len(), buffer.0.as_mut_ptr()) }
}

pub(crate) fn get_reason(buffer: &mut Buffer) -> i32 {
    // SAFETY: the buffer has the capacity the host may fill.
    unsafe { import::get_reason(buffer.0.as_mut_ptr()) }
}
