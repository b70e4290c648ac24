//! What a root holds of other chains: the highest block of a domain, and proofs of a domain's state.

use super::remote;
use crate::abi::{Code, MODULE, Stop, answer, get, get_text, put};
use crate::guest::{Guest, enter, reenter};
use crate::network::LatestBlock;
use coprocessor_types::StateProof;
use rmp::encode::{write_bin, write_uint};
use wasmtime::{Caller, Linker};

/// No domain has a longer name.
const MAX_NAME: u32 = 256;

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
    let block = remote::wait(caller, move |host| host.latest_block(domain)).await?;
    let block = block.map_err(|error| caller.data_mut().failed(CALL, error, Code::LatestBlock))?;
    let packed = pack_block(block.as_ref())?;
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
        guest.log(format!("{CALL} refused: its arguments are not JSON"))?;
        return Err(Code::Json.into());
    };
    let limits = guest.meter.left(fuel);
    let reply = remote::wait(caller, move |host| host.state_proof(domain, args, limits)).await?;
    // The other's work is this run's: with none left it ends at its next instruction.
    let _ = caller.set_fuel(fuel.saturating_sub(reply.usage.fuel));
    let guest = caller.data_mut();
    guest.meter.used_by_other(&reply.usage);
    let proof = reply.answer.map_err(|error| guest.failed(CALL, error, Code::StateProof))?;
    let packed = pack_proof(&proof)?;
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
        guest.log(format!("{call} refused: a domain's name of {len} bytes, at most {MAX_NAME} are allowed"))?;
        return Err(refused.into());
    }
    Ok(get_text(memory, ptr, len)?.to_owned())
}

/// MessagePack of an optional struct: nil, or its fields one after the other.
fn pack_block(block: Option<&LatestBlock>) -> Result<Vec<u8>, Code> {
    let Some(LatestBlock { domain, number, state_root, payload }) = block else {
        return Ok(vec![rmp::Marker::Null.to_u8()]);
    };
    let mut packed = Vec::with_capacity(payload.len() + 160);
    write_hash(&mut packed, &domain.0)?;
    write_uint(&mut packed, *number).map_err(|_| Code::Serialization)?;
    write_hash(&mut packed, state_root)?;
    write_bin(&mut packed, payload).map_err(|_| Code::Serialization)?;
    Ok(packed)
}

/// MessagePack of a struct: its fields one after the other.
fn pack_proof(proof: &StateProof) -> Result<Vec<u8>, Code> {
    let StateProof { domain, number, state_root, payload, proof } = proof;
    let mut packed = Vec::with_capacity(payload.len() + proof.len() + 160);
    write_hash(&mut packed, &domain.0)?;
    write_uint(&mut packed, *number).map_err(|_| Code::Serialization)?;
    write_hash(&mut packed, state_root)?;
    write_bin(&mut packed, payload).map_err(|_| Code::Serialization)?;
    write_bin(&mut packed, proof).map_err(|_| Code::Serialization)?;
    Ok(packed)
}

/// An array of known length is its numbers, without a header.
fn write_hash(packed: &mut Vec<u8>, hash: &[u8; 32]) -> Result<(), Code> {
    hash.iter().try_for_each(|byte| write_uint(packed, (*byte).into()).map(drop)).map_err(|_| Code::Serialization)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coprocessor_types::DomainId;
    use msgpacker::Packable as _;

    #[test]
    fn packs_as_controllers_unpack() {
        let (domain, state_root) = ([0x7f; 32], [0x80; 32]);
        for number in [0_u64, 127, 128, 255, 256, 70_000, u64::MAX] {
            for payload in [vec![], vec![1; 300]] {
                let fields =
                    [domain.pack_to_vec(), number.pack_to_vec(), state_root.pack_to_vec(), payload.pack_to_vec()];
                let block = LatestBlock { domain: DomainId(domain), number, state_root, payload: payload.clone() };
                assert_eq!(pack_block(Some(&block)).unwrap(), fields.concat());
                let proof = StateProof { domain: DomainId(domain), number, state_root, payload, proof: vec![2, 3] };
                assert_eq!(pack_proof(&proof).unwrap(), [fields.concat(), vec![0xc4, 2, 2, 3]].concat());
            }
        }
        assert_eq!(pack_block(None).unwrap(), [0xc0]);
    }
}
