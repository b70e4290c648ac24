//! What a root holds of other chains: the highest block of a domain, what shows a block at the root, proofs of a domain's
//! state; and how a root came from the one before it.

use super::pack;
use crate::abi::{Code, MAX_NAME, MODULE, Stop, answer, get, get_fixed, get_text, put};
use crate::guest::{Guest, enter, reenter};
use crate::wait;
use coprocessor_types::Root;
use wasmtime::{Caller, Linker};

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        "get_latest_block",
        |mut caller: Caller<'_, Guest>, (domain, domain_len, ptr): (u32, u32, u32)| {
            Box::new(async move { answer(latest_block(&mut caller, (domain, domain_len), ptr).await) })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "get_block_proof",
        |mut caller: Caller<'_, Guest>, (domain, domain_len, number_ptr, ptr): (u32, u32, u32, u32)| {
            Box::new(async move { answer(block_proof(&mut caller, (domain, domain_len), number_ptr, ptr).await) })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "get_historical_update",
        |mut caller: Caller<'_, Guest>, (root_ptr, ptr): (u32, u32)| {
            Box::new(async move { answer(historical_update(&mut caller, root_ptr, ptr).await) })
        },
    )?;
    linker.func_wrap_async(
        MODULE,
        "get_state_proof",
        |mut caller: Caller<'_, Guest>, (domain, domain_len, args, args_len, ptr): (u32, u32, u32, u32, u32)| {
            Box::new(async move { answer(state_proof(&mut caller, (domain, domain_len), (args, args_len), ptr).await) })
        },
    )?;
    Ok(())
}

async fn latest_block(caller: &mut Caller<'_, Guest>, domain: (u32, u32), ptr: u32) -> Result<usize, Stop> {
    const CALL: &str = "get_latest_block";
    let (memory, guest) = enter(caller)?;
    let domain = name(CALL, Code::LatestBlock, memory, guest, domain)?;
    let block = wait::for_answer(caller.data_mut(), move |host| host.latest_block(domain)).await?;
    let block = block.map_err(|error| caller.data_mut().failed(CALL, &error, Code::LatestBlock))?;
    let packed = pack::latest_block(block.as_ref())?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &packed)?)
}

async fn block_proof(
    caller: &mut Caller<'_, Guest>,
    domain: (u32, u32),
    number_ptr: u32,
    ptr: u32,
) -> Result<usize, Stop> {
    const CALL: &str = "get_block_proof";
    let (memory, guest) = enter(caller)?;
    let number = u64::from_le_bytes(get_fixed(memory, number_ptr)?);
    let domain = name(CALL, Code::BlockProof, memory, guest, domain)?;
    let proof = wait::for_answer(caller.data_mut(), move |host| host.block_proof(domain, number)).await?;
    let proof = proof.map_err(|error| caller.data_mut().failed(CALL, &error, Code::BlockProof))?;
    let packed = pack::block_proof(&proof)?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &packed)?)
}

async fn historical_update(caller: &mut Caller<'_, Guest>, root_ptr: u32, ptr: u32) -> Result<usize, Stop> {
    const CALL: &str = "get_historical_update";
    let (memory, _) = enter(caller)?;
    let root = Root(get_fixed(memory, root_ptr)?);
    let update = wait::for_answer(caller.data_mut(), move |host| host.root_update(root)).await?;
    let update = update.map_err(|error| caller.data_mut().failed(CALL, &error, Code::HistoricalUpdate))?;
    let packed = pack::root_update(update.as_ref())?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &packed)?)
}

async fn state_proof(
    caller: &mut Caller<'_, Guest>,
    domain: (u32, u32),
    (args_ptr, args_len): (u32, u32),
    ptr: u32,
) -> Result<usize, Stop> {
    const CALL: &str = "get_state_proof";
    let fuel = caller.get_fuel().unwrap_or_default();
    let (memory, guest) = enter(caller)?;
    let domain = name(CALL, Code::StateProof, memory, guest, domain)?;
    let Ok(args) = serde_json::from_slice(get(memory, args_ptr, args_len)?) else {
        return Err(guest.refused(CALL, "its arguments are not JSON", Code::Json));
    };
    let limits = guest.meter.left(fuel);
    let reply = wait::for_answer(caller.data_mut(), move |host| host.state_proof(domain, args, limits)).await?;
    // The other's work is this run's: with none left it ends at its next instruction.
    let _ = caller.set_fuel(fuel.saturating_sub(reply.usage.fuel));
    let guest = caller.data_mut();
    guest.meter.used_by_other(&reply.usage);
    let proof = reply.answer.map_err(|error| guest.failed(CALL, &error, Code::StateProof))?;
    let packed = pack::state_proof(&proof)?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, &packed)?)
}

fn name(
    call: &'static str,
    refused: Code,
    memory: &[u8],
    guest: &mut Guest,
    (ptr, len): (u32, u32),
) -> Result<String, Stop> {
    if len > MAX_NAME {
        let reason = format!("a domain's name of {len} bytes, at most {MAX_NAME} are allowed");
        return Err(guest.refused(call, reason, refused));
    }
    Ok(get_text(memory, ptr, len)?.to_owned())
}
