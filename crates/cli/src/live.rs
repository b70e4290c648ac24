//! What is under way, drawn on the terminal: what is done, and a line that moves.

use crate::{
    output::{Output, Tone},
    text,
    timeline::{self, Summary},
};
use coprocessor_api::{EventView, TaskState};
use coprocessor_guest_build::{GuestKind, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use std::time::Duration;

/// A task. Leaves nothing moving behind when dropped.
#[derive(Debug)]
pub(crate) struct Live {
    out: Output,
    bar: ProgressBar,
    stage: Option<TaskState>,
}

impl Live {
    pub(crate) fn begin(out: &Output) -> Self {
        Self { out: out.clone(), bar: moving_line(), stage: None }
    }

    /// An event, and what all so far come to.
    pub(crate) fn event(&mut self, event: &EventView, summary: &Summary) {
        if self.stage != Some(event.state) {
            self.stage_done(summary);
            self.stage = Some(event.state);
            self.bar.set_prefix(event.state.as_str());
            // A task may have been in this stage for long when it is looked at.
            let since = Timestamp::now().duration_since(event.at);
            self.bar = self.bar.clone().with_elapsed(Duration::try_from(since).unwrap_or_default());
        }
        self.bar.set_message(timeline::describe(event));
        for line in timeline::log_of(event) {
            self.bar.println(self.out.paint(Tone::Quiet, format_args!("  | {line}")));
        }
    }

    /// The connection was lost.
    pub(crate) fn disconnected(&self, reason: &str, retry_in: Duration) {
        self.bar.set_message(format!("{}; again in {}", text::printable(reason), text::duration(retry_in)));
    }

    fn stage_done(&self, summary: &Summary) {
        let Some(done) = self.stage.filter(|stage| !stage.is_finished()) else {
            return;
        };
        let us = summary.stages.iter().find(|entry| entry.stage == done).map_or(0, |entry| entry.us);
        let took = text::duration(Duration::from_micros(us));
        self.bar.println(format!("{} {:10} {took}", self.out.paint(Tone::Good, "✓"), done.as_str()));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A build, on a terminal or as plain lines on standard error.
#[derive(Debug)]
pub(crate) struct Build {
    out: Output,
    bar: Option<ProgressBar>,
}

impl Build {
    pub(crate) fn begin(out: &Output) -> Self {
        Self { out: out.clone(), bar: out.is_live().then(moving_line) }
    }

    pub(crate) fn progress(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Found(kind, toolchain) => {
                self.say(&format!("{kind}: {}", text::printable(&toolchain.compiler.to_string())));
                if let Some(bar) = &self.bar {
                    bar.set_prefix(kind.to_string());
                    bar.reset_elapsed();
                }
            }
            Progress::Cargo(kind, line) => self.cargo(*kind, line),
            Progress::Built(kind, bytes, took) => {
                let mark = self.out.paint(Tone::Good, "✓");
                self.say(&format!(
                    "{mark} {:10} {}, {}",
                    kind.to_string(),
                    text::size(*bytes as u64),
                    text::duration(*took)
                ));
            }
        }
    }

    /// Cargo's progress moves past; what else it says stays.
    fn cargo(&self, kind: GuestKind, line: &str) {
        match &self.bar {
            Some(bar) if is_progress(line) => {
                bar.set_prefix(kind.to_string());
                bar.set_message(text::printable(line.trim()));
            }
            Some(_) | None => self.say(&text::printable(line)),
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.out.note(line),
        }
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn moving_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {prefix:10} {elapsed:>4}  {wide_msg}");
    let bar = ProgressBar::no_length().with_style(style.expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Whether a line of cargo's only says how far it is.
fn is_progress(line: &str) -> bool {
    const VERBS: [&str; 9] =
        ["Adding", "Blocking", "Checking", "Compiling", "Downloaded", "Downloading", "Finished", "Locking", "Updating"];
    line.starts_with(' ') && line.split_whitespace().next().is_some_and(|verb| VERBS.contains(&verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_are_told_from_progress() {
        assert!(is_progress("   Compiling serde v1.0.0"));
        assert!(!is_progress("warning: unused variable"));
        assert!(!is_progress("  --> src/lib.rs:1:1"));
    }
}
