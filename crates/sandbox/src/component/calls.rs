//! The interfaces that a component imports. They ask the same [`Host`](crate::Host) as the other interface's calls, and are
//! counted and recorded as those are.

use super::types::{Block, Failure, Opening, Request, Response, Update, WitStateProof, hash};
use crate::abi::{MAX_BUFFER, MAX_NAME, MAX_PATH};
use crate::error::RunError;
use crate::guest::Guest;
use crate::host::{self, HostError, Request as Ask};
use crate::network::RpcRequest;
use crate::wait;
use coprocessor_types::Root;
use serde_json::Value;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance};

/// A call's answer, or why there is none; the outer error ends the run.
type Outcome<T> = wasmtime::Result<(Result<T, Failure>,)>;

/// Adds every interface of the world `capabilities`.
pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    console(&mut linker.instance("coprocessor:controller/console@1.0.0")?)?;
    context(&mut linker.instance("coprocessor:controller/context@1.0.0")?)?;
    storage(&mut linker.instance("coprocessor:controller/storage@1.0.0")?)?;
    network(linker)?;
    chain(&mut linker.instance("coprocessor:controller/chain@1.0.0")?)
}

fn console(instance: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    instance.func_wrap("log", |mut store: StoreContextMut<'_, Guest>, (line,): (String,)| {
        let guest = store.data_mut();
        guest.meter.host_call()?;
        Ok(guest.log(line)?)
    })?;
    instance.func_wrap("panic", |mut store: StoreContextMut<'_, Guest>, (message,): (String,)| {
        store.data_mut().meter.host_call()?;
        Err::<(), _>(RunError::panicked(&message).into())
    })
}

fn context(instance: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    fn tell(store: &mut StoreContextMut<'_, Guest>, hash: fn(&Guest) -> [u8; 32]) -> wasmtime::Result<(Vec<u8>,)> {
        store.data_mut().meter.host_call()?;
        Ok((hash(store.data()).to_vec(),))
    }
    instance.func_wrap("program", |mut store: StoreContextMut<'_, Guest>, (): ()| {
        tell(&mut store, |guest| guest.program.0)
    })?;
    instance.func_wrap("root", |mut store: StoreContextMut<'_, Guest>, (): ()| tell(&mut store, |guest| guest.root.0))
}

fn storage(instance: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    instance.func_wrap_async("read-file", |mut store: StoreContextMut<'_, Guest>, (path,): (String,)| {
        Box::new(async move {
            const CALL: &str = "storage.read-file";
            let guest = begin(&mut store)?;
            match path_fits(&path) {
                Ok(()) => ask(guest, CALL, Ask::ReadFile(path), |content| content).await,
                Err(reason) => refuse(guest, CALL, reason),
            }
        })
    })?;
    instance.func_wrap_async(
        "write-file",
        |mut store: StoreContextMut<'_, Guest>, (path, content): (String, Vec<u8>)| {
            Box::new(async move {
                const CALL: &str = "storage.write-file";
                let guest = begin(&mut store)?;
                match path_fits(&path) {
                    Ok(()) => ask(guest, CALL, Ask::WriteFile(path, content), drop).await,
                    Err(reason) => refuse(guest, CALL, reason),
                }
            })
        },
    )?;
    instance.func_wrap_async("read-raw", |mut store: StoreContextMut<'_, Guest>, (): ()| {
        Box::new(async move {
            ask(begin(&mut store)?, "storage.read-raw", Ask::RawStorage, Option::unwrap_or_default).await
        })
    })?;
    instance.func_wrap_async("write-raw", |mut store: StoreContextMut<'_, Guest>, (content,): (Vec<u8>,)| {
        Box::new(async move {
            const CALL: &str = "storage.write-raw";
            let guest = begin(&mut store)?;
            match kept(&content) {
                Ok(()) => ask(guest, CALL, Ask::SetRawStorage(content), drop).await,
                Err(too_large) => fail(guest, CALL, &too_large),
            }
        })
    })?;
    instance.func_wrap_async("read-image", |mut store: StoreContextMut<'_, Guest>, (): ()| {
        Box::new(async move {
            ask(begin(&mut store)?, "storage.read-image", Ask::VolumeImage, Option::unwrap_or_default).await
        })
    })?;
    instance.func_wrap_async("write-image", |mut store: StoreContextMut<'_, Guest>, (image,): (Vec<u8>,)| {
        Box::new(async move {
            const CALL: &str = "storage.write-image";
            let guest = begin(&mut store)?;
            match kept(&image) {
                Ok(()) => ask(guest, CALL, Ask::SetVolumeImage(image), drop).await,
                Err(too_large) => fail(guest, CALL, &too_large),
            }
        })
    })
}

fn network(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("coprocessor:controller/http@1.0.0")?.func_wrap_async(
        "send",
        |mut store: StoreContextMut<'_, Guest>, (request,): (Request,)| {
            Box::new(async move {
                let guest = begin(&mut store)?;
                let request = request.into();
                let got = wait::network(guest, move |host, allowance| host.http(request, allowance)).await?;
                give(guest, "http.send", got.map(Response::from))
            })
        },
    )?;
    linker.instance("coprocessor:controller/rpc@1.0.0")?.func_wrap_async(
        "call",
        |mut store: StoreContextMut<'_, Guest>, (chain, method, params): (String, String, String)| {
            Box::new(async move { rpc(begin(&mut store)?, chain, method, &params).await })
        },
    )
}

