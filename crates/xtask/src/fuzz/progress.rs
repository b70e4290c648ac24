//! What a fuzzer says while it runs, and how it ends.

use crate::terminal::{Step, thousands};
use anyhow::{Context, Result};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Lines before a finding that are shown with it: the panic's message and what led there.
const SAID: usize = 12;

/// Where a fuzzer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Status {
    pub(super) executions: u64,
    /// Edges of the program that some input takes.
    pub(super) edges: u64,
    /// Edges, how often they are taken, and comparisons.
    pub(super) features: u64,
    /// Inputs that each reach something.
    pub(super) corpus: u64,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) target: String,
    /// Once the corpus was run.
    first: Status,
    pub(super) last: Status,
    took: Duration,
    pub(super) finding: Option<Finding>,
}

/// Something is wrong.
#[derive(Debug)]
pub(super) struct Finding {
    /// The input, where the engine could write it.
    pub(super) input: Option<PathBuf>,
    /// The last that was said.
    pub(super) said: Vec<String>,
}

/// A fuzzer that runs.
pub(super) struct Watched {
    target: String,
    child: Child,
    step: Step,
}

impl Outcome {
    /// Executions a second, the corpus's included.
    pub(super) fn rate(&self) -> u64 {
        (self.last.executions as f64 / self.took.as_secs_f64().max(1.0)) as u64
    }

    /// Features that no input of the corpus had.
    pub(super) fn new_features(&self) -> u64 {
        self.last.features.saturating_sub(self.first.features)
    }
}

impl Status {
    /// What `#4096 pulse  cov: 12 ft: 34 corp: 5/678b … exec/s: 9 rss: 60Mb` says, and the event's name.
    fn of_line(line: &str) -> Option<(&str, Self)> {
        let mut words = line.strip_prefix('#')?.split_whitespace();
        let executions = words.next()?.parse().ok()?;
        let event = words.next()?;
        let mut status = Self { executions, ..Self::default() };
        while let Some(name) = words.next() {
            let number = |text: &str| text.split('/').next().and_then(|number| number.parse().ok());
            match name {
                "cov:" => status.edges = number(words.next()?)?,
                "ft:" => status.features = number(words.next()?)?,
                "corp:" => status.corpus = number(words.next()?)?,
                _ => {}
            }
        }
        Some((event, status))
    }
}

impl Watched {
    /// Starts it.
    pub(super) fn start(target: &str, mut command: Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("cannot start the fuzzer {target}"))?;
        Ok(Self { target: target.to_owned(), child, step: Step::begin(target, "running its corpus") })
    }

    /// Shows how it goes until it ends.
    pub(super) fn follow(mut self) -> Result<Outcome> {
        let output = BufReader::new(self.child.stderr.take().context("it has no standard error")?);
        let (mut first, mut last, mut input, mut said) = (None, Status::default(), None, VecDeque::new());
        // A guest's panic may hold any bytes.
        for line in output.split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some((event, status)) = Status::of_line(&line) {
                last = if status.features > 0 { status } else { Status { executions: status.executions, ..last } };
                if event == "INITED" {
                    first = Some(last);
                }
                let Status { executions, features, .. } = last;
                self.step.doing(&format!("{} executions, {} features", thousands(executions), thousands(features)));
                continue;
            }
            if let Some((_, path)) = line.split_once("Test unit written to ") {
                input = Some(PathBuf::from(path.trim()));
            }
            if said.len() == SAID {
                said.pop_front();
            }
            said.push_back(line);
        }
        let status = self.child.wait()?;
        let took = self.step.elapsed();
        let finding = (!status.success()).then(|| Finding { input, said: said.into() });
        let outcome = Outcome { target: self.target, first: first.unwrap_or(last), last, took, finding };
        let told = format!("{} executions, {} new features", thousands(last.executions), outcome.new_features());
        match outcome.finding {
            None => self.step.done(told),
            Some(_) => self.step.failed(format!("{told}, and a finding")),
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_from_the_line_that_says_it() {
        let line = "#524288\tpulse  cov: 1234 ft: 3456 corp: 120/45Kb lim: 4096 exec/s: 10000 rss: 60Mb";
        let expected = Status { executions: 524_288, edges: 1234, features: 3456, corpus: 120 };
        assert_eq!(Status::of_line(line), Some(("pulse", expected)));
        let (event, status) = Status::of_line("#12\tINITED cov: 7 ft: 8 corp: 3/9b exec/s: 0 rss: 30Mb").unwrap();
        assert_eq!((event, status.corpus), ("INITED", 3));
        for other in ["INFO: seed corpus: files: 3", "# a comment", "#x\tNEW cov: 1", "thread panicked at #1"] {
            assert_eq!(Status::of_line(other), None, "{other}");
        }
    }

    fn script(text: &str) -> Outcome {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Watched::start("target", command).unwrap().follow().unwrap()
    }

    #[test]
    fn an_end_is_good_or_a_finding() {
        let status = "printf '#1\\tINITED cov: 1 ft: 2 corp: 3/4b\\n#9\\tDONE cov: 1 ft: 7 corp: 4/5b\\n' >&2";
        let good = script(status);
        assert_eq!((good.last.executions, good.new_features(), good.finding.is_none()), (9, 5, true));
        let bad = script(&format!("{status}; echo 'artifact; Test unit written to /tmp/x/crash-1' >&2; exit 77"));
        let finding = bad.finding.unwrap();
        assert_eq!(finding.input, Some(PathBuf::from("/tmp/x/crash-1")));
        assert_eq!(finding.said.len(), 1);
    }
}
