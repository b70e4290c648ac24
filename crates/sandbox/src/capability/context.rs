//! Which program runs, and at which root.

use crate::abi::{MODULE, Stop, answer, put};
use crate::guest::{Guest, enter};
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "get_controller", |mut caller: Caller<'_, Guest>, ptr: u32| {
        answer(write_hash(&mut caller, ptr, |guest| guest.program.0))
    })?;
    linker.func_wrap(MODULE, "get_historical", |mut caller: Caller<'_, Guest>, ptr: u32| {
        answer(write_hash(&mut caller, ptr, |guest| guest.root.0))
    })?;
    Ok(())
}

fn write_hash(caller: &mut Caller<'_, Guest>, ptr: u32, hash: fn(&Guest) -> [u8; 32]) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    Ok(put(memory, ptr, &hash(guest))?)
}
