//! A task's events: each told in words, and all of them summed up.

use crate::text;
use coprocessor_api::{EventView, TaskState};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// What a task's events tell when put together.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Time in each stage, in the order they were entered.
    pub(crate) stages: Vec<StageTime>,
    /// From the first event to the last, in microseconds.
    pub(crate) total_us: u64,
    /// The prover node that made the proof.
    pub(crate) node: Option<String>,
    /// Cycles that the circuit took.
    pub(crate) cycles: Option<u64>,
    /// Time the node spent on the circuit's keys, in milliseconds.
    pub(crate) set_up_ms: Option<u64>,
    /// Time the node spent on the proof, in milliseconds.
    pub(crate) proving_ms: Option<u64>,
    /// Time the coprocessor spent on verifying it, in milliseconds.
    pub(crate) verifying_ms: Option<u64>,
    /// The node's peak memory in bytes.
    pub(crate) peak_memory: Option<u64>,
    /// The proof's size in bytes.
    pub(crate) proof_bytes: Option<u64>,
    /// What the controller logged.
    pub(crate) log: Vec<LogLine>,
}

/// Time in a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct StageTime {
    pub(crate) stage: TaskState,
    /// In microseconds: a mock proof takes less than a millisecond.
    pub(crate) us: u64,
}

/// A line that the controller logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LogLine {
    /// The event that brought it.
    pub(crate) event: String,
    /// The line.
    pub(crate) line: String,
}

/// Sums up a task's events as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    summary: Summary,
    first: Option<Timestamp>,
    last: Option<(Timestamp, TaskState)>,
}

impl Timeline {
    /// The next event.
    pub(crate) fn take(&mut self, event: &EventView) {
        let first = *self.first.get_or_insert(event.at);
        if let Some((since, state)) = self.last.replace((event.at, event.state)) {
            self.spend(state, micros_between(since, event.at));
        }
        self.summary.total_us = micros_between(first, event.at);
        self.summary.log.extend(log_of(event).map(|line| LogLine { event: event.name.clone(), line }));
        if event.name == "proof_verified" {
            let number = |key: &str| event.detail[key].as_u64();
            self.summary.node = event.detail["node"].as_str().map(str::to_owned);
            self.summary.cycles = number("cycles");
            self.summary.set_up_ms = number("set_up_ms");
            self.summary.proving_ms = number("proving_ms");
            self.summary.verifying_ms = number("verifying_ms");
            self.summary.peak_memory = number("peak_memory");
            self.summary.proof_bytes = number("proof_bytes");
        }
    }

    /// All of it so far.
    pub(crate) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// A task that was retried spent time in its earlier end; that is no stage.
    fn spend(&mut self, state: TaskState, us: u64) {
        if state.is_finished() {
            return;
        }
        match self.summary.stages.iter_mut().find(|entry| entry.stage == state) {
            Some(entry) => entry.us += us,
            None => self.summary.stages.push(StageTime { stage: state, us }),
        }
    }
}

