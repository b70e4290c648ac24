//! The program's volume as one image, for controllers that bring a filesystem of their own.

use super::storage::ask;
use crate::abi::{Code, MAX_BUFFER, MODULE, Stop, answer, get, put};
use crate::guest::{Guest, enter, reenter};
use crate::host::Request;
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(MODULE, "get_storage", |mut caller: Caller<'_, Guest>, (ptr,): (u32,)| {
        Box::new(async move { answer(get_image(&mut caller, ptr).await) })
    })?;
    linker.func_wrap_async(MODULE, "set_storage", |mut caller: Caller<'_, Guest>, (ptr, len): (u32, u32)| {
        Box::new(async move { answer(set_image(&mut caller, ptr, len).await) })
    })?;
    Ok(())
}

async fn get_image(caller: &mut Caller<'_, Guest>, ptr: u32) -> Result<usize, Stop> {
    enter(caller)?;
    let image = ask(caller, "get_storage", Code::Storage, Request::VolumeImage).await?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &image.unwrap_or_default())?)
}

async fn set_image(caller: &mut Caller<'_, Guest>, ptr: u32, len: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let image = get(memory, ptr, len)?;
    if image.len() > MAX_BUFFER {
        let reason = format!("an image of {len} bytes, at most {MAX_BUFFER} are taken");
        return Err(guest.refused("set_storage", reason, Code::BufferTooLarge));
    }
    let image = image.to_vec();
    ask(caller, "set_storage", Code::Storage, Request::SetVolumeImage(image)).await?;
    Ok(0)
}
