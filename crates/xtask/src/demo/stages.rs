//! A task's events, told as they come, and the time that each stage took.

use crate::terminal;
use coprocessor_api::{EventView, TaskState};
use serde_json::Value;
use std::time::Duration;

/// The stages of a task that ends well, in their order.
const STAGES: [TaskState; 4] = [TaskState::Queued, TaskState::Executing, TaskState::Proving, TaskState::Delivering];

/// What happened so far.
#[derive(Default)]
pub(super) struct Stages {
    events: Vec<EventView>,
    now: String,
}

impl Stages {
    /// Takes the next event; returns the line that tells of it.
    pub(super) fn take(&mut self, event: EventView) -> String {
        let first = self.events.first().unwrap_or(&event);
        let after = event.at.duration_since(first.at).unsigned_abs();
        let what = describe(&event);
        self.now = format!("{}: {}", event.state.as_str(), event.name.replace('_', " "));
        if let Some(step) = event.detail["step"].as_str() {
            self.now = format!("{}: {step}", event.state.as_str());
        }
        let line = format!("  {:>12}  {:10} {what}", format!("+{}", terminal::duration(after)), event.state.as_str());
        self.events.push(event);
        line
    }

    /// What is going on, in a few words.
    pub(super) fn now(&self) -> &str {
        &self.now
    }

    /// Cycles that the circuit took.
    pub(super) fn cycles(&self) -> Option<u64> {
        self.verified()?["cycles"].as_u64()
    }

    /// Where the time went: per stage, and inside proving.
    pub(super) fn report(&self, kind: &str) -> Vec<String> {
        let (Some(first), Some(last)) = (self.events.first(), self.events.last()) else { return Vec::new() };
        let stages = STAGES.map(|stage| format!("{} {}", stage.as_str(), terminal::duration(self.time_in(stage))));
        let total = terminal::duration(last.at.duration_since(first.at).unsigned_abs());
        let mut lines = vec![format!("{total} in all: {}", stages.join(", "))];
        // A mock proof takes no time worth telling of.
        if let Some(detail) = self.verified().filter(|_| kind != "mock") {
            let milliseconds =
                |name: &str| terminal::duration(Duration::from_millis(detail[name].as_u64().unwrap_or(0)));
            lines.push(format!(
                "of proving: keys {}, proof {}, verification {}",
                milliseconds("set_up_ms"),
                milliseconds("proving_ms"),
                milliseconds("verifying_ms")
            ));
        }
        lines
    }

    fn verified(&self) -> Option<&Value> {
        self.events.iter().rev().find(|event| event.name == "proof_verified").map(|event| &event.detail)
    }

    /// Time between an event that left the task in `stage` and the next one. A stage that is entered twice counts twice.
    fn time_in(&self, stage: TaskState) -> Duration {
        let pairs = self.events.windows(2).filter(|pair| pair[0].state == stage);
        pairs.map(|pair| pair[1].at.duration_since(pair[0].at).unsigned_abs()).sum()
    }
}

fn describe(event: &EventView) -> String {
    let detail = &event.detail;
    let text = |name: &str| detail[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| detail[name].as_u64().unwrap_or_default();
    match event.name.as_str() {
        "witness_ready" => {
            let wall_clock = Duration::from_micros(detail["usage"]["wall_clock_micros"].as_u64().unwrap_or_default());
            let log = logged(detail);
            format!("the controller made the witness in {}{log}", terminal::duration(wall_clock))
        }
        "node_chosen" => format!("prover node {}", text("node")),
        "node_queued" => format!("the node has {} before it", number("ahead")),
        "proof_step" => text("step"),
        "proof_verified" => format!(
            "the coprocessor verified the proof: {} cycles, {}",
            terminal::thousands(number("cycles")),
            terminal::bytes(number("proof_bytes"))
        ),
        "delivered" => format!("the controller has the proof{}", logged(detail)),
        "failed" => text("message"),
        "waiting" | "retrying" => format!("{}: {}", event.name, text("message")),
        name => name.replace('_', " "),
    }
}

fn logged(detail: &Value) -> String {
    let lines: Vec<_> = detail["log"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if lines.is_empty() { String::new() } else { format!("; it logged {:?}", lines.join(" / ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(seq: u64, millisecond: i64, state: TaskState, name: &str, detail: Value) -> EventView {
        let at = jiff::Timestamp::from_millisecond(1_700_000_000_000 + millisecond).unwrap();
        EventView { seq, task: "t".into(), at, state, name: name.into(), detail }
    }

    #[test]
    fn time_is_told_by_stage() {
        let mut stages = Stages::default();
        let verified = json!({"cycles": 18_727, "set_up_ms": 2_500, "proving_ms": 28_000, "verifying_ms": 110,
            "proof_bytes": 2_800_000});
        let lines: Vec<_> = [
            event(1, 0, TaskState::Queued, "admitted", json!({})),
            event(2, 5, TaskState::Executing, "claimed", json!({})),
            event(
                3,
                20,
                TaskState::Proving,
                "witness_ready",
                json!({"log": ["hi"], "usage": {"wall_clock_micros": 400}}),
            ),
            event(4, 25, TaskState::Proving, "proof_step", json!({"step": "setting up"})),
            event(5, 31_000, TaskState::Delivering, "proof_verified", verified),
            event(6, 31_040, TaskState::Delivered, "delivered", json!({"log": []})),
        ]
        .into_iter()
        .map(|event| stages.take(event))
        .collect();
        assert!(lines[2].contains("the controller made the witness in 400 µs; it logged \"hi\""), "{}", lines[2]);
        assert!(lines[3].ends_with("setting up"), "{}", lines[3]);
        assert!(lines[4].contains("18,727 cycles"), "{}", lines[4]);
        assert_eq!(stages.cycles(), Some(18_727));
        assert_eq!(
            stages.report("core"),
            [
                "31.0 s in all: queued 5.0 ms, executing 15 ms, proving 31.0 s, delivering 40 ms",
                "of proving: keys 2.5 s, proof 28.0 s, verification 110 ms"
            ]
        );
    }
}
