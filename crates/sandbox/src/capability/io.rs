//! Arguments in, result or panic out.

use crate::abi::{Code, MODULE, Stop, answer, get, put};
use crate::error::{MAX_PANIC, RunError};
use crate::guest::{Guest, enter};
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap(MODULE, "args", |mut caller: Caller<'_, Guest>, ptr: u32| answer(args(&mut caller, ptr)))?;
    linker.func_wrap(MODULE, "ret", |mut caller: Caller<'_, Guest>, ptr: u32, len: u32| {
        answer(ret(&mut caller, ptr, len))
    })?;
    linker.func_wrap(MODULE, "panic", |mut caller: Caller<'_, Guest>, ptr: u32, len: u32| {
        answer(panic(&mut caller, ptr, len)).map(drop)
    })?;
    Ok(())
}

fn args(caller: &mut Caller<'_, Guest>, ptr: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    Ok(put(memory, ptr, &guest.args)?)
}

fn ret(caller: &mut Caller<'_, Guest>, ptr: u32, len: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let bytes = get(memory, ptr, len)?;
    guest.meter.output(bytes.len())?;
    // What was given is remembered even if it is bad: a controller that does not look at the code must not end in
    // success without a result.
    match serde_json::from_slice(bytes) {
        Ok(value) => {
            guest.ret = Some(Ok(value));
            Ok(0)
        }
        Err(error) => {
            guest.ret = Some(Err(error.to_string()));
            Err(Code::BadReturn.into())
        }
    }
}

fn panic(caller: &mut Caller<'_, Guest>, ptr: u32, len: u32) -> Result<usize, Stop> {
    let (memory, _) = enter(caller)?;
    Err(match get(memory, ptr, len) {
        Ok(bytes) => RunError::panicked(&String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_PANIC)])),
        Err(_) => {
            RunError::panicked(&format!("(its message can't be read: {len} bytes at {ptr} are outside its memory)"))
        }
    }
    .into())
}
