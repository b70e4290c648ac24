//! The run's log, and why the host call before failed.

use crate::abi::{MODULE, Stop, answer, get_text, put};
use crate::guest::{Guest, enter, enter_after};
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "log", |mut caller: Caller<'_, Guest>, ptr: u32, len: u32| {
        answer(log(&mut caller, ptr, len))
    })?;
    linker
        .func_wrap(MODULE, "get_reason", |mut caller: Caller<'_, Guest>, ptr: u32| answer(reason(&mut caller, ptr)))?;
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

/// Valence v0.4 has no such call: there the log was the only place to find a reason. Writes the text, which is empty after
/// a call that succeeded and after one whose code says all.
fn reason(caller: &mut Caller<'_, Guest>, ptr: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter_after(caller)?;
    Ok(put(memory, ptr, guest.reason.as_deref().unwrap_or_default().as_bytes())?)
}