/// What the controller logged in the step that ended with `event`.
pub(crate) fn log_of(event: &EventView) -> impl Iterator<Item = String> {
    let lines = event.detail["log"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().map(|line| text::printable(line.as_str().unwrap_or_default()))
}

/// An event on lines of its own: when, the state after it, what happened, and what the controller logged.
pub(crate) fn lines(event: &EventView) -> String {
    let mut lines = format!("{:.3}  {:10}  {}", event.at, event.state.as_str(), describe(event));
    for line in log_of(event) {
        lines.push_str("\n  | ");
        lines.push_str(&line);
    }
    lines
}

/// What happened, in words.
pub(crate) fn describe(event: &EventView) -> String {
    let detail = &event.detail;
    match event.name.as_str() {
        "admitted" => "admitted".to_owned(),
        "claimed" => format!("{} begins", word(detail, "stage")),
        "witness_ready" => {
            let witnesses = text::count(number(detail, "witnesses"), "element", "elements");
            let usage = usage(&detail["usage"]).map(|usage| format!("; {usage}")).unwrap_or_default();
            format!("witness of {witnesses}, {}{usage}", text::size(number(detail, "bytes")))
        }
        "node_chosen" => format!("prover node {}", word(detail, "node")),
        "node_queued" => format!("{} on {}", ahead(number(detail, "ahead")), word(detail, "node")),
        "proof_step" => format!("step: {}", word(detail, "step")),
        "proof_verified" => proof(detail),
        "waiting" | "retrying" => {
            let until = detail["until"].as_str().and_then(|until| until.parse::<Timestamp>().ok());
            let until = until.map(|until| format!("; again at {until:.3}")).unwrap_or_default();
            format!("{}: {}{until}", event.name, reason(detail))
        }
        "delivered" => match usage(&detail["usage"]) {
            Some(usage) => format!("delivered to the controller; {usage}"),
            None => "delivered to the controller".to_owned(),
        },
        "failed" => format!("failed: {}", reason(detail)),
        "cancelled" => "cancelled".to_owned(),
        "retried" => format!("to be tried again from stage {}", word(detail, "stage")),
        other => match detail {
            Value::Object(fields) if fields.is_empty() => text::printable(other),
            Value::Null => text::printable(other),
            detail => text::printable(&format!("{other} {detail}")),
        },
    }
}

/// What a controller used, in words; `None` where the service did not say.
fn usage(usage: &Value) -> Option<String> {
    let micros = usage["wall_clock_us"].as_u64().or(usage["wall_clock_micros"].as_u64())?;
    Some(format!(
        "controller took {} and {} of fuel, {} of memory",
        text::duration(Duration::from_micros(micros)),
        text::thousands(number(usage, "fuel")),
        text::size(number(usage, "memory_bytes")),
    ))
}

fn proof(detail: &Value) -> String {
    let millis = |key| text::duration(Duration::from_millis(number(detail, key)));
    format!(
        "proof verified in {}; {} cycles, {}; keys {}, proof {}",
        millis("verifying_ms"),
        text::thousands(number(detail, "cycles")),
        text::size(number(detail, "proof_bytes")),
        millis("set_up_ms"),
        millis("proving_ms"),
    )
}

fn ahead(jobs: u64) -> String {
    format!("waiting behind {}", text::count(jobs, "job", "jobs"))
}

fn reason(detail: &Value) -> String {
    let message = [word(detail, "message"), word(detail, "reason")].into_iter().find(|text| !text.is_empty());
    match word(detail, "code") {
        code if code.is_empty() => message.unwrap_or_default(),
        code => format!("{} ({code})", message.unwrap_or_default()),
    }
}

fn word(detail: &Value, key: &str) -> String {
    text::printable(detail[key].as_str().unwrap_or_default())
}

fn number(detail: &Value, key: &str) -> u64 {
    detail[key].as_u64().unwrap_or_default()
}

/// A clock that was set back in between counts as no time.
fn micros_between(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_micros()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(seconds: i64, state: TaskState, name: &str, detail: Value) -> EventView {
        EventView {
            seq: 1,
            task: "t".to_owned(),
            at: Timestamp::from_second(1_767_225_600 + seconds).unwrap(),
            state,
            name: name.to_owned(),
            detail,
        }
    }

    #[test]
    fn stages_add_up_over_a_retry_and_ends_are_no_stage() {
        use TaskState::{Delivered, Delivering, Failed, Proving, Queued};
        let mut timeline = Timeline::default();
        for (at, state, name) in [
            (0, Queued, "admitted"),
            (1, Proving, "witness_ready"),
            (4, Failed, "failed"),
            (100, Proving, "retried"),
            (110, Delivering, "proof_verified"),
            (110, Delivered, "delivered"),
        ] {
            timeline.take(&event(at, state, name, json!({"log": [name]})));
        }
        let summary = timeline.summary();
        let expected = [(Queued, 1_000_000), (Proving, 13_000_000), (Delivering, 0)];
        assert_eq!(summary.stages, expected.map(|(stage, us)| StageTime { stage, us }));
        assert_eq!(summary.total_us, 110_000_000);
        assert_eq!(summary.log.len(), 6);
    }

    #[test]
    fn events_are_told_in_words_and_unknown_ones_as_they_are() {
        let told = |name, detail| describe(&event(0, TaskState::Proving, name, detail));
        assert_eq!(told("node_queued", json!({"node": "n", "ahead": 1})), "waiting behind 1 job on n");
        assert_eq!(
            told("waiting", json!({"code": "no_prover", "message": "none", "until": "2026-01-01T00:00:05.5Z"})),
            "waiting: none (no_prover); again at 2026-01-01T00:00:05.500Z"
        );
        assert_eq!(told("new_kind", json!({"a": 1})), "new_kind {\"a\":1}");
        assert_eq!(told("new_kind", json!({})), "new_kind");
        assert_eq!(told("failed", json!({"message": "\u{1b}[2J", "code": "x"})), "failed: \\u{1b}[2J (x)");
    }

    #[test]
    fn a_controllers_log_follows_its_event() {
        let event =
            event(0, TaskState::Proving, "witness_ready", json!({"witnesses": 1, "bytes": 12, "log": ["a", "b"]}));
        assert_eq!(lines(&event), "2026-01-01T00:00:00.000Z  proving     witness of 1 element, 12 B\n  | a\n  | b");
    }
}
