//! The run's log.

use crate::abi::{MODULE, Stop, answer, get_text};
use crate::guest::{Guest, enter};
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "log", |mut caller: Caller<'_, Guest>, ptr: u32, len: u32| {
        answer(log(&mut caller, ptr, len))
    })?;
    Ok(())
}

/// For modules that import `log` without a result: both forms are in use.
pub(super) fn link_silent(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap(MODULE, "log", |mut caller: Caller<'_, Guest>, ptr: u32, len: u32| {
        answer(log(&mut caller, ptr, len)).map(drop)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

fn log(caller: &mut Caller<'_, Guest>, ptr: u32, len: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    guest.log(get_text(memory, ptr, len)?.to_owned())?;
    Ok(0)
}
