//! Files of the program's volume, and its raw bytes.

use crate::abi::{Code, MAX_BUFFER, MAX_PATH, MODULE, Stop, answer, get, get_text, put};
use crate::guest::{Guest, enter, reenter};
use crate::host::Request;
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "get_storage_file",
        |mut caller: Caller<'_, Guest>, (path_ptr, path_len, ptr): (u32, u32, u32)| {
            Box::new(async move { answer(get_file(&mut caller, path_ptr, path_len, ptr).await) })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "set_storage_file",
        |mut caller: Caller<'_, Guest>, (path_ptr, path_len, ptr, len): (u32, u32, u32, u32)| {
            Box::new(async move { answer(set_file(&mut caller, path_ptr, path_len, ptr, len).await) })
        },
    )?;
    linker.func_wrap_async(MODULE, "get_raw_storage", |mut caller: Caller<'_, Guest>, (ptr,): (u32,)| {
        Box::new(async move { answer(get_raw(&mut caller, ptr).await) })
    })?;
    linker.func_wrap_async(MODULE, "set_raw_storage", |mut caller: Caller<'_, Guest>, (ptr, len): (u32, u32)| {
        Box::new(async move { answer(set_raw(&mut caller, ptr, len).await) })
    })?;
    Ok(())
}

async fn get_file(caller: &mut Caller<'_, Guest>, path_ptr: u32, path_len: u32, ptr: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let path = path("get_storage_file", memory, guest, path_ptr, path_len)?;
    let content = ask(caller, "get_storage_file", Code::Storage, Request::ReadFile(path)).await?;
    let packed = pack(content.as_deref())?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &packed)?)
}

async fn set_file(
    caller: &mut Caller<'_, Guest>,
    path_ptr: u32,
    path_len: u32,
    ptr: u32,
    len: u32,
) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let path = path("set_storage_file", memory, guest, path_ptr, path_len)?;
    let content = get(memory, ptr, len)?.to_vec();
    ask(caller, "set_storage_file", Code::Storage, Request::WriteFile(path, content)).await?;
    Ok(0)
}

async fn get_raw(caller: &mut Caller<'_, Guest>, ptr: u32) -> Result<usize, Stop> {
    enter(caller)?;
    let content = ask(caller, "get_raw_storage", Code::RawStorage, Request::RawStorage).await?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &content.unwrap_or_default())?)
}

async fn set_raw(caller: &mut Caller<'_, Guest>, ptr: u32, len: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let content = get(memory, ptr, len)?;
    if content.len() > MAX_BUFFER {
        // It could never be given back.
        let reason = format!("{len} bytes, at most {MAX_BUFFER} are kept");
        return Err(guest.refused("set_raw_storage", reason, Code::BufferTooLarge));
    }
    let content = content.to_vec();
    ask(caller, "set_raw_storage", Code::RawStorage, Request::SetRawStorage(content)).await?;
    Ok(0)
}

fn path(call: &'static str, memory: &[u8], guest: &mut Guest, ptr: u32, len: u32) -> Result<String, Stop> {
    if len > MAX_PATH {
        let reason = format!("a path of {len} bytes, at most {MAX_PATH} are allowed");
        return Err(guest.refused(call, reason, Code::Storage));
    }
    Ok(get_text(memory, ptr, len)?.to_owned())
}

/// Suspends the controller until the host has served the request.
pub(super) async fn ask(
    caller: &mut Caller<'_, Guest>,
    call: &'static str,
    refused: Code,
    request: Request,
) -> Result<Option<Vec<u8>>, Stop> {
    let line = caller.data().line.clone();
    match line.ask(request).await {
        Ok(content) => Ok(content),
        Err(error) => Err(caller.data_mut().failed(call, &error, refused)),
    }
}

/// MessagePack of an optional byte vector: nil, or bin.
fn pack(content: Option<&[u8]>) -> Result<Vec<u8>, Code> {
    let Some(content) = content else {
        return Ok(vec![rmp::Marker::Null.to_u8()]);
    };
    if content.len() > MAX_BUFFER {
        return Err(Code::BufferTooLarge);
    }
    let mut packed = Vec::with_capacity(content.len() + 5);
    rmp::encode::write_bin(&mut packed, content).map_err(|_| Code::Write)?;
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use msgpacker::Packable as _;

    #[test]
    fn packs_as_controllers_unpack() {
        assert_eq!(pack(None).unwrap(), None::<Vec<u8>>.pack_to_vec());
        assert_eq!(pack(None).unwrap(), [0xc0]);
        for len in [0, 1, 255, 256, 65_535, 65_536, 100_000] {
            let content = vec![0xa5; len];
            assert_eq!(pack(Some(&content)).unwrap(), Some(content).pack_to_vec(), "{len} bytes");
        }
        assert_eq!(pack(Some(b"ab")).unwrap(), [0xc4, 2, b'a', b'b']);
        assert_eq!(pack(Some(&vec![0; MAX_BUFFER + 1])), Err(Code::BufferTooLarge));
    }
}
