//! Following a task to its end, shown as the output asks for.

use crate::{
    context::Context,
    error::CliError,
    live::Live,
    output::{Output, Tone},
    text,
    timeline::{self, Summary, Timeline},
};
use coprocessor_api::{
    TaskState, TaskView,
    client::{Client, Update},
};
use coprocessor_types::TaskId;
use serde::Serialize;
use std::{pin::pin, time::Duration};

/// Whether each event is a result of the command, or only news on the way to one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    /// Printed, with `--json` too.
    Results,
    /// Printed for people only.
    News,
}

/// A task that has ended.
#[derive(Debug, Serialize)]
pub(crate) struct Followed {
    pub(crate) task: TaskView,
    pub(crate) summary: Summary,
}

/// Follows a task to its end. Ctrl-C stops following, not the task.
pub(crate) async fn follow(
    context: &Context,
    client: &Client,
    task: TaskId,
    events: Events,
) -> Result<Followed, CliError> {
    let out = &context.out;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut following = client.follow(task, None);
    let mut timeline = Timeline::default();
    let mut live = out.is_live().then(|| Live::begin(out));
    loop {
        let update = tokio::select! {
            update = following.next() => update?,
            _ = &mut interrupted => return Err(CliError::Detached { task: task.to_string() }),
        };
        match (update, &mut live) {
            (Some(Update::Event(event)), live) => {
                timeline.take(&event);
                match live {
                    Some(live) => live.event(&event, timeline.summary()),
                    None if out.is_json() && events == Events::News => {}
                    None => out.streamed(&event, || timeline::lines(&event))?,
                }
            }
            (Some(Update::Disconnected { reason, retry_in }), Some(live)) => live.disconnected(&reason, retry_in),
            (Some(Update::Disconnected { reason, retry_in }), None) => {
                out.note(format_args!("{}; again in {}", text::printable(&reason), text::duration(retry_in)));
            }
            (Some(Update::Finished(task)), _) => {
                return Ok(Followed { task: *task, summary: timeline.summary().clone() });
            }
            (None, _) => return Err(CliError::usage(format!("task {task} was followed to its end before"))),
        }
    }
}

impl Followed {
    /// A task that was not delivered is an error.
    pub(crate) fn into_delivered(self) -> Result<Self, CliError> {
        match self.task.state {
            TaskState::Delivered => Ok(self),
            state => Err(CliError::TaskEnded { task: self.task.id, state, failure: self.task.failure }),
        }
    }

    /// For people: what came out and what it took.
    pub(crate) fn describe(&self, out: &Output) -> String {
        let (task, summary) = (&self.task, &self.summary);
        let millis = |ms| text::duration(Duration::from_millis(ms));
        let mut fields =
            vec![("task", task.id.clone()), ("program", task.program.clone()), ("root", task.root.clone())];
        fields.extend(task.output.as_ref().map(|output| ("output", text::bytes(&output.0))));
        fields.push(("kind", task.kind.clone()));
        fields.extend(summary.cycles.map(|cycles| ("cycles", text::thousands(cycles))));
        let stages: Vec<_> = summary
            .stages
            .iter()
            .map(|entry| format!("{} {}", entry.stage.as_str(), text::duration(Duration::from_micros(entry.us))))
            .collect();
        if !stages.is_empty() {
            fields.push(("stages", stages.join(" · ")));
        }
        if let (Some(set_up), Some(proving), Some(verifying)) =
            (summary.set_up_ms, summary.proving_ms, summary.verifying_ms)
        {
            let times = [millis(set_up), millis(proving), millis(verifying)];
            fields.push(("proving", format!("keys {} · proof {} · verification {}", times[0], times[1], times[2])));
        }
        fields
            .extend(summary.peak_memory.map(|bytes| ("memory", format!("{} at most on the node", text::size(bytes)))));
        fields.extend(summary.node.as_ref().map(|node| ("node", text::printable(node))));
        fields.extend(summary.proof_bytes.map(|bytes| ("proof", text::size(bytes))));
        if let Some(result) = task.result.as_ref().filter(|result| !result.is_null()) {
            fields.push(("result", result.to_string()));
        }
        let (tone, ending) = match task.state {
            TaskState::Delivered => (Tone::Good, "delivered"),
            state => (Tone::Bad, state.as_str()),
        };
        let mut text =
            format!("\n{} in {}\n\n", out.paint(tone, ending), text::duration(Duration::from_micros(summary.total_us)));
        text.push_str(&out.fields(fields));
        if task.kind == "mock" && task.state == TaskState::Delivered {
            text.push_str("\nThis is a mock proof: it proves nothing, and no verifier takes it for another kind.\n");
        }
        text
    }
}
