//! What all host calls have in common that others than the host answer.

use crate::abi::{Code, Stop};
use crate::error::RunError;
use crate::guest::Guest;
use crate::host::Host;
use crate::network::{NetworkAllowance, NetworkReply, Remote};
use std::time::Instant;
use wasmtime::Caller;

/// Makes a network call, within what the run may still use, and counts it. `code` is for a call that got no answer.
pub(super) async fn network<T: Send + 'static>(
    caller: &mut Caller<'_, Guest>,
    call: &'static str,
    code: fn(&crate::HostError) -> Code,
    begin: impl FnOnce(&mut dyn Host, NetworkAllowance) -> Remote<NetworkReply<T>> + Send + 'static,
) -> Result<T, Stop> {
    let allowance = caller.data_mut().meter.network_call()?;
    let reply = wait(caller, move |host| begin(host, allowance)).await?;
    let guest = caller.data_mut();
    guest.meter.network_reply(&reply)?;
    reply.answer.map_err(|error| {
        let code = code(&error);
        guest.failed(call, error, code)
    })
}

/// Suspends the run, which gives its thread back, until the answer is there; or ends it when its time is up.
pub(super) async fn wait<T: Send + 'static>(
    caller: &mut Caller<'_, Guest>,
    begin: impl FnOnce(&mut dyn Host) -> Remote<T> + Send + 'static,
) -> Result<T, Stop> {
    let asked = Instant::now();
    let Guest { line, meter, .. } = caller.data();
    let (line, until) = (line.clone(), meter.wall_clock_end());
    let (answer, resumed) = line.call(until, begin).await;
    let meter = &mut caller.data_mut().meter;
    meter.waited(asked, resumed);
    let limit = meter.limits().wall_clock;
    answer.ok_or_else(|| RunError::WallClock { limit }.into())
}