async fn rpc(guest: &mut Guest, chain: String, method: String, params: &str) -> Outcome<String> {
    const CALL: &str = "rpc.call";
    if chain.len().max(method.len()) > MAX_NAME as usize {
        return refuse(guest, CALL, format!("names of chains and methods have at most {MAX_NAME} bytes"));
    }
    let Ok(params) = serde_json::from_str::<Value>(params) else {
        return refuse(guest, CALL, "its parameters are not JSON".into());
    };
    let request = RpcRequest { chain, method, params };
    let got = wait::network(guest, move |host, allowance| host.rpc(request, allowance)).await?;
    let got = got.map(|result| result.to_string()).and_then(|text| match text.len() {
        0..=MAX_BUFFER => Ok(text),
        len => Err(HostError::TooLarge { len: len as u64 }),
    });
    give(guest, CALL, got)
}

fn chain(instance: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    instance.func_wrap_async("latest-block", |mut store: StoreContextMut<'_, Guest>, (domain,): (String,)| {
        Box::new(async move {
            const CALL: &str = "chain.latest-block";
            let guest = begin(&mut store)?;
            if let Err(reason) = name_fits(&domain) {
                return refuse(guest, CALL, reason);
            }
            let block = wait::for_answer(guest, move |host| host.latest_block(domain)).await?;
            give(guest, CALL, block.map(|block| block.map(Block::from)))
        })
    })?;
    instance.func_wrap_async(
        "block-opening",
        |mut store: StoreContextMut<'_, Guest>, (domain, number): (String, u64)| {
            Box::new(async move {
                const CALL: &str = "chain.block-opening";
                let guest = begin(&mut store)?;
                if let Err(reason) = name_fits(&domain) {
                    return refuse(guest, CALL, reason);
                }
                let proof = wait::for_answer(guest, move |host| host.block_proof(domain, number)).await?;
                give(guest, CALL, proof.map(Opening::from))
            })
        },
    )?;
    instance.func_wrap_async("root-update", |mut store: StoreContextMut<'_, Guest>, (root,): (Vec<u8>,)| {
        Box::new(async move {
            const CALL: &str = "chain.root-update";
            let guest = begin(&mut store)?;
            let root = match hash("root", root) {
                Ok(root) => Root(root),
                Err(reason) => return refuse(guest, CALL, reason),
            };
            let update = wait::for_answer(guest, move |host| host.root_update(root)).await?;
            give(guest, CALL, update.map(|update| update.map(Update::from)))
        })
    })?;
    instance.func_wrap_async(
        "prove-state",
        |mut store: StoreContextMut<'_, Guest>, (domain, args): (String, String)| {
            Box::new(async move { prove_state(&mut store, domain, &args).await })
        },
    )
}

async fn prove_state(store: &mut StoreContextMut<'_, Guest>, domain: String, args: &str) -> Outcome<WitStateProof> {
    const CALL: &str = "chain.prove-state";
    let fuel = store.get_fuel()?;
    let guest = begin(store)?;
    if let Err(reason) = name_fits(&domain) {
        return refuse(guest, CALL, reason);
    }
    let Ok(args) = serde_json::from_str(args) else {
        return refuse(guest, CALL, "its arguments are not JSON".into());
    };
    let limits = guest.meter.left(fuel);
    let reply = wait::for_answer(guest, move |host| host.state_proof(domain, args, limits)).await?;
    guest.meter.used_by_other(&reply.usage);
    // The other's work is this run's: with none left it ends at its next instruction.
    store.set_fuel(fuel.saturating_sub(reply.usage.fuel))?;
    give(store.data_mut(), CALL, reply.answer.map(WitStateProof::from))
}

/// Counts the call before it does anything.
fn begin<'a>(store: &'a mut StoreContextMut<'_, Guest>) -> wasmtime::Result<&'a mut Guest> {
    let guest = store.data_mut();
    guest.meter.host_call()?;
    Ok(guest)
}

/// Suspends the controller until the host has served the request.
async fn ask<T>(
    guest: &mut Guest,
    call: &'static str,
    request: host::Request,
    answer: impl FnOnce(Option<Vec<u8>>) -> T,
) -> Outcome<T> {
    let line = guest.line.clone();
    let reply = line.ask(request).await;
    give(guest, call, reply.map(answer))
}

fn give<T>(guest: &mut Guest, call: &'static str, answer: Result<T, HostError>) -> Outcome<T> {
    match answer {
        Ok(answer) => Ok((Ok(answer),)),
        Err(error) => fail(guest, call, &error),
    }
}

fn refuse<T>(guest: &mut Guest, call: &'static str, reason: String) -> Outcome<T> {
    fail(guest, call, &HostError::Refused { reason })
}

fn fail<T>(guest: &mut Guest, call: &'static str, error: &HostError) -> Outcome<T> {
    guest.note(call, error)?;
    Ok((Err(Failure::of(error)),))
}

fn path_fits(path: &str) -> Result<(), String> {
    match path.len() {
        len if len > MAX_PATH as usize => Err(format!("a path of {len} bytes, at most {MAX_PATH} are allowed")),
        _ => Ok(()),
    }
}

fn name_fits(name: &str) -> Result<(), String> {
    match name.len() {
        len if len > MAX_NAME as usize => {
            Err(format!("a domain's name of {len} bytes, at most {MAX_NAME} are allowed"))
        }
        _ => Ok(()),
    }
}

/// What is longer could never be given back.
fn kept(content: &[u8]) -> Result<(), HostError> {
    match content.len() {
        0..=MAX_BUFFER => Ok(()),
        len => Err(HostError::TooLarge { len: len as u64 }),
    }
}
