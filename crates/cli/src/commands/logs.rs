//! `logs`: what a task's controller logged.

use crate::{context::Context, error::CliError, text, timeline};
use coprocessor_types::TaskId;

#[derive(clap::Args, Debug)]
pub(crate) struct Logs {
    /// The task's id
    task: TaskId,
    /// All events, not only those with a log
    #[arg(long)]
    events: bool,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<(), CliError> {
        let client = context.client()?;
        let (mut after, mut lines) = (None, 0);
        loop {
            let page = client.events(&self.task, after, None).await?.items;
            let Some(last) = page.last() else { break };
            after = Some(last.seq);
            for event in &page {
                let log: Vec<_> = timeline::log_of(event).collect();
                if log.is_empty() && !self.events {
                    continue;
                }
                lines += log.len();
                context.out.streamed(event, || {
                    if self.events {
                        return timeline::lines(event);
                    }
                    let prefix = text::printable(&event.name);
                    log.iter().map(|line| format!("{prefix} | {line}")).collect::<Vec<_>>().join("\n")
                })?;
            }
        }
        if lines == 0 && !self.events {
            context.out.note("the controller has logged nothing; --events shows what happened");
        }
        Ok(())
    }
}
