//! What all host calls have in common that others than the host answer.

use crate::error::RunError;
use crate::guest::Guest;
use crate::host::{Host, HostError};
use crate::network::{NetworkAllowance, NetworkReply, Remote};
use std::time::Instant;

/// Makes a network call, within what the run may still use, and counts it. The outer error ends the run.
pub(crate) async fn network<T: Send + 'static>(
    guest: &mut Guest,
    begin: impl FnOnce(&mut dyn Host, NetworkAllowance) -> Remote<NetworkReply<T>> + Send + 'static,
) -> Result<Result<T, HostError>, RunError> {
    let allowance = guest.meter.network_call()?;
    let reply = for_answer(guest, move |host| begin(host, allowance)).await?;
    guest.meter.network_reply(&reply)?;
    Ok(reply.answer)
}

/// Suspends the run, which gives its thread back, until the answer is there; or ends it when its time is up.
pub(crate) async fn for_answer<T: Send + 'static>(
    guest: &mut Guest,
    begin: impl FnOnce(&mut dyn Host) -> Remote<T> + Send + 'static,
) -> Result<T, RunError> {
    let asked = Instant::now();
    let (line, until) = (guest.line.clone(), guest.meter.wall_clock_end());
    let (answer, resumed) = line.call(until, begin).await;
    guest.meter.waited(asked, resumed);
    let limit = guest.meter.limits().wall_clock;
    answer.ok_or(RunError::WallClock { limit })
}
