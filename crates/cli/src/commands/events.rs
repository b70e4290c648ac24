//! `events`: what happens to all of an owner's tasks.

use crate::{context::Context, error::CliError, text, timeline};
use coprocessor_api::client::{OwnerUpdate, Whose};
use coprocessor_types::OwnerId;
use std::pin::pin;

#[derive(clap::Args, Debug)]
pub(crate) struct Events {
    /// Go on after this sequence number [default: from now on]
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// This owner's instead of one's own
    #[arg(long, conflicts_with = "all")]
    owner: Option<OwnerId>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl Events {
    /// Prints events as they happen, until interrupted.
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let (client, out) = (context.client()?, &context.out);
        let whose = match (self.owner, self.all) {
            (Some(owner), _) => Whose::Owner(owner),
            (None, true) => Whose::All,
            (None, false) => Whose::Mine,
        };
        let mut following = client.follow_all(&whose, self.after);
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        loop {
            let update = tokio::select! {
                update = following.next() => update?,
                _ = &mut interrupted => return Ok(()),
            };
            match update {
                OwnerUpdate::Event(event) => {
                    out.streamed(&event, || format!("{}  {}", event.task, timeline::lines(&event)))?;
                }
                OwnerUpdate::Disconnected { reason, retry_in } => {
                    out.note(format_args!("{}; again in {}", text::printable(&reason), text::duration(retry_in)));
                }
            }
        }
    }
}
