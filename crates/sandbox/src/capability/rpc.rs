//! JSON-RPC on chains that the operator named. The import is called `alchemy`, whoever answers.

use crate::abi::{Code, MAX_NAME, MODULE, Stop, answer, get, get_text, put};
use crate::guest::{Guest, enter, reenter};
use crate::host::HostError;
use crate::network::RpcRequest;
use crate::wait;
use wasmtime::{Caller, Linker};

const CALL: &str = "alchemy";

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async(
        MODULE,
        CALL,
        |mut caller: Caller<'_, Guest>, (chain, chain_len, method, method_len, params, params_len, ptr): Args| {
            Box::new(async move {
                let texts = [(chain, chain_len), (method, method_len), (params, params_len)];
                answer(rpc(&mut caller, texts, ptr).await)
            })
        },
    )?;
    Ok(())
}

type Args = (u32, u32, u32, u32, u32, u32, u32);

async fn rpc(caller: &mut Caller<'_, Guest>, texts: [(u32, u32); 3], ptr: u32) -> Result<usize, Stop> {
    let (memory, guest) = enter(caller)?;
    let [(chain_ptr, chain_len), (method_ptr, method_len), (params_ptr, params_len)] = texts;
    if chain_len.max(method_len) > MAX_NAME {
        let reason = format!("names of chains and methods have at most {MAX_NAME} bytes");
        return Err(guest.refused(CALL, reason, Code::NoRpcEndpoint));
    }
    let chain = get_text(memory, chain_ptr, chain_len)?.to_owned();
    let method = get_text(memory, method_ptr, method_len)?.to_owned();
    let Ok(params) = serde_json::from_slice(get(memory, params_ptr, params_len)?) else {
        return Err(guest.refused(CALL, "its parameters are not JSON", Code::Json));
    };
    let request = RpcRequest { chain, method, params };
    let begin = move |host: &mut dyn crate::Host, allowance| host.rpc(request, allowance);
    let result = wait::network(caller.data_mut(), begin).await?.map_err(|error| {
        let code = match error {
            HostError::Refused { .. } => Code::NoRpcEndpoint,
            _ => Code::RpcResult,
        };
        caller.data_mut().failed(CALL, &error, code)
    })?;
    let (memory, _) = reenter(caller)?;
    Ok(put(memory, ptr, result.to_string().as_bytes())?)
}
